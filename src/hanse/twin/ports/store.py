"""The `Store` port in memory: one server object with buckets, any number of clients on links that can be cut.

`operation -> link up -> KvServer -> link down -> result`. The server's state outlives clients, cuts and crashes, as a
disk would. A write whose answer is lost has happened; the client cannot know.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from hanse.core.errors import BusError, ConflictError, StoreError
from hanse.core.ids import is_store_key
from hanse.core.ports import Entry
from hanse.core.time import US_PER_MS, US_PER_S
from hanse.twin.ports.link import Link, Wire
from hanse.twin.trace import Trace

T = TypeVar("T")
MAX_VALUE_BYTES = 2**20
_RETRY_US = 50 * US_PER_MS


class Observer(Protocol):
    """Sees what happens at a server as it happens, for checkers. Changes nothing."""

    def tried(self, by: str, bucket: str, key: str) -> None:
        """A client's write arrived; it may yet be refused."""
        ...

    def changed(self, by: str, entry: Entry) -> None:
        """A write took effect."""
        ...


@dataclass(slots=True)
class _Bucket:
    entries: dict[str, Entry] = field(default_factory=dict)
    """Live values; a deleted key is not here."""
    revision: int = 0
    feeds: list[_Feed] = field(default_factory=list)


class KvServer:
    """Buckets with one growing revision each. `makes_buckets`: a local disk makes them on first use."""

    def __init__(
        self, buckets: Sequence[str] = (), *, name: str = "kv", trace: Trace | None = None, makes_buckets: bool = False
    ) -> None:
        self._name = name
        self._trace = trace
        self._makes_buckets = makes_buckets
        self._buckets = {bucket: _Bucket() for bucket in buckets}
        self.observers: list[Observer] = []
        """Called for every write that is tried, before it is judged, and for every change."""

    def get(self, bucket: str, key: str) -> Entry | None:
        """The live entry of a key."""
        _check_key(key)
        return self._bucket(bucket).entries.get(key)

    def put(self, bucket: str, key: str, value: bytes, expected: int | None, *, by: str = "") -> int:
        """Write for the client `by` and return the revision. Raises ConflictError, StoreError."""
        _check_key(key)
        for observer in self.observers:
            observer.tried(by, bucket, key)
        if len(value) > MAX_VALUE_BYTES:
            raise StoreError(
                f"a value of {len(value)} bytes for {bucket}/{key} exceeds {MAX_VALUE_BYTES}",
                code="store.too_large",
                hint="put large values into the blob store and store their digest",
                retry=False,
            )
        held = self._bucket(bucket)
        _check(held, key, expected)
        held.revision += 1
        entry = Entry(bucket=bucket, key=key, value=value, revision=held.revision)
        held.entries[key] = entry
        self._changed(held, entry, by)
        return held.revision

    def delete(self, bucket: str, key: str, expected: int | None, *, by: str = "") -> None:
        """Delete for the client `by`; absent is fine unless a revision is expected. Raises ConflictError."""
        _check_key(key)
        for observer in self.observers:
            observer.tried(by, bucket, key)
        held = self._bucket(bucket)
        _check(held, key, expected)
        if key not in held.entries:
            return
        held.revision += 1
        del held.entries[key]
        self._changed(held, Entry(bucket=bucket, key=key, value=None, revision=held.revision), by)

    def entries(self, bucket: str, prefix: str) -> tuple[Entry, ...]:
        """Live entries under a prefix, in key order."""
        held = self._bucket(bucket).entries
        return tuple(held[key] for key in sorted(held) if _is_under(key, prefix))

    def follow(self, bucket: str, feed: _Feed) -> None:
        """Send current entries, the mark, and from now on every change."""
        for entry in self.entries(bucket, feed.prefix):
            feed.send(entry)
        feed.send(None)
        self._bucket(bucket).feeds.append(feed)

    def unfollow(self, bucket: str, feed: _Feed) -> None:
        """Stop sending changes."""
        held = self._bucket(bucket)
        held.feeds = [other for other in held.feeds if other is not feed]

    def _changed(self, held: _Bucket, entry: Entry, by: str) -> None:
        if self._trace is not None:
            kind = "delete" if entry.value is None else "put"
            self._trace.note(kind, self._name, entry.bucket, entry.key, entry.revision, data=entry.value or b"")
        for feed in held.feeds:
            if _is_under(entry.key, feed.prefix):
                feed.send(entry)
        for observer in self.observers:
            observer.changed(by, entry)

    def _bucket(self, bucket: str) -> _Bucket:
        held = self._buckets.get(bucket)
        if held is None:
            if not self._makes_buckets:
                raise StoreError(f"no such bucket: {bucket}", code="store.no_bucket")
            held = self._buckets[bucket] = _Bucket()
        return held


class MemoryStore:
    """One client's view of a `KvServer` over its link."""

    def __init__(self, server: KvServer, link: Link) -> None:
        self._server = server
        self._link = link

    async def get(self, bucket: str, key: str) -> Entry | None:
        """Read one key; None if it never existed or was deleted."""
        return await self._call(lambda: self._server.get(bucket, key))

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
        """Write and return the new revision. Raises ConflictError, StoreError."""
        return await self._call(lambda: self._server.put(bucket, key, value, expected, by=self._link.name))

    async def delete(self, bucket: str, key: str, expected: int | None = None) -> None:
        """Delete a key. Raises ConflictError, StoreError."""
        await self._call(lambda: self._server.delete(bucket, key, expected, by=self._link.name))

    async def entries(self, bucket: str, prefix: str = "") -> Sequence[Entry]:
        """All live entries under `prefix`, in key order."""
        return await self._call(lambda: self._server.entries(bucket, prefix))

    async def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry | None]:
        """Current entries, None, then changes; again from the start after a cut. Raises StoreError once closed."""
        while True:
            try:
                await self._link.wait_up()
            except BusError as error:
                raise _store_error(error) from error
            feed = _Feed(self._link, prefix)
            follow = _follow(self._server, bucket, feed)
            self._link.conditions.listen(feed.wake.set)
            self._link.on_close(feed.wake.set)
            try:
                await self._call(follow)
                while not feed.is_broken():
                    while feed.pending:
                        yield feed.take()
                    if feed.is_broken():
                        break
                    feed.wake.clear()
                    await feed.wake.wait()
            except StoreError as error:
                if error.code == "store.no_bucket":
                    raise
            finally:
                self._link.conditions.forget(feed.wake.set)
                self._link.forget_close(feed.wake.set)
                feed.is_over = True
                self._server.unfollow(bucket, feed)
            await asyncio.sleep(_RETRY_US / US_PER_S)

    async def _call(self, operation: Callable[[], T]) -> T:
        try:
            return await self._link.call(operation)
        except BusError as error:
            raise _store_error(error) from error


class _Feed:
    """Entries on their way to one watcher, the newest per key; None is the mark."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._epoch = link.conditions.epoch
        self.prefix = prefix
        self.pending: dict[str | None, Entry | None] = {}
        self.wake = asyncio.Event()
        self.is_over = False

    def send(self, entry: Entry | None) -> None:
        self._link.send_down(lambda: self._arrived(entry))

    def take(self) -> Entry | None:
        return self.pending.pop(next(iter(self.pending)))

    def is_broken(self) -> bool:
        conditions = self._link.conditions
        return self._link.is_closed or conditions.wire is Wire.DOWN or conditions.epoch != self._epoch

    def _arrived(self, entry: Entry | None) -> None:
        if self.is_over:
            return
        key = None if entry is None else entry.key
        self.pending.pop(key, None)
        self.pending[key] = entry
        self.wake.set()


def _follow(server: KvServer, bucket: str, feed: _Feed) -> Callable[[], None]:
    def operation() -> None:
        if not feed.is_over:
            server.follow(bucket, feed)

    return operation


def _check(held: _Bucket, key: str, expected: int | None) -> None:
    found = held.entries[key].revision if key in held.entries else 0
    if expected is not None and expected != found:
        raise ConflictError(f"{key} is at revision {found}, not {expected}")


def _check_key(key: str) -> None:
    if not is_store_key(key):
        raise StoreError(f"not a key: {key!r}", code="store.bad_key", retry=False)


def _is_under(key: str, prefix: str) -> bool:
    return prefix in ("", key) or key.startswith(prefix + ".")


def _store_error(error: BusError) -> StoreError:
    return StoreError(error.message, hint=error.hint, retry=error.retry, context=error.context)
