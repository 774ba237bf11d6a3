//! Tenants in processes of their own: what a worker cannot do, what its death costs, and that all else is as in the node.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hanse_engine::{EgressBytes, EgressRule, Isolation, Limits, Reuse, WorkerStats, try_to_escape};

use crate::client::{get, open, post, receive, send};
use crate::egress::upstream;
use crate::node::{Node, config, eventually, route};
use crate::streams::converse;

/// Limits of a workload of `tenant`, in a process of its own.
fn apart(tenant: &str) -> Limits {
    Limits {
        class: tenant.to_owned(),
        isolation: Isolation::Process,
        ..Limits::default()
    }
}

fn worker(node: &Node, tenant: &str) -> WorkerStats {
    let workers = node.engine.stats().workers;
    workers.into_iter().find(|worker| worker.tenant == tenant).unwrap()
}

fn kill(pid: u32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn every_way_out_is_refused() {
    let attempts = try_to_escape(&config("a"), false).unwrap();
    assert!(attempts.len() > 20);
    let open: Vec<_> = attempts.iter().filter(|attempt| !attempt.is_refused).collect();
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn landlock_refuses_files_and_connections_without_any_help() {
    let attempts = try_to_escape(&config("a"), true).unwrap();
    assert_eq!(attempts.len(), 4);
    for attempt in attempts {
        assert!(attempt.is_refused, "{attempt:?}");
        assert_eq!(
            attempt.how,
            std::io::Error::from_raw_os_error(13).to_string(),
            "{}",
            attempt.name
        );
    }
}

#[test]
fn tenants_have_processes_of_their_own_and_workloads_of_one_share_theirs() {
    let node = Node::local("a");
    node.load("hello", apart("shop/public"), &[]);
    node.load("echo", apart("shop/public"), &[]);
    node.load("mirror", apart("bank/health"), &[]);
    let routes = [route("hello", &[]), route("echo", &[]), route("mirror", &[])];
    node.engine.set_routes(&routes).unwrap();
    assert_eq!(node.get("/hello").status, 200);
    assert_eq!(post(&node.addresses.front, "/echo", b"abc").body, b"abc");
    assert_eq!(node.get("/mirror").status, 200);
    let (shop, bank) = (worker(&node, "shop/public"), worker(&node, "bank/health"));
    assert_eq!(shop.workloads, ["echo", "hello"]);
    assert_eq!(bank.workloads, ["mirror"]);
    let pids = [shop.pid, bank.pid, std::process::id()];
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    assert!(pids[0] != pids[1] && pids[1] != pids[2] && pids[0] != pids[2]);
    assert!(shop.landlock > 0 && shop.start_us > 0 && shop.rss_bytes > 1 << 20);
    // The last workload takes the process with it, and no other.
    assert!(node.engine.unload("mirror", Duration::from_secs(1)));
    eventually("the process ends", || !is_alive(bank.pid));
    assert!(is_alive(shop.pid));
    drop(node);
    assert!(!is_alive(shop.pid), "an orphan");
}

#[test]
fn a_guest_sees_the_request_as_it_would_in_the_node() {
    let node = Node::local("a");
    let head = "GET /mirror?q=1 HTTP/1.1\r\nhost: test\r\nx-one: 1\r\nhanse-version: 7\r\nconnection: close\r\n\r\n";
    let seen = |limits| {
        node.serve("mirror", limits);
        let reply = send(&node.addresses.front, head, b"");
        assert_eq!(reply.status, 200);
        let text = String::from_utf8(reply.body).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(seen(apart("t")), seen(Limits::default()));
}

#[test]
fn pieces_trailers_and_large_bodies_pass_through() {
    let node = Node::local("a");
    node.load("echo", apart("t"), &[]);
    node.load("trailers", apart("t"), &[]);
    node.engine
        .set_routes(&[route("echo", &[]), route("trailers", &[])])
        .unwrap();
    converse(&node.addresses.front);
    let large: Vec<u8> = (0..8 << 20).map(|at: u32| (at / 7) as u8).collect();
    let reply = post(&node.addresses.front, "/echo", &large);
    assert_eq!(
        (reply.status, reply.is_whole, reply.body.len()),
        (200, true, large.len())
    );
    assert!(reply.body == large);
    let mut stream = open(&node.addresses.front);
    stream
        .write_all(
            b"POST /trailers HTTP/1.1\r\nhost: t\r\nte: trailers\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
            trailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n"), "{answer}");
    let stats = node.stats("echo");
    assert_eq!(stats.requests, 2);
    assert!(stats.bytes_in > 8 << 20 && stats.bytes_out > 8 << 20);
}

#[test]
fn faults_logs_and_counts_come_back_to_the_node() {
    let node = Node::local("a");
    let limits = Limits {
        timeout_ms: 400,
        memory_bytes: 4 << 20,
        ..apart("t")
    };
    let guests = ["trap", "hog", "loop", "sleep", "log", "silent"];
    for guest in guests {
        node.load(guest, limits.clone(), &[]);
    }
    node.engine.set_routes(&guests.map(|guest| route(guest, &[]))).unwrap();
    for (guest, status, code) in [
        ("trap", 500, "guest.trap"),
        ("hog", 507, "guest.memory"),
        ("loop", 504, "guest.deadline"),
        ("sleep", 504, "guest.deadline"),
        ("silent", 500, "guest.no_response"),
    ] {
        let reply = node.get(&format!("/{guest}"));
        assert_eq!((reply.status, reply.error()), (status, code), "{guest}");
        assert!(reply.json()["hint"].as_str().unwrap().len() > 10);
        eventually(guest, || node.stats(guest).errors.get(code) == Some(&1));
        assert!(node.faults(guest)[0].starts_with(code));
    }
    assert_eq!(node.get("/log").status, 200);
    eventually("log lines", || {
        let lines = node.engine.logs("log", 0, 100);
        lines.iter().any(|line| line.stream == "stdout")
    });
    let stats = node.stats("loop");
    assert!(
        stats.cpu_us > 10_000 && stats.instances_started == 1 && stats.interrupts > 0,
        "{stats:?}"
    );
    assert!(node.stats("hog").peak_memory_bytes > 1 << 20);
    assert_eq!(
        worker(&node, "t").restarts,
        0,
        "a bad guest is no reason for a worker to end"
    );
}

#[test]
fn the_way_out_leads_through_the_node() {
    let node = Node::local("a");
    let (address, served) = upstream();
    let rule = EgressRule {
        host: address.clone(),
        jurisdiction: "DE".to_owned(),
        allow_private: true,
    };
    node.serve_with("egress", apart("t"), &[rule]);
    let reply = node.get(&format!("/egress?{address}"));
    assert_eq!((reply.status, reply.body), (200, 203_u16.to_le_bytes().to_vec()));
    assert_eq!(served.join().unwrap(), "GET / HTTP/1.1");
    let bytes = EgressBytes { sent: 0, received: 3 };
    assert_eq!(node.stats("egress").egress["DE"], bytes);
    let reply = node.get("/egress?api.example.org");
    assert_eq!((reply.status, reply.error()), (502, "guest.egress_denied"));
    assert!(
        node.faults("egress")
            .iter()
            .any(|line| line.contains("api.example.org:80: no egress rule names it"))
    );
}

#[test]
fn an_instance_is_reused_where_that_is_asked_for() {
    let node = Node::local("a");
    let reuse = Reuse {
        count: 3,
        concurrency: 1,
        idle_ms: 10_000,
    };
    node.serve("warm", Limits { reuse, ..apart("t") });
    let answers: Vec<_> = (0..4).map(|_| node.get("/warm").body).collect();
    assert_eq!(answers, [b"1", b"2", b"3", b"1"]);
}

#[test]
fn a_client_that_leaves_ends_its_guest_and_a_new_version_ends_the_old_one() {
    let node = Node::local("a");
    let limits = Limits {
        timeout_ms: 20_000,
        concurrency: 1,
        queue: 0,
        ..apart("t")
    };
    node.serve("sleep", limits.clone());
    let mut stream = open(&node.addresses.front);
    stream.write_all(b"GET /sleep HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    eventually("it runs", || node.stats("sleep").in_flight == 1);
    assert_eq!(node.get("/sleep").error(), "engine.overloaded");
    drop(stream);
    // The only turn is free again, in the node and in the worker: the next one is not turned away.
    let mut next = open(&node.addresses.front);
    eventually("the turn is free", || node.stats("sleep").in_flight == 0);
    next.write_all(b"GET /sleep HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    eventually("the next one runs", || node.stats("sleep").in_flight == 1);
    assert!(node.engine.unload("sleep", Duration::from_millis(50)));
    let reply = receive_one(next);
    assert!(reply.contains("guest.unloaded"), "{reply}");
}

fn receive_one(mut stream: std::net::TcpStream) -> String {
    let mut bytes = [0; 4096];
    let len = stream.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

#[test]
fn a_killed_worker_costs_its_own_requests_only_and_is_started_anew() {
    let node = Node::local("a");
    let slow = Limits {
        timeout_ms: 20_000,
        ..apart("t")
    };
    node.load("sleep", slow, &[]);
    node.load("hello", apart("other"), &[]);
    node.load("count", apart("t"), &[]);
    let routes = [route("sleep", &[]), route("hello", &[]), route("count", &[])];
    node.engine.set_routes(&routes).unwrap();
    let victim = worker(&node, "t").pid;
    let mut lost = open(&node.addresses.front);
    lost.write_all(b"POST /sleep HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    eventually("it runs", || node.stats("sleep").in_flight == 1);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let neighbours = scope.spawn(|| {
            let mut answered = 0;
            while !is_over.load(Ordering::Relaxed) || answered < 20 {
                assert_eq!(get(&node.addresses.front, "/hello").status, 200);
                answered += 1;
            }
        });
        kill(victim);
        let reply = receive(lost);
        assert_eq!((reply.status, reply.error()), (502, "worker.lost"));
        // The next request waits for the next process instead of failing.
        let reply = get(&node.addresses.front, "/count");
        assert_eq!(reply.status, 200);
        is_over.store(true, Ordering::Relaxed);
        neighbours.join().unwrap();
    });
    let now = worker(&node, "t");
    assert!(now.pid != victim && now.pid != 0 && now.restarts == 1);
    assert!(now.last_end.contains("SIGKILL"), "{}", now.last_end);
    let told = node.faults("sleep");
    assert!(
        told.iter()
            .any(|line| line.starts_with("worker.lost") && line.contains("SIGKILL")),
        "{told:?}"
    );
    assert_eq!(node.stats("sleep").errors["worker.lost"], 1);
    assert_eq!(worker(&node, "other").restarts, 0);
}

#[test]
fn what_may_be_repeated_is_repeated_when_the_worker_dies_under_it() {
    let node = Node::local("a");
    node.serve("hello", apart("t"));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut statuses = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        statuses.push(get(&node.addresses.front, "/hello").status);
                    }
                    statuses
                })
            })
            .collect();
        for round in 1..=2 {
            eventually("traffic", || node.stats("hello").requests > 20 * round);
            kill(worker(&node, "t").pid);
            eventually("a new process", || {
                let worker = worker(&node, "t");
                worker.restarts == round && worker.pid != 0
            });
        }
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            let statuses = client.join().unwrap();
            assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        }
    });
}

#[test]
fn a_node_that_cannot_start_workers_says_so() {
    let mut without = config("a");
    without.worker_command.clear();
    let node = Node::with(without);
    let component = hanse_guests::build("hello").unwrap();
    let load = |node: &Node| node.engine.load("hello", &component, apart("t"), &[], Vec::new());
    assert_eq!(load(&node).unwrap_err().code, "isolation.unavailable");
    let mut wrong = config("b");
    wrong.worker_command = vec!["/bin/false".to_owned()];
    let began = Instant::now();
    assert_eq!(load(&Node::with(wrong)).unwrap_err().code, "worker.start_failed");
    assert!(began.elapsed() < Duration::from_secs(10));
    let mut few = config("c");
    few.max_workers = 0;
    assert_eq!(load(&Node::with(few)).unwrap_err().code, "worker.too_many");
}
