"""Proves: a node counts what clients brought to its front, over a window, and neither hops nor what was before."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from room_kit import ME, NODE_SIGNER, Room, node_config, run

from hanse.core.ids import WorkloadId
from hanse.core.ports import BusMessage, WorkloadStats
from hanse.core.traffic import LOOKS, ROWS_MAX
from hanse.node.traffic import TrafficTeller, entered, rates_over
from hanse.wire import envelope
from hanse.wire.demand_messages import Entering, Traffic
from hanse.wire.subjects import ask

WARDS, TRIAGE = WorkloadId("clinic.wards"), WorkloadId("clinic.triage")


def test_what_another_node_passed_on_entered_there() -> None:
    assert entered({TRIAGE: WorkloadStats(requests=10, from_mesh=7)}) == {TRIAGE: 3}


def test_a_rate_is_the_mean_over_the_window() -> None:
    window = deque([(0, {TRIAGE: 100}), (150_000_000, {TRIAGE: 900}), (300_000_000, {TRIAGE: 700, WARDS: 30})])
    assert rates_over(window) == ((Entering(TRIAGE, 2_000), Entering(WARDS, 100)), 300_000_000)


def test_an_engine_that_began_anew_never_counts_below_nothing() -> None:
    assert rates_over(deque([(0, {TRIAGE: 100}), (1_000_000, {TRIAGE: 5})])) == ((), 1_000_000)


@given(st.dictionaries(st.integers(0, ROWS_MAX * 2), st.integers(0, 10**6), max_size=50))
def test_rates_are_in_order_and_never_zero(counts: dict[int, int]) -> None:
    now = {WorkloadId(f"n.w{key}"): count for key, count in sorted(counts.items())}
    rates, _ = rates_over(deque([(0, {}), (1_000_000, now)]))
    assert [one.workload for one in rates] == sorted(w for w, count in now.items() if count)
    assert all(one.rate_milli > 0 for one in rates)


def test_it_tells_while_there_is_traffic_and_once_that_there_is_none() -> None:
    async def scenario(room: Room) -> list[Traffic]:
        ports, config = room.node_ports(), node_config()
        counts = {TRIAGE: WorkloadStats()}

        async def stats() -> dict[WorkloadId, WorkloadStats]:
            return dict(counts)

        ports.runtime.stats = stats  # type: ignore[method-assign]
        heard: list[BusMessage] = []

        async def listen() -> None:
            async for message in ports.bus.subscribe(ask(ME, "*")):
                heard.append(message)

        listening = asyncio.create_task(listen())
        telling = asyncio.create_task(TrafficTeller(ports, replace(config, count_us=1_000_000)).run(3))
        await asyncio.sleep(5.5)
        assert heard == [], "nobody asked, so there is nothing to tell"
        counts[TRIAGE] = WorkloadStats(requests=30, from_mesh=10)
        await asyncio.sleep(2 * LOOKS)
        for task in (listening, telling):
            task.cancel()
        return [
            envelope.open_sealed(m.data, Traffic, {NODE_SIGNER.key_id: NODE_SIGNER.public_key}).message for m in heard
        ]

    told = run(scenario)
    assert [one.number for one in told] == list(range(1, LOOKS + 2))
    assert {one.incarnation for one in told} == {3}
    assert told[-2].entering == (Entering(TRIAGE, 2_000),), "20 in ten seconds"
    assert told[-1].entering == (), "and then it is silent"
