"""The substrate dies, and the whole fabric stops and starts: what was acknowledged stands, what ran runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fabric_kit import NODES, Harness, Kit, Row, function, running_kit, short_folder

from aio import run

pytestmark = pytest.mark.fabric

LIFE_S = 600.0


@pytest.fixture(scope="module")
def harness(guests: Mapping[str, Path]) -> Iterator[Harness]:
    with Harness(guests) as running:
        yield running


def test_the_fabric_serves_on_while_the_substrate_is_dead_and_deploys_again_afterwards(harness: Harness):
    async def scenario(kit: Kit) -> None:
        before = await kit.deploy("through", replicas=2)
        acknowledged = await kit.ledger()
        async with kit.load("/through") as load:
            assert kit.fabric.server is not None
            dead = kit.fabric.server.pid
            await kit.fabric.server.kill()
            for node in NODES:
                assert (await kit.call(node, "/through")).status_code == 200
            await kit.until(lambda: _is_linked(kit, dead), "the substrate being back")
            for node in NODES:
                await kit.until_reach(node, "ready")
            assert await kit.until_running("through", 2) == before, "the same instances under the same orders"
        assert load.failures == []
        await kit.deploy("later", replicas=2)
        assert (await kit.ledger())[: len(acknowledged)] == acknowledged, "nothing acknowledged is lost"

    harness.run(scenario(harness.kit))


async def _is_linked(kit: Kit, dead: int) -> bool:
    assert kit.fabric.server is not None
    return kit.fabric.server.pid != dead and bool((await kit.get("status"))["is_connected"])


def test_every_acknowledged_deployment_outlives_the_substrate(harness: Harness):
    """The server is killed while deployments are being sent: those that were answered are there afterwards."""

    async def scenario(kit: Kit) -> None:
        assert kit.fabric.server is not None
        for number in range(8):
            await kit.submit(function(f"durable-{number}"), f"durable-{number}")
        dead = kit.fabric.server.pid
        await kit.fabric.server.kill()
        await kit.until(lambda: _is_linked(kit, dead), "the substrate being back")
        for number in range(8):
            await kit.until_running(f"durable-{number}", 1)

    harness.run(scenario(harness.kit))


def test_what_ran_before_a_stop_runs_again_after_a_start_and_nothing_is_deployed_anew(guests: Mapping[str, Path]):
    folder = short_folder()

    async def scenario() -> None:
        async with running_kit(folder / "state", guests) as kit:
            await kit.deploy("lasting", replicas=2)
            await kit.submit(function("lasting", replicas=2, more="env: {EDITION: second}"), "lasting")
            before = await kit.until_running("lasting", 2)
            ordered = await kit.orders_in_ledger("lasting")
            plan = (await kit.get("status"))["plan"]
            fronts = {node: kit.fabric.nodes[node].front for node in NODES}
        async with running_kit(folder / "state", guests) as kit:
            after = await kit.until_running("lasting", 2)
            assert _identities(after) == _identities(before)
            assert (await kit.get("status"))["plan"] == plan, "the committed plan stands"
            assert await kit.orders_in_ledger("lasting") == ordered, "no order was given"
            assert {node: kit.fabric.nodes[node].front for node in NODES} == fronts, "at the same addresses"
            starts = Counter(row["incarnation"] for row in await kit.get("nodes"))
            assert starts == {2: len(NODES)}
            await kit.deploy("fresh", replicas=1)

    run(scenario(), timeout_s=LIFE_S)


def _identities(rows: list[Row]) -> set[tuple[str, str, int]]:
    return {(row["id"], row["node"], row["order_generation"]) for row in rows}
