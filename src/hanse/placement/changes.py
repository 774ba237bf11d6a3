"""What is different between two moments, as far as a plan reads it.

`snapshot and verdicts before, after -> Changes`. Looks at each entry once and at its identity first, so that two
moments that share most of their records are told apart by what they do not share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from hanse.core.ids import NodeId, WorkloadId
from hanse.core.snapshot import Running, Snapshot
from hanse.core.verdict import Verdicts

Key = TypeVar("Key", bound=str)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What an event changed; names in id order."""

    nodes: tuple[NodeId, ...] = ()
    """Added, gone, or with other facts or reach."""
    workloads: tuple[WorkloadId, ...] = ()
    """Added, gone, with another spec, other reports or another set of allowed nodes."""
    running: Mapping[WorkloadId, tuple[Running, ...]] = field(default_factory=dict)
    """All reports of those of `workloads` that have any."""
    is_wide: bool = False
    """Something changed that concerns every score: sites, operators, round trips, intensities."""

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing changed that a plan reads."""
        return not (self.nodes or self.workloads or self.is_wide)


def changes(before: Snapshot, after: Snapshot, old: Verdicts, new: Verdicts) -> Changes:
    """Compare two moments and the verdicts on them."""
    if before is after and old is new:
        return Changes()
    if _is_wide(before, after):
        return Changes(is_wide=True)
    nodes = {*_different(before.fabric.nodes, after.fabric.nodes), *_different(before.reach, after.reach)}
    workloads = set(_different(before.workloads, after.workloads))
    workloads.update(_other_verdicts(before, after, old, new, nodes))
    reports_before, reports_after = _by_workload(before.running), _by_workload(after.running)
    workloads.update(_different(reports_before, reports_after))
    return Changes(
        nodes=tuple(sorted(nodes)),
        workloads=tuple(sorted(workloads)),
        running={w: reports_after[w] for w in sorted(workloads) if w in reports_after},
    )


def is_same(before: Snapshot, after: Snapshot) -> bool:
    """Tell whether a plan would read the same of both; the moment itself aside."""
    return (
        before.running == after.running
        and before.reach == after.reach
        and before.workloads == after.workloads
        and before.fabric.nodes == after.fabric.nodes
        and not _is_wide(before, after)
    )


def _is_wide(before: Snapshot, after: Snapshot) -> bool:
    return (
        before.fabric.sites != after.fabric.sites
        or before.fabric.operators != after.fabric.operators
        or before.fabric.jurisdictions != after.fabric.jurisdictions
        or before.intensity_g_per_kwh != after.intensity_g_per_kwh
        or before.rtt_us != after.rtt_us
        or before.gazetteer != after.gazetteer
        or before.observed_down_ppm != after.observed_down_ppm
        or before.forecast != after.forecast
        or before.forecast_error_permille != after.forecast_error_permille
    )


def _different(before: Mapping[Key, Value], after: Mapping[Key, Value]) -> Iterator[Key]:
    if before is after:
        return
    for key, value in after.items():
        was = before.get(key)
        if was is not value and was != value:
            yield key
    for key in before:
        if key not in after:
            yield key


def _by_workload(running: tuple[Running, ...]) -> Mapping[WorkloadId, tuple[Running, ...]]:
    found: dict[WorkloadId, list[Running]] = {}
    for record in running:
        found.setdefault(record.workload, []).append(record)
    return {workload: tuple(sorted(records, key=lambda r: (r.instance, r.node))) for workload, records in found.items()}


def _other_verdicts(
    before: Snapshot, after: Snapshot, old: Verdicts, new: Verdicts, nodes: set[NodeId]
) -> Iterator[WorkloadId]:
    """Workloads that other nodes are open to; what changed for nodes that changed themselves is known already."""
    if old is new:
        return
    # Workloads of one policy class share a tuple, so each pair is compared once; kept, so that their ids stay theirs.
    known: dict[tuple[int, int], tuple[object, object, bool]] = {}
    for workload in after.workloads:
        if workload not in before.workloads:
            continue
        was, now = old.allowed(workload), new.allowed(workload)
        if was is now:
            continue
        pair = (id(was), id(now))
        if pair not in known:
            known[pair] = was, now, was == now or {*was} - nodes == {*now} - nodes
        if not known[pair][2]:
            yield workload
