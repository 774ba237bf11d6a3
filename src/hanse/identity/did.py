"""Decentralised identifiers as far as certifiers use them: `did + document -> public keys by id`.

`did:key` carries its key in its name. `did:web` names a document on a web server (did:web method, W3C CCG); fetching it
is somebody else's job, and which bytes are believed is decided by a digest and not by the web. Keys: Ed25519, P-256,
P-384.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurve,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hanse.identity.errors import IdentityError

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey

DOCUMENT_MAX_BYTES = 64 * 2**10
DID_MAX_CHARACTERS = 512
METHODS_MAX = 32
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_WEB = re.compile(r"did:web:([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?:%3A([0-9]{1,5}))?((?::[A-Za-z0-9._~-]+)*)")
_CURVES: Mapping[str, EllipticCurve] = {"P-256": SECP256R1(), "P-384": SECP384R1()}
_MULTICODEC: Mapping[bytes, EllipticCurve | None] = {
    b"\xed\x01": None, b"\x80\x24": SECP256R1(), b"\x81\x24": SECP384R1(),
}  # fmt: skip
"""Varint of the code of a public key (multicodec table) -> its curve; None is Ed25519."""


def keys_of(did: str, document: bytes | None) -> Mapping[str, PublicKey]:
    """Find the keys that may make assertions for this DID: id of the verification method -> key.

    `document` is the DID document of a `did:web`, None for a `did:key`. Raises IdentityError (``identity.did``).
    """
    if len(did) > DID_MAX_CHARACTERS:
        raise _wrong("a DID of over 512 characters")
    if did.startswith("did:key:"):
        multibase = did.removeprefix("did:key:")
        return {f"{did}#{multibase}": _multikey(multibase)}
    if _WEB.fullmatch(did) is None:
        raise _wrong(f"{did} is neither did:key nor did:web")
    if document is None:
        raise _wrong(f"the document of {did} is not at hand", hint="fetch it with `hanse credential fetch`")
    return _asserting(did, _parse(document))


def document_url(did: str) -> str:
    """Where the document of a `did:web` lies: HTTPS, always. Raises IdentityError."""
    found = _WEB.fullmatch(did)
    if found is None:
        raise _wrong(f"{did} is no did:web")
    host, port, path = found.groups()
    if port is not None and not 0 < int(port) < 65_536:
        raise _wrong(f"{did} names port {port}")
    where = path.replace(":", "/") or "/.well-known"
    if any(part in {".", ".."} for part in where.split("/")):
        raise _wrong(f"{did} climbs in its path")
    return f"https://{host}{f':{port}' if port else ''}{where}/did.json"


def _asserting(did: str, document: Mapping[str, Any]) -> Mapping[str, PublicKey]:
    if document.get("id") != did:
        raise _wrong(f"the document is about {document.get('id')!r} and not about {did}")
    methods = _list(document, "verificationMethod")
    asserting = _list(document, "assertionMethod")
    listed = {_absolute(did, one) for one in asserting if isinstance(one, str)}
    embedded = [one for one in asserting if isinstance(one, dict)]
    found: dict[str, PublicKey] = {}
    for method in [*methods, *embedded]:
        if not isinstance(method, dict) or not isinstance(method.get("id"), str):
            raise _wrong("a verification method has no id")
        id_ = _absolute(did, method["id"])
        if method.get("controller") == did and (method in embedded or id_ in listed):
            found[id_] = _method_key(method)
    return found


def _method_key(method: Mapping[str, Any]) -> PublicKey:
    jwk, multibase = method.get("publicKeyJwk"), method.get("publicKeyMultibase")
    if isinstance(jwk, dict) and multibase is None:
        return _jwk(jwk)
    if isinstance(multibase, str) and jwk is None:
        return _multikey(multibase)
    raise _wrong(f"{method['id']} has not exactly one of publicKeyJwk and publicKeyMultibase")


def _jwk(jwk: Mapping[str, Any]) -> PublicKey:
    """RFC 7517, RFC 8037. A private key in a public document is refused: its owner has lost it."""
    if "d" in jwk:
        raise _wrong("the document shows a private key")
    try:
        match jwk.get("kty"), jwk.get("crv"):
            case "OKP", "Ed25519":
                return Ed25519PublicKey.from_public_bytes(from_base64url(jwk.get("x")))
            case "EC", "P-256" | "P-384" as name:
                x, y = (int.from_bytes(from_base64url(jwk.get(part))) for part in ("x", "y"))
                return EllipticCurvePublicNumbers(x, y, _CURVES[str(name)]).public_key()
            case _:
                raise _wrong(f"a key of type {jwk.get('kty')!r}, curve {jwk.get('crv')!r}")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _wrong(f"a key that is none: {error}") from error


def _multikey(multibase: str) -> PublicKey:
    raw = _base58(multibase)
    code, data = raw[:2], raw[2:]
    if code not in _MULTICODEC:
        raise _wrong(f"a key of the unknown kind {code.hex()}")
    curve = _MULTICODEC[code]
    try:
        if curve is None:
            return Ed25519PublicKey.from_public_bytes(data)
        return EllipticCurvePublicKey.from_encoded_point(curve, data)
    except ValueError as error:
        raise _wrong(f"a key that is none: {error}") from error


def _base58(multibase: str) -> bytes:
    if not multibase.startswith("z") or not 10 <= len(multibase) <= 128:
        raise _wrong("a key that is not written in base58btc")
    number = 0
    for character in multibase[1:]:
        digit = _ALPHABET.find(character)
        if digit < 0:
            raise _wrong(f"{character!r} is no character of base58btc")
        number = number * 58 + digit
    zeros = len(multibase) - 1 - len(multibase[1:].lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)


def from_base64url(text: object) -> bytes:
    """Decode base64url without padding, refusing what is not exactly that (RFC 7515, section 2). Raises ValueError."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise ValueError("not the canonical spelling of its bytes")
    return data


def strict_json(data: bytes) -> Mapping[str, Any]:
    """Read a JSON object, refusing a name given twice, NaN and bytes that are not UTF-8. Raises ValueError."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - wrong content, not a wrong call
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse(document: bytes) -> Mapping[str, Any]:
    if len(document) > DOCUMENT_MAX_BYTES:
        raise _wrong(f"a document of {len(document):,} bytes; the limit is {DOCUMENT_MAX_BYTES:,}")
    try:
        return strict_json(document)
    except ValueError as error:
        raise _wrong(f"the document is not JSON: {error}") from error


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    found = document.get(name, [])
    if not isinstance(found, list) or len(found) > METHODS_MAX:
        raise _wrong(f"{name} is not a list of at most {METHODS_MAX}")
    return found


def _absolute(did: str, id_: str) -> str:
    return f"{did}{id_}" if id_.startswith("#") else id_


def _wrong(message: str, *, hint: str = "ask the certifier for its DID and document") -> IdentityError:
    return IdentityError(message, code="identity.did", hint=hint)
