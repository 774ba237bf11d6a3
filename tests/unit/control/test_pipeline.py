"""The way of one change: equal snapshots decide alike, a round that has nothing to do writes nothing, and only the
leader acts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec
import pytest
from room_kit import ME, NODE_SIGNER, PACKS, START, WORKLOAD, Room, entries, heartbeat, report, run, sealed, state_of

from hanse.control.config import ControlConfig
from hanse.control.liveness import Liveness
from hanse.control.pipeline import LeaseLost, Pipeline, decide
from hanse.control.state import FabricState, snapshot
from hanse.core.errors import ConflictError
from hanse.core.ids import ControllerId
from hanse.core.layer import Policy
from hanse.core.snapshot import Phase
from hanse.core.time import DAY_US, US_PER_S, MonoTime, WallTime
from hanse.policy import parse_packs
from hanse.wire import envelope
from hanse.wire.messages import SpecRecord
from hanse.wire.subjects import BUCKETS

CONFIG = ControlConfig(id=ControllerId("c"), domain="test.hanse", api_url="", nats_urls=(), packs=PACKS)
RULES = parse_packs(PACKS)
FENCE = """@id("fence.no-core")
@cite("house rule 2")
@message("{node} is in the core")
forbid (principal is Workload, action == Action::"place", resource is Node)
when { resource.tier == "core" };"""
ACTS = ("orders", "plans", "routes")


def wanted_only() -> FabricState:
    """A fabric in which a function is wanted and nothing runs yet."""
    return state_of([one for one in entries() if one.bucket in ("specs", "nodes")])


def heard(mono: MonoTime) -> Liveness:
    liveness = Liveness(suspect_after_us=1_500_000, unreachable_after_us=3 * US_PER_S, return_grace_us=15 * US_PER_S)
    liveness.listening(True, mono)
    liveness.heard(heartbeat(), mono)
    return liveness


def test_equal_snapshots_decide_alike_and_a_plan_that_stands_is_kept():
    at = snapshot(wanted_only(), heard(MonoTime(0)), CONFIG, now=START, mono=MonoTime(0))
    first, again = (decide(at, None, RULES, None, CONFIG, now=START, trigger="test") for _ in range(2))
    assert first.plan == again.plan
    assert first.is_new
    assert first.findings == ()
    assert [(a.workload, a.node) for a in first.plan.assignments] == [(WORKLOAD, ME)]
    later = decide(at, first.plan, RULES, first.verdicts.cache, CONFIG, now=WallTime(START + US_PER_S), trigger="later")
    assert not later.is_new
    assert later.plan is first.plan


@dataclass(slots=True)
class Desk:
    """One controller's pipeline over a room's store; `catch_up` is what its watches would bring."""

    room: Room
    pipeline: Pipeline
    state: FabricState
    may_act: bool = True

    def catch_up(self) -> None:
        for bucket in self.state.records:
            for entry in self.room.kv.entries(bucket, ""):
                self.state.apply(entry)

    def revisions(self) -> dict[str, int]:
        """How often anything was written, per bucket."""
        return {bucket: max((e.revision for e in self.room.kv.entries(bucket, "")), default=0) for bucket in BUCKETS}

    def tell(self, **more: object) -> None:
        """The node's report on the order that stands."""
        order = next(iter(self.state.orders().values()))
        told = report(instance=order.instance, generation=order.generation, **more)
        self.room.kv.put("reports", f"{ME}.{order.instance}", envelope.seal(told, NODE_SIGNER), None)
        self.catch_up()


def desk(room: Room, state: FabricState | None = None) -> Desk:
    ports = room.control_ports()
    state = state or FabricState(trusted=wanted_only().trusted)
    made: list[Desk] = []
    pipeline = Pipeline(ports, CONFIG, state, heard(room.clock.monotonic()), RULES, may_act=lambda: made[0].may_act)
    made.append(Desk(room, pipeline, state))
    for one in entries():
        if one.bucket in ("specs", "nodes") and one.value is not None and room.kv.get(one.bucket, one.key) is None:
            room.kv.put(one.bucket, one.key, one.value, None)
    made[0].catch_up()
    return made[0]


def test_a_round_commits_a_plan_and_orders_it_and_the_next_one_has_nothing_to_do():
    async def scenario(room: Room) -> None:
        one = desk(room)
        await one.pipeline.run_once("submitted")
        (order,) = one.state.orders().values()
        record = one.state.plan_record()
        assert record is not None
        assert (order.node, order.generation, order.wanted, order.plan) == (ME, 1, True, record.plan)
        one.tell()
        await one.pipeline.run_once("reported")
        before = one.revisions()
        for _ in range(5):
            await one.pipeline.run_once("time passes")
        assert one.revisions() == before, "levels that stand are not written again"

    run(scenario)


def test_a_new_leader_finds_the_standing_orders_and_repeats_none():
    async def scenario(room: Room) -> None:
        old = desk(room)
        await old.pipeline.run_once("submitted")
        before = old.revisions()
        new = desk(room)
        await new.pipeline.run_once("it leads now")
        after = new.revisions()
        assert {bucket: after[bucket] for bucket in ACTS} == {bucket: before[bucket] for bucket in ACTS}

    run(scenario)


def test_a_leader_that_lost_its_lease_in_a_round_writes_nothing_more():
    async def scenario(room: Room) -> None:
        one = desk(room)
        one.may_act = False
        before = one.revisions()
        with pytest.raises(LeaseLost) as lost:
            await one.pipeline.run_once("submitted")
        assert lost.value.retry
        assert one.revisions() == before

    run(scenario)


def test_two_that_both_think_they_lead_never_both_order():
    """The second one's caches are behind: its writes meet what stands, and it starts over from there."""

    async def scenario(room: Room) -> None:
        one, other = desk(room), desk(room)
        await one.pipeline.run_once("submitted")
        with pytest.raises(ConflictError):
            await other.pipeline.run_once("submitted")
        assert len(room.kv.entries("orders", "")) == 1
        other.catch_up()
        before = other.revisions()
        await other.pipeline.run_once("again")
        assert {bucket: other.revisions()[bucket] for bucket in ACTS} == {bucket: before[bucket] for bucket in ACTS}

    run(scenario)


def test_an_order_is_renewed_at_half_of_its_life_and_its_work_is_not_touched():
    async def scenario(room: Room) -> None:
        one = desk(room)
        await one.pipeline.run_once("submitted")
        one.tell()
        (before,) = one.state.orders().values()
        # Only the wall clock moves here: what renewal reads.
        room.clock.step(DAY_US // 2)
        await one.pipeline.run_once("time passes")
        (after,) = one.state.orders().values()
        assert (after.instance, after.wanted, after.workload) == (before.instance, True, before.workload)
        assert after.generation == before.generation + 1
        assert after.expires_us - after.issued_us == DAY_US
        assert after.expires_us > before.expires_us

    run(scenario)


def test_a_function_that_is_deleted_stops_and_leaves_the_books():
    async def scenario(room: Room) -> None:
        one = desk(room)
        await one.pipeline.run_once("submitted")
        one.tell()
        await one.pipeline.run_once("reported")
        key = f"function.{WORKLOAD}"
        spec = one.state.specs()[key]
        gone = sealed(msgspec.structs.replace(spec, is_deleted=True))
        room.kv.put("specs", key, gone, None)
        one.catch_up()
        await one.pipeline.run_once("deleted")
        (order,) = one.state.orders().values()
        assert (order.wanted, order.generation) == (False, 2)
        assert "deleted" in order.reason
        assert room.kv.get("specs", key) is not None, "as long as it may run"
        one.tell(phase=Phase.STOPPED)
        await one.pipeline.run_once("reported")
        assert room.kv.get("specs", key) is None
        assert room.kv.get("routes", WORKLOAD) is None
        assert room.kv.get("orders", f"{ME}.{order.instance}") is not None, "readable for a while"
        room.clock.step(CONFIG.stopped_keep_us)
        await one.pipeline.run_once("time passes")
        assert room.kv.entries("orders", "") == ()
        assert room.kv.entries("reports", "") == ()

    run(scenario)


def test_silence_stops_nothing():
    async def scenario(room: Room) -> None:
        one = desk(room)
        await one.pipeline.run_once("submitted")
        one.tell()
        for _ in range(20):
            await asyncio.sleep(30)
            await one.pipeline.run_once("time passes")
        assert all(order.wanted for order in one.state.orders().values())

    run(scenario)


def test_a_new_leader_knows_what_changed_while_nobody_led():
    async def scenario(room: Room) -> None:
        old = desk(room)
        await old.pipeline.run_once("submitted")
        old.tell()
        await old.pipeline.run_once("reported")
        fence = Policy(name="fence", about="a", rules=FENCE)
        room.kv.put("specs", "policy.fence", sealed(SpecRecord(accepted_us=START, accepted_by="t", policy=fence)), None)
        new = desk(room)
        await new.pipeline.run_once("it leads now")
        plan = await new.pipeline.current_plan()
        assert plan is not None
        assert "fence.no-core" in plan.trigger, plan.trigger
        (order,) = new.state.orders().values()
        assert not order.wanted
        assert "fence.no-core" in order.reason
        assert "rule" in order.reason, "it names the change and not only the rule that denies now"

    run(scenario)


def test_an_order_carries_the_policies_that_bind_it_and_is_issued_anew_when_they_change():
    async def scenario(room: Room) -> None:
        one = desk(room)
        await one.pipeline.run_once("submitted")
        (first,) = one.state.orders().values()
        assert first.policies == ()
        mild = Policy(name="mild", about="a", rules=FENCE.replace("fence.", "mild.").replace('"core"', '"device"'))
        room.kv.put("specs", "policy.mild", sealed(SpecRecord(accepted_us=START, accepted_by="t", policy=mild)), None)
        other = Policy(name="other", namespace="elsewhere", about="a", rules=FENCE.replace("fence.", "other."))
        told = sealed(SpecRecord(accepted_us=START, accepted_by="t", policy=other))
        room.kv.put("specs", "policy.elsewhere.other", told, None)
        one.catch_up()
        await one.pipeline.run_once("policies were submitted")
        (again,) = one.state.orders().values()
        assert again.policies == (mild,), "its own namespace's and the domain's, not those of others"
        assert (again.generation, again.wanted, again.workload) == (first.generation + 1, True, first.workload)
        before = one.revisions()
        await one.pipeline.run_once("time passes")
        assert one.revisions()["orders"] == before["orders"]

    run(scenario)
