"""Work that may wait: it starts at the clean hour, is paused when that ends, fails over, and says when it is late."""

from __future__ import annotations

import asyncio

from hanse.core.ids import WorkloadId
from hanse.core.jobs import JobProgress, JobState
from hanse.core.snapshot import Series
from hanse.core.time import US_PER_S
from hanse.twin.fabric import TwinFabric
from hanse.twin.faults import Crash, Restart
from hanse.twin.generate import component_of, job_text
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import TARIFF, Stage
from hanse.twin.world import Violation

STEP_S = 20
DIRTY, CLEAN = 500, 40
DURATION_S = 60


async def _plot(stage: Stage) -> None:
    await stage.open((TARIFF,))
    began = await _forecast(stage.fabric, clean=(5, 6, 7, 11, 12, 13), steps=20)
    await _deploy(stage, "whole", within_s=400)
    await _deploy(stage, "pieces", within_s=400, is_interruptible=True)
    await _deploy(stage, "shaky", within_s=400, env={"TWIN_FAILS": "1"})
    await _deploy(stage, "hopeless", within_s=400, retries=1, env={"TWIN_FAILS": "9"})
    await _deploy(stage, "late", within_s=30)
    await stage.until("every job has its hours", lambda: len(_jobs(stage)) == 5 and _all_have_hours(stage), within_s=20)
    whole, pieces = _jobs(stage)["whole"], _jobs(stage)["pieces"]
    _demand(whole.runs == ((began + 100 * US_PER_S, began + 160 * US_PER_S),), f"hours of the whole: {whole.runs}")
    _demand("less than at once" in whole.why, f"why: {whole.why}")
    _demand(_jobs(stage)["late"].state is not JobState.WAITING or _jobs(stage)["late"].runs != (), "late waits")
    await asyncio.sleep(5)
    _demand(not _ran(stage, "whole"), "the whole job began before its hours")
    await stage.until("it runs in its hours", lambda: bool(_ran(stage, "whole")), within_s=130)
    _demand(stage.fabric.world.true_wall() >= whole.runs[0][0], "it began too early")
    await stage.until("it is done", lambda: _jobs(stage)["whole"].state is JobState.SUCCEEDED, within_s=90)
    await stage.until("the pieces are done", lambda: _jobs(stage)["pieces"].state is JobState.SUCCEEDED, within_s=300)
    _demand(len(pieces.runs) > 0, "the pieces have no hours")
    await stage.until("it came through", lambda: _jobs(stage)["shaky"].state is JobState.SUCCEEDED, within_s=200)
    _demand(len(_jobs(stage)["shaky"].failed) == 1, f"failures: {_jobs(stage)['shaky'].failed}")
    await stage.until("it gave up", lambda: _jobs(stage)["hopeless"].state is JobState.FAILED, within_s=200)
    _demand("failed 2 times" in _jobs(stage)["hopeless"].reason, _jobs(stage)["hopeless"].reason)
    late = _jobs(stage)["late"]
    _demand(late.state is JobState.SUCCEEDED and "after its deadline" in late.late, f"late: {late}")
    await _lose_a_node(stage)
    await stage.converge(within_s=60)


async def _lose_a_node(stage: Stage) -> None:
    """A node that dies in the middle of a job: it begins anew elsewhere, and ends once."""
    await _deploy(stage, "moved", within_s=DURATION_S + 1)
    await stage.until("it runs", lambda: bool(_ran(stage, "moved")), within_s=30)
    await asyncio.sleep(5)
    running = [o.node for o in stage.view.orders.values() if o.workload.id == _id("moved") and o.wanted]
    stage.inject(Crash(at_us=stage.now_us, machine=running[0], loses_disk=True))
    await stage.until("it is done elsewhere", lambda: _jobs(stage)["moved"].state is JobState.SUCCEEDED, within_s=120)
    late = _jobs(stage)["moved"].late
    _demand("after its deadline" in late and f"node {running[0]} fell silent" in late, f"why it is late: {late}")
    stage.inject(Restart(at_us=stage.now_us, machine=running[0]))


async def _forecast(fabric: TwinFabric, *, clean: tuple[int, ...], steps: int) -> int:
    """Bring in a forecast whose steps are dirty but for a few; returns when it begins."""
    start = fabric.world.true_wall() // US_PER_S * US_PER_S
    values = tuple(CLEAN if step in clean else DIRTY for step in range(steps))
    series = Series(start_us=start, step_us=STEP_S * US_PER_S, values=values)
    zones = {site.grid_zone: series for site in fabric.manifests.sites}
    await fabric.take_carbon(zones)
    return start


async def _deploy(
    stage: Stage,
    name: str,
    *,
    within_s: int,
    is_interruptible: bool = False,
    retries: int = 2,
    env: dict[str, str] | None = None,
) -> None:
    text = job_text(
        name,
        duration_s=DURATION_S,
        within_s=within_s,
        is_interruptible=is_interruptible,
        retries=retries,
        env=env or {},
    )
    await stage.fabric.deploy(text, {_id(name): component_of(name)})


def _jobs(stage: Stage) -> dict[str, JobProgress]:
    leader = stage.fabric.leader()
    if leader is None:
        return {}
    return {key.partition(".")[2]: has for key, has in stage.fabric.controllers[leader].state.jobs().items()}


def _all_have_hours(stage: Stage) -> bool:
    return all(has.runs for has in _jobs(stage).values())


def _ran(stage: Stage, name: str) -> int:
    return sum(workload == _id(name) for runner in stage.fabric.runners.values() for workload, _ in runner.pieces)


def _id(name: str) -> WorkloadId:
    return WorkloadId(f"twin.{name}")


def _demand(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise Violation(otherwise)


JOBS = Scenario(
    name="jobs",
    about="Jobs start at the clean hour, pause when it ends, are retried as they may be, and say why they are late.",
    plot=_plot,
)
