"""One spelling per value: canonical JSON bytes and their digests.

`value -> bytes -> digest`. Keys sorted, no white space, integers only where a value is signed: two parties that
agree on the value agree on the bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec

from hanse.core.errors import WireError
from hanse.core.ids import Digest

T = TypeVar("T")

_ENCODER = msgspec.json.Encoder(order="sorted")


def encode(value: Any) -> bytes:
    """Encode a message, dataclass or plain value as canonical JSON."""
    return _ENCODER.encode(value)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode strictly into `kind`. Raises WireError with the path of the first offence."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a {kind.__name__}: {error}") from error


def digest_bytes(data: bytes) -> Digest:
    """SHA-256 of bytes, spelled ``sha256:<hex>``."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_of(value: Any) -> Digest:
    """SHA-256 of the canonical bytes of a value."""
    return digest_bytes(encode(value))
