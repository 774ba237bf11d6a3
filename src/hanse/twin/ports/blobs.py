"""The `Blobs` port in memory: immutable bytes by digest, verified when read.

`bytes -> link -> BlobServer`. The server's bytes outlive clients; a fault may damage them (`damage`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hanse.core.errors import BlobError, BusError, invariant
from hanse.core.ids import Digest
from hanse.twin.ports.link import Link
from hanse.twin.trace import Trace
from hanse.wire.canonical import digest_bytes

T = TypeVar("T")


class BlobServer:
    """What is stored, by digest."""

    def __init__(self, *, name: str = "blobs", trace: Trace | None = None) -> None:
        self._name = name
        self._trace = trace
        self._held: dict[Digest, bytes] = {}

    def put(self, digest: Digest, data: bytes) -> None:
        """Store; present or damaged bytes are replaced."""
        if self._held.get(digest) != data:
            self._held[digest] = data
            if self._trace is not None:
                self._trace.note("blob", self._name, digest)

    def get(self, digest: Digest) -> bytes:
        """Raises BlobError ``blob.missing``."""
        if digest not in self._held:
            raise BlobError(f"no blob {digest}", code="blob.missing", context={"digest": digest})
        return self._held[digest]

    def has(self, digest: Digest) -> bool:
        """Tell whether there are bytes under this digest."""
        return digest in self._held

    def delete(self, digest: Digest) -> None:
        """Remove; absent is fine."""
        self._held.pop(digest, None)

    def damage(self, digest: Digest) -> None:
        """Flip one bit of what is stored, as a failing disk would."""
        data = self._held[digest]
        invariant(len(data) > 0, "an empty blob has no bit to flip")
        self._held[digest] = bytes([data[0] ^ 1]) + data[1:]


class MemoryBlobs:
    """One client's view of a `BlobServer` over its link."""

    def __init__(self, server: BlobServer, link: Link) -> None:
        self._server = server
        self._link = link

    async def put(self, data: bytes) -> Digest:
        """Store and return the SHA-256 digest."""
        digest = digest_bytes(data)
        await self._call(lambda: self._server.put(digest, data))
        return digest

    async def get(self, digest: Digest) -> bytes:
        """Read and verify. Raises BlobError: ``blob.missing``, ``blob.damaged`` or ``blob.unavailable``."""
        data = await self._call(lambda: self._server.get(digest))
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
        """Tell whether the blob is present."""
        return await self._call(lambda: self._server.has(digest))

    async def delete(self, digest: Digest) -> None:
        """Remove; absent is fine."""
        await self._call(lambda: self._server.delete(digest))

    async def _call(self, operation: Callable[[], T]) -> T:
        try:
            return await self._link.call(operation)
        except BusError as error:
            raise BlobError(error.message, retry=error.retry) from error
