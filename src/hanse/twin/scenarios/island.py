"""A node is cut off, killed, and restarted while cut off: it serves its own work again, and nothing is lost after."""

from __future__ import annotations

import asyncio

from hanse.core.time import US_PER_S
from hanse.twin.faults import Crash, Partition, Restart
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import CART, Stage

CUT_S = 60


async def _plot(stage: Stage) -> None:
    await stage.open()
    node = stage.fabric.world.rng("island").choice(stage.serving(CART))
    before = stage.view.loaded_on(node)
    stage.inject(Partition(at_us=stage.now_us, until_us=stage.now_us + CUT_S * US_PER_S, machine=node))
    await stage.until(
        "another node serves in place of the island", lambda: len(stage.serving(CART)) > CART.replicas, within_s=8
    )
    stage.inject(Crash(at_us=stage.now_us, machine=node))
    await asyncio.sleep(5)
    stage.inject(Restart(at_us=stage.now_us, machine=node))
    stage.figures["served_again_us"] = await stage.until(
        "the island serves all its work again", lambda: stage.view.loaded_on(node) == before, within_s=5
    )
    await stage.until("the link is back", lambda: stage.fabric.world.is_wired(node), within_s=CUT_S)
    stage.figures["converged_us"] = await stage.converge(within_s=30)


ISLAND = Scenario(
    name="island",
    about="A node is cut off, killed and restarted while cut: it serves its own again, then both histories merge.",
    plot=_plot,
)
