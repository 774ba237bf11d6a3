"""Merkle hashing and proofs against RFC 6962 examples and the transparency-dev vectors."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import Any

import pytest
from ledger_kit import SHARED

from hanse.ledger.errors import ProofError
from hanse.ledger.tree import (
    EMPTY_ROOT,
    consistency_proof,
    hash_children,
    hash_leaf,
    inclusion_proof,
    reader_of,
    root,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The example tree of RFC 6962 section 2.1.3 has seven leaves d0..d6.
LEAVES = [hash_leaf(b"d%d" % at) for at in range(7)]


def vectors(kind: str) -> list[dict[str, Any]]:
    path = SHARED / "data" / "tlog" / f"{kind}.json.gz"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return json.loads(gzip.decompress(path.read_bytes()))


def raw(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def test_the_empty_tree_hashes_to_the_hash_of_nothing() -> None:
    assert EMPTY_ROOT == hashlib.sha256().digest() == root_of([]) == root(reader_of([]), 0)


def test_the_tree_of_rfc_6962_section_2_1_3() -> None:
    a, b, c, d, e, f, j = LEAVES
    g, h, i = hash_children(a, b), hash_children(c, d), hash_children(e, f)
    k = hash_children(g, h)
    whole = hash_children(k, hash_children(i, j))
    read = reader_of(LEAVES)
    assert root_of(LEAVES) == root(read, 7) == whole
    assert inclusion_proof(read, 0, 7) == (b, h, hash_children(i, j))
    assert inclusion_proof(read, 3, 7) == (c, g, hash_children(i, j))
    assert inclusion_proof(read, 4, 7) == (f, j, k)
    assert inclusion_proof(read, 6, 7) == (i, k)
    assert consistency_proof(read, 3, 7) == (c, d, g, hash_children(i, j))
    assert consistency_proof(read, 4, 7) == (hash_children(i, j),)
    assert consistency_proof(read, 6, 7) == (i, j, k)


@pytest.mark.parametrize("number", range(98))
def test_inclusion_vectors(number: int) -> None:
    vector = vectors("inclusion")[number]["content"]
    proof = [raw(item) for item in vector["proof"] or []]
    refused = False
    try:
        verify_inclusion(vector["leafIdx"], vector["treeSize"], raw(vector["leafHash"]), proof, raw(vector["root"]))
    except ProofError:
        refused = True
    assert refused is vector["wantErr"]


@pytest.mark.parametrize("number", range(98))
def test_consistency_vectors(number: int) -> None:
    vector = vectors("consistency")[number]["content"]
    proof = [raw(item) for item in vector["proof"] or []]
    refused = False
    try:
        verify_consistency(vector["size1"], vector["size2"], proof, raw(vector["root1"]), raw(vector["root2"]))
    except ProofError:
        refused = True
    assert refused is vector["wantErr"]


@pytest.mark.parametrize("new", [0, 1])
def test_nothing_is_consistent_from_size_zero(new: int) -> None:
    """Size 0 is for protocols to decide; the verifier proves nothing about it."""
    with pytest.raises(ProofError, match="from 0"):
        verify_consistency(0, new, [], EMPTY_ROOT, EMPTY_ROOT)


def test_a_fork_at_equal_size_is_named() -> None:
    with pytest.raises(ProofError, match="forked"):
        verify_consistency(2, 2, [], root_of(LEAVES[:2]), root_of(LEAVES[1:3]))
