//! What any client may send to the front: `bytes -> one connection -> nothing breaks`.
//!
//! The engine is the real one with its real listener, and an input is what one client writes before it stops writing. Found are
//! panics of any thread, an engine that answers a good client no more, an answer that is no HTTP, and an input that takes
//! seconds. The engine runs on: what one input leaves behind the next ones meet.

#![no_main]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hanse_engine::{Engine, EngineConfig, Limits, Route};
use libfuzzer_sys::fuzz_target;

/// Every so many inputs a good client asks as well.
const ASK_EVERY: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(5);
const GOOD: &[u8] = b"GET /hello HTTP/1.1\r\nhost: fuzz\r\nconnection: close\r\n\r\n";

static FRONT: LazyLock<(Engine, String)> = LazyLock::new(|| {
    let cache = std::env::temp_dir().join(format!("hanse-fuzz-{}", std::process::id()));
    let mut config = EngineConfig::new("fuzz", "fuzz.example", "127.0.0.1:0", "127.0.0.1:0", cache);
    // Shorter than the patience: a client that says nothing more is let go within an input's time.
    config.header_timeout_ms = 1_000;
    config.write_timeout_ms = 1_000;
    config.max_instances = 8;
    let engine = Engine::new(config).expect("the engine starts");
    for guest in ["hello", "echo"] {
        let component = hanse_guests::build(guest).expect("the guest is built");
        let limits = Limits {
            timeout_ms: 1_000,
            ..Limits::default()
        };
        engine
            .load(guest, &component, limits, &[], Vec::new())
            .expect("the guest is loaded");
    }
    let routes = ["hello", "echo"].map(|guest| Route::new(guest, format!("/{guest}")));
    engine.set_routes(&routes).expect("routes are taken");
    let front = engine.start().expect("the engine listens").front;
    (engine, front)
});
static INPUTS: AtomicU64 = AtomicU64::new(0);

fuzz_target!(|input: &[u8]| {
    let front = &FRONT.1;
    let answer = say(front, input);
    let is_http = answer.is_empty() || answer.starts_with(b"HTTP/1.") || is_http2(&answer);
    assert!(
        is_http,
        "an answer that is no HTTP: {:?}",
        String::from_utf8_lossy(&answer)
    );
    if INPUTS.fetch_add(1, Ordering::Relaxed) % ASK_EVERY == 0 {
        let good = say(front, GOOD);
        assert!(
            good.starts_with(b"HTTP/1.1 200 "),
            "no more answers: {:?}",
            String::from_utf8_lossy(&good)
        );
    }
});

/// Send `input`, say that nothing follows, and return what came back.
fn say(front: &str, input: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(front).expect("the front accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
    // A front that has heard enough may close before all is written.
    let _ = stream.write_all(input);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(cause) = stream.read_to_end(&mut answer) {
        let is_slow = matches!(
            cause.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        );
        assert!(!is_slow, "the front neither answered nor let go");
    }
    answer
}

/// A frame of HTTP/2 (RFC 9113 section 4.1): a known type, and no flag in its length that the front never uses.
fn is_http2(answer: &[u8]) -> bool {
    answer.len() >= 9 && answer[3] <= 9 && answer[0] == 0
}
