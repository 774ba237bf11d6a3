//! Who a node is and whom it believes: X.509-SVIDs in, TLS configurations out.
//!
//! Both ends of a mesh connection show a certificate that chains to the trust bundle and carries exactly one URI, the SPIFFE
//! ID of a node of our trust domain that has not been revoked. TLS 1.3 only, X25519MLKEM768 preferred. No session is ever resumed, because a
//! resumed one would not look at the certificate again.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, version::TLS13,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::error::EngineError;

const MAX_SPIFFE_ID_BYTES: usize = 2048;
const ALPN_H2: &[u8] = b"h2";

/// What a valid certificate says about its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Svid {
    /// `spiffe://<trust domain>/node/<id>`.
    pub(crate) id: String,
    /// Seconds since 1970 after which it is not believed.
    pub(crate) not_after_s: u64,
}

/// TLS for both directions, from one certificate and one bundle.
pub(crate) struct Identity {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

/// Return the crypto used everywhere: aws-lc with its post-quantum key exchange first.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Return the SPIFFE ID of a node.
pub(crate) fn node_id(trust_domain: &str, node: &str) -> String {
    format!("spiffe://{trust_domain}/node/{node}")
}

impl Identity {
    /// Check certificate, key and bundle against each other and against the node they are meant for.
    ///
    /// # Errors
    /// `engine.identity_invalid` with the rule that was broken.
    pub(crate) fn new(
        chain_pem: &[u8],
        key_pem: &[u8],
        bundle_pem: &[u8],
        revoked: &[String],
        trust_domain: &str,
        node: &str,
    ) -> Result<Self, EngineError> {
        let chain = certificates(chain_pem, "certificate chain")?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|cause| invalid(format!("private key: {cause}")))?;
        let roots = roots(bundle_pem)?;
        let leaf = chain.first().ok_or_else(|| invalid("the certificate chain is empty"))?;
        let svid = svid(leaf, trust_domain).map_err(invalid)?;
        let expected = node_id(trust_domain, node);
        if svid.id != expected {
            return Err(invalid(format!(
                "the certificate is for {}, this node is {expected}",
                svid.id
            )));
        }
        let verifier = SvidVerifier::new(roots, trust_domain, revoked);
        verifier
            .verify_chain(leaf, chain.get(1..).unwrap_or_default(), UnixTime::now())
            .map_err(|cause| invalid(format!("the certificate does not chain to the trust bundle: {cause}")))?;
        let verifier = Arc::new(verifier);
        Ok(Self {
            client: client_config(verifier.clone(), chain.clone(), key.clone_key()).map_err(invalid)?,
            server: server_config(verifier, chain, key).map_err(invalid)?,
        })
    }
}

fn client_config(
    verifier: Arc<SvidVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.enable_sni = false;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn server_config(
    verifier: Arc<SvidVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The authorities of the public web.
pub(crate) fn public_roots() -> RootCertStore {
    RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())
}

/// TLS 1.2 or 1.3 towards servers with a certificate of `roots` for the name they are called by.
///
/// # Errors
/// `engine.setup`; only a broken build leads here.
pub(crate) fn web_client(roots: RootCertStore) -> Result<ClientConfig, EngineError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(EngineError::setup)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Read the SPIFFE ID out of a leaf certificate, by the rules of the X.509-SVID standard (sections 2 to 5).
///
/// # Errors
/// The rule that was broken. The chain is checked elsewhere.
pub(crate) fn svid(leaf: &[u8], trust_domain: &str) -> Result<Svid, String> {
    let (rest, certificate) =
        X509Certificate::from_der(leaf).map_err(|cause| format!("the certificate cannot be read: {cause}"))?;
    if !rest.is_empty() {
        return Err("bytes follow the certificate".to_owned());
    }
    if certificate.is_ca() {
        return Err("a certificate authority may not stand for a node".to_owned());
    }
    check_usage(&certificate)?;
    let id = only_uri(&certificate)?;
    check_id(id, trust_domain)?;
    Ok(Svid {
        id: id.to_owned(),
        not_after_s: u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0),
    })
}

fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), String> {
    let usage = certificate
        .key_usage()
        .map_err(|cause| format!("key usage: {cause}"))?
        .ok_or("the certificate has no key usage")?;
    if !usage.critical || !usage.value.digital_signature() {
        return Err("key usage must be critical and allow digital signatures".to_owned());
    }
    if usage.value.key_cert_sign() || usage.value.crl_sign() {
        return Err("a node's key may not sign certificates or revocation lists".to_owned());
    }
    let extended = certificate
        .extended_key_usage()
        .map_err(|cause| format!("extended key usage: {cause}"))?;
    if extended.is_some_and(|extended| !extended.value.server_auth || !extended.value.client_auth) {
        return Err("extended key usage must allow both server and client authentication".to_owned());
    }
    Ok(())
}

fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, String> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|cause| format!("subject alternative name: {cause}"))?
        .ok_or("the certificate has no subject alternative name")?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => Ok(uri),
        (None, _) => Err("the certificate carries no URI".to_owned()),
        (Some(_), Some(_)) => Err("the certificate carries more than one URI".to_owned()),
    }
}

fn check_id(id: &str, trust_domain: &str) -> Result<(), String> {
    let is_segment = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    let node = id
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.strip_prefix(trust_domain))
        .and_then(|rest| rest.strip_prefix("/node/"));
    match node {
        Some(node) if id.len() <= MAX_SPIFFE_ID_BYTES && is_segment(node) => Ok(()),
        _ => Err(format!("{id} is no node of the trust domain {trust_domain}")),
    }
}

pub(crate) fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, EngineError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|cause| invalid(format!("{what}: {cause}")))
}

pub(crate) fn roots(pem: &[u8]) -> Result<RootCertStore, EngineError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "trust bundle")? {
        let is_ca = X509Certificate::from_der(&certificate).is_ok_and(|(_, parsed)| parsed.is_ca());
        if !is_ca {
            return Err(invalid("the trust bundle holds a certificate that is no authority"));
        }
        roots
            .add(certificate)
            .map_err(|cause| invalid(format!("trust bundle: {cause}")))?;
    }
    if roots.is_empty() {
        return Err(invalid("the trust bundle is empty"));
    }
    Ok(roots)
}

fn invalid(what: impl std::fmt::Display) -> EngineError {
    EngineError::new(
        "engine.identity_invalid",
        what.to_string(),
        "give an X.509-SVID of this node, its key and the bundle of its trust domain, all in PEM",
    )
}

/// Verifies the other end of a mesh connection: client and server prove the same, so one check serves both directions.
#[derive(Debug)]
struct SvidVerifier {
    trust_domain: String,
    /// SPIFFE IDs that are refused however long their certificates are valid.
    revoked: BTreeSet<String>,
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl SvidVerifier {
    fn new(roots: RootCertStore, trust_domain: &str, revoked: &[String]) -> Self {
        Self {
            trust_domain: trust_domain.to_owned(),
            revoked: revoked.iter().cloned().collect(),
            roots,
            algorithms: provider().signature_verification_algorithms,
        }
    }

    /// Chain, validity, form and name; that it may stand for a client as for a server is part of the form.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.verify_chain(leaf, intermediates, now)?;
        let shown = svid(leaf, &self.trust_domain)
            .map_err(|_| Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))?;
        if self.revoked.contains(&shown.id) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(())
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
    }
}

/// How signatures in the handshake are checked, which both traits ask for in the same words.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, leaf, signed, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, leaf, signed, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for SvidVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for SvidVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Names of authorities are of no use to a node, which has one certificate.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}
