"""The `Store` port on files: a node's own state and the ledger's tiles.

`bucket/key -> file`. The file holds the value and nothing else, so a tree laid out by `path_of` can be served or read
as it is; revisions and digests stand in the bucket's index (`disk_index`). A file that does not match its digest is
renamed to ``<name>.damaged-<n>``, reported, and its key is absent from then on; everything else loads.

By default key ``a.b.c`` of bucket ``x`` is ``x/a/b/c.v``. Tokens hold no dots, so no directory ends in ``.v`` and no
key's file is another key's directory. Names that start with a dot belong to the store.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar

from hanse.adapters.disk_index import Index, Record
from hanse.adapters.files import disk_error, make_directory, move_into_place, set_aside, sync_directory, write_aside
from hanse.core.errors import ConflictError, StoreError, invariant
from hanse.core.ids import is_label, is_store_key
from hanse.core.ports import Entry

T = TypeVar("T")
PathOf = Callable[[str, str], str]
Damaged = Callable[[Path, str], None]


def default_path(_bucket: str, key: str) -> str:
    """Where a key's file lies below its bucket: ``a.b`` -> ``a/b.v``."""
    return key.replace(".", "/") + ".v"


class DiskStore:
    """Key-value state under `root`.

    `path_of(bucket, key)` gives the file's path relative to ``root/bucket``; it must be injective, and no key's path
    may be a directory of another's. `damaged(path, why)` hears of every bad file. Several processes may share a root:
    each operation holds the bucket's file lock. Watchers hear of this process's own writes only.
    """

    def __init__(self, root: Path, *, path_of: PathOf = default_path, damaged: Damaged | None = None) -> None:
        self._root = root
        self._path_of = path_of
        self._damaged = damaged
        self._buckets: dict[str, _Bucket] = {}

    async def get(self, bucket: str, key: str) -> Entry | None:
        """Read one key; None if it never existed, was deleted or is damaged. Raises StoreError."""
        return await self._run(bucket, lambda files: files.get(key), f"read {bucket}/{key}")

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
        """Write durably and return the new revision. Raises ConflictError, StoreError (``store.full``)."""
        loop = asyncio.get_running_loop()

        def write(files: _Bucket) -> int:
            revision = files.put(key, value, expected)
            # Told from the thread: the write stands even if the caller was cancelled meanwhile.
            loop.call_soon_threadsafe(self._tell, Entry(bucket=bucket, key=key, value=value, revision=revision))
            return revision

        return await self._run(bucket, write, f"write {bucket}/{key}")

    async def delete(self, bucket: str, key: str, expected: int | None = None) -> None:
        """Delete a key; absent is fine unless a revision is expected. Raises ConflictError, StoreError."""
        loop = asyncio.get_running_loop()

        def remove(files: _Bucket) -> None:
            revision = files.delete(key, expected)
            if revision is not None:
                loop.call_soon_threadsafe(self._tell, Entry(bucket=bucket, key=key, value=None, revision=revision))

        await self._run(bucket, remove, f"delete {bucket}/{key}")

    async def entries(self, bucket: str, prefix: str = "") -> Sequence[Entry]:
        """All live entries under `prefix`, in key order. Raises StoreError."""
        return await self._run(bucket, lambda files: files.entries(prefix), f"list {bucket}/{prefix}")

    async def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry | None]:
        """Current entries, None, then this process's changes. Raises StoreError."""
        watcher = _Watcher(prefix)
        watchers = self._bucket(bucket).watchers
        watchers.append(watcher)
        try:
            for entry in await self.entries(bucket, prefix):
                watcher.tell(entry)
            for entry in watcher.drain():
                if entry.value is not None:
                    yield entry
            yield None
            while True:
                for entry in watcher.drain():
                    yield entry
                watcher.wake.clear()
                await watcher.wake.wait()
        finally:
            watchers.remove(watcher)

    def _tell(self, entry: Entry) -> None:
        for watcher in self._bucket(entry.bucket).watchers:
            watcher.tell(entry)

    async def _run(self, bucket: str, operation: Callable[[_Bucket], T], what: str) -> T:
        """Run file work on a thread: fsync takes milliseconds, and the loop has heartbeats to send."""
        try:
            return await asyncio.to_thread(operation, self._bucket(bucket))
        except OSError as error:
            raise disk_error(error, what) from error

    def _bucket(self, bucket: str) -> _Bucket:
        found = self._buckets.get(bucket)
        if found is None:
            invariant(is_label(bucket), f"not a bucket name: {bucket!r}")
            damaged = self._damaged or _ignore
            found = _Bucket(self._root / bucket, bucket, lambda key: self._path_of(bucket, key), damaged)
            self._buckets[bucket] = found
        return found


class _Bucket:
    """The files of one bucket. Every method takes the bucket's file lock, which also orders this process's threads."""

    def __init__(self, root: Path, name: str, path_of: Callable[[str], str], damaged: Damaged) -> None:
        self._root = root
        self._name = name
        self._path_of = path_of
        self._damaged = damaged
        self._aside = root / ".tmp"
        self._index = Index(root / ".index", is_applied=self._is_applied, damaged=damaged)
        self._is_clean = False
        self.watchers: list[_Watcher] = []

    def get(self, key: str) -> Entry | None:
        _check_key(key)
        if not self._root.is_dir():
            return None
        with self._locked():
            return self._read(key)

    def put(self, key: str, value: bytes, expected: int | None) -> int:
        path = self._path(key)
        make_directory(self._root)
        with self._locked():
            self._check(key, expected)
            temporary = write_aside(path, value, self._aside)
            try:
                record = self._index.append(key, _digest(value))
                self._apply(record, lambda: move_into_place(temporary, path))
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            self._index.compact()
            return record.revision

    def delete(self, key: str, expected: int | None) -> int | None:
        path = self._path(key)
        if not self._root.is_dir() and expected in (None, 0):
            return None
        make_directory(self._root)
        with self._locked():
            self._check(key, expected)
            if key not in self._index.live:
                return None
            record = self._index.append(key, "")
            self._apply(record, lambda: _remove(path))
            self._index.compact()
            return record.revision

    def entries(self, prefix: str) -> list[Entry]:
        if not self._root.is_dir():
            return []
        with self._locked():
            keys = sorted(key for key in self._index.live if _is_under(key, prefix))
            found = [self._read(key) for key in keys]
        return [entry for entry in found if entry is not None]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not self._is_clean:
                self._clean()
            self._index.refresh()
            yield
        finally:
            os.close(handle)

    def _clean(self) -> None:
        """Remove what writers that died left unfinished; the lock says that none is at work."""
        for leftover in self._aside.glob("*"):
            leftover.unlink()
        self._is_clean = True

    def _read(self, key: str) -> Entry | None:
        held = self._index.live.get(key)
        if held is None:
            return None
        path = self._path(key)
        value = _content(path)
        if value is not None and _digest(value) == held.digest:
            return Entry(bucket=self._name, key=key, value=value, revision=held.revision)
        self._lose(key, path, "is missing" if value is None else "does not match its digest")
        return None

    def _lose(self, key: str, path: Path, why: str) -> None:
        """Set a bad file aside, record that its key is gone, and say so."""
        named = set_aside(path) if path.exists() else path
        self._index.append(key, "")
        self._damaged(named, f"{self._name}/{key} {why}")

    def _check(self, key: str, expected: int | None) -> None:
        held = self._index.live.get(key)
        found = 0 if held is None else held.revision
        if expected is not None and expected != found:
            raise ConflictError(f"{self._name}/{key} is at revision {found}, not {expected}")

    def _apply(self, record: Record, move: Callable[[], None]) -> None:
        try:
            move()
        except BaseException:
            if not self._is_applied(record):
                self._index.take_back(record)
            raise

    def _is_applied(self, record: Record) -> bool:
        if record.key == "":  # the mark that compaction leaves
            return True
        path = self._path(record.key)
        value = _content(path)
        if record.digest == "":
            if value is not None and _digest(value) == record.before_digest:
                _remove(path)  # finish a deletion that was recorded
            return True
        found = "" if value is None else _digest(value)
        return found == record.digest or found != record.before_digest

    def _path(self, key: str) -> Path:
        _check_key(key)
        relative = PurePosixPath(self._path_of(key))
        is_inside = not relative.is_absolute() and not any(part.startswith(".") for part in relative.parts)
        invariant(is_inside and bool(relative.parts), f"not a path below a bucket: {relative}")
        return self._root / relative


class _Watcher:
    """News for one watcher, the newest entry per key: bounded by the number of keys."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._pending: dict[str, Entry] = {}
        self.wake = asyncio.Event()

    def tell(self, entry: Entry) -> None:
        if not _is_under(entry.key, self._prefix):
            return
        previous = self._pending.pop(entry.key, None)
        newest = entry if previous is None or previous.revision <= entry.revision else previous
        self._pending[entry.key] = newest
        self.wake.set()

    def drain(self) -> Iterator[Entry]:
        while self._pending:
            yield self._pending.pop(next(iter(self._pending)))


def _is_under(key: str, prefix: str) -> bool:
    return prefix in ("", key) or key.startswith(prefix + ".")


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync_directory(path.parent)


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def _check_key(key: str) -> None:
    if not is_store_key(key):
        raise StoreError(f"not a key: {key!r}", code="store.bad_key", retry=False)


def _ignore(_path: Path, _why: str) -> None:
    return None
