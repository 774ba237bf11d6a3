//! Connections to upstreams that are kept for further requests: when they are, and when they are not.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use hanse_engine::Route;

use crate::client::{get, open, receive};
use crate::node::{Node, eventually, route};
use crate::scripted::{OK, POISON, Program, ask, is_ok};
use crate::upstreams::{ASK, read_head};

#[test]
fn one_connection_serves_request_after_request_and_holds_no_turn() {
    for is_tls in [false, true] {
        let program = Program::new(is_tls, |visit| {
            let line = visit.head.lines().next().unwrap().to_owned();
            match line.split(' ').collect::<Vec<_>>()[..2] {
                ["POST", _] => {
                    let said = visit.hear(3);
                    visit.say(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
                    visit.say(&said);
                }
                ["GET", "/s/chunks"] => {
                    visit.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n2\r\nok\r\n");
                    visit.say(b"0\r\nx: y\r\n\r\n");
                }
                ["GET", "/s/nothing"] => visit.say(b"HTTP/1.1 204 No Content\r\n\r\n"),
                ["GET", "/s/soon"] => {
                    visit.say(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n");
                    visit.say(OK);
                }
                ["HEAD", _] => visit.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"),
                _ => visit.say(OK),
            }
            true
        });
        // A turn that a waiting connection held would be the only one.
        let node = program.node(1);
        for _ in 0..2 {
            assert!(is_ok(&node.get("/s/plain")));
            assert!(is_ok(&node.get("/s/chunks")));
            assert!(is_ok(&node.get("/s/soon")));
            assert_eq!(node.get("/s/nothing").status, 204);
            assert_eq!(ask(&node, "HEAD", "", b"").status, 200);
            assert_eq!(ask(&node, "POST", "content-length: 3\r\n", b"one").body, b"one");
        }
        assert_eq!(program.connections(), 1, "TLS: {is_tls}");
        assert_eq!(node.stats("s").errors.len(), 0);
    }
}

#[test]
fn threads_share_what_is_kept() {
    let program = Program::plain(|visit| {
        visit.say(OK);
        true
    });
    let node = Node::local("a");
    program.load(&node, "s", 8);
    node.engine.set_routes(&[route("s", &[node.replica(0)])]).unwrap();
    for _ in 0..64 {
        assert!(is_ok(&node.get("/s")));
    }
    assert!(program.connections() < 8, "{}", program.connections());
}

#[test]
fn what_the_server_says_decides_whether_it_is_asked_again() {
    let cases: [(&str, &str, u16, &[u8]); 9] = [
        (
            "it says so",
            "GET",
            200,
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        ),
        ("HTTP/1.0", "GET", 200, b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        (
            "two lengths",
            "GET",
            200,
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        ("another answer behind it", "GET", 200, &[OK, POISON].concat().leak()[..]),
        (
            "another answer behind chunks",
            "GET",
            200,
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
        ),
        ("a body that HEAD has not", "HEAD", 200, OK),
        ("a body that 204 has not", "GET", 204, b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok"),
        ("a body that 304 has not", "GET", 304, b"HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\nok"),
        ("one byte too many", "GET", 200, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\n"),
    ];
    for (what, method, status, answer) in cases {
        for is_tls in [false, true] {
            let answer = answer.to_vec();
            let program = Program::new(is_tls, move |visit| {
                visit.say(if visit.connection == 0 { &answer } else { OK });
                true
            });
            let node = program.node(4);
            let reply = ask(&node, method, "", b"");
            assert_eq!(reply.status, status, "{what}: {reply:?}");
            if status == 200 && method == "GET" {
                assert!(is_ok(&reply), "{what}: {reply:?}");
            }
            for _ in 0..2 {
                assert!(is_ok(&node.get("/s")), "{what}");
            }
            assert_eq!(program.asked("GET /s HTTP/1.1"), [1, 1], "{what}, TLS: {is_tls}");
            eventually("it is closed", || program.left() == [0]);
        }
    }
}

#[test]
fn an_answer_that_ends_with_the_connection_takes_it_along() {
    let program = Program::plain(|visit| {
        visit.say(b"HTTP/1.1 200 OK\r\n\r\nall there is");
        false
    });
    let node = program.node(4);
    for connections in 1..3 {
        assert_eq!(node.get("/s").status, 200);
        assert_eq!(program.connections(), connections);
    }
}

#[test]
fn what_comes_unasked_on_a_waiting_connection_answers_nobody() {
    for is_tls in [false, true] {
        let (go, may_go): (Sender<()>, Receiver<()>) = channel();
        let (tell, told) = channel();
        let (may_go, tell) = (Mutex::new(may_go), Mutex::new(tell));
        let program = Program::new(is_tls, move |visit| {
            visit.say(OK);
            if visit.connection == 0 && visit.nth == 1 {
                may_go.lock().unwrap().recv().unwrap();
                visit.say(POISON);
                tell.lock().unwrap().send(()).unwrap();
            }
            true
        });
        let node = program.node(4);
        assert!(is_ok(&node.get("/s/1")));
        assert!(is_ok(&node.get("/s/2")));
        go.send(()).unwrap();
        told.recv().unwrap();
        assert!(is_ok(&node.get("/s/3")));
        assert_eq!(program.asked("GET /s/2 HTTP/1.1"), [0]);
        assert_eq!(program.asked("GET /s/3 HTTP/1.1"), [1]);
        eventually("it is closed", || program.left() == [0]);
    }
}

#[test]
fn a_websocket_has_a_connection_of_its_own_and_never_gives_it_back() {
    let program = Program::plain(|visit| {
        if visit.head.to_lowercase().contains("upgrade: websocket") {
            visit.say(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
            let said = visit.hear(4);
            visit.say(&said);
            return true;
        }
        visit.say(OK);
        true
    });
    let node = program.node(4);
    assert!(is_ok(&node.get("/s/1")));
    let mut stream = open(&node.addresses.front);
    let ask = String::from_utf8(ASK.to_vec()).unwrap().replace("/ws/chat", "/s/chat");
    stream.write_all(ask.as_bytes()).unwrap();
    assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 101 "));
    stream.write_all(b"ahoy").unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ahoy");
    assert!(is_ok(&node.get("/s/2")));
    drop(stream);
    eventually("it has ended", || program.left() == [1]);
    assert!(is_ok(&node.get("/s/2")));
    assert_eq!(program.asked("GET /s/2 HTTP/1.1"), [0, 0]);
    assert_eq!(program.connections(), 2);
}

#[test]
fn an_answer_that_was_not_read_to_its_end_takes_the_connection_along() {
    for is_tls in [false, true] {
        // More than sockets hold, and less than there is.
        for (what, len) in [("the rest never comes", 10), ("the rest waits", 40 << 20)] {
            let program = Program::new(is_tls, move |visit| {
                if visit.connection == 0 {
                    visit.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", (40 << 20) + 1).as_bytes());
                    visit.say(&vec![b'x'; len]);
                } else {
                    visit.say(OK);
                }
                true
            });
            let node = program.node(1);
            let mut client = open(&node.addresses.front);
            client.write_all(b"GET /s/long HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
            assert!(read_head(&mut client).unwrap().starts_with("HTTP/1.1 200 "));
            drop(client);
            eventually(what, || program.left() == [0]);
            eventually("the turn is back", || is_ok(&node.get("/s/next")));
            assert_eq!(program.asked("GET /s/next HTTP/1.1").first(), Some(&1), "{what}");
        }
    }
}

#[test]
fn a_client_that_goes_before_the_answer_ends_the_request_and_the_connection() {
    let program = Program::plain(|visit| {
        if !visit.head.contains("/s/never") {
            visit.say(OK);
        }
        true
    });
    let node = program.node(1);
    assert!(is_ok(&node.get("/s/1")));
    let mut client = open(&node.addresses.front);
    client.write_all(b"GET /s/never HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    eventually("it is asked", || program.asked("GET /s/never HTTP/1.1") == [0]);
    drop(client);
    eventually("it hears of that", || program.left() == [0]);
    eventually("the turn is back", || is_ok(&node.get("/s/2")));
    assert_eq!(program.asked("GET /s/2 HTTP/1.1").first(), Some(&1));
}

#[test]
fn a_request_that_was_answered_before_it_was_whole_does_not_share_its_connection() {
    let program = Program::plain(|visit| {
        visit.say(OK);
        // The rest of a body is no request.
        visit.connection != 0 || { std::io::copy(visit.stream, &mut std::io::sink()).is_err() }
    });
    let node = program.node(4);
    let mut client = open(&node.addresses.front);
    client
        .write_all(b"POST /s/up HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\nconnection: close\r\n\r\nabc")
        .unwrap();
    let head = read_head(&mut client).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(is_ok(&node.get("/s/next")));
    assert_eq!(program.asked("GET /s/next HTTP/1.1"), [1]);
    drop(client);
    eventually("it ends with its client", || program.has_closed(0));
}

#[test]
fn nobody_waits_for_long() {
    let program = Program::plain(|visit| {
        visit.say(OK);
        true
    });
    let node = program.node(4);
    assert!(is_ok(&node.get("/s")));
    let since = Instant::now();
    eventually("it is closed", || program.left() == [0]);
    let waited = since.elapsed();
    assert!(
        (Duration::from_millis(3_500)..Duration::from_secs(9)).contains(&waited),
        "{waited:?}"
    );
}

#[test]
fn a_service_that_is_replaced_or_taken_off_takes_its_connections_along() {
    let (go, may_go): (Sender<()>, Receiver<()>) = channel();
    let may_go = Mutex::new(may_go);
    let program = Program::plain(move |visit| {
        if visit.head.contains("/s/slow") {
            may_go.lock().unwrap().recv().unwrap();
        }
        visit.say(OK);
        true
    });
    let node = program.node(4);
    let at_once = |left: &[usize]| {
        let since = Instant::now();
        eventually("it is closed", || program.left() == left);
        assert!(since.elapsed() < Duration::from_secs(3), "not when its time is up");
    };
    assert!(is_ok(&node.get("/s/1")));
    program.load(&node, "s", 4);
    at_once(&[0]);
    // What is in flight ends in its own time, and its connection with it; what waits beside it ends at once.
    let mut client = open(&node.addresses.front);
    client
        .write_all(b"GET /s/slow HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
        .unwrap();
    eventually("it is asked", || program.asked("GET /s/slow HTTP/1.1") == [1]);
    assert!(is_ok(&node.get("/s/2")));
    assert_eq!(program.asked("GET /s/2 HTTP/1.1"), [2]);
    assert!(node.engine.unload("s", Duration::ZERO));
    at_once(&[0, 2]);
    go.send(()).unwrap();
    assert!(is_ok(&receive(client)));
    at_once(&[0, 1, 2]);
}

#[test]
fn services_share_no_connection_even_to_the_same_program() {
    let program = Program::plain(|visit| {
        visit.say(OK);
        true
    });
    let node = program.node(4);
    program.load(&node, "t", 4);
    let routes: Vec<Route> = ["s", "t"].map(|name| route(name, &[node.replica(0)])).into();
    node.engine.set_routes(&routes).unwrap();
    for path in ["/s", "/t", "/s", "/t"] {
        assert!(is_ok(&get(&node.addresses.front, path)));
    }
    assert_eq!(program.asked("GET /s HTTP/1.1"), [0, 0]);
    assert_eq!(program.asked("GET /t HTTP/1.1"), [1, 1]);
}

#[test]
fn no_more_than_thirty_two_wait() {
    const CLIENTS: usize = 40;
    let together = Barrier::new(CLIENTS);
    let program = Program::plain(move |visit| {
        together.wait();
        visit.say(OK);
        true
    });
    let node = program.node(64);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| assert!(is_ok(&node.get("/s"))));
        }
    });
    assert_eq!(program.connections(), CLIENTS);
    eventually("the others are closed", || program.left().len() == CLIENTS - 32);
}
