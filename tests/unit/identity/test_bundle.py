"""Trust bundles: what is written is read again, each domain for itself; everything odd is refused under a code."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from hanse.core.time import DAY_US, WallTime
from hanse.identity import IdentityError, issue_svid, key_from_secret, make_csr, make_root, server_id
from hanse.identity.bundle import MAX_BUNDLE_BYTES, encode_bundle, parse_bundle

NOW = WallTime(1_795_000_000_000_000)
KEY, OTHER_KEY = key_from_secret(b"\x01" * 48), key_from_secret(b"\x02" * 48)
ROOT, NEXT = make_root(KEY, "south.example", NOW, 1), make_root(OTHER_KEY, "south.example", WallTime(NOW + DAY_US), 2)
ELSEWHERE = make_root(KEY, "north.example", NOW, 3)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def document(*certificates: x509.Certificate, **changed: Any) -> bytes:
    return json.dumps({**json.loads(encode_bundle(pem(*certificates))), **changed}).encode()


def code_of(data: bytes, domain: str = "south.example", now: WallTime = NOW) -> str:
    with pytest.raises(IdentityError) as refused:
        parse_bundle(data, domain, now)
    return refused.value.code


def test_what_is_written_is_read_again() -> None:
    read = parse_bundle(encode_bundle(pem(ROOT, NEXT), refresh_hint_s=600), "south.example", NOW)
    assert read.authorities_pem == pem(ROOT, NEXT)
    assert read.refresh_hint_s == 600
    assert read.sequence == parse_bundle(encode_bundle(pem(NEXT)), "south.example", NOW).sequence
    assert read.sequence > parse_bundle(encode_bundle(pem(ROOT)), "south.example", NOW).sequence


def test_a_document_has_the_members_that_the_standard_names() -> None:
    told = json.loads(encode_bundle(pem(ROOT)))
    assert list(told) == ["keys", "spiffe_sequence", "spiffe_refresh_hint"]
    (key,) = told["keys"]
    assert list(key) == ["use", "kty", "crv", "x", "y", "x5c"]
    assert (key["use"], key["kty"], key["crv"]) == ("x509-svid", "EC", "P-256")
    assert base64.b64decode(key["x5c"][0]) == ROOT.public_bytes(serialization.Encoding.DER)


def test_keys_of_other_uses_are_left_out_and_no_keys_withdraw_all() -> None:
    keys = json.loads(document(ROOT))["keys"]
    more = [*keys, {"use": "jwt-svid", "kty": "EC", "kid": "a"}, {"use": "new-svid"}, {"kty": "oct"}]
    assert parse_bundle(document(ROOT, keys=more), "south.example", NOW).authorities_pem == pem(ROOT)
    assert parse_bundle(document(ROOT, keys=[]), "south.example", NOW).authorities_pem == b""


def test_a_bundle_of_another_domain_is_never_taken_nor_mixed_in() -> None:
    assert code_of(document(ELSEWHERE)) == "identity.mixed_bundle"
    assert code_of(document(ROOT, ELSEWHERE)) == "identity.mixed_bundle"
    assert code_of(document(ROOT), "north.example") == "identity.mixed_bundle"
    csr = make_csr(KEY)
    leaf = issue_svid(csr, server_id("south.example", "a"), ca_key=KEY, ca_cert=ROOT, now=NOW, serial=9)
    assert code_of(document(x509.load_pem_x509_certificate(leaf))) == "identity.mixed_bundle"


@pytest.mark.parametrize(
    "changed",
    [
        {"keys": None},
        {"keys": {}},
        {"keys": [{"use": "x509-svid", "x5c": []}]},
        {"keys": [{"use": "x509-svid", "x5c": ["AA==", "AA=="]}]},
        {"keys": [{"use": "x509-svid", "x5c": ["AA=="]}]},
        {"keys": [{"use": "x509-svid", "x5c": ["*"]}]},
        {"keys": [{"use": "x509-svid"}] * 65},
        {"keys": [{**json.loads(encode_bundle(pem(ROOT)))["keys"][0], "x": "AAAA"}]},
        {"spiffe_sequence": -1},
        {"spiffe_sequence": "7"},
        {"spiffe_sequence": True},
        {"spiffe_refresh_hint": 10**9},
    ],
)
def test_every_oddity_is_refused(changed: dict[str, Any]) -> None:
    assert code_of(document(ROOT, **changed)) == "identity.bad_bundle"


def test_size_time_and_spelling_are_held() -> None:
    assert code_of(b" " * (MAX_BUNDLE_BYTES + 1)) == "identity.bad_bundle"
    assert code_of(b'{"keys": [], "keys": []}') == "identity.bad_bundle"
    assert code_of(document(ROOT), now=WallTime(NOW + 3_651 * DAY_US)) == "identity.expired"


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        parse_bundle(data, "south.example", NOW)
    except IdentityError as refused:
        assert refused.code.startswith("identity.")
