"""Merkle trees as RFC 6962 section 2.1 and RFC 9162 section 2.1 define them: hashes, proofs, verification.

`hash reader + (index, size) -> proof -> verified`. A reader returns the hash of a *complete* subtree; all other hashes
are folded from those. Size 0 is a matter of protocols, not of proofs: nothing is included in an empty tree, and every
tree is consistent with it without proof, so both verifiers refuse size 0 (who means "from nothing" does not ask).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from hanse.core.errors import invariant
from hanse.ledger.errors import ProofError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
MAX_PROOF_HASHES = 64
"""No tree with a 64-bit size needs more."""

Reader = Callable[[int, int], bytes]
"""(level, index) -> hash of the complete subtree over leaves ``index << level`` up to ``(index + 1) << level``."""
Range = tuple[int, int]
"""Leaves from the first number up to, and without, the second."""
Node = tuple[int, int]
"""(level, index) of a complete subtree."""


def hash_leaf(entry: bytes) -> bytes:
    """Hash an entry: SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Root of a tree over leaf (or equal-height subtree) hashes; the hash of nothing for none."""
    if not hashes:
        return EMPTY_ROOT
    row = list(hashes)
    while len(row) > 1:
        paired = [hash_children(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        if len(row) % 2:
            paired.append(row[-1])
        row = paired
    return row[0]


def reader_of(leaf_hashes: Sequence[bytes]) -> Reader:
    """Read subtrees of a tree whose leaf hashes are at hand (for small trees)."""

    def read(level: int, index: int) -> bytes:
        start = index << level
        return root_of(leaf_hashes[start : start + (1 << level)])

    return read


def inclusion_ranges(index: int, size: int) -> tuple[Range, ...]:
    """Which subtrees an inclusion proof consists of, from the leaf's sibling up (RFC 9162 section 2.1.3.1)."""
    invariant(0 <= index < size, f"no leaf {index} in a tree of {size}")
    siblings: list[Range] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            siblings.append((middle, high))
            high = middle
        else:
            siblings.append((low, middle))
            low = middle
    return tuple(reversed(siblings))


def consistency_ranges(old: int, new: int) -> tuple[Range, ...]:
    """Which subtrees a consistency proof consists of (RFC 9162 section 2.1.4.1), for 0 < old <= new."""
    invariant(0 < old <= new, f"no consistency proof from {old} to {new}")
    siblings: list[Range] = []
    low, high = 0, new
    is_whole_old_tree = True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            siblings.append((middle, high))
            high = middle
        else:
            siblings.append((low, middle))
            low = middle
            is_whole_old_tree = False
    if not is_whole_old_tree:
        siblings.append((low, high))
    return tuple(reversed(siblings))


def nodes_of(span: Range) -> tuple[Node, ...]:
    """Complete subtrees, left to right, that make up a range whose start is aligned to its largest part."""
    start, end = span
    nodes: list[Node] = []
    while start < end:
        level = (end - start).bit_length() - 1
        invariant(start % (1 << level) == 0, f"range {span} is not aligned")
        nodes.append((level, start >> level))
        start += 1 << level
    return tuple(nodes)


def range_hash(read: Reader, span: Range) -> bytes:
    """Hash of the subtree over a range."""
    *lefts, last = nodes_of(span)
    folded = read(*last)
    for node in reversed(lefts):
        folded = hash_children(read(*node), folded)
    return folded


def root(read: Reader, size: int) -> bytes:
    """Root of the tree of the first `size` leaves."""
    return range_hash(read, (0, size)) if size else EMPTY_ROOT


def inclusion_proof(read: Reader, index: int, size: int) -> tuple[bytes, ...]:
    """Prove that leaf `index` is in the tree of `size` leaves: sibling hashes from the leaf up."""
    return tuple(range_hash(read, span) for span in inclusion_ranges(index, size))


def consistency_proof(read: Reader, old: int, new: int) -> tuple[bytes, ...]:
    """Prove that the tree of `new` leaves extends the tree of `old` leaves."""
    return tuple(range_hash(read, span) for span in consistency_ranges(old, new))


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root_hash: bytes) -> None:
    """Check an inclusion proof (RFC 9162 section 2.1.3.2). Raises ProofError that says what does not hold."""
    _check_shapes((leaf_hash, root_hash), proof)
    if not 0 <= index < size:
        raise ProofError(f"index {index} is not in a tree of {size} entries")
    position, last = index, size - 1
    folded = leaf_hash
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if position & 1 or position == last:
            folded = hash_children(sibling, folded)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            folded = hash_children(folded, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofError("the inclusion proof is too short")
    if folded != root_hash:
        raise ProofError(f"the inclusion proof of index {index} does not lead to the root of the {size} entries")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check a consistency proof (RFC 9162 section 2.1.4.2). Raises ProofError that says what does not hold."""
    if not 0 < old <= new:
        raise ProofError(f"no consistency proof leads from {old} to {new} entries")
    if old == new:
        _check_same(proof, old_root, new_root)
        return
    _check_shapes((old_root, new_root), proof)
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path or not proof:
        raise ProofError("the consistency proof is empty")
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    folded_old = folded_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if position & 1 or position == last:
            folded_old = hash_children(sibling, folded_old)
            folded_new = hash_children(sibling, folded_new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            folded_new = hash_children(folded_new, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofError("the consistency proof is too short")
    if folded_old != old_root:
        raise ProofError(f"the consistency proof does not lead to the root of the first {old} entries")
    if folded_new != new_root:
        raise ProofError(f"the consistency proof does not lead to the root of the {new} entries")


def _check_same(proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    if proof:
        raise ProofError("the consistency proof between equal sizes must be empty")
    if old_root != new_root:
        raise ProofError("two different roots for one size: the log was forked")


def _check_shapes(roots: Sequence[bytes], proof: Sequence[bytes]) -> None:
    if len(proof) > MAX_PROOF_HASHES:
        raise ProofError(f"a proof of {len(proof)} hashes is longer than any tree is high")
    if any(len(item) != HASH_BYTES for item in (*roots, *proof)):
        raise ProofError("a hash is not 32 bytes long")


def _split(size: int) -> int:
    """The largest power of two smaller than `size` (for size > 1)."""
    return 1 << ((size - 1).bit_length() - 1)
