"""What a node runs: the newest order that is wanted and has not expired, loaded once, from its own artifacts first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from room_kit import COMPONENT, START, WORKLOAD, Room, order, run, sealed, workload

from hanse.core.ids import InstanceId
from hanse.core.ports import InvokePolicy
from hanse.core.snapshot import Phase
from hanse.core.time import HOUR_US, WallTime
from hanse.core.work import Workload
from hanse.node.judge import Held
from hanse.node.work import Work, wanted_here
from hanse.wire.messages import Order


def open_to_all(_: Workload) -> InvokePolicy:
    return InvokePolicy(policies="permit (principal, action, resource);", entities="[]")


def held(*orders: Order) -> dict[InstanceId, Held]:
    return {one.instance: Held(order=one, sealed=sealed(one), digest="") for one in orders}


def named(number: int) -> InstanceId:
    return InstanceId(f"clinic.triage.0.{number}")


def test_of_two_instances_of_one_function_the_newest_spec_is_what_runs():
    old = order(workload(generation=1), instance=named(1), generation=9)
    new = order(workload(generation=2), instance=named(2), generation=1)
    assert wanted_here(held(old, new), now=START)[WORKLOAD].order == new


def test_the_older_one_runs_again_when_the_newer_one_is_stopped():
    old = order(workload(generation=1), instance=named(1))
    new = order(workload(generation=2), instance=named(2), wanted=False)
    assert wanted_here(held(old, new), now=START)[WORKLOAD].order == old


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-2, 2), st.integers(1, 3)), max_size=6),
)
def test_never_is_anything_wanted_that_was_stopped_or_has_expired(cases: list[tuple[bool, int, int]]):
    orders = [
        order(
            workload(generation=spec), instance=named(number), wanted=wanted,
            expires_us=WallTime(START + hours * HOUR_US),
        )
        for number, (wanted, hours, spec) in enumerate(cases)
    ]  # fmt: skip
    chosen = wanted_here(held(*orders), now=START).get(WORKLOAD)
    eligible = [one for one in orders if one.wanted and one.expires_us > START]
    assert (chosen is None) == (not eligible)
    if chosen is not None:
        assert chosen.order in eligible
        assert chosen.order.workload.generation == max(one.workload.generation for one in eligible)


def test_a_component_comes_over_the_uplink_once_and_from_the_own_disk_afterwards():
    async def scenario(room: Room) -> None:
        room.artifacts.put(workload().artifact, COMPONENT)
        ports = room.node_ports()
        work = Work(ports.runtime, ports.cache, ports.blobs, open_to_all)
        assert (await work.run(workload())).phase is Phase.RUNNING
        assert room.cache.has(workload().artifact)
        room.artifacts.delete(workload().artifact)
        room.wire.cut()
        again = Work(room.node_ports().runtime, ports.cache, ports.blobs, open_to_all)
        assert (await again.run(workload())).phase is Phase.RUNNING

    run(scenario)


def test_a_component_that_is_nowhere_is_a_failure_with_a_code_and_leaves_the_others_alone():
    async def scenario(room: Room) -> None:
        ports = room.node_ports()
        room.artifacts.put(workload().artifact, COMPONENT)
        work = Work(ports.runtime, ports.cache, ports.blobs, open_to_all)
        await work.run(workload())
        outcome = await work.run(workload("lost", component=b"never stored"))
        assert (outcome.phase, outcome.code) == (Phase.FAILED, "blob.missing")
        assert set(work.loaded()) == {WORKLOAD}

    run(scenario)


def test_a_damaged_component_on_the_own_disk_is_fetched_anew():
    async def scenario(room: Room) -> None:
        room.artifacts.put(workload().artifact, COMPONENT)
        ports = room.node_ports()
        await Work(ports.runtime, ports.cache, ports.blobs, open_to_all).run(workload())
        room.cache.damage(workload().artifact)
        again = room.node_ports()
        assert (await Work(again.runtime, again.cache, again.blobs, open_to_all).run(workload())).phase is Phase.RUNNING

    run(scenario)


def test_stopping_what_does_not_run_is_fine():
    async def scenario(room: Room) -> None:
        ports = room.node_ports()
        await Work(ports.runtime, ports.cache, ports.blobs, open_to_all).stop(WORKLOAD)

    run(scenario)
