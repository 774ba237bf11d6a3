"""An operator comes under foreign control: what may no longer be there moves, the rest stays where it is."""

from __future__ import annotations

import asyncio

from hanse.twin.generate import operator_text
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import CART, TARIFF, TRIAGE, Stage
from hanse.twin.world import Violation


async def _plot(stage: Stage) -> None:
    await stage.open()
    fabric = stage.view.fabric()
    node = stage.fabric.world.rng("bought").choice(stage.serving(TRIAGE))
    bought = fabric.nodes[node].operator
    stays = (stage.serving(CART), stage.serving(TARIFF))
    await stage.fabric.deploy(operator_text(fabric.operators[bought], holder="Amber Inc", country="US"))
    stage.figures["moved_us"] = await stage.until(
        "no fenced work runs under the new control",
        lambda: all(fabric.nodes[at].operator != bought for at in stage.serving(TRIAGE)),
        within_s=90,
    )
    await stage.converge(within_s=30)
    if len(stage.serving(TRIAGE)) != TRIAGE.replicas:
        raise Violation(f"fenced work runs on {stage.serving(TRIAGE)}")
    if (stage.serving(CART), stage.serving(TARIFF)) != stays:
        raise Violation("work that may stay was moved")
    with stage.nothing_moves():
        await asyncio.sleep(20)


OPERATOR_TAKEOVER = Scenario(
    name="operator-takeover",
    about="An operator is bought from the United States: fenced work leaves it, the rest stays.",
    plot=_plot,
)
