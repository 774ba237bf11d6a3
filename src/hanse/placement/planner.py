"""The plan: for every workload feasible -> score -> choose, most fenced first, then assembled into one value.

`Snapshot, Verdicts, parent -> Plan`. This is the incremental solver: it starts from what is there and changes what
pays. It reads no clock and draws nothing at random; the auditor checks its result without sharing its code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from hanse.core.ids import InstanceId, NodeId, PlanId, WorkloadId, instance_id
from hanse.core.plan import Assignment, Candidate, Plan
from hanse.core.rng import Rng
from hanse.core.snapshot import Snapshot
from hanse.core.time import US_PER_S, WallTime
from hanse.core.verdict import Verdicts
from hanse.core.work import Budget, Moving, Workload
from hanse.placement.batch import place_alike
from hanse.placement.choose import Choice, Problem, choose, domains_for
from hanse.placement.explain import Storyteller, sample
from hanse.placement.feasible import NOTHING_FULL, Feasibility, Limit, Screen, screen
from hanse.placement.few import MANY, choose_few
from hanse.placement.gpu_order import GpuOrder
from hanse.placement.inputs import input_digests
from hanse.placement.outcome import Outcome, Placing, World, limits_now, totals_microeur
from hanse.placement.preempt import displace
from hanse.placement.rates import availability_ppm, worst_known
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings
from hanse.placement.standing import Standing, standings
from hanse.placement.table import MANY_FREED, Ints, NodeTable, Room, among, full_room, node_table
from hanse.placement.unplaced import unplaced
from hanse.placement.walk import Reached, may_walk, walk
from hanse.wire.canonical import digest_of

_CHUNK = 256
NOTHING = Standing()
"""Shared by all workloads that have nothing yet."""
_NO_ROWS: Ints = np.empty(0, dtype=np.int64)


def plan(
    snapshot: Snapshot,
    verdicts: Verdicts,
    parent: Plan | None,
    *,
    now: WallTime,
    rng: Rng,
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
    run = prepare(snapshot, verdicts, parent, now=now, settings=settings)
    return assemble(run, place_all(run), trigger)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One planning run: the world, what is to be placed, and in which turn."""

    world: World
    screening: Screen
    placings: tuple[Placing, ...]
    """In workload id order."""
    queue: Sequence[Sequence[Placing]]
    """Groups of workloads that are placed together, in turn."""


def prepare(
    snapshot: Snapshot, verdicts: Verdicts, parent: Plan | None, *, now: WallTime, settings: PlacementSettings
) -> Run:
    """Screen every workload and take the room of what may stay."""
    table = node_table(
        snapshot,
        unknown_zone_g_per_kwh=settings.unknown_zone_g_per_kwh,
        node_down_ppm=settings.node_down_ppm,
    )
    screening = screen(snapshot, verdicts, table, settings)
    standing = standings(snapshot, parent, now=now, settings=settings)
    placings = tuple(placing_of(snapshot.workloads[w], screening, standing.get(w)) for w in sorted(snapshot.workloads))
    order = GpuOrder(table, (placing.workload for placing in placings))
    world = World(
        snapshot=snapshot,
        verdicts=verdicts,
        parent=parent,
        now=now,
        settings=settings,
        table=table,
        room=full_room(table),
        rates=screening.rates,
        gpus=order if order.is_of_use else None,
    )
    run = Run(world=world, screening=screening, placings=placings, queue=_in_turn(placings))
    for placing in (one for group in run.queue for one in group):
        for row in placing.kept.tolist():
            world.room.hold(row, placing.workload, placing.standing.devices.get(table.ids[row], ()))
    return run


def plan_digest(draft: Plan) -> str:
    """Hex SHA-256 of a plan's canonical bytes with its own id left empty."""
    return digest_of(replace(draft, id=PlanId(""))).removeprefix("sha256:")


def with_input(plan: Plan, name: str, digest: str) -> Plan:
    """The plan with the digest of one input more, and the id that follows from it."""
    draft = replace(plan, inputs=dict(sorted({**plan.inputs, name: digest}.items())))
    return replace(draft, id=PlanId(f"p{plan.generation}-{plan_digest(draft)[:16]}"))


def placing_of(
    workload: Workload, screening: Screen, has: Standing | None, feasibility: Feasibility | None = None
) -> Placing:
    """Make one workload ready to be placed, with what it already has; `feasibility` where that is known."""
    table = screening.table
    if feasibility is None:
        feasibility = screening.of(workload)
    if has is None:
        return Placing(
            workload=workload,
            feasibility=feasibility,
            standing=NOTHING,
            settled=_NO_ROWS,
            kept=_NO_ROWS,
            present=_NO_ROWS,
            excluded=_NO_ROWS,
        )
    excluded = _rows(table, has.excluded)
    stays = _rows(table, (has.settled | has.sent) - has.excluded.keys())
    kept = stays[feasibility.limit_if_kept[stays] == Limit.NONE]
    settled = _rows(table, has.settled)
    return Placing(
        workload=workload,
        feasibility=feasibility,
        standing=has,
        settled=settled[among(settled, kept)],
        kept=kept,
        uprooting_microeur=_uprooting_microeur(workload, has, screening),
        present=_rows(table, has.present),
        excluded=excluded,
    )


def _in_turn(placings: Sequence[Placing]) -> Sequence[Sequence[Placing]]:
    """Highest priority first, then most fenced, then largest: who has the least choice chooses first.

    Who asks for the same goes together.

    `placings` in workload id order, so that who comes first within a shape does not depend on the snapshot's order.
    """
    alike: dict[tuple[int, str], list[Placing]] = {}
    for placing in placings:
        shape = placing.feasibility
        if shape.first is None:
            shape.first = placing.workload.id
        alone = placing.workload.id if placing.standing is not NOTHING else ""
        alike.setdefault((id(shape), alone), []).append(placing)
    return sorted(alike.values(), key=lambda group: precedence(group[0]))


def precedence(placing: Placing) -> tuple[int, int, int, int, int, str]:
    """Who chooses first, as a sort key."""
    workload, resources = placing.workload, placing.workload.resources
    gpu_milli = 0 if workload.gpu is None else workload.gpu.total_milli
    size = (-gpu_milli, -resources.memory_bytes, -resources.cpu_milli)
    return (-workload.priority, placing.feasibility.allowed, *size, workload.id)


def place_all(run: Run) -> Mapping[WorkloadId, Outcome]:
    """Place every workload of a run, filling its room."""
    queue, world = run.queue, run.world
    found: dict[WorkloadId, Outcome] = {}
    short: list[tuple[Placing, int]] = []
    for group in queue:
        # Replicas with GPUs differ by the devices they get, so none stands for the next.
        is_new = group[0].standing is NOTHING and group[0].workload.gpu is None
        outcomes = place_alike(group, world, _choose_enough) if is_new else [place(p, p.kept, world) for p in group]
        for placing, outcome in zip(group, outcomes, strict=True):
            found[placing.workload.id] = outcome
            if outcome.missing:
                short.append((placing, world.room.releases))
    # What moved away later may have left room for who came first; where nothing did, nothing would come of it.
    for placing, releases in short:
        if world.room.releases != releases:
            found[placing.workload.id] = place(placing, found[placing.workload.id].rows, world)
    return displace(run.placings, found, world, place)


def place(placing: Placing, charged: Ints, world: World) -> Outcome:
    """Place one workload; `charged` are the rows whose room it holds so far."""
    room, workload, ids = world.room, placing.workload, world.table.ids
    held = {row: room.held.get((workload.id, row), ()) for row in charged.tolist()}
    kept = placing.kept.tolist()
    for row in held:
        room.lift(row, workload)
    # What it may keep is among its candidates whatever is noted; the rest is room that came back, for it as for others.
    room.freed.note(row for row in held if row not in kept)
    outcome = _choose_enough(placing, world)
    rows = outcome.rows.tolist()
    for row in rows:
        room.hold(row, workload, held.get(row, placing.standing.devices.get(ids[row], ())))
    left = [row for row in held if row not in rows]
    if left:
        room.releases += 1
        room.freed.note(row for row in left if row in kept)
    return outcome


def _choose_enough(placing: Placing, world: World) -> Outcome:
    """Choose the replicas wanted; more where a free count leaves an origin open because the best places are full."""
    wanted = placing.feasibility.demand.replicas
    best = _choose(placing, wanted, world)
    if placing.workload.replicas is not None:
        return best
    most = placing.workload.most_replicas
    while best.uncovered and len(best.rows) == best.wanted and (most is None or best.wanted < most):
        more = _choose(placing, best.wanted + 1, world)
        if more.uncovered.bit_count() >= best.uncovered.bit_count():
            return best
        best = more
    return _choose_enough_to_last(placing, best, world)


def _choose_enough_to_last(placing: Placing, best: Outcome, world: World) -> Outcome:
    """Choose more where the places chosen are down more often than is typical, until the availability is met."""
    target, settings = placing.workload.slo.availability_ppm, world.settings
    most = min(settings.most_replicas, placing.workload.most_replicas or settings.most_replicas)
    if target is None:
        return best
    while len(best.rows) == best.wanted < most and not _lasts(best, target, world):
        more = _choose(placing, best.wanted + 1, world)
        if len(more.rows) <= len(best.rows):
            return best
        best = more
    return best


def _lasts(outcome: Outcome, target_ppm: int, world: World) -> bool:
    """Tell whether a choice meets an availability, or does as well as its kind can: what is assumed was counted on."""
    rows, table = outcome.rows, world.table
    if not worst_known(world.rates, table, rows, world.settings):
        return True
    return availability_ppm(world.rates, table, rows, world.settings) >= target_ppm


def _choose(placing: Placing, wanted: int, world: World) -> Outcome:
    """Choose among the cheapest open nodes; among all of them where those might not hold the answer.

    Several replicas are to stand apart, and the cheapest nodes rarely do: they are looked for place by place at once.
    """
    is_apart = wanted > 1 and may_walk(placing)
    rows = None if is_apart else _shortlist(placing, world.room, world.settings.shortlist_nodes)
    if rows is not None:
        totals = totals_microeur(placing, rows, world.settings)
        problem = _problem(placing, wanted, rows, totals, world.table)
        choice = _chosen(problem)
        if _is_settled(problem, choice):
            return _outcome(placing, choice, world, wanted=wanted, rows=rows, totals=totals)
    if may_walk(placing):
        rows, totals, choice = _walked(placing, wanted, world)
        return _outcome(placing, choice, world, wanted=wanted, rows=rows, totals=totals)
    rows = _with_kept(placing, _open_rows(placing, world.room), world.room)
    if placing.workload.gpu is not None and world.gpus is not None:
        losses = world.gpus.losses(rows, placing.workload, world.table, world.room)
        rows = rows[np.argsort(losses, kind="stable")]
    totals = totals_microeur(placing, rows, world.settings)
    choice = _chosen(_problem(placing, wanted, rows, totals, world.table))
    return _outcome(placing, choice, world, wanted=wanted, rows=rows, totals=totals)


def _walked(placing: Placing, wanted: int, world: World) -> tuple[Ints, Ints, Choice]:
    """Choose among the cheapest open nodes of each place, looking no further for them than the answer needs."""
    for reached in walk(placing, wanted, world, _freed(placing, world.room)):
        rows = _with_kept(placing, _without_failed(placing, reached.rows), world.room)
        totals = totals_microeur(placing, rows, world.settings)
        choice = _chosen(_problem(placing, wanted, rows, totals, world.table))
        if reached.is_end or _is_final(choice, wanted, totals, reached):
            break
    return rows, totals, choice


def _is_final(choice: Choice, wanted: int, totals: Ints, reached: Reached) -> bool:
    """Tell whether nobody further on could improve a choice: complete, clean at each step, and no dearer than they."""
    if choice.uncovered or choice.shared or choice.strayed or len(choice.positions) < wanted or not reached.has_all:
        return False
    return int(totals[list(choice.positions)].max(initial=0)) <= reached.least_beyond_microeur


def _chosen(problem: Problem) -> Choice:
    has_budget = problem.most_bill_microeur is not None or problem.most_carbon_ug is not None
    return choose(problem) if has_budget or len(problem.score_microeur) > MANY else choose_few(problem)


def _outcome(placing: Placing, choice: Choice, world: World, *, wanted: int, rows: Ints, totals: Ints) -> Outcome:
    # Candidates stand in the order in which ties go; rows of an outcome ascend.
    positions = sorted(choice.positions, key=lambda position: int(rows[position]))
    is_small = world.table.size <= world.settings.full_explanation_nodes
    return Outcome(
        wanted=wanted,
        rows=rows[positions],
        totals_microeur=totals[positions],
        uncovered=choice.uncovered if wanted else 0,
        bound_microeur=_bound_microeur(placing, len(positions), world.settings),
        limits=limits_now(placing, world.room) if is_small else None,
    )


def _shortlist(placing: Placing, room: Room, most: int) -> Ints | None:
    """The cheapest open rows with those kept, ascending; None where the answer needs all rows anyway."""
    feasibility = placing.feasibility
    if len(feasibility.order) <= most or placing.workload.budget != Budget():
        # A budget may prefer a node that scores worse but costs less, so no prefix by score is enough.
        return None
    if placing.workload.gpu is not None:
        return None  # Nor is one where ties are told apart by more than the node id.
    found = [_freed(placing, room)]
    count, start, length = len(found[0]), feasibility.place_of(feasibility.full_before), _CHUNK
    is_full = True
    while count < most and start < len(feasibility.order):
        chunk = feasibility.order[start : start + length]
        opened = chunk[room.may_take(chunk, placing.workload)]
        start, length = start + len(chunk), length * 2  # Where the cheapest are full, few looks get past them.
        if is_full:
            feasibility.pass_full(chunk, opened)
            is_full = not len(opened)
        found.append(opened)
        count += len(opened)
    if start >= len(feasibility.order):
        return None
    rows = np.concatenate(found)[:most]
    return _with_kept(placing, _without_failed(placing, rows), room)


def note_full(placing: Placing, room: Room) -> None:
    """Find out how many of the cheapest nodes are full for a shape, so that the next who asks need not."""
    feasibility = placing.feasibility
    fits = room.may_take(feasibility.order, placing.workload)
    first = int(np.argmax(fits)) if fits.any() else len(fits) - 1
    if first > 0:
        row = feasibility.order[first : first + 1]
        feasibility.full_before = int(feasibility.scores.totals_microeur(row)[0]), int(row[0])
        feasibility.freed_seen = room.freed.count


def _freed(placing: Placing, room: Room) -> Ints:
    """Open rows, cheapest first, among those that were found full before and got room back since."""
    feasibility = placing.feasibility
    if feasibility.freed_seen == room.freed.count:
        return _NO_ROWS
    rows = room.freed.since(feasibility.freed_seen)
    if rows is None or len(rows) > MANY_FREED:
        feasibility.full_before, feasibility.freed_seen = NOTHING_FULL, room.freed.count
        return _NO_ROWS
    rows = rows[(feasibility.limit[rows] == Limit.NONE) & room.may_take(rows, placing.workload)]
    totals, (dearest, row) = feasibility.scores.totals_microeur(rows), feasibility.full_before
    is_before = (totals < dearest) | ((totals == dearest) & (rows < row))
    if not is_before.any():
        feasibility.freed_seen = room.freed.count
    return np.asarray(rows[is_before][np.argsort(totals[is_before], kind="stable")])


def _is_settled(problem: Problem, choice: Choice) -> bool:
    """Tell whether no node beyond the shortlist could improve a choice: complete, clean and among the cheapest."""
    if choice.uncovered or choice.shared or len(choice.positions) < problem.replicas:
        return False
    # The nodes kept are listed whatever they score, so they say nothing about how far the shortlist reaches.
    is_listed = np.ones(len(problem.score_microeur), dtype=np.bool_)
    is_listed[[*choice.positions, *problem.kept]] = False
    dearest = problem.score_microeur[list(choice.positions)].max(initial=0)
    return bool((problem.score_microeur[is_listed] >= dearest).any())


def _open_rows(placing: Placing, room: Room) -> Ints:
    rows = placing.feasibility.order
    return _without_failed(placing, rows[room.may_take(rows, placing.workload)])


def _without_failed(placing: Placing, rows: Ints) -> Ints:
    return rows[~among(rows, placing.excluded)] if len(placing.excluded) else rows


def _with_kept(placing: Placing, rows: Ints, room: Room) -> Ints:
    """Rows and those kept that still fit, ascending, so that ties go to the lower node id."""
    if not len(placing.kept):
        return np.sort(rows)
    return _joined(rows, placing.kept[room.may_take(placing.kept, placing.workload)])


def _joined(rows: Ints, few: Ints) -> Ints:
    """All rows of both, ascending, each once."""
    return np.sort(np.concatenate([rows[~among(rows, few)], few]))


def _problem(placing: Placing, wanted: int, rows: Ints, totals: Ints, table: NodeTable) -> Problem:
    feasibility, budget = placing.feasibility, placing.workload.budget
    spread = feasibility.demand.spread
    return Problem(
        score_microeur=totals,
        domains=domains_for(spread, table.site[rows], table.operator[rows], table.country[rows]),
        bill_microeur=feasibility.scores.bills_microeur(rows),
        carbon_ug=feasibility.scores.carbons_ug(rows),
        mask_of=feasibility.masks_of(rows),
        masks=feasibility.reach_masks,
        every_origin=feasibility.every_origin,
        replicas=wanted,
        most_bill_microeur=budget.cost_microeur_month,
        most_carbon_ug=budget.carbon_ug_month,
        kept=tuple(np.flatnonzero(among(rows, placing.kept)).tolist()) if len(placing.kept) else (),
    )


def _bound_microeur(placing: Placing, count: int, settings: PlacementSettings) -> int:
    """The sum of the `count` cheapest feasible scores, ignoring room, spread, cover and budget."""
    cheapest = placing.feasibility.order[: count + len(placing.kept)]
    rows = _joined(cheapest, placing.kept) if len(placing.kept) else cheapest
    return int(np.sort(totals_microeur(placing, rows, settings))[:count].sum())


def assemble(
    run: Run, outcomes: Mapping[WorkloadId, Outcome], trigger: str, *, bound_microeur: int | None = None
) -> Plan:
    """Make one value of a run's outcomes, with reasons, digests and its id; a bound given is at least as tight."""
    world, parent = run.world, run.world.parent
    placed = [(placing, outcomes[placing.workload.id]) for placing in run.placings]
    teller = Storyteller(world)
    generation = 1 if parent is None else parent.generation + 1
    draft = Plan(
        id=PlanId(""),
        parent=None if parent is None else parent.id,
        generation=generation,
        created_us=world.now,
        inputs=input_digests(world.snapshot, world.verdicts),
        assignments=_assignments(placed, world, generation),
        unplaced=tuple(unplaced(placing, outcome, world) for placing, outcome in placed if outcome.missing),
        explanations={placing.workload.id: teller.explain(placing, outcome) for placing, outcome in placed},
        objective_microeur=sum(int(outcome.totals_microeur.sum()) for _, outcome in placed),
        bound_microeur=sum(o.bound_microeur for _, o in placed) if bound_microeur is None else bound_microeur,
        trigger=trigger,
        samples=_samples(placed, world),
        displaced=tuple(sorted((d for _, o in placed for d in o.displaced), key=lambda d: (d.workload, d.node, d.by))),
    )
    return replace(draft, id=PlanId(f"p{generation}-{plan_digest(draft)[:16]}"))


def _samples(placed: Sequence[tuple[Placing, Outcome]], world: World) -> Mapping[WorkloadId, tuple[Candidate, ...]]:
    if world.table.size <= world.settings.full_explanation_nodes:
        return {}
    firsts = (placing for placing, _ in placed if placing.feasibility.first == placing.workload.id)
    return {placing.workload.id: sample(placing, world) for placing in firsts}


def _assignments(placed: Sequence[tuple[Placing, Outcome]], world: World, generation: int) -> tuple[Assignment, ...]:
    assignments = [a for p, o in placed for a in replicas_of(p, o.rows.tolist(), world, generation)]
    return tuple(sorted(assignments, key=lambda a: a.instance))


def replicas_of(placing: Placing, rows: Sequence[int], world: World, generation: int) -> Iterator[Assignment]:
    """Name the replicas: who stays keeps instance and ordinal, who is new takes the lowest free ordinal."""
    has, ids = placing.standing, world.table.ids
    taken: set[int] = set()
    fresh: list[int] = []
    for row in rows:
        instance, ordinal = has.instances.get(ids[row], (None, -1))
        if instance is None or ordinal in taken:
            fresh.append(row)
            continue
        taken.add(ordinal)
        yield _assignment(placing.workload, instance, ordinal, row, world)
    free = (ordinal for ordinal in count() if ordinal not in taken and ordinal not in has.ordinals)
    for row, ordinal in zip(fresh, free, strict=False):
        instance = instance_id(placing.workload.id, ordinal, generation)
        yield _assignment(placing.workload, instance, ordinal, row, world)


def _assignment(workload: Workload, instance: InstanceId, ordinal: int, row: int, world: World) -> Assignment:
    return Assignment(
        instance=instance,
        workload=workload.id,
        ordinal=ordinal,
        node=world.table.ids[row],
        spec_generation=workload.generation,
        devices=world.room.held.get((workload.id, row), ()),
    )


def _uprooting_microeur(workload: Workload, has: Standing, screening: Screen) -> Ints | None:
    """What moving its state to each row and a cold start there cost; None where the spec says nothing of either."""
    if workload.moving == Moving():
        return None
    table, settings = screening.table, screening.settings
    nodes = screening.snapshot.fabric.nodes  # A node that is gone keeps its row until a whole plan is made.
    sources = sorted({nodes[n].site for n in has.settled if n in nodes})
    money, time_us = screening.gravity.moves(workload.moving.state_bytes, sources)
    price = settings.moving_microeur_per_s
    away = (money + (time_us + workload.moving.cold_start_us) * price // US_PER_S)[table.site]
    return np.asarray(away)


def _rows(table: NodeTable, nodes: Iterable[NodeId]) -> Ints:
    return np.array(sorted(table.row_of[node] for node in nodes if node in table.row_of), dtype=np.int64)
