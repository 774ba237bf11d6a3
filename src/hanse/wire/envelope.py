"""Signed envelopes: DSSE v1 (secure-systems-lab/dsse) around canonical bytes.

`message + signer -> Envelope bytes -> verified message + key id`. The payload type is under the signature, so an
envelope of one kind never passes for another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hanse.core.errors import SignatureError, WireError
from hanse.core.ports import Signer
from hanse.wire import canonical

T = TypeVar("T", bound="msgspec.Struct")

PAYLOAD_TYPE_PREFIX = "application/vnd.hanse."
MAX_ENVELOPE_BYTES = 1 << 20
"""What the substrate carries in one message."""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature line of an envelope."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A DSSE envelope; `payload` and `sig` are standard base64."""

    payload: str
    payloadType: str  # noqa: N815 - the spelling of the DSSE specification
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Generic[T]):
    """A message whose signature held, and the key that made it."""

    message: T
    key_id: str


def key_id_of(public_key: bytes) -> str:
    """Hex SHA-256 of a raw Ed25519 public key."""
    return hashlib.sha256(public_key).hexdigest()


def payload_type_of(kind: type[msgspec.Struct]) -> str:
    """The payload type of a message class, for example ``application/vnd.hanse.order.v1+json``."""
    tag = kind.__struct_config__.tag
    if not isinstance(tag, str):
        raise TypeError(f"{kind.__name__} is not a tagged message")
    return f"{PAYLOAD_TYPE_PREFIX}{tag}+json"


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """DSSE PAE: ``DSSEv1 SP LEN(type) SP type SP LEN(body) SP body``."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(message: msgspec.Struct, signer: Signer) -> bytes:
    """Encode, sign and wrap a tagged message."""
    return wrap(canonical.encode(message), payload_type_of(type(message)), signer)


def wrap(payload: bytes, payload_type: str, signer: Signer) -> bytes:
    """Sign and wrap a payload of a foreign type, for example an in-toto statement."""
    signature = signer.sign(pre_authentication_encoding(payload_type, payload))
    return canonical.encode(
        Envelope(
            payload=base64.b64encode(payload).decode(),
            payloadType=payload_type,
            signatures=(Signature(keyid=signer.key_id, sig=base64.b64encode(signature).decode()),),
        )
    )


def open_sealed(data: bytes, kind: type[T], trusted: Mapping[str, bytes]) -> Opened[T]:
    """Verify an envelope against `trusted` (key id -> raw Ed25519 public key) and decode its message.

    Raises WireError if the bytes are no envelope of this kind, SignatureError if no trusted key signed it or if a
    trusted key's signature is wrong.
    """
    payload, key_id = unwrap(data, payload_type_of(kind), trusted)
    return Opened(message=canonical.decode(payload, kind), key_id=key_id)


def unwrap(data: bytes, payload_type: str, trusted: Mapping[str, bytes]) -> tuple[bytes, str]:
    """Verify an envelope of a foreign payload type; return its payload and the id of the key that signed it.

    Raises like `open_sealed`.
    """
    envelope = parse(data)
    if envelope.payloadType != payload_type:
        raise WireError(f"envelope holds {envelope.payloadType}, expected {payload_type}")
    payload = _unbase64(envelope.payload)
    signed = pre_authentication_encoding(envelope.payloadType, payload)
    good = [s.keyid for s in envelope.signatures if s.keyid in trusted and _verify(trusted[s.keyid], s, signed)]
    if not good:
        known = ", ".join(s.keyid[:12] for s in envelope.signatures) or "none"
        raise SignatureError(f"no trusted signature on {payload_type} (signed by: {known})")
    return payload, good[0]


def parse(data: bytes) -> Envelope:
    """Read an envelope without judging its signatures. Raises WireError."""
    if len(data) > MAX_ENVELOPE_BYTES:
        raise WireError(f"envelope of {len(data)} bytes is over the limit of {MAX_ENVELOPE_BYTES}")
    return canonical.decode(data, Envelope)


def payload_of(envelope: Envelope) -> bytes:
    """The payload of an envelope whose signatures were not judged. Raises WireError."""
    return _unbase64(envelope.payload)


def peek(data: bytes, kind: type[T]) -> T:
    """Decode the message of an envelope without judging signatures: for display, never for decisions."""
    return canonical.decode(payload_of(parse(data)), kind)


def _verify(public_key: bytes, signature: Signature, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(_unbase64(signature.sig), signed)
    except InvalidSignature:
        raise SignatureError(f"signature of key {signature.keyid[:12]} does not match") from None
    return True


def _unbase64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"not base64: {error}") from error
    # b64decode ignores stray bits in the last character: two spellings of one value would be two digests.
    if base64.b64encode(raw).decode() != text:
        raise WireError("not canonical base64")
    return raw
