//! Upstreams that play by a script, and what they saw of their clients.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hanse_engine::Limits;
use rustls::{ServerConnection, StreamOwned};

use crate::client::{Reply, send};
use crate::node::{AUTHORITY, Node, config, route};
use crate::pki::web_params;
use crate::upstreams::{listen, port_of, read_head, server_config};

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
pub(crate) const POISON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

pub(crate) trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// One request as an upstream sees it.
pub(crate) struct Visit<'a> {
    /// Which connection it came by, from 0.
    pub(crate) connection: usize,
    /// Which request of that connection it is, from 0.
    pub(crate) nth: usize,
    pub(crate) head: String,
    pub(crate) stream: &'a mut dyn Wire,
}

impl Visit<'_> {
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        // Who does not want to hear it has gone.
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    pub(crate) fn hear(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// What an upstream does with a request; whether it wants another by that connection.
pub(crate) type Script = dyn Fn(&mut Visit<'_>) -> bool + Send + Sync;

#[derive(Default)]
pub(crate) struct Seen {
    connections: usize,
    /// First lines, by connection.
    asked: Vec<(usize, String)>,
    /// Connections that the other end closed, and those that were closed here.
    left: Vec<usize>,
    closed: Vec<usize>,
}

/// An upstream that plays by a script.
pub(crate) struct Program {
    pub(crate) address: String,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl Program {
    pub(crate) fn new(is_tls: bool, script: impl Fn(&mut Visit<'_>) -> bool + Send + Sync + 'static) -> Self {
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

    pub(crate) fn plain(script: impl Fn(&mut Visit<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::new(false, script)
    }

    /// A node whose service `s` this is.
    pub(crate) fn node(&self, concurrency: u32) -> Node {
        let mut config = config("a");
        // What one request leaves behind is in place before its client has the answer.
        config.worker_threads = 1;
        config.max_instances = 1;
        let node = Node::with(config);
        self.load(&node, "s", concurrency);
        node.engine.set_routes(&[route("s", &[node.replica(0)])]).unwrap();
        node
    }

    pub(crate) fn load(&self, node: &Node, name: &str, concurrency: u32) {
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

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// By which connections this was asked for.
    pub(crate) fn asked(&self, line: &str) -> Vec<usize> {
        let seen = self.seen.lock().unwrap();
        let same = seen.asked.iter().filter(|(_, asked)| asked == line);
        same.map(|(connection, _)| *connection).collect()
    }

    pub(crate) fn left(&self) -> Vec<usize> {
        let mut left = self.seen.lock().unwrap().left.clone();
        left.sort_unstable();
        left
    }

    pub(crate) fn has_closed(&self, connection: usize) -> bool {
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

pub(crate) fn ask(node: &Node, method: &str, more: &str, body: &[u8]) -> Reply {
    let head = format!("{method} /s/x HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{more}\r\n");
    send(&node.addresses.front, &head, body)
}

pub(crate) fn is_ok(reply: &Reply) -> bool {
    (reply.status, reply.body.as_slice(), reply.is_whole) == (200, b"ok", true)
}
