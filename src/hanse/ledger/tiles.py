"""Tiles and entry bundles (C2SP tlog-tiles v0.1.0): names, widths, bytes; and their keys in a `Store`.

`tree size -> tile names -> paths, keys -> hashes and entries`. Reads and writes nothing itself.

A key is the C2SP path with dots for slashes: ``tile/0/x001/067.p/112`` is ``tile.0.x001.067.p.112``. `path_of` is the
inverse, which a store on disk applies, so that its directory *is* a tlog-tiles tree any web server can publish.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hanse.core.errors import invariant
from hanse.ledger.errors import EntryTooLarge, LedgerFormatError
from hanse.ledger.tree import HASH_BYTES, Node, root_of

BUCKET = "ledger"
CHECKPOINT_KEY = "checkpoint"
WIDTH = 256
"""Hashes in a full tile, entries in a full bundle."""
HEIGHT = 8
MAX_LEVEL = 63
MAX_ENTRY_BYTES = 65_535
"""Bundles prefix each entry with its length in 16 bits."""

_TILE = re.compile(r"tile/(entries|0|[1-5][0-9]?|6[0-3]?|[7-9])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class TileName:
    """One tile or entry bundle of a tree."""

    level: int | None
    """0..63; None for an entry bundle, which lies beside level 0."""
    index: int
    width: int = WIDTH
    """1..256; below 256 the tile is partial."""

    @property
    def path(self) -> str:
        """Path below the log's prefix."""
        where = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{where}/{_index_path(self.index)}{partial}"

    @property
    def key(self) -> str:
        """Key in the ledger's bucket."""
        return key_of(self.path)

    @property
    def full(self) -> TileName:
        """The same tile once it is full."""
        return TileName(level=self.level, index=self.index)


def key_of(path: str) -> str:
    """Spell a C2SP path as a key: ``tile/0/x001/067.p/112`` -> ``tile.0.x001.067.p.112``."""
    return path.replace("/", ".")


def path_of(key: str) -> str:
    """Spell a key as the C2SP path below the log's prefix, the inverse of `key_of`.

    The token ``p`` belongs to the token before it (directory ``067.p`` beside file ``067``): mapping every dot to a
    directory would make ``067`` both. No other path element is or holds a ``p`` or a dot, so the mapping is one-to-one.
    """
    return key.replace(".p.", "\0p/").replace(".", "/").replace("\0", ".")


def parse_path(path: str) -> TileName:
    """Read the path of a tile or bundle. Raises LedgerFormatError unless it is spelled exactly as the standard says."""
    match = _TILE.match(path)
    if match is None:
        raise LedgerFormatError(f"not the path of a tile: {path!r}")
    where, index, width = match.groups()
    name = TileName(
        level=None if where == "entries" else int(where),
        index=int(index.replace("x", "").replace("/", "")),
        width=WIDTH if width is None else int(width),
    )
    if name.path != path:
        raise LedgerFormatError(f"not the path of a tile: {path!r}")
    return name


def tile_at(level: int, index: int, size: int) -> TileName:
    """The tile `index` of a level as it stands in a tree of `size` entries."""
    width = min(WIDTH, (size >> (HEIGHT * level)) - index * WIDTH)
    invariant(width > 0, f"tile {level}/{index} is not in a tree of {size}")
    return TileName(level=level, index=index, width=width)


def bundle_at(index: int, size: int) -> TileName:
    """The entry bundle `index` as it stands in a tree of `size` entries."""
    return TileName(level=None, index=index, width=tile_at(0, index, size).width)


def tiles_of(size: int) -> Iterator[TileName]:
    """Every hash tile of a tree, level by level from the leaves, left to right."""
    level = 0
    while hashes := size >> (HEIGHT * level):
        for index in range(-(-hashes // WIDTH)):
            yield tile_at(level, index, size)
        level += 1


def bundles_of(size: int) -> Iterator[TileName]:
    """Every entry bundle of a tree, left to right."""
    for index in range(-(-size // WIDTH)):
        yield bundle_at(index, size)


def growing(size: int) -> tuple[TileName, ...]:
    """The files of a tree that the next entries will replace, named as they will be when full."""
    names: list[TileName] = []
    if size % WIDTH:
        names.append(TileName(level=None, index=size // WIDTH))
    level = 0
    while count := size >> (HEIGHT * level):
        if count % WIDTH:
            names.append(TileName(level=level, index=count // WIDTH))
        level += 1
    return tuple(names)


def tile_of_node(node: Node, size: int) -> TileName:
    """The tile whose hashes yield a complete subtree of a tree of `size` entries."""
    level, index = node
    tile_level, below = divmod(level, HEIGHT)
    return tile_at(tile_level, (index << below) // WIDTH, size)


def node_in(data: bytes, node: Node) -> bytes:
    """Hash of a complete subtree, from the bytes of the tile that `tile_of_node` names."""
    level, index = node
    below = level % HEIGHT
    first = (index << below) % WIDTH
    hashes = hashes_of(data)[first : first + (1 << below)]
    invariant(len(hashes) == 1 << below, f"tile is too narrow for node {node}")
    return root_of(hashes)


def hashes_of(data: bytes) -> tuple[bytes, ...]:
    """Cut a tile into its hashes. Raises LedgerFormatError if its length is not 1 to 256 hashes."""
    if len(data) % HASH_BYTES or not HASH_BYTES <= len(data) <= WIDTH * HASH_BYTES:
        raise LedgerFormatError(f"a tile of {len(data)} bytes is not 1 to 256 hashes")
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def check_entry(entry: bytes) -> None:
    """Refuse an entry that no bundle can carry. Raises EntryTooLarge over 65,535 bytes."""
    if len(entry) > MAX_ENTRY_BYTES:
        raise EntryTooLarge(f"an entry of {len(entry)} bytes is over the limit of {MAX_ENTRY_BYTES}")


def frame(entry: bytes) -> bytes:
    """One entry as it stands in a bundle. Raises EntryTooLarge."""
    check_entry(entry)
    return len(entry).to_bytes(2, "big") + entry


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Join entries into a bundle. Raises EntryTooLarge."""
    return b"".join(frame(entry) for entry in entries)


def decode_bundle(data: bytes, width: int) -> tuple[bytes, ...]:
    """Cut a bundle of `width` entries apart. Raises LedgerFormatError unless it holds exactly that many."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise LedgerFormatError(f"the bundle ends in the middle of entry {len(entries)}")
        entries.append(data[at + 2 : end])
        at = end
    if len(entries) != width:
        raise LedgerFormatError(f"the bundle holds {len(entries)} entries instead of {width}")
    return tuple(entries)


def _index_path(index: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups))
