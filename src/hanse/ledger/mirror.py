"""Uploading entries to a mirror (C2SP tlog-mirror): request bodies, entry packages, and what a mirror answers.

`sizes -> spans -> packages <-> bytes`, `package + tree -> checked entries`. Sends, reads and keeps nothing. A body is
of any length and is read as it comes: every reader here takes a buffer and says None where bytes are still lacking.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hanse.ledger.checkpoint import Checkpoint, parse_decimal
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import unbase64
from hanse.ledger.subtree import MAX_PROOF_HASHES, verify_subtree
from hanse.ledger.tiles import MAX_ENTRY_BYTES, WIDTH, frame
from hanse.ledger.tree import HASH_BYTES, hash_leaf, root_of

INFO_TYPE = "text/x.tlog.mirror-info"
UPLOAD_TYPE = "application/octet-stream"
MAX_ORIGIN_BYTES = 1_024
MAX_TICKET_BYTES = 1_024
"""This mirror gives empty tickets; it reads others' for a client's sake, in bounds."""
MAX_PACKAGE_BYTES = WIDTH * (2 + MAX_ENTRY_BYTES) + 1 + MAX_PROOF_HASHES * HASH_BYTES
MAX_INFO_BYTES = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The head of an ``add-entries`` request: which entries of which log follow."""

    origin: str
    start: int
    end: int
    """Size of the pending checkpoint that the packages' proofs lead to."""
    ticket: bytes = b""

    def encode(self) -> bytes:
        """The request's first bytes."""
        origin = self.origin.encode()
        return b"".join((
            len(origin).to_bytes(2, "big"), origin,
            self.start.to_bytes(8, "big"), self.end.to_bytes(8, "big"),
            len(self.ticket).to_bytes(2, "big"), self.ticket,
        ))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The entries of one package: from `start` to `end`, in the subtree that begins at `subtree`."""

    subtree: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """Entries with the proof that they stand in the pending tree."""

    entries: tuple[bytes, ...]
    proof: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The package as it stands in a body. Raises EntryTooLarge."""
        framed = b"".join(frame(entry) for entry in self.entries)
        return framed + bytes([len(self.proof)]) + b"".join(self.proof)


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorInfo:
    """How far a mirror is: the body of its 202 and 409 answers."""

    size: int
    """Of a pending checkpoint that it takes entries for."""
    next_entry: int
    ticket: bytes = b""

    def encode(self) -> bytes:
        """Three lines."""
        return f"{self.size}\n{self.next_entry}\n{base64.b64encode(self.ticket).decode()}\n".encode()


def spans(start: int, end: int) -> Iterator[Span]:
    """The canonical sequence of packages of an upload: one for each bundle that it touches."""
    if start == end:
        return
    for index in range(start // WIDTH, -(-end // WIDTH)):
        first = index * WIDTH
        yield Span(subtree=first, start=max(start, first), end=min(end, first + WIDTH))


def read_upload(buffer: bytes | bytearray) -> tuple[Upload, int] | None:
    """Read a request's head: it, and how many bytes it took. Raises LedgerFormatError."""
    origin = _short(buffer, 0, MAX_ORIGIN_BYTES, "origin")
    if origin is None:
        return None
    at = 2 + len(origin)
    ticket = _short(buffer, at + 16, MAX_TICKET_BYTES, "ticket")
    if ticket is None:
        return None
    start, end = (int.from_bytes(buffer[at + skip : at + skip + 8], "big") for skip in (0, 8))
    if start > end or end >= 1 << 63:
        raise LedgerFormatError(f"entries from {start} to {end} cannot be uploaded")
    try:
        name = origin.decode()
    except UnicodeDecodeError:
        raise LedgerFormatError("the log's origin is not UTF-8") from None
    return Upload(origin=name, start=start, end=end, ticket=ticket), at + 18 + len(ticket)


def read_package(buffer: bytes | bytearray, count: int) -> tuple[Package, int] | None:
    """Read a package of `count` entries: it, and how many bytes it took. Raises LedgerFormatError."""
    entries: list[bytes] = []
    at = 0
    for _ in range(count):
        end = at + 2 + int.from_bytes(buffer[at : at + 2], "big")
        if at + 2 > len(buffer) or end > len(buffer):
            return None
        entries.append(bytes(buffer[at + 2 : end]))
        at = end
    if at >= len(buffer):
        return None
    hashes = buffer[at]
    if hashes > MAX_PROOF_HASHES:
        raise LedgerFormatError(f"a package's proof of {hashes} hashes is over the limit of {MAX_PROOF_HASHES}")
    at += 1
    end = at + hashes * HASH_BYTES
    if end > len(buffer):
        return None
    proof = tuple(bytes(buffer[one : one + HASH_BYTES]) for one in range(at, end, HASH_BYTES))
    return Package(entries=tuple(entries), proof=proof), end


def check_package(span: Span, package: Package, before: Sequence[bytes], pending: Checkpoint) -> tuple[bytes, ...]:
    """The whole bundle so far: `before` (entries from the subtree's start) and the package's, proved in `pending`.

    Raises ProofError.
    """
    entries = (*before, *package.entries)
    subtree_hash = root_of([hash_leaf(entry) for entry in entries])
    verify_subtree((span.subtree, span.end), pending.size, subtree_hash, package.proof, pending.root)
    return entries


def parse_info(body: bytes) -> MirrorInfo:
    """Read a mirror's 202 or 409 answer. Raises LedgerFormatError."""
    lines = body[:MAX_INFO_BYTES].decode("ascii", errors="replace").split("\n")
    if len(lines) != 4 or lines[3]:
        raise LedgerFormatError("a mirror's answer has three lines")
    return MirrorInfo(
        size=parse_decimal(lines[0]), next_entry=parse_decimal(lines[1]), ticket=unbase64(lines[2]) if lines[2] else b""
    )


def _short(buffer: bytes | bytearray, at: int, limit: int, what: str) -> bytes | None:
    """A string with its length before it in 16 bits, from an offset on."""
    if len(buffer) < at + 2:
        return None
    size = int.from_bytes(buffer[at : at + 2], "big")
    if size > limit:
        raise LedgerFormatError(f"the {what} of {size} bytes is over the limit of {limit}")
    return bytes(buffer[at + 2 : at + 2 + size]) if len(buffer) >= at + 2 + size else None
