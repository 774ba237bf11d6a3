"""The `Blobs` port on files: a node's own artifacts, so that it restarts its work with no uplink.

`bytes -> root/<2 hex>/<64 hex>`. Written aside, fsynced, renamed; verified whenever read; a file that does not match
its name is set aside as ``<name>.damaged-<n>`` and reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hanse.adapters.files import disk_error, move_into_place, set_aside, sync_directory, write_aside
from hanse.core.errors import BlobError, invariant
from hanse.core.ids import Digest, is_digest
from hanse.wire.canonical import digest_bytes

T = TypeVar("T")


class DiskBlobs:
    """Immutable bytes under `root`. `damaged(path, why)` hears of every bad file."""

    def __init__(self, root: Path, *, damaged: Callable[[Path, str], None] | None = None) -> None:
        self._root = root
        self._damaged = damaged

    async def put(self, data: bytes) -> Digest:
        """Store durably and return the digest; present bytes are not written again. Raises BlobError."""
        digest = digest_bytes(data)
        await _on_thread(lambda: self._write(digest, data), f"store {digest}")
        return digest

    async def get(self, digest: Digest) -> bytes:
        """Read and verify. Raises BlobError: ``blob.missing`` or ``blob.damaged``."""
        return await _on_thread(lambda: self._read(digest), f"read {digest}")

    async def has(self, digest: Digest) -> bool:
        """Tell whether the blob is present (not whether it is whole: `get` does)."""
        return await _on_thread(self._path(digest).is_file, f"find {digest}")

    async def delete(self, digest: Digest) -> None:
        """Remove; absent is fine. Raises BlobError."""
        await _on_thread(lambda: self._remove(digest), f"delete {digest}")

    def _write(self, digest: Digest, data: bytes) -> None:
        path = self._path(digest)
        if path.is_file() and path.stat().st_size == len(data) and digest_bytes(path.read_bytes()) == digest:
            return
        temporary = write_aside(path, data, self._root / ".tmp")
        try:
            move_into_place(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _read(self, digest: Digest) -> bytes:
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise BlobError(f"no blob {digest}", code="blob.missing", context={"digest": digest}) from None
        if digest_bytes(data) == digest:
            return data
        aside = set_aside(path)
        if self._damaged is not None:
            self._damaged(aside, "does not match its digest")
        raise BlobError(
            f"the file of {digest} was damaged and set aside",
            code="blob.damaged",
            hint="fetch the blob again",
            context={"digest": digest, "path": str(aside)},
        )

    def _remove(self, digest: Digest) -> None:
        path = self._path(digest)
        if path.is_file():
            path.unlink(missing_ok=True)
            sync_directory(path.parent)

    def _path(self, digest: Digest) -> Path:
        invariant(is_digest(digest), f"not a digest: {digest!r}")
        name = digest.removeprefix("sha256:")
        return self._root / name[:2] / name


async def _on_thread(work: Callable[[], T], what: str) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        store_error = disk_error(error, what)
        code = "blob.full" if store_error.code == "store.full" else "blob.unavailable"
        raise BlobError(store_error.message, code=code, hint=store_error.hint, context=store_error.context) from error
