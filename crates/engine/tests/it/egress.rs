//! Guests that call out: nowhere by default, and where a rule says so.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use hanse_engine::{EgressBytes, EgressRule, Limits};

use crate::node::Node;

fn rule(host: &str, allow_private: bool) -> EgressRule {
    EgressRule {
        host: host.to_owned(),
        jurisdiction: "DE".to_owned(),
        allow_private,
    }
}

/// A server that answers one request with status 203 and three bytes.
pub fn upstream() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(&stream).lines();
        let first = lines.next().unwrap().unwrap();
        while !lines.next().unwrap().unwrap().is_empty() {}
        (&stream)
            .write_all(b"HTTP/1.1 203 Ok\r\ncontent-length: 3\r\n\r\nabc")
            .unwrap();
        first
    });
    (address, served)
}

#[test]
fn without_a_rule_nothing_is_called() {
    let node = Node::local("a");
    node.serve("egress", Limits::default());
    let reply = node.get("/egress?api.example.org");
    assert_eq!((reply.status, reply.error()), (502, "guest.egress_denied"));
    assert!(reply.json()["message"].as_str().unwrap().contains("HttpRequestDenied"));
    let faults = node.faults("egress");
    assert!(
        faults[0].contains("api.example.org:80: no egress rule names it"),
        "{faults:?}"
    );
    let errors = node.stats("egress").errors;
    assert_eq!((errors["egress.denied"], errors["guest.egress_denied"]), (1, 1));
}

#[test]
fn a_rule_does_not_open_private_addresses() {
    let node = Node::local("a");
    let (address, _) = upstream();
    node.serve_with(
        "egress",
        Limits::default(),
        &[rule(&address, false), rule("localhost", false)],
    );
    for target in [address.as_str(), "localhost"] {
        let reply = node.get(&format!("/egress?{target}"));
        assert_eq!((reply.status, reply.error()), (502, "guest.egress_denied"));
        assert!(
            reply.json()["message"]
                .as_str()
                .unwrap()
                .contains("DestinationIpProhibited"),
            "{reply:?}"
        );
    }
}

#[test]
fn an_allowed_call_is_made_and_its_bytes_are_counted_by_jurisdiction() {
    let node = Node::local("a");
    let (address, served) = upstream();
    node.serve_with("egress", Limits::default(), &[rule(&address, true)]);
    let reply = node.get(&format!("/egress?{address}"));
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, 203_u16.to_le_bytes().as_slice())
    );
    assert_eq!(served.join().unwrap(), "GET / HTTP/1.1");
    let counted = EgressBytes { sent: 0, received: 3 };
    assert_eq!(node.stats("egress").egress.get("DE"), Some(&counted));
}

#[test]
fn a_destination_that_is_down_is_an_error_for_the_guest_alone() {
    let node = Node::local("a");
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    node.serve_with("egress", Limits::default(), &[rule(&address, true)]);
    let reply = node.get(&format!("/egress?{address}"));
    assert_eq!((reply.status, reply.error()), (502, "guest.error"));
    assert!(
        reply.json()["message"].as_str().unwrap().contains("ConnectionRefused"),
        "{reply:?}"
    );
}
