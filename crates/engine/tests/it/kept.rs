//! Connections to upstreams that are kept for further requests: when they are, when they are not, and what is sent twice.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use hanse_engine::{Limits, Route};
use rustls::{ServerConnection, StreamOwned};

use crate::client::{Reply, get, open, receive, send};
use crate::node::{AUTHORITY, Node, config, eventually, route};
use crate::pki::web_params;
use crate::upstreams::{ASK, listen, port_of, read_head, server_config};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const POISON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// One request as an upstream sees it.
struct Visit<'a> {
    /// Which connection it came by, from 0.
    connection: usize,
    /// Which request of that connection it is, from 0.
    nth: usize,
    head: String,
    stream: &'a mut dyn Wire,
}

impl Visit<'_> {
    fn say(&mut self, bytes: &[u8]) {
        // Who does not want to hear it has gone.
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    fn hear(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// What an upstream does with a request; whether it wants another by that connection.
type Script = dyn Fn(&mut Visit<'_>) -> bool + Send + Sync;

#[derive(Default)]
struct Seen {
    connections: usize,
    /// First lines, by connection.
    asked: Vec<(usize, String)>,
    /// Connections that the other end closed, and those that were closed here.
    left: Vec<usize>,
    closed: Vec<usize>,
}

/// An upstream that plays by a script.
struct Program {
    address: String,
    seen: Arc<Mutex<Seen>>,
}

impl Program {
    fn new(is_tls: bool, script: impl Fn(&mut Visit<'_>) -> bool + Send + Sync + 'static) -> Self {
        let (seen, script) = (Arc::new(Mutex::new(Seen::default())), Arc::new(script));
        let (kept, connections) = (seen.clone(), AtomicUsize::new(0));
        let tls = is_tls.then(|| server_config(&AUTHORITY.issue(&web_params(&["localhost"]))));
        let address = listen(move |stream| {
            let connection = connections.fetch_add(1, Ordering::SeqCst);
            kept.lock().unwrap().connections += 1;
            let _ = stream.set_nodelay(true);
            let is_ours = match &tls {
                None => play(&kept, connection, stream, &*script),
                Some(tls) => {
                    let session = ServerConnection::new(tls.clone()).unwrap();
                    play(&kept, connection, StreamOwned::new(session, stream), &*script)
                }
            };
            let mut seen = kept.lock().unwrap();
            if is_ours {
                seen.closed.push(connection);
            } else {
                seen.left.push(connection);
            }
        });
        let address = if is_tls {
            format!("https://localhost:{}", port_of(&address))
        } else {
            address
        };
        Self { address, seen }
    }

    fn plain(script: impl Fn(&mut Visit<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::new(false, script)
    }

    /// A node whose service `s` this is.
    fn node(&self, concurrency: u32) -> Node {
        let mut config = config("a");
        // What one request leaves behind is in place before its client has the answer.
        config.worker_threads = 1;
        config.max_instances = 1;
        let node = Node::with(config);
        self.load(&node, "s", concurrency);
        node.engine.set_routes(&[route("s", &[node.replica(0)])]).unwrap();
        node
    }

    fn load(&self, node: &Node, name: &str, concurrency: u32) {
        let authorities = self
            .address
            .starts_with("https")
            .then_some(AUTHORITY.bundle_pem.as_bytes());
        let limits = Limits {
            concurrency,
            timeout_ms: 20_000,
            ..Limits::default()
        };
        node.engine
            .load_service(name, &self.address, authorities, limits)
            .unwrap();
    }

    fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// By which connections this was asked for.
    fn asked(&self, line: &str) -> Vec<usize> {
        let seen = self.seen.lock().unwrap();
        let same = seen.asked.iter().filter(|(_, asked)| asked == line);
        same.map(|(connection, _)| *connection).collect()
    }

    fn left(&self) -> Vec<usize> {
        let mut left = self.seen.lock().unwrap().left.clone();
        left.sort_unstable();
        left
    }

    fn has_closed(&self, connection: usize) -> bool {
        self.seen.lock().unwrap().closed.contains(&connection)
    }
}

/// Play until one end has enough; whether that was this one.
fn play(seen: &Mutex<Seen>, connection: usize, mut stream: impl Wire, script: &Script) -> bool {
    for nth in 0.. {
        let Some(head) = read_head(&mut stream) else {
            return false;
        };
        let line = head.lines().next().unwrap().to_owned();
        seen.lock().unwrap().asked.push((connection, line));
        let mut visit = Visit {
            connection,
            nth,
            head,
            stream: &mut stream,
        };
        if !script(&mut visit) {
            return true;
        }
    }
    true
}

fn ask(node: &Node, method: &str, more: &str, body: &[u8]) -> Reply {
    let head = format!("{method} /s/x HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{more}\r\n");
    send(&node.addresses.front, &head, body)
}

fn is_ok(reply: &Reply) -> bool {
    (reply.status, reply.body.as_slice(), reply.is_whole) == (200, b"ok", true)
}

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
