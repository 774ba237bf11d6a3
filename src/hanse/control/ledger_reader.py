"""Read a log from its store: entries, proofs, receipts, and a full check of every file.

`store + committed size -> entries, proofs, findings`. Writes nothing, takes no part in who may write: the auditor's
commands use it on a stopped domain, the writer on a running one. Everything read is checked against the signed
checkpoint by whoever opens it (`LedgerWriter.open`, `fsck`), and by proofs themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from hanse.core.errors import WireError
from hanse.core.ids import InstanceId
from hanse.core.plan import Plan
from hanse.core.ports import Entry
from hanse.core.snapshot import Phase
from hanse.ledger import tree
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import verify_lines
from hanse.ledger.errors import EntryNotFound, LedgerDamaged, LedgerFormatError, ProofError
from hanse.ledger.note import VerifierKey, parse
from hanse.ledger.predicates import Decision, OrderIssued, ReceiptTaken
from hanse.ledger.proof import TlogProof
from hanse.ledger.receipt import ProvenEntry, show_placement, write_receipt
from hanse.ledger.statement import expect, peek_statement
from hanse.ledger.subtree import subtree_ranges
from hanse.ledger.tiles import (
    BUCKET,
    CHECKPOINT_KEY,
    WIDTH,
    TileName,
    bundle_at,
    bundles_of,
    decode_bundle,
    node_in,
    tile_of_node,
)
from hanse.wire import canonical, envelope
from hanse.wire.messages import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The committed state of a log: its signed checkpoint as stored, read, and the store's revision of it."""

    note: bytes
    checkpoint: Checkpoint
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Indices of the three entries that a placement receipt is made of."""

    decision: int
    order: int
    report: int


class Files(Protocol):
    """The reading half of a `Store`: an auditor's copy of a log has no other."""

    async def get(self, bucket: str, key: str) -> Entry | None:
        """Read one file; None if it is not there. Raises StoreError."""
        ...


class LedgerReader:
    """Reads one log. `keys`: the log's own verifier keys, each of which must have signed the checkpoint; `bucket`:
    where its files lie, which for a mirrored log is a bucket of its own."""

    def __init__(self, store: Files, origin: str, keys: Sequence[VerifierKey], bucket: str = BUCKET) -> None:
        self._store = store
        self._bucket = bucket
        self._origin = origin
        self._keys = tuple(keys)

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """Keys that must all have signed the checkpoint."""
        return self._keys

    async def raw(self, key: str) -> bytes | None:
        """A file beside the tree as it is, unchecked; None if it is not there. Raises StoreError."""
        stored = await self._store.get(self._bucket, key)
        return None if stored is None else stored.value

    async def head(self) -> Head | None:
        """The committed checkpoint; None for a log that was never opened. Raises LedgerDamaged, StoreError."""
        stored = await self._store.get(self._bucket, CHECKPOINT_KEY)
        if stored is None or stored.value is None:
            return None
        try:
            note = parse(stored.value)
            checkpoint = parse_checkpoint(note.text)
            held = {line.key for line in verify_lines(note, self._keys)}
        except LedgerFormatError as error:
            raise LedgerDamaged(f"checkpoint: {error.message}", context={"path": CHECKPOINT_KEY}) from error
        if checkpoint.origin != self._origin:
            raise LedgerDamaged(
                f"checkpoint: it is of the log {checkpoint.origin!r}, not of {self._origin!r}",
                hint="the state directory belongs to another domain; start with the right one",
                context={"path": CHECKPOINT_KEY},
            )
        lacking = [f"{key.name} ({key.id.hex()})" for key in self._keys if key not in held]
        if lacking:
            raise LedgerDamaged(
                f"checkpoint: it lacks the signature of {', '.join(lacking)}",
                hint="restore the domain's ledger keys, or the checkpoint from a mirror or a backup",
                context={"path": CHECKPOINT_KEY},
            )
        return Head(note=stored.value, checkpoint=checkpoint, revision=stored.revision)

    async def entry(self, index: int, size: int) -> bytes:
        """The entry at an index of the tree of `size` entries. Raises EntryNotFound, LedgerDamaged, StoreError."""
        _check_index(index, size)
        entries = await self.bundle(bundle_at(index // WIDTH, size))
        return entries[index % WIDTH]

    async def entries(self, size: int) -> AsyncIterator[tuple[int, bytes]]:
        """Every entry with its index, newest first. Raises like `entry`."""
        for name in reversed(tuple(bundles_of(size))):
            entries = await self.bundle(name)
            for at in range(len(entries) - 1, -1, -1):
                yield name.index * WIDTH + at, entries[at]

    async def entries_from(self, first: int, limit: int, size: int) -> tuple[bytes, ...]:
        """At most `limit` entries from index `first` on, oldest first. Raises LedgerDamaged, StoreError."""
        last = min(first + limit, size)
        entries: list[bytes] = []
        for index in range(first // WIDTH, -(-last // WIDTH)):
            bundle = await self.bundle(bundle_at(index, size))
            entries += bundle[max(first - index * WIDTH, 0) : last - index * WIDTH]
        return tuple(entries)

    async def prove(self, index: int, head: Head) -> ProvenEntry:
        """An entry with the proof that it is under a checkpoint, verified before it is handed out.

        Raises EntryNotFound, LedgerDamaged, StoreError.
        """
        checkpoint = head.checkpoint
        entry = await self.entry(index, checkpoint.size)
        hashes = await self._hashes(tree.inclusion_ranges(index, checkpoint.size), checkpoint.size)
        try:
            tree.verify_inclusion(index, checkpoint.size, tree.hash_leaf(entry), hashes, checkpoint.root)
        except ProofError as error:
            raise LedgerDamaged(f"entry {index} is not what the checkpoint covers: {error.message}") from error
        return ProvenEntry(entry=entry, proof=TlogProof(index=index, hashes=hashes, checkpoint=head.note))

    async def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Prove that the tree of `new` entries extends the tree of `old`, for 0 < old <= new <= committed size."""
        return await self._hashes(tree.consistency_ranges(old, new), new)

    async def subtree(self, start: int, end: int, size: int) -> tuple[bytes, ...]:
        """Prove that the entries from `start` to `end`, a subtree, stand in the tree of `size` entries."""
        return await self._hashes(subtree_ranges(start, end, size), size)

    async def parts(self, old: int, size: int) -> tuple[bytes, ...]:
        """Hashes of the complete subtrees that the first `old` entries consist of, left to right."""
        return await self._hashes([(at << level, (at + 1) << level) for level, at in tree.nodes_of((0, old))], size)

    async def locate(self, instance: InstanceId, size: int) -> Located:
        """Find the newest report that an instance runs (or the newest of all) with its order and decision.

        Reads the log from its end. Raises EntryNotFound that names what is missing.
        """
        found = _Found(instance)
        async for index, entry in self.entries(size):
            located = found.take(index, entry)
            if located is not None:
                return located
        return found.finish()

    async def receipt(
        self, located: Located, head: Head, *, plan: Plan | None = None, sealed_order: bytes | None = None
    ) -> bytes:
        """Export the receipt of one placement: `plan` and `sealed_order` where their bodies are still at hand.

        A body that is not the one these entries speak of (a newer order, the plan that stopped the instance) is left
        out; the receipt then says so when it is verified. Raises EntryNotFound, LedgerDamaged, StoreError.
        """
        decision = await self.prove(located.decision, head)
        order = await self.prove(located.order, head)
        report = await self.prove(located.report, head)
        issued = expect(peek_statement(order.entry), OrderIssued)
        is_meant = sealed_order is not None and canonical.digest_bytes(sealed_order) == issued.order
        is_placed = (
            plan is not None
            and plan.id == issued.plan
            and any((item.instance, item.node) == (issued.instance, issued.node) for item in plan.assignments)
        )
        return write_receipt(
            decision,
            order,
            report,
            sealed_order=sealed_order if is_meant else None,
            placement=show_placement(plan, issued.instance) if plan is not None and is_placed else None,
        )

    async def tile(self, name: TileName) -> bytes:
        """A hash tile, cut from the full one where the partial one is gone. Raises LedgerDamaged, StoreError."""
        data, width = await self._file(name)
        if len(data) != width * tree.HASH_BYTES:
            raise _damaged(name, f"{len(data)} bytes instead of {width * tree.HASH_BYTES}")
        return data[: name.width * tree.HASH_BYTES]

    async def bundle(self, name: TileName) -> tuple[bytes, ...]:
        """The entries of a bundle, cut from the full one likewise. Raises LedgerDamaged, StoreError."""
        data, width = await self._file(name)
        try:
            return decode_bundle(data, width)[: name.width]
        except LedgerFormatError as error:
            raise _damaged(name, error.message) from error

    async def _file(self, name: TileName) -> tuple[bytes, int]:
        """Bytes and width of a file, or of the full one that has replaced it."""
        for held in (name, name.full):
            stored = await self._store.get(self._bucket, held.key)
            if stored is not None and stored.value is not None:
                return stored.value, held.width
        raise _damaged(name, "the file is missing")

    async def _hashes(self, ranges: Sequence[tree.Range], size: int) -> tuple[bytes, ...]:
        """Fetch each tile that the ranges need once, then fold."""
        tiles: dict[TileName, bytes] = {}
        for span in ranges:
            for node in tree.nodes_of(span):
                name = tile_of_node(node, size)
                if name not in tiles:
                    tiles[name] = await self.tile(name)

        def read(level: int, index: int) -> bytes:
            return node_in(tiles[tile_of_node((level, index), size)], (level, index))

        return tuple(tree.range_hash(read, span) for span in ranges)


class _Found:
    """What a walk from the log's end has met of one instance's story."""

    def __init__(self, instance: InstanceId) -> None:
        self._instance = instance
        self._reports: list[tuple[int, Report]] = []
        self._orders: dict[str, tuple[int, OrderIssued]] = {}
        self._decisions: dict[str, int] = {}

    def take(self, index: int, entry: bytes) -> Located | None:
        """Note one entry; return the story once it is whole and its report says running."""
        try:
            predicate = peek_statement(entry).predicate
        except (WireError, LedgerFormatError):
            return None  # an entry of a kind that only a newer version writes is no part of a placement's story
        match predicate:
            case ReceiptTaken():
                report = _report_of(entry)
                if report.instance == self._instance:
                    self._reports.append((index, report))
            case OrderIssued() as order if order.instance == self._instance:
                self._orders[order.order] = (index, order)
            case Decision() as decision:
                self._decisions[decision.plan] = index
            case _:
                return None
        return self._story([item for item in self._reports if item[1].phase is Phase.RUNNING])

    def finish(self) -> Located:
        """The newest whole story, whatever it says. Raises EntryNotFound."""
        story = self._story(self._reports)
        if story is None:
            lacks = "no report of it" if not self._reports else "not the order and decision behind its report"
            raise EntryNotFound(f"no receipt for {self._instance}: the log holds {lacks}")
        return story

    def _story(self, reports: Sequence[tuple[int, Report]]) -> Located | None:
        for index, report in reports:
            order = self._orders.get(report.order_digest)
            if order is not None and order[1].plan in self._decisions:
                return Located(decision=self._decisions[order[1].plan], order=order[0], report=index)
        return None


def _report_of(entry: bytes) -> Report:
    taken = expect(peek_statement(entry), ReceiptTaken)
    return envelope.peek(taken.report.encode(), Report)


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise EntryNotFound(f"the log has no entry {index}; it holds {size}")


def _damaged(name: TileName, what: str) -> LedgerDamaged:
    return LedgerDamaged(f"{name.path}: {what}", context={"path": name.path})
