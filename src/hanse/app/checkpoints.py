"""Find the signed checkpoint in a file that somebody kept: a note, a tlog-proof, a receipt, a proof of no gap."""

from __future__ import annotations

import msgspec

from hanse.core.errors import HanseError
from hanse.ledger import LedgerFormatError
from hanse.ledger.checkpoint import parse_checkpoint
from hanse.ledger.note import parse
from hanse.ledger.proof import parse_proof


class NoCheckpoint(HanseError):
    """Raised when a file holds no checkpoint."""

    code = "ledger.no_checkpoint"
    hint = "give a checkpoint, a .tlog-proof, a receipt, or an earlier proof of no gap"


def checkpoint_in(data: bytes) -> bytes:
    """The newest signed checkpoint that a file holds. Raises NoCheckpoint."""
    try:
        note = _from_json(data) if data.startswith(b"{") else _from_text(data)
        parse_checkpoint(parse(note).text)
    except (LedgerFormatError, msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise NoCheckpoint(f"the file holds no checkpoint: {error}") from error
    return note


def _from_json(data: bytes) -> bytes:
    held = msgspec.json.decode(data)
    note: str = held["new"] if "new" in held else parse_proof(held["decision"]["proof"].encode()).checkpoint.decode()
    return note.encode()


def _from_text(data: bytes) -> bytes:
    return parse_proof(data).checkpoint if data.startswith(b"c2sp.org/tlog-proof") else data
