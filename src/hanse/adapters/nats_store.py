"""The `Store` port on JetStream key-value buckets: history 1, compare-and-swap on the stream's sequence.

`get / put / delete / entries / watch -> NatsLink`. Every value is acknowledged only after the server wrote it
(`sync_interval: always`, see `nats_server`). A bucket is made by `ensure_buckets`, which only the controller may call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from nats.aio.msg import Msg

from hanse.adapters.nats_api import ask, keep, kv_stream, kv_subject, parse, store_error
from hanse.adapters.nats_consumer import Consumer
from hanse.adapters.nats_link import Connection, NatsLink
from hanse.core.errors import BusError, ConflictError, StoreError
from hanse.core.ids import is_store_key
from hanse.core.ports import Entry
from hanse.core.time import US_PER_S

_OPERATION: Final = "KV-Operation"
_DELETIONS = frozenset({"DEL", "PURGE"})
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
MARKER_TTL_S: Final = 3_600
"""A delete marker lives for an hour: watchers have seen it by then, and keys of instances are never used again."""


class NatsStore:
    """Key-value state over one `NatsLink`. `watch_heartbeat_us`: a watch that hears nothing for three restarts."""

    def __init__(self, link: NatsLink, *, watch_heartbeat_us: int = 2 * US_PER_S) -> None:
        self._link = link
        self._heartbeat_us = watch_heartbeat_us

    async def get(self, bucket: str, key: str) -> Entry | None:
        """Read one key; None if it never existed or was deleted. Raises StoreError."""
        found = await self._last(bucket, key)
        return None if found is None or found.value is None else found

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
        """Write durably and return the new revision. Raises ConflictError, StoreError."""
        if expected != 0:
            return await self._write(bucket, key, value, expected)
        try:
            return await self._write(bucket, key, value, 0)
        except ConflictError:
            # A delete marker still holds a sequence: then the key is absent, and the marker is what to replace.
            last = await self._last(bucket, key)
            if last is None or last.value is not None:
                raise
            return await self._write(bucket, key, value, last.revision)

    async def delete(self, bucket: str, key: str, expected: int | None = None) -> None:
        """Delete a key; absent is fine unless a revision is expected. Raises ConflictError, StoreError."""
        last = await self._last(bucket, key)
        is_absent = last is None or last.value is None
        if is_absent and expected in (None, 0):
            return
        if last is None or is_absent or (expected is not None and expected != last.revision):
            raise ConflictError(f"{bucket}/{key} is not at revision {expected}")
        headers = {_OPERATION: "DEL", "Nats-TTL": str(MARKER_TTL_S)}
        if expected is not None:
            headers[_EXPECTED] = str(expected)
        parse(await keep(self._link, kv_subject(bucket, key), b"", headers), what=f"delete {bucket}/{key}")

    async def entries(self, bucket: str, prefix: str = "") -> Sequence[Entry]:
        """All live entries under `prefix`, in key order. Raises StoreError."""
        feed = _Feed(bucket)
        try:
            connection = self._link.current()
        except BusError as error:
            raise store_error(error) from error
        try:
            async with asyncio.timeout(self._link.config.request_timeout_us / US_PER_S):
                await feed.start(self, connection, prefix)
                while not feed.is_caught_up():
                    feed.raise_if_broken()
                    feed.wake.clear()
                    await feed.wait()
        except TimeoutError:
            raise StoreError(f"reading {bucket}/{prefix} took too long") from None
        finally:
            await feed.stop()
        return [feed.pending[key] for key in sorted(feed.pending) if feed.pending[key].value is not None]

    async def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry | None]:
        """Current entries, None, then changes; starts again after any loss.

        Raises StoreError only for what trying again cannot heal: no such bucket, denied, link closed.
        """
        while True:
            try:
                connection = await self._link.connection()
            except BusError as error:
                raise store_error(error) from error
            feed = _Feed(bucket)
            try:
                await feed.start(self, connection, prefix)
                is_announced = False
                while not feed.broken():
                    while feed.pending:
                        yield feed.take()
                    if feed.is_caught_up() and not is_announced:
                        is_announced = True
                        yield None
                        continue
                    feed.wake.clear()
                    await feed.wait()
            except StoreError as error:
                if error.code in ("store.no_bucket", "store.denied"):
                    raise
            finally:
                await feed.stop()
            await asyncio.sleep(self._link.config.backoff_min_us / US_PER_S)

    def consumer(self, connection: Connection, feed: _Feed, bucket: str, keys: str) -> Consumer:
        """An ordered consumer of `keys` (a NATS pattern) that fills `feed`."""
        return Consumer(
            connection,
            stream=kv_stream(bucket),
            filter_subject=kv_subject(bucket, keys),
            take=feed.took,
            wake=feed.wake,
            deliver_policy="last_per_subject",
            heartbeat_us=self._heartbeat_us,
            timeout_us=self._link.config.request_timeout_us,
        )

    async def _write(self, bucket: str, key: str, value: bytes, expected: int | None) -> int:
        headers = None if expected is None else {_EXPECTED: str(expected)}
        _check_key(key)
        answer = await keep(self._link, kv_subject(bucket, key), value, headers)
        return int(parse(answer, what=f"write {bucket}/{key}")["seq"])

    async def _last(self, bucket: str, key: str) -> Entry | None:
        """The last entry of a key, a delete marker as value None."""
        _check_key(key)
        api = self._link.config.api
        message = await ask(self._link, f"{api}.DIRECT.GET.{kv_stream(bucket)}.{kv_subject(bucket, key)}", b"")
        headers = message.headers or {}
        if "Nats-Sequence" in headers:
            return _entry(bucket, key, message, int(headers["Nats-Sequence"]))
        if headers.get("Status") == "404":
            return None
        raise StoreError(f"read {bucket}/{key}: {headers.get('Description', 'no answer')}")


class _Feed:
    """What a reader has not taken yet, the newest entry per key: bounded by the number of keys, never overflowing."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._consumers: list[Consumer] = []
        self._is_started = False
        self._connection: Connection | None = None
        self._taken: set[str] = set()
        self.pending: dict[str, Entry] = {}
        self.wake = asyncio.Event()

    async def start(self, store: NatsStore, connection: Connection, prefix: str) -> None:
        self._connection = connection
        connection.wake_when_lost(self.wake)
        # Two consumers for a prefix, each with one filter: a consumer with several cannot be permitted by key.
        for keys in (prefix, f"{prefix}.>") if prefix else (">",):
            consumer = store.consumer(connection, self, self._bucket, keys)
            await consumer.start()
            self._consumers.append(consumer)
        self._is_started = True

    async def stop(self) -> None:
        if self._connection is not None:
            self._connection.forget(self.wake)
        for consumer in self._consumers:
            await consumer.stop()

    def took(self, message: Msg, sequence: int) -> None:
        key = message.subject.split(".", 2)[2]
        entry = _entry(self._bucket, key, message, sequence)
        previous = self.pending.pop(key, None)
        if previous is not None and previous.revision > sequence:
            self.pending[key] = previous
        elif entry.value is not None or key in self._taken or self.is_caught_up():
            self.pending[key] = entry
        # else: a deletion of what this reader never saw is no news

    def take(self) -> Entry:
        key = next(iter(self.pending))
        entry = self.pending.pop(key)
        if not self.is_caught_up():
            self._taken.add(key)
        return entry

    def is_caught_up(self) -> bool:
        return self._is_started and all(consumer.is_caught_up for consumer in self._consumers)

    def broken(self) -> str:
        if self._connection is not None and self._connection.lost.is_set():
            return "the link broke"
        if any(consumer.silence_left_s() <= 0 for consumer in self._consumers):
            return "heartbeats are missing"
        return next((consumer.broken for consumer in self._consumers if consumer.broken), "")

    def raise_if_broken(self) -> None:
        why = self.broken()
        if why:
            raise StoreError(f"reading {self._bucket}: {why}")

    async def wait(self) -> None:
        """Wait for news, for the loss of the link, or for heartbeats to be overdue."""
        if self._connection is None or self.broken():
            return
        left_s = max(0.0, min(consumer.silence_left_s() for consumer in self._consumers))
        try:
            async with asyncio.timeout(left_s):
                await self.wake.wait()
        except TimeoutError:
            return  # `broken` tells why


def _check_key(key: str) -> None:
    """Refuse what is no key before it becomes part of a subject, where a wildcard would mean more than itself."""
    if not is_store_key(key):
        raise StoreError(f"not a key: {key!r}", code="store.bad_key", retry=False)


def _entry(bucket: str, key: str, message: Msg, revision: int) -> Entry:
    headers = message.headers or {}
    is_deleted = headers.get(_OPERATION) in _DELETIONS or "Nats-Marker-Reason" in headers
    return Entry(bucket=bucket, key=key, value=None if is_deleted else message.data, revision=revision)
