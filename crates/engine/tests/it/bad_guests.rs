//! Guests that misbehave: each ends in a defined status that its owner can read, and the next request is served.

use std::time::{Duration, Instant};

use hanse_engine::Limits;

use crate::client::Reply;
use crate::node::{Node, eventually, route};

/// Ask the guest once, and check that code and reason reach client, owner and counters alike.
fn fails(guest: &str, limits: Limits, status: u16, code: &'static str) -> Reply {
    let node = Node::local("a");
    node.serve(guest, limits);
    let reply = node.get(&format!("/{guest}"));
    assert_eq!((reply.status, reply.error()), (status, code), "{reply:?}");
    assert_eq!(reply.json()["error"], code);
    assert_eq!(node.stats(guest).errors.get(code), Some(&1));
    let faults = node.faults(guest);
    assert!(faults.len() == 1 && faults[0].starts_with(code), "{faults:?}");
    eventually("its instance is gone", || node.stats(guest).in_flight == 0);
    node.serve("hello", Limits::default());
    assert_eq!(node.get("/hello").status, 200);
    reply
}

#[test]
fn a_trap() {
    fails("trap", Limits::default(), 500, "guest.trap");
}

#[test]
fn a_trap_after_the_answer_began_but_before_it_was_sent() {
    fails("late-trap", Limits::default(), 500, "guest.trap");
}

#[test]
fn endless_recursion() {
    let reply = fails("recurse", Limits::default(), 500, "guest.trap");
    assert!(reply.json()["message"].as_str().unwrap().contains("stack"), "{reply:?}");
}

#[test]
fn endless_host_objects() {
    fails("handles", Limits::default(), 500, "guest.trap");
}

#[test]
fn endless_memory() {
    let limits = Limits {
        memory_bytes: 8 << 20,
        ..Limits::default()
    };
    fails("hog", limits, 507, "guest.memory");
}

#[test]
fn more_memory_at_the_start_than_allowed() {
    let limits = Limits {
        memory_bytes: 65536,
        ..Limits::default()
    };
    fails("hello", limits, 507, "guest.memory");
}

#[test]
fn endless_tables() {
    fails("tables", Limits::default(), 507, "guest.memory");
}

#[test]
fn no_answer_at_all() {
    fails("silent", Limits::default(), 500, "guest.no_response");
}

#[test]
fn an_endless_loop_ends_at_the_deadline() {
    let began = Instant::now();
    let limits = Limits {
        timeout_ms: 200,
        ..Limits::default()
    };
    fails("loop", limits, 504, "guest.deadline");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn endless_waiting_ends_at_the_deadline() {
    let limits = Limits {
        timeout_ms: 200,
        ..Limits::default()
    };
    fails("sleep", limits, 504, "guest.deadline");
}

#[test]
fn a_loop_leaves_the_neighbours_alone() {
    let node = Node::local("a");
    let limits = Limits {
        timeout_ms: 300_000,
        ..Limits::default()
    };
    node.load("loop", limits, &[]);
    node.load("hello", Limits::default(), &[]);
    let routes = ["loop", "hello"].map(|guest| crate::node::route(guest, &[]));
    node.engine.set_routes(&routes).unwrap();
    std::thread::scope(|scope| {
        // Twice as many as there are threads.
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(node.get("/loop").status, 503));
        }
        eventually("all of them compute", || node.stats("loop").interrupts >= 16);
        // Counted in turns that the loops got, not in seconds: a busy machine makes both slow. Four loops on two threads
        // get 1000 turns in a second.
        let mut turns = Vec::new();
        for _ in 0..20 {
            let before = node.stats("loop").interrupts;
            assert_eq!(node.get("/hello").status, 200);
            turns.push(node.stats("loop").interrupts - before);
        }
        turns.sort_unstable();
        assert!(turns[10] <= 20 && turns[19] <= 200, "{turns:?}");
        assert_eq!(node.stats("loop").in_flight, 4);
        assert!(node.engine.unload("loop", Duration::ZERO));
    });
}

#[test]
fn a_flood_is_cut_off_and_not_taken_for_whole() {
    let node = Node::local("a");
    node.serve(
        "flood",
        Limits {
            response_body_bytes: 1 << 20,
            ..Limits::default()
        },
    );
    let reply = node.get("/flood");
    assert_eq!(reply.status, 200);
    assert!(
        !reply.is_whole && reply.body.len() <= 1 << 20,
        "{} {}",
        reply.is_whole,
        reply.body.len()
    );
    assert_eq!(node.stats("flood").errors.get("guest.response_too_large"), Some(&1));
}

#[test]
fn a_stream_past_its_deadline_is_cut_off_and_not_taken_for_whole() {
    let node = Node::local("a");
    let limits = Limits {
        response_body_bytes: u64::MAX,
        timeout_ms: 100,
        ..Limits::default()
    };
    node.serve("flood", limits);
    let mut stream = crate::client::open(&node.addresses.front);
    std::io::Write::write_all(
        &mut stream,
        b"GET /flood HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    )
    .unwrap();
    // Nothing is read, so the guest soon waits for room until its time is up.
    eventually("it is ended", || {
        node.stats("flood").errors.contains_key("guest.deadline")
    });
    let reply = crate::client::receive(stream);
    assert!(!reply.is_whole && reply.body.len() < 1 << 30);
}

#[test]
fn more_than_the_node_can_hold_is_turned_away() {
    let node = Node::local("a");
    node.serve(
        "sleep",
        Limits {
            concurrency: 1,
            queue: 0,
            timeout_ms: 1_000,
            ..Limits::default()
        },
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/sleep"));
        eventually("the first runs", || node.stats("sleep").instances_started == 1);
        let second = node.get("/sleep");
        assert_eq!((second.status, second.error()), (503, "engine.overloaded"));
        assert_eq!(second.header("retry-after"), Some("1"));
        assert_eq!(first.join().unwrap().status, 504);
    });
}

/// What hostile guests took is given back, whatever they did: measured, not counted.
#[test]
fn memory_comes_back() {
    let node = Node::local("a");
    let limits = Limits {
        memory_bytes: 64 << 20,
        timeout_ms: 200,
        ..Limits::default()
    };
    let guests = [
        "hog", "tables", "handles", "recurse", "flood", "trap", "loop", "p3-hog", "p3-flood",
    ];
    for guest in guests {
        node.load(guest, limits.clone(), &[]);
    }
    let routes: Vec<_> = guests.iter().map(|guest| route(guest, &[])).collect();
    node.engine.set_routes(&routes).unwrap();
    let round = || {
        for guest in guests {
            // Some are stopped before they answer, some after: none may keep what it took.
            let _ = node.get(&format!("/{guest}"));
        }
        eventually("every instance has ended", || {
            guests.iter().all(|guest| node.stats(guest).instances == 0)
        });
    };
    for _ in 0..2 {
        round();
    }
    let before = resident_bytes();
    for _ in 0..8 {
        round();
    }
    let grown = resident_bytes().saturating_sub(before);
    // Other tests run beside this one; what one round takes at its peak is some 200 MiB, eight leaked ones would be 1.5 GiB.
    assert!(grown < 256 << 20, "{} MiB", grown >> 20);
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
