"""Nobody reaches store and bus for 30 s: nobody is declared dead, nothing stops, nothing moves."""

from __future__ import annotations

import asyncio

from hanse.core.time import US_PER_S
from hanse.twin.faults import Outage
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import Stage

OUTAGE_S = 30


async def _plot(stage: Stage) -> None:
    await stage.open()
    with stage.nothing_moves():
        stage.inject(Outage(at_us=stage.now_us, until_us=stage.now_us + OUTAGE_S * US_PER_S))
        await asyncio.sleep(OUTAGE_S + 30)
    stage.figures["converged_us"] = await stage.converge(within_s=10)


SUBSTRATE_OUTAGE = Scenario(
    name="substrate-outage",
    about="The substrate is away for 30 s: nobody is declared dead, nothing stops.",
    plot=_plot,
    controllers=2,
)
