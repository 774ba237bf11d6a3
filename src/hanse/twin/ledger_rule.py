"""The transparency log, followed entry by entry as an outside monitor would: `checkpoints -> nothing | Violation`.

It keeps its own tree: every checkpoint must be signed by every key, extend the one before, and hash to the same root
that the entries hash to. Every report has its order, every order its decision.
"""

from __future__ import annotations

from hanse.core.errors import HanseError
from hanse.core.ids import Digest
from hanse.core.ports import Entry
from hanse.ledger import open_statement
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import verify_lines
from hanse.ledger.edge import Edge, grow, leaf_of
from hanse.ledger.note import parse
from hanse.ledger.predicates import Decision, OrderIssued, ReceiptTaken
from hanse.ledger.tiles import BUCKET, CHECKPOINT_KEY, WIDTH, bundle_at, decode_bundle
from hanse.twin.domain import TwinDomain
from hanse.twin.world import Violation, World
from hanse.wire import envelope
from hanse.wire.messages import Report


class LedgerMonitor:
    """Observes `World.ledger` and judges after every batch: a `Checker` and an `Observer`."""

    def __init__(self, domain: TwinDomain) -> None:
        self._origin = domain.origin
        self._keys = domain.ledger_keys
        self._trusted = {domain.controller.key_id: domain.controller.public_key}
        self._notes: list[bytes] = []
        self._edge = Edge()
        self._last: Checkpoint | None = None
        self.decisions: dict[str, int] = {}
        """Plans decided, with the index of the entry."""
        self.orders: dict[Digest, int] = {}
        """Orders issued, by the digest of the sealed order."""
        self.triggers: list[str] = []
        """What each decided plan was made for, in order."""
        self.reasons: list[str] = []
        """Why each order was issued, in order."""
        self.reports = 0

    @property
    def size(self) -> int:
        """Entries that were followed."""
        return self._edge.size

    def tried(self, by: str, bucket: str, key: str) -> None:
        """Only what took effect counts."""

    def changed(self, by: str, entry: Entry) -> None:
        """Keep a checkpoint for judging."""
        if entry.key == CHECKPOINT_KEY and entry.bucket == BUCKET:
            self._notes.append(entry.value or b"")

    def check(self, world: World) -> None:
        """Follow every checkpoint published since the last batch."""
        if not self._notes:
            return
        notes, self._notes = self._notes, []
        for note in notes:
            try:
                self._follow(note, world)
            except HanseError as error:
                raise Violation(f"the ledger does not hold: {error.code}: {error.message}") from error

    def _follow(self, data: bytes, world: World) -> None:
        note = parse(data)
        checkpoint, last = parse_checkpoint(note.text), self._last
        if last is not None and checkpoint == last:
            return
        lines = {held.key for held in verify_lines(note, self._keys)}
        if checkpoint.origin != self._origin or lines != set(self._keys):
            raise Violation(f"checkpoint of {checkpoint.origin} lacks signatures: {len(lines)} of {len(self._keys)}")
        if last is not None and checkpoint.size <= last.size:
            raise Violation(f"the ledger went from {last.size} entries to another tree of {checkpoint.size}")
        entries = self._entries(self._edge.size, checkpoint.size, world)
        self._edge = grow(self._edge, [leaf_of(entry) for entry in entries]).edge
        if self._edge.root != checkpoint.root:
            raise Violation(f"checkpoint {checkpoint.size} does not extend the one before: another root")
        first = checkpoint.size - len(entries)
        for at, entry in enumerate(entries):
            self._read(entry, first + at)
        self._last = checkpoint
        world.trace.note("checkpoint", checkpoint.size, checkpoint.root.hex())

    def _entries(self, first: int, size: int, world: World) -> list[bytes]:
        found: list[bytes] = []
        for index in range(first // WIDTH, -(-size // WIDTH)):
            name = bundle_at(index, size)
            file = world.ledger.get(BUCKET, name.key)
            if file is None or file.value is None:
                raise Violation(f"checkpoint {size} covers {name.path}, which is missing")
            found += decode_bundle(file.value, name.width)[max(0, first - index * WIDTH) :]
        return found

    def _read(self, entry: bytes, index: int) -> None:
        match open_statement(entry, self._trusted).predicate:
            case Decision() as decision:
                self.decisions.setdefault(decision.plan, index)
                self.triggers.append(decision.trigger)
            case OrderIssued() as order:
                if order.plan not in self.decisions:
                    raise Violation(f"entry {index}: order {order.instance} of plan {order.plan}, never decided here")
                self.orders.setdefault(order.order, index)
                self.reasons.append(order.reason)
            case ReceiptTaken() as taken:
                report = envelope.peek(taken.report.encode(), Report)
                if report.order_digest and report.order_digest not in self.orders:
                    raise Violation(
                        f"entry {index}: {report.node} reports {report.instance} {report.phase} under order "
                        f"{report.order_digest[:23]} of generation {report.generation}, which is not in the ledger"
                    )
                self.reports += 1
            case _:
                pass
