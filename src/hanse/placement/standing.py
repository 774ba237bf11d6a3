"""What a workload already has: where it runs or was sent, which instances live on, where it failed of late.

`Snapshot, parent plan -> Standing` per workload. A plan starts from this, so that a running replica stays unless the
gain is worth the move, and a node that keeps failing a workload is left out for a while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hanse.core.ids import InstanceId, NodeId, WorkloadId
from hanse.core.plan import Assignment, Plan
from hanse.core.snapshot import Phase, Running, Snapshot
from hanse.core.time import WallTime, rfc3339
from hanse.core.work import Workload
from hanse.placement.settings import PlacementSettings

_LOST: Mapping[Phase, str] = {Phase.FAILED: "failed", Phase.REFUSED: "was refused"}
_OVER = (*_LOST, Phase.SUCCEEDED)
"""What runs no more and is not to be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """A node left out for one workload until a time, with the sentence that says why."""

    until_us: WallTime
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one workload already has, by node."""

    settled: frozenset[NodeId] = frozenset()
    """Staying there costs nothing: it runs there, and the parent plan holds it or has nothing better running."""
    sent: frozenset[NodeId] = frozenset()
    """The parent plan holds it there but it does not run yet: leaving costs less than leaving a settled place."""
    present: frozenset[NodeId] = frozenset()
    """Every node that runs any instance of it, held by a plan or not."""
    instances: Mapping[NodeId, tuple[InstanceId, int]] = field(default_factory=dict)
    """Instance and ordinal that a replica there would keep."""
    ordinals: frozenset[int] = frozenset()
    """Ordinals in use by instances of this spec generation, reachable or not."""
    excluded: Mapping[NodeId, Exclusion] = field(default_factory=dict)
    reports: tuple[Running, ...] = ()
    """What this was read from."""
    devices: Mapping[NodeId, tuple[int, ...]] = field(default_factory=dict)
    """GPUs that the parent plan gave its replica there."""

    @property
    def has_any(self) -> bool:
        """Tell whether placing it now would be a move rather than a first placement."""
        return bool(self.settled or self.sent or self.present)


def standings(
    snapshot: Snapshot, parent: Plan | None, *, now: WallTime, settings: PlacementSettings
) -> Mapping[WorkloadId, Standing]:
    """Read what every workload of the snapshot already has."""
    running: dict[WorkloadId, list[Running]] = {}
    for record in sorted(snapshot.running, key=lambda r: (r.workload, r.instance, r.node)):
        running.setdefault(record.workload, []).append(record)
    held: dict[WorkloadId, list[Assignment]] = {}
    for assignment in parent.assignments if parent is not None else ():
        held.setdefault(assignment.workload, []).append(assignment)
    return {
        workload: standing(
            snapshot.workloads[workload], running.get(workload, ()), held.get(workload, ()), now=now, settings=settings
        )
        for workload in sorted(running.keys() | held.keys())
        if workload in snapshot.workloads
    }


def standing(
    workload: Workload,
    running: Sequence[Running],
    held: Sequence[Assignment],
    *,
    now: WallTime,
    settings: PlacementSettings,
) -> Standing:
    """Read what one workload already has from its reported instances and its assignments in the parent plan."""
    lost = {r.instance for r in running if not r.is_wanted or r.phase in _OVER}
    held_nodes = {a.node for a in held if a.instance not in lost}
    serving = {r.node for r in running if r.is_wanted and r.phase is Phase.RUNNING}
    settled = held_nodes & serving
    if len(settled) < len(held) or not held:
        # Something the parent plan holds does not run: whatever runs, held or back from an outage, is worth keeping.
        settled = serving
    living = [r for r in running if r.is_wanted and r.phase not in _OVER and r.spec_generation == workload.generation]
    pending = [a for a in held if a.instance not in lost and a.spec_generation == workload.generation]
    return Standing(
        settled=frozenset(settled),
        sent=frozenset(held_nodes - settled),
        present=frozenset(r.node for r in running if r.phase not in (Phase.STOPPED, *_OVER)),
        instances=_instances(living, pending),
        ordinals=frozenset([r.ordinal for r in living] + [a.ordinal for a in pending]),
        excluded=_exclusions(workload, running, now, settings),
        reports=tuple(running),
        devices={a.node: a.devices for a in held if a.devices},
    )


def _instances(living: Sequence[Running], pending: Sequence[Assignment]) -> Mapping[NodeId, tuple[InstanceId, int]]:
    kept = {r.node: (r.instance, r.ordinal) for r in reversed(living)}
    # Where a node holds several, the one that the parent plan names is the one to keep.
    kept.update({a.node: (a.instance, a.ordinal) for a in pending})
    return kept


def _exclusions(
    workload: Workload, running: Sequence[Running], now: WallTime, settings: PlacementSettings
) -> Mapping[NodeId, Exclusion]:
    """Exponential backoff per node over the failures still on record; a changed spec starts afresh."""
    failures: dict[NodeId, list[Running]] = {}
    for record in running:
        if record.phase in _LOST and record.spec_generation == workload.generation:
            failures.setdefault(record.node, []).append(record)
    excluded: dict[NodeId, Exclusion] = {}
    for node, records in failures.items():
        last = max(records, key=lambda r: (r.since_us, r.instance))
        first = settings.refusal_backoff_us if last.phase is Phase.REFUSED else settings.failure_backoff_us
        backoff = min(first * 4 ** (len(records) - 1), settings.most_backoff_us)
        until = WallTime(last.since_us + backoff)
        if now < until:
            why = last.reason or "no reason given"
            times = "once" if len(records) == 1 else f"{len(records)} times"
            excluded[node] = Exclusion(
                until_us=until,
                message=f"{workload.id} {_LOST[last.phase]} {times} on node {node} of late ({why}); "
                f"left out until {rfc3339(until)}",
            )
    return excluded
