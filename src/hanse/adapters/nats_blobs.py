"""The `Blobs` port on a JetStream object store: immutable bytes named by their digest, verified when read.

`put / get / has / delete -> NatsLink`. The layout is ADR-20's (chunks under ``$O.<bucket>.C.<id>``, one meta message
per name); the name is the digest's hex. A blob exists once its meta message does, so a torn upload is never seen.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
from typing import Any, Final

from nats.aio.msg import Msg

from hanse.adapters.nats_api import api, ask, keep, parse
from hanse.adapters.nats_consumer import Consumer
from hanse.adapters.nats_link import NatsLink
from hanse.core.errors import BlobError, BusError, ConflictError, StoreError
from hanse.core.ids import Digest
from hanse.core.time import US_PER_S
from hanse.wire import subjects
from hanse.wire.canonical import digest_bytes

CHUNK_BYTES: Final = 256 * 2**10
"""A quarter of the payload cap: flow control stays fine-grained, an 18 MiB component is 72 messages."""
WINDOW: Final = 8
"""Chunks in flight: hides the fsync of each behind the others."""
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"


class NatsBlobs:
    """Artifacts over one `NatsLink`."""

    def __init__(self, link: NatsLink, *, bucket: str = subjects.ARTIFACTS) -> None:
        self._link = link
        self._bucket = bucket
        self._stream = f"OBJ_{bucket}"

    async def put(self, data: bytes) -> Digest:
        """Store durably and return the digest; present bytes are not sent again. Raises BlobError."""
        digest = digest_bytes(data)
        try:
            meta, sequence = await self._meta(digest)
            if meta is not None:
                return digest
            await self._upload(digest, data, sequence)
        except StoreError as error:
            raise _blob_error(error, digest) from error
        return digest

    async def get(self, digest: Digest) -> bytes:
        """Read and verify. Raises BlobError: ``blob.missing``, ``blob.damaged`` or ``blob.unavailable``."""
        try:
            meta, _ = await self._meta(digest)
            if meta is None:
                raise BlobError(f"no blob {digest}", code="blob.missing", context={"digest": digest})
            data = b"" if meta["size"] == 0 else await self._download(str(meta["nuid"]), int(meta["size"]))
        except StoreError as error:
            raise _blob_error(error, digest) from error
        if digest_bytes(data) != digest:
            raise BlobError(
                f"the bytes stored as {digest} are not those",
                code="blob.damaged",
                hint="delete the blob and store it again from its source",
                retry=False,
                context={"digest": digest},
            )
        return data

    async def has(self, digest: Digest) -> bool:
        """Tell whether the blob is present. Raises BlobError if the substrate cannot be asked."""
        try:
            return (await self._meta(digest))[0] is not None
        except StoreError as error:
            raise _blob_error(error, digest) from error

    async def delete(self, digest: Digest) -> None:
        """Remove; absent is fine. Raises BlobError."""
        try:
            meta, _ = await self._meta(digest)
            if meta is None:
                return
            tombstone = {**meta, "deleted": True, "size": 0, "chunks": 0, "digest": ""}
            await self._publish(self._meta_subject(digest), json.dumps(tombstone).encode(), {"Nats-Rollup": "sub"})
            await self._purge(str(meta["nuid"]))
        except StoreError as error:
            raise _blob_error(error, digest) from error

    async def _upload(self, digest: Digest, data: bytes, sequence: int) -> None:
        nuid = secrets.token_hex(11)
        chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        meta = {
            "name": _name(digest),
            "bucket": self._bucket,
            "nuid": nuid,
            "size": len(data),
            "chunks": len(chunks),
            "digest": "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode(),
            "options": {"max_chunk_size": CHUNK_BYTES},
        }
        try:
            for at in range(0, len(chunks), WINDOW):
                async with asyncio.TaskGroup() as group:
                    for chunk in chunks[at : at + WINDOW]:
                        group.create_task(self._publish(f"$O.{self._bucket}.C.{nuid}", chunk, {}))
            headers = {"Nats-Rollup": "sub", _EXPECTED: str(sequence)}
            await self._publish(self._meta_subject(digest), json.dumps(meta).encode(), headers)
        except ConflictError:
            await self._purge(nuid)  # someone else stored the same bytes first
        except ExceptionGroup as failed:
            # One cause broke them all; what was stored is unreachable without a meta message.
            raise failed.exceptions[0] from None

    async def _download(self, nuid: str, size: int) -> bytes:
        parts: list[bytes] = []
        wake = asyncio.Event()

        def take(message: Msg, _sequence: int) -> None:
            parts.append(message.data)

        try:
            connection = self._link.current()
        except BusError as error:
            raise StoreError(error.message) from error
        consumer = Consumer(
            connection,
            stream=self._stream,
            filter_subject=f"$O.{self._bucket}.C.{nuid}",
            take=take,
            wake=wake,
            deliver_policy="all",
            heartbeat_us=2 * US_PER_S,
            timeout_us=self._link.config.request_timeout_us,
        )
        connection.wake_when_lost(wake)
        try:
            await consumer.start()
            while not consumer.is_caught_up:
                wake.clear()
                # The deadline is per step, so that a large blob on a slow link gets through as long as bytes come.
                async with asyncio.timeout(self._link.config.request_timeout_us / US_PER_S):
                    await wake.wait()
                if consumer.broken or connection.lost.is_set():
                    raise StoreError(consumer.broken or "the link broke")
        except TimeoutError:
            raise StoreError(f"no bytes arrived for {self._link.config.request_timeout_us} us") from None
        finally:
            connection.forget(wake)
            await consumer.stop()
        data = b"".join(parts)
        return data[:size]

    async def _meta(self, digest: Digest) -> tuple[dict[str, Any] | None, int]:
        """The meta message, None if absent or deleted, and the sequence to replace (0 if there never was one)."""
        get = f"{self._link.config.api}.DIRECT.GET"
        message = await ask(self._link, f"{get}.{self._stream}.{self._meta_subject(digest)}", b"")
        headers = message.headers or {}
        if headers.get("Status") == "404":
            return None, 0
        if "Nats-Sequence" not in headers:
            raise StoreError(f"read {digest}: {headers.get('Description', 'no answer')}")
        meta: dict[str, Any] = json.loads(message.data)
        return (None if meta.get("deleted") else meta), int(headers["Nats-Sequence"])

    async def _publish(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        parse(await keep(self._link, subject, data, headers), what=f"store in {self._bucket}")

    async def _purge(self, nuid: str) -> None:
        await api(self._link, f"STREAM.PURGE.{self._stream}", {"filter": f"$O.{self._bucket}.C.{nuid}"})

    def _meta_subject(self, digest: Digest) -> str:
        return f"$O.{self._bucket}.M.{base64.urlsafe_b64encode(_name(digest).encode()).decode()}"


def _name(digest: Digest) -> str:
    return digest.removeprefix("sha256:")


def _blob_error(error: StoreError, digest: Digest) -> BlobError:
    code = {"store.full": "blob.full", "store.denied": "blob.denied"}.get(error.code, "blob.unavailable")
    return BlobError(
        f"{digest}: {error.message}", code=code, hint=error.hint, retry=error.retry, context={"digest": digest}
    )
