//! A certificate authority for tests, which also makes the certificates that must be refused.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};

pub const TRUST_DOMAIN: &str = "test.example";

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub bundle_pem: String,
}

pub struct Credential {
    pub chain_pem: String,
    pub key_pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&format!("spiffe://{TRUST_DOMAIN}"))];
        let bundle_pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            bundle_pem,
        }
    }

    /// A valid credential of `node`.
    pub fn node(&self, node: &str) -> Credential {
        self.issue(&node_params(node))
    }

    pub fn issue(&self, params: &CertificateParams) -> Credential {
        let key = KeyPair::generate().unwrap();
        Credential {
            chain_pem: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

/// The params of a certificate for these DNS names.
pub fn web_params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub fn spiffe_id(node: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/node/{node}")
}

pub fn node_params(node: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![uri(&spiffe_id(node))];
    params
}

/// Every kind of certificate that is no valid one of `node`, with its name.
pub fn bad_params(node: &str) -> Vec<(&'static str, CertificateParams)> {
    let bad = |change: fn(&mut CertificateParams)| {
        let mut params = node_params(node);
        change(&mut params);
        params
    };
    vec![
        (
            "two URIs",
            bad(|params| params.subject_alt_names.push(uri(&spiffe_id("other")))),
        ),
        (
            "no URI",
            bad(|params| params.subject_alt_names = vec![SanType::DnsName("a.example".try_into().unwrap())]),
        ),
        (
            "other trust domain",
            bad(|params| params.subject_alt_names = vec![uri("spiffe://evil.example/node/a")]),
        ),
        (
            "no node",
            bad(|params| params.subject_alt_names = vec![uri("spiffe://test.example/ns/x/a")]),
        ),
        ("expired", bad(|params| params.not_after = date_time_ymd(2020, 1, 1))),
        (
            "not yet valid",
            bad(|params| params.not_before = date_time_ymd(3000, 1, 1)),
        ),
        (
            "authority as leaf",
            bad(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ),
        (
            "may sign certificates",
            bad(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        ),
        ("no key usage", bad(|params| params.key_usages.clear())),
        ("for servers only", bad(|params| params.extended_key_usages.truncate(1))),
    ]
}

pub fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}
