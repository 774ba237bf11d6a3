"""Tiles, bundles and the growing edge: names, widths, limits, as tlog-tiles spells them."""

from __future__ import annotations

import pytest

from hanse.ledger.edge import Edge, grow, leaf_of
from hanse.ledger.errors import EntryTooLarge, LedgerFormatError
from hanse.ledger.tiles import (
    TileName,
    bundles_of,
    decode_bundle,
    encode_bundle,
    key_of,
    parse_path,
    path_of,
    tiles_of,
)
from hanse.ledger.tree import hash_leaf, root_of


def test_the_standards_example_of_70_000_entries() -> None:
    names = list(tiles_of(70_000))
    assert [sum(1 for n in names if n.level == level and n.width == 256) for level in range(3)] == [273, 1, 0]
    assert [n.path for n in names if n.width < 256] == ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert [n.path for n in bundles_of(70_000)][-1] == "tile/entries/273.p/112"


def test_the_standards_example_of_a_long_index() -> None:
    name = TileName(level=0, index=1_234_067)
    assert name.path == "tile/0/x001/x234/067"
    assert name.key == "tile.0.x001.x234.067"


@pytest.mark.parametrize(
    "path", ["checkpoint", "tile/0/067", "tile/0/x001/067.p/112", "tile/entries/x001/000", "tile/63/000.p/1"]
)
def test_a_key_leads_back_to_its_path(path: str) -> None:
    assert path_of(key_of(path)) == path


def test_a_partial_tile_never_shares_its_path_with_a_full_one() -> None:
    assert path_of("tile.0.067.p.1") == "tile/0/067.p/1"
    assert path_of("tile.0.067") == "tile/0/067"


@pytest.mark.parametrize(
    "path",
    ["tile/00/000", "tile/64/000", "tile/0/0", "tile/0/x000/001", "tile/0/000.p/256", "tile/0/000.p/0",
     "tile/0/000.p/01", "tile/0/001/000", "tile/entries/x001", "tile/0/000\n", "/tile/0/000"],
)  # fmt: skip
def test_other_spellings_are_no_tiles(path: str) -> None:
    with pytest.raises(LedgerFormatError):
        parse_path(path)


def test_a_bundle_of_the_largest_entries() -> None:
    entries = (b"", b"x" * 65_535)
    assert decode_bundle(encode_bundle(entries), 2) == entries
    with pytest.raises(EntryTooLarge, match="65536 bytes"):
        encode_bundle([b"x" * 65_536])


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x02a", b"\x00\x01a", b"\x00\x01a\x00\x01b\x00\x01c"])
def test_a_bundle_that_was_cut_is_refused(data: bytes) -> None:
    with pytest.raises(LedgerFormatError):
        decode_bundle(data, 2)


def test_growing_writes_only_new_names() -> None:
    """No file that a checkpoint covers is ever written again: partial ones carry their width."""
    edge, seen = Edge(), set()
    for batch in (3, 250, 3, 1, 600, 256):
        growth = grow(edge, [leaf_of(b"%d.%d" % (edge.size, at)) for at in range(batch)])
        paths = {name.path for name, _ in growth.files}
        assert not paths & seen
        seen |= paths
        edge = growth.edge
    assert edge.size == 1_113


def test_256_entries_are_one_full_tile_and_one_hash_above() -> None:
    entries = [b"%d" % at for at in range(256)]
    growth = grow(Edge(), [leaf_of(entry) for entry in entries])
    assert [name.path for name, _ in growth.files] == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]
    assert growth.files[2][1] == growth.edge.root == root_of([hash_leaf(entry) for entry in entries])
