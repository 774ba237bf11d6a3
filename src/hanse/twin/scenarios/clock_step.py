"""Wall clocks of a node and of a controller step an hour, either way: no work stops, identities are renewed."""

from __future__ import annotations

import asyncio

from hanse.core.time import HOUR_US
from hanse.twin.faults import ClockStep
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import CART, Stage


async def _plot(stage: Stage) -> None:
    await stage.open()
    rng = stage.fabric.world.rng("clocks")
    machines = [rng.choice(stage.serving(CART)), "control-0"]
    steps = [(machine, by) for machine in machines for by in (HOUR_US, -HOUR_US)]
    rng.shuffle(steps)
    with stage.nothing_moves():
        for machine, by in steps:
            stage.inject(ClockStep(at_us=stage.now_us, machine=machine, by_us=by))
            await asyncio.sleep(7)
            stage.inject(ClockStep(at_us=stage.now_us, machine=machine, by_us=-by))
            await asyncio.sleep(8)
    stage.figures["converged_us"] = await stage.converge(within_s=40)


CLOCK_STEP = Scenario(
    name="clock-step",
    about="Wall clocks step an hour either way and back: nothing stops, SVIDs are renewed.",
    plot=_plot,
)
