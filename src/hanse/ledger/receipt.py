"""The receipt of one placement: a file that proves, offline, who decided, who ordered and who ran what, and why there.

`entries + proofs -> receipt bytes`. Reading is strict: a receipt has exactly one spelling, so that no byte of it is
without meaning. Judging it is `hanse.ledger.verify`.

It holds three log entries (the decision, the order, the node's report), each with its own tlog-proof against one and
the same checkpoint, so that any tool that reads C2SP formats can check each part. Beside them, where the exporter still
has them: the sealed order, and the placement with its reasons under the decision's own Merkle root.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from hanse.core.errors import WireError
from hanse.core.ids import InstanceId
from hanse.core.plan import Plan
from hanse.ledger import tree
from hanse.ledger.errors import EntryNotFound, LedgerFormatError
from hanse.ledger.note import unbase64
from hanse.ledger.proof import TlogProof
from hanse.ledger.statement import placement_leaves
from hanse.wire import canonical

MAX_RECEIPT_BYTES = 2 << 20


class Logged(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry of the log and its proof, both as text."""

    entry: str
    proof: str
    """A whole ``.tlog-proof`` file."""


class PlacementShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One leaf of the decision's placement tree, with its inclusion proof there."""

    placement: str
    """Canonical JSON of a `hanse.ledger.statement.Placement`."""
    index: int
    hashes: tuple[str, ...]


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="placement-receipt.v1"):
    """The file."""

    decision: Logged
    order: Logged
    report: Logged
    sealed_order: str | None = None
    placement: PlacementShown | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenEntry:
    """An entry and the proof that it is in the log."""

    entry: bytes
    proof: TlogProof


def write_receipt(
    decision: ProvenEntry,
    order: ProvenEntry,
    report: ProvenEntry,
    *,
    sealed_order: bytes | None = None,
    placement: PlacementShown | None = None,
) -> bytes:
    """Write the receipt of one placement. `sealed_order` and `placement` where their bodies are still at hand."""
    return _spell(
        Receipt(
            decision=_logged(decision),
            order=_logged(order),
            report=_logged(report),
            sealed_order=None if sealed_order is None else sealed_order.decode(),
            placement=placement,
        )
    )


def show_placement(plan: Plan, instance: InstanceId) -> PlacementShown:
    """Cut one placement out of a plan, with the proof that it is under the decision's root. Raises EntryNotFound."""
    leaves = placement_leaves(plan)
    instances = sorted(item.instance for item in plan.assignments)
    if instance not in instances:
        raise EntryNotFound(f"plan {plan.id} does not place {instance}")
    index = instances.index(instance)
    read = tree.reader_of([tree.hash_leaf(leaf) for leaf in leaves])
    return PlacementShown(
        placement=leaves[index].decode(),
        index=index,
        hashes=_texts(tree.inclusion_proof(read, index, len(leaves))),
    )


def read_receipt(data: bytes) -> Receipt:
    """Read a receipt strictly, judging nothing. Raises LedgerFormatError."""
    if len(data) > MAX_RECEIPT_BYTES:
        raise LedgerFormatError(f"a receipt of {len(data)} bytes is over the limit of {MAX_RECEIPT_BYTES}")
    try:
        receipt = canonical.decode(data, Receipt)
    except WireError as error:
        raise LedgerFormatError(error.message) from error
    if _spell(receipt) != data:
        raise LedgerFormatError("the receipt is not in its canonical spelling: it was edited or reformatted")
    return receipt


def placement_hashes(shown: PlacementShown) -> tuple[bytes, ...]:
    """The proof of a shown placement. Raises LedgerFormatError."""
    return tuple(unbase64(text) for text in shown.hashes)


def _spell(receipt: Receipt) -> bytes:
    """One line per field, sorted, and a newline at the end: the one spelling."""
    return msgspec.json.format(canonical.encode(receipt), indent=1) + b"\n"


def _logged(proven: ProvenEntry) -> Logged:
    return Logged(entry=proven.entry.decode(), proof=proven.proof.encode().decode())


def _texts(hashes: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(base64.b64encode(item).decode() for item in hashes)
