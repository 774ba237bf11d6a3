"""Nodes are cut off while they load what they were ordered: what became of it is told when the link returns."""

from __future__ import annotations

import asyncio

from hanse.core.time import US_PER_S
from hanse.twin.faults import Partition
from hanse.twin.ports.runtime import EngineModel
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import CART, Stage

CUT_S = 12


async def _plot(stage: Stage) -> None:
    await stage.open()
    await stage.deploy(CART, version=2)
    known = {instance for instance, order in stage.view.last_orders.items() if order.workload.generation == 1}
    await stage.until("a new instance is ordered", lambda: bool(stage.view.last_orders.keys() - known), within_s=5)
    fresh = sorted(stage.view.last_orders.keys() - known)
    await asyncio.sleep(0.2)
    for instance in fresh:
        node = stage.view.last_orders[instance].node
        stage.inject(Partition(at_us=stage.now_us, until_us=stage.now_us + CUT_S * US_PER_S, machine=node))
    await asyncio.sleep(CUT_S)
    stage.figures["converged_us"] = await stage.converge(within_s=40)


LATE_REPORT = Scenario(
    name="late-report",
    about="Nodes are cut off while they load: their reports arrive once the link is back.",
    plot=_plot,
    engine=EngineModel(load_fixed_us=2 * US_PER_S),
)
