"""Sealing: the library does HPKE with X-Wing to the letter; what is sealed for one use opens for no other."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from hanse.core.ids import NodeId, SecretId
from hanse.core.time import HOUR_US, WallTime
from hanse.identity import (
    IdentityError,
    SealingError,
    issue_svid,
    key_from_secret,
    make_csr,
    make_root,
    node_id,
    seal_to,
    sealing_key,
)
from hanse.identity.authority import key_pem
from hanse.identity.sealing import (
    MAX_SECRET_BYTES,
    PUBLIC_KEY_BYTES,
    SEALING_SECRET_BYTES,
    bind,
    check_binding,
    info_for_domain,
    info_for_node,
)

NOW, DOMAIN = WallTime(1_795_000_000_000_000), "d.test"
SEED = bytes(range(SEALING_SECRET_BYTES))
KEY = sealing_key(SEED)
NODE, SECRET = NodeId("fra-1"), SecretId("clinic.ledger-db")
XWING_LABEL = bytes.fromhex("5c2e2f2f5e5c")
SUITE_ID = b"HPKE" + bytes.fromhex("647a00010002")
"""MLKEM768-X25519 (0x647a), HKDF-SHA256 (1), AES-256-GCM (2), as registered by draft-ietf-hpke-pq and RFC 9180."""


def _extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + SUITE_ID + label + ikm, "sha256")


def _expand(prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + SUITE_ID + label + info
    out, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + labeled + bytes([counter]), "sha256")
        out += block
    return out[:length]


def test_another_reader_built_from_the_specifications_opens_what_was_sealed():
    """X-Wing (draft-connolly-cfrg-xwing-kem, 5.4) and RFC 9180 (5.1), written out here from the text."""
    info = b"any name"
    sealed = seal_to(KEY.public, b"hunter2", info)
    ct_m, ct_x, ct = sealed[:1088], sealed[1088:1120], sealed[1120:]
    curve = X25519PrivateKey.from_private_bytes(SEED[64:])
    ss_m = MLKEM768PrivateKey.from_seed_bytes(SEED[:64]).decapsulate(ct_m)
    ss_x = curve.exchange(X25519PublicKey.from_public_bytes(ct_x))
    pk_x = curve.public_key().public_bytes_raw()
    shared = hashlib.sha3_256(ss_m + ss_x + ct_x + pk_x + XWING_LABEL).digest()
    context = b"\0" + _extract(b"", b"psk_id_hash", b"") + _extract(b"", b"info_hash", info)
    secret = _extract(shared, b"secret", b"")
    key, nonce = _expand(secret, b"key", context, 32), _expand(secret, b"base_nonce", context, 12)
    padded = AESGCM(key).decrypt(nonce, ct, b"")
    assert padded[:11] == b"\0\0\0\x07hunter2"
    assert len(KEY.public) == PUBLIC_KEY_BYTES == 1_216


@given(value=st.binary(max_size=700))
def test_what_is_sealed_is_opened_and_its_length_does_not_show(value: bytes):
    sealed = seal_to(KEY.public, value, b"x")
    assert KEY.open(sealed, b"x") == value
    assert (len(sealed) - 1_120 - 16) % 256 == 0
    assert len(value) < 16 or value not in sealed


def test_the_same_value_sealed_twice_has_nothing_in_common():
    assert seal_to(KEY.public, b"v", b"x") != seal_to(KEY.public, b"v", b"x")


def test_never_does_a_value_open_for_another_use_another_holder_or_after_a_flip():
    at_rest = info_for_domain("d.test", SECRET, 1)
    sealed = seal_to(KEY.public, b"v", at_rest)
    others = (
        info_for_domain("e.test", SECRET, 1),
        info_for_domain("d.test", SecretId("clinic.other"), 1),
        info_for_domain("d.test", SECRET, 2),
        info_for_node("d.test", NODE, SECRET, 1, WallTime(5)),
    )
    for info in others:
        with pytest.raises(SealingError) as refused:
            KEY.open(sealed, info)
        assert refused.value.code == "secret.unreadable"
    with pytest.raises(SealingError):
        sealing_key(SEED[::-1]).open(sealed, at_rest)
    for at in (0, 1_087, 1_100, len(sealed) - 1):
        flipped = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(SealingError):
            KEY.open(flipped, at_rest)
    for cut in (b"", sealed[:100], sealed[:-1]):
        with pytest.raises(SealingError):
            KEY.open(cut, at_rest)


def test_what_is_no_key_and_what_is_too_large_is_refused():
    for public in (b"", bytes(32), KEY.public[:-1], b"\xff" * PUBLIC_KEY_BYTES):
        with pytest.raises(SealingError) as refused:
            seal_to(public, b"v", b"x")
        assert refused.value.code == "secret.bad_key"
    with pytest.raises(SealingError) as refused:
        seal_to(KEY.public, bytes(MAX_SECRET_BYTES + 1), b"x")
    assert refused.value.code == "secret.too_large"


def test_a_key_is_never_shown():
    assert "SealingKey()" in repr(KEY)


def test_a_sealing_key_is_as_good_as_the_svid_that_vouches_for_it():
    ca_key, svid_key = key_from_secret(b"\1" * 48), key_from_secret(b"\2" * 48)
    root = make_root(ca_key, DOMAIN, NOW, 1)
    chain = issue_svid(make_csr(svid_key), node_id(DOMAIN, NODE), ca_key=ca_key, ca_cert=root, now=NOW, serial=2)
    strange_root = make_root(key_from_secret(b"\3" * 48), DOMAIN, NOW, 1)
    stranger = bind(key_pem(key_from_secret(b"\4" * 48)), DOMAIN, NODE, KEY.public)

    def check(**other: Any) -> None:
        given: dict[str, Any] = {
            "chain_pem": chain, "bundle_pem": root.public_bytes(Encoding.PEM), "public": KEY.public, "now": NOW,
            "signature": bind(key_pem(svid_key), DOMAIN, NODE, KEY.public), "domain": DOMAIN, "node": NODE, **other,
        }  # fmt: skip
        check_binding(
            given.pop("chain_pem"), given.pop("bundle_pem"), given.pop("signature"), given.pop("public"), **given
        )

    check()
    for other, code in (
        ({"signature": stranger}, "secret.unbound_key"),
        ({"public": sealing_key(SEED[::-1]).public}, "secret.unbound_key"),
        ({"node": NodeId("fra-2")}, "identity.wrong_path"),
        ({"now": WallTime(NOW + 2 * HOUR_US)}, "identity.expired"),
        ({"bundle_pem": strange_root.public_bytes(Encoding.PEM)}, "identity.untrusted"),
    ):
        with pytest.raises((SealingError, IdentityError)) as refused:
            check(**other)
        assert refused.value.code == code
