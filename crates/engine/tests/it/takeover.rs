//! Hot restart: another engine takes over the sockets while clients ask without pause.

use std::io::{Read, Write};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hanse_engine::{Engine, Limits};

use crate::client::{Reply, get, open, receive};
use crate::node::{Node, config, eventually, route};

const GRACE: Duration = Duration::from_secs(8);

/// What SCM_RIGHTS does between processes: a second descriptor of the same socket.
fn duplicate(descriptor: i32) -> i32 {
    #[expect(unsafe_code, reason = "borrowed for the moment of the duplication")]
    // SAFETY: the engine that owns the descriptor lives on.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    borrowed.try_clone_to_owned().unwrap().into_raw_fd()
}

fn successor(of: &Node) -> Engine {
    let (front, mesh) = of.engine.sockets().unwrap();
    let mut config = config(&of.name);
    config.inherited = Some((duplicate(front), duplicate(mesh)));
    let engine = Engine::new(config).unwrap();
    assert_eq!(engine.bind().unwrap(), of.addresses);
    let hello = hanse_guests::build("hello").unwrap();
    engine
        .load("hello", &hello, Limits::default(), &[], Vec::new())
        .unwrap();
    engine.set_routes(&[route("hello", &[])]).unwrap();
    engine
}

/// Ask on one connection until the server says to connect anew; `None` when it closed without an answer.
fn ask_kept(address: &str, kept: &mut Option<std::net::TcpStream>) -> Option<Vec<u8>> {
    let stream = kept.get_or_insert_with(|| open(address));
    stream.write_all(b"GET /hello HTTP/1.1\r\nhost: t\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        answer.push(byte[0]);
    }
    if String::from_utf8_lossy(&answer).contains("connection: close") {
        *kept = None;
    }
    Some(answer)
}

#[test]
fn sockets_are_taken_over_under_load_without_a_failed_request() {
    let mut node = Node::local("a");
    node.serve("hello", Limits::default());
    let address = node.addresses.front.clone();
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (is_over, answered, address) = (&is_over, &answered, &address);
        for keeps_alive in [true, true, false] {
            scope.spawn(move || {
                let mut kept = None;
                while !is_over.load(Ordering::Relaxed) {
                    if keeps_alive {
                        assert!(
                            ask_kept(address, &mut kept).is_some(),
                            "a kept connection was closed on a request"
                        );
                    } else {
                        assert_eq!(get(address, "/hello").status, 200);
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            let before = answered.load(Ordering::Relaxed);
            eventually("traffic flows", || answered.load(Ordering::Relaxed) > before + 20);
            let next = successor(&node);
            next.start().unwrap();
            let old = std::mem::replace(&mut node.engine, next);
            old.hand_over(GRACE);
            assert_eq!(
                old.stats().connections,
                0,
                "all clients have moved before the grace was over"
            );
            drop(old);
            eventually("the successor serves", || node.engine.stats().workloads[0].requests > 0);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_request_in_flight_is_finished_by_the_engine_that_began_it() {
    let node = Node::local("a");
    node.load("echo", Limits::default(), &[]);
    node.engine.set_routes(&[route("echo", &[])]).unwrap();
    let mut stream = open(&node.addresses.front);
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nhost: t\r\ncontent-length: 6\r\n\r\nabc")
        .unwrap();
    eventually("it runs", || node.stats("echo").instances_started == 1);
    let next = successor(&node);
    next.start().unwrap();
    std::thread::scope(|scope| {
        let handing_over = scope.spawn(|| node.engine.hand_over(Duration::from_secs(3)));
        eventually("new clients reach the successor", || {
            get(&node.addresses.front, "/hello").status == 200 && next.stats().workloads[0].requests > 0
        });
        assert!(!handing_over.is_finished());
        stream.write_all(b"def").unwrap();
        let reply = receive(stream);
        assert_eq!(
            (reply.status, reply.body.as_slice(), reply.is_whole),
            (200, b"abcdef".as_slice(), true)
        );
        handing_over.join().unwrap();
    });
}

#[test]
fn clients_wait_in_the_queue_until_a_bound_engine_starts() {
    let engine = Engine::new(config("a")).unwrap();
    let address = engine.bind().unwrap().front;
    let answer: Mutex<Option<Reply>> = Mutex::new(None);
    std::thread::scope(|scope| {
        scope.spawn(|| *answer.lock().unwrap() = Some(get(&address, "/.hanse/healthz")));
        assert_eq!(engine.stats().connections, 0);
        engine.start().unwrap();
    });
    assert_eq!(answer.lock().unwrap().as_ref().unwrap().status, 200);
    assert_eq!(engine.bind().unwrap_err().code, "engine.stopped");
}

#[test]
fn what_is_no_socket_is_not_taken_over() {
    for descriptor in [-1, {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        OwnedFd::from(reader).into_raw_fd()
    }] {
        let mut config = config("a");
        config.inherited = Some((descriptor, -1));
        let error = Engine::new(config).unwrap().bind().unwrap_err();
        assert_eq!(error.code, "engine.socket_invalid", "{descriptor}");
    }
}
