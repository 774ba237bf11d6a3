//! Instances that serve more than one request: only where the workload asks for it, and never after a fault.

use hanse_engine::{Limits, Reuse};

use crate::node::{Node, eventually};

fn reusing(count: u32, concurrency: u32) -> Limits {
    Limits {
        timeout_ms: 60_000,
        reuse: Reuse {
            count,
            concurrency,
            idle_ms: 60_000,
        },
        ..Limits::default()
    }
}

#[test]
fn nothing_is_left_of_a_request_unless_reuse_was_asked_for() {
    for guest in ["warm", "p3-warm"] {
        let node = Node::local("a");
        node.serve(guest, Limits::default());
        let path = format!("/{guest}");
        assert!((0..5).all(|_| node.get(&path).body == b"1"));
        let stats = node.stats(guest);
        assert_eq!((stats.instances_started, stats.warm_starts), (5, 0));
    }
}

#[test]
fn an_instance_serves_as_many_requests_as_allowed() {
    for guest in ["warm", "p3-warm"] {
        let node = Node::local("a");
        node.serve(guest, reusing(3, 1));
        let mut seen = String::new();
        for _ in 0..7 {
            let reply = node.get(&format!("/{guest}"));
            seen.push_str(std::str::from_utf8(&reply.body).unwrap());
            // The client has its answer a moment before the guest is done.
            eventually("it is idle again", || node.stats(guest).in_flight == 0);
        }
        // The end of the guest and the next request may race: then a fresh instance is made, never a spent one used.
        assert!(seen.bytes().all(|digit| (b'1'..=b'3').contains(&digit)), "{seen}");
        assert!(seen.contains('2'), "{guest} {seen}");
        let stats = node.stats(guest);
        assert_eq!(stats.instances_started + stats.warm_starts, 7);
    }
}

#[test]
fn an_instance_that_trapped_is_never_used_again() {
    let node = Node::local("a");
    node.serve("warm", reusing(100, 1));
    let mut seen = Vec::new();
    while seen.len() < 40 {
        let reply = node.get("/warm");
        seen.push(if reply.status == 200 { reply.body[0] } else { b'x' });
        if reply.status != 200 {
            assert_eq!(reply.error(), "guest.trap");
        }
    }
    let text = String::from_utf8(seen).unwrap();
    assert!(text.contains("1234x"), "{text}");
    // After each trap somebody new.
    assert!(
        text.split('x')
            .skip(1)
            .all(|after| after.is_empty() || after.starts_with('1')),
        "{text}"
    );
    assert!(!text.contains('5'), "{text}");
}

#[test]
fn an_idle_instance_ends_in_time() {
    let node = Node::local("a");
    let mut limits = reusing(100, 1);
    limits.reuse.idle_ms = 20;
    node.serve("warm", limits);
    assert_eq!(node.get("/warm").body, b"1");
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert_eq!(node.get("/warm").body, b"1");
}

#[test]
fn idle_instances_make_room_for_others() {
    let mut config = crate::node::config("a");
    config.max_instances = 1;
    let node = Node::with(config);
    node.load("warm", reusing(100, 1), &[]);
    node.load("hello", Limits::default(), &[]);
    let routes = ["warm", "hello"].map(|guest| crate::node::route(guest, &[]));
    node.engine.set_routes(&routes).unwrap();
    assert_eq!(node.get("/warm").body, b"1");
    assert_eq!(node.get("/hello").status, 200);
}

#[test]
fn several_requests_meet_in_one_instance_only_where_allowed() {
    let node = Node::local("a");
    node.serve("p3-together", reusing(100, 2));
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| node.get("/p3-together")));
        for one in both {
            let reply = one.join().unwrap();
            assert_eq!(
                (reply.status, reply.body.as_slice()),
                (200, &b"together\n"[..]),
                "{reply:?}"
            );
        }
    });
    assert_eq!(node.stats("p3-together").instances_started, 1);

    let node = Node::local("b");
    let mut limits = reusing(100, 1);
    limits.timeout_ms = 500;
    node.serve("p3-together", limits);
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| node.get("/p3-together")));
        for one in both {
            assert_eq!(one.join().unwrap().error(), "guest.deadline");
        }
    });
    assert_eq!(node.stats("p3-together").instances_started, 2);
}

#[test]
fn a_loop_in_a_shared_instance_ends_it_and_is_told_to_all_its_requests() {
    let node = Node::local("a");
    let mut limits = reusing(100, 4);
    limits.timeout_ms = 300;
    node.serve("p3-loop", limits);
    std::thread::scope(|scope| {
        let all = [(); 3].map(|()| scope.spawn(|| node.get("/p3-loop")));
        for one in all {
            assert_eq!(one.join().unwrap().error(), "guest.deadline");
        }
    });
    // Its seat is free again.
    eventually("it is gone", || node.stats("p3-loop").in_flight == 0);
    assert_eq!(node.stats("p3-loop").errors["guest.deadline"], 3);
}

#[test]
fn a_shared_instance_that_traps_is_replaced() {
    let node = Node::local("a");
    node.serve("p3-trap", reusing(100, 4));
    for _ in 0..3 {
        let reply = node.get("/p3-trap");
        assert_eq!((reply.status, reply.error()), (500, "guest.trap"), "{reply:?}");
    }
    assert_eq!(node.stats("p3-trap").instances_started, 3);
}

#[test]
fn requests_share_an_instance_even_where_there_is_room_for_no_other() {
    let mut config = crate::node::config("a");
    config.max_instances = 1;
    let node = Node::with(config);
    node.serve("p3-together", reusing(100, 2));
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| node.get("/p3-together").status));
        assert_eq!(both.map(|one| one.join().unwrap()), [200, 200]);
    });
}

#[test]
fn memory_beyond_the_limit_is_named_in_a_shared_instance_too() {
    let node = Node::local("a");
    let mut limits = reusing(100, 4);
    limits.memory_bytes = 8 << 20;
    node.serve("p3-hog", limits);
    let reply = node.get("/p3-hog");
    assert_eq!((reply.status, reply.error()), (507, "guest.memory"), "{reply:?}");
}

#[test]
fn workloads_of_different_classes_have_engines_of_their_own() {
    let node = Node::local("a");
    let of = |class: &str| Limits {
        class: class.to_owned(),
        ..Limits::default()
    };
    let before = node.engine.stats().trust_classes;
    node.load("hello", of("shop/public"), &[]);
    node.load("echo", of("shop/public"), &[]);
    assert_eq!(node.engine.stats().trust_classes, before + 1);
    node.load("warm", of("clinic/health"), &[]);
    assert_eq!(node.engine.stats().trust_classes, before + 2);
    let routes = ["hello", "echo", "warm"].map(|guest| crate::node::route(guest, &[]));
    node.engine.set_routes(&routes).unwrap();
    assert_eq!(node.get("/hello").status, 200);
    assert_eq!(node.get("/warm").body, b"1");
    assert!(node.engine.unload("warm", std::time::Duration::from_secs(1)));
    eventually("its engine went with it", || {
        node.engine.stats().trust_classes == before + 1
    });
}
