//! Requests made to be understood differently by two servers, and others that are not HTTP: each ends in a defined way.
//!
//! A front that passes requests on must not let one client put words into the next one's request. The engine never passes bytes
//! on: between nodes everything is HTTP/2 made anew from what was parsed. So it is enough that one connection has one reading.
//! The corpus in `tests/corpus` is what `fuzz_the_front` found worth keeping; it is replayed here.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::PathBuf;

use hanse_engine::Limits;

use crate::client::open;
use crate::node::{Node, config, eventually};

/// Send bytes, say that there are no more, and return what comes back.
fn exchange(node: &Node, bytes: &[u8]) -> String {
    let mut stream = open(&node.addresses.front);
    // A server that refuses early may close before everything is written.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<u16> {
    answer
        .match_indices("HTTP/1.1 ")
        .filter(|(at, _)| *at == 0 || answer.as_bytes()[at - 1] == b'\n' || !answer[..*at].ends_with("HTTP/1.1 "))
        .filter_map(|(at, _)| answer.get(at + 9..at + 12)?.parse().ok())
        .collect()
}

fn node() -> Node {
    let mut config = config("a");
    config.header_timeout_ms = 1_000;
    let node = Node::with(config);
    node.serve("count", Limits::default());
    node
}

#[test]
fn ambiguous_requests_are_refused_and_the_connection_ends_there() {
    let node = node();
    let smuggled = "GET /count?smuggled HTTP/1.1\r\nhost: t\r\n\r\n";
    let with =
        |headers: &str, body: &str| format!("POST /count HTTP/1.1\r\nhost: t\r\n{headers}\r\n\r\n{body}{smuggled}");
    let refused = [
        ("two lengths", with("content-length: 1\r\ncontent-length: 2", "x")),
        ("two lengths in one", with("content-length: 1, 2", "x")),
        ("negative length", with("content-length: -1", "")),
        ("signed length", with("content-length: +1", "x")),
        ("length in hex", with("content-length: 0x1", "x")),
        (
            "overflowing length",
            with("content-length: 99999999999999999999999", "x"),
        ),
        ("unknown coding", with("transfer-encoding: cow", "1\r\nx\r\n0\r\n\r\n")),
        (
            "chunked not last",
            with("transfer-encoding: chunked, gzip", "1\r\nx\r\n0\r\n\r\n"),
        ),
        ("space before the colon", with("content-length : 1", "x")),
        (
            "space before the coding's colon",
            with("transfer-encoding : chunked", "0\r\n\r\n"),
        ),
        ("folded header", with("x: a\r\n content-length: 1", "x")),
        ("folded coding", with("transfer-encoding:\r\n chunked", "0\r\n\r\n")),
        ("bare CR", with("x: a\rcontent-length: 1", "x")),
        ("NUL in a value", with("x: a\0b", "x")),
        ("control in a name", with("x\x0b: a", "x")),
        ("no name", with(": a", "x")),
        ("header without colon", with("content-length", "x")),
        (
            "request line in three spaces",
            "GET  /count  HTTP/1.1\r\nhost: t\r\n\r\n".to_owned(),
        ),
        ("unknown version", "GET /count HTTP/1.7\r\nhost: t\r\n\r\n".to_owned()),
        ("HTTP/0.9", "GET /count\r\n\r\n".to_owned()),
        (
            "control in the path",
            "GET /cou\x01nt HTTP/1.1\r\nhost: t\r\n\r\n".to_owned(),
        ),
    ];
    for (what, bytes) in &refused {
        let answer = exchange(&node, bytes.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer:?}");
        assert_eq!(statuses(&answer), [400], "{what}: what follows is not read: {answer:?}");
    }
    eventually("each is counted", || {
        node.engine.stats().cut_off.get("malformed") == Some(&(refused.len() as u64))
    });
    assert_eq!(node.stats("count").requests, 0);
}

#[test]
fn where_both_framings_are_given_the_chunks_count_and_nothing_is_left_over() {
    let node = node();
    // RFC 9112 section 6.1: the coding overrides the length. What stands behind the last chunk is the client's own next request,
    // or is not read at all.
    let ask = |headers: &str, body: &str| {
        let mut stream = open(&node.addresses.front);
        let head = format!("POST /count HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{headers}\r\n\r\n{body}");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let smuggled = "1\r\nx\r\n0\r\n\r\nGET /count?smuggled HTTP/1.1\r\nhost: t\r\n\r\n";
    let answer = ask("content-length: 4\r\ntransfer-encoding: chunked", smuggled);
    assert_eq!(statuses(&answer).len(), 1, "{answer:?}");
    assert!(matches!(statuses(&answer).as_slice(), [200] | [400]), "{answer:?}");
    let answer = ask("transfer-encoding: chunked", "1;a=b\r\nx\r\n0\r\n\r\n");
    assert_eq!(
        statuses(&answer),
        [200],
        "chunk extensions are allowed and ignored: {answer:?}"
    );
}

#[test]
fn broken_chunks_never_end_as_a_whole_body() {
    let node = node();
    for (what, body) in [
        ("size that overflows", "fffffffffffffffff\r\nx\r\n0\r\n\r\n".to_owned()),
        ("size that is no number", "g\r\nx\r\n0\r\n\r\n".to_owned()),
        ("no line end behind the data", "1\r\nxy\r\n0\r\n\r\n".to_owned()),
        ("bare LF in a size", "1\nx\n0\n\n".to_owned()),
        ("cut off", "5\r\nab".to_owned()),
        (
            "endless extension",
            format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(100_000)),
        ),
        ("trailers without end", format!("0\r\n{}", "x: y\r\n".repeat(20_000))),
    ] {
        let head = "POST /count HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = exchange(&node, format!("{head}{body}").as_bytes());
        assert!(!answer.contains(" 200 "), "{what}: {answer:?}");
    }
    // Each of them is counted: what is no chunk as malformed, what ends too early as broken.
    eventually("every one is counted", || {
        let cut_off = node.engine.stats().cut_off;
        let of = |reason| cut_off.get(reason).copied().unwrap_or(0);
        of("malformed") + of("broken") + of("header_too_large") == 7
    });
    assert_eq!(node.get("/.hanse/healthz").status, 200);
    eventually("nothing is held", || {
        node.engine.stats().connections == 0 && node.stats("count").in_flight == 0
    });
}

#[test]
fn header_bombs_are_refused() {
    let node = node();
    for (what, headers) in [
        ("one of 200 KiB", format!("x: {}\r\n", "y".repeat(200 << 10))),
        ("ten thousand", "x: y\r\n".repeat(10_000)),
        ("a long name", format!("{}: y\r\n", "x".repeat(200 << 10))),
    ] {
        let answer = exchange(
            &node,
            format!("GET /count HTTP/1.1\r\nhost: t\r\n{headers}\r\n").as_bytes(),
        );
        assert!(answer.is_empty() || statuses(&answer) == [431], "{what}: {answer:?}");
    }
    let path = "/x".repeat(100 << 10);
    let answer = exchange(&node, format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes());
    assert!(
        answer.is_empty() || matches!(statuses(&answer).as_slice(), [414 | 431]),
        "{answer:?}"
    );
    eventually("each is counted", || {
        let counts = node.engine.stats().cut_off;
        counts.values().sum::<u64>() == 4 && counts.contains_key("header_too_large")
    });
}

#[test]
fn a_body_that_comes_too_slowly_ends_with_its_workloads_time() {
    let node = Node::local("a");
    node.serve(
        "count",
        Limits {
            timeout_ms: 200,
            ..Limits::default()
        },
    );
    let mut stream = open(&node.addresses.front);
    stream
        .write_all(b"POST /count HTTP/1.1\r\nhost: t\r\ncontent-length: 6\r\nconnection: close\r\n\r\nabc")
        .unwrap();
    let reply = crate::client::receive(stream);
    assert_eq!((reply.status, reply.error()), (504, "guest.deadline"));
    assert_eq!(node.stats("count").errors.get("guest.deadline"), Some(&1));
    eventually("nothing is held", || node.engine.stats().connections == 0);
}

#[test]
fn a_compressed_bomb_passes_through_as_it_is() {
    let node = Node::local("a");
    node.serve("count", Limits::default());
    // 1 KiB that says it is gzip: nobody here unpacks it, so the guest counts as many bytes as were sent.
    let bomb = [0x1f_u8; 1024];
    let head = "POST /count HTTP/1.1\r\nhost: t\r\ncontent-encoding: gzip\r\ncontent-length: 1024\r\nconnection: close\r\n\r\n";
    let reply = crate::client::send(&node.addresses.front, head, &bomb);
    assert_eq!(reply.status, 200);
    assert_eq!(node.stats("count").bytes_in, 1024);
}

/// A deterministic source of numbers, so that a found case comes again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"0\r\n\r\n",
    b"GET ",
    b"POST ",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b"PRI * HTTP/2.0",
    b"SM\r\n\r\n",
    b"host: t\r\n",
    b"content-length: 5\r\n",
    b"content-length: 0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: upgrade\r\nupgrade: websocket\r\n",
    b"connection: close\r\n",
    b"expect: 100-continue\r\n",
    b"te: trailers\r\n",
    b"trailer: x\r\n",
    b"hanse-subject: root\r\n",
    b"/count",
    b"/.hanse/metrics",
    b"*",
    b"http://a:b@c/",
    b"a:443",
    b"\xff\xfe",
    b"%00",
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08",
];

fn corpus() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn mutate(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(5) {
            0 => {
                let piece = PIECES[dice.below(PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            1 => bytes.truncate(at),
            2 if at < bytes.len() => bytes[at] = dice.below(256) as u8,
            3 if at < bytes.len() => {
                let until = at + dice.below(bytes.len() - at).min(64);
                bytes.drain(at..until);
            }
            _ => {
                let until = at + dice.below(bytes.len() - at + 1).min(64);
                let again = bytes[at..until].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

/// After anything at all the front answers the next client, holds nothing, and what it said was HTTP.
fn survives(node: &Node, cases: impl Iterator<Item = Vec<u8>>) {
    for (number, case) in cases.enumerate() {
        let answer = exchange(node, &case);
        let is_http = answer.is_empty() || answer.starts_with("HTTP/1.") || answer.as_bytes().get(3) == Some(&4);
        // An HTTP/2 connection begins with a settings frame; lossy text may have widened what came before.
        assert!(
            is_http || case.starts_with(b"PRI"),
            "{:?} -> {answer:?}",
            String::from_utf8_lossy(&case)
        );
        if number % 64 == 0 {
            assert_eq!(
                node.get("/.hanse/healthz").status,
                200,
                "after {:?}",
                String::from_utf8_lossy(&case)
            );
        }
    }
    eventually("nothing is held", || {
        node.engine.stats().connections == 0 && node.stats("count").in_flight == 0
    });
}

#[test]
fn the_corpus_is_survived() {
    let cases = corpus();
    assert!(cases.len() >= 10, "the corpus is there");
    survives(&node(), cases.into_iter());
}

/// Mutations of the corpus: a few here, `HANSE_FUZZ_CASES=100000` for a night.
#[test]
fn fuzz_the_front() {
    let count = std::env::var("HANSE_FUZZ_CASES").map_or(600, |cases| cases.parse().unwrap());
    let seeds = corpus();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    survives(
        &node(),
        (0..count).map(|_| {
            let seed = dice.below(seeds.len());
            mutate(&seeds[seed], &mut dice)
        }),
    );
}
