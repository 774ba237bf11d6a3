//! Bearer tokens: signed here by hand with aws-lc, so that what checks them is not what made them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use hanse_engine::{JwtRule, Limits, Route};
use serde_json::{Value, json};

use crate::client::{Reply, get, get_with};
use crate::node::{Node, eventually, route};

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "https://api.example";

struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    fn jwks(&self) -> String {
        let rsa = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        let ec = self.ec.public_key().as_ref();
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "n": base64url(&rsa.n), "e": base64url(&rsa.e)},
            {"kty": "EC", "kid": "ec", "crv": "P-256", "alg": "ES256", "use": "sig",
             "x": base64url(&ec[1..33]), "y": base64url(&ec[33..])},
            {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": base64url(self.ed.public_key().as_ref())},
            {"kty": "oct", "kid": "secret", "k": base64url(b"not a secret")},
            {"kty": "EC", "kid": "encryption", "crv": "P-256", "use": "enc",
             "x": base64url(&ec[1..33]), "y": base64url(&ec[33..])},
        ]})
        .to_string()
    }

    fn token(&self, alg: &str, kid: &str, claims: &Value) -> String {
        self.signed(&json!({"alg": alg, "kid": kid}), claims)
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        let message = format!(
            "{}.{}",
            base64url(header.to_string().as_bytes()),
            base64url(claims.to_string().as_bytes())
        );
        let signature = match header["alg"].as_str().unwrap() {
            "RS256" => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa
                    .sign(
                        &RSA_PKCS1_SHA256,
                        &SystemRandom::new(),
                        message.as_bytes(),
                        &mut signature,
                    )
                    .unwrap();
                signature
            }
            "ES256" => {
                let signature = self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
                signature.as_ref().to_vec()
            }
            "EdDSA" => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
            "HS256" => {
                // The classic confusion: the public key, as everybody knows it, as the secret.
                let rsa = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &rsa.n);
                aws_lc_rs::hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            "none" => Vec::new(),
            other => panic!("{other}"),
        };
        format!("{message}.{}", base64url(&signature))
    }
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .enumerate()
            .fold(0, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..=group.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]));
        }
    }
    text
}

fn now_s() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": ["other", AUDIENCE], "sub": "zoë", "exp": now_s() + 60, "roles": ["nurse"]})
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn rule(jwks: &str) -> JwtRule {
    JwtRule {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        jwks: jwks.to_owned(),
        is_optional: false,
    }
}

fn guarded(rule: &JwtRule) -> Node {
    let node = Node::member("a");
    node.load("mirror", Limits::default(), &[]);
    node.engine
        .set_routes(&[Route {
            auth: Some(rule.clone()),
            ..route("mirror", &[])
        }])
        .unwrap();
    node
}

fn ask(node: &Node, token: &str) -> Reply {
    get_with(
        &node.addresses.front,
        "/mirror",
        &format!("authorization: Bearer {token}"),
    )
}

fn told(reply: &Reply) -> Vec<(String, String)> {
    let text = String::from_utf8(reply.body.clone()).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.starts_with("hanse-"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn a_good_token_passes_and_the_guest_reads_who_it_is() {
    let issuer = Issuer::new();
    let node = guarded(&rule(&issuer.jwks()));
    for (alg, kid) in [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")] {
        let token = issuer.token(alg, kid, &claims());
        // The second time it is remembered.
        for _ in 0..2 {
            let reply = ask(&node, &token);
            assert_eq!(reply.status, 200, "{alg}: {}", String::from_utf8_lossy(&reply.body));
            let told = told(&reply);
            assert_eq!(told.len(), 4, "{told:?}");
            let value = |name: &str| told.iter().find(|(key, _)| key == name).unwrap().1.clone();
            assert_eq!(value("hanse-principal"), "user");
            assert_eq!(value("hanse-subject"), "zo%C3%AB");
            assert_eq!(value("hanse-issuer"), ISSUER);
            let claims: Value = serde_json::from_str(&value("hanse-claims")).unwrap();
            assert_eq!((&claims["sub"], &claims["roles"][0]), (&json!("zoë"), &json!("nurse")));
        }
    }
    // Without `kid` the only key for the algorithm is meant.
    assert_eq!(
        ask(&node, &issuer.signed(&json!({"alg": "ES256"}), &claims())).status,
        200
    );
    // Within the leeway.
    assert_eq!(
        ask(&node, &issuer.token("ES256", "ec", &with("exp", json!(now_s() - 10)))).status,
        200
    );
}

#[test]
fn every_kind_of_bad_token_is_refused_with_its_reason_and_never_reaches_the_guest() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let node = guarded(&rule(&issuer.jwks()));
    let es256 = |claims: &Value| issuer.token("ES256", "ec", claims);
    let good = es256(&claims());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let altered = {
        let forged = base64url(with("sub", json!("root")).to_string().as_bytes());
        format!("{}.{forged}.{signature}", head.split_once('.').unwrap().0)
    };
    let cases = [
        ("auth.algorithm", issuer.token("none", "ec", &claims())),
        ("auth.algorithm", issuer.token("HS256", "rsa", &claims())),
        ("auth.algorithm", issuer.token("HS256", "secret", &claims())),
        ("auth.unknown_key", issuer.token("ES256", "nobody", &claims())),
        ("auth.unknown_key", issuer.token("ES256", "rsa", &claims())),
        ("auth.unknown_key", issuer.token("ES256", "encryption", &claims())),
        ("auth.signature", other.token("ES256", "ec", &claims())),
        ("auth.signature", other.token("RS256", "rsa", &claims())),
        ("auth.signature", altered),
        ("auth.signature", format!("{head}.")),
        ("auth.audience", es256(&with("aud", json!("https://other.example")))),
        ("auth.issuer", es256(&with("iss", json!("https://evil.example")))),
        ("auth.expired", es256(&with("exp", json!(now_s() - 100)))),
        ("auth.not_yet_valid", es256(&with("nbf", json!(now_s() + 100)))),
        ("auth.claims", es256(&without("exp"))),
        ("auth.claims", es256(&without("aud"))),
        ("auth.claims", es256(&without("iss"))),
        ("auth.claims", es256(&without("sub"))),
        ("auth.claims", es256(&with("sub", json!("")))),
        ("auth.malformed", "rubbish".to_owned()),
        ("auth.malformed", String::new()),
        ("auth.malformed", "a.b.c".to_owned()),
        (
            "auth.malformed",
            issuer.signed(&json!({"alg": "ES256", "kid": "ec", "crit": ["x"]}), &claims()),
        ),
        ("auth.too_large", es256(&with("sub", json!("x".repeat(8 << 10))))),
    ];
    let mut expected = std::collections::BTreeMap::new();
    for (code, token) in &cases {
        let reply = ask(&node, token);
        assert_eq!((reply.status, reply.error()), (401, *code), "{token}");
        assert!(
            reply
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer error=\"invalid_token\"")
        );
        *expected.entry(*code).or_insert(0) += 1;
    }
    let reply = get(&node.addresses.front, "/mirror");
    assert_eq!((reply.status, reply.error()), (401, "auth.missing"));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    expected.insert("auth.missing", 1);
    let stats = node.stats("mirror");
    assert_eq!((stats.instances_started, stats.errors), (0, expected));
}

#[test]
fn where_a_token_is_optional_none_is_anonymous_and_a_bad_one_still_refused() {
    let issuer = Issuer::new();
    let node = guarded(&JwtRule {
        is_optional: true,
        ..rule(&issuer.jwks())
    });
    let reply = get_with(
        &node.addresses.front,
        "/mirror",
        "hanse-subject: root\r\nhanse-principal: user\r\nhanse-vouched-principal: {\"workload\":\"x\"}",
    );
    assert_eq!((reply.status, told(&reply)), (200, vec![]));
    assert_eq!(ask(&node, "rubbish").status, 401);
    let reply = get_with(&node.addresses.front, "/mirror", "authorization: Basic YTpi");
    assert_eq!((reply.status, told(&reply)), (200, vec![]));
}

#[test]
fn keys_of_the_node_are_swapped_and_what_was_checked_with_the_old_ones_is_forgotten() {
    let (first, second) = (Issuer::new(), Issuer::new());
    let node = guarded(&rule(""));
    let token = first.token("EdDSA", "ed", &claims());
    let reply = ask(&node, &token);
    assert_eq!((reply.status, reply.error()), (503, "auth.no_keys"));
    node.engine.set_issuer_keys(ISSUER, &first.jwks()).unwrap();
    assert_eq!(ask(&node, &token).status, 200);
    node.engine.set_issuer_keys(ISSUER, &second.jwks()).unwrap();
    assert_eq!(ask(&node, &token).error(), "auth.signature");
    for bad in ["", "[]", "{}", r#"{"keys": [{"kty": "oct", "k": "AAAA"}]}"#] {
        let error = node.engine.set_issuer_keys(ISSUER, bad).unwrap_err();
        assert_eq!(error.code, "engine.jwks_invalid");
    }
    assert_eq!(ask(&node, &second.token("EdDSA", "ed", &claims())).status, 200);
}

#[test]
fn the_node_that_runs_the_workload_checks_again_whatever_the_front_let_through() {
    let issuer = Issuer::new();
    let (front, runner) = (Node::member("a"), Node::member("b"));
    runner.engine.set_auth("mirror", Some(&rule(&issuer.jwks()))).unwrap();
    runner.load("mirror", Limits::default(), &[]);
    // A front that knows nothing of the rule.
    front
        .engine
        .set_routes(&[route("mirror", &[runner.replica(100)])])
        .unwrap();
    let reply = get_with(&front.addresses.front, "/mirror", "hanse-subject: root");
    assert_eq!((reply.status, reply.error()), (401, "auth.missing"));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    let reply = ask(&front, &issuer.token("RS256", "rsa", &claims()));
    let subject = told(&reply).into_iter().find(|(name, _)| name == "hanse-subject");
    assert_eq!(subject.unwrap().1, "zo%C3%AB");
    eventually("counted where it ran", || {
        runner.stats("mirror").errors.get("auth.missing") == Some(&1)
    });
    runner.engine.set_auth("mirror", None).unwrap();
    assert_eq!(front.get("/mirror").status, 200);
}
