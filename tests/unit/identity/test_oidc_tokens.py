"""Tokens of a provider: each wrong one is refused for its own reason, whatever else is right about it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oidc_kit import CLIENT, ISSUER, NOW, NOW_S, URL, claims, confused, ec_key, ed_key, key_set, ring, rsa_key, signed
from oidc_kit import unsigned as unsigned_token

from hanse.core.time import WallTime
from hanse.identity import TokenRefused, check_nonce, verify_token
from hanse.identity.oidc import issuer_of, key_id_of, parse_keys, parse_provider, pkce_challenge

GOOD = signed(claims())
MANY = list(range(600))


def refusal_of(token: str, **more: Any) -> str:
    with pytest.raises(TokenRefused) as caught:
        verify_token(token, replace(ISSUER, **more), ring(), NOW)
    return caught.value.code


@pytest.mark.parametrize(("key", "alg"), [(rsa_key(), "RS256"), (ec_key(), "ES256")])
def test_a_good_token_says_who_it_is(key: Any, alg: str) -> None:
    user = verify_token(signed(claims(nonce="n"), key, alg), ISSUER, ring(), NOW)
    assert (user.issuer, user.subject, user.groups, user.nonce) == (URL, "ada", ("clinic-devs",), "n")
    assert user.expires_us == (NOW_S + 600) * 1_000_000
    check_nonce(user, "n")
    with pytest.raises(TokenRefused) as caught:
        check_nonce(user, "m")
    assert caught.value.code == "token.nonce"


WRONG = {
    "no signature at all": (unsigned_token(claims()), "token.algorithm"),
    "none, capitalised": (unsigned_token(claims(), alg="nOnE"), "token.algorithm"),
    "an empty signature under RS256": (unsigned_token(claims(), alg="RS256", kid="r1"), "token.signature"),
    "the public key as an HMAC secret": (confused(claims()), "token.algorithm"),
    "an algorithm that is not pinned": (signed(claims(), ed_key(), "Ed25519"), "token.algorithm"),
    "an RSA key for ES256": (unsigned_token(claims(), b"x" * 64, alg="ES256", kid="r1"), "token.algorithm"),
    "an EC key for RS256": (unsigned_token(claims(), b"x" * 256, alg="RS256", kid="e1"), "token.algorithm"),
    "a key that nobody published": (signed(claims(), rsa_key("r9")), "token.unknown_key"),
    "another key under a known name": (signed(claims(), rsa_key("r9"), kid="r1"), "token.signature"),
    "another curve under a known name": (signed(claims(), ec_key("e9"), "ES256", kid="e1"), "token.signature"),
    "an extension that must be understood": (
        unsigned_token(claims(), b"x", alg="RS256", kid="r1", crit=["x"], x=1),
        "token.malformed",
    ),
    "another issuer": (signed(claims(iss="https://evil.example")), "token.issuer"),
    "an issuer with a slash more": (signed(claims(iss=URL + "/")), "token.issuer"),
    "for somebody else": (signed(claims(aud="other-app")), "token.audience"),
    "for several, and not said whose": (signed(claims(aud=[CLIENT, "other"])), "token.audience"),
    "for several, and another's": (signed(claims(aud=[CLIENT, "other"], azp="other")), "token.audience"),
    "given to another client": (signed(claims(azp="other")), "token.audience"),
    "expired": (signed(claims(exp=NOW_S - 31)), "token.expired"),
    "without an end": (signed(claims(exp=None)), "token.malformed"),
    "an end that is no number": (signed(claims(exp="soon")), "token.malformed"),
    "an end beyond all numbers": (signed(claims(exp=1e300)), "token.malformed"),
    "begins in the future": (signed(claims(nbf=NOW_S + 31)), "token.not_yet"),
    "issued in the future": (signed(claims(iat=NOW_S + 31)), "token.not_yet"),
    "without a subject": (signed(claims(sub=None)), "token.malformed"),
    "groups that are no names": (signed(claims(groups=[1])), "token.malformed"),
    "groups without number": (signed(claims(groups=[f"g{n}" for n in MANY])), "token.malformed"),
    "an access token in place of an ID token": (signed(claims(), typ="at+jwt"), "token.kind"),
    "a logout token": (signed(claims(), typ="logout+jwt"), "token.kind"),
    "no JWT": ("abc", "token.malformed"),
    "five parts": ("a.b.c.d.e", "token.malformed"),
    "too large": (GOOD + "A" * 17_000, "token.malformed"),
    "a list of claims": (signed([1]), "token.malformed"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_token_is_refused_for_its_own_reason(name: str) -> None:
    token, code = WRONG[name]
    assert refusal_of(token) == code


def test_skewed_clocks_are_forgiven_as_far_as_configured_and_no_further() -> None:
    late, early = signed(claims(exp=NOW_S - 29)), signed(claims(iat=NOW_S + 29, nbf=NOW_S + 29))
    assert verify_token(late, ISSUER, ring(), NOW).subject == verify_token(early, ISSUER, ring(), NOW).subject == "ada"
    assert refusal_of(late, skew_us=0) == "token.expired"
    assert refusal_of(early, skew_us=0) == "token.not_yet"


def test_access_tokens_are_for_the_api_and_id_tokens_never_pass_for_them() -> None:
    api = replace(ISSUER, audience="https://api.example", is_access_token=True)
    good = signed(claims(aud="https://api.example", client_id=CLIENT), typ="at+jwt")
    assert verify_token(good, api, ring(), NOW).subject == "ada"
    for token, code in ((GOOD, "token.audience"), (signed(claims(aud="https://api.example")), "token.kind")):
        with pytest.raises(TokenRefused) as caught:
            verify_token(token, api, ring(), NOW)
        assert caught.value.code == code


def test_keys_say_what_they_are_for_and_weak_or_secret_ones_never_count() -> None:
    assert parse_keys(key_set(rsa_key(), use="enc")).keys == ()
    assert parse_keys(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "s"}]}).encode()).keys == ()
    assert (
        parse_keys(b'{"keys": [{"kty": "RSA", "n": "AQ"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}').keys
        == ()
    )
    tied = parse_keys(key_set(rsa_key(), alg="PS256"))
    with pytest.raises(TokenRefused) as caught:
        verify_token(GOOD, ISSUER, tied, NOW)
    assert caught.value.code == "token.algorithm"
    for wrong in (b"", b"[]", b'{"keys": 3}', json.dumps({"keys": [{}] * 65}).encode(), b" " * (2**18 + 1)):
        with pytest.raises(TokenRefused):
            parse_keys(wrong)


def test_private_parts_in_a_published_key_are_not_taken_over() -> None:
    (one,) = parse_keys(json.dumps({"keys": [rsa_key().as_dict(private=True)]}).encode()).keys
    assert not one.key.is_private


def test_a_discovery_document_names_its_own_issuer() -> None:
    document = {"issuer": URL, "jwks_uri": URL + "/jwks"}
    assert parse_provider(json.dumps(document).encode(), URL).jwks_uri == URL + "/jwks"
    for wrong in (b"{}", b"", json.dumps(document | {"issuer": "https://evil"}).encode()):
        with pytest.raises(TokenRefused):
            parse_provider(wrong, URL)


def test_the_challenge_is_that_of_the_rfc() -> None:
    """RFC 7636 appendix B."""
    assert (
        pkce_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


def test_what_is_read_before_anything_is_believed() -> None:
    assert (issuer_of(GOOD), key_id_of(GOOD)) == (URL, "r1")


@given(at=st.integers(0, len(GOOD) - 1), sign=st.sampled_from("ABCDEFabcdef0123456789-_.=+/ \x00"))
def test_never_does_a_token_of_which_any_sign_was_changed_hold(at: int, sign: str) -> None:
    changed = GOOD[:at] + sign + GOOD[at + 1 :]
    if changed != GOOD:
        with pytest.raises(TokenRefused):
            verify_token(changed, ISSUER, ring(), NOW)


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=300) | st.binary(max_size=300).map(bytes.hex))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with pytest.raises(TokenRefused):
        verify_token(text, ISSUER, ring(), WallTime(NOW))


def test_a_refusal_reads_like_a_sentence() -> None:
    with pytest.raises(TokenRefused) as caught:
        verify_token(signed(claims(aud="other-app")), ISSUER, ring(), NOW)
    assert str(caught.value) == "meant for 'other-app', not for this domain"
