"""The leading controller dies in the middle of a rollout: the other takes over within 5 s and ends it."""

from __future__ import annotations

import asyncio

from hanse.core.time import US_PER_S
from hanse.twin.faults import Crash, Restart
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import CART, Stage
from hanse.twin.world import Violation


async def _plot(stage: Stage) -> None:
    await stage.open()
    rng = stage.fabric.world.rng("moment")
    leader = stage.fabric.leader()
    if leader is None:
        raise Violation("nobody leads")
    await stage.deploy(CART, version=2)
    begun = stage.view.counts["Ordered"]
    await stage.until("the rollout has begun", lambda: stage.view.counts["Ordered"] > begun, within_s=10)
    await asyncio.sleep(rng.random() * 0.5)
    stage.inject(Crash(at_us=stage.now_us, machine=leader))
    stage.figures["led_again_us"] = await stage.until(
        "another controller leads", lambda: stage.fabric.leader() not in (None, leader), within_s=5
    )
    stage.figures["converged_us"] = await stage.converge(within_s=60)
    stage.inject(Restart(at_us=stage.now_us, machine=leader))
    with stage.nothing_moves():
        await asyncio.sleep(20)
    if stage.now_us > 3_600 * US_PER_S:
        raise Violation("it took over an hour")
    await stage.converge(within_s=5)


LEADER_CRASH = Scenario(
    name="leader-crash-mid-rollout",
    about="The leader dies in a rollout: another leads within 5 s, no step is lost or repeated.",
    plot=_plot,
    controllers=2,
)
