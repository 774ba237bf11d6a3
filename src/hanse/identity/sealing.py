"""Sealing secrets to one recipient: HPKE with X25519 and ML-KEM-768 together. `value + recipient -> sealed -> value`.

RFC 9180 in base mode and one shot, with the KEM ``MLKEM768-X25519`` (X-Wing, draft-connolly-cfrg-xwing-kem;
draft-ietf-hpke-pq, 0x647a), HKDF-SHA256 and AES-256-GCM: whoever keeps today's traffic must break both X25519 and
ML-KEM to read it later. All of it is pyca/cryptography's; here is only what is sealed to whom, and under which name.

The name (`info`) binds a sealed value to its use: one sealed for the domain cannot be passed off as one released to a
node, nor one secret's as another's. Values are padded, so that the length of a password does not show.

Base mode proves nothing about the sender: whoever takes a sealed value in takes it out of a signed envelope.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.x509 import load_pem_x509_certificate

from hanse.core.errors import invariant
from hanse.core.ids import NodeId, SecretId
from hanse.core.time import WallTime
from hanse.identity.authority import UNREADABLE
from hanse.identity.errors import SealingError
from hanse.identity.spiffe import node_id
from hanse.identity.verify import verify_svid
from hanse.wire import canonical

SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_SEED, _X25519_SEED, _MLKEM_PUBLIC = 64, 32, 1_184
SEALING_SECRET_BYTES: Final = _MLKEM_SEED + _X25519_SEED
PUBLIC_KEY_BYTES: Final = _MLKEM_PUBLIC + 32
MAX_SECRET_BYTES: Final = 65_536
_PAD_TO, _LENGTH_BYTES = 256, 4


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A recipient's private key. Never printed; the domain's lies in its folder, a node's in memory only."""

    _key: MLKEM768X25519PrivateKey = field(repr=False)
    public: bytes = field(repr=False)
    """ML-KEM-768 encapsulation key, then X25519 key: 1,216 bytes, as X-Wing writes them."""

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Open what was sealed to this key under this name. Raises SealingError ``secret.unreadable``."""
        try:
            padded = SUITE.decrypt(sealed, self._key, info)
        except (InvalidTag, ValueError):
            raise _unreadable() from None
        length = int.from_bytes(padded[:_LENGTH_BYTES], "big")
        if length > len(padded) - _LENGTH_BYTES:
            raise _unreadable()
        return padded[_LENGTH_BYTES : _LENGTH_BYTES + length]


def sealing_key(secret: bytes) -> SealingKey:
    """Make the key that follows from 96 secret bytes: the seeds of ML-KEM (FIPS 203, d and z) and of X25519."""
    invariant(len(secret) == SEALING_SECRET_BYTES, "a sealing key is made of 96 bytes")
    mlkem = MLKEM768PrivateKey.from_seed_bytes(secret[:_MLKEM_SEED])
    curve = X25519PrivateKey.from_private_bytes(secret[_MLKEM_SEED:])
    public = mlkem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return SealingKey(MLKEM768X25519PrivateKey(mlkem, curve), public)


def seal_to(public: bytes, value: bytes, info: bytes) -> bytes:
    """Seal a value to the holder of a public key, under a name.

    Raises SealingError ``secret.too_large`` over 64 KiB, ``secret.bad_key`` for what is no key.
    """
    if len(value) > MAX_SECRET_BYTES:
        raise SealingError(f"a secret has at most {MAX_SECRET_BYTES} bytes", code="secret.too_large")
    padding = -(_LENGTH_BYTES + len(value)) % _PAD_TO
    padded = len(value).to_bytes(_LENGTH_BYTES, "big") + value + bytes(padding)
    return SUITE.encrypt(padded, _public(public), info)


def info_for_domain(domain: str, secret: SecretId, version: int) -> bytes:
    """The name under which a value is sealed to its domain."""
    return canonical.encode(["hanse secret at rest v1", domain, secret, version])


def info_for_node(domain: str, node: NodeId, secret: SecretId, version: int, until_us: WallTime) -> bytes:
    """The name under which a value is released to a node."""
    return canonical.encode(["hanse secret released v1", domain, node, secret, version, until_us])


def binding_of(domain: str, node: NodeId, public: bytes) -> bytes:
    """What a node signs with its SVID's key, so that its sealing key is as good as its SVID, and no longer lived."""
    return canonical.encode(["hanse sealing key v1", domain, node, canonical.digest_bytes(public)])


def check_binding(
    chain_pem: bytes, bundle_pem: bytes, signature: bytes, public: bytes, *, domain: str, node: NodeId, now: WallTime
) -> None:
    """Make sure that the holder of a valid SVID of this node stands behind a sealing key.

    Raises IdentityError as `verify_svid` does, SealingError ``secret.unbound_key``.
    """
    verify_svid(chain_pem, bundle_pem, now, domain=domain, path=node_id(domain, node).path)
    key = load_pem_x509_certificate(chain_pem).public_key()
    unbound = SealingError(
        f"the sealing key of {node} is not signed with the key of its SVID", code="secret.unbound_key"
    )
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise unbound
    try:
        key.verify(signature, binding_of(domain, node, public), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise unbound from None


def bind(svid_key_pem: bytes, domain: str, node: NodeId, public: bytes) -> bytes:
    """Sign a sealing key with the SVID's private key (PEM)."""
    key = serialization.load_pem_private_key(svid_key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SealingError("the key of an SVID is ECDSA P-256", code="secret.unbound_key")
    return key.sign(binding_of(domain, node, public), ec.ECDSA(hashes.SHA256()))


def _public(public: bytes) -> MLKEM768X25519PublicKey:
    try:
        if len(public) != PUBLIC_KEY_BYTES:
            raise ValueError("wrong length")
        return MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]),
        )
    except UNREADABLE as error:
        raise SealingError(f"not a sealing key: {error}", code="secret.bad_key") from None


def _unreadable() -> SealingError:
    return SealingError(
        "a sealed value cannot be opened: it was sealed to another key or for another use, or it is damaged",
        code="secret.unreadable",
        hint="`hanse secret set` seals it anew",
    )
