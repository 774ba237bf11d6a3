"""The plan: for every workload feasible -> score -> choose, most fenced first, then assembled into one value.

`Snapshot, Verdicts, parent -> Plan`. This is the incremental solver: it starts from what is there and changes what
pays. It reads no clock and draws nothing at random; the auditor checks its result without sharing its code.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from hanse.core.ids import InstanceId, NodeId, PlanId, WorkloadId, instance_id
from hanse.core.plan import Assignment, Plan
from hanse.core.snapshot import Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Verdicts
from hanse.core.work import Budget, Workload
from hanse.placement.choose import Choice, Problem, choose, domains_for
from hanse.placement.explain import explanation
from hanse.placement.feasible import Limit, Screen, screen
from hanse.placement.inputs import input_digests
from hanse.placement.outcome import Outcome, Placing, World, limits_now, totals_microeur
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings
from hanse.placement.standing import Standing, standings
from hanse.placement.table import Ints, NodeTable, Room, full_room, node_table
from hanse.placement.unplaced import unplaced
from hanse.wire.canonical import digest_of

_SHORTLIST = 64
"""Cheapest open nodes looked at first. The whole fabric is looked at whenever they might not hold the answer."""
_CHUNK = 256
_NOTHING = Standing()


def plan(
    snapshot: Snapshot,
    verdicts: Verdicts,
    parent: Plan | None,
    *,
    now: WallTime,
    rng: random.Random,
    trigger: str,
    settings: PlacementSettings = DEFAULT_SETTINGS,
) -> Plan:
    """Decide where every replica of every workload runs.

    `parent` is the last committed plan or None; `trigger` says for people what made this plan necessary. `rng` belongs
    to the port of every solver; this one is deterministic without it. Equal inputs give equal plans, whatever the
    order of the mappings. Never assigns against a verdict, a selector, a capacity, a latency SLO or a budget: what
    cannot be placed is listed as unplaced with the binding limit and the nearest changes.
    """
    del rng
    table = node_table(snapshot, unknown_zone_g_per_kwh=settings.unknown_zone_g_per_kwh)
    screening = screen(snapshot, verdicts, table, settings)
    standing = standings(snapshot, parent, now=now, settings=settings)
    placings = [_placing(workload, screening, standing) for workload in snapshot.workloads.values()]
    placings.sort(key=lambda p: _precedence(p, verdicts))
    world = World(
        snapshot=snapshot,
        verdicts=verdicts,
        parent=parent,
        now=now,
        settings=settings,
        table=table,
        room=full_room(table),
    )
    for placing in placings:
        for row in placing.kept.tolist():
            world.room.take(row, placing.workload.resources)
    outcomes = _place_all(placings, world)
    placed = sorted(zip(placings, outcomes, strict=True), key=lambda pair: pair[0].workload.id)
    return _assemble(placed, world, trigger)


def plan_digest(draft: Plan) -> str:
    """Hex SHA-256 of a plan's canonical bytes with its own id left empty."""
    return digest_of(replace(draft, id=PlanId(""))).removeprefix("sha256:")


def _placing(workload: Workload, screening: Screen, standing: Mapping[WorkloadId, Standing]) -> Placing:
    table, has = screening.table, standing.get(workload.id, _NOTHING)
    feasibility = screening.of(workload)
    excluded = _rows(table, has.excluded)
    stays = np.setdiff1d(_rows(table, has.settled | has.sent), excluded)
    kept = stays[feasibility.limit_if_kept[stays] == Limit.NONE]
    return Placing(
        workload=workload,
        feasibility=feasibility,
        standing=has,
        settled=np.intersect1d(_rows(table, has.settled), kept),
        kept=kept,
        excluded=excluded,
    )


def _precedence(placing: Placing, verdicts: Verdicts) -> tuple[int, int, int, str]:
    """Most fenced first, then largest: who has the least choice chooses first."""
    workload = placing.workload
    fenced = len(verdicts.allowed(workload.id))
    return fenced, -workload.resources.memory_bytes, -workload.resources.cpu_milli, workload.id


def _place_all(placings: Sequence[Placing], world: World) -> Sequence[Outcome]:
    first = [_place(placing, placing.kept, world) for placing in placings]
    # What moved away later may have left room for who came first.
    return [
        _place(placing, outcome.rows, world) if outcome.missing else outcome
        for placing, outcome in zip(placings, first, strict=True)
    ]


def _place(placing: Placing, charged: Ints, world: World) -> Outcome:
    """Place one workload; `charged` are the rows whose room it holds so far."""
    room, amount = world.room, placing.workload.resources
    for row in charged.tolist():
        room.give_back(row, amount)
    outcome = _choose_enough(placing, world)
    for row in outcome.rows.tolist():
        room.take(row, amount)
    if not np.isin(charged, outcome.rows).all():
        room.releases += 1
    return outcome


def _choose_enough(placing: Placing, world: World) -> Outcome:
    """Choose the replicas wanted; more where a free count leaves an origin open because the best places are full."""
    wanted = placing.feasibility.demand.replicas
    best = _choose(placing, wanted, world)
    if placing.workload.replicas is not None:
        return best
    while best.uncovered and len(best.rows) == best.wanted:
        more = _choose(placing, best.wanted + 1, world)
        if more.uncovered.bit_count() >= best.uncovered.bit_count():
            return best
        best = more
    return best


def _choose(placing: Placing, wanted: int, world: World) -> Outcome:
    """Choose among the cheapest open nodes; among all of them where those might not hold the answer."""
    rows = _shortlist(placing, world.room)
    if rows is not None:
        totals = totals_microeur(placing, rows, world.settings)
        choice = choose(_problem(placing, wanted, rows, totals, world.table))
        if _is_settled(wanted, choice, totals):
            return _outcome(placing, choice, world, wanted=wanted, rows=rows, totals=totals)
    rows = np.union1d(_open_rows(placing, world.room), _kept_that_fit(placing, world.room))
    totals = totals_microeur(placing, rows, world.settings)
    choice = choose(_problem(placing, wanted, rows, totals, world.table))
    return _outcome(placing, choice, world, wanted=wanted, rows=rows, totals=totals)


def _outcome(placing: Placing, choice: Choice, world: World, *, wanted: int, rows: Ints, totals: Ints) -> Outcome:
    positions = list(choice.positions)
    is_small = world.table.size <= world.settings.full_explanation_nodes
    return Outcome(
        wanted=wanted,
        rows=rows[positions],
        totals_microeur=totals[positions],
        uncovered=choice.uncovered if wanted else 0,
        bound_microeur=_bound_microeur(placing, len(positions), world.settings),
        limits=limits_now(placing, world.room) if is_small else None,
    )


def _shortlist(placing: Placing, room: Room) -> Ints | None:
    """The cheapest open rows with those kept, ascending; None where the answer needs all rows anyway."""
    feasibility = placing.feasibility
    if len(feasibility.order) <= _SHORTLIST or placing.workload.budget != Budget():
        # A budget may prefer a node that scores worse but costs less, so no prefix by score is enough.
        return None
    if feasibility.releases != room.releases:
        feasibility.first_open, feasibility.releases = 0, room.releases
    found: list[Ints] = []
    count, start = 0, feasibility.first_open
    while count < _SHORTLIST and start < len(feasibility.order):
        chunk = feasibility.order[start : start + _CHUNK]
        fits = room.fits(chunk, placing.workload.resources)
        if start == feasibility.first_open and not fits.any():
            feasibility.first_open += len(chunk)
        start += len(chunk)
        opened = chunk[fits]
        found.append(opened)
        count += len(opened)
    if start >= len(feasibility.order):
        return None
    rows = np.concatenate(found)[:_SHORTLIST]
    rows = rows[~np.isin(rows, placing.excluded)]
    return np.union1d(rows, _kept_that_fit(placing, room))


def _is_settled(wanted: int, choice: Choice, totals: Ints) -> bool:
    """Tell whether no node beyond the shortlist could improve a choice: complete, clean and among the cheapest."""
    if choice.uncovered or choice.shared or len(choice.positions) < wanted:
        return False
    fresh = np.ones(len(totals), dtype=np.bool_)
    fresh[list(choice.positions)] = False
    dearest = int(totals[list(choice.positions)].max(initial=0))
    return bool((totals[fresh] >= dearest).any())


def _open_rows(placing: Placing, room: Room) -> Ints:
    rows = placing.feasibility.order
    fits = room.fits(rows, placing.workload.resources)
    return rows[fits & ~np.isin(rows, placing.excluded)]


def _kept_that_fit(placing: Placing, room: Room) -> Ints:
    return placing.kept[room.fits(placing.kept, placing.workload.resources)]


def _problem(placing: Placing, wanted: int, rows: Ints, totals: Ints, table: NodeTable) -> Problem:
    feasibility, budget = placing.feasibility, placing.workload.budget
    spread = feasibility.demand.spread
    return Problem(
        score_microeur=totals,
        domains=domains_for(spread, table.site[rows], table.operator[rows], table.country[rows]),
        bill_microeur=feasibility.scores.bill_microeur[rows],
        carbon_ug=feasibility.scores.carbon_ug[rows],
        mask_of=feasibility.mask_of_row[rows],
        masks=feasibility.reach_masks,
        every_origin=feasibility.every_origin,
        replicas=wanted,
        most_bill_microeur=budget.cost_microeur_month,
        most_carbon_ug=budget.carbon_ug_month,
        kept=tuple(np.flatnonzero(np.isin(rows, placing.kept)).tolist()),
    )


def _bound_microeur(placing: Placing, count: int, settings: PlacementSettings) -> int:
    """The sum of the `count` cheapest feasible scores, ignoring room, spread, cover and budget."""
    cheapest = placing.feasibility.order[: count + len(placing.kept)]
    rows = np.union1d(cheapest, placing.kept)
    return int(np.sort(totals_microeur(placing, rows, settings))[:count].sum())


def _assemble(placed: Sequence[tuple[Placing, Outcome]], world: World, trigger: str) -> Plan:
    parent = world.parent
    generation = 1 if parent is None else parent.generation + 1
    draft = Plan(
        id=PlanId(""),
        parent=None if parent is None else parent.id,
        generation=generation,
        created_us=world.now,
        inputs=input_digests(world.snapshot, world.verdicts),
        assignments=_assignments(placed, world.table, generation),
        unplaced=tuple(unplaced(placing, outcome, world) for placing, outcome in placed if outcome.missing),
        explanations={placing.workload.id: explanation(placing, outcome, world) for placing, outcome in placed},
        objective_microeur=sum(int(outcome.totals_microeur.sum()) for _, outcome in placed),
        bound_microeur=sum(outcome.bound_microeur for _, outcome in placed),
        trigger=trigger,
    )
    return replace(draft, id=PlanId(f"p{generation}-{plan_digest(draft)[:16]}"))


def _assignments(
    placed: Sequence[tuple[Placing, Outcome]], table: NodeTable, generation: int
) -> tuple[Assignment, ...]:
    assignments = [a for p, o in placed for a in _replicas(p, [table.ids[row] for row in o.rows.tolist()], generation)]
    return tuple(sorted(assignments, key=lambda a: a.instance))


def _replicas(placing: Placing, nodes: Sequence[NodeId], generation: int) -> Iterator[Assignment]:
    """Name the replicas: who stays keeps instance and ordinal, who is new takes the lowest free ordinal."""
    workload, has = placing.workload, placing.standing
    taken: set[int] = set()
    fresh: list[NodeId] = []
    for node in nodes:
        instance, ordinal = has.instances.get(node, (None, -1))
        if instance is None or ordinal in taken:
            fresh.append(node)
            continue
        taken.add(ordinal)
        yield _assignment(workload, instance, ordinal, node)
    free = (ordinal for ordinal in count() if ordinal not in taken and ordinal not in has.ordinals)
    for node, ordinal in zip(fresh, free, strict=False):
        yield _assignment(workload, instance_id(workload.id, ordinal, generation), ordinal, node)


def _assignment(workload: Workload, instance: InstanceId, ordinal: int, node: NodeId) -> Assignment:
    return Assignment(
        instance=instance, workload=workload.id, ordinal=ordinal, node=node, spec_generation=workload.generation
    )


def _rows(table: NodeTable, nodes: Iterable[NodeId]) -> Ints:
    return np.array(sorted(table.row_of[node] for node in nodes if node in table.row_of), dtype=np.int64)
