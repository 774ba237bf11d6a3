"""A plan as a mixed-integer program: a whole number of replicas of each kind of work on each node, and back again.

`run, outcomes -> Model, groups -> outcomes`. Workloads that ask for the same and run nowhere are counted together; the
rows are capacities, counts, spread, origins and budgets. It solves nothing and knows no order of search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hanse.core.ids import WorkloadId
from hanse.core.work import Budget
from hanse.placement.choose import domains_for
from hanse.placement.demand import Spread
from hanse.placement.feasible import Limit
from hanse.placement.neighbourhoods import Neighbourhood
from hanse.placement.outcome import Outcome, Placing, totals_microeur
from hanse.placement.planner import Run
from hanse.placement.solvers.mip import Floats, Model, Solution
from hanse.placement.table import Ints, Room, full_room

_MOST_COLUMNS = 60_000
"""Columns of one program: what HiGHS gets through the root of in seconds. Larger fabrics go by neighbourhoods."""
_MOST_WORTH = 1e6
"""Weight of one replica beside one of the lowest priority: beyond it solvers lose the small ones in rounding."""
SCALE = 1e6
"""The program counts in euros: solvers keep their precision where costs are of the order of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Workloads that are counted together: all of one shape, or a single one."""

    placings: Sequence[Placing]
    replicas: int
    """Per workload."""
    rows: Ints
    totals: Ints
    first: int
    """Number of its first column."""


def program(
    run: Run,
    outcomes: Mapping[WorkloadId, Outcome],
    hood: Neighbourhood | None,
    waiting: frozenset[WorkloadId] = frozenset(),
) -> tuple[Model | None, Sequence[Group]]:
    """The program of a neighbourhood, or of everything: None where that is too large.

    Who is `waiting` may get a place and need not; who else misses replicas is held as it is.
    """
    model, groups, table = Model(), [], run.world.table
    taken = full_room(table)
    for together in _counted_together(run, outcomes):
        placings, rest = _of_hood(together, hood)
        if outcomes[together[0].workload.id].missing and together[0].workload.id not in waiting:
            placings, rest = (), together
        _take(taken, rest, outcomes)
        if not placings:
            continue
        one, outcome = placings[0], outcomes[placings[0].workload.id]
        open_rows = None
        if hood is not None:
            open_rows = np.union1d(hood.rows, np.concatenate([outcomes[p.workload.id].rows for p in placings]))
        group = _group(one, placings, outcome, model, run, open_rows=open_rows)
        if group is None:
            _take(taken, placings, outcomes)
            continue
        if hood is None and len(model.costs) > _MOST_COLUMNS:
            return None, ()
        groups.append(group)
        _add_rows(model, group, run, is_optional=one.workload.id in waiting)
    for axis, capacity in enumerate(taken.free):
        columns = np.concatenate([np.arange(len(g.rows)) + g.first for g in groups] or [np.empty(0, dtype=np.int64)])
        rows = np.concatenate([g.rows for g in groups] or [np.empty(0, dtype=np.int64)])
        amounts = [float(table.axes.vector(g.placings[0].workload.resources)[axis]) for g in groups]
        needs = [np.full(len(g.rows), amount) for g, amount in zip(groups, amounts, strict=True)]
        values = np.concatenate([*needs, np.empty(0)])
        order = np.argsort(rows, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(rows[order])) + 1):
            if len(part) and values[part].any():
                most = float(capacity[rows[part[0]]])
                model.add_row(columns[part], values[part] / max(most, 1.0), upper=1.0)
    return model, groups


def _of_hood(together: Sequence[Placing], hood: Neighbourhood | None) -> tuple[Sequence[Placing], Sequence[Placing]]:
    """Those of a group that may move, and those that stay."""
    if hood is None:
        return together, ()
    inside = [placing for placing in together if placing.workload.id in hood.workloads]
    return inside, [placing for placing in together if placing.workload.id not in hood.workloads]


def _take(room: Room, placings: Sequence[Placing], outcomes: Mapping[WorkloadId, Outcome]) -> None:
    for placing in placings:
        for row in outcomes[placing.workload.id].rows.tolist():
            room.take(row, placing.workload.resources)


def _counted_together(run: Run, outcomes: Mapping[WorkloadId, Outcome]) -> Iterator[Sequence[Placing]]:
    """Groups whose counts per node can be dealt out to single workloads again; all others one by one."""
    for group in (part for whole in run.queue for part in _parted(whole, outcomes)):
        one = group[0]
        is_plain = one.workload.budget == Budget() and len(one.feasibility.reach_masks) == 1
        wanted = {outcomes[placing.workload.id].wanted for placing in group}
        if wanted == {1} or (len(wanted) == 1 and is_plain and one.feasibility.demand.spread <= Spread.SITE):
            yield group
        else:
            yield from ([placing] for placing in group)


def _parted(group: Sequence[Placing], outcomes: Mapping[WorkloadId, Outcome]) -> Iterator[Sequence[Placing]]:
    """Those of a group that have all their replicas, and those that miss some."""
    for is_short in (False, True):
        part = [placing for placing in group if bool(outcomes[placing.workload.id].missing) is is_short]
        if part:
            yield part


def _group(
    one: Placing, placings: Sequence[Placing], outcome: Outcome, model: Model, run: Run, *, open_rows: Ints | None
) -> Group | None:
    feasibility = one.feasibility
    if one.workload.gpu is not None:
        return None  # Devices do not add up: a count per node says nothing about which of them are free.
    rows = np.flatnonzero(feasibility.limit == Limit.NONE)
    rows = np.union1d(rows[~np.isin(rows, one.excluded)], one.kept)
    if open_rows is not None:
        rows = np.intersect1d(rows, open_rows)
    if outcome.wanted == 1 and feasibility.every_origin:
        serves = np.array([mask == feasibility.every_origin for mask in feasibility.reach_masks], dtype=np.bool_)
        rows = rows[serves[feasibility.masks_of(rows)]]
    if any(len(np.unique(column)) < len(column) for column in domains_of_rows(one, outcome.rows, run)):
        return None
    totals = totals_microeur(one, rows, run.world.settings)
    first = model.add_columns(totals / SCALE, float(len(placings)))
    return Group(placings=placings, replicas=outcome.wanted, rows=rows, totals=totals, first=first)


def domains_of_rows(one: Placing, rows: Ints, run: Run) -> tuple[Ints, ...]:
    """The failure domains, one column each, of which the replicas of a workload may share none."""
    table = run.world.table
    return domains_for(one.feasibility.demand.spread, table.site[rows], table.operator[rows], table.country[rows])


def _add_rows(model: Model, group: Group, run: Run, *, is_optional: bool) -> None:
    """The count, the spread, the origins and the budget of one group."""
    one, many = group.placings[0], float(len(group.placings))
    columns = np.arange(len(group.rows)) + group.first
    model.add_row(columns, 1.0, lower=0.0 if is_optional else many * group.replicas, upper=many * group.replicas)
    if is_optional:
        return  # A single replica: its rows serve every origin within its budget.
    for column in domains_of_rows(one, group.rows, run):
        order = np.argsort(column, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(column[order])) + 1):
            if len(part) > 1:
                model.add_row(columns[part], 1.0, upper=many)
    feasibility = one.feasibility
    for bit in range(len(feasibility.origins)):
        serves = np.array([mask >> bit & 1 for mask in feasibility.reach_masks], dtype=np.bool_)
        model.add_row(columns[serves[feasibility.masks_of(group.rows)]], 1.0, lower=many)
    budget, scores = one.workload.budget, feasibility.scores
    if group.replicas > 1:
        for most, amounts in (
            (budget.cost_microeur_month, scores.bills_microeur(group.rows)),
            (budget.carbon_ug_month, scores.carbons_ug(group.rows)),
        ):
            if most is not None:
                model.add_row(columns, amounts / max(most, 1), upper=1.0)


def point_of(model: Model, groups: Sequence[Group], outcomes: Mapping[WorkloadId, Outcome]) -> Floats:
    """The incremental plan as a point of the program."""
    point = np.zeros(len(model.costs))
    for group in groups:
        for placing in group.placings:
            point[group.first + np.searchsorted(group.rows, outcomes[placing.workload.id].rows)] += 1
    return point


def decoded(run: Run, groups: Sequence[Group], solution: Solution) -> Iterator[tuple[WorkloadId, Outcome]]:
    """Deal the counts of each group out to its workloads, so that none gets two of one site."""
    values = solution.values if solution.values is not None else np.empty(0)
    for group in groups:
        counts = np.rint(values[group.first : group.first + len(group.rows)]).astype(np.int64)
        by_site = np.lexsort((group.rows, run.world.table.site[group.rows]))
        units = np.repeat(by_site, counts[by_site])
        for index, placing in enumerate(group.placings):
            mine = np.sort(units[index :: len(group.placings)])
            totals = group.totals[mine]
            yield (
                placing.workload.id,
                Outcome(
                    wanted=group.replicas,
                    rows=group.rows[mine],
                    totals_microeur=totals,
                    uncovered=0,
                    bound_microeur=int(totals.sum()),
                ),
            )


def prefer_complete(model: Model, groups: Sequence[Group], waiting: Mapping[WorkloadId, Placing]) -> None:
    """Let the program count replicas first, those of higher priority above all others, and costs only among equals."""
    most = sum(len(group.placings) * group.replicas * int(group.totals.max(initial=0)) for group in groups)
    share = 0.5 * SCALE / max(most, 1)
    model.costs = [cost * share for cost in model.costs]
    ranks = sorted({placing.workload.priority for placing in waiting.values()})
    for group in groups:
        if group.placings[0].workload.id in waiting:
            rank = ranks.index(group.placings[0].workload.priority)
            worth = float(min((len(waiting) + 1) ** rank, _MOST_WORTH))
            for column in range(group.first, group.first + len(group.rows)):
                model.costs[column] -= worth
