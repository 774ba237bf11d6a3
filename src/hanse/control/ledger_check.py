"""Check the files of a log against its signed checkpoint, from the root down to every entry.

`reader + head -> edge, leaf hashes, findings`. A tile is believed once its parent's hash covers it, so that a finding
names the damaged file and not its neighbour. Repairs nothing: a damaged log is restored, never rewritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hanse.control.ledger_reader import Head, LedgerReader
from hanse.ledger.edge import Edge
from hanse.ledger.errors import LedgerDamaged
from hanse.ledger.tiles import CHECKPOINT_KEY, WIDTH, bundle_at, bundles_of, encode_bundle, hashes_of, tile_at
from hanse.ledger.tree import hash_leaf, root_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One damaged file of a log: its C2SP path and what is wrong with it."""

    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Outcome of a full check."""

    size: int
    """Entries under the checkpoint; 0 where there is none to trust."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedTree:
    """The hash tiles of a log as far as they hold."""

    edge: Edge
    leaf_hashes: tuple[bytes | None, ...]
    """None where the tile is damaged."""
    findings: tuple[Finding, ...]


async def fsck(reader: LedgerReader) -> Health:
    """Check every file of a log: checkpoint, tiles, entries. Raises StoreError if the store cannot be read."""
    try:
        head = await reader.head()
    except LedgerDamaged as error:
        return Health(size=0, findings=(_finding(error),))
    if head is None:
        missing = Finding(path=CHECKPOINT_KEY, message="the file is missing; if this log was ever used, restore it")
        return Health(size=0, findings=(missing,))
    checked = await check_tiles(reader, head)
    findings = list(checked.findings)
    for name in bundles_of(head.checkpoint.size):
        try:
            entries = await reader.bundle(name)
        except LedgerDamaged as error:
            findings.append(_finding(error))
            continue
        known = checked.leaf_hashes[name.index * WIDTH : name.index * WIDTH + name.width]
        wrong = [at for at, entry in enumerate(entries) if known[at] not in (None, hash_leaf(entry))]
        if wrong:
            numbers = ", ".join(str(name.index * WIDTH + at) for at in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
            findings.append(Finding(path=name.path, message=f"changed after it was logged: entry {numbers}"))
    return Health(size=head.checkpoint.size, findings=tuple(findings))


async def check_tiles(reader: LedgerReader, head: Head) -> CheckedTree:
    """Check every hash tile, and read the right edge. Raises StoreError; damage comes back as findings."""
    size = head.checkpoint.size
    edge, findings = await _read_edge(reader, head)
    above: Sequence[bytes | None] = ()
    for level in range(len(edge.rows) - 1, -1, -1):
        hashes: list[bytes | None] = []
        for index in range((size >> (8 * level)) // WIDTH):
            data, finding = await _full_tile(reader, level, index, size, above[index])
            findings += [finding] if finding is not None else []
            hashes += [None] * WIDTH if data is None else hashes_of(data)
        width = (size >> (8 * level)) % WIDTH
        row = edge.rows[level]
        hashes += [*hashes_of(row)] if row else [None] * width
        above = hashes
    return CheckedTree(edge=edge, leaf_hashes=tuple(above), findings=tuple(findings))


async def read_partial_bundle(reader: LedgerReader, size: int, leaf_hashes: Sequence[bytes | None]) -> bytes:
    """The bundle that the next entries join, checked. Raises LedgerDamaged, StoreError."""
    width = size % WIDTH
    if width == 0:
        return b""
    name = bundle_at(size // WIDTH, size)
    entries = await reader.bundle(name)
    if tuple(hash_leaf(entry) for entry in entries) != tuple(leaf_hashes[size - width :]):
        raise LedgerDamaged(f"{name.path}: changed after it was logged", context={"path": name.path})
    return encode_bundle(entries)


async def _read_edge(reader: LedgerReader, head: Head) -> tuple[Edge, list[Finding]]:
    """The partial tiles, which together hash to the checkpoint's root; rebuilt from below where they do not."""
    size, wanted = head.checkpoint.size, head.checkpoint.root
    rows: list[bytes] = []
    findings: list[Finding] = []
    level = 0
    while count := size >> (8 * level):
        row = b""
        if count % WIDTH:
            try:
                row = await reader.tile(tile_at(level, count // WIDTH, size))
            except LedgerDamaged as error:
                findings.append(_finding(error))
        rows.append(row)
        level += 1
    edge = Edge(size=size, rows=tuple(rows))
    if findings or edge.root != wanted:
        return await _rebuild_edge(reader, edge, wanted, findings)
    return edge, findings


async def _rebuild_edge(
    reader: LedgerReader, edge: Edge, wanted: bytes, findings: list[Finding]
) -> tuple[Edge, list[Finding]]:
    """Find the damaged partial tiles: those that differ from what lies below them, if that leads to the root."""
    size = edge.size
    below = [await _row_from_below(reader, level, size) for level in range(len(edge.rows))]
    rebuilt = Edge(size=size, rows=tuple(below))
    named = {finding.path for finding in findings}
    for level, row in enumerate(below):
        name = tile_at(level, (size >> (8 * level)) // WIDTH, size) if row else None
        if name is not None and row != edge.rows[level] and rebuilt.root == wanted and name.path not in named:
            findings.append(Finding(path=name.path, message="changed after it was written: the tree below it differs"))
    if rebuilt.root == wanted:
        return rebuilt, findings
    if not findings:
        message = "the tiles do not hash to its root: it belongs to another tree, or several files were changed"
        findings.append(Finding(path=CHECKPOINT_KEY, message=message))
    return Edge(size=size, rows=tuple(b"" for _ in edge.rows)), findings


async def _row_from_below(reader: LedgerReader, level: int, size: int) -> bytes:
    """What a level's partial tile must hold, from the entries or from the full tiles below; empty if unreadable."""
    index, width = divmod(size >> (8 * level), WIDTH)
    if width == 0:
        return b""
    try:
        if level == 0:
            return b"".join([hash_leaf(entry) for entry in await reader.bundle(bundle_at(index, size))])
        tiles = [await reader.tile(tile_at(level - 1, index * WIDTH + at, size)) for at in range(width)]
        return b"".join(root_of(hashes_of(data)) for data in tiles)
    except LedgerDamaged:
        return b""


async def _full_tile(
    reader: LedgerReader, level: int, index: int, size: int, wanted: bytes | None
) -> tuple[bytes | None, Finding | None]:
    name = tile_at(level, index, size)
    try:
        data = await reader.tile(name)
    except LedgerDamaged as error:
        return None, _finding(error)
    if wanted is not None and root_of(hashes_of(data)) != wanted:
        return None, Finding(path=name.path, message="changed after it was written: its parent's hash differs")
    return data, None


def _finding(error: LedgerDamaged) -> Finding:
    path = str(error.context.get("path", CHECKPOINT_KEY))
    return Finding(path=path, message=error.message.removeprefix(f"{path}: "))
