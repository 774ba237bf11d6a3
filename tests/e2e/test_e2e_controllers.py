"""Two controllers: one leads, the other is ready; whoever dies, no step is lost or repeated."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fabric_kit import Harness, Kit, function
from pace import Pace

pytestmark = pytest.mark.fabric

TAKEOVER_S = 5.0
"""Promised from the ``kill -9`` of the leader to the next one leading."""


@pytest.fixture(scope="module")
def harness(guests: Mapping[str, Path]) -> Iterator[Harness]:
    with Harness(guests, controllers=2) as running:
        yield running


def test_the_standby_leads_within_five_seconds_of_the_leaders_death(harness: Harness):
    async def scenario(kit: Kit) -> None:
        before = await kit.deploy("quiet", replicas=2)
        dead = await _kill_leader(kit)
        assert await kit.until_running("quiet", 2) == before, "a new leader orders nothing anew"
        await kit.deploy("afterwards", replicas=1)
        await _judge_ledger(kit, "quiet")
        await kit.fabric.restart_controller(dead)

    harness.run(scenario(harness.kit))


def test_a_leader_killed_in_the_middle_of_a_rollout_loses_and_repeats_no_step(harness: Harness):
    async def scenario(kit: Kit) -> None:
        await kit.deploy("rolling", replicas=3)
        async with kit.load("/rolling") as load:
            await kit.submit(function("rolling", replicas=3, more="env: {EDITION: second}"), "rolling")

            async def has_begun() -> bool:
                """Some of the second generation are ordered, and some of the first are still to go."""
                generations = {row["spec_generation"] for row in await kit.wanted("rolling")}
                return generations == {1, 2}

            await kit.until(has_begun, "the rollout being under way")
            dead = await _kill_leader(kit)

            async def is_done() -> bool:
                rows = await kit.wanted("rolling")
                return len(rows) == 3 and all(row["spec_generation"] == 2 for row in rows)

            await kit.until(is_done, "the rollout being done")
            rows = await kit.until_running("rolling", 3)
        assert load.failures == []
        assert sorted(row["ordinal"] for row in rows) == [0, 1, 2]
        await _judge_ledger(kit, "rolling")
        await kit.fabric.restart_controller(dead)
        assert await kit.until_running("rolling", 3) == rows, "the old leader is back and follows"

    harness.run(scenario(harness.kit))


async def _kill_leader(kit: Kit) -> str:
    """Kill the leading controller, see the other one lead in the time that is promised, and return who was killed."""
    names = sorted(kit.fabric.controllers)
    leader = await kit.until(lambda: _leader(kit), "somebody leading")
    kit.controller = names.index(next(name for name in names if name != leader))

    async def is_taken_over() -> bool:
        status = await kit.get("status")
        return bool(status["is_leader"] and status["leader"] != leader)

    with Pace() as pace:
        killed = time.monotonic()
        await kit.fabric.kill_controller(leader)
        await kit.until(is_taken_over, "the other controller leading")
        took_s = time.monotonic() - killed
        assert took_s <= pace.stretched(TAKEOVER_S)
    return leader


async def _leader(kit: Kit) -> str:
    return str((await kit.get("status"))["leader"])


async def _judge_ledger(kit: Kit, name: str) -> None:
    """Every order that stands is in the ledger, each once, and the generations of an instance have no gap."""

    async def is_written() -> bool:
        orders = {(instance, generation) for instance, generation, _ in await kit.orders_in_ledger(name)}
        standing = {(row["id"], row["order_generation"]) for row in await kit.instances(name)}
        return standing <= orders

    await kit.until(is_written, "every standing order being in the ledger")
    orders = await kit.orders_in_ledger(name)
    assert max(Counter(orders).values()) == 1, orders
    for instance in {one for one, _, _ in orders}:
        generations = [generation for one, generation, _ in orders if one == instance]
        assert generations == list(range(1, len(generations) + 1)), instance
