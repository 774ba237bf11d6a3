//! Who is let in: nodes of this trust domain with a certificate that is valid now, and nobody else.

use std::sync::Arc;

use hanse_engine::Limits;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, NamedGroup, SignatureScheme};
use tokio::io::AsyncReadExt;

use crate::node::{AUTHORITY, Node, eventually, route};
use crate::pki::{Authority, Credential, bad_params, node_params, spiffe_id};
use crate::serving::block_on;

fn identity_error(node: &Node, credential: &Credential, bundle_pem: &str) -> &'static str {
    node.engine
        .set_identity(
            credential.chain_pem.as_bytes(),
            credential.key_pem.as_bytes(),
            bundle_pem.as_bytes(),
            &[],
        )
        .map_or_else(|error| error.code, |()| "accepted")
}

#[test]
fn a_node_refuses_an_identity_it_could_not_use() {
    let node = Node::local("a");
    for (what, params) in bad_params("a") {
        let credential = AUTHORITY.issue(&params);
        assert_eq!(
            identity_error(&node, &credential, &AUTHORITY.bundle_pem),
            "engine.identity_invalid",
            "{what}"
        );
    }
    let good = AUTHORITY.node("a");
    let other = AUTHORITY.node("b");
    let mixed = Credential {
        chain_pem: good.chain_pem.clone(),
        key_pem: other.key_pem.clone(),
    };
    assert_eq!(
        identity_error(&node, &other, &AUTHORITY.bundle_pem),
        "engine.identity_invalid"
    );
    assert_eq!(
        identity_error(&node, &mixed, &AUTHORITY.bundle_pem),
        "engine.identity_invalid"
    );
    assert_eq!(
        identity_error(&node, &good, &Authority::new().bundle_pem),
        "engine.identity_invalid"
    );
    assert_eq!(identity_error(&node, &good, ""), "engine.identity_invalid");
    assert_eq!(identity_error(&node, &good, &good.chain_pem), "engine.identity_invalid");
    assert_eq!(identity_error(&node, &good, &AUTHORITY.bundle_pem), "accepted");
}

#[test]
fn a_peer_with_a_bad_certificate_is_not_let_in() {
    let node = Node::member("a");
    assert!(is_let_in(&node, Some(&AUTHORITY.node("b"))));
    let mut refused = 0;
    let mut is_refused = |what: &str, credential: Option<&Credential>| {
        assert!(!is_let_in(&node, credential), "{what}");
        refused += 1;
        eventually("it is counted", || node.engine.stats().mesh_refused == refused);
    };
    for (what, params) in bad_params("b") {
        is_refused(what, Some(&AUTHORITY.issue(&params)));
    }
    is_refused("another authority", Some(&Authority::new().issue(&node_params("b"))));
    is_refused("no certificate", None);
}

#[test]
fn a_revoked_node_is_refused_by_name_in_both_directions() {
    let (node, revoked) = (Node::member("a"), Node::member("b"));
    revoked.load("hello", Limits::default(), &[]);
    node.engine
        .set_routes(&[route("hello", &[revoked.replica(1)])])
        .unwrap();
    assert_eq!(node.get("/hello").status, 200);
    node.renew_refusing(&["b"]);
    assert!(!is_let_in(&node, Some(&AUTHORITY.node("b"))));
    assert!(is_let_in(&node, Some(&AUTHORITY.node("c"))));
    // Neither is the connection that was open before used again.
    assert_eq!(node.get("/hello").error(), "route.unreachable");
    assert_eq!(revoked.stats("hello").requests, 1);
}

#[test]
fn a_node_without_identity_lets_nobody_in() {
    let node = Node::local("a");
    assert!(!is_let_in(&node, Some(&AUTHORITY.node("b"))));
}

#[test]
fn the_key_exchange_is_post_quantum() {
    let node = Node::member("a");
    let group = block_on(async {
        let stream = handshake(&node, Some(&AUTHORITY.node("b"))).await.unwrap();
        stream
            .get_ref()
            .1
            .negotiated_key_exchange_group()
            .map(|group| group.name())
    });
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
}

#[test]
fn a_replica_that_shows_another_identity_gets_no_request() {
    let (ingress, impostor) = (Node::member("a"), Node::member("b"));
    impostor.load("hello", Limits::default(), &[]);
    let mut replica = impostor.replica(1);
    replica.node = "c".to_owned();
    replica.spiffe_id = spiffe_id("c");
    ingress.engine.set_routes(&[route("hello", &[replica])]).unwrap();
    let reply = ingress.get("/hello");
    assert_eq!((reply.status, reply.error()), (503, "route.unreachable"));
    assert!(
        reply.json()["message"].as_str().unwrap().contains("/node/b, not"),
        "{reply:?}"
    );
    assert_eq!(impostor.stats("hello").requests, 0);
}

#[test]
fn without_an_identity_nothing_is_forwarded() {
    let (ingress, runner) = (Node::local("a"), Node::member("b"));
    runner.load("hello", Limits::default(), &[]);
    ingress
        .engine
        .set_routes(&[route("hello", &[runner.replica(1)])])
        .unwrap();
    assert_eq!(ingress.get("/hello").error(), "route.unreachable");
    ingress.renew();
    assert_eq!(ingress.get("/hello").status, 200);
}

/// Whether a client with `credential` gets as far as HTTP/2: the server's settings are the first thing it sends.
fn is_let_in(node: &Node, credential: Option<&Credential>) -> bool {
    block_on(async {
        let Ok(mut stream) = handshake(node, credential).await else {
            return false;
        };
        stream.read_u8().await.is_ok()
    })
}

async fn handshake(
    node: &Node,
    credential: Option<&Credential>,
) -> std::io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    let mut config = match credential {
        None => config.with_no_client_auth(),
        Some(credential) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(credential.chain_pem.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(&node.addresses.mesh).await?;
    let name = ServerName::try_from("node.example").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// A client that believes any server: the server is what is tested.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}
