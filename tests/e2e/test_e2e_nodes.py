"""Nodes die, come back and lose their cable: requests go on, nothing is lost, nothing is doubled."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fabric_kit import NODES, Harness, Kit, Row, function
from pace import Pace

from hanse.core.ids import NodeId

pytestmark = pytest.mark.fabric

SERVING_AGAIN_S = 3.0
"""Promised from detection to the lost replica serving elsewhere."""
UNREACHABLE_S = 3.0
"""Silence after which a node counts as unreachable (`ControlConfig.unreachable_after_us`)."""
LOOKING_S = 2.0
"""For beats on their way, and for what the controller does between two looks: not part of any promise."""


@pytest.fixture
def pace() -> Iterator[Pace]:
    with Pace() as measuring:
        yield measuring


@pytest.fixture(scope="module")
def harness(guests: Mapping[str, Path]) -> Iterator[Harness]:
    with Harness(guests) as running:
        yield running


def test_a_serving_node_killed_under_load_fails_no_request_and_is_replaced_within_three_seconds(
    harness: Harness, pace: Pace
):
    async def scenario(kit: Kit) -> None:
        homes = {row["node"] for row in await kit.deploy("vital", replicas=2)}
        (away,) = set(NODES) - homes
        victim = NodeId((await kit.call(away, "/vital")).headers["hanse-node"])
        survivors = [node for node in NODES if node != victim]
        async with kit.load("/vital", *survivors) as load:
            await kit.until(lambda: _served(load.served_by, victim), "the victim serving")
            pace.mark()
            killed = time.monotonic()
            await kit.fabric.kill(victim)
            await kit.until_reach(victim, "unreachable")
            detected = time.monotonic()
            await kit.until(lambda: _serves_itself(kit, survivors, "/vital"), "both survivors serving")
            restored = time.monotonic()
            slowdown = pace.slowdown()
        assert load.failures == []
        assert load.answered > 0
        assert detected - killed <= (UNREACHABLE_S + LOOKING_S) * slowdown, slowdown
        assert restored - detected <= SERVING_AGAIN_S * slowdown, slowdown

        await kit.fabric.restart(victim)
        await kit.until_reach(victim, "ready")
        after = await kit.until_running("vital", 2)
        assert len({row["ordinal"] for row in after}) == 2
        await _judge_ledger(kit, "vital", after)
        await kit.delete("vital")

    harness.run(scenario(harness.kit))


async def _served(served_by: Mapping[str, int], node: NodeId) -> bool:
    return node in served_by


async def _serves_itself(kit: Kit, nodes: list[NodeId], path: str) -> bool:
    """Whether each of these nodes answers with its own replica."""
    answers = {node: await kit.call(node, path) for node in nodes}
    return all(answer.headers.get("hanse-node") == node for node, answer in answers.items())


async def _judge_ledger(kit: Kit, name: str, standing: list[Row]) -> None:
    """Each act stands in the ledger once, generations of each instance grow by one, and the last word is what runs."""

    async def is_written() -> bool:
        orders = await kit.orders_in_ledger(name)
        return {(row["id"], row["order_generation"], True) for row in standing} <= set(orders)

    await kit.until(is_written, "the standing orders being in the ledger")
    orders = await kit.orders_in_ledger(name)
    assert max(Counter(orders).values()) == 1, orders
    for instance in {one for one, _, _ in orders}:
        generations = [generation for one, generation, _ in orders if one == instance]
        assert generations == list(range(1, len(generations) + 1)), instance
    last = {instance: wanted for instance, _, wanted in orders}
    assert {instance for instance, wanted in last.items() if wanted} == {row["id"] for row in standing}


def test_a_lone_replica_serves_elsewhere_within_three_seconds_of_detection(harness: Harness, pace: Pace):
    async def scenario(kit: Kit) -> None:
        (only,) = await kit.deploy("lone", replicas=1)
        victim = NodeId(only["node"])
        survivor = next(node for node in NODES if node != victim)
        await kit.fabric.kill(victim)
        await kit.until_reach(victim, "unreachable")
        pace.mark()
        detected = time.monotonic()

        async def is_served() -> bool:
            return (await kit.call(survivor, "/lone")).status_code == 200

        await kit.until(is_served, "the lone function serving elsewhere")
        took_s = time.monotonic() - detected
        assert took_s <= pace.stretched(SERVING_AGAIN_S)
        await kit.fabric.restart(victim)
        await kit.until_reach(victim, "ready")
        await kit.until_running("lone", 1)
        await kit.delete("lone")

    harness.run(scenario(harness.kit))


def test_a_node_that_restarts_while_cut_off_serves_its_own_work_and_comes_home(harness: Harness):
    """Killed and started again with the cable pulled; when the link returns nothing is deleted, re-run or doubled."""

    async def scenario(kit: Kit) -> None:
        more = "nodeSelector: {tier: regional}"
        await kit.submit(function("island", replicas=3, more=more), "island")
        before = await kit.until_running("island", 3)
        mine = before[0]
        node = NodeId(mine["node"])
        kit.fabric.cut(node)
        await kit.until_reach(node, "unreachable")
        await kit.fabric.kill(node)
        await kit.fabric.restart(node)

        async def serves_itself() -> bool:
            answer = await kit.call(node, "/island")
            return answer.status_code == 200 and answer.headers["hanse-node"] == node

        await kit.until(serves_itself, "the island serving its own work")
        assert kit.fabric.nodes[node].uplink.is_cut

        kit.fabric.link(node)
        await kit.until_reach(node, "ready")
        after = await kit.until_running("island", 3)
        assert _identities(after) == _identities(before), "the same instances under the same orders"
        assert [row["phase"] for row in await kit.instances("island")] == ["running"] * 3
        await _judge_ledger(kit, "island", after)
        receipts = [row["report"] for row in await kit.ledger() if row["kind"] == "ReceiptTaken"]
        told = [(r["instance"], r["phase"]) for r in receipts if r["workload"] == "test.island"]
        assert max(Counter(told).values()) == 1, "the restart is no news"
        await kit.delete("island")

    harness.run(scenario(harness.kit))


def _identities(rows: list[Row]) -> set[tuple[str, str, int]]:
    return {(row["id"], row["node"], row["order_generation"]) for row in rows}
