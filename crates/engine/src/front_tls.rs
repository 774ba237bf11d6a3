//! TLS of the public front: `certificates, keys, bundle for clients -> one TLS configuration`, swapped whole.
//!
//! A server name (SNI) chooses among several certificates; a client that names none, or an unknown one, gets the first. HTTP/1.1
//! and HTTP/2 by ALPN, TLS 1.2 and 1.3, X25519MLKEM768 preferred. Whether clients show a certificate of their own is the
//! owner's choice. Every set has a session store of its own: a session made under an old bundle is not resumed under a new one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::error::EngineError;
use crate::identity::{certificates, provider, roots};

/// One certificate of the front with its key.
#[derive(Clone)]
pub struct FrontCertificate {
    /// Certificate chain in PEM, leaf first. The DNS names of the leaf, wildcards too, say which server names it is for.
    pub chain_pem: Vec<u8>,
    /// Its private key in PEM.
    pub key_pem: Vec<u8>,
}

/// A key is never printed.
impl fmt::Debug for FrontCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontCertificate").finish_non_exhaustive()
    }
}

/// Whether clients of the front show a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; one without is anonymous, one with a bad one is refused.
    Request {
        /// Authorities they must chain to, PEM.
        bundle_pem: Vec<u8>,
    },
    /// They are asked, and refused without a good one.
    Require {
        /// Authorities they must chain to, PEM.
        bundle_pem: Vec<u8>,
    },
}

/// What the front shows and asks for.
#[derive(Debug, Clone, Default)]
pub struct FrontTls {
    /// At least one; the first is the one for clients that name no server or an unknown one.
    pub certificates: Vec<FrontCertificate>,
    /// Whether clients show one as well.
    pub client_auth: ClientAuth,
}

/// A set in force.
pub(crate) struct FrontIdentity {
    pub(crate) config: Arc<ServerConfig>,
    client_auth: ClientAuth,
}

impl FrontIdentity {
    /// Check every certificate against its key, and the bundle.
    ///
    /// # Errors
    /// `engine.front_tls_invalid` with the rule that was broken.
    pub(crate) fn new(tls: &FrontTls) -> Result<Self, EngineError> {
        let names = Names::new(&tls.certificates)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(invalid)?
            .with_client_cert_verifier(client_verifier(&tls.client_auth)?)
            .with_cert_resolver(Arc::new(names));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            client_auth: tls.client_auth.clone(),
        })
    }

    /// Whether a client let in under `self` would have to prove the same under `other`.
    pub(crate) fn asks_the_same(&self, other: &Self) -> bool {
        self.client_auth == other.client_auth
    }
}

fn client_verifier(auth: &ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, EngineError> {
    let builder = |bundle: &[u8]| {
        let roots = roots(bundle).map_err(|cause| invalid(cause.message))?;
        Ok::<_, EngineError>(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()))
    };
    match auth {
        ClientAuth::None => Ok(Arc::new(NoClientAuth)),
        ClientAuth::Request { bundle_pem } => builder(bundle_pem)?.allow_unauthenticated().build().map_err(invalid),
        ClientAuth::Require { bundle_pem } => builder(bundle_pem)?.build().map_err(invalid),
    }
}

/// The certificates by the server names they are for.
struct Names {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the first label.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl Names {
    fn new(certificates: &[FrontCertificate]) -> Result<Self, EngineError> {
        let (mut exact, mut wildcard, mut first) = (HashMap::new(), HashMap::new(), None);
        for certificate in certificates {
            let key = Arc::new(certified(certificate)?);
            let leaf = key.cert.first().ok_or_else(|| invalid("an empty certificate chain"))?;
            for name in dns_names(leaf)? {
                // Of two for one name the first given counts, as it does for the default.
                match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.to_owned()).or_insert_with(|| key.clone()),
                    None => exact.entry(name).or_insert_with(|| key.clone()),
                };
            }
            first.get_or_insert(key);
        }
        Ok(Self {
            exact,
            wildcard,
            first: first.ok_or_else(|| invalid("no certificate"))?,
        })
    }

    fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let known = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let parent = name.split_once('.').map(|(_, parent)| parent);
            self.exact
                .get(&name)
                .or_else(|| parent.and_then(|parent| self.wildcard.get(parent)))
        });
        known.unwrap_or(&self.first)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name()).clone())
    }
}

fn certified(certificate: &FrontCertificate) -> Result<CertifiedKey, EngineError> {
    let chain = certificates(&certificate.chain_pem, "certificate chain").map_err(|cause| invalid(cause.message))?;
    let key = PrivateKeyDer::from_pem_slice(&certificate.key_pem)
        .map_err(|cause| invalid(format!("private key: {cause}")))?;
    // Refuses a key that is not the certificate's.
    CertifiedKey::from_der(chain, key, &provider()).map_err(|cause| invalid(format!("certificate and key: {cause}")))
}

fn dns_names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, EngineError> {
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(invalid)?;
    let Some(names) = certificate.subject_alternative_name().map_err(invalid)? else {
        return Ok(Vec::new());
    };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Ok(names.collect())
}

/// How long a certificate is still valid; nothing if it cannot be read.
pub(crate) fn valid_for(leaf: &[u8]) -> Duration {
    let not_after_s = X509Certificate::from_der(leaf)
        .ok()
        .and_then(|(_, certificate)| u64::try_from(certificate.validity().not_after.timestamp()).ok())
        .unwrap_or(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(not_after_s).saturating_sub(now)
}

fn invalid(what: impl fmt::Display) -> EngineError {
    EngineError::new(
        "engine.front_tls_invalid",
        format!("TLS of the front: {what}"),
        "give certificate chains with their own keys, and the authorities of clients where these are asked, all in PEM",
    )
}
