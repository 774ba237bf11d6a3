//! Clients that send too much, too slowly, or leave.

use std::io::{Read, Write};

use hanse_engine::Limits;

use crate::client::{open, post, send};
use crate::node::{Node, config, eventually};

#[test]
fn a_body_that_declares_too_much_is_refused_before_it_is_read() {
    let node = Node::local("a");
    node.serve(
        "count",
        Limits {
            request_body_bytes: 1000,
            ..Limits::default()
        },
    );
    assert_eq!(post(&node.addresses.front, "/count", &[0; 1000]).status, 200);
    let reply = post(&node.addresses.front, "/count", &[0; 1001]);
    assert_eq!((reply.status, reply.error()), (413, "request.too_large"));
    assert_eq!(node.stats("count").instances_started, 1);
}

#[test]
fn a_body_that_grows_too_large_is_refused_when_it_does() {
    let node = Node::local("a");
    node.serve(
        "count",
        Limits {
            request_body_bytes: 1000,
            ..Limits::default()
        },
    );
    let head = "POST /count HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("320\r\n{}\r\n", "x".repeat(800));
    let reply = send(
        &node.addresses.front,
        head,
        format!("{chunk}{chunk}0\r\n\r\n").as_bytes(),
    );
    assert_eq!((reply.status, reply.error()), (413, "request.too_large"));
}

#[test]
fn a_header_that_never_ends_is_not_waited_for() {
    let mut config = config("a");
    config.header_timeout_ms = 100;
    let node = Node::with(config);
    node.serve("hello", Limits::default());
    for begun in ["", "PRI * HT", "GET /hello HTTP/1.1\r\nhost: t\r\nx-slow: "] {
        let mut stream = open(&node.addresses.front);
        stream.write_all(begun.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{begun:?}");
    }
    assert_eq!(node.stats("hello").requests, 0);
    eventually("the connections are gone", || node.engine.stats().connections == 0);
}

#[test]
fn a_header_that_is_too_large_is_refused() {
    let node = Node::local("a");
    node.serve("hello", Limits::default());
    let head = format!(
        "GET /hello HTTP/1.1\r\nhost: t\r\nx-large: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let mut stream = open(&node.addresses.front);
    let _ = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(node.get("/hello").status, 200);
}

#[test]
fn what_is_no_http_is_refused() {
    let node = Node::local("a");
    for bytes in [
        "\x16\x03\x01\x02",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let mut stream = open(&node.addresses.front);
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
            "{bytes:?}: {answer:?}"
        );
    }
    assert_eq!(node.get("/.hanse/healthz").status, 200);
}

#[test]
fn a_request_without_host_is_refused() {
    let node = Node::local("a");
    let reply = send(&node.addresses.front, "GET / HTTP/1.0\r\n\r\n", b"");
    assert_eq!((reply.status, reply.error()), (400, "request.no_host"));
}

#[test]
fn a_client_that_leaves_ends_its_guest() {
    let node = Node::local("a");
    node.serve(
        "sleep",
        Limits {
            timeout_ms: 60_000,
            concurrency: 1,
            queue: 0,
            ..Limits::default()
        },
    );
    let mut stream = open(&node.addresses.front);
    stream.write_all(b"GET /sleep HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    eventually("the guest runs", || node.stats("sleep").instances_started == 1);
    drop(stream);
    eventually("the guest is gone", || node.stats("sleep").in_flight == 0);
    // Its place is free again.
    let _next = {
        let mut stream = open(&node.addresses.front);
        stream.write_all(b"GET /sleep HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
        stream
    };
    eventually("the next one runs", || node.stats("sleep").instances_started == 2);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_stream_ends_its_guest() {
    let node = Node::local("a");
    let limits = Limits {
        timeout_ms: 60_000,
        concurrency: 1,
        queue: 0,
        response_body_bytes: u64::MAX,
        ..Limits::default()
    };
    node.serve("flood", limits);
    for round in 1..=2 {
        let mut stream = open(&node.addresses.front);
        eventually("there is room", || {
            stream = open(&node.addresses.front);
            stream.write_all(b"GET /flood HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
            let mut some = [0; 12];
            stream.read_exact(&mut some).unwrap();
            &some == b"HTTP/1.1 200"
        });
        assert_eq!(node.stats("flood").instances_started, round);
    }
}

#[test]
fn a_client_that_never_reads_is_let_go() {
    let mut config = config("a");
    config.write_timeout_ms = 100;
    let node = Node::with(config);
    let mut stream = open(&node.addresses.front);
    let request = b"GET /.hanse/metrics HTTP/1.1\r\nhost: t\r\n\r\n".repeat(1000);
    // Ask until the answers fill every buffer and the node hangs up.
    while stream.write_all(&request).is_ok() {}
    eventually("the connection is gone", || node.engine.stats().connections == 0);
    assert_eq!(node.engine.stats().cut_off.get("stalled"), Some(&1));
}

#[test]
fn clients_cannot_speak_in_the_name_of_nodes() {
    let node = Node::local("a");
    node.serve("hello", Limits::default());
    let head =
        "GET /hello HTTP/1.1\r\nhost: t\r\nconnection: close\r\nhanse-workload: other\r\nhanse-deadline-ms: 0\r\n\r\n";
    assert_eq!(send(&node.addresses.front, head, b"").status, 200);
}
