"""A serving node dies, its work starts elsewhere, the node comes back and nothing is doubled."""

from __future__ import annotations

import asyncio

from hanse.core.errors import RuntimeFailure
from hanse.twin.faults import Crash, Restart
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import CART, Stage
from hanse.twin.world import Violation

REPLACED_S = 6
"""Three seconds of detection and three to serve again elsewhere."""


async def _plot(stage: Stage) -> None:
    await stage.open()
    world = stage.fabric.world
    victim = world.rng("victim").choice(stage.serving(CART))
    with_disk = bool(world.rng("disk").randrange(2))
    clients = asyncio.create_task(_call(stage, victim), name="clients")
    await asyncio.sleep(40)
    stage.inject(Crash(at_us=stage.now_us, machine=victim, loses_disk=not with_disk))
    took = await stage.until(
        "the lost replica serves elsewhere", lambda: len(stage.serving(CART)) == CART.replicas, within_s=REPLACED_S
    )
    stage.figures["replaced_us"] = took
    await asyncio.sleep(15)
    stage.inject(Restart(at_us=stage.now_us, machine=victim))
    stage.figures["converged_us"] = await stage.converge(within_s=20)
    clients.cancel()
    outcome = (await asyncio.gather(clients, return_exceptions=True))[0]
    if isinstance(outcome, Violation):
        raise outcome
    stage.figures["requests"] = sum(r.requests for r in (await _stats(stage)))


async def _call(stage: Stage, victim: str) -> None:
    """Idempotent requests to every front but the victim's: none may fail while another replica runs."""
    while True:
        for node, runtime in sorted(stage.fabric.runtimes.items()):
            if node == victim or not stage.fabric.world.is_up(node):
                continue
            try:
                await runtime.request(f"/{CART.name}")
            except RuntimeFailure as error:
                raise Violation(f"a request at {node} failed: {error.code}") from error
        await asyncio.sleep(0.5)


async def _stats(stage: Stage) -> list:  # type: ignore[type-arg]
    found = [await runtime.stats() for _, runtime in sorted(stage.fabric.runtimes.items())]
    return [one for stats in found for one in stats.values()]


NODE_CRASH = Scenario(
    name="node-crash",
    about="A serving node dies with or without its disk: replaced within 6 s, no request fails, nothing doubled after.",
    plot=_plot,
)
