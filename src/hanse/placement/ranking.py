"""Rows of a table by score: laid out once, then kept in order while single rows come, go and change.

`rows, scores -> rows, cheapest first, ties by row`, which is by the node's name. Whether a row is open at all is
decided in `feasible`.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from hanse.placement.growing import with_entry, without_entry
from hanse.placement.score import ScoreTable
from hanse.placement.table import Ints

_FEW_ROWS = 8
"""Up to so many rows are moved one by one; more are cheaper to lay out again at once."""


def cheapest_first(rows: Ints, scores: ScoreTable) -> Ints:
    """Rows by score, ties by node id. Kinds share scores, so few bits tell them apart and a radix sort does."""
    distinct, rank = np.unique(scores.kind_microeur, return_inverse=True)
    width = np.uint16 if len(distinct) < 2**16 else np.int64
    return np.asarray(rows[np.argsort(rank.astype(width)[scores.kind[rows]], kind="stable")])


def reordered(order: Ints, were_open: Ints, before: ScoreTable, opened: Ints, scores: ScoreTable) -> Ints:
    """Rows by score without those that were open before they changed, then with those that are. Takes over `order`.

    `before` are the scores as they were; all else stands where it stood, so that each row is found by its score.
    """
    if len(were_open) + len(opened) > _FEW_ROWS:
        return _laid_out_again(order, were_open, opened, scores)
    costs_before = before.totals_microeur(were_open).tolist()
    left = {row: (cost, row) for cost, row in zip(costs_before, were_open.tolist(), strict=True)}
    come = {
        row: (cost, row) for cost, row in zip(scores.totals_microeur(opened).tolist(), opened.tolist(), strict=True)
    }
    for row, place in left.items():
        if come.get(row) != place:
            order = without_entry(order, place_in(order, place, before))
    for row, place in come.items():
        if left.get(row) != place:
            order = with_entry(order, place_in(order, place, scores), row)
    return order


def _laid_out_again(order: Ints, changed: Ints, opened: Ints, scores: ScoreTable) -> Ints:
    is_changed = np.zeros(len(scores.kind), dtype=np.bool_)
    is_changed[changed] = True
    left = order[~is_changed[order]]
    kind, costs = scores.kind, scores.kind_microeur
    fresh = sorted((int(costs[kind[row]]), row) for row in opened.tolist())
    return np.insert(left, [place_in(left, one, scores) for one in fresh], [row for _, row in fresh])


def place_in(order: Ints, cost_and_row: tuple[int, int], scores: ScoreTable) -> int:
    """Where a score and row stand in the order, or would."""
    kind, costs = scores.kind, scores.kind_microeur
    return bisect_left(order, cost_and_row, key=lambda row: (int(costs[kind[row]]), int(row)))
