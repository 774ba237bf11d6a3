"""Which nodes may take a workload at all: an ordered recipe of checks, each over whole columns.

`spec, columns, verdicts -> Feasibility`. The recipe is selector, reachability, drain, failure, policy, capacity,
latency, budget; the first check that a node fails is the limit that decided. Workloads that ask for the same share
one `Feasibility`; what changes while a plan is made (free room, failures of one workload) is checked by the caller.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from hanse.core.ids import NodeId, WorkloadId
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.verdict import Verdicts
from hanse.core.work import Workload
from hanse.placement.cover import least_cover
from hanse.placement.demand import Demand, Spread, demand
from hanse.placement.gravity import Gravity
from hanse.placement.growing import with_behind
from hanse.placement.ranking import cheapest_first, place_in, reordered
from hanse.placement.rates import Rates, rates_of, typical
from hanse.placement.score import ScoreTable, score, with_more_kinds
from hanse.placement.settings import PlacementSettings
from hanse.placement.table import GONE, REACH_CODES, Flags, Ints, Kinds, NodeTable, OriginTable, kinds, origin_table
from hanse.placement.tally import Tally, tally_of, with_tally

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
_WORDS = tuple(_LABELS.values())


NOTHING_FULL = (-1, -1)
"""Below every score and row."""


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
    open_of_kind: Ints
    """How many rows of `order` are of each kind."""
    place_of_kind: Ints
    """A number per kind of node for its site and operator, and so for all its failure domains."""
    origins: tuple[str, ...]
    """Origins that the latency SLO names; empty where there is no SLO."""
    reach_masks: tuple[int, ...]
    """Distinct sets of origins served within the SLO, one bit per origin."""
    mask_of_kind: Ints
    """Row number into `reach_masks` per kind of node."""
    trips_us: Mapping[str, Ints]
    """Round trip per origin and kind of node."""
    code_of_kind: Codes
    """The limit of each kind of node, policy and selector aside; `_OPEN` where there is none."""
    demand: Demand
    counts: Ints
    """Nodes per limit, before anything is placed."""
    tally: Tally
    samples: Mapping[Limit, tuple[int, ...]]
    """The best few rows per limit by score."""
    full_before: tuple[int, int] = NOTHING_FULL
    """Rows of `order` with a score and number below these were found full, unless room came back there since."""
    freed_seen: int = 0
    """Rows of `Room.freed` that were looked at when they were found full."""
    allowed: int = 0
    """Nodes that policy allows."""
    first: WorkloadId | None = None
    """The first workload by id that has this shape; set once all are known."""
    seen: int = 0
    """Changes of nodes taken in: entries of `Screen.changed`."""
    policy_class: int = 0
    """The number of the policy class that the shape is of."""
    offered: tuple[int, ...] = ()
    """What `demand` was worked out from: see `Screen._demand`."""
    counted: str = ""
    """Nodes per limit in words."""

    @property
    def every_origin(self) -> int:
        """The mask with every origin served."""
        return (1 << len(self.origins)) - 1

    def place_of(self, cost_and_row: tuple[int, int]) -> int:
        """The position in `order` before which everything costs less, or the same on a lower row."""
        return place_in(self.order, cost_and_row, self.scores)

    def pass_full(self, chunk: Ints, opened: Ints) -> None:
        """Note how far everything is full: up to the first of the open rows of a chunk, else up to its end."""
        first = opened[:1] if len(opened) else chunk[-1:]
        if len(first):
            self.full_before = int(self.scores.totals_microeur(first)[0]), int(first[0]) + (not len(opened))

    def places_at(self, cost_microeur: int) -> list[int]:
        """The places of all rows of `order` with one score."""
        kinds = np.flatnonzero((self.scores.kind_microeur == cost_microeur) & (self.open_of_kind > 0))
        return sorted({*self.place_of_kind[kinds].tolist()})

    def masks_of(self, rows: Ints) -> Ints:
        """Row numbers into `reach_masks` of some nodes."""
        return np.asarray(self.mask_of_kind[self.scores.kind[rows]])

    def trip_us(self, origin: str, row: int) -> int:
        """Round trip from an origin to a node."""
        return int(self.trips_us[origin][self.scores.kind[row]])


@dataclass(slots=True, kw_only=True)
class Screen:
    """Answers per shape of workload, each worked out once."""

    snapshot: Snapshot
    verdicts: Verdicts
    table: NodeTable
    settings: PlacementSettings
    origins: OriginTable
    kinds: Kinds
    gravity: Gravity
    rates: Rates
    shapes: dict[object, Feasibility] = field(default_factory=dict)
    labels: dict[tuple[str, str], Flags] = field(default_factory=dict)
    shared: dict[int, tuple[tuple[NodeId, ...], int]] = field(default_factory=dict)
    """Sets of allowed nodes by identity, with the number of their class; workloads of a policy class share one."""
    classes: dict[tuple[NodeId, ...], int] | None = None
    """The same by value, worked out where identity does not tell."""
    masks: list[Flags] = field(default_factory=list)
    """Rows allowed, per class."""
    speakers: list[list[WorkloadId]] = field(default_factory=list)
    """A few workloads of each class: policy is asked about a changed node on their behalf."""
    parts: dict[tuple[int, object], _PerKind] = field(default_factory=dict)
    """What the recipe says of the kinds from a number on, by what is asked; for as long as no node changes."""
    grounds: dict[object, Feasibility] = field(default_factory=dict)
    """One shape for each of those that only their demand tells apart."""
    reads_data: bool = False
    """Some workload reads data sets, so that what sending from one site costs counts at every other."""
    changed: list[int] = field(default_factory=list)
    """Rows whose facts or reach changed since the start, in order of change; shapes take them in when asked for."""

    def again(self, known: Feasibility, workload: Workload) -> Feasibility:
        """The feasibility of a workload whose spec is as it was when `known` was found for it."""
        number = self._class_of(workload.id)
        if number != known.policy_class:
            return self.of(workload)
        if known.seen < len(self.changed):
            self._catch_up(known, workload, self.masks[number])
        return known

    def of(self, workload: Workload) -> Feasibility:
        """The feasibility of a workload's shape."""
        number = self._class_of(workload.id)
        key = (
            workload.resources,
            workload.gpu,
            workload.priority,
            workload.objective,
            workload.slo,
            workload.budget,
            workload.replicas,
            workload.most_replicas,
            workload.egress_bytes_month,
            (workload.data.reads, workload.data.sets, workload.job) if workload.data.sets else None,
            tuple(sorted(workload.node_selector.items())) if workload.node_selector else (),
            number,
        )
        found = self.shapes.get(key)
        if found is None:
            found = self.shapes[key] = self._screen(workload, number)
        elif found.seen < len(self.changed):
            self._catch_up(found, workload, self.masks[number])
        return found

    def take_in(
        self,
        snapshot: Snapshot,
        verdicts: Verdicts,
        *,
        table: NodeTable,
        changed: Kinds,
        gravity: Gravity,
        rows: Ints,
        nodes: Sequence[NodeId],
    ) -> None:
        """Go on with changed nodes: what is known of all others stays, shapes catch up when they are asked for.

        A class is spoken for by workloads whose verdicts are as they were: see `hush`.
        """
        for number, mask in enumerate(self.masks):
            speaker = next((w for w in self.speakers[number] if w in snapshot.workloads), None)
            longer = with_behind(mask, np.zeros(table.size - len(mask), dtype=np.bool_))
            for node in nodes:
                is_there = speaker is not None and node in snapshot.fabric.nodes
                longer[table.row_of[node]] = is_there and _allows(verdicts, speaker, node)
            self.masks[number] = longer
        self.snapshot, self.verdicts, self.table, self.kinds = snapshot, verdicts, table, changed
        self.gravity = gravity
        self.parts.clear()
        for (key, value), mask in self.labels.items():
            longer = with_behind(mask, np.zeros(table.size - len(mask), dtype=np.bool_))
            longer[rows] = table.picked(rows).mask_of_label(key, value)
            self.labels[key, value] = longer
        self.changed.extend(rows.tolist())
        self._share_again()

    def hush(self, workloads: Collection[WorkloadId]) -> None:
        """Let workloads that changed speak for no class: their verdicts may have changed with them."""
        for speakers in self.speakers:
            speakers[:] = [w for w in speakers if w not in workloads]

    def renew(self, snapshot: Snapshot, verdicts: Verdicts) -> None:
        """Go on with other workloads on the same nodes."""
        is_other = verdicts is not self.verdicts
        self.snapshot, self.verdicts = snapshot, verdicts
        if is_other:
            self._share_again()

    def _share_again(self) -> None:
        """Find the sets that stand for the classes in new verdicts; a class that nobody speaks for is dropped."""
        self.classes, self.shared = None, {}
        for number, speakers in enumerate(self.speakers):
            speakers[:] = [w for w in speakers if w in self.snapshot.workloads]
            if speakers:
                permitted = self.verdicts.allowed(speakers[0])
                self.shared.setdefault(id(permitted), (permitted, number))

    def _class_of(self, workload: WorkloadId) -> int:
        """The number of the policy class of a workload, found by identity first, by value where that is new."""
        permitted = self.verdicts.allowed(workload)
        known = self.shared.get(id(permitted))
        if known is None:
            if self.classes is None:
                self.classes = dict(reversed(self.shared.values()))
            number = self.classes.get(permitted)
            if number is None:
                number = self.classes[permitted] = len(self.masks)
                mask = np.zeros(self.table.size, dtype=np.bool_)
                mask[[self.table.row_of[node] for node in permitted if node in self.table.row_of]] = True
                self.masks.append(mask)
                self.speakers.append([])
            known = self.shared[id(permitted)] = permitted, number
        if len(self.speakers[known[1]]) < _MOST_SPEAKERS:
            self.speakers[known[1]].append(workload)
        return known[1]

    def _screen(self, workload: Workload, number: int) -> Feasibility:
        """The feasibility of a new shape: who asks for another count of the same has all but the demand in common."""
        ground = (_asked_of_kinds(workload), tuple(sorted(workload.node_selector.items())), number)
        like = self.grounds.get(ground)
        if like is None or like.seen < len(self.changed):
            found = self.grounds[ground] = self._laid_out(workload, self.masks[number])
        else:
            found = _copied(like)
        found.seen, found.policy_class = len(self.changed), number
        self._settle_demand(workload, found)
        return found

    def _laid_out(self, workload: Workload, is_allowed: Flags) -> Feasibility:
        """Work the recipe out once per kind of node, then policy and selector per node."""
        kinds, settings = self.kinds, self.settings
        part = self._part(workload, 0)
        is_selected = self._selected(workload) if workload.node_selector else None
        every = np.arange(self.table.size)
        kept = _per_node(part.code, kinds, every, is_allowed, is_selected)
        fresh = self._without_suspects(kept, every)
        kept_rows = np.flatnonzero(kept == Limit.NONE)
        order = cheapest_first(np.flatnonzero(fresh == Limit.NONE), part.scores)
        counts = np.bincount(fresh, minlength=len(Limit))
        return Feasibility(
            limit=fresh,
            limit_if_kept=kept,
            scores=part.scores,
            order=order,
            open_of_kind=np.bincount(kinds.of_row[order], minlength=kinds.table.size),
            place_of_kind=part.place_of_kind,
            origins=_slo_origins(workload),
            reach_masks=part.masks,
            mask_of_kind=part.mask_of_kind,
            trips_us=part.trips_us,
            code_of_kind=part.code,
            demand=_NO_DEMAND,
            counts=counts,
            tally=tally_of(self.table, kept_rows, part.mask_of_kind[kinds.of_row[kept_rows]]),
            samples=_samples(fresh, counts.tolist(), part.scores, settings.kept_per_limit),
            allowed=int(np.count_nonzero(is_allowed)),
            counted=_in_words(counts),
        )

    def _catch_up(self, shape: Feasibility, workload: Workload, is_allowed: Flags) -> None:
        """Take in the nodes that changed since this shape was last asked for."""
        table, kinds = self.table, self.kinds
        rows = np.array(sorted({*self.changed[shape.seen :]}), dtype=np.int64)
        shape.seen = len(self.changed)
        known, before = len(shape.code_of_kind), shape.scores
        if known < kinds.table.size:
            more = self._part(workload, known)
            masks, mask_of_kind = more.masks, more.mask_of_kind
            numbers = {mask: number for number, mask in enumerate((*dict.fromkeys((*shape.reach_masks, *masks)),))}
            shape.place_of_kind = np.concatenate([shape.place_of_kind, more.place_of_kind])
            shape.open_of_kind = with_behind(shape.open_of_kind, np.zeros(len(more.code), dtype=np.int64))
            shape.scores = with_more_kinds(shape.scores, more.scores)
            shape.code_of_kind = np.concatenate([shape.code_of_kind, more.code])
            shape.trips_us = {o: np.concatenate([trip, more.trips_us[o]]) for o, trip in shape.trips_us.items()}
            number_of = np.array([numbers[mask] for mask in masks], dtype=np.int64)
            shape.mask_of_kind = np.concatenate([shape.mask_of_kind, number_of[mask_of_kind]])
            shape.reach_masks = tuple(numbers)
        elif shape.scores.kind is not kinds.of_row:
            shape.scores = replace(shape.scores, kind=kinds.of_row)
        is_selected = None
        if workload.node_selector:
            is_selected = table.picked(rows).mask_of_labels(workload.node_selector)
        kept = _per_node(shape.code_of_kind, kinds, rows, is_allowed[rows], is_selected)
        fresh = self._without_suspects(kept, rows)
        old = rows[rows < len(shape.limit)]
        shape.counts += np.bincount(fresh, minlength=len(Limit))
        shape.counts -= np.bincount(shape.limit[old], minlength=len(Limit))
        was_kept = np.zeros(len(rows), dtype=np.bool_)
        was_kept[: len(old)] = shape.limit_if_kept[old] == Limit.NONE
        if shape.limit is shape.limit_if_kept:
            shape.limit = shape.limit.copy()
        was_open = old[shape.limit[old] == Limit.NONE]
        shape.limit_if_kept = _written(shape.limit_if_kept, rows, kept, table.size)
        shape.limit = _written(shape.limit, rows, fresh, table.size)
        is_open = fresh == Limit.NONE
        np.subtract.at(shape.open_of_kind, before.kind[was_open], 1)
        np.add.at(shape.open_of_kind, shape.scores.kind[rows[is_open]], 1)
        shape.order = reordered(shape.order, was_open, before, rows[is_open], shape.scores)
        shape.samples = {
            limit: tuple(row for row in some if shape.limit[row] == limit) for limit, some in shape.samples.items()
        }
        shape.allowed = int(np.count_nonzero(is_allowed))
        shape.counted = _in_words(shape.counts)
        turned = was_kept != (kept == Limit.NONE)
        if turned.any():
            # Neither site nor operator of a node changes by an event, so each is counted where it was.
            for some, times in ((rows[turned & ~was_kept], 1), (rows[turned & was_kept], -1)):
                if len(some):
                    shape.tally = with_tally(shape.tally, tally_of(table, some, shape.masks_of(some)), times)
            self._settle_demand(workload, shape)

    def _part(self, workload: Workload, first: int) -> _PerKind:
        """What the recipe says of the kinds from one on, worked out once for all who ask the same of a kind."""
        key = (first, _asked_of_kinds(workload))
        found = self.parts.get(key)
        if found is None:
            kinds = self.kinds
            if first:
                kinds = Kinds(of_row=kinds.of_row, table=kinds.table.picked(np.arange(first, kinds.table.size)))
            found = self.parts[key] = self._per_kind(workload, kinds)
        return found

    def _per_kind(self, workload: Workload, kinds: Kinds) -> _PerKind:
        table, settings = kinds.table, self.settings
        trips = {origin: self.origins.to_sites_us(origin)[table.site] for origin in workload.slo.origins}
        slo_origins = _slo_origins(workload)
        self.reads_data = self.reads_data or bool(workload.data.sets)
        within = _within(workload, trips, slo_origins, table.size, settings)
        scores = score(workload, kinds, _worst_served_us(workload, trips, within, table.size), self.gravity, settings)
        codes = np.full(table.size, _OPEN, dtype=np.int8)
        # Written last to first, so that the first check of the recipe that fails is the one that stays.
        codes[~_affordable(workload, scores)] = Limit.BUDGET
        if slo_origins:
            codes[~within.any(axis=0)] = Limit.LATENCY
        codes[~_large_enough(workload, table)] = Limit.CAPACITY
        for reach, limit in _REACH_LIMITS.items():
            codes[table.reach == REACH_CODES[reach]] = limit
        codes[table.reach == GONE] = Limit.REACHABILITY
        masks, mask_of_kind = _masks(within, table.size)
        return _PerKind(
            code=codes,
            scores=scores,
            masks=masks,
            mask_of_kind=mask_of_kind,
            place_of_kind=table.site * len(table.places.operators) + table.operator,
            trips_us=trips,
        )

    def _without_suspects(self, kept: Codes, rows: Ints) -> Codes:
        is_suspect = self.table.reach[rows] == REACH_CODES[Reach.SUSPECT]
        if not is_suspect.any():
            return kept
        fresh = kept.copy()
        fresh[(kept == Limit.NONE) & is_suspect] = Limit.REACHABILITY
        return fresh

    def _settle_demand(self, workload: Workload, shape: Feasibility) -> None:
        """Work the demand out where something that it follows from is not as it was."""
        usable = tuple(shape.reach_masks[index] for index in np.flatnonzero(shape.tally.mask).tolist())
        settings = self.settings
        if workload.slo.availability_ppm is not None and not self.rates.is_assumed:
            kept_rows = np.flatnonzero(shape.limit_if_kept == Limit.NONE)
            settings = typical(self.rates, self.table, kept_rows, settings)
        # More domains than replicas may be asked for tell nothing more.
        distinct = {level: min(there, settings.most_replicas) for level, there in shape.tally.distinct.items()}
        offered = (*settings.down_ppm, *distinct.values(), *usable)
        if offered != shape.offered:
            shape.offered = offered
            shape.demand = demand(workload, distinct, least_cover(shape.every_origin, usable), settings)

    def _selected(self, workload: Workload) -> Flags:
        selected = np.ones(self.table.size, dtype=np.bool_)
        for key, value in sorted(workload.node_selector.items()):
            if (key, value) not in self.labels:
                self.labels[key, value] = self.table.mask_of_label(key, value)
            selected &= self.labels[key, value]
        return selected


@dataclass(frozen=True, slots=True, kw_only=True)
class _PerKind:
    """What the recipe says of kinds of nodes, one entry each."""

    code: Codes
    scores: ScoreTable
    masks: tuple[int, ...]
    mask_of_kind: Ints
    place_of_kind: Ints
    trips_us: Mapping[str, Ints]


def _asked_of_kinds(workload: Workload) -> object:
    """What tells workloads apart that the recipe would judge a kind of node by."""
    reads = (workload.data.reads, workload.data.sets, workload.job) if workload.data.sets else None
    resources, slo, budget = workload.resources, workload.slo, workload.budget
    return resources, workload.gpu, workload.objective, slo, budget, workload.egress_bytes_month, reads


def _copied(like: Feasibility) -> Feasibility:
    """The same to go on with apart, with nothing known of what is full."""
    limit = like.limit.copy()
    return replace(
        like,
        limit=limit,
        limit_if_kept=limit if like.limit_if_kept is like.limit else like.limit_if_kept.copy(),
        order=like.order.copy(),
        open_of_kind=like.open_of_kind.copy(),
        counts=like.counts.copy(),
        full_before=NOTHING_FULL,
        freed_seen=0,
        first=None,
        offered=(),
    )


_MOST_SPEAKERS = 16
_BITS = 63
"""Sets of so many origins do not fit a machine word."""
_NO_DEMAND = Demand(replicas=0, spread=Spread.NODE, why="")
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
        gravity=Gravity(fabric=snapshot.fabric, settings=settings, site_ids=table.site_ids),
        rates=rates_of(snapshot, table, settings),
    )


def _allows(verdicts: Verdicts, workload: WorkloadId | None, node: NodeId) -> bool:
    try:
        return workload is not None and verdicts.of(workload, node).is_allowed
    except KeyError:
        return False  # A pair that nobody screened is not allowed.


def _slo_origins(workload: Workload) -> tuple[str, ...]:
    return workload.slo.demanding if workload.slo.latency_p99_us is not None else ()


def _per_node(code: Codes, kinds: Kinds, rows: Ints, is_allowed: Flags, is_selected: Flags | None) -> Codes:
    """The limit of some nodes for a replica that is there already, from that of their kinds."""
    found = np.minimum(code[kinds.of_row[rows]], np.where(is_allowed, _OPEN, np.int8(Limit.POLICY)))
    if is_selected is not None:
        found[~is_selected] = Limit.SELECTOR
    found[found == _OPEN] = Limit.NONE
    return found


def _in_words(counts: Ints) -> str:
    return ", ".join(
        f"{label or 'feasible'} {count}" for label, count in zip(_WORDS, counts.tolist(), strict=True) if count
    )


def _written(codes: Codes, rows: Ints, values: Codes, size: int) -> Codes:
    """The limits with those of some rows written, as long as the table has become. Takes over `codes`."""
    longer = with_behind(codes, np.zeros(size - len(codes), dtype=np.int8)) if len(codes) < size else codes
    longer[rows] = values
    return longer


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
    origins = workload.slo.demanding if len(within) else workload.slo.origins
    every = np.stack([trips[origin] for origin in origins])
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
    if len(within) >= _BITS:
        columns, inverse = np.unique(within.T, axis=0, return_inverse=True)
        masks = tuple(sum(1 << bit for bit in np.flatnonzero(column).tolist()) for column in columns)
        return masks, np.asarray(inverse.reshape(-1), dtype=np.int64)
    distinct, inverse = np.unique((1 << np.arange(len(within))) @ within, return_inverse=True)
    return tuple(distinct.tolist()), np.asarray(inverse, dtype=np.int64)


def _samples(codes: Codes, counts: Sequence[int], scores: ScoreTable, most: int) -> Mapping[Limit, tuple[int, ...]]:
    found: dict[Limit, tuple[int, ...]] = {}
    for limit in Limit:
        if limit is Limit.NONE or not counts[limit]:
            continue
        rows = np.flatnonzero(codes == limit)
        totals = scores.totals_microeur(rows)
        if len(rows) > most:
            near = np.flatnonzero(totals <= np.partition(totals, most - 1)[most - 1])
            rows, totals = rows[near], totals[near]
        found[limit] = tuple(rows[np.argsort(totals, kind="stable")][:most].tolist())
    return found
