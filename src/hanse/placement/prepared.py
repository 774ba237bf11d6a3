"""Answer events one by one: what a plan worked out is kept, and only what an event touches is decided anew.

`Prepared, Snapshot, Verdicts, Changes -> Response, Prepared`. An event is a workload that comes, changes, reports or
goes, and a node that comes, changes, falls silent or goes. Touched are the workloads named, those with a replica on a
node that changed, and those that wait for room. They are placed by the code that places them in a whole plan; all
others stay as they are, so nothing moves for a small gain because something else happened. That is for `plan` to look
for, at intervals.

Who passes a `Prepared` on gives it away: the large stores behind it are taken over, and an old one refuses service.
What concerns every score (intensities, sites, round trips, what sending data from a site costs) is no event: `respond`
then answers None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hanse.core.errors import invariant
from hanse.core.fabric import Node
from hanse.core.ids import WorkloadId
from hanse.core.plan import Assignment, Explanation, Plan, Unplaced
from hanse.core.snapshot import Running, Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Verdicts
from hanse.core.work import Workload
from hanse.placement.changes import Changes
from hanse.placement.explain import explanation
from hanse.placement.feasible import Limit, Screen
from hanse.placement.outcome import Outcome, Placing, World
from hanse.placement.planner import NOTHING, Run, note_full, place, placing_of, precedence, replicas_of
from hanse.placement.standing import Standing, standing
from hanse.placement.table import Ints, asked
from hanse.placement.table_changes import can_take_in, with_changed, with_changed_kinds, with_changed_room
from hanse.placement.unplaced import unplaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What an event changes in a plan."""

    assignments: Mapping[WorkloadId, tuple[Assignment, ...]]
    """All assignments of each workload touched, in ordinal order; empty where it is gone."""
    explanations: Mapping[WorkloadId, Explanation]
    """Of the workloads touched that are there."""
    unplaced: tuple[Unplaced, ...]
    """Of the workloads touched, in id order."""
    generation: int


@dataclass(slots=True, kw_only=True)
class Prepared:
    """Everything a plan worked out, by workload and by row, so that the next event need not begin anew."""

    world: World
    screening: Screen
    placings: dict[WorkloadId, Placing]
    outcomes: dict[WorkloadId, Outcome]
    assignments: dict[WorkloadId, tuple[Assignment, ...]]
    homes: dict[int, set[WorkloadId]]
    """Workloads with a replica on a row."""
    short: set[WorkloadId]
    """Workloads that miss replicas."""
    expiries: dict[WorkloadId, WallTime]
    """When a node left out for a workload may be tried again."""
    generation: int
    is_spent: bool = False
    freed: set[int] = field(default_factory=set)
    """Rows where the event at hand may have made a place."""

    @property
    def due_us(self) -> WallTime | None:
        """When time alone may change an answer; None where it does not."""
        return min(self.expiries.values(), default=None)


def prepared(run: Run, outcomes: Mapping[WorkloadId, Outcome], made: Plan) -> Prepared:
    """Keep what a finished run worked out. The run is given away."""
    placings = {placing.workload.id: placing for placing in run.placings}
    assignments: dict[WorkloadId, list[Assignment]] = {}
    for assignment in made.assignments:
        assignments.setdefault(assignment.workload, []).append(assignment)
    for placing in {id(placing.feasibility): placing for placing in run.placings}.values():
        note_full(placing, run.world.room)
    homes: dict[int, set[WorkloadId]] = {}
    for workload, outcome in outcomes.items():
        for row in outcome.rows.tolist():
            homes.setdefault(row, set()).add(workload)
    return Prepared(
        world=run.world,
        screening=run.screening,
        placings=placings,
        outcomes=dict(outcomes),
        assignments={workload: tuple(held) for workload, held in assignments.items()},
        homes=homes,
        short={workload for workload, outcome in outcomes.items() if outcome.missing},
        expiries={w: until for w, p in placings.items() if (until := _expiry(p.standing)) is not None},
        generation=made.generation,
    )


def respond(
    state: Prepared, snapshot: Snapshot, verdicts: Verdicts, changed: Changes, *, now: WallTime
) -> tuple[Response, Prepared] | None:
    """Decide what an event makes necessary; None where only a whole plan can tell, and then `state` is as it was."""
    invariant(not state.is_spent, "this prepared state was passed on already: use the one that came back")
    if not _is_narrow(state, snapshot, changed):
        return None
    state.is_spent = True
    state = replace(state, generation=state.generation + 1, is_spent=False, freed=set())
    rows = _with_nodes(state, snapshot, verdicts, changed, now)
    state.freed.update(rows)
    touched = _touched(state, changed, rows, now)
    assignments: dict[WorkloadId, tuple[Assignment, ...]] = {}
    again = _cleared(state, snapshot, changed, touched, assignments)
    for placing in again:
        _settle(state, placing, placing.kept, assignments)
    retried = _retried(state, {placing.workload.id for placing in again}, assignments)
    told = [*(state.placings[placing.workload.id] for placing in again), *retried]
    world = state.world
    response = Response(
        assignments=assignments,
        explanations={p.workload.id: explanation(p, state.outcomes[p.workload.id], world) for p in told},
        unplaced=tuple(
            unplaced(p, state.outcomes[p.workload.id], world)
            for p in sorted(told, key=lambda p: p.workload.id)
            if p.workload.id in state.short
        ),
        generation=state.generation,
    )
    return response, state


def _is_narrow(state: Prepared, snapshot: Snapshot, changed: Changes) -> bool:
    if changed.is_wide or not can_take_in(state.world.table, snapshot, changed.nodes):
        return False
    if state.screening.reads_data and state.screening.gravity.is_swayed(*_left_and_come(state, snapshot, changed)):
        return False
    new = [snapshot.workloads[w] for w in changed.workloads if w in snapshot.workloads]
    # A resource that nobody asked for so far has no column, and a higher priority may take from others.
    return set(asked(new)) <= set(state.world.table.axes.names) and not any(w.priority for w in new)


def _with_nodes(
    state: Prepared, snapshot: Snapshot, verdicts: Verdicts, changed: Changes, now: WallTime
) -> Sequence[int]:
    """Take the nodes of an event into columns, room and shapes; their rows."""
    world, screening = state.world, state.screening
    screening.hush(frozenset(changed.workloads))
    if not changed.nodes:
        screening.renew(snapshot, verdicts)
        state.world = replace(world, snapshot=snapshot, verdicts=verdicts, now=now)
        return ()
    old = world.table
    known = [old.row_of[node] for node in changed.nodes if node in old.row_of]
    before = old.amounts[sorted(known)].copy()
    table, rows = with_changed(
        old,
        snapshot,
        changed.nodes,
        unknown_zone_g_per_kwh=world.settings.unknown_zone_g_per_kwh,
        node_down_ppm=world.settings.node_down_ppm,
    )
    with_changed_room(world.room, before, table, rows)
    there = [node for node in changed.nodes if node in table.row_of]
    kinds = with_changed_kinds(screening.kinds, table, rows)
    gravity = screening.gravity.renewed(snapshot.fabric, *_left_and_come(state, snapshot, changed))
    screening.take_in(snapshot, verdicts, table=table, changed=kinds, gravity=gravity, rows=rows, nodes=there)
    state.world = replace(world, snapshot=snapshot, verdicts=verdicts, now=now, table=table)
    return list(map(int, rows))


def _left_and_come(state: Prepared, snapshot: Snapshot, changed: Changes) -> tuple[list[Node], list[Node]]:
    """The changed nodes as they were, and as they are."""
    before, after = state.world.snapshot.fabric.nodes, snapshot.fabric.nodes
    return [before[n] for n in changed.nodes if n in before], [after[n] for n in changed.nodes if n in after]


def _touched(state: Prepared, changed: Changes, rows: Sequence[int], now: WallTime) -> Sequence[WorkloadId]:
    found = set(changed.workloads)
    for row in rows:
        found |= state.homes.get(row, set())
    found.update(workload for workload, until in state.expiries.items() if until <= now)
    return sorted(found)


def _cleared(
    state: Prepared,
    snapshot: Snapshot,
    changed: Changes,
    touched: Sequence[WorkloadId],
    assignments: dict[WorkloadId, tuple[Assignment, ...]],
) -> Sequence[Placing]:
    """Free the room of what is touched, take that of what may stay, and put the rest in turn."""
    room, again = state.world.room, []
    named, came_free = set(changed.workloads), set[int]()
    for identity in touched:
        held, before = state.assignments.pop(identity, ()), state.placings.get(identity)
        workload = snapshot.workloads.get(identity)
        freed = _lifted(state, before.workload) if before is not None else []
        if workload is None:
            came_free.update(freed)
            for store in (state.placings, state.outcomes, state.expiries):
                store.pop(identity, None)
            state.short.discard(identity)
            assignments[identity] = ()
            continue
        reports = changed.running.get(identity, ()) if identity in named else _known(before)
        has = None
        if reports or held:
            has = standing(workload, reports, held, now=state.world.now, settings=state.world.settings)
        placing = _placing_again(state, workload, before, has)
        came_free.update(_without(freed, placing.kept.tolist()))
        if placing.feasibility.first is None:
            placing.feasibility.first = identity
        again.append(placing)
    room.freed.note(sorted(came_free))  # Once for all that left a node: nobody looked since.
    again.sort(key=precedence)
    for placing in again:
        for row in placing.kept.tolist():
            room.hold(row, placing.workload, placing.standing.devices.get(state.world.table.ids[row], ()))
    return again


def _known(before: Placing | None) -> tuple[Running, ...]:
    return () if before is None else before.standing.reports


def _placing_again(state: Prepared, workload: Workload, before: Placing | None, has: Standing | None) -> Placing:
    """Make a workload ready to be placed once more; where its spec is the same, what it asks for is known."""
    is_known = before is not None and before.workload is workload
    feasibility = state.screening.again(before.feasibility, workload) if before is not None and is_known else None
    return placing_of(workload, state.screening, has, feasibility)


def _lifted(state: Prepared, workload: Workload) -> list[int]:
    """Take the replicas of a workload off their nodes for now; the rows are to be noted as free unless held again."""
    outcome = state.outcomes.get(workload.id)
    rows = outcome.rows.tolist() if outcome is not None else []
    for row in rows:
        state.world.room.lift(row, workload)
        state.homes[row].discard(workload.id)
    state.freed.update(rows)
    return rows


def _without(rows: Sequence[int], others: Sequence[int]) -> list[int]:
    return [row for row in rows if row not in others]


def _settle(
    state: Prepared, placing: Placing, charged: Ints, assignments: dict[WorkloadId, tuple[Assignment, ...]]
) -> None:
    """Place one workload and take it into the stores."""
    identity = placing.workload.id
    outcome = place(placing, charged, state.world)
    rows = outcome.rows.tolist()
    state.placings[identity], state.outcomes[identity] = placing, outcome
    for row in rows:
        state.homes.setdefault(row, set()).add(identity)
    held = tuple(sorted(replicas_of(placing, rows, state.world, state.generation), key=lambda a: a.ordinal))
    assignments[identity] = state.assignments[identity] = held
    (state.short.add if outcome.missing else state.short.discard)(identity)
    until = _expiry(placing.standing)
    if until is None:
        state.expiries.pop(identity, None)
    else:
        state.expiries[identity] = until


def _retried(
    state: Prepared, already: set[WorkloadId], assignments: dict[WorkloadId, tuple[Assignment, ...]]
) -> Sequence[Placing]:
    """Try those that wait for room again where some came free; where the first of a shape gains nothing, none does."""
    freed = np.array(sorted(state.freed), dtype=np.int64)
    waiting = [state.placings[w] for w in sorted(state.short)] if len(freed) else []
    hopeless: set[tuple[int, str]] = set()
    told = []
    for placing in sorted(waiting, key=precedence):
        identity, outcome = placing.workload.id, state.outcomes[placing.workload.id]
        alone = identity if placing.standing is not NOTHING or len(outcome.rows) else ""
        kind = (id(placing.feasibility), alone)
        if kind in hopeless:
            continue
        fits = freed[state.world.room.may_take(freed, placing.workload)]
        # Most find no room in what came free, and that is known before their shape takes in what changed.
        if (
            not len(fits)
            or not (state.screening.again(placing.feasibility, placing.workload).limit[fits] == Limit.NONE).any()
        ):
            hopeless.add(kind)
            continue
        fresh = _as_before(state, placing) if identity in already else _again(state, placing)
        missing = outcome.missing
        room, kept = state.world.room, fresh.kept.tolist()
        room.freed.note(_without(_lifted(state, placing.workload), kept))
        for row in kept:
            room.hold(row, fresh.workload, fresh.standing.devices.get(state.world.table.ids[row], ()))
        _settle(state, fresh, fresh.kept, assignments)
        if state.outcomes[identity].missing >= missing:
            hopeless.add(kind)
        if identity not in already:
            told.append(fresh)
    return told


def _as_before(state: Prepared, placing: Placing) -> Placing:
    """The same workload with what it held before the event: what the event itself gave it has not begun to run."""
    has = None if placing.standing is NOTHING else placing.standing
    return _placing_again(state, placing.workload, placing, has)


def _again(state: Prepared, placing: Placing) -> Placing:
    """The same workload with what it holds by now."""
    held = state.assignments.get(placing.workload.id, ())
    if not held and placing.standing is NOTHING:
        return _placing_again(state, placing.workload, placing, None)
    has = standing(placing.workload, placing.standing.reports, held, now=state.world.now, settings=state.world.settings)
    return _placing_again(state, placing.workload, placing, has)


def _expiry(has: Standing) -> WallTime | None:
    return min((one.until_us for one in has.excluded.values()), default=None)
