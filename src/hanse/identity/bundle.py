"""Trust bundles between domains: `root certificates <-> JWKS document` (SPIFFE Trust Domain and Bundle, section 4).

A bundle belongs to one trust domain and is never merged with another's. Keys of other uses than ``x509-svid`` are left
out, as the standard asks; JWT-SVIDs are not issued here.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hanse.core.time import WallTime
from hanse.identity.did import strict_json
from hanse.identity.errors import IdentityError
from hanse.identity.spiffe import domain_id
from hanse.identity.verify import check_bundle

MAX_BUNDLE_BYTES = 256 * 2**10
MAX_KEYS = 64
REFRESH_HINT_S = 300
"""Five minutes: how long after a rotation of the root others may still not know it."""
HINT_S_MAX = 7 * 86_400
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustBundle:
    """What one trust domain believes in itself."""

    domain: str
    authorities_pem: bytes
    """Empty: the domain has withdrawn all of its authorities."""
    sequence: int
    refresh_hint_s: int


def encode_bundle(authorities_pem: bytes, *, refresh_hint_s: int = REFRESH_HINT_S) -> bytes:
    """Write the bundle of a domain as JWKS. Its sequence is the second in which its newest root was made."""
    roots = x509.load_pem_x509_certificates(authorities_pem)
    sequence = max(int(root.not_valid_before_utc.timestamp()) for root in roots)
    document = {
        "keys": [_jwk(root) for root in roots],
        "spiffe_sequence": sequence,
        "spiffe_refresh_hint": refresh_hint_s,
    }
    return json.dumps(document, indent=1).encode()


def parse_bundle(data: bytes, domain: str, now: WallTime) -> TrustBundle:
    """Read the bundle of `domain`, all of which has to be in order.

    Raises IdentityError ``identity.bad_bundle`` (not such a document, over 256 KiB or 64 keys, an authority whose key
    is not that of its entry), ``identity.mixed_bundle`` (an authority of another domain, or none at all),
    ``identity.expired`` (no authority holds at `now`).
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise _bad(f"over {MAX_BUNDLE_BYTES:,} bytes")
    try:
        document = strict_json(data)
    except ValueError as error:
        raise _bad(str(error)) from error
    keys = document.get("keys")
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise _bad(f"keys is no list of at most {MAX_KEYS}")
    pems = [_authority(key) for key in keys if isinstance(key, dict) and key.get("use") == "x509-svid"]
    bundle = b"".join(pems)
    if pems:
        roots = check_bundle(bundle, domain)
        if all(int(root.not_valid_after_utc.timestamp()) * 1_000_000 <= now for root in roots):
            raise IdentityError(f"every authority of {domain} has expired", code="identity.expired")
    return TrustBundle(
        domain=str(domain_id(domain).domain),
        authorities_pem=bundle,
        sequence=_number(document, "spiffe_sequence", 0, 2**63 - 1),
        refresh_hint_s=max(60, _number(document, "spiffe_refresh_hint", REFRESH_HINT_S, HINT_S_MAX)),
    )


def _jwk(root: x509.Certificate) -> dict[str, Any]:
    key = root.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _bad("a root of another kind than ECDSA")
    size, numbers = (key.curve.key_size + 7) // 8, key.public_numbers()
    return {
        "use": "x509-svid",
        "kty": "EC",
        "crv": _CURVES[key.curve.name],
        "x": _base64url(numbers.x.to_bytes(size, "big")),
        "y": _base64url(numbers.y.to_bytes(size, "big")),
        "x5c": [base64.b64encode(root.public_bytes(serialization.Encoding.DER)).decode()],
    }


def _authority(key: dict[str, Any]) -> bytes:
    chain = key.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise _bad("an x509-svid key has exactly one certificate (x5c)")
    try:
        der = base64.b64decode(chain[0], validate=True)
        certificate = x509.load_der_x509_certificate(der)
        public = certificate.public_key()
    except (ValueError, binascii.Error) as error:
        raise _bad(f"x5c holds no certificate: {error}") from error
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in _CURVES:
        told = {name: key.get(name) for name in ("kty", "crv", "x", "y")}
        if told != {name: _jwk(certificate)[name] for name in told}:
            raise _bad("a key is not that of its certificate")
    return certificate.public_bytes(serialization.Encoding.PEM)


def _number(document: Any, name: str, default: int, most: int) -> int:
    value = document.get(name, default)
    if type(value) is not int or not 0 <= value <= most:
        raise _bad(f"{name} is no number from 0 to {most}")
    return value


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bad(what: str) -> IdentityError:
    return IdentityError(
        f"not a SPIFFE trust bundle: {what}",
        code="identity.bad_bundle",
        hint="give the JWKS document of the domain's bundle endpoint",
    )
