"""Offline inclusion proofs (C2SP tlog-proof v1): index, sibling hashes and the checkpoint they lead to, as text.

`text <-> TlogProof`. The optional ``extra`` line is refused: nothing signs it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from hanse.ledger.checkpoint import parse_decimal
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import unbase64
from hanse.ledger.tree import HASH_BYTES, MAX_PROOF_HASHES

HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlogProof:
    """A proof as read, not judged: the checkpoint is the signed note's bytes."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """The one spelling of this proof (file extension ``.tlog-proof``)."""
        lines = [HEADER, f"index {self.index}", *(base64.b64encode(h).decode() for h in self.hashes), ""]
        return "\n".join(lines).encode() + b"\n" + self.checkpoint


def parse_proof(data: bytes) -> TlogProof:
    """Read a proof strictly. Raises LedgerFormatError."""
    head, separator, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise LedgerFormatError("the proof's head is not ASCII") from None
    if not separator or lines[0] != HEADER:
        raise LedgerFormatError(f"not a {HEADER} file")
    if len(lines) < 2 or not lines[1].startswith("index "):
        raise LedgerFormatError("the proof's second line is not its index; a line of extra data is not accepted")
    hashes = tuple(unbase64(line) for line in lines[2:])
    if len(hashes) > MAX_PROOF_HASHES or any(len(item) != HASH_BYTES for item in hashes):
        raise LedgerFormatError("the proof is not a list of at most 64 hashes of 32 bytes")
    return TlogProof(index=parse_decimal(lines[1].removeprefix("index ")), hashes=hashes, checkpoint=checkpoint)
