"""Everything between a workload and one node, nearest first: the answer to `why not there`.

`snapshot, verdicts, parent, workload, node -> WhyNot`. The recipe stops at the first limit that rules a node out; this
asks every one of them, so that nobody clears a limit only to meet the next. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hanse.core.ids import NodeId, WorkloadId
from hanse.core.plan import Plan
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.time import WallTime
from hanse.core.units import format_duration
from hanse.core.verdict import Change, Reason, Verdicts
from hanse.placement.choose import domains_for
from hanse.placement.explain import euro, limit_reason, policy_reasons
from hanse.placement.feasible import Limit
from hanse.placement.outcome import Outcome, Placing, World, moving_costs
from hanse.placement.planner import place_all, prepare
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings
from hanse.placement.table import REACH_CODES, UNKNOWN_RTT_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One limit in the way, and what would clear it."""

    limit: str
    """``score``, ``spread``, ``occupied``, or a limit of `hanse.core.plan.Candidate`."""
    reasons: tuple[Reason, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyNot:
    """Why a workload is not on a node."""

    workload: WorkloadId
    node: NodeId
    is_there: bool
    """It is: nothing is in the way."""
    obstacles: tuple[Obstacle, ...]
    """Nearest first: what a price may turn, then what the workload's owner, the operator, the rules may."""


def why_not(
    snapshot: Snapshot,
    verdicts: Verdicts,
    parent: Plan | None,
    workload: WorkloadId,
    node: NodeId,
    *,
    now: WallTime,
    settings: PlacementSettings = DEFAULT_SETTINGS,
) -> WhyNot:
    """Ask every limit about one node, with everything placed as it would be now. Raises KeyError for unknown names."""
    spec = snapshot.workloads[workload]
    run = prepare(snapshot, verdicts, parent, now=now, settings=settings)
    row = run.world.table.row_of[node]
    outcome = place_all(run)[spec.id]
    if row in outcome.rows:
        return WhyNot(workload=workload, node=node, is_there=True, obstacles=())
    placing = next(one for one in run.placings if one.workload.id == workload)
    found = list(_obstacles(placing, outcome, row, run.world))
    if not found:
        found.append(_dearer(placing, outcome, row, run.world))
    return WhyNot(workload=workload, node=node, is_there=False, obstacles=tuple(found))


def _obstacles(placing: Placing, outcome: Outcome, row: int, world: World) -> Iterator[Obstacle]:
    yield from _spread(placing, outcome, row, world)
    yield from _budget(placing, row, world)
    yield from _capacity(placing, row, world)
    yield from _latency(placing, row, world)
    if row in placing.excluded:
        yield Obstacle(limit="failure", reasons=(limit_reason(placing, row, Limit.FAILURE, world),), changes=())
    yield from _selector(placing, row, world)
    yield from _policy(placing, row, world)
    yield from _reach(placing, row, world)


def _dearer(placing: Placing, outcome: Outcome, row: int, world: World) -> Obstacle:
    node, rows = world.table.ids[row], np.array([row], dtype=np.int64)
    total = int((placing.feasibility.scores.totals_microeur(rows) + moving_costs(placing, rows, world.settings))[0])
    dearest = int(outcome.totals_microeur.max(initial=0))
    wanted = "replica is" if outcome.wanted == 1 else "replicas are"
    message = f"node {node} may take it: {outcome.wanted} {wanted} wanted, and the places chosen score better"
    changes: tuple[Change, ...] = ()
    if total > dearest and len(outcome.rows):
        message += f" by {euro(total - dearest)} a month, moving included"
        what = f"ask {euro(total - dearest)} less a month for it on node {node}, or pin it there with a nodeSelector"
        changes = (Change(what=what, target="fact", allows=(node,)),)
    reason = Reason(rule="placement.score", cite=f"score on node {node}", message=message)
    return Obstacle(limit="score", reasons=(reason,), changes=changes)


def _spread(placing: Placing, outcome: Outcome, row: int, world: World) -> Iterator[Obstacle]:
    table, spread = world.table, placing.feasibility.demand.spread
    for name, column in zip(
        ("site", "operator", "jurisdiction"),
        domains_for(spread, table.site, table.operator, table.country),
        strict=False,
    ):
        shared = [table.ids[other] for other in outcome.rows.tolist() if column[other] == column[row]]
        if shared:
            message = (
                f"node {table.ids[row]} shares its {name} with {', '.join(shared)}, where a replica stands already"
            )
            reason = Reason(rule="placement.spread", cite=f"availability of {placing.workload.id}", message=message)
            yield Obstacle(limit="spread", reasons=(reason,), changes=())
            return


def _budget(placing: Placing, row: int, world: World) -> Iterator[Obstacle]:
    budget, scores, workload = placing.workload.budget, placing.feasibility.scores, placing.workload
    rows = np.array([row], dtype=np.int64)
    bill, carbon = int(scores.bills_microeur(rows)[0]), int(scores.carbons_ug(rows)[0])
    changes = []
    if budget.cost_microeur_month is not None and bill > budget.cost_microeur_month:
        changes.append(f"raise budget.cost of {workload.id} to {euro(bill)}/month")
    if budget.carbon_ug_month is not None and carbon > budget.carbon_ug_month:
        changes.append(f"raise budget.carbon of {workload.id} to {carbon / 10**9:.4f} kg/month")
    if changes:
        yield Obstacle(
            limit="budget",
            reasons=(limit_reason(placing, row, Limit.BUDGET, world),),
            changes=tuple(Change(what=what, target="spec", allows=(world.table.ids[row],)) for what in changes),
        )


def _capacity(placing: Placing, row: int, world: World) -> Iterator[Obstacle]:
    if not world.room.may_take(np.array([row]), placing.workload)[0] or _lacks_model(placing, row, world):
        what = f"free as much on node {world.table.ids[row]}, or ask for less with resources of {placing.workload.id}"
        yield Obstacle(
            limit="capacity",
            reasons=(limit_reason(placing, row, Limit.CAPACITY, world),),
            changes=(Change(what=what, target="spec", allows=(world.table.ids[row],)),),
        )


def _lacks_model(placing: Placing, row: int, world: World) -> bool:
    gpu = placing.workload.gpu
    return gpu is not None and not bool(world.table.has_model(gpu)[row])


def _latency(placing: Placing, row: int, world: World) -> Iterator[Obstacle]:
    target = placing.workload.slo.latency_p99_us
    feasibility = placing.feasibility
    if target is None or feasibility.reach_masks[int(feasibility.mask_of_kind[feasibility.scores.kind[row]])]:
        return
    nearest = min(feasibility.trip_us(origin, row) for origin in feasibility.trips_us)
    changes: tuple[Change, ...] = ()
    if nearest != UNKNOWN_RTT_US:
        needed = -(-(nearest + world.settings.service_time_us) // 1_000) * 1_000
        what = f"relax slo.latency.p{placing.workload.slo.percentile} of {placing.workload.id}"
        what += f" from {format_duration(target)} to {format_duration(needed)}"
        changes = (Change(what=what, target="spec", allows=(world.table.ids[row],)),)
    yield Obstacle(limit="latency", reasons=(limit_reason(placing, row, Limit.LATENCY, world),), changes=changes)


def _selector(placing: Placing, row: int, world: World) -> Iterator[Obstacle]:
    missing = [
        f"{key}={value}"
        for key, value in sorted(placing.workload.node_selector.items())
        if not world.table.mask_of_label(key, value)[row]
    ]
    if missing:
        what = f"let the selector of {placing.workload.id} not ask for {', '.join(missing)}"
        yield Obstacle(
            limit="selector",
            reasons=(limit_reason(placing, row, Limit.SELECTOR, world),),
            changes=(Change(what=what, target="spec", allows=(world.table.ids[row],)),),
        )


def _policy(placing: Placing, row: int, world: World) -> Iterator[Obstacle]:
    node, workload = world.table.ids[row], placing.workload.id
    if node in world.verdicts.allowed(workload):
        return
    nearest = tuple(change for change in world.verdicts.changes(workload) if node in change.allows)
    yield Obstacle(limit="policy", reasons=policy_reasons(workload, node, world), changes=nearest)


def _reach(placing: Placing, row: int, world: World) -> Iterator[Obstacle]:
    code = int(world.table.reach[row])
    if code == REACH_CODES[Reach.READY]:
        return
    limit = Limit.DRAIN if code == REACH_CODES[Reach.DRAINING] else Limit.REACHABILITY
    node = world.table.ids[row]
    changes = (Change(what=f"undrain node {node}", target="fact", allows=(node,)),) if limit is Limit.DRAIN else ()
    yield Obstacle(limit=limit.label, reasons=(limit_reason(placing, row, limit, world),), changes=changes)
