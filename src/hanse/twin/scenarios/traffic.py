"""Requests enter somewhere else than was thought: work that asks for measured demand follows them, once.

Neither a trickle, nor a burst, nor noise moves anything; and a site that falls silent keeps its claim for a while.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hanse.core.ids import NodeId, WorkloadId
from hanse.core.time import US_PER_S
from hanse.twin.fabric import Settings
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import CART, Stage, Work
from hanse.twin.world import Violation

COUNT_S = 1
"""A look a second: what takes ten minutes in a fabric takes twenty seconds here."""
ASKED = Work(
    name="asked",
    replicas=1,
    latency="p90: 9ms, from: [Frankfurt], demand: measured, floor: 1/s",
)
FAR = NodeId("n-0003")
"""In Stockholm, from which nothing but Stockholm lies within 9 ms."""
NEAR = NodeId("n-0000")
"""In Frankfurt, which its owner names."""
RATE = 8
"""Requests a second that the demand comes to."""


def _sooner(settings: Settings) -> Settings:
    return replace(settings, count_us=COUNT_S * US_PER_S)


async def _plot(stage: Stage) -> None:
    await stage.open((CART, ASKED))
    (before,) = stage.serving(ASKED)
    if before == FAR:
        raise Violation(f"it began on {FAR}, where nobody had asked for it yet")
    with stage.nothing_moves():
        # A request every other second is below the floor, and hundreds at once are one burst.
        for second in range(25):
            await _ask(stage, FAR, second % 2)
        await _ask(stage, FAR, 200)
        for _ in range(15):
            await _ask(stage, FAR, 0)
    asking = asyncio.create_task(_keep_asking(stage, FAR))
    try:
        stage.figures["moved_us"] = await stage.until(
            "the work went where its requests enter", lambda: stage.serving(ASKED) == (FAR,), within_s=60
        )
        await stage.converge(within_s=30)
        _demand_an_account(stage)
        with stage.nothing_moves():
            # It swings by a fifth either way; what the percentile leaves over enters elsewhere.
            await asyncio.sleep(90 * COUNT_S)
    finally:
        asking.cancel()
    with stage.nothing_moves():
        await asyncio.sleep(50 * COUNT_S)
    stage.figures["forgot_us"] = await stage.until(
        "the work went back to where its owner says", lambda: FAR not in stage.serving(ASKED), within_s=60
    )
    await stage.converge(within_s=30)


async def _keep_asking(stage: Stage, node: NodeId) -> None:
    draw = stage.fabric.world.rng("demand", node)
    owed, second = 0, 0
    while True:
        second += 1
        owed += draw.randint(RATE * 800, RATE * 1_200)
        await _ask(stage, node, owed // 1_000)
        owed %= 1_000
        if second % 4 == 0 and NEAR in stage.fabric.runtimes:
            await stage.fabric.runtimes[NEAR].request("/asked")


async def _ask(stage: Stage, node: NodeId, times: int) -> None:
    """A second in which so many requests enter at a node's front, one after the other."""
    began = stage.now_us
    for _ in range(times):
        await stage.fabric.runtimes[node].request("/asked")
    await asyncio.sleep(max(0, COUNT_S * US_PER_S - (stage.now_us - began)) / US_PER_S)


def _demand_an_account(stage: Stage) -> None:
    """The plan has to say that it goes by what was measured, and where."""
    leader = stage.fabric.leader()
    plan = stage.view.plan
    if leader is None or plan is None:
        raise Violation("there is no leader, or no plan")
    why = plan.explanations[WorkloadId(ASKED.id)].replicas_why
    if "demand as measured since" not in why or "stockholm" not in why:
        raise Violation(f"the plan does not say where its demand comes from: {why}")
    if any(order.workload.slo.measured_us is not None for order in stage.view.orders.values()):
        raise Violation("an order tells a node where demand enters")


TRAFFIC = Scenario(
    name="traffic",
    about="Requests enter elsewhere than stated: work that asks for measured demand follows them; noise moves nothing.",
    plot=_plot,
    prepare=_sooner,
)
