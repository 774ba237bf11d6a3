"""Runs ordered jobs to their end, piece by piece: `held order -> outcome`, and again whenever a piece ends.

One task per instance. A piece that says there is more to do hands on a checkpoint; it stands in the report, so that
the next piece goes on from it here after a restart, or on another node after a pause. A job that failed is not tried
again here: the controller counts failures and decides where and whether it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from hanse.core.errors import HanseError
from hanse.core.ids import Digest, InstanceId, WorkloadId
from hanse.core.ports import JobRunner
from hanse.core.snapshot import Phase
from hanse.core.work import Workload
from hanse.node.judge import Held
from hanse.node.secrets import Outcome
from hanse.wire.messages import Report

log = structlog.get_logger("node")

_ENDED = (Phase.SUCCEEDED, Phase.FAILED)


@dataclass(slots=True)
class _Run:
    """One instance at work."""

    workload: Workload
    checkpoint: bytes
    outcome: Outcome
    task: asyncio.Task[None] | None = None


class JobKeeper:
    """The jobs of one node. `fetch` brings an artifact; `wake` is called whenever a job has news."""

    def __init__(
        self, runner: JobRunner, fetch: Callable[[Digest], Awaitable[bytes]], wake: Callable[[], None]
    ) -> None:
        self._runner = runner
        self._fetch = fetch
        self._wake = wake
        self._runs: dict[InstanceId, _Run] = {}

    def running(self) -> tuple[Workload, ...]:
        """What runs now, in instance order."""
        runs = (self._runs[instance] for instance in sorted(self._runs))
        return tuple(run.workload for run in runs if run.outcome.phase is Phase.RUNNING)

    def workloads(self) -> tuple[WorkloadId, ...]:
        """Jobs that were begun and not stopped yet, in id order."""
        return tuple(sorted({run.workload.id for run in self._runs.values()}))

    def checkpoint(self, instance: InstanceId) -> bytes:
        """What the next piece goes on from; empty where there is nothing."""
        run = self._runs.get(instance)
        return b"" if run is None else run.checkpoint

    async def run(self, held: Held, said: Report | None, tasks: asyncio.TaskGroup) -> Outcome:
        """Begin an ordered job, or tell how far it is. `said` is what was last reported of it, before a restart too."""
        instance = held.order.instance
        await self._end([i for i, r in self._runs.items() if r.workload.id == held.order.workload.id and i != instance])
        run = self._runs.get(instance)
        if run is None and said is not None and said.phase in _ENDED:
            return Outcome(phase=said.phase, code=said.code, reason=said.reason)
        if run is None:
            checkpoint = said.checkpoint if said is not None and said.checkpoint else held.order.checkpoint
            run = _Run(held.order.workload, checkpoint, Outcome(phase=Phase.RUNNING))
            self._runs[instance] = run
            run.task = tasks.create_task(self._to_the_end(run), name=f"job:{instance}")
        return run.outcome

    async def stop(self, workload: WorkloadId) -> None:
        """End a job's run here, in the middle of a piece if need be; absent is fine."""
        mine = [instance for instance, run in self._runs.items() if run.workload.id == workload]
        await self._end(mine)
        if mine:
            await self._runner.unload(workload)

    async def _end(self, instances: Sequence[InstanceId]) -> None:
        for instance in instances:
            task = self._runs.pop(instance).task
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def _to_the_end(self, run: _Run) -> None:
        try:
            component = await self._fetch(run.workload.artifact)
            while (step := await self._runner.run(run.workload, component, run.checkpoint)).has_more:
                run.checkpoint = step.checkpoint
                self._wake()
            run.outcome = Outcome(phase=Phase.SUCCEEDED)
        except HanseError as error:
            run.outcome = Outcome(phase=Phase.FAILED, code=error.code, reason=error.message)
        log.info("job.ended", workload=run.workload.id, phase=run.outcome.phase.value, reason=run.outcome.reason)
        self._wake()
