//! Services whose upstream speaks TLS: they prove their name, or nothing is said to them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use hanse_engine::Limits;
use rcgen::{BasicConstraints, CertificateParams, IsCa, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::client::{Reply, get_with, open};
use crate::node::{AUTHORITY, Node, route};
use crate::pki::{Credential, web_params};

pub const ASK: &[u8] =
    b"GET /ws/chat?room=1 HTTP/1.1\r\nhost: t\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A WebSocket server of the simplest kind: it agrees, then sends back every byte. Returns its address.
pub fn websocket_upstream() -> String {
    listen(serve)
}

/// The same under TLS; returns its port.
fn secure_upstream(credential: &Credential) -> u16 {
    let config = server_config(credential);
    let address = listen(move |stream| serve(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream)));
    port_of(&address)
}

/// A server that shows this credential.
pub fn server_config(credential: &Credential) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(credential.chain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
        .unwrap();
    Arc::new(config)
}

/// One that speaks no TLS and tells what it was sent; returns its port.
fn eavesdropping_upstream() -> (u16, Receiver<Vec<u8>>) {
    let (sender, heard) = channel();
    let address = listen(move |mut stream| {
        let mut bytes = vec![0; 4096];
        let len = stream.read(&mut bytes).unwrap_or(0);
        bytes.truncate(len);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let _ = sender.send(bytes);
    });
    (port_of(&address), heard)
}

/// Serve each connection in a thread of its own; returns the address.
pub fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: impl Read + Write) {
    let Some(head) = read_head(&mut stream) else { return };
    let head = head.to_lowercase();
    if !head.contains("upgrade: websocket") {
        let body = head.lines().next().unwrap().to_owned();
        let len = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {len}\r\nhanse-subject: forged\r\n\r\n{body}"
        );
        return;
    }
    assert!(head.starts_with("get /ws/chat?room=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq=="), "{head}");
    let _ = stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    let mut piece = vec![0; 64 << 10];
    while let Ok(len @ 1..) = stream.read(&mut piece) {
        if stream.write_all(&piece[..len]).is_err() {
            return;
        }
    }
}

/// The header of a message, byte by byte, so that nothing of what follows is taken; `None` when there is none.
pub fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

pub fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// A node whose service `ws` is at `upstream`, believing the tests' authority where `is_ours`.
fn node(upstream: &str, is_ours: bool) -> Node {
    let node = Node::member("a");
    let authorities = is_ours.then_some(AUTHORITY.bundle_pem.as_bytes());
    node.engine
        .load_service("ws", upstream, authorities, Limits::default())
        .unwrap();
    node.engine.set_routes(&[route("ws", &[node.replica(0)])]).unwrap();
    node
}

fn ask(node: &Node) -> Reply {
    get_with(&node.addresses.front, "/ws/x?y", "accept: */*")
}

#[test]
fn who_proves_his_name_is_asked_over_tls_here_and_across_a_forward() {
    let port = secure_upstream(&AUTHORITY.issue(&web_params(&["localhost", "127.0.0.1"])));
    for host in ["localhost", "127.0.0.1"] {
        let runner = node(&format!("https://{host}:{port}"), true);
        let front = Node::member("b");
        front.engine.set_routes(&[route("ws", &[runner.replica(100)])]).unwrap();
        for node in [&runner, &front] {
            let reply = ask(node);
            assert_eq!(
                (reply.status, reply.body.as_slice()),
                (200, b"get /ws/x?y http/1.1".as_slice()),
                "{reply:?}"
            );
            assert_eq!(reply.header("hanse-subject"), None);
        }
    }
}

#[test]
fn a_websocket_passes_through_tls_here_and_across_a_forward() {
    let port = secure_upstream(&AUTHORITY.issue(&web_params(&["localhost"])));
    let runner = node(&format!("https://localhost:{port}"), true);
    let front = Node::member("b");
    front.engine.set_routes(&[route("ws", &[runner.replica(100)])]).unwrap();
    for node in [&runner, &front] {
        let mut stream = open(&node.addresses.front);
        stream.write_all(ASK).unwrap();
        let head = read_head(&mut stream).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{}: {head}", node.name);
        for message in [b"ahoy".as_slice(), &[7; 50_000]] {
            stream.write_all(message).unwrap();
            let mut back = vec![0; message.len()];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, message);
        }
    }
}

#[test]
fn who_does_not_prove_his_name_is_asked_nothing_and_the_owner_reads_why() {
    let changed = |change: fn(&mut CertificateParams)| {
        let mut params = web_params(&["localhost"]);
        change(&mut params);
        params
    };
    let own = changed(|_| {});
    let bad = [
        ("other name", web_params(&["other.example"]), true, "not valid for name"),
        ("address only", web_params(&["127.0.0.1"]), true, "not valid for name"),
        ("unknown authority", own, false, "UnknownIssuer"),
        (
            "expired",
            changed(|params| params.not_after = date_time_ymd(2020, 1, 1)),
            true,
            "expired",
        ),
        (
            "authority as leaf",
            changed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            true,
            "CaUsedAsEndEntity",
        ),
    ];
    for (what, params, is_ours, why) in bad {
        let port = secure_upstream(&AUTHORITY.issue(&params));
        let node = node(&format!("https://localhost:{port}"), is_ours);
        let reply = ask(&node);
        assert_eq!(
            (reply.status, reply.error()),
            (502, "service.untrusted"),
            "{what}: {reply:?}"
        );
        let told = node.faults("ws").join("\n");
        assert!(
            told.starts_with("service.untrusted: ") && told.contains(why),
            "{what}: {told}"
        );
        assert_eq!(node.stats("ws").errors["service.untrusted"], 1);
    }
}

#[test]
fn who_speaks_no_tls_never_hears_the_request() {
    let (port, heard) = eavesdropping_upstream();
    let node = node(&format!("https://localhost:{port}"), true);
    let reply = ask(&node);
    assert_eq!((reply.status, reply.error()), (502, "service.untrusted"), "{reply:?}");
    let heard = heard.recv().unwrap();
    assert_eq!(
        heard.first(),
        Some(&22),
        "a TLS handshake record (RFC 8446 section 5.1)"
    );
    assert!(!heard.windows(4).any(|piece| piece == b"/ws/"));
}
