"""Signed notes (C2SP signed-note v1.0.0): text, signature lines, verifier keys, Ed25519 signatures on the text.

`bytes <-> Note`, `vkey text <-> VerifierKey`. Strict: a note has one spelling, so no byte of it is without meaning.
Cosignatures (types 0x04 and 0x06) sign a message made from a checkpoint; see `hanse.ledger.cosignature`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hanse.core.ports import Signer
from hanse.ledger.errors import NoteError

MAX_NOTE_BYTES = 256 * 1024
"""Room for 16 post-quantum lines of 5 kB (the least a verifier must accept) and then some."""
MAX_SIGNATURES = 64
_DASH = "\N{EM DASH} "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
"""Below a space and no line end: what no note may hold."""


class SignatureType(IntEnum):
    """Signature type identifier bytes of signed-note and tlog-cosignature."""

    ED25519 = 0x01
    ED25519_COSIGNATURE = 0x04
    ML_DSA_44_COSIGNATURE = 0x06


PUBLIC_KEY_BYTES = {
    SignatureType.ED25519: 32,
    SignatureType.ED25519_COSIGNATURE: 32,
    SignatureType.ML_DSA_44_COSIGNATURE: 1_312,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A named public key and the one kind of signature it verifies."""

    name: str
    type: SignatureType
    public_key: bytes

    @property
    def id(self) -> bytes:
        """Key ID: SHA-256(name || 0x0A || type || public key), first four bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public_key).digest()[:4]

    @property
    def vkey(self) -> str:
        """Text form: ``name+hex(id)+base64(type || public key)``."""
        material = base64.b64encode(bytes([self.type]) + self.public_key).decode()
        return f"{self.name}+{self.id.hex()}+{material}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line, not judged."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line with its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"

    def is_by(self, key: VerifierKey) -> bool:
        """Tell whether this line claims to be made by `key`: name and key ID both match."""
        return self.name == key.name and self.key_id == key.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A note's text, newline at its end included, and its signature lines."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """The one spelling of this note."""
        return (self.text + "\n" + "".join(s.line for s in self.signatures)).encode()


def parse_vkey(text: str) -> VerifierKey:
    """Read a verifier key. Raises NoteError."""
    name, _, rest = text.partition("+")
    hex_id, _, material = rest.partition("+")
    check_name(name)
    raw = unbase64(material)
    try:
        kind = SignatureType(raw[0])
    except (IndexError, ValueError):
        raise NoteError(f"verifier key of {name!r} has an unknown signature type") from None
    if len(raw) - 1 != PUBLIC_KEY_BYTES[kind]:
        raise NoteError(f"verifier key of {name!r} has {len(raw) - 1} bytes instead of {PUBLIC_KEY_BYTES[kind]}")
    key = VerifierKey(name=name, type=kind, public_key=raw[1:])
    if key.id.hex() != hex_id:
        raise NoteError(f"verifier key of {name!r} does not match its key ID {hex_id!r}")
    return key


def parse(data: bytes) -> Note:
    """Read a signed note strictly, without judging its signatures. Raises NoteError."""
    if len(data) > MAX_NOTE_BYTES:
        raise NoteError(f"a note of {len(data)} bytes is over the limit of {MAX_NOTE_BYTES}")
    try:
        decoded = data.decode()
    except UnicodeDecodeError:
        raise NoteError("the note is not UTF-8") from None
    if _CONTROL.search(decoded):
        raise NoteError("the note holds a control character")
    text, separator, tail = decoded.rpartition("\n\n")
    if not separator or not text or not tail.endswith("\n"):
        raise NoteError("the note has no signature lines after an empty line")
    return Note(text=text + "\n", signatures=_parse_lines(tail))


def parse_lines(data: bytes) -> tuple[NoteSignature, ...]:
    """Read signature lines that come without their note (a witness's answer). Raises NoteError."""
    if len(data) > MAX_NOTE_BYTES:
        raise NoteError(f"{len(data)} bytes of signatures are over the limit of {MAX_NOTE_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise NoteError("the signature lines are not UTF-8") from None
    if not text.endswith("\n"):
        raise NoteError("the last signature line does not end")
    return _parse_lines(text)


def sign(text: str, name: str, signer: Signer) -> NoteSignature:
    """Sign a note's text with an Ed25519 signer (type 0x01)."""
    key = VerifierKey(name=name, type=SignatureType.ED25519, public_key=signer.public_key)
    return NoteSignature(name=name, key_id=key.id, signature=signer.sign(text.encode()))


def verify(text: str, line: NoteSignature, key: VerifierKey) -> None:
    """Check an Ed25519 signature (type 0x01) on a note's text. Raises NoteError."""
    verify_ed25519(key, line.signature, text.encode())


def verify_ed25519(key: VerifierKey, signature: bytes, message: bytes) -> None:
    """Check a raw Ed25519 signature. Raises NoteError that names the key."""
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise NoteError(f"the Ed25519 signature of {key.name} ({key.id.hex()}) does not hold") from None


def check_name(name: str) -> None:
    """Refuse a key name that is empty, not UTF-8, or holds a Unicode space, a plus or a control character."""
    if not name or "+" in name or any(char.isspace() or char < " " or "\ud800" <= char <= "\udfff" for char in name):
        raise NoteError(f"not a key name: {name!r}")


def unbase64(text: str) -> bytes:
    """Decode standard base64 in its one canonical spelling. Raises NoteError."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"not base64: {text[:40]!r}") from None
    # b64decode ignores stray bits in the last character; two spellings of one value would let a byte change unseen.
    if base64.b64encode(raw).decode() != text:
        raise NoteError(f"not canonical base64: {text[:40]!r}")
    return raw


def _parse_lines(tail: str) -> tuple[NoteSignature, ...]:
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"{len(lines)} signatures are over the limit of {MAX_SIGNATURES}")
    return tuple(_parse_line(line) for line in lines)


def _parse_line(line: str) -> NoteSignature:
    if not line.startswith(_DASH):
        raise NoteError(f"not a signature line: {line[:60]!r}")
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    check_name(name)
    raw = unbase64(encoded)
    if len(raw) <= 4:
        raise NoteError(f"the signature line of {name!r} is too short")
    return NoteSignature(name=name, key_id=raw[:4], signature=raw[4:])
