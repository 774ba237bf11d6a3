//! Who a request comes from, as far as it was proven: `certificate or token -> principal`.
//!
//! Established once per request, at the front or by the node that passed it on, and carried in the request's extensions as
//! [`Arc<Principal>`](Principal). What is here was verified; what a client merely says of itself never gets in.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::component::digest_hex;

/// On a forwarded request: the principal that the node before established from a certificate, as JSON. Users are not in it:
/// their token travels with the request and is verified again.
pub(crate) const PRINCIPAL: HeaderName = HeaderName::from_static("hanse-vouched-principal");
const KIND: HeaderName = HeaderName::from_static("hanse-principal");
const SUBJECT: HeaderName = HeaderName::from_static("hanse-subject");
const ISSUER: HeaderName = HeaderName::from_static("hanse-issuer");
const CLAIMS: HeaderName = HeaderName::from_static("hanse-claims");

const MAX_HEADER_BYTES: usize = 8 << 10;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Principal {
    /// Nobody has proven anything.
    #[default]
    Anonymous,
    /// A node of the trust domain that asks in its own name.
    Node {
        /// `spiffe://<trust domain>/node/<id>`.
        spiffe_id: String,
    },
    /// A workload of the trust domain.
    Workload {
        /// `spiffe://<trust domain>/ns/<namespace>/<name>`.
        spiffe_id: String,
    },
    /// The holder of a certificate that chains to the front's bundle for clients.
    ClientCertificate(ClientCertificate),
    /// A person or service with a token of an issuer that the workload trusts.
    User(User),
}

/// What a verified client certificate says about its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub fingerprint: String,
    /// Distinguished name of the subject, RFC 4514 style.
    pub subject: String,
    /// Distinguished name of the issuer.
    pub issuer: String,
    /// DNS names, e-mail addresses and URIs among the alternative names, in the certificate's order, as `dns:`, `email:`, `uri:`.
    pub names: Vec<String>,
}

/// The verified claims of a token.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Claim `iss`.
    pub issuer: String,
    /// Claim `sub`.
    pub subject: String,
    /// All claims, those two included.
    pub claims: Map<String, Value>,
}

impl Principal {
    /// `anonymous`, `node`, `workload`, `certificate` or `user`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Node { .. } => "node",
            Self::Workload { .. } => "workload",
            Self::ClientCertificate(_) => "certificate",
            Self::User(_) => "user",
        }
    }

    /// What identifies it among its kind: the SPIFFE ID, the certificate's fingerprint, `issuer#subject`; empty for nobody.
    pub fn id(&self) -> Cow<'_, str> {
        match self {
            Self::Anonymous => Cow::Borrowed(""),
            Self::Node { spiffe_id } | Self::Workload { spiffe_id } => Cow::Borrowed(spiffe_id),
            Self::ClientCertificate(certificate) => Cow::Borrowed(&certificate.fingerprint),
            Self::User(user) => Cow::Owned(format!("{}#{}", user.issuer, user.subject)),
        }
    }

    /// Read the principal out of a client certificate whose chain was verified already.
    ///
    /// One URI that is a SPIFFE ID of `trust_domain` makes a node or a workload; everything else is its fingerprint. `None` if
    /// it cannot be read, or claims a SPIFFE ID of our domain beside another URI.
    pub(crate) fn of_certificate(leaf: &[u8], trust_domain: &str) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let names = alternative_names(&certificate)?;
        let uris: Vec<_> = names.iter().filter_map(|name| name.strip_prefix("uri:")).collect();
        let ours = format!("spiffe://{trust_domain}/");
        if uris.iter().any(|uri| uri.starts_with(&ours)) {
            let (&[uri], false) = (uris.as_slice(), certificate.is_ca()) else {
                return None;
            };
            return Self::of_spiffe_id(uri, &ours);
        }
        Some(Self::ClientCertificate(ClientCertificate {
            fingerprint: digest_hex(leaf),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
        }))
    }

    fn of_spiffe_id(id: &str, ours: &str) -> Option<Self> {
        let spiffe_id = id.to_owned();
        let mut path = id.strip_prefix(ours)?.split('/');
        let is_segment = |segment: &str| {
            !segment.is_empty()
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        };
        match (path.next(), path.next(), path.next(), path.next()) {
            (Some("node"), Some(node), None, None) if is_segment(node) => Some(Self::Node { spiffe_id }),
            (Some("ns"), Some(namespace), Some(name), None) if is_segment(namespace) && is_segment(name) => {
                Some(Self::Workload { spiffe_id })
            }
            _ => None,
        }
    }

    /// Tell the guest who asks, in headers that neither clients nor other guests can set: `hanse-principal` (the kind),
    /// `hanse-subject`, `hanse-issuer`, and for users `hanse-claims` as JSON.
    ///
    /// Characters beyond visible ASCII are percent-encoded (RFC 3986) in subject and issuer, escaped in JSON.
    pub(crate) fn introduce(&self, headers: &mut HeaderMap) {
        let (subject, issuer, claims) = match self {
            Self::Anonymous => return,
            Self::Node { spiffe_id } | Self::Workload { spiffe_id } => (spiffe_id, None, None),
            Self::ClientCertificate(certificate) => (&certificate.subject, Some(&certificate.issuer), None),
            Self::User(user) => (&user.subject, Some(&user.issuer), Some(&user.claims)),
        };
        headers.insert(KIND, HeaderValue::from_static(self.kind()));
        let claims = claims.and_then(|claims| serde_json::to_string(claims).ok());
        for (name, value) in [
            (SUBJECT, Some(encoded(subject))),
            (ISSUER, issuer.map(|issuer| encoded(issuer))),
            (CLAIMS, claims.map(|claims| ascii(&claims))),
        ] {
            if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
                headers.insert(name, value);
            }
        }
    }

    /// How it travels to the node that runs the workload; `None` for what that node establishes by itself, or is too large.
    pub(crate) fn to_header(&self) -> Option<HeaderValue> {
        let value = match self {
            Self::Anonymous | Self::User(_) => return None,
            Self::Node { spiffe_id } => json!({"node": spiffe_id}),
            Self::Workload { spiffe_id } => json!({"workload": spiffe_id}),
            Self::ClientCertificate(certificate) => json!({"certificate": {
                "fingerprint": certificate.fingerprint,
                "subject": certificate.subject,
                "issuer": certificate.issuer,
                "names": certificate.names,
            }}),
        };
        let text = ascii(&value.to_string());
        if text.len() > MAX_HEADER_BYTES {
            return None;
        }
        HeaderValue::from_str(&text).ok()
    }

    /// Read back what another node established.
    pub(crate) fn from_header(value: &HeaderValue) -> Option<Self> {
        let value: Value = serde_json::from_slice(value.as_bytes()).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if let Some(spiffe_id) = value.get("node").and_then(text) {
            return Some(Self::Node { spiffe_id });
        }
        if let Some(spiffe_id) = value.get("workload").and_then(text) {
            return Some(Self::Workload { spiffe_id });
        }
        let certificate = value.get("certificate")?;
        let names = certificate.get("names")?.as_array()?;
        Some(Self::ClientCertificate(ClientCertificate {
            fingerprint: certificate.get("fingerprint").and_then(text)?,
            subject: certificate.get("subject").and_then(text)?,
            issuer: certificate.get("issuer").and_then(text)?,
            names: names.iter().filter_map(text).collect(),
        }))
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Option<Vec<String>> {
    let Some(names) = certificate.subject_alternative_name().ok()? else {
        return Some(Vec::new());
    };
    let named = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(format!("dns:{name}")),
        GeneralName::RFC822Name(name) => Some(format!("email:{name}")),
        GeneralName::URI(name) => Some(format!("uri:{name}")),
        _ => None,
    });
    Some(named.collect())
}

/// Percent-encoded but for visible ASCII.
fn encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if (byte.is_ascii_graphic() || byte == b' ') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// JSON whose characters beyond ASCII are escaped, so that it may stand in a header.
fn ascii(json: &str) -> String {
    use std::fmt::Write;
    json.chars()
        .fold(String::with_capacity(json.len()), |mut text, character| {
            if character.is_ascii() && character != '\u{7f}' {
                text.push(character);
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Principal {
        Principal::ClientCertificate(ClientCertificate {
            fingerprint: "00ff".to_owned(),
            subject: "CN=Zoë \u{1f512}".to_owned(),
            issuer: "CN=\"quoted\", O=x".to_owned(),
            names: vec!["dns:a.example".to_owned()],
        })
    }

    #[test]
    fn what_a_certificate_proved_survives_the_way_to_the_next_node() {
        let spiffe_id = "spiffe://t/ns/a/b".to_owned();
        for principal in [certificate(), Principal::Workload { spiffe_id }] {
            assert_eq!(
                Principal::from_header(&principal.to_header().unwrap()),
                Some(principal.clone())
            );
        }
    }

    #[test]
    fn a_guest_is_told_who_asks_in_plain_ascii() {
        let mut headers = HeaderMap::new();
        Principal::Anonymous.introduce(&mut headers);
        assert!(headers.is_empty());
        certificate().introduce(&mut headers);
        assert_eq!(headers["hanse-principal"], "certificate");
        assert_eq!(headers["hanse-subject"], "CN=Zo%C3%AB %F0%9F%94%92");
    }

    #[test]
    fn a_user_is_never_believed_on_a_nodes_word() {
        let user = Principal::User(User {
            issuer: "i".to_owned(),
            subject: "s".to_owned(),
            claims: Map::new(),
        });
        assert_eq!(user.to_header(), None);
        assert_eq!(user.id(), "i#s");
        let forged = HeaderValue::from_static(r#"{"user":{"issuer":"i","subject":"s","claims":{}}}"#);
        assert_eq!(Principal::from_header(&forged), None);
    }

    #[test]
    fn only_exact_shapes_of_our_domain_are_nodes_and_workloads() {
        let of = |id: &str| Principal::of_spiffe_id(id, "spiffe://t/").map(|principal| principal.kind());
        assert_eq!(of("spiffe://t/node/a"), Some("node"));
        assert_eq!(of("spiffe://t/ns/a/b"), Some("workload"));
        for bad in [
            "spiffe://t/node/",
            "spiffe://t/node/a/b",
            "spiffe://t/ns/a",
            "spiffe://t/ns//b",
            "spiffe://t/x",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
