"""A line is slower than its length says: work bound to latency moves away from it, once, and noise moves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from hanse.core.ids import NodeId, SiteId
from hanse.core.time import US_PER_MS, US_PER_S
from hanse.twin.fabric import Settings
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import CART, Stage, Work
from hanse.twin.world import Violation

ORIGIN = NodeId("n-0003")
"""In Stockholm, under US control: the bound work may not run beside its demand."""
BOUND = Work(name="bound", replicas=1, is_fenced=True, latency="p99: 40ms, from: [Stockholm]")
EVERY_S = 10
SLOW_US = 90 * US_PER_MS
NOISE_US = US_PER_MS
ROUNDS = 12


def _soon(settings: Settings) -> Settings:
    return replace(settings, dial_every_us=EVERY_S * US_PER_S)


async def _plot(stage: Stage) -> None:
    await stage.open((CART, BOUND))
    (before,) = stage.serving(BOUND)
    # Measurements that agree with the model change nothing, however often they come.
    with stage.nothing_moves():
        await _noise(stage, before, base_us=0)
    if measured := _measured(stage):
        raise Violation(f"noise was taken for news: {measured}")
    _detour(stage, before, SLOW_US)
    stage.figures["moved_us"] = await stage.until(
        "the work left the slow line", lambda: _has_left(stage, before), within_s=8 * EVERY_S
    )
    await stage.converge(within_s=30)
    (after,) = stage.serving(BOUND)
    believed = _measured(stage)
    if len(believed) != 1:
        raise Violation(f"one line is slow, and these are believed to be: {believed}")
    with stage.nothing_moves():
        await _noise(stage, before, base_us=SLOW_US)
    if _measured(stage) != believed:
        raise Violation(f"noise was taken for news: {believed} became {_measured(stage)}")
    if stage.serving(BOUND) != (after,):
        raise Violation(f"it moved again, from {after} to {stage.serving(BOUND)}")


async def _noise(stage: Stage, node: NodeId, *, base_us: int) -> None:
    draw = stage.fabric.world.rng("noise", node, base_us)
    for _ in range(ROUNDS):
        _detour(stage, node, base_us + draw.randint(0, NOISE_US))
        await asyncio.sleep(EVERY_S)


def _measured(stage: Stage) -> Mapping[tuple[SiteId, SiteId], int]:
    """What the leader's plans go by."""
    leader = stage.fabric.leader()
    return {} if leader is None else stage.fabric.controllers[leader].pipeline.snapshot().rtt_us


def _detour(stage: Stage, node: NodeId, extra_us: int) -> None:
    stage.fabric.detour_us[min(node, ORIGIN), max(node, ORIGIN)] = extra_us


def _has_left(stage: Stage, node: NodeId) -> bool:
    now = stage.serving(BOUND)
    return bool(now) and node not in now


SLOW_LINE = Scenario(
    name="slow-line",
    about="Nodes measure that a line is slow: work bound to latency leaves it once; noise moves nothing.",
    plot=_plot,
    prepare=_soon,
)
