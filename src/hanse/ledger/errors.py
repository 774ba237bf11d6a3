"""What can go wrong with a ledger: foreign bytes that break a format, proofs that do not hold, damaged files."""

from __future__ import annotations

from hanse.core.errors import HanseError


class LedgerFormatError(HanseError):
    """Raised when bytes from elsewhere break a ledger format (note, checkpoint, proof, tile, policy, entry)."""

    code = "ledger.format"
    hint = "the file was cut, edited or is of another kind; fetch it again from its origin"


class NoteError(LedgerFormatError):
    """Raised when a signed note is malformed, or a known key's signature on it does not hold."""

    code = "ledger.note"


class ProofError(HanseError):
    """Raised when a Merkle proof does not lead to the stated root."""

    code = "ledger.proof"
    hint = "the entry, the proof or the checkpoint was changed, or they belong to different trees"


class EntryTooLarge(HanseError):
    """Raised when an entry is over the 65,535 bytes that an entry bundle can carry."""

    code = "ledger.entry-too-large"
    hint = "put the body into the blob store and log its digest"


class LedgerDamaged(HanseError):
    """Raised when a committed file of the log is missing or does not match the signed checkpoint."""

    code = "ledger.damaged"
    hint = "stop writing and restore the named file from a mirror or a backup; the log is never rewritten"


class LedgerBusy(HanseError):
    """Raised when more entries wait to be integrated than the writer's bound; nothing was appended."""

    code = "ledger.busy"
    hint = "try again after the entries before have been integrated"
    retry = True


class EntryNotFound(HanseError):
    """Raised when the log holds no such entry."""

    code = "ledger.not-found"
    hint = "list the log with `hanse audit log`"
