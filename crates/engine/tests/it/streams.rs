//! What flows while it is made: both directions, trailers, events, WebSockets, and what happens when somebody leaves.
//!
//! The guest `echo` sends back what it reads, so that a piece can be waited for before the next one is sent: what is held back
//! anywhere makes these tests hang, not fail by time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use bytes::Bytes;
use hanse_engine::Limits;
use http_body_util::{BodyExt, Empty, Full};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{get_with, open, receive, send};
use crate::node::{Node, config, eventually, route};
use crate::serving::block_on;
use crate::upstreams::{ASK, read_head, websocket_upstream};

/// A node that runs `guest`, and one that passes on to it.
fn pair(guest: &str, limits: Limits) -> (Node, Node) {
    let (front, runner) = (Node::member("a"), Node::member("b"));
    runner.serve(guest, limits);
    front
        .engine
        .set_routes(&[route(guest, &[runner.replica(100)])])
        .unwrap();
    (front, runner)
}

/// Send a chunk, get it back, then the next.
pub fn converse(address: &str) {
    let stream = open(address);
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut requests = stream;
    requests
        .write_all(b"POST /echo HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut is_head_read = false;
    for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
        write!(requests, "{:x}\r\n{event}\r\n", event.len()).unwrap();
        let mut line = String::new();
        while !is_head_read {
            line.clear();
            answers.read_line(&mut line).unwrap();
            is_head_read = line == "\r\n";
        }
        line.clear();
        answers.read_line(&mut line).unwrap();
        assert_eq!(usize::from_str_radix(line.trim(), 16).unwrap(), event.len());
        let mut piece = vec![0; event.len() + 2];
        answers.read_exact(&mut piece).unwrap();
        assert_eq!(piece, format!("{event}\r\n").as_bytes());
    }
    requests.write_all(b"0\r\n\r\n").unwrap();
    let mut rest = String::new();
    answers.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "0\r\n\r\n");
}

#[test]
fn each_piece_is_passed_on_at_once_here_and_across_a_forward() {
    let (front, runner) = pair("echo", Limits::default());
    converse(&runner.addresses.front);
    converse(&front.addresses.front);
    assert_eq!(runner.stats("echo").from_mesh, 1);
}

#[test]
fn trailers_go_both_ways_in_http1_here_and_across_a_forward() {
    let (front, runner) = pair("trailers", Limits::default());
    for node in [&runner, &front] {
        let mut stream = open(&node.addresses.front);
        stream
            .write_all(
                b"POST /trailers HTTP/1.1\r\nhost: t\r\nte: trailers\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
                trailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n",
            )
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.ends_with("abc\r\n0\r\nx-sum: 42\r\n\r\n"),
            "{}: {answer}",
            node.name
        );
    }
    // A client that does not ask for trailers gets an answer without.
    let reply = send(
        &front.addresses.front,
        "POST /trailers HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: 3\r\n\r\n",
        b"abc",
    );
    assert_eq!(
        (reply.status, reply.body.as_slice(), reply.is_whole),
        (200, b"abc".as_slice(), true)
    );
}

#[test]
fn trailers_go_both_ways_in_http2_also_behind_a_body_of_known_length() {
    let (front, runner) = pair("trailers", Limits::default());
    for node in [&runner, &front] {
        let sum = block_on(async {
            let stream = tokio::net::TcpStream::connect(&node.addresses.front).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                .handshake(TokioIo::new(stream))
                .await
                .unwrap();
            tokio::spawn(connection);
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-sum", "42".parse().unwrap());
            let body = Full::new(Bytes::from_static(b"abc"))
                .with_trailers(async { Some(Ok::<_, std::convert::Infallible>(trailers)) })
                .boxed();
            let request = http::Request::post(format!("http://{}/trailers", node.addresses.front))
                .header("content-length", "3")
                .body(body)
                .unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            let answer = answer.into_body().collect().await.unwrap();
            let sum = answer.trailers().unwrap()["x-sum"].clone();
            assert_eq!(answer.to_bytes(), "abc");
            sum
        });
        assert_eq!(sum, "42", "{}", node.name);
    }
}

#[test]
fn a_client_that_leaves_ends_its_guest_on_another_node() {
    let limits = Limits {
        timeout_ms: 60_000,
        ..Limits::default()
    };
    for guest in ["sleep", "echo"] {
        let front = Node::member("a");
        let mut config = config("b");
        config.max_instances = 1;
        let runner = Node::with(config);
        runner.renew();
        runner.load(guest, limits.clone(), &[]);
        runner.load(
            "hello",
            Limits {
                timeout_ms: 100,
                ..Limits::default()
            },
            &[],
        );
        runner.engine.set_routes(&[route("hello", &[])]).unwrap();
        front
            .engine
            .set_routes(&[route(guest, &[runner.replica(100)])])
            .unwrap();
        let mut stream = open(&front.addresses.front);
        write!(
            stream,
            "POST /{guest} HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"
        )
        .unwrap();
        eventually("the guest runs", || runner.stats(guest).instances_started == 1);
        assert_eq!(runner.get("/hello").status, 504, "the guest has the node's only seat");
        drop(stream);
        // Nothing but its end gives the seat back.
        eventually("the guest is gone", || runner.get("/hello").status == 200);
        eventually("the front has let go too", || front.stats(guest).in_flight == 0);
    }
}

#[test]
fn a_websocket_passes_through_to_a_service_here_and_across_a_forward() {
    let upstream = websocket_upstream();
    let (front, runner) = (Node::member("a"), Node::member("b"));
    runner
        .engine
        .load_service("ws", &upstream, None, Limits::default())
        .unwrap();
    runner.engine.set_routes(&[route("ws", &[runner.replica(0)])]).unwrap();
    front.engine.set_routes(&[route("ws", &[runner.replica(100)])]).unwrap();
    for node in [&runner, &front] {
        let mut stream = open(&node.addresses.front);
        stream.write_all(ASK).unwrap();
        let head = read_head(&mut stream).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{}: {head}", node.name);
        assert!(
            head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "{head}"
        );
        assert!(head.contains("upgrade: websocket"), "{head}");
        for message in [b"one".as_slice(), b"a longer one", &[7; 100_000]] {
            let mut writer = stream.try_clone().unwrap();
            let sent = message.to_vec();
            let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
            let mut back = vec![0; message.len()];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, message);
            writing.join().unwrap();
        }
        eventually("it counts as in flight", || node.stats("ws").in_flight == 1);
        drop(stream);
        eventually("it has ended on both", || {
            node.stats("ws").in_flight == 0 && runner.stats("ws").in_flight == 0
        });
    }
    assert_eq!(runner.stats("ws").requests, 2);
    assert!(runner.stats("ws").bytes_in > 200_000);
}

/// Ask for a WebSocket by an extended CONNECT (RFC 8441); the status, and the tunnel where there is one.
async fn connect_h2(address: &str, path: &str, protocol: &'static str) -> (u16, Option<TokioIo<Upgraded>>) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let get = http::Request::get(format!("http://{address}/.hanse/healthz")).body(Empty::<Bytes>::new());
    // The server's settings, which allow it, have come with any answer.
    assert_eq!(sender.send_request(get.unwrap()).await.unwrap().status(), 200);
    let mut request = http::Request::connect(format!("http://{address}{path}"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(Empty::<Bytes>::new())
        .unwrap();
    request
        .extensions_mut()
        .insert(hyper::ext::Protocol::from_static(protocol));
    let mut answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    if status != 200 {
        return (status, None);
    }
    (
        status,
        Some(TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap())),
    )
}

#[test]
fn a_websocket_over_http2_passes_through_and_other_tunnels_are_refused() {
    let upstream = websocket_upstream();
    let (front, runner) = (Node::member("a"), Node::member("b"));
    runner
        .engine
        .load_service("ws", &upstream, None, Limits::default())
        .unwrap();
    runner.serve("hello", Limits::default());
    runner
        .engine
        .set_routes(&[route("ws", &[]), route("hello", &[])])
        .unwrap();
    let away = [runner.replica(100)];
    front
        .engine
        .set_routes(&[route("ws", &away), route("hello", &away)])
        .unwrap();
    for node in [&runner, &front] {
        let address = &node.addresses.front;
        block_on(async {
            let (status, tunnel) = connect_h2(address, "/ws/chat?room=1", "websocket").await;
            assert_eq!(status, 200, "{}", node.name);
            let mut tunnel = tunnel.unwrap();
            tunnel.write_all(b"ahoy").await.unwrap();
            let mut back = [0; 4];
            tunnel.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"ahoy");
            // A function speaks no WebSocket, and a success would say that it does.
            assert_eq!(connect_h2(address, "/hello", "websocket").await.0, 501);
            assert_eq!(connect_h2(address, "/ws/chat?room=1", "connect-udp").await.0, 501);
        });
    }
}

#[test]
fn a_service_answers_plain_requests_too_and_cannot_speak_for_us() {
    let upstream = websocket_upstream();
    let (front, runner) = (Node::member("a"), Node::member("b"));
    runner
        .engine
        .load_service("ws", &upstream, None, Limits::default())
        .unwrap();
    front.engine.set_routes(&[route("ws", &[runner.replica(100)])]).unwrap();
    let reply = get_with(&front.addresses.front, "/ws/x?y", "accept: */*");
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, b"get /ws/x?y http/1.1".as_slice())
    );
    assert_eq!(reply.header("hanse-subject"), None);
    assert_eq!(reply.header("hanse-node"), Some("b"));
    assert!(runner.engine.unload("ws", std::time::Duration::ZERO));
    assert_eq!(
        get_with(&front.addresses.front, "/ws/x", "accept: */*").error(),
        "route.not_here"
    );
}

#[test]
fn a_service_that_is_not_there_or_no_http_is_told_so() {
    let node = Node::local("a");
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    node.engine.load_service("ws", &gone, None, Limits::default()).unwrap();
    node.engine.set_routes(&[route("ws", &[node.replica(0)])]).unwrap();
    let reply = node.get("/ws");
    assert_eq!((reply.status, reply.error()), (503, "service.unreachable"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    let rubbish = TcpListener::bind("127.0.0.1:0").unwrap();
    node.engine
        .load_service(
            "ws",
            &rubbish.local_addr().unwrap().to_string(),
            None,
            Limits::default(),
        )
        .unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = rubbish.accept().unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").unwrap();
    });
    let reply = node.get("/ws");
    assert_eq!((reply.status, reply.error()), (502, "service.broken"));
    server.join().unwrap();
    let error = node
        .engine
        .load_service("ws", "localhost:1", None, Limits::default())
        .unwrap_err();
    assert_eq!(error.code, "service.upstream_invalid");
    assert_eq!(node.stats("ws").errors.len(), 2);
}

#[test]
fn a_function_that_is_asked_for_a_websocket_answers_as_if_it_had_not_been() {
    let node = Node::local("a");
    node.serve("hello", Limits::default());
    let mut stream = open(&node.addresses.front);
    let ask = String::from_utf8(ASK.to_vec()).unwrap().replace("/ws/chat", "/hello");
    stream.write_all(ask.replace("keep-alive", "close").as_bytes()).unwrap();
    let reply = receive(stream);
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"hello\n".as_slice()));
}
