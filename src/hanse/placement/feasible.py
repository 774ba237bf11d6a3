"""Which nodes may take a workload at all: an ordered recipe of checks, each over whole columns.

`spec, columns, verdicts -> Feasibility`. The recipe is selector, reachability, drain, failure, policy, capacity,
latency, budget; the first check that a node fails is the limit that decided. Workloads that ask for the same share
one `Feasibility`; what changes while a plan is made (free room, failures of one workload) is checked by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from hanse.core.ids import NodeId
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.verdict import Verdicts
from hanse.core.work import Workload
from hanse.placement.choose import least_cover
from hanse.placement.demand import Demand, Spread, demand
from hanse.placement.score import ScoreTable, score
from hanse.placement.settings import PlacementSettings
from hanse.placement.table import REACH_CODES, Flags, Ints, NodeTable, OriginTable, origin_table

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
        return "" if self is Limit.NONE else self.name.lower()


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
    counts: Mapping[Limit, int]
    """Nodes per limit, before anything is placed."""
    samples: Mapping[Limit, tuple[int, ...]]
    """The best few rows per limit by score."""
    first_open: int = 0
    """Rows of `order` before this one were found full; valid while `releases` is that of the room."""
    releases: int = 0

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
    shapes: dict[object, Feasibility] = field(default_factory=dict)
    labels: dict[tuple[str, str], Flags] = field(default_factory=dict)
    # Kept with the tuple itself, so that an id is not reused by another tuple while it is a key.
    allowed: dict[int, tuple[tuple[NodeId, ...], Flags]] = field(default_factory=dict)

    def of(self, workload: Workload) -> Feasibility:
        """The feasibility of a workload's shape."""
        permitted = self.verdicts.allowed(workload.id)
        key = (
            workload.resources,
            workload.objective,
            workload.slo,
            workload.budget,
            workload.replicas,
            tuple(sorted(workload.node_selector.items())),
            id(permitted),
        )
        # Registering the tuple first pins its id for as long as the key lives.
        mask = self._policy(permitted)
        if key not in self.shapes:
            self.shapes[key] = self._screen(workload, mask)
        return self.shapes[key]

    def _policy(self, permitted: tuple[NodeId, ...]) -> Flags:
        if id(permitted) not in self.allowed:
            mask = np.zeros(self.table.size, dtype=np.bool_)
            mask[[self.table.row_of[node] for node in permitted if node in self.table.row_of]] = True
            self.allowed[id(permitted)] = (permitted, mask)
        return self.allowed[id(permitted)][1]

    def _screen(self, workload: Workload, is_allowed: Flags) -> Feasibility:
        table, settings = self.table, self.settings
        trips = {origin: self.origins.to_sites_us(origin)[table.site] for origin in workload.slo.origins}
        slo_origins = workload.slo.origins if workload.slo.latency_p99_us is not None else ()
        within = _within(workload, trips, slo_origins, table.size, settings)
        worst_us = _worst_served_us(workload, trips, within, table.size)
        scores = score(workload, table, worst_us, settings)
        codes = np.zeros(table.size, dtype=np.int8)
        # Written last to first, so that the first check of the recipe that fails is the one that stays.
        codes[~_affordable(workload, scores)] = Limit.BUDGET
        if slo_origins:
            codes[~within.any(axis=0)] = Limit.LATENCY
        codes[~_large_enough(workload, table)] = Limit.CAPACITY
        codes[~is_allowed] = Limit.POLICY
        for reach, limit in _REACH_LIMITS.items():
            codes[table.reach == REACH_CODES[reach]] = limit
        codes[~self._selected(workload)] = Limit.SELECTOR
        fresh = codes.copy()
        fresh[(codes == Limit.NONE) & (table.reach == REACH_CODES[Reach.SUSPECT])] = Limit.REACHABILITY
        masks, mask_of_row = _masks(within, table.size)
        kept_rows = np.flatnonzero(codes == Limit.NONE)
        usable = [masks[index] for index in np.unique(mask_of_row[kept_rows])]
        cover = least_cover((1 << len(slo_origins)) - 1, usable)
        rows = np.flatnonzero(fresh == Limit.NONE)
        return Feasibility(
            limit=fresh,
            limit_if_kept=codes,
            scores=scores,
            order=rows[np.argsort(scores.total_microeur[rows], kind="stable")],
            origins=slo_origins,
            reach_masks=masks,
            mask_of_row=mask_of_row,
            trips_us=trips,
            demand=demand(workload, _distinct(table, kept_rows), cover, settings),
            counts={limit: n for limit in Limit if (n := int((fresh == limit).sum()))},
            samples=_samples(fresh, scores, settings.kept_per_limit),
        )

    def _selected(self, workload: Workload) -> Flags:
        selected = np.ones(self.table.size, dtype=np.bool_)
        for key, value in sorted(workload.node_selector.items()):
            if (key, value) not in self.labels:
                self.labels[key, value] = self.table.mask_of_label(key, value)
            selected &= self.labels[key, value]
        return selected


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
    enough_cpu = table.cpu_milli >= workload.resources.cpu_milli
    return np.asarray(enough_cpu & (table.memory_bytes >= workload.resources.memory_bytes))


def _masks(within: Flags, size: int) -> tuple[tuple[int, ...], Ints]:
    if not len(within):
        return (0,), np.zeros(size, dtype=np.int64)
    columns, inverse = np.unique(within.T, axis=0, return_inverse=True)
    masks = tuple(sum(1 << bit for bit in np.flatnonzero(column).tolist()) for column in columns)
    return masks, np.asarray(inverse.reshape(-1), dtype=np.int64)


def _distinct(table: NodeTable, rows: Ints) -> Mapping[Spread, int]:
    return {
        Spread.NODE: len(rows),
        Spread.SITE: len(np.unique(table.site[rows])),
        Spread.OPERATOR: len(np.unique(table.operator[rows])),
        Spread.JURISDICTION: len(np.unique(table.country[rows])),
    }


def _samples(codes: Codes, scores: ScoreTable, most: int) -> Mapping[Limit, tuple[int, ...]]:
    found: dict[Limit, tuple[int, ...]] = {}
    for limit in Limit:
        rows = np.flatnonzero(codes == limit)
        if limit is not Limit.NONE and len(rows):
            best = rows[np.argsort(scores.total_microeur[rows], kind="stable")][:most]
            found[limit] = tuple(best.tolist())
    return found
