"""Witnessing of logs (C2SP tlog-witness v1.0.0): what is asked, and whether a checkpoint may be cosigned.

`request bytes <-> Asked`, `asked + log keys + last cosigned checkpoint -> Granted | Declined`. Keeps nothing and signs
nothing: whoever asks this must have the granted checkpoint durable before it cosigns. Size 0 is decided here and not
in the verifier: from nothing (old 0) every tree follows, with an empty proof.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from hanse.ledger import tree
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint, parse_decimal
from hanse.ledger.cosignature import verify_lines
from hanse.ledger.errors import LedgerFormatError, ProofError
from hanse.ledger.note import MAX_NOTE_BYTES, NoteSignature, VerifierKey, parse, parse_lines, unbase64

MAX_PROOF_LINES = 63
MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 16_384
BAD_REQUEST, FORBIDDEN, UNKNOWN_LOG, CONFLICT, UNPROCESSABLE = 400, 403, 404, 409, 422
SIZE_TYPE = "text/x.tlog.size"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request to cosign: the size the asker believes was cosigned last, a consistency proof, a signed checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The request's body."""
        lines = [f"old {self.old}", *(base64.b64encode(item).decode() for item in self.proof), ""]
        return "\n".join(lines).encode() + b"\n" + self.note


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The checkpoint follows from what was cosigned last: make it durable, then cosign it."""

    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """The checkpoint is not cosigned: HTTP status of the standard, and why."""

    status: int
    reason: str
    size: int | None = None
    """With 409: the size that was cosigned last."""
    is_split: bool = False
    """The log's own signature stands under a tree that does not extend the one it showed before."""


def parse_request(body: bytes) -> Asked:
    """Read a request strictly. Raises LedgerFormatError."""
    head, separator, note = body.partition(b"\n\n")
    try:
        first, *proof = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise LedgerFormatError("the request's head is not ASCII") from None
    if not separator or not first.startswith("old "):
        raise LedgerFormatError("a request begins with `old N` and has an empty line before the checkpoint")
    hashes = tuple(unbase64(line) for line in proof)
    if len(hashes) > MAX_PROOF_LINES or any(len(item) != tree.HASH_BYTES for item in hashes):
        raise LedgerFormatError(f"the proof is not a list of at most {MAX_PROOF_LINES} hashes of 32 bytes")
    return Asked(old=parse_decimal(first.removeprefix("old ")), proof=hashes, note=note)


def origin_of(asked: Asked) -> str:
    """Which log the request is about. Raises LedgerFormatError."""
    return parse_checkpoint(parse(asked.note).text).origin


def judge_request(asked: Asked, keys: Sequence[VerifierKey], held: Checkpoint | None) -> Granted | Declined:
    """Decide on a request. `keys`: of the log, each of which must have signed; `held`: what was cosigned last."""
    try:
        note = parse(asked.note)
        checkpoint = parse_checkpoint(note.text)
    except LedgerFormatError as error:
        return Declined(status=BAD_REQUEST, reason=error.message)
    try:
        signed = {line.key for line in verify_lines(note, keys)}
    except LedgerFormatError as error:
        return Declined(status=FORBIDDEN, reason=error.message)
    if not keys or any(key not in signed for key in keys):
        return Declined(status=FORBIDDEN, reason=f"the log {checkpoint.origin} has not signed it with each of its keys")
    if asked.old > checkpoint.size:
        return Declined(status=BAD_REQUEST, reason=f"old size {asked.old} is beyond the checkpoint's {checkpoint.size}")
    size = 0 if held is None else held.size
    if asked.old != size:
        return Declined(status=CONFLICT, reason=f"the size cosigned last is {size}, not {asked.old}", size=size)
    try:
        _check_extends(asked, checkpoint, held)
    except ProofError as error:
        return Declined(status=UNPROCESSABLE, reason=error.message, is_split=held is not None)
    return Granted(checkpoint=checkpoint)


def parse_cosignatures(body: bytes) -> tuple[NoteSignature, ...]:
    """Read a witness's answer: signature lines. Raises NoteError."""
    return parse_lines(body)


def _check_extends(asked: Asked, checkpoint: Checkpoint, held: Checkpoint | None) -> None:
    if held is None or held.size == 0:
        if asked.proof:
            raise ProofError("a proof from size 0 is empty")
        return
    tree.verify_consistency(held.size, checkpoint.size, asked.proof, held.root, checkpoint.root)
