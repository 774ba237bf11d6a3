"""This domain as a mirror of other domains' logs: the server half of C2SP tlog-mirror.

`checkpoint -> pending`, `entry packages -> files -> cosigned checkpoint`. A package is written only after it was proved
to stand in a checkpoint that the log signed, so it does not matter who brings it, how often, or where he breaks off.
The mirror's own lines say: every entry under this checkpoint lies here, durable. They are made last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from hanse.control.known_logs import Answer, KnownLogs, LogView, checkpoint_of, line, name_of
from hanse.control.ledger_reader import LedgerReader
from hanse.control.witness import cosigner_keys, cosigner_lines
from hanse.core.errors import ConflictError
from hanse.core.ports import ControlPorts
from hanse.ledger import tree
from hanse.ledger.checkpoint import Checkpoint
from hanse.ledger.errors import LedgerFormatError, ProofError
from hanse.ledger.mirror import (
    INFO_TYPE,
    MAX_PACKAGE_BYTES,
    MirrorInfo,
    Package,
    Span,
    Upload,
    check_package,
    read_package,
    read_upload,
    spans,
)
from hanse.ledger.note import VerifierKey
from hanse.ledger.tiles import (
    CHECKPOINT_KEY,
    WIDTH,
    TileName,
    bundle_at,
    encode_bundle,
    growing,
    hashes_of,
    key_of,
    parse_path,
    tile_at,
)
from hanse.ledger.witness import BAD_REQUEST, CONFLICT, UNKNOWN_LOG, UNPROCESSABLE

MIRROR_SUFFIX = "/mirror"
MAX_UPLOADS = 4
"""Uploads read at once: anybody may begin one, and each may hold a package of 16 MiB."""
_SWAP_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredView:
    """One log that is mirrored here, for people."""

    log: LogView
    size: int
    """Entries that lie here under a checkpoint with this mirror's lines."""
    folder: str
    """Name of the folder of its files, beside this domain's own log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Log:
    """One mirrored log while a request is served."""

    origin: str
    bucket: str
    reader: LedgerReader


class Mirror:
    """Keeps copies of the logs it was told of; its name is ``<domain>/mirror``."""

    def __init__(self, ports: ControlPorts, domain: str) -> None:
        self._ports = ports
        self._store = ports.ledger
        self._name = domain + MIRROR_SUFFIX
        self.known = KnownLogs(ports, prefix="mirror-")
        self._commit = asyncio.Lock()
        self._uploads = asyncio.Semaphore(MAX_UPLOADS)

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """The verifier keys of this mirror, for others' policy files."""
        return cosigner_keys(self._name, self._ports.mirror_signers)

    async def logs(self) -> tuple[MirroredView, ...]:
        """Every log that is mirrored here. Raises LedgerDamaged, StoreError."""
        found: list[MirroredView] = []
        for view in await self.known.views():
            mirrored = await self._log(name_of(view.origin))
            if mirrored is not None:
                size, _ = await _committed(mirrored)
                found.append(MirroredView(log=view, size=size, folder=mirrored.bucket))
        return tuple(found)

    async def add_checkpoint(self, body: bytes) -> Answer:
        """Answer one ``add-checkpoint`` request: the pending checkpoint moves on, nothing is signed yet."""
        taken = await self.known.take(body)
        return taken if isinstance(taken, Answer) else Answer(status=200, body=b"")

    async def add_entries(self, chunks: AsyncIterator[bytes]) -> Answer:
        """Answer one ``add-entries`` request, read as it comes. Raises LedgerDamaged, StoreError, ConflictError."""
        if self._uploads.locked():
            return Answer(status=503, body=line("enough uploads are being read; ask again"))
        async with self._uploads:
            return await self._add_entries(_Body(chunks))

    async def _add_entries(self, body: _Body) -> Answer:
        try:
            upload = await body.upload()
        except LedgerFormatError as error:
            return Answer(status=BAD_REQUEST, body=line(error.message))
        if upload is None:
            return Answer(status=BAD_REQUEST, body=line("the request ends in its head"))
        mirrored = await self._log(name_of(upload.origin))
        if mirrored is None:
            return Answer(status=UNKNOWN_LOG, body=line(f"the log {upload.origin[:100]} is not mirrored here"))
        pending = await self._pending(upload)
        size, _ = await _committed(mirrored)
        following = await self._next_entry(mirrored, size)
        is_placed = following - WIDTH <= upload.start <= following
        if pending is None or upload.end < size or not is_placed:
            newest = await self.known.head(name_of(upload.origin))
            known = 0 if newest is None else checkpoint_of(newest.note).size
            return _info(CONFLICT, known if pending is None or upload.end < size else upload.end, following)
        return await self._receive(mirrored, upload, pending, body, following)

    async def file(self, origin_hash: str, path: str) -> bytes | None:
        """A file of a mirrored log below its prefix: the checkpoint, a tile or a bundle; None if it is not there."""
        mirrored = await self._log(origin_hash)
        if mirrored is None:
            return None
        try:
            key = CHECKPOINT_KEY if path == CHECKPOINT_KEY else key_of(parse_path(path).path)
        except LedgerFormatError:
            return None
        stored = await self._store.get(mirrored.bucket, key)
        return None if stored is None else stored.value

    async def _receive(
        self, mirrored: _Log, upload: Upload, pending: tuple[str, Checkpoint], body: _Body, following: int
    ) -> Answer:
        note, checkpoint = pending
        has_saved = False
        for span in spans(upload.start, upload.end):
            try:
                package = await body.package(span.end - span.start)
                if package is None:
                    break
                before = await self._before(mirrored, span, checkpoint.size)
                entries = check_package(span, package, before, checkpoint)
            except LedgerFormatError as error:
                return Answer(status=BAD_REQUEST, body=line(error.message))
            except ProofError as error:
                return Answer(status=UNPROCESSABLE, body=line(error.message))
            await self._save(mirrored, span, entries)
            has_saved = True
            following = max(following, span.end)
        else:
            return await self._commit_up_to(mirrored, note, checkpoint)
        if not has_saved:
            return Answer(status=BAD_REQUEST, body=line("the request ends before the first package does"))
        return _info(202, upload.end, following)

    async def _before(self, mirrored: _Log, span: Span, size: int) -> tuple[bytes, ...]:
        """Entries of a package's subtree that came with an earlier upload."""
        if span.start == span.subtree:
            return ()
        index = span.start // WIDTH
        held = await self._bundle_width(mirrored, index)
        name = TileName(level=None, index=index, width=held)
        entries = await mirrored.reader.bundle(name) if held else ()
        if len(entries) < span.start - span.subtree:
            raise ProofError(f"the entries before {span.start} are not here")
        return entries[: span.start - span.subtree]

    async def _save(self, mirrored: _Log, span: Span, entries: Sequence[bytes]) -> None:
        """Write a bundle and its tile: a name says its width, so that what is there is never changed."""
        index, width = span.subtree // WIDTH, len(entries)
        hashes = b"".join(tree.hash_leaf(entry) for entry in entries)
        await self._create(mirrored, TileName(level=None, index=index, width=width), encode_bundle(entries))
        await self._create(mirrored, TileName(level=0, index=index, width=width), hashes)

    async def _create(self, mirrored: _Log, name: TileName, data: bytes) -> None:
        if await self._store.get(mirrored.bucket, name.key) is not None:
            return
        try:
            await self._store.put(mirrored.bucket, name.key, data, expected=0)
        except ConflictError:
            return  # another upload was quicker, and proved the same bytes

    async def _commit_up_to(self, mirrored: _Log, note: str, checkpoint: Checkpoint) -> Answer:
        """Write the upper tiles and then the checkpoint with our lines, unless it is ahead already."""
        lines = cosigner_lines(checkpoint, self._name, self._ports.mirror_signers, self._ports.clock.wall())
        async with self._commit:
            for _ in range(_SWAP_ATTEMPTS):
                size, revision = await _committed(mirrored)
                if checkpoint.size < size:
                    return _info(CONFLICT, size, size)
                await self._write_upper(mirrored, size, checkpoint)
                try:
                    await self._store.put(mirrored.bucket, CHECKPOINT_KEY, note.encode() + lines, revision)
                except ConflictError:
                    continue
                await self._sweep(mirrored, size, checkpoint.size)
                return Answer(status=200, body=lines)
        raise ConflictError(f"the mirror of {mirrored.origin} keeps changing")

    async def _write_upper(self, mirrored: _Log, old: int, checkpoint: Checkpoint) -> None:
        """Tiles above the leaves' level that this commit completes or grows."""
        level = 1
        while count := checkpoint.size >> (8 * level):
            for index in range((old >> (8 * level)) // WIDTH, -(-count // WIDTH)):
                name = tile_at(level, index, checkpoint.size)
                below = [
                    await mirrored.reader.tile(TileName(level=level - 1, index=index * WIDTH + at))
                    for at in range(name.width)
                ]
                await self._create(mirrored, name, b"".join(tree.root_of(hashes_of(data)) for data in below))
            level += 1

    async def _sweep(self, mirrored: _Log, old: int, new: int) -> None:
        """Delete partial files that the commit left behind: those narrower than what the checkpoint covers now."""
        for full in growing(old):
            width = min(WIDTH, (new >> (8 * (full.level or 0))) - full.index * WIDTH)
            for one in await self._store.entries(mirrored.bucket, f"{full.key}.p"):
                if int(one.key.rpartition(".")[2]) < width:
                    await self._store.delete(mirrored.bucket, one.key)

    async def _log(self, origin_hash: str) -> _Log | None:
        found = await self.known.keys(origin_hash)
        if found is None:
            return None
        origin, keys = found
        bucket = bucket_of(origin)
        return _Log(origin=origin, bucket=bucket, reader=LedgerReader(self._store, origin, keys, bucket))

    async def _pending(self, upload: Upload) -> tuple[str, Checkpoint] | None:
        """The admitted checkpoint that an upload leads to: the newest, or one of those before it."""
        head = await self.known.head(name_of(upload.origin))
        for note in () if head is None else (head.note, *head.earlier):
            checkpoint = checkpoint_of(note)
            if checkpoint.size == upload.end:
                return note, checkpoint
        return None

    async def _next_entry(self, mirrored: _Log, size: int) -> int:
        """The first entry that lies neither under the mirror's checkpoint nor in a bundle written since."""
        index = size // WIDTH
        while await self._bundle_width(mirrored, index) == WIDTH:
            index += 1
        return max(size, index * WIDTH + await self._bundle_width(mirrored, index))

    async def _bundle_width(self, mirrored: _Log, index: int) -> int:
        """How many entries of a bundle lie here, with their tile."""
        full = bundle_at(index, (index + 1) * WIDTH)
        if await self._has(mirrored, full):
            return WIDTH
        partials = await self._store.entries(mirrored.bucket, f"{full.key}.p")
        widths = sorted((int(one.key.rpartition(".")[2]) for one in partials), reverse=True)
        for width in widths:
            if await self._has(mirrored, TileName(level=None, index=index, width=width)):
                return width
        return 0

    async def _has(self, mirrored: _Log, bundle: TileName) -> bool:
        hashes = TileName(level=0, index=bundle.index, width=bundle.width)
        names = (bundle, hashes)
        return all([await self._store.get(mirrored.bucket, name.key) is not None for name in names])


class _Body:
    """A request's body, read piece by piece; never more of it in memory than one package."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = bytearray()

    async def upload(self) -> Upload | None:
        """The head; None where the body ends in it. Raises LedgerFormatError."""
        while (found := read_upload(self._buffer)) is None:
            if not await self._more():
                return None
        del self._buffer[: found[1]]
        return found[0]

    async def package(self, count: int) -> Package | None:
        """The next package of `count` entries; None where the body ends in or before it. Raises LedgerFormatError."""
        # Not tried at every piece: reading a long package anew each time would be quadratic.
        enough = 1
        while True:
            if len(self._buffer) >= enough:
                package = self._cut(count)
                if package is not None:
                    return package
                if len(self._buffer) >= MAX_PACKAGE_BYTES:
                    raise LedgerFormatError("a package is longer than any can be")
                enough = min(2 * len(self._buffer), MAX_PACKAGE_BYTES)
            if not await self._more():
                return self._cut(count)

    def _cut(self, count: int) -> Package | None:
        found = read_package(self._buffer, count)
        if found is None:
            return None
        del self._buffer[: found[1]]
        return found[0]

    async def _more(self) -> bool:
        async for chunk in self._chunks:
            if chunk:
                self._buffer += chunk
                return True
        return False


def bucket_of(origin: str) -> str:
    """The bucket of a mirrored log's files, beside the domain's own log: half of the hash is enough among friends."""
    return f"mirror-{name_of(origin)[:32]}"


async def _committed(mirrored: _Log) -> tuple[int, int]:
    """Size and revision of the mirror's checkpoint; zeros before the first."""
    head = await mirrored.reader.head()
    return (0, 0) if head is None else (head.checkpoint.size, head.revision)


def _info(status: int, size: int, following: int) -> Answer:
    return Answer(status=status, body=MirrorInfo(size=size, next_entry=following).encode(), media_type=INFO_TYPE)
