"""Shared by the ledger's tests: the records of the benchmark, policies about them, and receipts made of them."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benches.ledger_records import (
    CONTROLLER,
    INSTANCE,
    LOG_SIGNERS,
    NODE,
    NOW,
    ORIGIN,
    SITE,
    DictStore,
    FixedClock,
    ed_signer,
    plan,
    pq_signer,
    sealed_order,
    sealed_report,
    story,
    workload,
)

from hanse.ledger import policy_text, show_placement, tree, write_receipt
from hanse.ledger.checkpoint import Checkpoint
from hanse.ledger.cosignature import log_key, sign_checkpoint
from hanse.ledger.note import VerifierKey
from hanse.ledger.proof import TlogProof
from hanse.ledger.quorum import Policy, load_policy
from hanse.ledger.receipt import ProvenEntry

__all__ = [
    "CONTROLLER",
    "INSTANCE",
    "LOG_KEYS",
    "LOG_SIGNERS",
    "NODE",
    "NOW",
    "ORIGIN",
    "SHARED",
    "SITE",
    "STRANGER",
    "DictStore",
    "EdSigner",
    "FixedClock",
    "PqSigner",
    "bundle",
    "plan",
    "policy",
    "policy_bytes",
    "run",
    "sample",
    "sealed_order",
    "sealed_report",
    "story",
    "workload",
]

T = TypeVar("T")

SHARED = Path(os.environ.get("HANSE_SHARED", Path(__file__).parents[3] / "shared"))
EdSigner, PqSigner = ed_signer, pq_signer
STRANGER = EdSigner(5)
LOG_KEYS = tuple(log_key(ORIGIN, signer.algorithm, signer.public_key) for signer in LOG_SIGNERS)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def policy() -> Policy:
    return load_policy(policy_bytes())


def policy_bytes(keys: Sequence[VerifierKey] = LOG_KEYS) -> bytes:
    return policy_text(keys[0], keys[1:], [CONTROLLER.public_key])


def bundle(entries: Sequence[bytes], *, order: bytes | None = None, is_whole: bool = True, filler: int = 20) -> bytes:
    """A receipt of three entries in a tree that holds `filler` others around them."""
    others = [b"other %d" % at for at in range(filler)]
    leaves = [*others[: filler // 2], *entries, *others[filler // 2 :]]
    hashes = [tree.hash_leaf(leaf) for leaf in leaves]
    checkpoint = Checkpoint(origin=ORIGIN, size=len(leaves), root=tree.root_of(hashes))
    note = sign_checkpoint(checkpoint, LOG_SIGNERS, NOW)
    read = tree.reader_of(hashes)
    proven = [
        ProvenEntry(
            entry=leaves[index],
            proof=TlogProof(index=index, hashes=tree.inclusion_proof(read, index, len(leaves)), checkpoint=note),
        )
        for index in range(filler // 2, filler // 2 + 3)
    ]
    return write_receipt(
        *proven,
        sealed_order=(sealed_order() if order is None else order) if is_whole else None,
        placement=show_placement(plan(), INSTANCE) if is_whole else None,
    )


@functools.cache
def sample() -> bytes:
    """A complete, true receipt; the same bytes at each call (ML-DSA signatures are randomised)."""
    return bundle(story())
