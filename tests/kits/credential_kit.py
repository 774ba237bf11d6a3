"""A certifier with a key of its own: credentials about operators, as VC 2.0 in a JWT, issued by a ``did:key``."""

from __future__ import annotations

import base64
import datetime
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SUBJECT = "did:web:hansa.example"
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def did_key() -> str:
    """The certifier's DID, which is its key."""
    number, text = int.from_bytes(b"\xed\x01" + KEY.public_key().public_bytes_raw()), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return f"did:key:z{text}"


def credential(ends: datetime.datetime, *, certification: str = "bsi-c5", since: str = "2026-04-01T00:00:00Z") -> str:
    """A signed credential that `SUBJECT` holds a certification until `ends` (UTC)."""
    claims = {
        "@context": ["https://www.w3.org/ns/credentials/v2"], "type": ["VerifiableCredential"], "issuer": did_key(),
        "validFrom": since, "validUntil": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "credentialSubject": {"id": SUBJECT, "certification": certification},
    }  # fmt: skip
    text = ".".join(_b64(json.dumps(one).encode()) for one in ({"typ": "vc+jwt", "alg": "EdDSA"}, claims))
    return f"{text}.{_b64(KEY.sign(text.encode()))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
