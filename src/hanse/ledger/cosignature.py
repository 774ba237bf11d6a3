"""Signatures on checkpoints: the log's Ed25519 line and timestamped cosignatures (C2SP tlog-cosignature v1.1.0-rc.1).

`checkpoint + signer -> line`, `note + keys -> held lines`. The Ed25519 and the ML-DSA-44 line sign different messages
with separate labels, so that neither passes for the other; a policy says which must hold (`hanse.ledger.quorum`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from hanse.core.errors import invariant
from hanse.core.ports import Signer
from hanse.core.time import US_PER_S, WallTime
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.errors import NoteError
from hanse.ledger.note import Note, NoteSignature, SignatureType, VerifierKey, sign, verify, verify_ed25519

_STAMP_BYTES = 8
_SIGNATURE_BYTES = {
    SignatureType.ED25519_COSIGNATURE: 64,
    SignatureType.ML_DSA_44_COSIGNATURE: 2_420,
}
_SUBTREE_LABEL = b"subtree/v1\n\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A signature line that was verified, and when it says it was made (None for plain Ed25519 lines)."""

    key: VerifierKey
    at_us: WallTime | None


def log_key(origin: str, algorithm: str, public_key: bytes) -> VerifierKey:
    """The verifier key of a log's own signer: `algorithm` as the Signer port names it."""
    kinds = {"ed25519": SignatureType.ED25519, "ml-dsa-44": SignatureType.ML_DSA_44_COSIGNATURE}
    invariant(algorithm in kinds, f"no checkpoint line is defined for {algorithm}")
    return VerifierKey(name=origin, type=kinds[algorithm], public_key=public_key)


def sign_checkpoint(checkpoint: Checkpoint, signers: Sequence[Signer], now: WallTime) -> bytes:
    """Sign a checkpoint as its log, one line for each signer: Ed25519 plain, ML-DSA-44 as a timestamped cosignature."""
    lines = tuple(_log_line(checkpoint, signer, now) for signer in signers)
    return Note(text=checkpoint.text, signatures=lines).encode()


def cosign(checkpoint: Checkpoint, name: str, signer: Signer, now: WallTime) -> NoteSignature:
    """Cosign a checkpoint as a witness called `name` (types 0x04 and 0x06)."""
    kind = SignatureType.ED25519_COSIGNATURE if signer.algorithm == "ed25519" else SignatureType.ML_DSA_44_COSIGNATURE
    key = VerifierKey(name=name, type=kind, public_key=signer.public_key)
    seconds = now // US_PER_S
    signature = signer.sign(cosigned_message(key, checkpoint, seconds))
    return NoteSignature(name=name, key_id=key.id, signature=seconds.to_bytes(_STAMP_BYTES, "big") + signature)


def verify_lines(note: Note, keys: Sequence[VerifierKey]) -> tuple[Held, ...]:
    """Verify every line made by one of `keys`, in the note's order; lines of unknown keys are ignored.

    Raises NoteError if a known key's line does not hold: a note with a wrong known signature is refused whole
    (signed-note, section Signatures), whatever the others say.
    """
    checkpoint = parse_checkpoint(note.text)
    return tuple(
        Held(key=key, at_us=_verify_line(checkpoint, line, key))
        for line in note.signatures
        for key in keys
        if line.is_by(key)
    )


def cosigned_message(key: VerifierKey, checkpoint: Checkpoint, at_s: int) -> bytes:
    """What a cosignature signs: ``cosignature/v1`` text for Ed25519, the ``subtree/v1`` structure for ML-DSA-44."""
    if key.type is SignatureType.ED25519_COSIGNATURE:
        return f"cosignature/v1\ntime {at_s}\n{checkpoint.text}".encode()
    return b"".join((
        _SUBTREE_LABEL,
        _short(key.name),
        at_s.to_bytes(8, "big"),
        _short(checkpoint.origin),
        (0).to_bytes(8, "big"),
        checkpoint.size.to_bytes(8, "big"),
        checkpoint.root,
    ))  # fmt: skip


def _log_line(checkpoint: Checkpoint, signer: Signer, now: WallTime) -> NoteSignature:
    if signer.algorithm == "ed25519":
        return sign(checkpoint.text, checkpoint.origin, signer)
    return cosign(checkpoint, checkpoint.origin, signer, now)


def _verify_line(checkpoint: Checkpoint, line: NoteSignature, key: VerifierKey) -> WallTime | None:
    match key.type:
        case SignatureType.ED25519:
            verify(checkpoint.text, line, key)
            return None
        case SignatureType.ED25519_COSIGNATURE:
            at_s, signature = _unstamp(line, key)
            verify_ed25519(key, signature, cosigned_message(key, checkpoint, at_s))
        case SignatureType.ML_DSA_44_COSIGNATURE:
            at_s, signature = _unstamp(line, key)
            _verify_ml_dsa_44(key, signature, cosigned_message(key, checkpoint, at_s))
        case _:
            assert_never(key.type)
    return WallTime(at_s * US_PER_S)


def _verify_ml_dsa_44(key: VerifierKey, signature: bytes, message: bytes) -> None:
    try:
        MLDSA44PublicKey.from_public_bytes(key.public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise NoteError(f"the ML-DSA-44 signature of {key.name} ({key.id.hex()}) does not hold") from None


def _unstamp(line: NoteSignature, key: VerifierKey) -> tuple[int, bytes]:
    if len(line.signature) != _STAMP_BYTES + _SIGNATURE_BYTES[key.type]:
        raise NoteError(f"the cosignature of {key.name} ({key.id.hex()}) has a wrong length")
    at_s = int.from_bytes(line.signature[:_STAMP_BYTES], "big")
    if at_s >= 2**63:
        raise NoteError(f"the cosignature of {key.name} ({key.id.hex()}) is dated beyond 2^63 seconds")
    return at_s, line.signature[_STAMP_BYTES:]


def _short(text: str) -> bytes:
    raw = text.encode()
    if not 1 <= len(raw) <= 255:
        raise NoteError(f"a cosigned name has 1 to 255 bytes, not {len(raw)}")
    return bytes([len(raw)]) + raw
