"""Uploads to a mirror as bytes: read piece by piece, refused strictly, and never believed without their proof."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.ledger import LedgerFormatError, ProofError, tree
from hanse.ledger.checkpoint import Checkpoint
from hanse.ledger.mirror import (
    MirrorInfo,
    Package,
    Span,
    Upload,
    check_package,
    parse_info,
    read_package,
    read_upload,
    spans,
)
from hanse.ledger.subtree import subtree_proof

UPLOAD = Upload(origin="north.test/ledger", start=300, end=700, ticket=b"t")
ENTRIES = [b"entry %d" % at for at in range(700)]
HASHES = [tree.hash_leaf(entry) for entry in ENTRIES]
PENDING = Checkpoint(origin="north.test/ledger", size=700, root=tree.root_of(HASHES))


def package(span: Span) -> Package:
    proof = subtree_proof(tree.reader_of(HASHES), span.subtree, span.end, 700)
    return Package(entries=tuple(ENTRIES[span.start : span.end]), proof=proof)


def test_the_canonical_sequence_is_one_package_for_each_bundle() -> None:
    assert [(one.subtree, one.start, one.end) for one in spans(300, 700)] == [(256, 300, 512), (512, 512, 700)]
    assert list(spans(0, 0)) == []
    assert [(one.start, one.end) for one in spans(256, 257)] == [(256, 257)]


def test_head_and_packages_are_read_from_any_prefix_that_holds_them() -> None:
    head = UPLOAD.encode()
    assert read_upload(head + b"more") == (UPLOAD, len(head))
    assert all(read_upload(head[:cut]) is None for cut in range(len(head)))
    one = package(Span(subtree=256, start=300, end=310))
    data = one.encode()
    assert read_package(data + b"more", 10) == (one, len(data))
    assert all(read_package(data[:cut], 10) is None for cut in range(len(data)))


@pytest.mark.parametrize(
    "head",
    [
        b"\xff\xff" + b"x" * 70_000,
        Upload(origin="a", start=5, end=4).encode(),
        b"\x00\x01\xff" + bytes(18),
        Upload(origin="a", start=0, end=1, ticket=b"t" * 2_000).encode(),
    ],
)
def test_a_head_that_nobody_sends_is_refused(head: bytes) -> None:
    with pytest.raises(LedgerFormatError):
        read_upload(head)


def test_a_proof_of_more_hashes_than_any_tree_has_is_refused() -> None:
    with pytest.raises(LedgerFormatError, match="64 hashes"):
        read_package(b"\x00\x01a" + bytes([64]) + bytes(64 * 32), 1)


@pytest.mark.parametrize("span", list(spans(300, 700)))
def test_a_package_is_believed_with_the_entries_before_it(span: Span) -> None:
    before = ENTRIES[span.subtree : span.start]
    assert check_package(span, package(span), before, PENDING) == tuple(ENTRIES[span.subtree : span.end])


@given(at=st.integers(0, 211), to=st.binary(max_size=20))
def test_a_changed_entry_is_never_believed(at: int, to: bytes) -> None:
    span = Span(subtree=256, start=300, end=512)
    true = package(span)
    entries = [*true.entries]
    if entries[at] == to:
        return
    entries[at] = to
    with pytest.raises(ProofError):
        check_package(span, Package(entries=tuple(entries), proof=true.proof), ENTRIES[256:300], PENDING)


def test_information_has_one_spelling() -> None:
    info = MirrorInfo(size=700, next_entry=512, ticket=b"x")
    assert info.encode() == b"700\n512\neA==\n"
    assert parse_info(info.encode()) == info
    for bad in (b"", b"700\n512\n", b"700\n0512\n\n", b"a\nb\n\n", b"700\n512\n\n\n"):
        with pytest.raises(LedgerFormatError):
            parse_info(bad)


@given(st.binary(max_size=300))
def test_foreign_bytes_end_in_a_refusal_or_a_value(data: bytes) -> None:
    for read in (read_upload, parse_info, lambda found: read_package(found, 3)):
        try:
            read(data)
        except LedgerFormatError:
            continue
