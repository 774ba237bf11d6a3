"""Checkpoints (C2SP tlog-checkpoint v1.0.0): origin, size and root of a log as the text of a signed note.

`text <-> Checkpoint`. Extension lines are refused: no monitor can audit them and ML-DSA-44 lines do not cover them.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import unbase64
from hanse.ledger.tree import HASH_BYTES

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,18})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state of a log: which log, how many entries, and the root over them."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note text: three lines, each with its newline."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a note's text as a checkpoint. Raises LedgerFormatError."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise LedgerFormatError("a checkpoint has three lines: origin, size, root")
    origin, size, root = lines[:3]
    if not origin:
        raise LedgerFormatError("the checkpoint's origin is empty")
    parsed = Checkpoint(origin=origin, size=parse_decimal(size), root=unbase64(root))
    if len(parsed.root) != HASH_BYTES:
        raise LedgerFormatError("the checkpoint's root is not 32 bytes")
    return parsed


def parse_decimal(text: str) -> int:
    """Read a decimal below 2^63 without leading zeroes. Raises LedgerFormatError."""
    if _DECIMAL.match(text) is None or int(text) >= 2**63:
        raise LedgerFormatError(f"not a decimal number: {text[:40]!r}")
    return int(text)
