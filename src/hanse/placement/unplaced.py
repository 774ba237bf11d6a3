"""What is in the way of replicas that could not be placed, and the nearest change that would free a place.

`placing, outcome, room left -> Unplaced`. Works on the room that is left when everything else is placed, so that the
auditor, who sees the finished plan only, can confirm each reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from hanse.core.plan import Unplaced
from hanse.core.units import MEMORY_UNITS, format_bytes
from hanse.core.verdict import Change, Reason
from hanse.placement.explain import euro, limit_reason, policy_reasons
from hanse.placement.feasible import Codes, Limit
from hanse.placement.outcome import Outcome, Placing, World, limits_now
from hanse.placement.table import UNKNOWN_RTT_US, Ints, NodeTable, Room

_MOST_REASONS_PER_LIMIT = 3
_MOST_NODES_ASKED = 200
"""Nodes whose denials are counted: enough to tell the common rule, bounded on a large fabric."""
_NEAREST_FIRST = (
    Limit.BUDGET,
    Limit.LATENCY,
    Limit.CAPACITY,
    Limit.FAILURE,
    Limit.POLICY,
    Limit.DRAIN,
    Limit.REACHABILITY,
    Limit.SELECTOR,
)
"""The later a node dropped out of the recipe, the nearer it was to taking the replica."""


def unplaced(placing: Placing, outcome: Outcome, world: World) -> Unplaced:
    """Name the binding limits, nearest first, and the changes that would help, nearest first."""
    codes = limits_now(placing, world.room)
    codes[outcome.rows] = -1  # Already used: a node takes one replica of a workload.
    return Unplaced(
        workload=placing.workload.id,
        missing=outcome.missing,
        reasons=tuple(_reasons(placing, outcome, codes, world)),
        changes=(*_changes(placing, outcome, codes, world), *world.verdicts.changes(placing.workload.id)),
    )


def _reasons(placing: Placing, outcome: Outcome, codes: Codes, world: World) -> Iterator[Reason]:
    workload, feasibility = placing.workload, placing.feasibility
    open_origins = [name for bit, name in enumerate(feasibility.origins) if outcome.uncovered >> bit & 1]
    if open_origins and len(outcome.rows):
        yield Reason(
            rule="placement.cover",
            cite=f"latency SLO of {workload.id}",
            message=f"no replica that could be placed serves {', '.join(open_origins)} in time",
        )
    if (codes == Limit.NONE).any() and len(outcome.rows) < outcome.wanted:
        yield Reason(
            rule="placement.total-budget",
            cite=f"budget of {workload.id}",
            message=f"{len(outcome.rows)} of {outcome.wanted} replicas use up the monthly budget",
        )
    for limit in _NEAREST_FIRST:
        rows = np.flatnonzero(codes == limit)
        rows = rows[np.argsort(feasibility.scores.total_microeur[rows], kind="stable")]
        if limit is Limit.POLICY:
            yield from _policy_reasons(placing, rows, world)
            continue
        for row in rows[:_MOST_REASONS_PER_LIMIT].tolist():
            yield limit_reason(placing, row, limit, world)
    if (codes == -1).any():
        yield Reason(
            rule="placement.one-per-node",
            cite=f"spread of {workload.id}",
            message=f"{len(outcome.rows)} nodes hold a replica already and take no second one",
        )
    if not len(codes):
        yield Reason(rule="placement.no-nodes", cite="fabric", message="the fabric has no nodes")


def _policy_reasons(placing: Placing, rows: Ints, world: World) -> Iterator[Reason]:
    """Each rule once, with the message for the first node it denies; the rule that denies most nodes comes first."""
    first: dict[str, Reason] = {}
    denials: Counter[str] = Counter()
    for row in rows[:_MOST_NODES_ASKED].tolist():
        for reason in policy_reasons(placing.workload.id, world.table.ids[row], world):
            first.setdefault(reason.rule, reason)
            denials[reason.rule] += 1
    for rule, _ in denials.most_common(_MOST_REASONS_PER_LIMIT):
        yield first[rule]


def _changes(placing: Placing, outcome: Outcome, codes: Codes, world: World) -> Iterator[Change]:
    table = world.table
    yield from _more_budget(placing, outcome, codes, table)
    yield from _more_time(placing, outcome, codes, world)
    yield from _less_memory(placing, codes, table, world.room)
    excluded = [table.ids[row] for row in np.flatnonzero(codes == Limit.FAILURE).tolist()]
    if excluded:
        first = min(excluded, key=lambda node: (placing.standing.excluded[node].until_us, node))
        what = f"find out why {placing.workload.id} fails on node {first}; it is tried there again by itself"
        yield Change(what=what, target="fact", allows=(first,))
    selected = np.flatnonzero(codes == Limit.SELECTOR)
    if len(selected):
        asked = ", ".join(f"{key}={value}" for key, value in sorted(placing.workload.node_selector.items()))
        yield Change(what=f"let the selector of {placing.workload.id} ask for less than {asked}", target="spec")


def _more_budget(placing: Placing, outcome: Outcome, codes: Codes, table: NodeTable) -> Iterator[Change]:
    workload, scores = placing.workload, placing.feasibility.scores
    rows = np.flatnonzero((codes == Limit.BUDGET) | (codes == Limit.NONE))
    short = outcome.wanted - len(outcome.rows)
    if not len(rows) or short <= 0:
        return
    for most, column, name in (
        (workload.budget.cost_microeur_month, scores.bill_microeur[scores.kind], "cost"),
        (workload.budget.carbon_ug_month, scores.carbon_ug[scores.kind], "carbon"),
    ):
        cheapest = rows[np.argsort(column[rows], kind="stable")][:short]
        needed = int(column[outcome.rows].sum() + column[cheapest].sum())
        if most is not None and needed > most:
            amount = euro(needed) if name == "cost" else f"{needed / 10**9:.4f} kg"
            yield Change(
                what=f"raise budget.{name} of {workload.id} to {amount}/month",
                target="spec",
                allows=tuple(sorted(table.ids[row] for row in cheapest.tolist())),
            )


def _more_time(placing: Placing, outcome: Outcome, codes: Codes, world: World) -> Iterator[Change]:
    """The least p99 at which every open origin has a node that passes everything else, or the count asked has one."""
    feasibility, workload, table = placing.feasibility, placing.workload, world.table
    if not feasibility.origins:
        return
    open_origins = [name for bit, name in enumerate(feasibility.origins) if outcome.uncovered >> bit & 1]
    rows = np.flatnonzero((codes == Limit.LATENCY) | (codes == Limit.NONE) | (codes == -1))
    if not len(rows) or not (open_origins or (codes == Limit.LATENCY).any()):
        return
    trips = [feasibility.trips_us[origin][rows] for origin in open_origins or feasibility.origins]
    if open_origins:
        nearest = [(int(column.min()), int(rows[np.argmin(column)])) for column in trips]
    else:
        beyond = rows[codes[rows] == Limit.LATENCY]
        best = np.min([feasibility.trips_us[origin][beyond] for origin in feasibility.origins], axis=0)
        nearest = [(int(best.min()), int(beyond[np.argmin(best)]))]
    needed = max(trip for trip, _ in nearest)
    if needed == UNKNOWN_RTT_US:
        yield Change(
            what=f"name origins of {workload.id} that the gazetteer or a site knows: {', '.join(open_origins)}",
            target="spec",
        )
        return
    milliseconds = -(-(needed + world.settings.service_time_us) // 1_000)
    yield Change(
        what=f"relax slo.latency.p99 of {workload.id} to {milliseconds}ms",
        target="spec",
        allows=tuple(sorted({table.ids[row] for _, row in nearest})),
    )


def _less_memory(placing: Placing, codes: Codes, table: NodeTable, room: Room) -> Iterator[Change]:
    workload = placing.workload
    rows = np.flatnonzero((codes == Limit.CAPACITY) & (room.cpu_milli >= workload.resources.cpu_milli))
    rows = rows[room.memory_bytes[rows] >= MEMORY_UNITS["Mi"]]
    if len(rows):
        largest = int(rows[np.argmax(room.memory_bytes[rows])])
        free = int(room.memory_bytes[largest]) // MEMORY_UNITS["Mi"] * MEMORY_UNITS["Mi"]
        what = f"lower resources.memory of {workload.id} from {format_bytes(workload.resources.memory_bytes)}"
        yield Change(what=f"{what} to {free // MEMORY_UNITS['Mi']}Mi", target="spec", allows=(table.ids[largest],))
    elif (codes == Limit.CAPACITY).any():
        what = (
            f"add a node with {workload.resources.cpu_milli}m CPU and {format_bytes(workload.resources.memory_bytes)}"
        )
        yield Change(what=f"{what} free, or free as much on one that may take {workload.id}", target="fact")
