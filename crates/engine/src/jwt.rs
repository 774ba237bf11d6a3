//! Bearer tokens of users: `Authorization, rule, keys -> principal, or a 401 that says why`.
//!
//! A workload names the issuer and audience it wants (RFC 7519, RFC 6750, and RFC 8725 for what to refuse). Only signatures by
//! public keys count (RSA, ECDSA, EdDSA), and the key, not the token, says which algorithms it is for: a token that names
//! `none`, or HS256 with a public key as the secret, finds no key. Keys are given as a JWKS (RFC 7517), with the rule or for
//! the node; nothing is fetched here. Checked tokens are remembered until they expire.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::answer::Fault;
use crate::component::digest_hex;
use crate::error::EngineError;
use crate::principal::{Principal, User};

const MAX_TOKEN_BYTES: usize = 8 << 10;
/// Clocks of issuers and nodes may differ by so much.
const LEEWAY_S: u64 = 30;
/// Checked tokens remembered per rule; one takes as many bytes as its claims.
const REMEMBERED: usize = 1024;

/// Which tokens a workload accepts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JwtRule {
    /// Value the claim `iss` must have.
    pub issuer: String,
    /// Value the claim `aud` must have, or have among its values.
    pub audience: String,
    /// JWKS document with the issuer's public keys; empty: those the node was given by [`crate::Engine::set_issuer_keys`].
    pub jwks: String,
    /// Whether a request without a token passes as anonymous. A bad token never passes.
    pub is_optional: bool,
}

/// One public key of an issuer.
struct Key {
    id: Option<String>,
    /// Of one family.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// The public keys of an issuer.
pub(crate) struct Keys(Vec<Key>);

impl Keys {
    /// Read a JWKS; keys of other kinds and uses than signatures are passed over.
    ///
    /// # Errors
    /// `engine.jwks_invalid` when it is no JWKS or holds no usable key.
    pub(crate) fn parse(jwks: &str) -> Result<Self, EngineError> {
        let document: Value = serde_json::from_str(jwks).map_err(invalid)?;
        let keys = document.get("keys").and_then(Value::as_array);
        let keys: Vec<_> = keys.into_iter().flatten().filter_map(key).collect();
        if keys.is_empty() {
            return Err(invalid("there is no public key for signatures in it"));
        }
        Ok(Self(keys))
    }

    /// The key named, or the only one that fits where none is named.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.algorithms.contains(&algorithm))
            .filter(|key| id.is_none() || key.id.as_deref() == id);
        let found = fitting.next()?;
        (id.is_some() || fitting.next().is_none()).then_some(found)
    }
}

fn key(value: &Value) -> Option<Key> {
    if value.get("use").is_some_and(|usage| usage != "sig") {
        return None;
    }
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let curve = value.get("crv").and_then(Value::as_str);
    let fitting: &[Algorithm] = match (key.family(), curve) {
        (AlgorithmFamily::Rsa, _) => AlgorithmFamily::Rsa.algorithms(),
        (AlgorithmFamily::Ec, Some("P-256")) => &[Algorithm::ES256],
        (AlgorithmFamily::Ec, Some("P-384")) => &[Algorithm::ES384],
        (AlgorithmFamily::Ed, Some("Ed25519")) => &[Algorithm::EdDSA],
        // A shared secret in a public document is no secret.
        _ => return None,
    };
    let algorithms = match value.get("alg").and_then(Value::as_str) {
        None => fitting.to_vec(),
        Some(named) => {
            let named = Algorithm::from_str(named).ok()?;
            fitting.iter().copied().filter(|one| *one == named).collect()
        }
    };
    (!algorithms.is_empty()).then_some(Key {
        id: value.get("kid").and_then(Value::as_str).map(str::to_owned),
        algorithms,
        key,
    })
}

/// Checks the tokens of one rule.
pub(crate) struct Verifier {
    rule: JwtRule,
    /// The rule's own keys.
    own: Option<Arc<Keys>>,
    issuers: Arc<Issuers>,
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    /// Under which keys the tokens were checked.
    keys: Option<Arc<Keys>>,
    /// By the SHA-256 of the token: who it is, and until when in seconds since 1970.
    tokens: HashMap<String, (Arc<Principal>, u64)>,
}

impl Verifier {
    /// Say who asks.
    ///
    /// # Errors
    /// `auth.*` with status 401, or 503 while the node has no keys of the issuer.
    pub(crate) fn verify(&self, headers: &HeaderMap) -> Result<Arc<Principal>, Fault> {
        let Some(token) = bearer(headers)? else {
            return if self.rule.is_optional {
                Ok(Arc::default())
            } else {
                Err(denied("auth.missing", "the request carries no bearer token"))
            };
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(denied("auth.too_large", "the token is larger than 8 KiB"));
        }
        let keys = match &self.own {
            Some(own) => own.clone(),
            None => self.issuers.get(&self.rule.issuer).ok_or_else(no_keys)?,
        };
        let digest = digest_hex(token.as_bytes());
        if let Some(known) = self.recall(&keys, &digest) {
            return Ok(known);
        }
        let (principal, expires_s) = check(token, &self.rule, &keys)?;
        let principal = Arc::new(principal);
        self.remember(keys, digest, principal.clone(), expires_s);
        Ok(principal)
    }

    fn recall(&self, keys: &Arc<Keys>, digest: &str) -> Option<Arc<Principal>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = remembered.keys.as_ref().is_some_and(|own| Arc::ptr_eq(own, keys));
        let (principal, expires_s) = remembered.tokens.get(digest).filter(|_| is_current)?;
        (now_s() < *expires_s).then(|| principal.clone())
    }

    fn remember(&self, keys: Arc<Keys>, digest: String, principal: Arc<Principal>, expires_s: u64) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = remembered.keys.as_ref().is_some_and(|own| Arc::ptr_eq(own, &keys));
        if !is_current || remembered.tokens.len() >= REMEMBERED {
            remembered.tokens.clear();
        }
        remembered.keys = Some(keys);
        remembered.tokens.insert(digest, (principal, expires_s));
    }
}

/// The keys a node was given, by issuer.
#[derive(Default)]
pub(crate) struct Issuers {
    keys: ArcSwap<HashMap<String, Arc<Keys>>>,
    writer: Mutex<()>,
}

impl Issuers {
    fn set(&self, issuer: &str, keys: Keys) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::clone(&self.keys.load());
        next.insert(issuer.to_owned(), Arc::new(keys));
        self.keys.store(Arc::new(next));
    }

    fn get(&self, issuer: &str) -> Option<Arc<Keys>> {
        self.keys.load().get(issuer).cloned()
    }
}

/// Whose tokens count for what, on one node.
#[derive(Default)]
pub(crate) struct Auth {
    issuers: Arc<Issuers>,
    /// What the workloads that run here demand, whoever asks.
    here: ArcSwap<HashMap<String, Arc<Verifier>>>,
    /// Equal rules share what they remember.
    known: Mutex<HashMap<JwtRule, Weak<Verifier>>>,
}

impl Auth {
    /// Take an issuer's keys for the rules that have none of their own.
    ///
    /// # Errors
    /// `engine.jwks_invalid`; the old ones stay.
    pub(crate) fn set_issuer_keys(&self, issuer: &str, jwks: &str) -> Result<(), EngineError> {
        self.issuers.set(issuer, Keys::parse(jwks)?);
        Ok(())
    }

    /// Demand tokens of everybody who asks `workload` on this node, or no longer.
    ///
    /// # Errors
    /// `engine.jwks_invalid`; the old rule stays.
    pub(crate) fn demand(&self, workload: &str, rule: Option<&JwtRule>) -> Result<(), EngineError> {
        let verifier = rule.map(|rule| self.verifier(rule)).transpose()?;
        // Also keeps two writers apart.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::clone(&self.here.load());
        match verifier {
            Some(verifier) => next.insert(workload.to_owned(), verifier),
            None => next.remove(workload),
        };
        self.here.store(Arc::new(next));
        known.retain(|_, verifier| verifier.strong_count() > 0);
        Ok(())
    }

    /// What `workload` demands where it runs.
    pub(crate) fn demanded(&self, workload: &str) -> Option<Arc<Verifier>> {
        self.here.load().get(workload).cloned()
    }

    /// The checker of `rule`.
    ///
    /// # Errors
    /// `engine.jwks_invalid` for keys of its own that cannot be used.
    pub(crate) fn verifier(&self, rule: &JwtRule) -> Result<Arc<Verifier>, EngineError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verifier) = known.get(rule).and_then(Weak::upgrade) {
            return Ok(verifier);
        }
        let own = match rule.jwks.as_str() {
            "" => None,
            jwks => Some(Arc::new(Keys::parse(jwks)?)),
        };
        let verifier = Arc::new(Verifier {
            rule: rule.clone(),
            own,
            issuers: self.issuers.clone(),
            remembered: Mutex::default(),
        });
        known.insert(rule.clone(), Arc::downgrade(&verifier));
        Ok(verifier)
    }
}

/// The token, if there is one; another scheme is nobody's token.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(denied("auth.malformed", "there are two Authorization headers"));
    }
    let value = value
        .to_str()
        .map_err(|_| denied("auth.malformed", "the Authorization header is no text"))?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()))
}

fn check(token: &str, rule: &JwtRule, keys: &Keys) -> Result<(Principal, u64), Fault> {
    let header = decode_header(token).map_err(|cause| refused(&cause))?;
    if header.crit.is_some() {
        return Err(denied(
            "auth.malformed",
            "the token has critical extensions, none of which is known",
        ));
    }
    if !matches!(
        header.alg.family(),
        AlgorithmFamily::Rsa | AlgorithmFamily::Ec | AlgorithmFamily::Ed
    ) {
        return Err(denied("auth.algorithm", "the token is not signed with a public key"));
    }
    let Some(key) = keys.find(header.kid.as_deref(), header.alg) else {
        return Err(denied(
            "auth.unknown_key",
            "the issuer has no such key for this algorithm",
        ));
    };
    let mut validation = Validation::new(header.alg);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_issuer(&[&rule.issuer]);
    validation.set_audience(&[&rule.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims: Map<String, Value> = decode(token, &key.key, &validation)
        .map_err(|cause| refused(&cause))?
        .claims;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let (Some(issuer), Some(subject)) = (text("iss"), text("sub").filter(|sub| !sub.is_empty())) else {
        return Err(denied("auth.claims", "the token names no subject"));
    };
    let expires_s = claims.get("exp").and_then(Value::as_f64).unwrap_or(0.0) as u64;
    let user = User {
        issuer,
        subject,
        claims,
    };
    Ok((Principal::User(user), expires_s.saturating_add(LEEWAY_S)))
}

fn refused(cause: &jsonwebtoken::errors::Error) -> Fault {
    match cause.kind() {
        ErrorKind::ExpiredSignature => denied("auth.expired", "the token has expired"),
        ErrorKind::ImmatureSignature => denied("auth.not_yet_valid", "the token is not valid yet"),
        ErrorKind::InvalidIssuer => denied("auth.issuer", "the token is of another issuer"),
        ErrorKind::InvalidAudience => denied("auth.audience", "the token is for another audience"),
        ErrorKind::InvalidSignature => denied("auth.signature", "the token's signature is wrong"),
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            denied("auth.algorithm", "the token's algorithm is not accepted")
        }
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::InvalidSubject => {
            denied("auth.claims", "the token lacks one of exp, iss, aud and sub")
        }
        // What is no algorithm at all (`none`) cannot be read either.
        ErrorKind::Json(cause) if cause.to_string().contains("unknown variant") => {
            denied("auth.algorithm", "the token's algorithm is not accepted")
        }
        _ => denied("auth.malformed", "the token cannot be read"),
    }
}

fn denied(code: &'static str, message: &str) -> Fault {
    Fault::new(
        code,
        StatusCode::UNAUTHORIZED,
        message,
        "send `Authorization: Bearer <token>` with a token of the issuer and audience that the workload names",
    )
}

fn no_keys() -> Fault {
    Fault::new(
        "auth.no_keys",
        StatusCode::SERVICE_UNAVAILABLE,
        "this node has no keys of the token's issuer yet",
        "give the node the issuer's keys, or the workload a JWKS of its own",
    )
    .retry_after(1)
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(u64::MAX, |now| now.as_secs())
}

fn invalid(what: impl std::fmt::Display) -> EngineError {
    EngineError::new(
        "engine.jwks_invalid",
        format!("the issuer's keys cannot be used: {what}"),
        "give a JWKS with RSA, P-256, P-384 or Ed25519 public keys",
    )
}
