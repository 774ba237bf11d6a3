//! Components of WASI 0.3: the same limits, deadlines, egress rules and counters as those of 0.2.

use std::time::Duration;

use hanse_engine::{EgressRule, Limits, inspect};

use crate::client::{get_with, post};
use crate::node::{Node, eventually};

/// Ask once, and check that code and reason reach client, owner and counters alike.
fn fails(guest: &str, limits: Limits, status: u16, code: &'static str) {
    let node = Node::local("a");
    node.serve(guest, limits);
    let reply = node.get(&format!("/{guest}"));
    assert_eq!((reply.status, reply.error()), (status, code), "{reply:?}");
    assert_eq!(node.stats(guest).errors.get(code), Some(&1));
    assert!(node.faults(guest)[0].starts_with(code), "{:?}", node.faults(guest));
    eventually("its instance is gone", || node.stats(guest).in_flight == 0);
    node.serve("p3-hello", Limits::default());
    assert_eq!(node.get("/p3-hello").status, 200);
}

#[test]
fn is_told_from_0_2_by_what_it_exports() {
    let info = inspect(&hanse_guests::build("p3-hello").unwrap(), 1 << 20).unwrap();
    assert_eq!(info.world, "wasi:http/service@0.3.0");
    assert_eq!(info.exports, ["wasi:http/handler@0.3.0"]);
}

#[test]
fn answers_beside_0_2() {
    let node = Node::local("a");
    node.load("hello", Limits::default(), &[]);
    node.load("p3-hello", Limits::default(), &[]);
    let routes = ["hello", "p3-hello"].map(|guest| crate::node::route(guest, &[]));
    node.engine.set_routes(&routes).unwrap();
    for guest in ["hello", "p3-hello"] {
        let reply = node.get(&format!("/{guest}"));
        assert_eq!(
            (reply.status, reply.body.as_slice(), reply.is_whole),
            (200, &b"hello\n"[..], true)
        );
        let stats = node.stats(guest);
        assert_eq!((stats.requests, stats.instances_started, stats.bytes_out), (1, 1, 6));
        assert!(stats.peak_memory_bytes >= 65536);
    }
}

#[test]
fn each_request_has_an_instance_of_its_own() {
    let node = Node::local("a");
    node.serve("p3-warm", Limits::default());
    for _ in 0..3 {
        assert_eq!(node.get("/p3-warm").body, b"1");
    }
}

#[test]
fn bodies_stream_through() {
    let node = Node::local("a");
    node.serve("p3-echo", Limits::default());
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| at as u8).collect();
    let reply = post(&node.addresses.front, "/p3-echo", &body);
    assert_eq!(reply.status, 200);
    assert!(reply.is_whole && reply.body == body);
    let stats = node.stats("p3-echo");
    assert_eq!((stats.bytes_in, stats.bytes_out), (3_000_000, 3_000_000));
}

#[test]
fn a_request_body_beyond_the_limit_is_refused() {
    let node = Node::local("a");
    let limits = Limits {
        request_body_bytes: 1000,
        ..Limits::default()
    };
    node.serve("p3-echo", limits);
    let reply = post(&node.addresses.front, "/p3-echo", &[7; 1001]);
    assert_eq!((reply.status, reply.error()), (413, "request.too_large"));
}

#[test]
fn a_trap() {
    fails("p3-trap", Limits::default(), 500, "guest.trap");
}

#[test]
fn endless_memory() {
    let limits = Limits {
        memory_bytes: 8 << 20,
        ..Limits::default()
    };
    fails("p3-hog", limits, 507, "guest.memory");
}

#[test]
fn an_endless_loop_ends_at_the_deadline() {
    let limits = Limits {
        timeout_ms: 200,
        ..Limits::default()
    };
    fails("p3-loop", limits, 504, "guest.deadline");
}

#[test]
fn endless_waiting_ends_at_the_deadline() {
    let limits = Limits {
        timeout_ms: 200,
        ..Limits::default()
    };
    fails("p3-together", limits, 504, "guest.deadline");
}

#[test]
fn work_after_the_answer_ends_at_the_deadline() {
    let node = Node::local("a");
    let limits = Limits {
        timeout_ms: 300,
        ..Limits::default()
    };
    node.serve("p3-late", limits);
    let reply = node.get("/p3-late");
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"late\n"[..]));
    eventually("it is stopped, and its owner told", || {
        node.stats("p3-late").errors.get("guest.deadline") == Some(&1)
    });
}

#[test]
fn a_flood_is_cut_off_and_not_taken_for_whole() {
    let node = Node::local("a");
    let limits = Limits {
        response_body_bytes: 1 << 20,
        ..Limits::default()
    };
    node.serve("p3-flood", limits);
    let reply = node.get("/p3-flood");
    assert!(!reply.is_whole && reply.body.len() <= 1 << 20);
    assert_eq!(node.stats("p3-flood").errors.get("guest.response_too_large"), Some(&1));
}

#[test]
fn calls_go_through_the_same_rules() {
    let node = Node::local("a");
    node.serve("p3-egress", Limits::default());
    let reply = node.get("/p3-egress?api.example.org");
    assert_eq!((reply.status, reply.error()), (502, "guest.egress_denied"), "{reply:?}");
    assert!(node.faults("p3-egress")[0].contains("api.example.org:80: no egress rule names it"));

    let (address, served) = crate::egress::upstream();
    let rule = EgressRule {
        host: address.clone(),
        jurisdiction: "DE".to_owned(),
        allow_private: true,
    };
    node.serve_with("p3-egress", Limits::default(), &[rule]);
    let reply = node.get(&format!("/p3-egress?{address}"));
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, &b"called\n"[..]),
        "{reply:?}"
    );
    assert_eq!(served.join().unwrap(), "GET / HTTP/1.1");
}

#[test]
fn a_client_that_leaves_takes_its_instance_with_it() {
    let node = Node::local("a");
    let limits = Limits {
        timeout_ms: 60_000,
        concurrency: 1,
        ..Limits::default()
    };
    node.serve("p3-together", limits);
    let mut stream = crate::client::open(&node.addresses.front);
    std::io::Write::write_all(&mut stream, b"GET /p3-together HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    eventually("it runs", || node.stats("p3-together").instances_started == 1);
    drop(stream);
    eventually("it is gone", || node.stats("p3-together").in_flight == 0);
    assert!(node.engine.unload("p3-together", Duration::from_secs(10)));
}

#[test]
fn what_a_header_says_reaches_no_other_request() {
    let node = Node::local("a");
    node.serve("p3-hello", Limits::default());
    let reply = get_with(&node.addresses.front, "/p3-hello", "hanse-node: forged");
    assert_eq!(reply.header("hanse-node"), Some("a"));
}
