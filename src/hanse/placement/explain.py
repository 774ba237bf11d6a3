"""Why the replicas of one workload are where they are, per candidate node, in words and numbers.

`placing, outcome -> Explanation`. A fabric of up to `full_explanation_nodes` gets every node. In a larger one each
workload gets the nodes that concern it alone, and all that ask for the same share one sample: who is next in line, the
best few per limit, and the counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hanse.core.fabric import PARTS, GpuNeed, Resources
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.plan import AvailabilityClaim, Candidate, Explanation, Shortfall
from hanse.core.snapshot import Reach
from hanse.core.time import rfc3339
from hanse.core.units import format_duration, format_resource
from hanse.core.verdict import FactRead, Reason
from hanse.core.work import Workload
from hanse.placement.demand import percent
from hanse.placement.feasible import Limit
from hanse.placement.outcome import Outcome, Placing, World, moving_costs
from hanse.placement.rates import availability_ppm, worst_known
from hanse.placement.table import REACH_CODES, UNKNOWN_RTT_US, WHOLE_MILLI, Ints, NodeTable
from hanse.placement.traffic import told

DENIED_SINCE = "placement.denied-since"
"""Rule id of the reason that carries, from plan to plan, since when policy denies a place that runs."""
_REACH_OF_CODE: Mapping[int, Reach] = {code: reach for reach, code in REACH_CODES.items()}


def explanation(placing: Placing, outcome: Outcome, world: World) -> Explanation:
    """Explain one workload."""
    limits = _own(placing, outcome) if outcome.limits is None else _all(outcome)
    moving = moving_costs(placing, np.array(list(limits), dtype=np.int64), world.settings).tolist()
    pairs = zip(limits.items(), moving, strict=True)
    return Explanation(
        workload=placing.workload.id,
        replicas_wanted=outcome.wanted,
        replicas_why=_why(placing, outcome, world),
        candidates=tuple(
            _candidate(placing, outcome, world, row=row, limit=limit, moving=cost) for (row, limit), cost in pairs
        ),
        alike=placing.feasibility.first if outcome.limits is None else None,
        availability=_claim(placing, outcome, world),
    )


class Storyteller:
    """Explains one workload after the other, and those that were placed at once only once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told: dict[int, tuple[Outcome, Explanation]] = {}

    def explain(self, placing: Placing, outcome: Outcome) -> Explanation:
        """Explain one workload."""
        if outcome.limits is not None or placing.standing.has_any or placing.standing.excluded:
            return explanation(placing, outcome, self._world)
        known = self._told.get(id(outcome))
        if known is None or not self._is_same_ground(placing, known[1]):
            # The outcome is kept with its story, so that its id stays its own.
            known = self._told[id(outcome)] = outcome, explanation(placing, outcome, self._world)
            return known[1]
        like = known[1]
        return Explanation(
            workload=placing.workload.id,
            replicas_wanted=like.replicas_wanted,
            replicas_why=like.replicas_why,
            candidates=like.candidates,
            alike=like.alike,
            availability=like.availability,
        )

    def _is_same_ground(self, placing: Placing, like: Explanation) -> bool:
        """Tell whether the same rules permit it there; only verdicts that differ tell such workloads apart."""
        return all(policy_reasons(placing.workload.id, c.node, self._world) == c.reasons for c in like.candidates)


def sample(placing: Placing, world: World) -> tuple[Candidate, ...]:
    """What all workloads that ask for the same share, once everything is placed; `placing` is the first of them."""
    feasibility, most, scores = placing.feasibility, world.settings.kept_per_limit, placing.feasibility.scores
    found = {row: limit for limit, rows in feasibility.samples.items() for row in rows}
    fits = world.room.may_take(feasibility.order, placing.workload)
    found.update(dict.fromkeys(feasibility.order[~fits][:most].tolist(), Limit.CAPACITY))
    found.update(dict.fromkeys(feasibility.order[fits][:most].tolist(), Limit.NONE))
    told = []
    for row in sorted(found):
        limit, node = found[row], world.table.ids[row]
        if limit is Limit.POLICY:
            reasons = policy_reasons(placing.workload.id, node, world)
        else:
            reasons = (limit_reason(placing, row, limit, world, whose=""),)
        told.append(
            Candidate(
                node=node,
                is_feasible=limit is Limit.NONE,
                limit=limit.label,
                reasons=reasons,
                score=scores.at(row, 0) if limit is Limit.NONE else None,
                is_chosen=False,
            )
        )
    return tuple(told)


def limit_reason(placing: Placing, row: int, limit: Limit, world: World, whose: str | None = None) -> Reason:
    """The reason for a limit other than policy, which brings its own; `whose` is empty where many share it."""
    workload, table = placing.workload, world.table
    of = f" of {workload.id}" if whose is None else whose
    node = table.ids[row]
    match limit:
        case Limit.SELECTOR:
            asked = ", ".join(f"{key}={value}" for key, value in sorted(workload.node_selector.items()))
            cite, message = f"selector{of}", f"node {node} does not carry {asked}"
        case Limit.REACHABILITY | Limit.DRAIN:
            cite, message = (
                f"reach of node {node}",
                _reach_message(node, _REACH_OF_CODE.get(int(table.reach[row]), Reach.UNREACHABLE)),
            )
        case Limit.FAILURE:
            cite, message = f"reports of node {node}", placing.standing.excluded[node].message
        case Limit.CAPACITY:
            cite, message = f"capacity of node {node}", _capacity_message(workload, row, world)
        case Limit.LATENCY:
            cite, message = f"latency SLO{of}", _latency_message(placing, row, world)
        case Limit.BUDGET:
            cite, message = f"budget{of}", _budget_message(placing, row, table)
        case Limit.POLICY | Limit.NONE:
            total = placing.feasibility.scores.at(row, 0).total_microeur
            cite = f"score on node {node}"
            message = f"node {node} may take it, at {euro(total)} a month, and is next in line"
    return Reason(rule=f"placement.{limit.label or 'score'}", cite=cite, message=message)


def policy_reasons(workload: WorkloadId, node: NodeId, world: World) -> tuple[Reason, ...]:
    """The reasons of a verdict; a pair that was not screened is denied for that reason."""
    try:
        return world.verdicts.of(workload, node).reasons
    except KeyError:
        message = f"{workload} was not screened on node {node}: nothing permits it"
        return (Reason(rule="default-deny", cite="deny by default", message=message),)


def amount(resources: Resources, gpu: GpuNeed | None = None) -> str:
    """Write an amount for people: ``250m CPU, 10Gi disk and 64Mi``; CPU and memory always, the rest where it is."""
    names = ["cpu", "memory", *(name for name in resources.names if name not in ("cpu", "memory"))]
    parts = [format_resource(name, resources.of(name)) for name in names]
    if gpu is not None:
        parts.append(gpus(gpu))
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def gpus(need: GpuNeed) -> str:
    """Write a need of accelerators for people: ``2 GPUs (A100)``, ``25% of a GPU``."""
    of = f" ({' or '.join(need.models)})" if need.models else ""
    if need.share_milli < WHOLE_MILLI:
        return f"{need.share_milli / 10:g}% of a GPU{of}"
    return f"{need.count} GPU{'s' if need.count > 1 else ''}{of}"


def euro(microeur: int) -> str:
    """Write money for people, to a hundredth of a cent."""
    return f"{microeur / 1_000_000:.4f} EUR"


def _all(outcome: Outcome) -> Mapping[int, Limit]:
    codes = [] if outcome.limits is None else outcome.limits.tolist()
    return {row: Limit(code) for row, code in enumerate(codes)}


def _own(placing: Placing, outcome: Outcome) -> Mapping[int, Limit]:
    """The nodes that concern this workload alone: chosen, running, kept, left out after failures."""
    feasibility = placing.feasibility
    chosen = outcome.rows.tolist()
    if not placing.standing.has_any and not len(placing.excluded):
        return dict.fromkeys(chosen, Limit.NONE)
    found = {row: Limit(int(feasibility.limit[row])) for row in placing.present.tolist()}
    found.update(dict.fromkeys(placing.excluded.tolist(), Limit.FAILURE))
    found.update({row: Limit(int(feasibility.limit_if_kept[row])) for row in placing.kept.tolist()})
    found.update(dict.fromkeys(chosen, Limit.NONE))
    return {row: found[row] for row in sorted(found)}


def _candidate(placing: Placing, outcome: Outcome, world: World, *, row: int, limit: Limit, moving: int) -> Candidate:
    workload, node = placing.workload.id, world.table.ids[row]
    is_chosen = bool((outcome.rows == row).any())
    if limit is Limit.POLICY:
        reasons = policy_reasons(workload, node, world)
        if node in placing.standing.present:
            reasons = (*reasons, _denied_since(workload, node, world))
    elif is_chosen:
        reasons = policy_reasons(workload, node, world)
    elif limit is Limit.NONE:
        reasons = (_not_chosen(placing, outcome, row, moving, world.table),)
    else:
        reasons = (limit_reason(placing, row, limit, world),)
    return Candidate(
        node=node,
        is_feasible=limit is Limit.NONE,
        limit=limit.label,
        reasons=reasons,
        score=placing.feasibility.scores.at(row, moving) if limit is Limit.NONE else None,
        is_chosen=is_chosen,
    )


def _not_chosen(placing: Placing, outcome: Outcome, row: int, moving: int, table: NodeTable) -> Reason:
    node = table.ids[row]
    total = placing.feasibility.scores.at(row, 0).total_microeur + moving
    dearest = int(outcome.totals_microeur.max(initial=0))
    if total > dearest or not len(outcome.rows):
        message = f"node {node} may take it, but scores {euro(total - dearest)} a month more than the dearest chosen"
    elif total == dearest:
        message = f"node {node} may take it and scores the same as the dearest chosen; the lower node id goes first"
    else:
        message = (
            f"node {node} may take it and scores {euro(dearest - total)} a month less than the dearest chosen, but "
            f"the spread over failure domains, the origins or the budget of the whole set decided otherwise"
        )
    return Reason(rule="placement.score", cite=f"score on node {node}", message=message)


def _denied_since(workload: WorkloadId, node: NodeId, world: World) -> Reason:
    """Carry over from the parent plan since when the place is denied, or note that it is from now on."""
    before = world.parent.explanations.get(workload) if world.parent is not None else None
    for candidate in before.candidates if before is not None else ():
        for reason in candidate.reasons:
            if candidate.node == node and reason.rule == DENIED_SINCE:
                return reason
    return Reason(
        rule=DENIED_SINCE,
        cite="bound on illegal work",
        message=f"what runs on node {node} lost its ground by {rfc3339(world.now)}",
        facts=(FactRead(subject=f"node/{node}.denied_since_us", value=str(world.now)),),
    )


def _why(placing: Placing, outcome: Outcome, world: World) -> str:
    table, why = world.table, placing.feasibility.demand.why
    if outcome.wanted > placing.feasibility.demand.replicas:
        why = f"{outcome.wanted} replicas: {_why_more(placing, outcome, world)}; else {why}"
    claim = _claim(placing, outcome, world)
    if claim is not None:
        why += f"; the places chosen give {percent(claim.reached_ppm)}"
        worst = worst_known(world.rates, table, outcome.rows, world.settings)
        why += f", for {worst}" if worst else ""
        if claim.shortfall is not None:
            why += f", short of {percent(claim.target_ppm)}: {_SHORT[claim.shortfall]}"
    if demand := told(placing.workload.slo):
        why += f"; {demand}"
    if outcome.limits is None:
        why += f"; of {table.size} nodes by limit: {placing.feasibility.counted}"
    return why


_SHORT: Mapping[Shortfall, str] = {
    Shortfall.FIXED: "the count is fixed by the spec",
    Shortfall.ROOM: "replicas have no place",
    Shortfall.BUDGET: "the budget pays for no more replicas",
    Shortfall.MOST: "no more may be asked for",
    Shortfall.PLACES: "the places that are legal, in reach and have room do not lie further apart",
}


def _claim(placing: Placing, outcome: Outcome, world: World) -> AvailabilityClaim | None:
    """What the places chosen give of the availability asked for, for the auditor to work out anew."""
    workload, settings = placing.workload, world.settings
    target, count = workload.slo.availability_ppm, len(outcome.rows)
    if target is None or not count:
        return None
    reached, short = availability_ppm(world.rates, world.table, outcome.rows, settings), None
    if reached < target:
        short = Shortfall.PLACES
        if workload.replicas is not None:
            short = Shortfall.FIXED
        elif outcome.missing:
            short = Shortfall.ROOM
        elif workload.most_replicas is not None and count >= workload.most_replicas:
            short = Shortfall.BUDGET
        elif count >= settings.most_replicas:
            short = Shortfall.MOST
    return AvailabilityClaim(target_ppm=target, reached_ppm=reached, shortfall=short)


def _why_more(placing: Placing, outcome: Outcome, world: World) -> str:
    """Why more were chosen than the count that was worked out beforehand."""
    worst = worst_known(world.rates, world.table, outcome.rows, world.settings)
    if placing.workload.slo.availability_ppm is not None and worst:
        return f"fewer of these places would not last, for {worst}"
    return "the places that would serve every origin with fewer are full"


def _reach_message(node: NodeId, reach: Reach) -> str:
    match reach:
        case Reach.UNREACHABLE:
            return f"node {node} is unreachable: replicas are added elsewhere, nothing is deleted there"
        case Reach.REVOKED:
            return f"the identity of node {node} is revoked"
        case Reach.DRAINING:
            return f"node {node} is being drained: it takes nothing new and gives up what it has"
        case Reach.SUSPECT:
            return f"node {node} is under suspicion: it keeps what it has and takes nothing new"
        case Reach.READY:
            return f"node {node} is ready"


def _capacity_message(workload: Workload, row: int, world: World) -> str:
    """What runs short, and whether it is taken or was never there."""
    table, room, needed = world.table, world.room, workload.resources
    name, needs = table.ids[row], table.axes.vector(needed)
    if (needs > table.amounts[row]).any():
        return f"a replica needs {amount(needed)}, node {name} has {amount(_there(table, table.amounts[row]))} in all"
    gpu = workload.gpu
    if gpu is not None:
        has = table.nodes[row].gpus
        there = "no GPU" if has is None else f"{has.count} {has.model}"
        if not table.has_model(gpu)[row] or table.gpu_count[row] < gpu.count:
            return f"a replica needs {gpus(gpu)}, node {name} has {there}"
        if not room.has_gpus(np.array([row]), gpu)[0]:
            return f"node {name} has not {gpus(gpu)} free of its {there}"
    short = [n for axis, n in enumerate(table.axes.names) if needs[axis] > room.free[axis, row]]
    needs_of = amount(needed)
    lacking = f": {', '.join(short)} runs short" if len(table.axes.names) > 2 and short else ""
    return f"node {name} has not {needs_of} free of its {amount(_there(table, table.amounts[row], needed))}{lacking}"


def _there(table: NodeTable, vector: Ints, needed: Resources | None = None) -> Resources:
    """An axis vector as an amount; only what is asked for where `needed` says so."""
    told = {n: int(v) for n, v in zip(table.axes.names, vector.tolist(), strict=True)}
    if needed is not None:
        told = {name: amount for name, amount in told.items() if name in needed.names}
    parts = {field: told.pop(name, 0) for name, field in PARTS.items()}
    return Resources(**parts, custom=tuple(sorted((name, amount) for name, amount in told.items() if amount)))


def _latency_message(placing: Placing, row: int, world: World) -> str:
    trips = {origin: placing.feasibility.trip_us(origin, row) for origin in placing.feasibility.trips_us}
    nearest = min(trips, key=lambda origin: (trips[origin], origin))
    target = format_duration(placing.workload.slo.latency_p99_us or 0)
    if trips[nearest] == UNKNOWN_RTT_US:
        return f"no origin of {', '.join(trips)} can be located, so {target} cannot be shown"
    node = world.table.ids[row]
    is_measured = world.snapshot.is_measured(nearest, world.snapshot.fabric.nodes[node].site)
    return (
        f"node {node} is {format_duration(trips[nearest])} from {nearest}, its nearest origin"
        f"{', as measured' if is_measured else ''}; with "
        f"{format_duration(world.settings.service_time_us)} of service that is beyond {target}"
    )


def _budget_message(placing: Placing, row: int, table: NodeTable) -> str:
    scores, budget = placing.feasibility.scores, placing.workload.budget
    parts = []
    if budget.cost_microeur_month is not None:
        bill = euro(scores.at(row, 0).bill_microeur)
        parts.append(f"costs {bill} of {euro(budget.cost_microeur_month)} a month")
    if budget.carbon_ug_month is not None:
        carbon = scores.at(row, 0).carbon_ug / 10**9
        parts.append(f"emits {carbon:.4f} kg of {budget.carbon_ug_month / 10**9:.4f} kg CO2e a month")
    return f"one replica on node {table.ids[row]} {' and '.join(parts)}"
