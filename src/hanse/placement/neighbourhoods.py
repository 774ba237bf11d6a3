"""What the global solver decides anew at a time, where everything at once is too much.

`run, outcomes -> neighbourhoods`. By region first: the nodes of some sites of one country, and what runs there. Then by
regret: the workloads that pay most above their cheapest place, with those that hold the places they would rather have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hanse.core.ids import WorkloadId
from hanse.placement.outcome import Outcome, Placing
from hanse.placement.planner import Run
from hanse.placement.table import Ints

_MOST_WORKLOADS = 300
"""Workloads of one neighbourhood: their program has some ten thousand columns and is solved in about a second."""
_MOST_ROWS = 100
_REGRETS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """Workloads that may move, and rows that they may move to besides their own."""

    workloads: frozenset[WorkloadId]
    rows: Ints


def neighbourhoods(run: Run, outcomes: Mapping[WorkloadId, Outcome]) -> Sequence[Neighbourhood]:
    """All neighbourhoods worth solving from these outcomes, regions before regrets."""
    holders: dict[int, list[WorkloadId]] = {}
    for placing in run.placings:
        for row in outcomes[placing.workload.id].rows.tolist():
            holders.setdefault(row, []).append(placing.workload.id)
    return [*_regions(run, holders), *_regrets(run, outcomes, holders)]


def _regions(run: Run, holders: Mapping[int, Sequence[WorkloadId]]) -> Iterator[Neighbourhood]:
    """Rows by country and site, cut where workloads or rows become too many."""
    table = run.world.table
    rows: list[int] = []
    workloads: set[WorkloadId] = set()
    country = -1
    for row in np.lexsort((np.arange(table.size), table.site, table.country)).tolist():
        is_full = len(workloads) >= _MOST_WORKLOADS or len(rows) >= _MOST_ROWS
        if rows and (is_full or int(table.country[row]) != country):
            if workloads:
                yield Neighbourhood(workloads=frozenset(workloads), rows=np.array(rows, dtype=np.int64))
            rows, workloads = [], set()
        country = int(table.country[row])
        rows.append(row)
        workloads.update(holders.get(row, ()))
    if workloads:
        yield Neighbourhood(workloads=frozenset(workloads), rows=np.array(rows, dtype=np.int64))


def _regrets(
    run: Run, outcomes: Mapping[WorkloadId, Outcome], holders: Mapping[int, Sequence[WorkloadId]]
) -> Iterator[Neighbourhood]:
    """Those that pay most above their bound, a few at a time, with who sits where they would go."""
    ranked = sorted(run.placings, key=lambda p: (-_regret(outcomes[p.workload.id]), p.workload.id))
    ranked = [placing for placing in ranked if _regret(outcomes[placing.workload.id]) > 0]
    each = _MOST_WORKLOADS // 3
    for start in range(0, min(len(ranked), _REGRETS * each), each):
        some = ranked[start : start + each]
        rows = _wanted_rows(some)
        blocking = [w for row in rows.tolist() for w in holders.get(row, ())]
        chosen = dict.fromkeys([*(p.workload.id for p in some), *blocking])
        yield Neighbourhood(workloads=frozenset(list(chosen)[:_MOST_WORKLOADS]), rows=rows)


def _wanted_rows(placings: Sequence[Placing]) -> Ints:
    """Rows that are among the cheapest of several, by how often they are."""
    times: dict[int, int] = {}
    for placing in placings:
        for row in placing.feasibility.order[:_MOST_ROWS].tolist():
            times[row] = times.get(row, 0) + 1
    rows = sorted(times, key=lambda row: (-times[row], row))[:_MOST_ROWS]
    return np.array(sorted(rows), dtype=np.int64)


def _regret(outcome: Outcome) -> int:
    return int(outcome.totals_microeur.sum()) - outcome.bound_microeur
