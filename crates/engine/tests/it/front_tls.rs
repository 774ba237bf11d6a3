//! The public front under TLS: which certificate is shown, who is let in, and that it is swapped while traffic flows.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hanse_engine::{ClientAuth, FrontCertificate, FrontTls, Limits};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::{Reply, get, open, receive};
use crate::node::{AUTHORITY, Node, config, eventually};
use crate::pki::{Authority, Credential, bad_params, uri, web_params};
use crate::serving::block_on;

fn certificate(names: &[&str]) -> FrontCertificate {
    let credential = AUTHORITY.issue(&web_params(names));
    FrontCertificate {
        chain_pem: credential.chain_pem.into_bytes(),
        key_pem: credential.key_pem.into_bytes(),
    }
}

fn tls(certificates: Vec<FrontCertificate>, client_auth: ClientAuth) -> FrontTls {
    FrontTls {
        certificates,
        client_auth,
    }
}

fn node(front: &FrontTls) -> Node {
    let mut config = config("a");
    config.front_tls = true;
    config.header_timeout_ms = 2_000;
    let node = Node::with(config);
    node.engine.set_front_tls(front).unwrap();
    node.serve("hello", Limits::default());
    node
}

fn bundle() -> Vec<u8> {
    AUTHORITY.bundle_pem.clone().into_bytes()
}

pub fn client(credential: Option<&Credential>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(AUTHORITY.bundle_pem.as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match credential {
        None => builder.with_no_client_auth(),
        Some(credential) => {
            let chain = CertificateDer::pem_slice_iter(credential.chain_pem.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .unwrap();
            let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

fn connect(node: &Node, name: &str, config: &ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
    StreamOwned::new(connection, open(&node.addresses.front))
}

fn ask(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> std::io::Result<Reply> {
    stream.write_all(b"GET /hello HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(receive(bytes.as_slice()))
}

fn cut_off(node: &Node, reason: &str) -> u64 {
    node.engine.stats().cut_off.get(reason).copied().unwrap_or(0)
}

#[test]
fn the_server_name_chooses_the_certificate() {
    let node = node(&tls(
        vec![
            certificate(&["first.example"]),
            certificate(&["a.example", "*.wild.example"]),
        ],
        ClientAuth::None,
    ));
    for name in ["first.example", "a.example", "A.Example", "b.wild.example"] {
        assert_eq!(
            ask(&mut connect(&node, name, &client(None))).unwrap().status,
            200,
            "{name}"
        );
    }
    // Unknown names are shown the first one, which the client then refuses.
    for name in ["other.example", "a.b.wild.example", "wild.example"] {
        let refused = ask(&mut connect(&node, name, &client(None))).unwrap_err();
        assert!(refused.to_string().contains("not valid for name"), "{name}: {refused}");
    }
}

#[test]
fn http2_is_spoken_when_the_client_prefers_it() {
    let node = node(&tls(vec![certificate(&["a.example"])], ClientAuth::None));
    let mut config = client(None);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let status = block_on(async {
        let stream = tokio::net::TcpStream::connect(&node.addresses.front).await.unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("a.example").unwrap(), stream)
            .await
            .unwrap();
        let connection = &stream.get_ref().1;
        assert_eq!(connection.alpn_protocol(), Some(b"h2".as_slice()));
        assert_eq!(
            connection.negotiated_key_exchange_group().unwrap().name(),
            rustls::NamedGroup::X25519MLKEM768
        );
        let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("https://a.example/hello").body(String::new());
        sender.send_request(request.unwrap()).await.unwrap().status()
    });
    assert_eq!(status, 200);
}

#[test]
fn without_a_certificate_nobody_is_served_and_never_in_the_clear() {
    let mut config = config("a");
    config.front_tls = true;
    let node = Node::with(config);
    node.serve("hello", Limits::default());
    assert!(ask(&mut connect(&node, "a.example", &client(None))).is_err());
    eventually("counted", || cut_off(&node, "tls.no_certificate") == 1);
    node.engine
        .set_front_tls(&tls(vec![certificate(&["a.example"])], ClientAuth::None))
        .unwrap();
    assert_eq!(
        ask(&mut connect(&node, "a.example", &client(None))).unwrap().status,
        200
    );
    let plain = get(&node.addresses.front, "/hello");
    assert_eq!((plain.status, plain.error()), (400, "request.plain_http"));
    assert!(plain.is_whole);
    eventually("counted", || cut_off(&node, "tls.plain_http") == 1);
    assert_eq!(node.stats("hello").requests, 1);
}

#[test]
fn a_client_that_never_finishes_its_handshake_is_let_go() {
    let mut config = config("a");
    config.front_tls = true;
    config.header_timeout_ms = 100;
    let node = Node::with(config);
    node.engine
        .set_front_tls(&tls(vec![certificate(&["a.example"])], ClientAuth::None))
        .unwrap();
    for begun in [b"".as_slice(), b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = open(&node.addresses.front);
        stream.write_all(begun).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    eventually("counted", || cut_off(&node, "tls.timeout") == 3);
    eventually("gone", || node.engine.stats().connections == 0);
}

#[test]
fn where_clients_are_asked_a_bad_certificate_never_passes_and_none_only_where_it_may() {
    let user = AUTHORITY.issue(&web_params(&["user.example"]));
    let stranger = Authority::new().issue(&web_params(&["user.example"]));
    let request = node(&tls(
        vec![certificate(&["a.example"])],
        ClientAuth::Request { bundle_pem: bundle() },
    ));
    let require = node(&tls(
        vec![certificate(&["a.example"])],
        ClientAuth::Require { bundle_pem: bundle() },
    ));
    let passes = |node: &Node, credential: Option<&Credential>| {
        ask(&mut connect(node, "a.example", &client(credential))).is_ok_and(|reply| reply.status == 200)
    };
    assert!(passes(&request, None));
    assert!(!passes(&require, None));
    for node in [&request, &require] {
        assert!(passes(node, Some(&user)));
        assert!(!passes(node, Some(&stranger)));
    }
    let mut bad: Vec<_> = bad_params("a")
        .into_iter()
        .filter(|(what, _)| {
            // What a node's certificate must be is no rule for a user's; of these only what claims to be one of ours counts.
            ["two URIs", "expired", "not yet valid", "authority as leaf"].contains(what)
        })
        .collect();
    let mut foreign = web_params(&["a.example"]);
    foreign.subject_alt_names = vec![uri("spiffe://test.example/admin")];
    bad.push(("unknown shape in our domain", foreign));
    for (what, params) in bad {
        let credential = AUTHORITY.issue(&params);
        assert!(!passes(&request, Some(&credential)), "{what}");
        assert!(!passes(&require, Some(&credential)), "{what}");
    }
    eventually("all refusals are counted", || {
        let count = |node| cut_off(node, "tls.handshake") + cut_off(node, "tls.bad_spiffe_id");
        (count(&request), count(&require)) == (6, 7)
    });
}

#[test]
fn certificates_are_swapped_under_traffic_without_a_failed_request() {
    let node = node(&tls(vec![certificate(&["a.example"])], ClientAuth::None));
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let is_over = &is_over;
        for keep_alive in [true, false] {
            let (node, answered) = (&node, &answered);
            scope.spawn(move || {
                let mut kept = connect(node, "a.example", &client(None));
                while !is_over.load(Ordering::Relaxed) {
                    if keep_alive {
                        kept.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
                        let mut head = Vec::new();
                        while !head.ends_with(b"hello\n") {
                            let mut byte = [0];
                            kept.read_exact(&mut byte).unwrap();
                            head.push(byte[0]);
                        }
                        assert!(head.starts_with(b"HTTP/1.1 200"));
                    } else {
                        assert_eq!(ask(&mut connect(node, "a.example", &client(None))).unwrap().status, 200);
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..20 {
            let before = answered.load(Ordering::Relaxed);
            node.engine
                .set_front_tls(&tls(vec![certificate(&["a.example"])], ClientAuth::None))
                .unwrap();
            eventually("traffic flows", || answered.load(Ordering::Relaxed) > before + 4);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn who_may_no_longer_come_in_is_sent_away_after_the_request_in_hand() {
    let node = node(&tls(
        vec![certificate(&["a.example"])],
        ClientAuth::Require { bundle_pem: bundle() },
    ));
    let user = AUTHORITY.issue(&web_params(&["user.example"]));
    let mut kept = connect(&node, "a.example", &client(Some(&user)));
    kept.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut first = [0; 12];
    kept.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let other = Authority::new().bundle_pem.into_bytes();
    node.engine
        .set_front_tls(&tls(
            vec![certificate(&["a.example"])],
            ClientAuth::Require { bundle_pem: other },
        ))
        .unwrap();
    kept.read_to_end(&mut Vec::new()).unwrap();
    assert!(ask(&mut connect(&node, "a.example", &client(Some(&user)))).is_err());
}

#[test]
fn a_set_that_does_not_fit_together_is_refused_and_the_old_one_stays() {
    let node = node(&tls(vec![certificate(&["a.example"])], ClientAuth::None));
    let (one, two) = (certificate(&["a.example"]), certificate(&["a.example"]));
    let mixed = FrontCertificate {
        chain_pem: one.chain_pem.clone(),
        key_pem: two.key_pem,
    };
    let rubbish = FrontCertificate {
        chain_pem: b"rubbish".to_vec(),
        key_pem: one.key_pem.clone(),
    };
    let leaf_as_bundle = ClientAuth::Require {
        bundle_pem: one.chain_pem.clone(),
    };
    for bad in [
        tls(vec![], ClientAuth::None),
        tls(vec![one.clone(), mixed], ClientAuth::None),
        tls(vec![rubbish], ClientAuth::None),
        tls(vec![one.clone()], leaf_as_bundle),
        tls(vec![one], ClientAuth::Require { bundle_pem: Vec::new() }),
    ] {
        let error = node.engine.set_front_tls(&bad).unwrap_err();
        assert_eq!(error.code, "engine.front_tls_invalid");
    }
    assert_eq!(
        ask(&mut connect(&node, "a.example", &client(None))).unwrap().status,
        200
    );
}
