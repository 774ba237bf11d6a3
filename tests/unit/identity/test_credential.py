"""Certificates as credentials: what a trusted issuer signed about this subject holds now, and nothing else does."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from hanse.app.cli import main
from hanse.app.issuers import IssuersError, fetch_document
from hanse.core.errors import HanseError
from hanse.core.time import WallTime, from_datetime
from hanse.identity.credential import TrustedIssuer, verify_credential
from hanse.identity.did import document_url, keys_of
from hanse.identity.errors import IdentityError

NOW = from_datetime(datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
SUBJECT = "did:web:hafen.example"
WEB = "did:web:audit.example"
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def did_key(key: Ed25519PrivateKey) -> str:
    number = int.from_bytes(b"\xed\x01" + key.public_key().public_bytes_raw())
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return f"did:key:z{text}"


def claims(issuer: str, **changed):
    return {
        "@context": ["https://www.w3.org/ns/credentials/v2"], "type": ["VerifiableCredential"], "issuer": issuer,
        "validFrom": "2026-04-01T00:00:00Z", "validUntil": "2027-03-31T12:00:00Z",
        "credentialSubject": {"id": SUBJECT, "certification": "bsi-c5"}, **changed,
    }  # fmt: skip


def token(payload, *, key=KEY, header=None) -> str:
    head = {"typ": "vc+jwt", "alg": "EdDSA", **(header or {})}
    text = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(payload).encode())}"
    return f"{text}.{b64(key.sign(text.encode()))}"


def document(key: Ed25519PrivateKey = KEY, **changed) -> bytes:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().public_bytes_raw())}
    method = {"id": f"{WEB}#a", "type": "JsonWebKey", "controller": WEB, "publicKeyJwk": jwk}
    return json.dumps({"id": WEB, "verificationMethod": [method], "assertionMethod": ["#a"], **changed}).encode()


def web(data: bytes, looked_at: bytes | None = None) -> TrustedIssuer:
    digest = hashlib.sha256(looked_at or data).hexdigest()
    return TrustedIssuer(did=WEB, certifies=("bsi-c5",), document=data, document_sha256=digest)


KEYED = TrustedIssuer(did=did_key(KEY), certifies=("bsi-c5",))


def refusal(text: str, issuers=(KEYED,), subject=SUBJECT, now=NOW) -> str:
    with pytest.raises(IdentityError) as raised:
        verify_credential(text, issuers, subject, now)
    assert raised.value.hint
    return raised.value.code


def test_a_credential_of_a_did_key_is_a_fact_until_its_end():
    text = token(claims(KEYED.did))
    found = verify_credential(text, [KEYED], SUBJECT, NOW)
    assert (found.name, found.issuer, found.subject) == ("bsi-c5", KEYED.did, SUBJECT)
    assert found.until_us == from_datetime(datetime.datetime(2027, 3, 31, 12, tzinfo=datetime.UTC))
    assert found.digest == hashlib.sha256(text.encode()).hexdigest()


def test_a_credential_of_a_did_web_is_checked_with_the_document_that_was_looked_at():
    text = token(claims(WEB), header={"kid": "#a"})
    assert verify_credential(text, [web(document())], SUBJECT, NOW).issuer == WEB


def test_a_published_did_key_is_read():
    """The example of the did:key method, section 3.1 (Ed25519)."""
    (id_,) = keys_of("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK", None)
    assert id_.endswith("#z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK")


def test_es256_serves_as_well():
    key = generate_private_key(SECP256R1())
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32)), "y": b64(numbers.y.to_bytes(32))}
    method = {"id": f"{WEB}#a", "controller": WEB, "publicKeyJwk": jwk}
    text = f"{b64(json.dumps({'typ': 'vc+jwt', 'alg': 'ES256'}).encode())}.{b64(json.dumps(claims(WEB)).encode())}"
    r, s = decode_dss_signature(key.sign(text.encode(), ECDSA(SHA256())))
    data = document(verificationMethod=[method])
    signed = f"{text}.{b64(r.to_bytes(32) + s.to_bytes(32))}"
    assert verify_credential(signed, [web(data)], SUBJECT, NOW).name == "bsi-c5"


@pytest.mark.parametrize("alg", ["none", "HS256", "ES256", "RS256", None, ["EdDSA"]])
def test_the_key_decides_the_algorithm(alg):
    assert refusal(token(claims(KEYED.did), header={"alg": alg})) == "credential.algorithm"


def test_alg_none_without_a_signature_is_refused():
    head, payload, _ = token(claims(KEYED.did), header={"alg": "none"}).split(".")
    assert refusal(f"{head}.{payload}.") == "credential.algorithm"


def test_the_wrong_key_is_refused():
    assert refusal(token(claims(KEYED.did), key=OTHER)) == "credential.signature"
    assert refusal(token(claims(KEYED.did), header={"kid": "#b"})) == "credential.key"


def test_a_key_that_is_not_for_assertions_is_refused():
    text = token(claims(WEB), header={"kid": f"{WEB}#a"})
    assert refusal(text, [web(document(assertionMethod=[]))]) == "credential.key"


def test_expired_not_yet_and_endless_are_refused():
    assert refusal(token(claims(KEYED.did)), now=WallTime(NOW + 400 * 86_400_000_000)) == "credential.expired"
    assert refusal(token(claims(KEYED.did)), now=WallTime(NOW - 400 * 86_400_000_000)) == "credential.not_yet"
    assert refusal(token(claims(KEYED.did, exp=1_700_000_000))) == "credential.expired"
    assert refusal(token(claims(KEYED.did, nbf=1_900_000_000))) == "credential.not_yet"
    endless = claims(KEYED.did)
    del endless["validUntil"]
    assert refusal(token(endless)) == "credential.malformed"
    assert refusal(token(claims(KEYED.did, validUntil="2027-03-31T12:00:00"))) == "credential.malformed"


def test_an_issuer_that_is_not_trusted_is_refused():
    assert refusal(token(claims(did_key(OTHER)), key=OTHER)) == "credential.untrusted_issuer"
    assert refusal(token(claims(KEYED.did, iss=did_key(OTHER)))) == "credential.malformed"


def test_an_issuer_is_believed_about_what_it_certifies_only():
    about = {"id": SUBJECT, "certification": "secnumcloud"}
    assert refusal(token(claims(KEYED.did, credentialSubject=about))) == "credential.not_certified"


def test_a_credential_about_somebody_else_is_refused():
    assert refusal(token(claims(KEYED.did)), subject="did:web:nimbus.example") == "credential.subject"


def test_a_replaced_document_is_refused_until_somebody_looks_again():
    text = token(claims(WEB), key=OTHER, header={"kid": "#a"})
    replaced = document(OTHER)
    assert refusal(text, [web(replaced, looked_at=document())]) == "credential.document_replaced"
    assert verify_credential(text, [web(replaced)], SUBJECT, NOW).issuer == WEB


def test_a_document_about_another_did_is_refused():
    assert refusal(token(claims(WEB)), [web(document(id="did:web:evil.example"))]) == "identity.did"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b.c",
        "....",
        "ä.b.c",
        "a" * 40_000,
        token(claims(KEYED.did)) + "=",
        token(claims(KEYED.did)) + ".x",
    ],
    ids=["empty", "two", "three", "dots", "unicode", "long", "padding", "four"],
)
def test_what_is_no_token_is_refused(text):
    assert refusal(text).startswith("credential.")


def test_a_name_given_twice_and_unknown_extensions_are_refused():
    head = b64(b'{"typ":"vc+jwt","alg":"none","alg":"EdDSA"}')
    payload = b64(json.dumps(claims(KEYED.did)).encode())
    text = f"{head}.{payload}"
    assert refusal(f"{text}.{b64(KEY.sign(text.encode()))}") == "credential.malformed"
    assert refusal(token(claims(KEYED.did), header={"crit": ["b64"], "b64": False})) == "credential.malformed"
    assert refusal(token(claims(KEYED.did, credentialStatus={"id": "x"}))) == "credential.malformed"
    assert refusal(token(claims(KEYED.did), header={"typ": "JWT"})) == "credential.malformed"


@given(st.integers(min_value=0), st.integers(0, 255))
def test_never_believes_a_token_of_which_one_byte_is_another(at, byte):
    good = bytearray(token(claims(KEYED.did)).encode())
    place = at % len(good)
    if good[place] != byte:
        good[place] = byte
        with pytest.raises(IdentityError):
            verify_credential(good.decode("latin-1"), [KEYED], SUBJECT, NOW)


@pytest.mark.parametrize(
    ("did", "url"),
    [
        ("did:web:audit.example", "https://audit.example/.well-known/did.json"),
        ("did:web:audit.example%3A8443", "https://audit.example:8443/.well-known/did.json"),
        ("did:web:audit.example:clouds:eu", "https://audit.example/clouds/eu/did.json"),
    ],
)
def test_a_did_web_names_one_address(did, url):
    assert document_url(did) == url


@pytest.mark.parametrize(
    "did", ["did:web:a/b", "did:web:a:..:b", "did:web:a%2Fb", "did:ion:x", "did:web:", "did:web:A b"]
)
def test_a_did_that_names_none_is_refused(did):
    with pytest.raises(IdentityError):
        document_url(did)


def test_a_document_is_fetched_once_over_https_and_never_by_a_redirect():
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, content=document()) if len(asked) == 1 else httpx.Response(302)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        data, digest = fetch_document(WEB, client)
        assert (data, digest) == (document(), hashlib.sha256(document()).hexdigest())
        assert asked == ["https://audit.example/.well-known/did.json"]
        with pytest.raises(IssuersError):
            fetch_document(WEB, client)


def test_the_command_verifies_without_a_network(tmp_path, capsys):
    (tmp_path / "c5.jwt").write_text(token(claims(WEB)) + "\n")
    (tmp_path / "audit.json").write_bytes(document())
    digest = hashlib.sha256(document()).hexdigest()
    listed = f"issuers:\n  - {{did: '{WEB}', certifies: [bsi-c5], document: audit.json, sha256: '{digest}'}}\n"
    (tmp_path / "issuers.yaml").write_text(listed)
    args = ["credential", "verify", str(tmp_path / "c5.jwt"), "--issuers", str(tmp_path / "issuers.yaml")]
    assert main([*args, "--subject", SUBJECT, "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"] == {"spec": {"verified": ["bsi-c5@2027-03-31"]}}
    assert main([*args, "--subject", "did:web:nimbus.example"]) == 1
    assert "credential.subject" in capsys.readouterr().err
    (tmp_path / "audit.json").write_bytes(document(OTHER))
    assert main([*args, "--subject", SUBJECT]) == 1


def test_every_refusal_is_an_error_of_ours():
    assert issubclass(IdentityError, HanseError)
