"""Place many equal workloads at once: what is chosen for one stands for the next while its nodes have room.

`Placings of one shape that run nowhere yet -> an outcome each`. The answer is exactly that of choosing for one after
the other: a choice depends on which nodes are open, and that changes only when one of the chosen nodes is full. One
replica that any node may serve does not even need choosing: the cheapest open node takes as many as fit, then the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hanse.core.work import Budget
from hanse.placement.outcome import Outcome, Placing, World
from hanse.placement.table import MANY, Ints

Choose = Callable[[Placing, World], Outcome]
Runs = Iterator[tuple[Outcome, int]]


def place_alike(placings: Sequence[Placing], world: World, choose: Choose) -> Iterator[Outcome]:
    """Place workloads of one shape, none of which has a standing, and take their room; outcomes in order."""
    one, left = placings[0], len(placings)
    for outcome, times in _in_line(one, left, world):
        left -= times
        yield from (outcome for _ in range(times))
    while left:
        outcome = choose(one, world)
        times = min(left, _repeats(outcome.rows, one, world))
        for row in outcome.rows.tolist():
            world.room.take(row, one.workload.resources, times)
        left -= times
        yield from (outcome for _ in range(times))


def _repeats(rows: Ints, placing: Placing, world: World) -> int:
    """How often the same choice may be taken before one of its nodes is full."""
    return int(world.room.times(rows, placing.workload.resources).min(initial=MANY))


def _in_line(placing: Placing, count: int, world: World) -> Runs:
    """Fill the nodes that serve every origin in order of score, where one replica is all that is asked."""
    feasibility, amount = placing.feasibility, placing.workload.resources
    is_small = world.table.size <= world.settings.full_explanation_nodes
    if feasibility.demand.replicas != 1 or placing.workload.budget != Budget() or is_small:
        return
    serves = np.array([mask == feasibility.every_origin for mask in feasibility.reach_masks], dtype=np.bool_)
    rows = feasibility.order[serves[feasibility.masks_of(feasibility.order)]]
    room = np.minimum(world.room.times(rows, amount), count)
    until = np.cumsum(room)
    used = int(np.searchsorted(until, count)) + 1
    left = count
    totals = feasibility.scores.totals_microeur
    for index in np.flatnonzero(room[:used]).tolist():
        row = rows[index : index + 1]
        times = min(left, int(room[index]))
        world.room.take(int(row[0]), amount, times)
        left -= times
        yield (
            Outcome(
                wanted=1,
                rows=row,
                totals_microeur=totals(row),
                uncovered=0,
                bound_microeur=int(totals(feasibility.order[:1])[0]),
            ),
            times,
        )
