"""The right edge of a growing tree: what a log must remember to append, and the files that an append writes.

`edge + leaves -> new edge + tiles and bundles to write`. Writes nothing itself; an edge is a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hanse.ledger.tiles import WIDTH, TileName, check_entry, frame, hashes_of
from hanse.ledger.tree import EMPTY_ROOT, HASH_BYTES, hash_children, hash_leaf, root_of

_TILE_BYTES = WIDTH * HASH_BYTES

File = tuple[TileName, bytes]


class Leaf(NamedTuple):
    """An entry with its leaf hash, hashed once: hashing is most of what an append costs."""

    entry: bytes
    hash: bytes


def leaf_of(entry: bytes) -> Leaf:
    """Hash an entry. Raises EntryTooLarge over 65,535 bytes."""
    check_entry(entry)
    return Leaf(entry, hash_leaf(entry))


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Size of a tree, its partial tile on each level (bytes, possibly none) and its partial bundle."""

    size: int = 0
    rows: tuple[bytes, ...] = ()
    bundle: bytes = b""

    @property
    def root(self) -> bytes:
        """Root of the tree: complete subtrees folded from right (lowest) to left."""
        folded: bytes | None = None
        for row in self.rows:
            for part in reversed(_complete_parts(row)):
                folded = part if folded is None else hash_children(part, folded)
        return EMPTY_ROOT if folded is None else folded


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """An appended batch: the new edge and every file that changed."""

    edge: Edge
    files: tuple[File, ...]
    """Bundles, then tiles from the leaves up. Partial ones carry their width in the name: no file ever changes."""


def grow(edge: Edge, leaves: Sequence[Leaf]) -> Growth:
    """Append leaves."""
    bundle, files = _bundle(edge, leaves)
    rows = list(edge.rows)
    level, fresh = 0, [leaf.hash for leaf in leaves]
    while fresh:
        if level == len(rows):
            rows.append(b"")
        first = (edge.size >> (8 * level)) // WIDTH
        rows[level], tiles = _row(rows[level] + b"".join(fresh), level, first)
        fresh = [root_of(hashes_of(data)) for name, data in tiles if name.width == WIDTH]
        files.extend(tiles)
        level += 1
    grown = Edge(size=edge.size + len(leaves), rows=tuple(rows), bundle=bundle)
    return Growth(edge=grown, files=tuple(files))


def _bundle(edge: Edge, leaves: Sequence[Leaf]) -> tuple[bytes, list[File]]:
    files: list[File] = []
    index, width = divmod(edge.size, WIDTH)
    parts = [edge.bundle]
    for leaf in leaves:
        parts.append(frame(leaf.entry))
        width += 1
        if width == WIDTH:
            files.append((TileName(level=None, index=index), b"".join(parts)))
            index, width, parts = index + 1, 0, []
    rest = b"".join(parts)
    if width and leaves:
        files.append((TileName(level=None, index=index, width=width), rest))
    return rest, files


def _row(data: bytes, level: int, first: int) -> tuple[bytes, list[File]]:
    full = len(data) // _TILE_BYTES
    tiles = [
        (TileName(level=level, index=first + at), data[at * _TILE_BYTES : (at + 1) * _TILE_BYTES]) for at in range(full)
    ]
    rest = data[full * _TILE_BYTES :]
    if rest:
        tiles.append((TileName(level=level, index=first + full, width=len(rest) // HASH_BYTES), rest))
    return rest, tiles


def _complete_parts(row: bytes) -> tuple[bytes, ...]:
    """Roots of the complete subtrees that a partial tile's hashes form, left to right."""
    if not row:
        return ()
    hashes = hashes_of(row)
    parts: list[bytes] = []
    at = 0
    while at < len(hashes):
        span = 1 << ((len(hashes) - at).bit_length() - 1)
        parts.append(root_of(hashes[at : at + span]))
        at += span
    return tuple(parts)
