"""What is in the way of replicas that could not be placed, and the nearest change that would free a place.

`placing, outcome, room left -> Unplaced`. Works on the room that is left when everything else is placed, so that the
auditor, who sees the finished plan only, can confirm each reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from hanse.core.fabric import PARTS
from hanse.core.plan import Unplaced
from hanse.core.units import MEMORY_UNITS, format_resource
from hanse.core.verdict import Change, Reason
from hanse.placement.explain import amount, euro, gpus, limit_reason, policy_reasons
from hanse.placement.feasible import Codes, Limit
from hanse.placement.outcome import Outcome, Placing, World, limits_now
from hanse.placement.table import GONE, UNKNOWN_RTT_US, Ints, NodeTable, Room, cheapest

_MOST_REASONS_PER_LIMIT = 3
_MOST_NODES_ASKED = 50
"""Nodes whose denials are counted: enough to tell the common rule, bounded on a large fabric."""
_NOT_THERE = -2
"""In place of a limit: the node is gone, so that it is in nobody's way."""
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
    codes[world.table.reach[: len(codes)] == GONE] = _NOT_THERE
    return Unplaced(
        workload=placing.workload.id,
        missing=outcome.missing,
        reasons=tuple(_reasons(placing, outcome, codes, world)),
        changes=(*_changes(placing, outcome, codes, world), *world.verdicts.changes(placing.workload.id)),
    )


def _reasons(placing: Placing, outcome: Outcome, codes: Codes, world: World) -> Iterator[Reason]:
    workload, feasibility = placing.workload, placing.feasibility
    for one in outcome.displaced:
        if one.to is None:
            yield Reason(
                rule="placement.displaced",
                cite=f"priority of {one.by}",
                message=f"{one.workload} (priority {one.priority}) gave way on node {one.node} to {one.by} "
                f"(priority {one.by_priority})",
            )
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
        totals = feasibility.scores.totals_microeur(rows)
        if limit is Limit.POLICY:
            yield from _policy_reasons(placing, rows[cheapest(totals, _MOST_NODES_ASKED)], world)
            continue
        for row in rows[cheapest(totals, _MOST_REASONS_PER_LIMIT)].tolist():
            yield limit_reason(placing, row, limit, world)
    if (codes == -1).any():
        yield Reason(
            rule="placement.one-per-node",
            cite=f"spread of {workload.id}",
            message=f"{len(outcome.rows)} nodes hold a replica already and take no second one",
        )
    if not (codes != _NOT_THERE).any():
        yield Reason(rule="placement.no-nodes", cite="fabric", message="the fabric has no nodes")


def _policy_reasons(placing: Placing, rows: Ints, world: World) -> Iterator[Reason]:
    """Each rule once, with the message for the first node it denies; the rule that denies most nodes comes first."""
    first: dict[str, Reason] = {}
    denials: Counter[str] = Counter()
    for row in rows.tolist():
        for reason in policy_reasons(placing.workload.id, world.table.ids[row], world):
            first.setdefault(reason.rule, reason)
            denials[reason.rule] += 1
    for rule, _ in denials.most_common(_MOST_REASONS_PER_LIMIT):
        yield first[rule]


def _changes(placing: Placing, outcome: Outcome, codes: Codes, world: World) -> Iterator[Change]:
    table = world.table
    yield from _more_budget(placing, outcome, codes, table)
    yield from _more_time(placing, outcome, codes, world)
    yield from _less_asked(placing, codes, table, world.room)
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
        least = rows[cheapest(column[rows], short)]
        needed = int(column[outcome.rows].sum() + column[least].sum())
        if most is not None and needed > most:
            amount = euro(needed) if name == "cost" else f"{needed / 10**9:.4f} kg"
            yield Change(
                what=f"raise budget.{name} of {workload.id} to {amount}/month",
                target="spec",
                allows=tuple(sorted(table.ids[row] for row in least.tolist())),
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
    trips = [
        feasibility.trips_us[origin][feasibility.scores.kind[rows]] for origin in open_origins or feasibility.origins
    ]
    if open_origins:
        nearest = [(int(column.min()), int(rows[np.argmin(column)])) for column in trips]
    else:
        beyond = rows[codes[rows] == Limit.LATENCY]
        best = np.min(
            [feasibility.trips_us[origin][feasibility.scores.kind[beyond]] for origin in feasibility.origins], axis=0
        )
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
        what=f"relax slo.latency.p{workload.slo.percentile} of {workload.id} to {milliseconds}ms",
        target="spec",
        allows=tuple(sorted({table.ids[row] for _, row in nearest})),
    )


def _less_asked(placing: Placing, codes: Codes, table: NodeTable, room: Room) -> Iterator[Change]:
    """The smallest cut, as a share of what is asked, of one single resource that lets a replica in somewhere."""
    workload = placing.workload
    full = np.flatnonzero(codes == Limit.CAPACITY)
    if not len(full):
        return
    needs = room.axes.vector(workload.resources)
    lacks = np.stack([free[full] < need for free, need in zip(room.free, needs.tolist(), strict=True)])
    is_gpu_short = np.zeros(len(full), dtype=np.bool_)
    if workload.gpu is not None:
        is_gpu_short = ~(room.has_gpus(full, workload.gpu) & table.has_model(workload.gpu)[full])
    best: tuple[float, int, int] | None = None
    for axis, name in enumerate(room.axes.names):
        alone = full[lacks[axis] & (lacks.sum(axis=0) == 1) & ~is_gpu_short]
        alone = alone[room.free[axis, alone] >= _LEAST_STEP.get(name, 1)]
        if len(alone):
            row = int(alone[np.argmax(room.free[axis, alone])])
            left = float(room.free[axis, row] / needs[axis])
            if best is None or left > best[0]:
                best = (left, axis, row)
    if best is not None:
        _, axis, row = best
        name = room.axes.names[axis]
        step = _LEAST_STEP.get(name, 1)
        free = int(room.free[axis, row]) // step * step
        field = name if name in PARTS else f"custom.{name}"
        asked = format_resource(name, int(needs[axis]))
        yield Change(
            what=f"lower resources.{field} of {workload.id} from {asked} to {_exactly(name, free)}",
            target="spec",
            allows=(table.ids[row],),
        )
    elif is_gpu_short.all() and workload.gpu is not None and not lacks.any(axis=0).all():
        what = f"add a node with {gpus(workload.gpu)}, or free as much on one that may take {workload.id}"
        yield Change(what=what, target="fact")
    else:
        what = f"add a node with {amount(workload.resources, workload.gpu)} free"
        yield Change(what=f"{what}, or free as much on one that may take {workload.id}", target="fact")


_LEAST_STEP: Mapping[str, int] = {"memory": MEMORY_UNITS["Mi"], "disk": MEMORY_UNITS["Mi"], "bandwidth": 1_000}
"""A proposal is worth writing down from here on, and in these steps."""


def _exactly(name: str, quantity: int) -> str:
    """An amount as a manifest takes it, without rounding up."""
    match name:
        case "memory" | "disk":
            return f"{quantity // MEMORY_UNITS['Mi']}Mi"
        case "bandwidth":
            return f"{quantity // 1_000}kbit/s"
        case "cpu":
            return f"{quantity}m"
        case _:
            return str(quantity)
