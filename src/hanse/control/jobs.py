"""Jobs at work: what every job's progress becomes in this round, for the leader to write.

`caches, snapshot -> progress that changed`. What counts is decided in `hanse.placement.jobs`; here it is fed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hanse.control.config import ControlConfig
from hanse.control.state import FabricState
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.jobs import JobProgress
from hanse.core.snapshot import Snapshot
from hanse.core.work import Workload
from hanse.placement import Heard, advance, forecast_digest
from hanse.policy import PackSet, VerdictCache, screen


def advanced(
    state: FabricState,
    at: Snapshot,
    packs: PackSet,
    cache: VerdictCache | None,
    *,
    guardrails: tuple[str, ...],
    config: ControlConfig,
) -> Mapping[WorkloadId, JobProgress]:
    """Progress that differs from what is written, in workload id order; `packs` and `guardrails` are those in force."""
    # As their owners wrote them, with the data they read and its fences as they are now.
    specs = {
        key: replace(spec, data=at.workloads[key].data, sovereignty=at.workloads[key].sovereignty)
        for key, spec in state.workloads().items()
        if spec.job is not None and key in at.workloads
    }
    if not specs:
        return {}
    known, heard, planned_from = state.jobs(), _heard(state, specs), forecast_digest(at)
    found: dict[WorkloadId, JobProgress] = {}
    for key, spec in specs.items():

        def homes(spec: Workload = spec) -> tuple[NodeId, ...]:
            verdicts = screen({spec.id: spec}, at.fabric, packs, at.at_us, cache, guardrails=guardrails)
            return tuple(verdicts.allowed(spec.id))

        now = advance(
            spec, known.get(key), heard.get(key, ()), at, homes, planned_from=planned_from, settings=config.placement
        )
        if now != known.get(key):
            found[key] = now
    return found


def _heard(state: FabricState, specs: Mapping[WorkloadId, Workload]) -> Mapping[WorkloadId, tuple[Heard, ...]]:
    found: dict[WorkloadId, tuple[Heard, ...]] = {}
    orders = state.orders()
    for instance, report in sorted(state.reports().items()):
        order = orders.get(instance)
        if report.workload not in specs or order is None:
            continue
        one = Heard(
            instance=instance,
            spec_generation=order.workload.generation,
            phase=report.phase,
            since_us=report.since_us,
            reason=report.reason,
            checkpoint=report.checkpoint,
        )
        found[report.workload] = (*found.get(report.workload, ()), one)
    return found
