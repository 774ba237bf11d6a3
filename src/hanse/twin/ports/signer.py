"""The `Signer` port from a seed: real Ed25519 and ML-DSA-44 signatures under keys that a run can repeat.

`32 bytes -> Signer`. ML-DSA signatures are randomised (FIPS 204, hedged): equal keys, other bytes in every run.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey


class MemorySigner:
    """One private key in memory."""

    def __init__(self, algorithm: str, key: Ed25519PrivateKey | MLDSA44PrivateKey) -> None:
        self._algorithm = algorithm
        self._key = key
        self._public = key.public_key().public_bytes_raw()
        self._key_id = hashlib.sha256(self._public).hexdigest()

    @property
    def algorithm(self) -> str:
        """``ed25519`` or ``ml-dsa-44``."""
        return self._algorithm

    @property
    def key_id(self) -> str:
        """Hex SHA-256 of the raw public key."""
        return self._key_id

    @property
    def public_key(self) -> bytes:
        """The raw public key."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Sign and return the raw signature."""
        return self._key.sign(message)


def ed25519(seed: bytes) -> MemorySigner:
    """An Ed25519 signer from 32 bytes (RFC 8032)."""
    return MemorySigner("ed25519", Ed25519PrivateKey.from_private_bytes(seed))


def ml_dsa_44(seed: bytes) -> MemorySigner:
    """An ML-DSA-44 signer from 32 bytes (FIPS 204, xi)."""
    return MemorySigner("ml-dsa-44", MLDSA44PrivateKey.from_seed_bytes(seed))
