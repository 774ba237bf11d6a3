"""Walk the open nodes from the cheapest on, place by place, and stop as soon as an answer is reached.

`placing, room -> Reached, again and again`. Who shares site and operator shares every failure domain and serves the
same origins, so that of each place only the cheapest few may be in an answer. Where every place of one score has given
its few, the walk goes on at the next score: on a large fabric most nodes are never looked at. Budgets, devices and
state to move tell nodes of one place apart, or put them in another order; such work is not for this walk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hanse.core.work import Budget
from hanse.placement.outcome import Placing, World
from hanse.placement.score import moving_microeur
from hanse.placement.table import Ints, among

_CHUNK = 256
_MANY = 1_024
"""From so many rows on, sorting their places costs less than looking at each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The rows that may be in an answer, as far as the walk has come."""

    rows: Ints
    has_all: bool
    """There is a row for each set of origins that any node serves."""
    least_beyond_microeur: int
    """What the cheapest row further on costs at least, a move included where it is one."""
    is_end: bool


def may_walk(placing: Placing) -> bool:
    """Tell whether only score, site and operator tell nodes apart for a workload."""
    workload = placing.workload
    return workload.budget == Budget() and workload.gpu is None and placing.uprooting_microeur is None


def walk(placing: Placing, wanted: int, world: World, freed: Ints) -> Iterator[Reached]:
    """Go along the order of a shape; `freed` are open rows in the part of it that was found full."""
    feasibility, order = placing.feasibility, placing.feasibility.order
    taken: dict[int, int] = {}
    found = [_few_per_place(placing, _without_failed(placing, freed), taken, wanted)]
    position, length = feasibility.place_of(feasibility.full_before), _CHUNK
    is_full = True
    masks_there = int(np.count_nonzero(feasibility.tally.mask))
    while True:
        chunk = order[position : position + length]
        opened = chunk[world.room.may_take(chunk, placing.workload)]
        if is_full:
            feasibility.pass_full(chunk, opened)
            is_full = not len(opened)
        found.append(_few_per_place(placing, _without_failed(placing, opened), taken, wanted))
        position, length = position + len(chunk), length * 2
        past = _past_what_is_known(placing, position, taken, wanted) if position < len(order) else position
        if past != position:
            position, length = past, _CHUNK  # Another score, where the next few are again among the first.
        rows, is_end = np.concatenate(found), position >= len(order)
        has_all = len(feasibility.reach_masks) == 1 or len({*feasibility.masks_of(rows).tolist()}) >= masks_there
        yield Reached(
            rows=rows,
            has_all=has_all,
            least_beyond_microeur=0 if is_end else _least_microeur(placing, int(order[position]), world),
            is_end=is_end,
        )
        if is_end:
            return


def _few_per_place(placing: Placing, rows: Ints, taken: dict[int, int], most: int) -> Ints:
    """Of rows by score the first of each place, up to `most` with those `taken` before."""
    feasibility = placing.feasibility
    places = feasibility.place_of_kind[feasibility.scores.kind[rows]]
    if len(rows) > _MANY:
        first = _first_per_place(places, most)
        rows, places = rows[first], places[first]
    few = []
    for index, place in enumerate(places.tolist()):
        count = taken.get(place, 0)
        if count < most:
            taken[place] = count + 1
            few.append(index)
    return np.asarray(rows[few])


def _first_per_place(places: Ints, most: int) -> Ints:
    """Positions, ascending, of the first `most` of each place; by column, for many."""
    by_place = np.argsort(places, kind="stable")
    is_first = np.append(True, np.diff(places[by_place]) != 0)
    first = np.flatnonzero(is_first)
    nth = np.arange(len(places)) - first[np.cumsum(is_first) - 1]
    return np.asarray(np.sort(by_place[nth < most]))


def _without_failed(placing: Placing, rows: Ints) -> Ints:
    return rows[~among(rows, placing.excluded)] if len(placing.excluded) else rows


def _past_what_is_known(placing: Placing, position: int, taken: dict[int, int], wanted: int) -> int:
    """Where to go on: behind all rows of the same score, if each of their places has given what it may."""
    feasibility, order = placing.feasibility, placing.feasibility.order
    cost, before = feasibility.scores.totals_microeur(order[[position, position - 1]]).tolist()
    if cost != before or any(taken.get(place, 0) < wanted for place in feasibility.places_at(cost)):
        return position
    return feasibility.place_of((cost + 1, -1))


def _least_microeur(placing: Placing, row: int, world: World) -> int:
    cost = placing.feasibility.scores.totals_microeur(np.array([row]))
    moving = moving_microeur(cost, world.settings) if placing.standing.has_any else 0
    return int((cost + moving)[0])
