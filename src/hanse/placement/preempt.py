"""Make room for what could not be placed by displacing work of lower priority, and state the harm.

`outcomes, who is short -> outcomes`. A replica gives way only to strictly higher priority, never to an equal, within
its workload's disruption budget, and only on nodes that capacity alone closes. Least harm first: the lowest of the
highest priorities displaced, then the fewest replicas. Who gave way is placed again elsewhere if it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hanse.core.ids import WorkloadId
from hanse.core.plan import Displaced
from hanse.core.work import Preemption
from hanse.placement.feasible import Limit
from hanse.placement.outcome import Outcome, Placing, World
from hanse.placement.table import Ints

Place = Callable[[Placing, Ints, World], Outcome]

_MOST_TRIES = 8
"""Nodes tried per missing replica: a budget or a spread may refuse the first ones."""


@dataclass(slots=True, kw_only=True)
class _Board:
    """Who stands where while room is being made."""

    world: World
    placings: Mapping[WorkloadId, Placing]
    outcomes: dict[WorkloadId, Outcome]
    on_row: dict[int, list[WorkloadId]]
    """Workloads of lower than the highest short priority per node row, in id order."""
    spent: dict[WorkloadId, int]
    """Running replicas displaced so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """One node and who would have to leave it."""

    row: int
    victims: tuple[WorkloadId, ...]


def displace(
    placings: Sequence[Placing], outcomes: Mapping[WorkloadId, Outcome], world: World, place: Place
) -> Mapping[WorkloadId, Outcome]:
    """Return the outcomes after every displacement that helps; the same ones where none does."""
    short = [p for p in placings if outcomes[p.workload.id].missing and p.workload.preemption is Preemption.LOWER]
    lowest = min((p.workload.priority for p in placings), default=0)
    short = [p for p in short if p.workload.priority > lowest]
    if not short:
        return outcomes
    highest = max(p.workload.priority for p in short)
    board = _Board(
        world=world,
        placings={p.workload.id: p for p in placings},
        outcomes=dict(outcomes),
        on_row=_occupants([p for p in placings if p.workload.priority < highest], outcomes),
        spent={},
    )
    while short:
        # Who is displaced joins those who are short; priorities only fall, so this ends.
        short.sort(key=lambda p: (-p.workload.priority, p.workload.id))
        short += _make_room(short.pop(0), board, place)
    return board.outcomes


def _occupants(placings: Sequence[Placing], outcomes: Mapping[WorkloadId, Outcome]) -> dict[int, list[WorkloadId]]:
    on_row: dict[int, list[WorkloadId]] = {}
    for placing in placings:
        for row in outcomes[placing.workload.id].rows.tolist():
            on_row.setdefault(row, []).append(placing.workload.id)
    return on_row


def _make_room(placing: Placing, board: _Board, place: Place) -> list[Placing]:
    """Displace for one workload until nothing is missing or nothing helps; returns who is short now because of it."""
    short: list[Placing] = []
    while board.outcomes[placing.workload.id].missing:
        taken = next((o for o in _offers(placing, board) if _take(placing, o, board, place)), None)
        if taken is None:
            break
        for victim in taken.victims:
            settled = _resettle(board.placings[victim], taken.row, placing, board, place)
            if settled.missing and board.placings[victim].workload.preemption is Preemption.LOWER:
                short.append(board.placings[victim])
    return short


def _offers(placing: Placing, board: _Board) -> Iterator[_Offer]:
    """Nodes that only capacity closes, least harm first."""
    feasibility, outcome, room = placing.feasibility, board.outcomes[placing.workload.id], board.world.room
    is_short = len(outcome.rows) < outcome.wanted
    if not is_short and placing.workload.replicas is not None:
        return  # The count is fixed and full: room would not help.
    rows = np.flatnonzero(feasibility.limit == Limit.NONE)
    rows = rows[~np.isin(rows, outcome.rows) & ~np.isin(rows, placing.excluded)]
    rows = rows[~room.may_take(rows, placing.workload)]
    if outcome.uncovered:
        helps = np.array([bool(mask & outcome.uncovered) for mask in feasibility.reach_masks], dtype=np.bool_)
        rows = rows[helps[feasibility.masks_of(rows)]]
    found: list[tuple[int, int, int, int, tuple[WorkloadId, ...]]] = []
    for row in rows.tolist():
        victims = _fewest_victims(placing, row, board)
        if victims:
            worst = max(board.placings[victim].workload.priority for victim in victims)
            found.append((worst, len(victims), feasibility.scores.at(row, 0).total_microeur, row, victims))
    for _, _, _, row, victims in sorted(found)[:_MOST_TRIES]:
        yield _Offer(row=row, victims=victims)


def _fewest_victims(placing: Placing, row: int, board: _Board) -> tuple[WorkloadId, ...]:
    """A least set of replicas whose going lets one replica in, lowest priority first; empty where there is none."""
    room, one = board.world.room, np.array([row])
    mine = placing.workload.priority
    may_go = [v for v in board.on_row.get(row, ()) if board.placings[v].workload.priority < mine]
    may_go = [v for v in may_go if _may_lose(v, row, board)]
    may_go.sort(key=lambda v: (board.placings[v].workload.priority, v))
    gone: list[WorkloadId] = []
    devices: dict[WorkloadId, tuple[int, ...]] = {}
    while may_go and not room.may_take(one, placing.workload)[0]:
        gone.append(may_go.pop(0))
        devices[gone[-1]] = _lift(gone[-1], row, board)
    is_enough = bool(room.may_take(one, placing.workload)[0])
    needed: list[WorkloadId] = []
    # Highest priority first: who turns out not to be in the way stays.
    for victim in reversed(gone):
        workload = board.placings[victim].workload
        room.hold(row, workload, devices[victim])
        if is_enough and not room.may_take(one, placing.workload)[0]:
            needed.append(victim)
            _lift(victim, row, board)
    for victim in needed:
        room.hold(row, board.placings[victim].workload, devices[victim])
    return tuple(sorted(needed))


def _may_lose(victim: WorkloadId, row: int, board: _Board) -> bool:
    """Whether the disruption budget of a workload lets its replica on a row go: what does not run costs nothing."""
    placing = board.placings[victim]
    if row not in placing.settled:
        return True
    down = max(0, board.outcomes[victim].wanted - len(placing.settled))
    return board.spent.get(victim, 0) + down < placing.workload.disruption.max_unavailable


def _lift(victim: WorkloadId, row: int, board: _Board) -> tuple[int, ...]:
    devices = board.world.room.held.get((victim, row), ())
    board.world.room.let_go(row, board.placings[victim].workload)
    return devices


def _take(placing: Placing, offer: _Offer, board: _Board, place: Place) -> bool:
    """Empty the node of the victims and place there; put everything back where that does not help."""
    room, workload = board.world.room, placing.workload
    before = board.outcomes[workload.id]
    held = {row: room.held.get((workload.id, row), ()) for row in before.rows.tolist()}
    devices = {victim: _lift(victim, offer.row, board) for victim in offer.victims}
    after = place(placing, before.rows, board.world)
    if after.missing < before.missing and offer.row in after.rows:
        board.outcomes[workload.id] = replace(after, displaced=before.displaced)
        for row in np.union1d(before.rows, after.rows).tolist():
            known = board.on_row.setdefault(row, [])
            if workload.id in known:
                known.remove(workload.id)
            if row in after.rows:
                known.append(workload.id)
        return True
    for row in after.rows.tolist():
        room.let_go(row, workload)
    for row in before.rows.tolist():
        room.hold(row, workload, held[row])
    for victim in offer.victims:
        room.hold(offer.row, board.placings[victim].workload, devices[victim])
    return False


def _resettle(victim: Placing, row: int, by: Placing, board: _Board, place: Place) -> Outcome:
    """Place again who gave way, and note what it loses."""
    workload, before = victim.workload, board.outcomes[victim.workload.id]
    if row in victim.settled:
        board.spent[workload.id] = board.spent.get(workload.id, 0) + 1
    board.on_row[row].remove(workload.id)
    left = before.rows[before.rows != row]
    after = place(victim, left, board.world)
    for gone in left[~np.isin(left, after.rows)].tolist():
        board.on_row[gone].remove(workload.id)
    fresh = after.rows[~np.isin(after.rows, left)]
    for new in fresh.tolist():
        board.on_row.setdefault(new, []).append(workload.id)
    harm = Displaced(
        workload=workload.id,
        priority=workload.priority,
        node=board.world.table.ids[row],
        by=by.workload.id,
        by_priority=by.workload.priority,
        to=board.world.table.ids[int(fresh[0])] if len(fresh) else None,
        loses=_harm(len(after.rows), after.wanted, len(fresh) > 0),
    )
    board.outcomes[workload.id] = replace(after, displaced=(*before.displaced, harm))
    return board.outcomes[workload.id]


def _harm(has: int, wanted: int, is_moved: bool) -> str:
    if is_moved and has >= wanted:
        return "its replica starts anew elsewhere"
    if not has:
        return "it does not run at all until room is found"
    return f"it runs with {has} of {wanted} replicas until room is found"
