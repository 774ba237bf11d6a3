//! Requests that another node answers, over mutual TLS, and what happens when it does not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hanse_engine::{Limits, Route};

use crate::client::{get, get_with, post};
use crate::node::{Node, dead_replica, eventually, route};

#[test]
fn a_request_goes_to_the_node_that_runs_the_workload() {
    let (ingress, runner) = (Node::member("a"), Node::member("b"));
    runner.load("echo", Limits::default(), &[]);
    ingress
        .engine
        .set_routes(&[route("echo", &[runner.replica(100)])])
        .unwrap();
    let body = vec![7; 200_000];
    let reply = post(&ingress.addresses.front, "/echo", &body);
    assert_eq!(reply.status, 200);
    assert!(reply.is_whole && reply.body == body);
    assert_eq!(reply.header("hanse-node"), Some("b"));
    assert_eq!(reply.header("hanse-ingress"), Some("a"));
    assert_eq!(
        (ingress.stats("echo").requests, ingress.stats("echo").forwarded),
        (1, 1)
    );
    assert_eq!((runner.stats("echo").requests, runner.stats("echo").from_mesh), (1, 1));
    let replicas = ingress.engine.stats().replicas;
    assert!(
        replicas[0].node == "b" && !replicas[0].ejected && replicas[0].in_flight == 0,
        "{replicas:?}"
    );
}

#[test]
fn the_workload_runs_here_when_it_can() {
    let (here, there) = (Node::member("a"), Node::member("b"));
    for node in [&here, &there] {
        node.load("hello", Limits::default(), &[]);
    }
    here.engine
        .set_routes(&[route("hello", &[here.replica(0), there.replica(0)])])
        .unwrap();
    assert_eq!(here.get("/hello").header("hanse-node"), Some("a"));
    here.engine.unload("hello", Duration::ZERO);
    assert_eq!(here.get("/hello").header("hanse-node"), Some("b"));
}

#[test]
fn the_nearest_replica_is_asked_first() {
    let (ingress, near, far) = (Node::member("a"), Node::member("b"), Node::member("c"));
    for node in [&near, &far] {
        node.load("hello", Limits::default(), &[]);
    }
    let table = [route("hello", &[far.replica(900_000), near.replica(100_000)])];
    ingress.engine.set_routes(&table).unwrap();
    assert_eq!(ingress.get("/hello").header("hanse-node"), Some("b"));
}

#[test]
fn a_fault_of_the_guest_reaches_the_client_from_afar() {
    let (ingress, runner) = (Node::member("a"), Node::member("b"));
    runner.load("trap", Limits::default(), &[]);
    ingress
        .engine
        .set_routes(&[route("trap", &[runner.replica(1)])])
        .unwrap();
    let reply = ingress.get("/trap");
    assert_eq!((reply.status, reply.error()), (500, "guest.trap"));
    assert_eq!(
        (reply.header("hanse-node"), &reply.json()["node"]),
        (Some("b"), &"b".into())
    );
    assert_eq!(ingress.stats("trap").retried, 0);
}

#[test]
fn a_node_that_does_not_run_it_passes_nothing_on_and_another_one_is_asked() {
    let (ingress, stale, runner) = (Node::member("a"), Node::member("b"), Node::member("c"));
    runner.load("echo", Limits::default(), &[]);
    // The stale node has a route to the runner, and still must not take a second hop.
    stale.engine.set_routes(&[route("echo", &[runner.replica(1)])]).unwrap();
    ingress
        .engine
        .set_routes(&[route("echo", &[stale.replica(1)])])
        .unwrap();
    let reply = ingress.get("/echo");
    assert_eq!((reply.status, reply.error()), (421, "route.not_here"));
    ingress
        .engine
        .set_routes(&[route("echo", &[stale.replica(1), runner.replica(9_000_000)])])
        .unwrap();
    let reply = post(&ingress.addresses.front, "/echo", b"not idempotent, but surely not run");
    assert_eq!((reply.status, reply.header("hanse-node")), (200, Some("c")));
    assert_eq!(ingress.stats("echo").retried, 1);
}

#[test]
fn dead_nodes_are_passed_over_fast_and_left_alone_for_a_while() {
    let (ingress, runner) = (Node::member("a"), Node::member("b"));
    runner.load("hello", Limits::default(), &[]);
    let replicas = [dead_replica("x", 1), dead_replica("y", 2), runner.replica(9_000_000)];
    ingress.engine.set_routes(&[route("hello", &replicas)]).unwrap();
    let began = Instant::now();
    assert_eq!(ingress.get("/hello").status, 200);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(ingress.stats("hello").retried, 2);
    let ejected = ingress
        .engine
        .stats()
        .replicas
        .iter()
        .filter(|replica| replica.ejected)
        .count();
    assert_eq!(ejected, 2);
    assert_eq!(ingress.get("/hello").status, 200);
}

#[test]
fn when_all_are_dead_the_client_hears_so_at_once() {
    let ingress = Node::member("a");
    ingress
        .engine
        .set_routes(&[route("hello", &[dead_replica("x", 1)])])
        .unwrap();
    let began = Instant::now();
    let reply = ingress.get("/hello");
    assert_eq!((reply.status, reply.error()), (503, "route.unreachable"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(ingress.stats("hello").errors["route.unreachable"], 1);
}

#[test]
fn a_node_that_comes_back_is_found_again() {
    let (ingress, first) = (Node::member("a"), Node::member("b"));
    first.load("hello", Limits::default(), &[]);
    ingress
        .engine
        .set_routes(&[route("hello", &[first.replica(1)])])
        .unwrap();
    assert_eq!(ingress.get("/hello").status, 200);
    first.engine.stop(Duration::ZERO);
    assert_eq!(ingress.get("/hello").error(), "route.unreachable");
    let mut config = crate::node::config("b");
    config.mesh_bind = first.addresses.mesh.clone();
    let second = Node::with(config);
    second.renew();
    second.load("hello", Limits::default(), &[]);
    assert_eq!(ingress.get("/hello").status, 200);
}

#[test]
fn no_idempotent_request_fails_while_a_node_goes_down() {
    let (ingress, first, second) = (Node::member("a"), Node::member("b"), Node::member("c"));
    for node in [&first, &second] {
        node.load("hello", Limits::default(), &[]);
    }
    ingress
        .engine
        .set_routes(&[route("hello", &[first.replica(1), second.replica(9_000_000)])])
        .unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let reply = get(&ingress.addresses.front, "/hello");
                        assert_eq!(reply.status, 200, "{reply:?}");
                    }
                })
            })
            .collect();
        eventually("the first serves", || first.stats("hello").requests > 50);
        first.engine.stop(Duration::ZERO);
        let served = second.stats("hello").requests;
        eventually("the second serves", || second.stats("hello").requests > served + 50);
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
    });
}

#[test]
fn what_does_not_fit_here_runs_elsewhere() {
    let (here, there) = (Node::member("a"), Node::member("b"));
    here.load(
        "sleep",
        Limits {
            concurrency: 1,
            queue: 0,
            timeout_ms: 2_000,
            ..Limits::default()
        },
        &[],
    );
    // On the other node the workload of that name answers at once.
    let component = hanse_guests::build("hello").unwrap();
    there
        .engine
        .load("sleep", &component, Limits::default(), &[], Vec::new())
        .unwrap();
    here.engine.set_routes(&[route("sleep", &[there.replica(1)])]).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| here.get("/sleep"));
        eventually("the first runs here", || here.stats("sleep").instances_started == 1);
        let second = here.get("/sleep");
        assert_eq!((second.status, second.header("hanse-node")), (200, Some("b")));
        assert_eq!(first.join().unwrap().status, 504);
    });
}

#[test]
fn a_slow_node_does_not_outlast_the_deadline() {
    let mut config = crate::node::config("a");
    config.request_timeout_ms = 300;
    let ingress = Node::with(config);
    ingress.renew();
    let runner = Node::member("b");
    runner.load("sleep", Limits::default(), &[]);
    ingress
        .engine
        .set_routes(&[route("sleep", &[runner.replica(1)])])
        .unwrap();
    let began = Instant::now();
    assert_eq!(ingress.get("/sleep").status, 504);
    assert!(began.elapsed() < Duration::from_secs(3));
    eventually("the guest over there is gone", || runner.stats("sleep").in_flight == 0);
}

#[test]
fn certificates_are_renewed_without_a_failed_request() {
    let (ingress, runner) = (Node::member("a"), Node::member("b"));
    runner.load("hello", Limits::default(), &[]);
    ingress
        .engine
        .set_routes(&[route("hello", &[runner.replica(1)])])
        .unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let reply = get(&ingress.addresses.front, "/hello");
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        });
        for round in 1..=10 {
            eventually("requests flow", || runner.stats("hello").requests > round * 20);
            ingress.renew();
            runner.renew();
        }
        is_over.store(true, Ordering::Relaxed);
        client.join().unwrap();
    });
    assert_eq!(
        ingress.engine.stats().mesh_refused + runner.engine.stats().mesh_refused,
        0
    );
}

#[test]
fn routes_are_swapped_under_traffic_without_a_failed_request() {
    let (ingress, first, second) = (Node::member("a"), Node::member("b"), Node::member("c"));
    for node in [&ingress, &first, &second] {
        node.load("hello", Limits::default(), &[]);
    }
    let replicas = [ingress.replica(0), first.replica(1), second.replica(20_000)];
    let tables: Vec<Route> = vec![
        route("hello", &replicas[1..]),
        route("hello", &replicas[2..]),
        Route {
            hash_on: Some("header:x-key".to_owned()),
            ..route("hello", &replicas)
        },
        Route {
            max_in_flight: 100,
            hedge: false,
            ..route("hello", &[])
        },
    ];
    ingress.engine.set_routes(&tables[..1]).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (ingress, is_over) = (&ingress, &is_over);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let reply = get_with(&ingress.addresses.front, "/hello", &format!("x-key: {client}"));
                        assert_eq!(reply.status, 200, "{reply:?}");
                    }
                })
            })
            .collect();
        for round in 0..40_u64 {
            eventually("requests flow", || ingress.stats("hello").requests > round * 10);
            let table = &tables[round as usize % tables.len()];
            ingress.engine.set_routes(std::slice::from_ref(table)).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
    });
    let stats = ingress.stats("hello");
    assert!(stats.errors.is_empty() && stats.shed == 0, "{stats:?}");
}

#[test]
fn a_hashed_route_keeps_a_key_on_one_replica_and_moves_it_when_that_is_gone() {
    let (ingress, first, second) = (Node::member("a"), Node::member("b"), Node::member("c"));
    let nodes = [&ingress, &first, &second];
    for node in nodes {
        node.load("hello", Limits::default(), &[]);
    }
    let hashed = Route {
        hash_on: Some("header:x-key".to_owned()),
        ..route("hello", &nodes.map(|node| node.replica(1)))
    };
    ingress.engine.set_routes(&[hashed]).unwrap();
    let node_of = |key: u32| {
        let reply = get_with(&ingress.addresses.front, "/hello", &format!("x-key: {key}"));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.header("hanse-node").unwrap().to_owned()
    };
    let before: Vec<String> = (0..30).map(node_of).collect();
    assert_eq!(before, (0..30).map(node_of).collect::<Vec<_>>());
    for name in ["a", "b", "c"] {
        assert!(before.iter().any(|node| node == name), "{before:?}");
    }
    first.engine.stop(Duration::ZERO);
    second.engine.stop(Duration::ZERO);
    assert!((0..30).map(node_of).all(|node| node == "a"));
}

#[test]
fn a_slow_replica_is_hedged_within_the_budget() {
    let (ingress, slow, quick) = (Node::member("a"), Node::member("b"), Node::member("c"));
    slow.load("hello", Limits::default(), &[]);
    quick.load("hello", Limits::default(), &[]);
    let replicas = [slow.replica(1), quick.replica(60_000_000)];
    ingress.engine.set_routes(&[route("hello", &replicas)]).unwrap();
    // The percentile is learned while the near one is quick.
    for _ in 0..130 {
        assert_eq!(ingress.get("/hello").status, 200);
    }
    let component = hanse_guests::build("sleep").unwrap();
    let limits = Limits {
        timeout_ms: 2_000,
        ..Limits::default()
    };
    slow.engine.load("hello", &component, limits, &[], Vec::new()).unwrap();
    let before = ingress.stats("hello");
    let reply = ingress.get("/hello");
    assert_eq!((reply.status, reply.header("hanse-node")), (200, Some("c")));
    let stats = ingress.stats("hello");
    assert_eq!(
        (stats.hedged, stats.hedges_won),
        (before.hedged + 1, before.hedges_won + 1)
    );
    assert_eq!(stats.retried, before.retried);
    eventually("the loser is cancelled", || slow.stats("hello").in_flight == 0);
}

#[test]
fn a_request_that_may_not_run_twice_at_once_is_never_hedged() {
    let (ingress, slow, quick) = (Node::member("a"), Node::member("b"), Node::member("c"));
    let limits = Limits {
        timeout_ms: 300,
        ..Limits::default()
    };
    slow.load("hello", Limits::default(), &[]);
    quick.load("hello", Limits::default(), &[]);
    let replicas = [slow.replica(1), quick.replica(60_000_000)];
    ingress.engine.set_routes(&[route("hello", &replicas)]).unwrap();
    for _ in 0..130 {
        assert_eq!(post(&ingress.addresses.front, "/hello", b"").status, 200);
    }
    let component = hanse_guests::build("sleep").unwrap();
    slow.engine.load("hello", &component, limits, &[], Vec::new()).unwrap();
    assert_eq!(post(&ingress.addresses.front, "/hello", b"once").status, 504);
    let stats = ingress.stats("hello");
    assert_eq!((stats.hedged, stats.retried), (0, 0));
}

#[test]
fn a_route_sheds_what_it_cannot_hold_and_says_when_to_come_back() {
    let node = Node::local("a");
    node.load("sleep", Limits::default(), &[]);
    let narrow = Route {
        max_in_flight: 1,
        ..route("sleep", &[])
    };
    node.engine.set_routes(&[narrow]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| node.get("/sleep"));
        eventually("the first is in", || node.stats("sleep").in_flight == 1);
        let reply = node.get("/sleep");
        assert_eq!((reply.status, reply.error()), (503, "route.overloaded"));
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert_eq!(node.stats("sleep").shed, 1);
        assert!(
            node.get("/.hanse/metrics")
                .body
                .windows(30)
                .any(|text| text.starts_with(b"hanse_requests_shed_total"))
        );
        node.engine.unload("sleep", Duration::ZERO);
    });
}
