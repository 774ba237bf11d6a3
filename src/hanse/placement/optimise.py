"""The global solver: every workload at once, to the optimum or within a stated gap of it.

`Snapshot, Verdicts, parent, Effort -> Plan`. Starts from the incremental plan, or from a plan given where that is still
legal and costs less. Models the fabric as one mixed-integer program (workloads that ask for the same and run nowhere
are counted together) where that is small enough; where it is not, or leaves a gap, one neighbourhood after the other is
solved: the workloads and nodes of one region, then the workloads that are furthest from their best place together with
those that hold it. Nothing is accepted that costs more, so it may be stopped at any time. The plan's bound is that of
the whole program, else the sum of what each workload would cost alone: no legal plan that places as many replicas as
far apart costs less. It is the same `Plan` value with the same explanations, and `audit` checks it the same way.

More capacity never makes it worse: a plan made with less is legal with more, and given as the start it is the most that
the answer may cost. Without a watch it takes effort and no clock; where a replica is missing the incremental plan
stands; where a spread is out of reach, what was chosen for that workload stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hanse.core.ids import WorkloadId
from hanse.core.plan import Plan
from hanse.core.rng import Rng
from hanse.core.snapshot import Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Verdicts
from hanse.core.work import Budget
from hanse.placement.choose import domains_for
from hanse.placement.demand import Spread
from hanse.placement.feasible import Limit
from hanse.placement.neighbourhoods import Neighbourhood, neighbourhoods
from hanse.placement.outcome import Outcome, Placing, limits_now, totals_microeur
from hanse.placement.planner import Run, assemble, place_all, prepare
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings
from hanse.placement.solvers.mip import DEFAULT_EFFORT, Effort, Floats, Model, Solution, Watch, solve
from hanse.placement.table import Ints, Room, among, full_room

_MOST_COLUMNS = 60_000
"""Columns of one program: what HiGHS gets through the root of in seconds. Larger fabrics go by neighbourhoods."""
_SHARE = 0.1
"""Part of the search nodes that one neighbourhood may use."""
_MOST_ROUNDS = 60
"""Neighbourhoods solved per call without a watch or with one."""
_SCALE = 1e6
"""The program counts in euros: solvers keep their precision where costs are of the order of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Workloads that are counted together: all of one shape, or a single one."""

    placings: Sequence[Placing]
    replicas: int
    """Per workload."""
    rows: Ints
    totals: Ints
    first: int
    """Number of its first column."""


def optimise(
    snapshot: Snapshot,
    verdicts: Verdicts,
    parent: Plan | None,
    *,
    now: WallTime,
    rng: Rng,
    trigger: str,
    settings: PlacementSettings = DEFAULT_SETTINGS,
    effort: Effort = DEFAULT_EFFORT,
    start: Plan | None = None,
    watch: Watch | None = None,
) -> Plan:
    """Decide where every replica of every workload runs, near the least objective, with a bound.

    Arguments as for `hanse.placement.plan`; `effort` says how hard to try, `start` is a plan to do no worse than
    (`parent` where none is given), `watch` a time to stop at. Never worse than the incremental plan. Equal inputs give
    equal plans, unless a watch cuts them short. Raises SolverFailed.
    """
    del rng
    run = prepare(snapshot, verdicts, parent, now=now, settings=settings)
    outcomes = place_all(run)
    if any(outcome.missing or outcome.displaced for outcome in outcomes.values()):
        return assemble(run, outcomes, trigger)
    best = _started(run, outcomes, start if start is not None else parent)
    alone = sum(outcome.bound_microeur for outcome in outcomes.values())
    whole = _solved(run, best, effort, watch, None)
    bound = alone
    if whole is not None:
        best, found = whole
        bound = alone if found is None else max(alone, found)
    if whole is None or _cost(best) - bound > effort.gap * abs(bound):
        best = _by_neighbourhoods(run, best, effort, watch)
    _refilled(run, best)
    told = {key: _relimited(run, key, outcome) for key, outcome in best.items()} if best is not outcomes else outcomes
    return assemble(run, told, trigger, bound_microeur=min(bound, _cost(best)))


Outcomes = Mapping[WorkloadId, Outcome]


def _cost(outcomes: Outcomes) -> int:
    return sum(int(outcome.totals_microeur.sum()) for outcome in outcomes.values())


def _started(run: Run, outcomes: Outcomes, start: Plan | None) -> Outcomes:
    """The outcomes of a plan given, where it is legal now, complete, as spread as it can be, and costs less."""
    if start is None:
        return outcomes
    table, by_workload = run.world.table, dict[WorkloadId, list[int]]()
    for a in start.assignments:
        by_workload.setdefault(a.workload, []).append(table.row_of.get(a.node, -1))
    found: dict[WorkloadId, Outcome] = {}
    for placing in run.placings:
        rows = np.array(sorted(by_workload.get(placing.workload.id, ())), dtype=np.int64)
        mine = outcomes[placing.workload.id]
        if placing.workload.gpu is not None:
            rows = mine.rows  # Which devices a plan of another moment held is not known here.
        if not _is_legal(placing, rows, mine, run):
            return outcomes
        totals = totals_microeur(placing, rows, run.world.settings)
        found[placing.workload.id] = replace(mine, rows=rows, totals_microeur=totals)
    is_better = _cost(found) < _cost(outcomes)
    if is_better and all(_is_affordable(p, found[p.workload.id]) for p in run.placings) and _refilled(run, found):
        return found
    _refilled(run, outcomes)
    return outcomes


def _is_legal(placing: Placing, rows: Ints, mine: Outcome, run: Run) -> bool:
    feasibility = placing.feasibility
    if (
        len(rows) != mine.wanted
        or (rows < 0).any()
        or len(np.unique(rows)) < len(rows)
        or among(rows, placing.excluded).any()
    ):
        return False
    is_open = (feasibility.limit[rows] == Limit.NONE) | among(rows, placing.kept)
    covered = 0
    for index in feasibility.masks_of(rows).tolist():
        covered |= feasibility.reach_masks[index]
    is_apart = all(len(np.unique(c)) == len(c) for c in _domains(placing, rows, run))
    was_apart = all(len(np.unique(c)) == len(c) for c in _domains(placing, mine.rows, run))
    return bool(is_open.all()) and not feasibility.every_origin & ~covered and (is_apart or not was_apart)


def _solved(
    run: Run, outcomes: Outcomes, effort: Effort, watch: Watch | None, hood: Neighbourhood | None
) -> tuple[Outcomes, int | None] | None:
    """The program of a neighbourhood, or of everything, solved from the outcomes given; never dearer than these.

    With its bound where it covers every workload; None where the program is too large or has no answer.
    """
    model, groups = _program(run, outcomes, hood)
    if model is None or not groups:
        return None
    solution = solve(model, effort, _start(model, groups, outcomes), watch)
    if solution.values is None:
        return None
    better = {**outcomes, **dict(_decoded(run, groups, solution))}
    is_whole = hood is None and sum(len(group.placings) for group in groups) == len(outcomes)
    bound = None
    if is_whole and math.isfinite(solution.bound):
        bound = math.floor(solution.bound * _SCALE * (1 - 1e-9))
    is_legal = all(_is_affordable(p, better[p.workload.id]) for p in run.placings)
    if _cost(better) >= _cost(outcomes) or not is_legal or not _refilled(run, better):
        _refilled(run, outcomes)
        return outcomes, bound
    return better, bound


def _by_neighbourhoods(run: Run, outcomes: Outcomes, effort: Effort, watch: Watch | None) -> Outcomes:
    """Large-neighbourhood search: each neighbourhood once, then those that paid again, while any does."""
    best, part = outcomes, replace(effort, search_nodes=math.ceil(effort.search_nodes * _SHARE))
    rounds, hoods = 0, neighbourhoods(run, best)
    while hoods and rounds < _MOST_ROUNDS:
        paid = []
        for hood in hoods[: _MOST_ROUNDS - rounds]:
            if watch is not None and not watch.left_us:
                return best
            rounds += 1
            found = _solved(run, best, part, watch, hood)
            if found is not None and _cost(found[0]) < _cost(best):
                best = found[0]
                paid.append(hood)
        hoods = neighbourhoods(run, best) if paid else []
    return best


def _program(run: Run, outcomes: Outcomes, hood: Neighbourhood | None) -> tuple[Model | None, Sequence[_Group]]:
    model, groups, table = Model(), [], run.world.table
    taken = full_room(table)
    for together in _counted_together(run, outcomes):
        placings, rest = _of_hood(together, hood)
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
        _add_rows(model, group, run)
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


def _take(room: Room, placings: Sequence[Placing], outcomes: Outcomes) -> None:
    for placing in placings:
        for row in outcomes[placing.workload.id].rows.tolist():
            room.take(row, placing.workload.resources)


def _counted_together(run: Run, outcomes: Mapping[WorkloadId, Outcome]) -> Iterator[Sequence[Placing]]:
    """Groups whose counts per node can be dealt out to single workloads again; all others one by one."""
    for group in run.queue:
        one = group[0]
        is_plain = one.workload.budget == Budget() and len(one.feasibility.reach_masks) == 1
        wanted = {outcomes[placing.workload.id].wanted for placing in group}
        if wanted == {1} or (len(wanted) == 1 and is_plain and one.feasibility.demand.spread <= Spread.SITE):
            yield group
        else:
            yield from ([placing] for placing in group)


def _group(
    one: Placing, placings: Sequence[Placing], outcome: Outcome, model: Model, run: Run, *, open_rows: Ints | None
) -> _Group | None:
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
    if any(len(np.unique(column)) < len(column) for column in _domains(one, outcome.rows, run)):
        return None
    totals = totals_microeur(one, rows, run.world.settings)
    first = model.add_columns(totals / _SCALE, float(len(placings)))
    return _Group(placings=placings, replicas=outcome.wanted, rows=rows, totals=totals, first=first)


def _domains(one: Placing, rows: Ints, run: Run) -> tuple[Ints, ...]:
    table = run.world.table
    return domains_for(one.feasibility.demand.spread, table.site[rows], table.operator[rows], table.country[rows])


def _add_rows(model: Model, group: _Group, run: Run) -> None:
    """The count, the spread, the origins and the budget of one group."""
    one, many = group.placings[0], float(len(group.placings))
    columns = np.arange(len(group.rows)) + group.first
    model.add_row(columns, 1.0, lower=many * group.replicas, upper=many * group.replicas)
    for column in _domains(one, group.rows, run):
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


def _start(model: Model, groups: Sequence[_Group], outcomes: Mapping[WorkloadId, Outcome]) -> Floats:
    """The incremental plan as a point of the program."""
    point = np.zeros(len(model.costs))
    for group in groups:
        for placing in group.placings:
            point[group.first + np.searchsorted(group.rows, outcomes[placing.workload.id].rows)] += 1
    return point


def _decoded(run: Run, groups: Sequence[_Group], solution: Solution) -> Iterator[tuple[WorkloadId, Outcome]]:
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


def _is_affordable(placing: Placing, outcome: Outcome) -> bool:
    budget, scores = placing.workload.budget, placing.feasibility.scores
    bill, carbon = int(scores.bills_microeur(outcome.rows).sum()), int(scores.carbons_ug(outcome.rows).sum())
    is_paid = budget.cost_microeur_month is None or bill <= budget.cost_microeur_month
    return is_paid and (budget.carbon_ug_month is None or carbon <= budget.carbon_ug_month)


def _refilled(run: Run, outcomes: Mapping[WorkloadId, Outcome]) -> bool:
    """Make the room that of the new outcomes; False where a tolerance of the solver overfilled a node."""
    world = run.world
    world.room.free[:] = full_room(world.table).free
    for placing in run.placings:
        for row in outcomes[placing.workload.id].rows.tolist():
            world.room.take(row, placing.workload.resources)
    return not (world.room.free < 0).any()


def _relimited(run: Run, workload: WorkloadId, outcome: Outcome) -> Outcome:
    """An outcome with the limit of each node as it stands now, where the fabric is small enough to tell them all."""
    world = run.world
    if world.table.size > world.settings.full_explanation_nodes:
        return outcome
    placing = next(placing for placing in run.placings if placing.workload.id == workload)
    limits = limits_now(placing, world.room)
    limits[outcome.rows] = Limit.NONE
    return replace(outcome, limits=limits)
