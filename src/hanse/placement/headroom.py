"""What the fabric could still take, and what limits it: beside everything placed, more replicas of one workload.

`snapshot, verdicts, parent, workload -> Headroom`. Counts replicas of single workloads like the one given (as many may
stand on one node as fit), which is what "how many more of these" asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hanse.core.ids import NodeId, WorkloadId
from hanse.core.plan import Plan
from hanse.core.snapshot import Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Verdicts
from hanse.placement.feasible import Limit
from hanse.placement.outcome import limits_now
from hanse.placement.planner import place_all, prepare
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """How much more of one workload there is room for."""

    workload: WorkloadId
    replicas: int
    """More of them, on all nodes together."""
    largest: NodeId | None
    """The node that would take most; None where none takes any."""
    nodes_by_limit: Mapping[str, int]
    """Nodes that take none, by what rules them out, in the order of the recipe."""
    scarce: str
    """What runs out first on most of the nodes that take some: ``cpu`` or ``memory``; empty where none does."""


def headroom(
    snapshot: Snapshot,
    verdicts: Verdicts,
    parent: Plan | None,
    workload: WorkloadId,
    *,
    now: WallTime,
    settings: PlacementSettings = DEFAULT_SETTINGS,
) -> Headroom:
    """Count what fits beside everything the planner places now. Raises KeyError for a workload nobody asks for."""
    spec = snapshot.workloads[workload]
    run = prepare(snapshot, verdicts, parent, now=now, settings=settings)
    place_all(run)
    placing = next(one for one in run.placings if one.workload.id == workload)
    room, needs = run.world.room, spec.resources
    limits = limits_now(placing, room)
    rows = np.flatnonzero(limits == Limit.NONE)
    times = room.times(rows, needs)
    counts = np.bincount(limits, minlength=len(Limit)).tolist()
    by_cpu = room.cpu_milli[rows] * max(needs.memory_bytes, 1) < room.memory_bytes[rows] * max(needs.cpu_milli, 1)
    return Headroom(
        workload=workload,
        replicas=int(times.sum()),
        largest=run.world.table.ids[int(rows[np.argmax(times)])] if len(rows) else None,
        nodes_by_limit={limit.label: counts[limit] for limit in Limit if limit is not Limit.NONE and counts[limit]},
        scarce="" if not len(rows) else "cpu" if int(by_cpu.sum()) * 2 > len(rows) else "memory",
    )
