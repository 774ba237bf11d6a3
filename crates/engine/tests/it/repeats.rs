//! Requests that met the end of a kept connection: which are sent once more, and which never twice.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use crate::node::eventually;
use crate::scripted::{OK, Program, ask, is_ok};

#[test]
fn a_connection_that_was_closed_meanwhile_harms_no_request_of_any_method() {
    for is_tls in [false, true] {
        let program = Program::new(is_tls, |visit| {
            if visit.head.starts_with("POST") {
                visit.hear(3);
            }
            visit.say(OK);
            visit.connection != 0
        });
        let node = program.node(4);
        assert!(is_ok(&node.get("/s")));
        eventually("the server has closed", || program.has_closed(0));
        assert!(is_ok(&ask(&node, "POST", "content-length: 3\r\n", b"abc")));
        assert_eq!(program.asked("POST /s/x HTTP/1.1"), [1]);
    }
}

/// Answers once, and ends with the second request: as if both had met on the way.
fn forgetful(is_tls: bool, heard: Sender<Vec<u8>>) -> Program {
    let heard = Mutex::new(heard);
    Program::new(is_tls, move |visit| {
        let is_end = visit.connection == 0 && visit.nth == 1;
        if visit.head.to_lowercase().contains("content-length: 3") && !is_end {
            heard.lock().unwrap().send(visit.hear(3)).unwrap();
        }
        if !is_end {
            visit.say(OK);
        }
        !is_end
    })
}

#[test]
fn a_request_that_may_be_repeated_is_asked_once_more_on_a_fresh_connection() {
    let cases: [(&str, &str, &[u8]); 6] = [
        ("GET", "", b""),
        ("DELETE", "", b""),
        ("OPTIONS", "", b""),
        ("PUT", "content-length: 3\r\n", b"abc"),
        ("POST", "idempotency-key: 7\r\ncontent-length: 3\r\n", b"abc"),
        ("POST", "idempotency-key: 7\r\n", b""),
    ];
    for (method, more, body) in cases {
        for is_tls in [false, true] {
            let (sender, heard) = channel();
            let program = forgetful(is_tls, sender);
            let node = program.node(4);
            assert!(is_ok(&node.get("/s")));
            let reply = ask(&node, method, more, body);
            assert!(is_ok(&reply), "{method} {more}: {reply:?}");
            assert_eq!(
                program.asked(&format!("{method} /s/x HTTP/1.1")),
                [0, 1],
                "{method} {more}"
            );
            if !body.is_empty() {
                assert_eq!(heard.recv().unwrap(), body, "the whole body once more");
            }
        }
    }
}

#[test]
fn a_request_that_may_have_been_carried_out_is_never_sent_twice() {
    let cases: [(&str, &str, &[u8]); 4] = [
        ("POST", "content-length: 3\r\n", b"abc"),
        ("POST", "", b""),
        ("PATCH", "content-length: 3\r\n", b"abc"),
        // What was sent of it is kept nowhere: how long it is was not told.
        ("PUT", "transfer-encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    ];
    for (method, more, body) in cases {
        for is_tls in [false, true] {
            let program = forgetful(is_tls, channel().0);
            let node = program.node(4);
            assert!(is_ok(&node.get("/s")));
            let reply = ask(&node, method, more, body);
            assert_eq!(
                (reply.status, reply.error()),
                (502, "service.broken"),
                "{method} {more}: {reply:?}"
            );
            assert_eq!(
                program.asked(&format!("{method} /s/x HTTP/1.1")),
                [0],
                "{method} {more}"
            );
            assert_eq!(program.connections(), 1);
            let told = node.faults("s").join("\n");
            assert!(told.contains("may have done what was asked"), "{told}");
        }
    }
}

#[test]
fn a_wrong_answer_and_the_end_of_a_fresh_connection_are_told_and_not_tried_again() {
    let program = Program::plain(|visit| {
        if visit.nth == 1 {
            visit.say(b"HTTP/9 perhaps\r\n\r\n");
        } else if !visit.head.contains("/s/x") {
            visit.say(OK);
        }
        visit.nth == 0 && !visit.head.contains("/s/x")
    });
    let node = program.node(4);
    assert!(is_ok(&node.get("/s/1")));
    let wrong = node.get("/s/2");
    assert_eq!((wrong.status, wrong.error()), (502, "service.broken"));
    assert_eq!(program.asked("GET /s/2 HTTP/1.1"), [0]);
    let ended = ask(&node, "GET", "", b"");
    assert_eq!((ended.status, ended.error()), (502, "service.broken"));
    assert_eq!(program.asked("GET /s/x HTTP/1.1"), [1]);
}

#[test]
fn a_protocol_that_nobody_asked_for_is_no_answer() {
    let program = Program::plain(|visit| {
        visit.say(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n");
        true
    });
    let node = program.node(4);
    let reply = node.get("/s");
    assert_eq!((reply.status, reply.error()), (502, "service.broken"));
    eventually("it is closed", || program.left() == [0]);
}
