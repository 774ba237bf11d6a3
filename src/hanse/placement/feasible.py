"""Which nodes may take a workload at all: an ordered recipe of checks, each over whole columns.

`spec, columns, verdicts -> Feasibility`. The recipe is selector, reachability, drain, failure, policy, capacity,
latency, budget; the first check that a node fails is the limit that decided. Workloads that ask for the same share
one `Feasibility`; what changes while a plan is made (free room, failures of one workload) is checked by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from hanse.core.ids import NodeId, WorkloadId
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.verdict import Verdicts
from hanse.core.work import Workload
from hanse.placement.choose import least_cover
from hanse.placement.demand import Demand, Spread, demand
from hanse.placement.score import ScoreTable, score
from hanse.placement.settings import PlacementSettings
from hanse.placement.table import REACH_CODES, Flags, Ints, Kinds, NodeTable, OriginTable, kinds, origin_table

Codes = npt.NDArray[np.int8]


class Limit(IntEnum):
    """What ruled a node out, in the order of the recipe."""

    NONE = 0
    SELECTOR = 1
    REACHABILITY = 2
    DRAIN = 3
    FAILURE = 4
    POLICY = 5
    CAPACITY = 6
    LATENCY = 7
    BUDGET = 8

    @property
    def label(self) -> str:
        """The word in `hanse.core.plan.Candidate.limit`."""
        return _LABELS[self]


_LABELS: Mapping[Limit, str] = {limit: "" if limit is Limit.NONE else limit.name.lower() for limit in Limit}


@dataclass(slots=True, kw_only=True)
class Feasibility:
    """What holds for every workload of one shape, over node rows."""

    limit: Codes
    """The limit for a replica that would start there; nodes under suspicion take nothing new."""
    limit_if_kept: Codes
    """The limit for a replica that is there already; suspicion alone moves nothing."""
    scores: ScoreTable
    order: Ints
    """Feasible rows, cheapest first, ties by node id."""
    origins: tuple[str, ...]
    """Origins that the latency SLO names; empty where there is no SLO."""
    reach_masks: tuple[int, ...]
    """Distinct sets of origins served within the SLO, one bit per origin."""
    mask_of_row: Ints
    """Row number into `reach_masks` per node."""
    trips_us: Mapping[str, Ints]
    """Round trip per origin and node row."""
    demand: Demand
    counted: str
    """Nodes per limit, before anything is placed, in words."""
    samples: Mapping[Limit, tuple[int, ...]]
    """The best few rows per limit by score."""
    first_open: int = 0
    """Rows of `order` before this one were found full; valid while `releases` is that of the room."""
    releases: int = 0
    allowed: int = 0
    """Nodes that policy allows."""
    first: WorkloadId | None = None
    """The first workload by id that has this shape; set once all are known."""

    @property
    def every_origin(self) -> int:
        """The mask with every origin served."""
        return (1 << len(self.origins)) - 1


@dataclass(slots=True, kw_only=True)
class Screen:
    """Answers per shape of workload, each worked out once."""

    snapshot: Snapshot
    verdicts: Verdicts
    table: NodeTable
    settings: PlacementSettings
    origins: OriginTable
    kinds: Kinds
    is_suspect: Flags
    shapes: dict[object, Feasibility] = field(default_factory=dict)
    labels: dict[tuple[str, str], Flags] = field(default_factory=dict)
    allowed: dict[tuple[NodeId, ...], tuple[NodeId, ...]] = field(default_factory=dict)
    """Each distinct set of allowed nodes once; workloads of a policy class share one."""
    shared: dict[int, tuple[NodeId, ...]] = field(default_factory=dict)
    """The same by identity, so that a shared tuple is not hashed again for every workload."""
    masks: dict[int, Flags] = field(default_factory=dict)

    def of(self, workload: Workload) -> Feasibility:
        """The feasibility of a workload's shape."""
        permitted = self._shared(self.verdicts.allowed(workload.id))
        key = (
            workload.resources,
            workload.gpu,
            workload.priority,
            workload.objective,
            workload.slo,
            workload.budget,
            workload.replicas,
            tuple(sorted(workload.node_selector.items())),
            id(permitted),
        )
        if key not in self.shapes:
            self.shapes[key] = self._screen(workload, self.masks[id(permitted)], len(permitted))
        return self.shapes[key]

    def _shared(self, permitted: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
        """The one tuple that stands for all equal ones; kept for the run, so that its id stays its own."""
        if self.shared.get(id(permitted)) is permitted:
            return permitted
        first = self.allowed.setdefault(permitted, permitted)
        if first is permitted:
            mask = np.zeros(self.table.size, dtype=np.bool_)
            mask[[self.table.row_of[node] for node in permitted if node in self.table.row_of]] = True
            self.shared[id(permitted)], self.masks[id(permitted)] = permitted, mask
        return first

    def _screen(self, workload: Workload, is_allowed: Flags, allowed: int) -> Feasibility:
        """Work the recipe out once per kind of node, then policy and selector per node."""
        kinds, table, settings = self.kinds, self.kinds.table, self.settings
        trips = {origin: self.origins.to_sites_us(origin)[table.site] for origin in workload.slo.origins}
        slo_origins = workload.slo.origins if workload.slo.latency_p99_us is not None else ()
        within = _within(workload, trips, slo_origins, table.size, settings)
        worst_us = _worst_served_us(workload, trips, within, table.size)
        scores = score(workload, kinds, worst_us, settings)
        codes = np.full(table.size, _OPEN, dtype=np.int8)
        # Written last to first, so that the first check of the recipe that fails is the one that stays.
        codes[~_affordable(workload, scores)] = Limit.BUDGET
        if slo_origins:
            codes[~within.any(axis=0)] = Limit.LATENCY
        codes[~_large_enough(workload, table)] = Limit.CAPACITY
        policy = np.where(is_allowed, _OPEN, np.int8(Limit.POLICY))
        for reach, limit in _REACH_LIMITS.items():
            codes[table.reach == REACH_CODES[reach]] = limit
        per_node = np.minimum(codes[kinds.of_row], policy)
        if workload.node_selector:
            per_node[~self._selected(workload)] = Limit.SELECTOR
        per_node[per_node == _OPEN] = Limit.NONE
        fresh = per_node
        if self.is_suspect.any():
            fresh = per_node.copy()
            fresh[(per_node == Limit.NONE) & self.is_suspect] = Limit.REACHABILITY
        masks, mask_of_kind = _masks(within, table.size)
        kept_rows = np.flatnonzero(per_node == Limit.NONE)
        usable = [masks[index] for index in _used(mask_of_kind[kinds.of_row[kept_rows]]).tolist()]
        cover = least_cover((1 << len(slo_origins)) - 1, usable)
        order = _cheapest_first(np.flatnonzero(fresh == Limit.NONE), scores)
        counts = np.bincount(fresh, minlength=len(Limit)).tolist()
        return Feasibility(
            limit=fresh,
            limit_if_kept=per_node,
            scores=scores,
            order=order,
            origins=slo_origins,
            reach_masks=masks,
            mask_of_row=mask_of_kind[kinds.of_row],
            trips_us={origin: trip[kinds.of_row] for origin, trip in trips.items()},
            demand=demand(workload, _distinct(self.table, kept_rows), cover, settings),
            counted=", ".join(f"{limit.label or 'feasible'} {counts[limit]}" for limit in Limit if counts[limit]),
            samples=_samples(fresh, counts, scores, settings.kept_per_limit),
            allowed=allowed,
        )

    def _selected(self, workload: Workload) -> Flags:
        selected = np.ones(self.table.size, dtype=np.bool_)
        for key, value in sorted(workload.node_selector.items()):
            if (key, value) not in self.labels:
                self.labels[key, value] = self.table.mask_of_label(key, value)
            selected &= self.labels[key, value]
        return selected


_OPEN = np.int8(127)
"""Stands for no limit while the first of several is looked for as the least."""
_REACH_LIMITS: Mapping[Reach, Limit] = {
    Reach.UNREACHABLE: Limit.REACHABILITY,
    Reach.REVOKED: Limit.REACHABILITY,
    Reach.DRAINING: Limit.DRAIN,
}


def screen(snapshot: Snapshot, verdicts: Verdicts, table: NodeTable, settings: PlacementSettings) -> Screen:
    """Prepare to answer for the workloads of one snapshot."""
    return Screen(
        snapshot=snapshot,
        verdicts=verdicts,
        table=table,
        settings=settings,
        origins=origin_table(snapshot, table.site_ids),
        kinds=kinds(table),
        is_suspect=np.asarray(table.reach == REACH_CODES[Reach.SUSPECT]),
    )


def _within(
    workload: Workload, trips: Mapping[str, Ints], origins: tuple[str, ...], size: int, settings: PlacementSettings
) -> Flags:
    if not origins:
        return np.ones((0, size), dtype=np.bool_)
    most_us = (workload.slo.latency_p99_us or 0) - settings.service_time_us
    return np.stack([trips[origin] <= most_us for origin in origins])


def _worst_served_us(workload: Workload, trips: Mapping[str, Ints], within: Flags, size: int) -> Ints:
    # With an SLO a node serves the origins it reaches in time, the others are served elsewhere; without one, all.
    if not workload.slo.origins:
        return np.zeros(size, dtype=np.int64)
    every = np.stack([trips[origin] for origin in workload.slo.origins])
    if len(within):
        served = np.where(within, every, -1).max(axis=0)
        return np.asarray(np.where(served < 0, every.min(axis=0), served))
    return np.asarray(every.max(axis=0))


def _affordable(workload: Workload, scores: ScoreTable) -> Flags:
    fits = np.ones(len(scores.bill_microeur), dtype=np.bool_)
    if workload.budget.cost_microeur_month is not None:
        fits &= scores.bill_microeur <= workload.budget.cost_microeur_month
    if workload.budget.carbon_ug_month is not None:
        fits &= scores.carbon_ug <= workload.budget.carbon_ug_month
    return fits


def _large_enough(workload: Workload, table: NodeTable) -> Flags:
    enough = (table.amounts >= table.axes.vector(workload.resources)).all(axis=1)
    if workload.gpu is not None:
        enough &= (table.gpu_count >= workload.gpu.count) & table.has_model(workload.gpu)
    return np.asarray(enough)


def _masks(within: Flags, size: int) -> tuple[tuple[int, ...], Ints]:
    if not len(within):
        return (0,), np.zeros(size, dtype=np.int64)
    columns, inverse = np.unique(within.T, axis=0, return_inverse=True)
    masks = tuple(sum(1 << bit for bit in np.flatnonzero(column).tolist()) for column in columns)
    return masks, np.asarray(inverse.reshape(-1), dtype=np.int64)


def _distinct(table: NodeTable, rows: Ints) -> Mapping[Spread, int]:
    return {
        Spread.NODE: len(rows),
        Spread.SITE: len(_used(table.site[rows])),
        Spread.OPERATOR: len(_used(table.operator[rows])),
        Spread.JURISDICTION: len(_used(table.country[rows])),
    }


def _used(numbers: Ints) -> Ints:
    """The distinct numbers, ascending; they are row numbers, so counting beats sorting."""
    return np.flatnonzero(np.bincount(numbers)) if len(numbers) else numbers


def _cheapest_first(rows: Ints, scores: ScoreTable) -> Ints:
    """Rows by score, ties by node id. Kinds share scores, so few bits tell them apart and a radix sort does."""
    distinct, rank = np.unique(scores.kind_microeur, return_inverse=True)
    width = np.uint16 if len(distinct) < 2**16 else np.int64
    return np.asarray(rows[np.argsort(rank.astype(width)[scores.kind[rows]], kind="stable")])


def _samples(codes: Codes, counts: Sequence[int], scores: ScoreTable, most: int) -> Mapping[Limit, tuple[int, ...]]:
    found: dict[Limit, tuple[int, ...]] = {}
    for limit in Limit:
        if limit is Limit.NONE or not counts[limit]:
            continue
        rows = np.flatnonzero(codes == limit)
        totals = scores.total_microeur[rows]
        if len(rows) > most:
            near = np.flatnonzero(totals <= np.partition(totals, most - 1)[most - 1])
            rows, totals = rows[near], totals[near]
        found[limit] = tuple(rows[np.argsort(totals, kind="stable")][:most].tolist())
    return found
