"""Subtree proofs against trees hashed by the definition; no wrong entry, place, size or proof passes."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.ledger import ProofError, tree
from hanse.ledger.subtree import is_subtree, subtree_proof, verify_subtree

LEAVES = [tree.hash_leaf(b"%d" % at) for at in range(700)]


def defined(leaves: list[bytes]) -> bytes:
    """The tree hash as RFC 6962 section 2.1 defines it, by recursion."""
    if len(leaves) == 1:
        return leaves[0]
    cut = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + defined(leaves[:cut]) + defined(leaves[cut:])).digest()


def spans() -> st.SearchStrategy[tuple[int, int, int]]:
    """(start, end, size) of subtrees."""

    def place(drawn: tuple[int, int, int]) -> tuple[int, int, int]:
        width, slot, more = drawn
        start = slot * (1 << (width - 1).bit_length())
        return start, start + width, start + width + more

    fits = st.tuples(st.integers(1, 256), st.integers(0, 3), st.integers(0, 300)).map(place)
    return fits.filter(lambda span: span[2] <= len(LEAVES))


@given(spans())
@settings(max_examples=300)
def test_a_true_subtree_is_proved(span: tuple[int, int, int]) -> None:
    start, end, size = span
    proof = subtree_proof(tree.reader_of(LEAVES), start, end, size)
    verify_subtree((start, end), size, defined(LEAVES[start:end]), proof, defined(LEAVES[:size]))


@given(spans(), st.data())
def test_nothing_false_is_proved(span: tuple[int, int, int], data: st.DataObject) -> None:
    start, end, size = span
    proof = list(subtree_proof(tree.reader_of(LEAVES), start, end, size))
    part, root = defined(LEAVES[start:end]), defined(LEAVES[:size])
    what = data.draw(st.sampled_from(["part", "root", "longer", *(["hash", "shorter"] if proof else [])]))
    if what == "part":
        part = tree.hash_leaf(b"another")
    elif what == "root":
        root = tree.hash_leaf(b"another")
    elif what == "longer":
        proof.append(root)
    elif what == "shorter":
        proof.pop(data.draw(st.integers(0, len(proof) - 1)))
    else:
        proof[data.draw(st.integers(0, len(proof) - 1))] = tree.hash_leaf(b"another")
    with pytest.raises(ProofError):
        verify_subtree((start, end), size, part, proof, root)


@pytest.mark.parametrize(("old", "new"), [(1, 1), (1, 2), (3, 7), (256, 700), (300, 301), (511, 640)])
def test_from_the_beginning_it_is_the_consistency_proof_of_rfc_9162(old: int, new: int) -> None:
    read = tree.reader_of(LEAVES)
    assert subtree_proof(read, 0, old, new) == tree.consistency_proof(read, old, new)


@pytest.mark.parametrize("index", [0, 1, 299])
def test_of_one_leaf_it_is_the_inclusion_proof(index: int) -> None:
    read = tree.reader_of(LEAVES)
    assert subtree_proof(read, index, index + 1, 300) == tree.inclusion_proof(read, index, 300)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (1, 3), (4, 9), (-1, 1), (6, 5)])
def test_what_is_no_subtree_is_refused(start: int, end: int) -> None:
    assert not is_subtree(start, end)
    with pytest.raises(ProofError):
        verify_subtree((start, end), 16, LEAVES[0], (), LEAVES[0])
