"""Nothing happens, and nothing must happen."""

from __future__ import annotations

import asyncio

from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import Stage


async def _plot(stage: Stage) -> None:
    await stage.open()
    with stage.nothing_moves():
        await asyncio.sleep(stage.seconds or 120)
    await stage.converge(within_s=1)


STEADY = Scenario(name="steady", about="A fabric without faults: nothing moves.", plot=_plot)
