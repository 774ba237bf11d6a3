"""Every planted bug is caught: a simulator that finds none of them proves nothing.

Each bug breaks one rule of the product by one patch. The scenario beside it holds without the patch
(`test_fabric_scenarios`) and must fail with it, by the checker that is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

import hanse.control.journal as journal
import hanse.control.ledger_writer as ledger_writer
import hanse.control.pipeline as pipeline
import hanse.node.agent as agent
import hanse.rollout.decide as decide
from hanse.control import orders, routes
from hanse.control.lease import Held, LeaseKeeper
from hanse.control.liveness import Liveness
from hanse.control.state import FabricState
from hanse.core.errors import ConflictError
from hanse.core.snapshot import Reach
from hanse.core.time import HOUR_US
from hanse.node.disk import NodeDisk
from hanse.node.outbox import Outbox
from hanse.twin.package import shipped_settings
from hanse.twin.ports.signer import ed25519
from hanse.twin.run import ScenarioFailed, play, scenario_named
from hanse.wire import envelope
from hanse.wire.messages import Order
from hanse.wire.subjects import ORDERS

Patch = Callable[[pytest.MonkeyPatch], None]
SETTINGS = shipped_settings()


@dataclass(frozen=True)
class Bug:
    """One broken rule, the scenario that shows it, and a pattern of what must be said."""

    name: str
    plant: Patch
    scenario: str
    says: str
    seed: int = 1


def _vanished_order_stops_work(patch: pytest.MonkeyPatch) -> None:
    async def watch(self: agent.NodeAgent) -> None:
        async for entry in self._ports.store.watch(ORDERS, self._me):
            if entry is None:
                continue
            if entry.value is None:
                self._held.pop(entry.key.partition(".")[2], None)
            else:
                order = envelope.peek(entry.value, Order)
                found = agent.judge(
                    entry.value,
                    key=entry.key,
                    me=self._me,
                    held=self._held,
                    trusted=self._config.controller_keys,
                    now=self._ports.clock.wall(),
                )
                if isinstance(found, agent.Held):
                    await self._disk.keep_order(found)
                    self._held[order.instance] = found
            self._wake.set()

    patch.setattr(agent.NodeAgent, "_watch_orders", watch)


def _old_generations_are_taken(patch: pytest.MonkeyPatch) -> None:
    good = agent.judge
    patch.setattr(agent, "judge", lambda sealed, **named: good(sealed, **{**named, "held": {}}))


def _any_signature_is_taken(patch: pytest.MonkeyPatch) -> None:
    good, forger = agent.judge, ed25519(b"\x07" * 32)
    stranger = {forger.key_id: forger.public_key}
    patch.setattr(
        agent, "judge", lambda sealed, **named: good(sealed, **{**named, "trusted": {**named["trusted"], **stranger}})
    )


def _orders_expire_early(patch: pytest.MonkeyPatch) -> None:
    good = agent.wanted_here
    patch.setattr(agent, "wanted_here", lambda held, *, now: good(held, now=now + 23 * HOUR_US + HOUR_US // 2))


def _disk_is_not_read(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: NodeDisk, **_: object) -> dict[str, object]:
        return {}

    patch.setattr(NodeDisk, "load_orders", nothing)


def _reports_are_sent_once(patch: pytest.MonkeyPatch) -> None:
    async def deliver(self: Outbox, bucket: str, key: str, sealed: bytes) -> None:
        try:
            await self._ports.store.put(bucket, key, sealed)
        except Exception:
            return

    patch.setattr(Outbox, "deliver", deliver)


def _silence_counts_while_disconnected(patch: pytest.MonkeyPatch) -> None:
    def listening(self: Liveness, is_connected: bool, now: int) -> None:
        if self._listening_since is None:
            self._listening_since = now

    patch.setattr(Liveness, "listening", listening)


def _restarted_counters_are_ignored(patch: pytest.MonkeyPatch) -> None:
    good = Liveness.heard

    def heard(self: Liveness, beat: object, now: int) -> bool:
        last = self._last.get(beat.node)
        if last is not None and (beat.incarnation, beat.sequence) <= (last.incarnation, last.sequence):
            return False
        return good(self, beat, now)

    patch.setattr(Liveness, "heard", heard)


def _stops_before_starts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "_why_stay", lambda *_, **__: None)


def _rollout_does_not_look_at_reach(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide._Case, "reach_of", lambda *_: Reach.READY)


def _journal_forgets_an_order(patch: pytest.MonkeyPatch) -> None:
    good = journal.Journal._unstated

    def unstated(self: journal.Journal, state: FabricState) -> object:
        return (row for row in good(self, state) if not (row[0] == ORDERS and "cart.1." in row[1]))

    patch.setattr(journal.Journal, "_unstated", unstated)


def _journal_forgets_decisions(patch: pytest.MonkeyPatch) -> None:
    good = journal.Journal._unstated

    def unstated(self: journal.Journal, state: FabricState) -> object:
        return (row for row in good(self, state) if row[0] != "plans")

    patch.setattr(journal.Journal, "_unstated", unstated)


def _checkpoint_of_another_tree(patch: pytest.MonkeyPatch) -> None:
    good = ledger_writer.sign_checkpoint

    def sign(checkpoint: object, signers: object, now: int) -> bytes:
        is_late = checkpoint.size > 20
        return good(replace(checkpoint, root=b"\x01" * 32) if is_late else checkpoint, signers, now)

    patch.setattr(ledger_writer, "sign_checkpoint", sign)


def _lease_ignores_the_term(patch: pytest.MonkeyPatch) -> None:
    good = LeaseKeeper.step

    async def step(self: LeaseKeeper) -> bool:
        entry = await self._store.get("leases", "controller")
        if entry is None or entry.value is None:
            return await good(self)
        lease = self._read(entry.value)
        self._held = Held(lease=lease, revision=entry.revision, seen_at=0)
        return await self._write(self._next(lease), entry.revision)

    patch.setattr(LeaseKeeper, "step", step)


def _lost_race_still_leads(patch: pytest.MonkeyPatch) -> None:
    good = LeaseKeeper.step

    async def step(self: LeaseKeeper) -> bool:
        await good(self)
        self._renewed_at = self._clock.monotonic()
        return True

    patch.setattr(LeaseKeeper, "step", step)


def _generations_begin_anew(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(orders, "last_generation", lambda order, report: 0 if order is None else order.generation)


def _lost_orders_stay_lost(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> bool:
        return False

    patch.setattr(pipeline.Pipeline, "_restore_orders", nothing)
    patch.setattr(FabricState, "is_spoiled", lambda *_: False)


def _facts_are_read_once(patch: pytest.MonkeyPatch) -> None:
    good, first = pipeline.screen, {}

    def screen(workloads: object, fabric: object, packs: object, now: int, cache: object, **named: object) -> object:
        if len(workloads) >= 3:
            fabric = first.setdefault("fabric", fabric)
        return good(workloads, fabric, packs, now, cache, **named)

    patch.setattr(pipeline, "screen", screen)


def _routes_forget_the_living(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(routes, "SERVING", ())


def _conflicts_are_written_over(patch: pytest.MonkeyPatch) -> None:
    good = LeaseKeeper._write

    async def write(self: LeaseKeeper, lease: object, expected: int) -> bool:
        for revision in (expected, None):
            try:
                asked = self._clock.monotonic()
                got = await self._store.put("leases", "controller", envelope.seal(lease, self._signer), revision)
            except ConflictError:
                continue
            self._held, self._renewed_at = Held(lease=lease, revision=got, seen_at=asked), asked
            return True
        return await good(self, lease, expected)

    patch.setattr(LeaseKeeper, "_write", write)


BUGS = (
    Bug("node stops work when its order key vanishes", _vanished_order_stops_work, "tampered-store", "by itself"),
    Bug("node accepts old generations", _old_generations_are_taken, "tampered-store", "under order 1 after"),
    Bug("node trusts a stranger", _any_signature_is_taken, "tampered-store", "by itself|should have moved"),
    Bug("node takes an order as expired early", _orders_expire_early, "clock-step", "by itself"),
    Bug("node does not read its disk", _disk_is_not_read, "island", "the island serves all its work again"),
    Bug("node sends each report once", _reports_are_sent_once, "late-report", "not converged"),
    Bug("liveness counts silence while disconnected", _silence_counts_while_disconnected, "substrate-outage", "moved"),
    Bug("liveness ignores restarted counters", _restarted_counters_are_ignored, "node-crash", "not converged", seed=2),
    Bug("rollout stops before it starts", _stops_before_starts, "leader-crash-mid-rollout", "is stopped"),
    Bug("rollout does not look at reach", _rollout_does_not_look_at_reach, "island", "silent for"),
    Bug("journal forgets an order", _journal_forgets_an_order, "steady", "not in the ledger"),
    Bug("journal forgets decisions", _journal_forgets_decisions, "steady", "never decided here"),
    Bug(
        "a checkpoint covers another tree", _checkpoint_of_another_tree, "steady", "does not extend|LedgerDamaged|hold"
    ),
    Bug("lease ignores the term", _lease_ignores_the_term, "substrate-outage", "took the lease"),
    Bug("who loses the lease leads on", _lost_race_still_leads, "substrate-outage", "in the term of|not one leader"),
    Bug("the lease is written over", _conflicts_are_written_over, "substrate-outage", "took the lease|follows term"),
    Bug("generations begin anew", _generations_begin_anew, "tampered-store", "written over"),
    Bug("lost orders stay lost", _lost_orders_stay_lost, "tampered-store", "not ordered|not the newest"),
    Bug("facts are read once", _facts_are_read_once, "operator-takeover", "under the new control|lost its ground"),
    Bug("routes forget who lives", _routes_forget_the_living, "steady", "not routed"),
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_planted_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)
    with pytest.raises(ScenarioFailed) as failed:
        play(scenario_named(bug.scenario), seed=bug.seed, settings=SETTINGS, seconds=20)
    said = str(failed.value).splitlines()[1]
    assert re.search(bug.says, said), said
