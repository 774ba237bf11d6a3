"""Certificates as verifiable credentials: `JWT, trusted issuers, subject, now -> what is certified, until when`.

VC data model 2.0 secured as a JWT (W3C VC-JOSE-COSE, ``typ: vc+jwt``; RFC 7515, 7519). The claim that counts is
``credentialSubject.certification``, spelt as rules spell certificates (``bsi-c5``). What is not understood is refused:
there is no second reading of a certificate. Revocation lists (``credentialStatus``) are not read, so a credential that
has one is refused too.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from hanse.core.time import US_PER_S, WallTime, from_datetime
from hanse.identity.did import PublicKey, from_base64url, keys_of, strict_json
from hanse.identity.errors import IdentityError

TOKEN_MAX_CHARACTERS = 32 * 2**10
CONTEXT = "https://www.w3.org/ns/credentials/v2"
TYPES = ("vc+jwt", "application/vc+jwt")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """One certifier that a domain believes, for some certificates only."""

    did: str
    certifies: tuple[str, ...]
    """Names as rules spell them; what it says about others is not believed."""
    document: bytes | None = None
    """DID document of a `did:web`, as it was fetched."""
    document_sha256: str = ""
    """Hex digest of the document that was looked at; another one is refused until somebody looks again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A certificate that a trusted issuer signed and that holds now: a fact of grade 2."""

    name: str
    subject: str
    issuer: str
    since_us: WallTime
    until_us: WallTime
    digest: str
    """Hex SHA-256 of the token, to find it again."""


def verify_credential(token: str, issuers: Sequence[TrustedIssuer], subject: str, now: WallTime) -> Certified:
    """Check one credential about `subject` (a DID or URI) at `now`, or refuse it.

    Raises IdentityError: ``credential.malformed``, ``credential.algorithm``, ``credential.untrusted_issuer``,
    ``credential.document_replaced``, ``credential.key``, ``credential.signature``, ``credential.subject``,
    ``credential.not_yet``, ``credential.expired``, ``credential.not_certified``; ``identity.did``.
    """
    header, payload, signed, signature = _split(token)
    issuer = _trusted(payload, issuers)
    _check_signature(header, issuer, signed, signature)
    since, until = _validity(payload, now)
    name = _certification(payload, issuer, subject)
    digest = hashlib.sha256(token.encode()).hexdigest()
    return Certified(name=name, subject=subject, issuer=issuer.did, since_us=since, until_us=until, digest=digest)


def _split(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any], bytes, bytes]:
    parts = token.split(".")
    if len(token) > TOKEN_MAX_CHARACTERS or not token.isascii() or len(parts) != 3:
        raise _refused("malformed", f"not a JWT of three parts and at most {TOKEN_MAX_CHARACTERS:,} characters")
    try:
        header, payload = (strict_json(from_base64url(part)) for part in parts[:2])
        signature = from_base64url(parts[2])
    except ValueError as error:
        raise _refused("malformed", f"not a JWT: {error}") from error
    if header.get("typ") not in TYPES:
        raise _refused("malformed", f"typ is {header.get('typ')!r} and not vc+jwt")
    if "crit" in header or "b64" in header:
        raise _refused("malformed", "the header asks for an extension that is not known here")
    return header, payload, f"{parts[0]}.{parts[1]}".encode(), signature


def _trusted(payload: Mapping[str, Any], issuers: Sequence[TrustedIssuer]) -> TrustedIssuer:
    named = payload.get("issuer")
    did = named.get("id") if isinstance(named, dict) else named
    if "iss" in payload and payload["iss"] != did:
        raise _refused("malformed", "iss and issuer differ")
    found = next((one for one in issuers if one.did == did), None)
    if found is None:
        raise _refused("untrusted_issuer", f"{did!r} is none of the domain's issuers")
    if found.document is not None and hashlib.sha256(found.document).hexdigest() != found.document_sha256:
        raise _refused(
            "document_replaced", f"the document of {found.did} is not the one that was looked at",
            hint="look at the new document, and write its digest into the list of issuers if it is right",
        )  # fmt: skip
    return found


def _check_signature(header: Mapping[str, Any], issuer: TrustedIssuer, signed: bytes, signature: bytes) -> None:
    keys = keys_of(issuer.did, issuer.document)
    kid = header.get("kid")
    if kid is None and len(keys) == 1:
        kid = next(iter(keys))
    absolute = f"{issuer.did}{kid}" if isinstance(kid, str) and kid.startswith("#") else kid
    if not isinstance(absolute, str) or absolute not in keys:
        raise _refused("key", f"{issuer.did} has no key {kid!r} for assertions")
    _verify(keys[absolute], header.get("alg"), signed, signature)


def _verify(key: PublicKey, alg: object, signed: bytes, signature: bytes) -> None:
    """The key decides what algorithm can be; the header may only agree (RFC 8725, section 3.1)."""
    try:
        if isinstance(key, Ed25519PublicKey):
            _agree(alg, ("EdDSA", "Ed25519"))
            key.verify(signature, signed)
        elif isinstance(key, EllipticCurvePublicKey):
            is_256 = isinstance(key.curve, SECP256R1)
            _agree(alg, ("ES256",) if is_256 else ("ES384",))
            half = 32 if is_256 else 48
            if len(signature) != 2 * half:
                raise _refused("signature", "the signature has the wrong length")
            r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
            key.verify(encode_dss_signature(r, s), signed, ECDSA(SHA256() if is_256 else SHA384()))
    except InvalidSignature as error:
        raise _refused("signature", "the signature is not of this key and this text") from error


def _agree(alg: object, possible: tuple[str, ...]) -> None:
    if alg not in possible:
        raise _refused("algorithm", f"alg is {alg!r}, and the issuer's key is for {possible[0]}")


def _validity(payload: Mapping[str, Any], now: WallTime) -> tuple[WallTime, WallTime]:
    since, until = _moment(payload, "validFrom"), _moment(payload, "validUntil")
    begins, ends = [since], [until]
    for name, bounds in (("nbf", begins), ("exp", ends)):
        if name in payload:
            value = payload[name]
            if type(value) is not int or not 0 <= value < 2**40:
                raise _refused("malformed", f"{name} is not a time in seconds")
            bounds.append(WallTime(value * US_PER_S))
    if now < max(begins):
        raise _refused("not_yet", "it does not hold yet")
    if now >= min(ends):
        raise _refused("expired", "it does not hold any more", hint="ask the operator for the one that followed it")
    return max(begins), min(ends)


def _moment(payload: Mapping[str, Any], name: str) -> WallTime:
    text = payload.get(name)
    try:
        moment = datetime.datetime.fromisoformat(text if isinstance(text, str) else "")
        if moment.tzinfo is None:
            raise ValueError("without an offset")  # noqa: TRY301 - the same refusal
        return from_datetime(moment)
    except (ValueError, OverflowError) as error:
        raise _refused("malformed", f"{name} is not a moment with an offset: {text!r}") from error


def _certification(payload: Mapping[str, Any], issuer: TrustedIssuer, subject: str) -> str:
    contexts, types = payload.get("@context"), payload.get("type")
    if not isinstance(contexts, list) or contexts[:1] != [CONTEXT]:
        raise _refused("malformed", f"@context does not begin with {CONTEXT}")
    if "VerifiableCredential" not in (types if isinstance(types, list) else [types]):
        raise _refused("malformed", "type is not VerifiableCredential")
    if "credentialStatus" in payload:
        raise _refused("malformed", "it has a credentialStatus, which is not read here, so it could be revoked unseen")
    about = payload.get("credentialSubject")
    if not isinstance(about, dict) or about.get("id") != subject:
        told = about.get("id") if isinstance(about, dict) else about
        raise _refused("subject", f"it is about {told!r} and not about {subject}")
    name = about.get("certification")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise _refused("malformed", f"certification is {name!r}; write it as rules do: bsi-c5")
    if name not in issuer.certifies:
        raise _refused("not_certified", f"{issuer.did} is not believed about {name}")
    return name


def _refused(rule: str, message: str, *, hint: str = "") -> IdentityError:
    return IdentityError(
        message, code=f"credential.{rule}", hint=hint or "ask the certifier for a credential that fits"
    )
