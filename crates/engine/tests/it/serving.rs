//! What a good guest and a good client see on one node.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hanse_engine::{Engine, Limits, Route};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::client::{get, open, post, send};
use crate::node::{Node, config, eventually, route};

#[test]
fn a_request_is_answered_by_a_fresh_instance_and_says_where() {
    let node = Node::local("a");
    node.serve("hello", Limits::default());
    let reply = node.get("/hello/deep?query");
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"hello\n".as_slice()));
    assert_eq!(reply.header("hanse-node"), Some("a"));
    assert_eq!(reply.header("hanse-ingress"), Some("a"));
    assert!(reply.header("server-timing").unwrap().starts_with("hanse;dur="));
    let stats = node.stats("hello");
    assert_eq!((stats.requests, stats.instances_started, stats.bytes_out), (1, 1, 6));
    assert!(stats.cpu_us > 0 && stats.peak_memory_bytes >= 65536, "{stats:?}");
}

#[test]
fn bodies_stream_through_whole() {
    let node = Node::local("a");
    node.serve("echo", Limits::default());
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let reply = post(&node.addresses.front, "/echo", &body);
    assert!(reply.is_whole);
    assert!(reply.body == body, "{} bytes of {}", reply.body.len(), body.len());
    assert_eq!(node.stats("echo").bytes_in, 3_000_000);
    assert_eq!(node.stats("echo").bytes_out, 3_000_000);
}

#[test]
fn a_connection_serves_many_requests() {
    let node = Node::local("a");
    node.serve("hello", Limits::default());
    let mut stream = open(&node.addresses.front);
    for _ in 0..10 {
        stream.write_all(b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        // The second is the end of an answer that began before the guest was done.
        while !answer.ends_with(b"\r\n\r\nhello\n") && !answer.ends_with(b"\r\n0\r\n\r\n") {
            let mut piece = [0; 1024];
            let len = stream.read(&mut piece).unwrap();
            assert_ne!(len, 0);
            answer.extend_from_slice(&piece[..len]);
        }
    }
    assert_eq!(node.stats("hello").requests, 10);
}

#[test]
fn http2_with_prior_knowledge_is_spoken_on_the_same_port() {
    let node = Node::local("a");
    node.serve("echo", Limits::default());
    let address = node.addresses.front.clone();
    let (version, body) = block_on(async move {
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://{address}/echo"))
            .body(Full::new(Bytes::from_static(b"two")))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        (
            response.version(),
            response.into_body().collect().await.unwrap().to_bytes(),
        )
    });
    assert_eq!((version, &body[..]), (http::Version::HTTP_2, b"two".as_slice()));
}

#[test]
fn an_unknown_path_is_told_so() {
    let node = Node::local("a");
    let reply = node.get("/nothing");
    assert_eq!((reply.status, reply.error()), (404, "route.unknown"));
    let json = reply.json();
    assert_eq!((&json["error"], &json["node"]), (&"route.unknown".into(), &"a".into()));
    assert!(json["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    assert_eq!(node.engine.stats().unrouted, 1);
}

#[test]
fn a_route_that_leads_nowhere_says_to_come_back() {
    let node = Node::local("a");
    node.engine.set_routes(&[route("hello", &[])]).unwrap();
    let reply = node.get("/hello");
    assert_eq!((reply.status, reply.error()), (503, "route.no_replica"));
    assert_eq!(reply.header("retry-after"), Some("1"));
}

#[test]
fn routes_choose_by_host() {
    let node = Node::local("a");
    node.load("hello", Limits::default(), &[]);
    node.engine
        .set_routes(&[Route {
            host: Some("shop.example".to_owned()),
            path_prefix: "/".to_owned(),
            ..route("hello", &[])
        }])
        .unwrap();
    let front = &node.addresses.front;
    let to = |host: &str| {
        send(
            front,
            &format!("GET /x HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
            b"",
        )
    };
    assert_eq!(to("shop.example:8080").status, 200);
    assert_eq!(to("other.example").status, 404);
}

#[test]
fn health_and_metrics_are_served_beside_the_workloads() {
    let node = Node::local("a");
    node.serve("hello", Limits::default());
    assert_eq!(node.get("/hello").status, 200);
    let health = node.get("/.hanse/healthz");
    assert_eq!(health.json(), serde_json::json!({"node": "a", "workloads": 1}));
    let metrics = String::from_utf8(node.get("/.hanse/metrics").body).unwrap();
    assert!(
        metrics.contains("hanse_requests_total{workload=\"hello\"} 1\n"),
        "{metrics}"
    );
    assert_eq!(node.get("/.hanse/other").status, 404);
}

#[test]
fn what_a_guest_writes_can_be_read_by_its_owner() {
    let node = Node::local("a");
    node.serve("log", Limits::default());
    assert_eq!(node.get("/log").status, 200);
    eventually("the guest is done", || node.engine.logs("log", 0, 10).len() == 2);
    let lines = node.engine.logs("log", 0, 10);
    let read: Vec<_> = lines.iter().map(|line| (line.stream, line.text.as_str())).collect();
    assert_eq!(read, [("stderr", "a line for the owner"), ("stdout", "half a line")]);
    assert!(node.engine.logs("log", lines[1].seq, 10).is_empty());
}

#[test]
fn a_version_is_replaced_and_routes_swapped_without_a_failed_request() {
    let node = Node::local("a");
    let component = |guest| hanse_guests::build(guest).unwrap();
    let load = |guest| {
        node.engine
            .load("w", &component(guest), Limits::default(), &[], Vec::new())
            .unwrap()
    };
    load("hello");
    let table = [Route {
        path_prefix: "/".to_owned(),
        ..route("w", &[])
    }];
    node.engine.set_routes(&table).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut answered = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        assert_eq!(get(&node.addresses.front, "/").status, 200);
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        for guest in ["log", "hello"].repeat(20) {
            load(guest);
            node.engine.set_routes(&table).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        let answered: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(answered > 20, "{answered}");
    });
    assert!(node.stats("w").errors.is_empty(), "{:?}", node.stats("w"));
}

#[test]
fn loading_what_runs_already_does_nothing() {
    let node = Node::local("a");
    node.serve("hello", Limits::default());
    let compiled = node.engine.stats().cache_hits + node.engine.stats().cache_misses;
    node.load("hello", Limits::default(), &[]);
    node.load(
        "hello",
        Limits {
            concurrency: 1,
            ..Limits::default()
        },
        &[],
    );
    let stats = node.engine.stats();
    assert_eq!(stats.cache_hits + stats.cache_misses, compiled);
    assert_eq!(node.get("/hello").status, 200);
}

#[test]
fn unloading_lets_requests_end_within_the_grace_and_then_ends_them() {
    let node = Node::local("a");
    node.serve("sleep", Limits::default());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| node.get("/sleep"));
        crate::node::eventually("the guest runs", || node.stats("sleep").instances_started == 1);
        assert!(node.engine.unload("sleep", Duration::from_millis(20)));
        let reply = waiting.join().unwrap();
        assert_eq!((reply.status, reply.error()), (503, "guest.unloaded"));
    });
    assert!(node.engine.loaded().is_empty());
    assert!(!node.engine.unload("sleep", Duration::ZERO));
    assert_eq!(node.get("/sleep").error(), "route.no_replica");
}

#[test]
fn a_port_in_use_is_named() {
    let node = Node::local("a");
    let mut other = config("b");
    other.front_bind = node.addresses.front.clone();
    let error = Engine::new(other).unwrap().start().unwrap_err();
    assert_eq!(error.code, "engine.address_in_use");
    assert!(error.message.contains(&node.addresses.front), "{error}");
}

#[test]
fn a_stopped_engine_lets_go_of_its_ports_and_stays_stopped() {
    let node = Node::local("a");
    node.engine.stop(Duration::from_secs(1));
    node.engine.stop(Duration::from_secs(1));
    std::net::TcpListener::bind(&node.addresses.front).unwrap();
    assert_eq!(node.engine.start().unwrap_err().code, "engine.stopped");
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}
