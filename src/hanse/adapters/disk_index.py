"""The index of one bucket on disk: which key is at which revision with which digest, as a log of checked lines.

`records -> file -> records`. A record is appended and fsynced *before* the value's file is renamed into place, and
names the digest it replaces. After a crash between the two, the last record's file still has the old digest, and the
key is at its old revision: the write was never acknowledged. A torn last line is cut off; a bad line elsewhere is
reported.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from hanse.adapters.files import move_into_place, sync_directory, write_all, write_aside

_COMPACT_ABOVE: Final = 256
"""Lines below which compaction is not worth its two fsyncs."""


class Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One change of one key. `digest` is SHA-256 in hex, empty for a deletion; `before` is what it replaced."""

    revision: int
    key: str
    digest: str
    before_revision: int
    before_digest: str


@dataclass(frozen=True, slots=True)
class Held:
    """What the index says of a live key."""

    revision: int
    digest: str


class Index:
    """The log of one bucket. Callers hold the bucket's lock around every method.

    `is_applied(record)` tells whether the files show the record's outcome; it is asked for the last record only.
    """

    def __init__(
        self, path: Path, *, is_applied: Callable[[Record], bool], damaged: Callable[[Path, str], None]
    ) -> None:
        self._path = path
        self._is_applied = is_applied
        self._damaged = damaged
        self._identity = (0, 0)
        self._offset = 0
        self._lines = 0
        self.live: dict[str, Held] = {}
        self.revision = 0

    def refresh(self) -> list[Record]:
        """Read what this or another process appended since. Returns the records that took effect. Raises OSError."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._forget((0, 0))
            return []
        if (status.st_dev, status.st_ino) != self._identity or status.st_size < self._offset:
            self._forget((status.st_dev, status.st_ino))
        if status.st_size == self._offset:
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            tail = file.read()
        whole, newline, torn = tail.rpartition(b"\n")
        if torn:
            os.truncate(self._path, self._offset + len(whole) + len(newline))
        records = self._parse(whole.split(b"\n")) if newline else []
        self._offset += len(whole) + len(newline)
        if records and not self._is_applied(records[-1]):
            self.take_back(records.pop())
        return records

    def append(self, key: str, digest: str) -> Record:
        """Log the next change durably. On failure the log is as before. Raises OSError."""
        before = self.live.get(key, Held(0, ""))
        record = Record(
            revision=self.revision + 1,
            key=key,
            digest=digest,
            before_revision=before.revision,
            before_digest=before.digest,
        )
        is_new = self._identity == (0, 0)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        line = _line(record)
        try:
            write_all(handle, line)
            os.fsync(handle)
        except BaseException:
            os.ftruncate(handle, self._offset)
            raise
        finally:
            status = os.fstat(handle)
            os.close(handle)
        if is_new:
            sync_directory(self._path.parent)
        self._identity = (status.st_dev, status.st_ino)
        self._offset += len(line)
        self._apply(record)
        return record

    def take_back(self, record: Record) -> None:
        """Remove the last record, whose file is not in place: the key is what it was. Raises OSError."""
        self._lines -= 1
        if record.before_digest:
            self.live[record.key] = Held(record.before_revision, record.before_digest)
        else:
            self.live.pop(record.key, None)
        self._offset -= len(_line(record))
        os.truncate(self._path, self._offset)

    def compact(self) -> None:
        """Rewrite the log without what later records replaced, once most of it is that. Raises OSError."""
        if self._lines < max(_COMPACT_ABOVE, 4 * len(self.live)):
            return
        records = [
            Record(revision=held.revision, key=key, digest=held.digest, before_revision=0, before_digest="")
            for key, held in self.live.items()
        ]
        # The highest revision must survive, or revisions could be given out twice.
        mark = Record(revision=self.revision, key="", digest="", before_revision=0, before_digest="")
        data = b"".join(_line(record) for record in (mark, *records))
        move_into_place(write_aside(self._path, data, self._path.parent), self._path)
        status = self._path.stat()
        self._identity, self._offset = (status.st_dev, status.st_ino), len(data)
        self._lines = len(records) + 1

    def _forget(self, identity: tuple[int, int]) -> None:
        self._identity, self._offset, self._lines = identity, 0, 0
        self.live.clear()

    def _parse(self, lines: list[bytes]) -> list[Record]:
        records = []
        for number, line in enumerate(lines, start=self._lines + 1):
            record = _record(line)
            if record is None:
                self._damaged(self._path, f"line {number} does not match its checksum; its key may have lost its file")
                continue
            records.append(record)
            self._apply(record)
        return records

    def _apply(self, record: Record) -> None:
        self._lines += 1
        self.revision = max(self.revision, record.revision)
        if record.digest:
            self.live[record.key] = Held(record.revision, record.digest)
        else:
            self.live.pop(record.key, None)


def _line(record: Record) -> bytes:
    body = msgspec.json.encode(record)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _record(line: bytes) -> Record | None:
    try:
        if int(line[:8], 16) != zlib.crc32(line[9:]):
            return None
        return msgspec.json.decode(line[9:], type=Record)
    except (ValueError, msgspec.DecodeError):
        return None
