"""What the fabric could still take, and what limits it: beside everything placed, more replicas of one workload.

`snapshot, verdicts, parent -> Capacity`. Counts replicas of single workloads like the one given (as many may
stand on one node as fit), which is what "how many more of these" asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hanse.core.fabric import GpuNeed
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.plan import Plan
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Verdicts
from hanse.core.work import Workload
from hanse.placement.feasible import Limit
from hanse.placement.outcome import Placing, World, limits_now
from hanse.placement.planner import place_all, prepare
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings
from hanse.placement.table import MANY, REACH_CODES, WHOLE_MILLI, Ints, Room


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
    """What runs out first on most of the nodes that take some, as ``cpu`` or ``gpu``; empty where none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """One resource over all nodes that answer, beside everything placed."""

    resource: str
    total: int
    """What work may take in all; thousandths of a core, bytes, bits per second, thousandths of a GPU, units."""
    free: int
    largest: int
    """Most that is free on a single node."""
    node: NodeId | None
    """That node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the fabric could still take."""

    free: tuple[Free, ...]
    """CPU and memory first, then what else any workload asks for or any node has."""
    headrooms: tuple[Headroom, ...]
    """In workload id order."""


def capacity(
    snapshot: Snapshot,
    verdicts: Verdicts,
    parent: Plan | None,
    *,
    now: WallTime,
    settings: PlacementSettings = DEFAULT_SETTINGS,
) -> Capacity:
    """Count what fits beside everything the planner places now, per workload and per resource."""
    run = prepare(snapshot, verdicts, parent, now=now, settings=settings)
    place_all(run)
    return Capacity(
        free=tuple(_free(run.world)), headrooms=tuple(_headroom(placing, run.world) for placing in run.placings)
    )


def headroom(
    snapshot: Snapshot,
    verdicts: Verdicts,
    parent: Plan | None,
    workload: WorkloadId,
    *,
    now: WallTime,
    settings: PlacementSettings = DEFAULT_SETTINGS,
) -> Headroom:
    """Count what fits of one workload. Raises KeyError for a workload nobody asks for."""
    known = {one.workload: one for one in capacity(snapshot, verdicts, parent, now=now, settings=settings).headrooms}
    return known[workload]


def _headroom(placing: Placing, world: World) -> Headroom:
    room, spec = world.room, placing.workload
    limits = limits_now(placing, room)
    rows = np.flatnonzero(limits == Limit.NONE)
    times = room.times(rows, spec.resources)
    if spec.gpu is not None:
        times = np.minimum(times, gpu_times(room, rows, spec.gpu))
    counts = np.bincount(limits, minlength=len(Limit)).tolist()
    return Headroom(
        workload=spec.id,
        replicas=int(times.sum()),
        largest=world.table.ids[int(rows[np.argmax(times)])] if len(rows) else None,
        nodes_by_limit={limit.label: counts[limit] for limit in Limit if limit is not Limit.NONE and counts[limit]},
        scarce=_scarce(room, rows, spec),
    )


def _free(world: World) -> Iterator[Free]:
    table, room = world.table, world.room
    rows = np.flatnonzero(np.isin(table.reach, [REACH_CODES[Reach.READY], REACH_CODES[Reach.SUSPECT]]))
    columns = [(name, table.amounts[rows, axis], room.free[axis, rows]) for axis, name in enumerate(room.axes.names)]
    if room.devices.shape[1]:
        devices = np.maximum(room.devices[rows], 0).sum(axis=1)
        columns.append(("gpu", table.gpu_count[rows] * WHOLE_MILLI, devices))
    for name, total, free in columns:
        left = np.maximum(free, 0)
        best = int(np.argmax(left)) if len(left) else 0
        yield Free(
            resource=name,
            total=int(total.sum()),
            free=int(left.sum()),
            largest=int(left[best]) if len(left) else 0,
            node=table.ids[int(rows[best])] if len(left) and left[best] else None,
        )


def _scarce(room: Room, rows: Ints, spec: Workload) -> str:
    """The axis that runs out first on most of the rows; ties go to the first axis."""
    if not len(rows):
        return ""
    times = [
        np.where(each > 0, free[rows] // max(each, 1), MANY)
        for free, each in zip(room.free, room.axes.vector(spec.resources).tolist(), strict=True)
    ]
    names = [*room.axes.names]
    if spec.gpu is not None:
        times.append(gpu_times(room, rows, spec.gpu))
        names.append("gpu")
    first = np.argmin(np.stack(times), axis=0)
    return names[int(np.argmax(np.bincount(first, minlength=len(names))))]


def gpu_times(room: Room, rows: Ints, need: GpuNeed) -> Ints:
    """How many times a need of GPUs fits on each of `rows`, each replica on devices of its own or shares of them."""
    free = np.maximum(room.devices[rows], 0)
    if need.count == 1:
        return np.asarray((free // need.share_milli).sum(axis=1))
    return np.asarray((free >= need.share_milli).sum(axis=1) // need.count)
