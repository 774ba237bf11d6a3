"""The global solver: every workload at once, to the optimum or within a stated gap of it.

`Snapshot, Verdicts, parent, Effort -> Plan`. Starts from the incremental plan, or from a plan given where that is still
legal and costs less. Models the fabric as one mixed-integer program (workloads that ask for the same and run nowhere
are counted together) where that is small enough; where it is not, or leaves a gap, one neighbourhood after the other is
solved: the workloads and nodes of one region, then the workloads that are furthest from their best place together with
those that hold it. Nothing is accepted that costs more, so it may be stopped at any time. The plan's bound is that of
the whole program, else the sum of what each workload would cost alone: no legal plan that places as many replicas as
far apart costs less. It is the same `Plan` value with the same explanations, and `audit` checks it the same way.

Where replicas found no place, others move first: a program of its own makes room for as many as can be, those of
highest priority before all others, and none that has a place loses it. What still waits is held as it is, and all else
is optimised around it.

More capacity never makes it worse: a plan made with less is legal with more, and given as the start it is the most that
the answer may cost. Without a watch it takes effort and no clock; where work gave way to higher priority the
incremental plan stands; where a spread is out of reach, what was chosen for that workload stays.
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
from hanse.placement.feasible import NOTHING_FULL, Limit
from hanse.placement.neighbourhoods import Neighbourhood, neighbourhoods
from hanse.placement.outcome import Outcome, Placing, limits_now, totals_microeur
from hanse.placement.planner import Run, assemble, place, place_all, prepare
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings
from hanse.placement.solvers.mip import DEFAULT_EFFORT, Effort, Floats, Model, Solution, Watch, solve
from hanse.placement.table import Ints, Room, among, full_room

_MOST_COLUMNS = 60_000
"""Columns of one program: what HiGHS gets through the root of in seconds. Larger fabrics go by neighbourhoods."""
_SHARE = 0.1
"""Part of the search nodes that one neighbourhood may use."""
_MOST_ROUNDS = 60
"""Neighbourhoods solved per call without a watch or with one."""
_MOST_WORTH = 1e6
"""Weight of one replica beside one of the lowest priority: beyond it solvers lose the small ones in rounding."""
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
    (`parent` where none is given), `watch` a time to stop at. Never places fewer replicas than the incremental plan,
    nor the same ones dearer. Equal inputs give equal plans, unless a watch cuts them short. Raises SolverFailed.
    """
    del rng
    run = prepare(snapshot, verdicts, parent, now=now, settings=settings)
    quick = place_all(run)
    if any(outcome.displaced for outcome in quick.values()):
        return assemble(run, quick, trigger)
    outcomes = _completed(run, quick, effort, watch)
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
    last = _tried_again(run, best)
    bound += sum(last[key].bound_microeur - best[key].bound_microeur for key in last if last[key] is not best[key])
    told = {key: _relimited(run, key, outcome) for key, outcome in last.items()} if last is not quick else quick
    return assemble(run, told, trigger, bound_microeur=min(bound, _cost(last)))


Outcomes = Mapping[WorkloadId, Outcome]


def _completed(run: Run, outcomes: Outcomes, effort: Effort, watch: Watch | None) -> Outcomes:
    """Make room for single replicas that found none: as many as can be, those of highest priority before all others."""
    waiting = {p.workload.id: p for p in run.placings if _is_waiting(p, outcomes[p.workload.id])}
    if not waiting:
        return outcomes
    model, groups = _program(run, outcomes, None, frozenset(waiting))
    if model is None or not any(group.placings[0].workload.id in waiting and len(group.rows) for group in groups):
        return outcomes
    _prefer_complete(model, groups, waiting)
    solution = solve(model, effort, _start(model, groups, outcomes), watch)
    if solution.values is None:
        return outcomes
    placed = {key: outcome for key, outcome in _decoded(run, groups, solution) if len(outcome.rows)}
    alone = {
        p.workload.id: int(g.totals.min(initial=0)) for g in groups for p in g.placings if p.workload.id in waiting
    }
    alone.update((key, outcome.bound_microeur) for key, outcome in outcomes.items() if not outcome.missing)
    better = {**outcomes, **{key: replace(one, bound_microeur=alone[key]) for key, one in placed.items()}}
    is_legal = all(_is_affordable(p, better[p.workload.id]) for p in run.placings)
    if _missing(better) < _missing(outcomes) and is_legal and _refilled(run, better):
        return better
    _refilled(run, outcomes)
    return outcomes


def _prefer_complete(model: Model, groups: Sequence[_Group], waiting: Mapping[WorkloadId, Placing]) -> None:
    """Let the program count replicas first, those of higher priority above all others, and costs only among equals."""
    most = sum(len(group.placings) * group.replicas * int(group.totals.max(initial=0)) for group in groups)
    share = 0.5 * _SCALE / max(most, 1)
    model.costs = [cost * share for cost in model.costs]
    ranks = sorted({placing.workload.priority for placing in waiting.values()})
    for group in groups:
        if group.placings[0].workload.id in waiting:
            rank = ranks.index(group.placings[0].workload.priority)
            worth = float(min((len(waiting) + 1) ** rank, _MOST_WORTH))
            for column in range(group.first, group.first + len(group.rows)):
                model.costs[column] -= worth


def _is_waiting(placing: Placing, outcome: Outcome) -> bool:
    """Tell whether a single replica has no place; devices, and sets of replicas, are more than a count per node."""
    return outcome.wanted == 1 and not len(outcome.rows) and placing.workload.gpu is None


def _tried_again(run: Run, outcomes: Outcomes) -> Outcomes:
    """Place what is still missing where others have made room meanwhile, so that no place is left free for it."""
    short = [p for group in run.queue for p in group if outcomes[p.workload.id].missing]
    if not short:
        return outcomes
    last = dict(outcomes)
    for placing in short:
        # What was found full before says nothing about the room that is left now.
        placing.feasibility.full_before, placing.feasibility.releases = NOTHING_FULL, run.world.room.releases
        again = place(placing, last[placing.workload.id].rows, run.world)
        if again.missing < last[placing.workload.id].missing:
            last[placing.workload.id] = again
    return last


def _missing(outcomes: Outcomes) -> int:
    return sum(outcome.missing for outcome in outcomes.values())


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
        if mine.missing:
            found[placing.workload.id] = mine
            continue
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
    placed = sum(bool(len(outcome.rows)) for outcome in outcomes.values())
    is_whole = hood is None and sum(len(group.placings) for group in groups) == placed
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


def _program(
    run: Run, outcomes: Outcomes, hood: Neighbourhood | None, waiting: frozenset[WorkloadId] = frozenset()
) -> tuple[Model | None, Sequence[_Group]]:
    """The program of a neighbourhood or of everything; who is `waiting` may get a place and need not."""
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


def _take(room: Room, placings: Sequence[Placing], outcomes: Outcomes) -> None:
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


def _parted(group: Sequence[Placing], outcomes: Outcomes) -> Iterator[Sequence[Placing]]:
    """Those of a group that have all their replicas, and those that miss some."""
    for is_short in (False, True):
        part = [placing for placing in group if bool(outcomes[placing.workload.id].missing) is is_short]
        if part:
            yield part


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


def _add_rows(model: Model, group: _Group, run: Run, *, is_optional: bool) -> None:
    """The count, the spread, the origins and the budget of one group."""
    one, many = group.placings[0], float(len(group.placings))
    columns = np.arange(len(group.rows)) + group.first
    model.add_row(columns, 1.0, lower=0.0 if is_optional else many * group.replicas, upper=many * group.replicas)
    if is_optional:
        return  # A single replica: its rows serve every origin within its budget.
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
