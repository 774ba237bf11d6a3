"""Step 5: a serving node dies under load; nobody who asks notices."""

from __future__ import annotations

import asyncio
import time

from hanse.app.render import quantities as q
from hanse.app.render import tables
from hanse.app.tour.load import Outcome, steady_load
from hanse.app.tour.stage import TRIAGE, Stage, doubled
from hanse.control.views import WorkloadView
from hanse.core.ids import NodeId

WARM_UP_S = 1.0
AFTERWARDS_S = 0.5
BOUND_S = 3.0


async def run(stage: Stage) -> None:
    """Kill a serving node with -9 while a client sends requests; let it come back."""
    stage.open(
        5,
        "kill -9",
        "Requests do not wait for detection: the router retries idempotent ones on another replica at once. Then "
        "the fabric sees the "
        "silence and restores the lost replica elsewhere. Silence deletes nothing.",
    )
    before = await stage.ask(stage.workload, TRIAGE)
    stage.promise(before.running >= 2, f"{TRIAGE} runs {before.running} replicas: {', '.join(before.nodes)}")
    others = sorted(set(await stage.ask(stage.nodes)) - set(before.nodes))
    urls = [stage.fabric.nodes[NodeId(name)].url + before.path for name in others[:3]]
    async with steady_load(urls) as load:
        await asyncio.sleep(WARM_UP_S)
        # The router prefers the nearest: the one that answers most is the one whose death would be felt most.
        victim = NodeId(max(before.nodes, key=lambda node: (load.served_by.get(node, 0), node)))
        served = load.served_by.get(victim, 0)
        stage.promise(
            served > 0, f"{victim} serves: {served} of {load.answered} requests so far, through {len(urls)} nodes"
        )
        stage.say(f"kill -9 {stage.fabric.nodes[victim].child.pid}  (the process of {victim})")
        killed = time.monotonic()
        await stage.fabric.kill(victim)
        detected, serving, after = await _recovery(stage, victim, before)
        await asyncio.sleep(AFTERWARDS_S)
    _judge(stage, load)
    fresh = ", ".join(sorted(set(after.nodes) - set(before.nodes)))
    stage.say(
        f"{victim} fell silent; known unreachable after {detected - killed:.2f} s, "
        f"replaced on {fresh} and serving {serving - detected:.2f} s later"
    )
    stage.promise(serving - detected <= BOUND_S, f"the lost replica serves elsewhere within {BOUND_S:g} s of detection")
    stage.measured("kill -9 to detection", f"{detected - killed:.2f} s")
    stage.measured("detection to full strength", f"{serving - detected:.2f} s")
    await _return(stage, victim)


async def _recovery(stage: Stage, victim: str, before: WorkloadView) -> tuple[float, float, WorkloadView]:
    """When the silence was noticed, when the replacement served, and how the workload stands then."""

    def is_noticed() -> float | None:
        return time.monotonic() if stage.nodes()[victim].reach == "unreachable" else None

    def is_replaced() -> WorkloadView | None:
        view = stage.workload(TRIAGE)
        fresh = sorted(set(view.nodes) - set(before.nodes))
        if victim in view.nodes or view.running < view.wanted or not fresh:
            return None
        answers = [stage.direct(node, view.path) for node in fresh]
        is_serving = all(a is not None and a.is_ok and a.served_by == a.through for a in answers)
        return view if is_serving else None

    detected = await stage.until(is_noticed, f"the silence of {victim} being noticed")
    after = await stage.until(is_replaced, "the lost replica serving elsewhere")
    return detected, time.monotonic(), after


def _judge(stage: Stage, load: Outcome) -> None:
    stage.say(
        f"{load.answered} requests answered, {len(load.failures)} failed; p50 {q.latency(load.percentile_us(50))}, "
        f"p99 {q.latency(load.percentile_us(99))}; served by "
        + ", ".join(f"{node} {count}" for node, count in sorted(load.served_by.items()))
    )
    for failure in load.failures[:3]:
        stage.say(failure)
    stage.promise(not load.failures, f"none of {load.answered} idempotent requests failed")
    stage.measured("failed requests around kill -9", f"{len(load.failures)} of {load.answered}")


async def _return(stage: Stage, victim: NodeId) -> None:
    stage.say(f"starting {victim} again")
    await stage.fabric.restart(victim)
    await stage.until(lambda: stage.nodes()[victim].reach == "ready" or None, f"{victim} being heard again")
    view = await stage.until(lambda: stage.settled(TRIAGE), "the surplus being settled")
    instances = [one for one in await stage.ask(stage.client.instances) if one.workload == TRIAGE]
    stage.show(tables.instances(instances))
    twice = doubled(instances)
    stage.promise(not twice, "the dead node is back, and no replica is there twice")
    stage.promise(view.running == view.wanted, f"nothing is lost: {view.running} of {view.wanted} replicas run")
