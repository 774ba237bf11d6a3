"""Subtree consistency: that a run of leaves stands in a tree (IETF draft-ietf-plants-merkle-tree-certs section 4.4).

`(start, end, size) -> proof -> verified`. A subtree covers the leaves from `start` up to, and without, `end`, where
`start` is a multiple of the least power of two that is no smaller than their number. A consistency proof of RFC 9162 is
the case ``start = 0``, and an inclusion proof the case of one leaf.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from hanse.core.errors import invariant
from hanse.ledger.errors import ProofError
from hanse.ledger.tree import HASH_BYTES, Range, Reader, hash_children, range_hash

MAX_PROOF_HASHES = 63
"""What tlog-mirror allows in an entry package; a tree of 2^63 entries needs no more."""


class _Turn(Enum):
    """Where a subtree lies in a node of the tree."""

    LEFT = "in the left child"
    RIGHT = "in the right child"
    BOTH = "all of the left child and a part of the right one"


def is_subtree(start: int, end: int) -> bool:
    """Tell whether ``[start, end)`` is a subtree: not empty, and aligned to its own size."""
    return 0 <= start < end and start % (1 << (end - start - 1).bit_length()) == 0


def subtree_proof(read: Reader, start: int, end: int, size: int) -> tuple[bytes, ...]:
    """Prove that a subtree stands in the tree of `size` leaves: hashes from the bottom up."""
    return tuple(range_hash(read, span) for span in subtree_ranges(start, end, size))


def subtree_ranges(start: int, end: int, size: int) -> tuple[Range, ...]:
    """Which ranges the proof's hashes are of, from the bottom up."""
    turns, span, is_whole = _descend(start, end, size)
    siblings = [sibling for _, sibling in turns]
    return tuple(reversed([*siblings] if is_whole else [*siblings, span]))


def verify_subtree(span: Range, size: int, subtree_hash: bytes, proof: Sequence[bytes], root_hash: bytes) -> None:
    """Check that the subtree over a range of leaves has this hash, and the tree this root. Raises ProofError."""
    start, end = span
    if not is_subtree(start, end) or end > size:
        raise ProofError(f"[{start}, {end}) is no subtree of a tree of {size} entries")
    if any(len(item) != HASH_BYTES for item in (subtree_hash, root_hash, *proof)):
        raise ProofError("a hash is not 32 bytes long")
    turns, _, is_whole = _descend(start, end, size)
    if len(proof) != len(turns) + (not is_whole):
        raise ProofError(f"the subtree proof has {len(proof)} hashes instead of {len(turns) + (not is_whole)}")
    siblings = list(proof)
    part = root = subtree_hash if is_whole else siblings.pop(0)
    for (turn, _), sibling in zip(reversed(turns), siblings, strict=True):
        match turn:
            case _Turn.LEFT:
                root = hash_children(root, sibling)
            case _Turn.RIGHT:
                root = hash_children(sibling, root)
            case _Turn.BOTH:
                part, root = hash_children(sibling, part), hash_children(sibling, root)
    if part != subtree_hash:
        raise ProofError(f"the entries [{start}, {end}) are not those of the tree")
    if root != root_hash:
        raise ProofError(f"the proof of the entries [{start}, {end}) does not lead to the root of the {size} entries")


def _descend(start: int, end: int, size: int) -> tuple[list[tuple[_Turn, Range]], Range, bool]:
    """The way from the root to the subtree: turns with the sibling at each, the node reached, and whether the node is
    the subtree itself (or only its right part, whose hash the proof must then bring)."""
    invariant(is_subtree(start, end) and end <= size, f"[{start}, {end}) is no subtree of {size}")
    turns: list[tuple[_Turn, Range]] = []
    low, high, is_whole = 0, size, True
    while (start, end) != (low, high):
        middle = low + (1 << ((high - low - 1).bit_length() - 1))
        if end <= middle:
            turns.append((_Turn.LEFT, (middle, high)))
            high = middle
        elif start >= middle:
            turns.append((_Turn.RIGHT, (low, middle)))
            low = middle
        else:
            turns.append((_Turn.BOTH, (low, middle)))
            low = start = middle
            is_whole = False
    return turns, (low, high), is_whole
