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
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hanse.core.ids import WorkloadId
from hanse.core.plan import Plan
from hanse.core.rng import Rng
from hanse.core.snapshot import Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Verdicts
from hanse.placement.feasible import NOTHING_FULL, Limit
from hanse.placement.neighbourhoods import Neighbourhood, neighbourhoods
from hanse.placement.outcome import Outcome, Placing, limits_now, totals_microeur
from hanse.placement.planner import Run, assemble, place, place_all, prepare
from hanse.placement.program import SCALE, decoded, domains_of_rows, point_of, prefer_complete, program
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings
from hanse.placement.solvers.mip import DEFAULT_EFFORT, Effort, Watch, solve
from hanse.placement.table import Ints, among, full_room

_SHARE = 0.1
"""Part of the search nodes that one neighbourhood may use."""
_MOST_ROUNDS = 60
"""Neighbourhoods solved per call without a watch or with one."""


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
    model, groups = program(run, outcomes, None, frozenset(waiting))
    if model is None or not any(group.placings[0].workload.id in waiting and len(group.rows) for group in groups):
        return outcomes
    prefer_complete(model, groups, waiting)
    solution = solve(model, effort, point_of(model, groups, outcomes), watch)
    if solution.values is None:
        return outcomes
    placed = {key: outcome for key, outcome in decoded(run, groups, solution) if len(outcome.rows)}
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
        placing.feasibility.full_before = NOTHING_FULL
        placing.feasibility.freed_seen = run.world.room.freed.count
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
    is_apart = all(len(np.unique(c)) == len(c) for c in domains_of_rows(placing, rows, run))
    was_apart = all(len(np.unique(c)) == len(c) for c in domains_of_rows(placing, mine.rows, run))
    return bool(is_open.all()) and not feasibility.every_origin & ~covered and (is_apart or not was_apart)


def _solved(
    run: Run, outcomes: Outcomes, effort: Effort, watch: Watch | None, hood: Neighbourhood | None
) -> tuple[Outcomes, int | None] | None:
    """The program of a neighbourhood, or of everything, solved from the outcomes given; never dearer than these.

    With its bound where it covers every workload; None where the program is too large or has no answer.
    """
    model, groups = program(run, outcomes, hood)
    if model is None or not groups:
        return None
    solution = solve(model, effort, point_of(model, groups, outcomes), watch)
    if solution.values is None:
        return None
    better = {**outcomes, **dict(decoded(run, groups, solution))}
    placed = sum(bool(len(outcome.rows)) for outcome in outcomes.values())
    is_whole = hood is None and sum(len(group.placings) for group in groups) == placed
    bound = None
    if is_whole and math.isfinite(solution.bound):
        bound = math.floor(solution.bound * SCALE * (1 - 1e-9))
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
