"""Check a finished plan from scratch, node by node and in plain arithmetic.

`plan, snapshot, verdicts -> findings`. Shares no code with the planner beyond the nouns of `core` and the settings,
so that a mistake there does not repeat here. A plan with findings is not committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from hanse.core.fabric import Node, Resources, Site
from hanse.core.ids import NodeId, PlanId, WorkloadId
from hanse.core.plan import Assignment, Plan, Unplaced
from hanse.core.snapshot import Phase, Reach, Snapshot
from hanse.core.units import MASS_UNITS, PERIODS_US
from hanse.core.verdict import Verdicts
from hanse.core.work import Preemption, Workload
from hanse.placement.audit_availability import fault_of
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings
from hanse.wire.canonical import digest_of

_ROUNDING_MICROEUR = 2
"""Per replica: the planner rounds each of its columns once."""

_LOST = (Phase.FAILED, Phase.REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a plan gets wrong: a stable rule id, a sentence, and what it concerns."""

    rule: str
    message: str
    workload: WorkloadId | None = None
    node: NodeId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What is being checked, with the assignments by workload and what each node has left."""

    plan: Plan
    snapshot: Snapshot
    verdicts: Verdicts
    settings: PlacementSettings
    by_workload: dict[WorkloadId, list[Assignment]]
    left: dict[NodeId, Resources]


def audit(
    plan: Plan, snapshot: Snapshot, verdicts: Verdicts, *, settings: PlacementSettings = DEFAULT_SETTINGS
) -> tuple[Finding, ...]:
    """Return every finding in a fixed order; empty means the plan may be committed.

    `snapshot` and `verdicts` are those the plan was made from. Settings matter for the service time allowed within a
    latency SLO and for grid zones without data.
    """
    by_workload: dict[WorkloadId, list[Assignment]] = {}
    for assignment in plan.assignments:
        by_workload.setdefault(assignment.workload, []).append(assignment)
    case = _Case(
        plan=plan,
        snapshot=snapshot,
        verdicts=verdicts,
        settings=settings,
        by_workload=by_workload,
        left=_left(plan, snapshot),
    )
    checks: Sequence[Callable[[_Case], Iterator[Finding]]] = (
        _identity,
        _duplicates,
        _places,
        _capacity,
        _devices,
        _displaced,
        _counts,
        _budgets,
        _latency,
        _availability,
        _explanations,
        _objective,
        _unplaced,
    )
    return tuple(finding for check in checks for finding in check(case))


def _identity(case: _Case) -> Iterator[Finding]:
    plan = case.plan
    digest = digest_of(replace(plan, id=PlanId(""))).removeprefix("sha256:")
    if plan.id != f"p{plan.generation}-{digest[:16]}":
        yield Finding(rule="plan.id", message=f"the id {plan.id} is not that of the plan's contents")
    if (plan.parent is None) != (plan.generation == 1):
        yield Finding(rule="plan.generation", message=f"generation {plan.generation} does not follow {plan.parent}")
    if list(plan.assignments) != sorted(plan.assignments, key=lambda a: a.instance):
        yield Finding(rule="plan.order", message="assignments are not in instance id order")


def _duplicates(case: _Case) -> Iterator[Finding]:
    for instance, times in sorted(Counter(a.instance for a in case.plan.assignments).items()):
        if times > 1:
            yield Finding(rule="duplicate.instance", message=f"instance {instance} is assigned {times} times")
    for workload, assignments in sorted(case.by_workload.items()):
        for ordinal, times in sorted(Counter(a.ordinal for a in assignments).items()):
            if times > 1:
                message = f"{times} replicas of {workload} have ordinal {ordinal}"
                yield Finding(rule="duplicate.ordinal", message=message, workload=workload)
        for node, times in sorted(Counter(a.node for a in assignments).items()):
            if times > 1:
                message = f"{times} replicas of {workload} share node {node}"
                yield Finding(rule="duplicate.node", message=message, workload=workload, node=node)


def _places(case: _Case) -> Iterator[Finding]:
    """Each assignment alone: known, current, allowed, selected, reachable."""
    present = {(r.workload, r.node) for r in case.snapshot.running if r.phase not in (Phase.STOPPED, Phase.SUCCEEDED)}
    for a in case.plan.assignments:
        workload, node = case.snapshot.workloads.get(a.workload), case.snapshot.fabric.nodes.get(a.node)
        if workload is None:
            yield Finding(rule="unknown.workload", message=f"nobody asked for {a.workload}", workload=a.workload)
            continue
        if node is None:
            yield Finding(rule="unknown.node", message=f"there is no node {a.node}", workload=a.workload, node=a.node)
            continue
        if a.spec_generation != workload.generation:
            message = f"{a.instance} runs generation {a.spec_generation}, current is {workload.generation}"
            yield Finding(rule="spec.generation", message=message, workload=a.workload, node=a.node)
        if not _is_allowed(case, a.workload, a.node):
            message = f"policy does not allow {a.workload} on node {a.node}"
            yield Finding(rule="verdict.denied", message=message, workload=a.workload, node=a.node)
        if not _is_selected(workload, node):
            message = f"node {a.node} does not carry what the selector of {a.workload} asks for"
            yield Finding(rule="selector", message=message, workload=a.workload, node=a.node)
        reach = case.snapshot.reach.get(a.node, Reach.UNREACHABLE)
        stays = reach is Reach.SUSPECT and _may_stay(case, a, present)
        if reach is not Reach.READY and not stays:
            message = f"{a.instance} is assigned to node {a.node}, which is {reach.value}"
            yield Finding(rule=f"reach.{reach.value}", message=message, workload=a.workload, node=a.node)


def _may_stay(case: _Case, assignment: Assignment, present: set[tuple[WorkloadId, NodeId]]) -> bool:
    """Tell whether a replica was there before: reported there, or placed there by an earlier plan."""
    is_older = not assignment.instance.endswith(f".{case.plan.generation}")
    return (assignment.workload, assignment.node) in present or is_older


def _capacity(case: _Case) -> Iterator[Finding]:
    for node, left in case.left.items():
        over = [f"{-left.of(name)} {name}" for name in left.names if left.of(name) < 0]
        if over:
            message = f"node {node} is overcommitted by {', '.join(over)} (millicores, bytes, bits per second, units)"
            yield Finding(rule="capacity", message=message, node=node)


def _devices(case: _Case) -> Iterator[Finding]:
    """Every replica holds the GPUs it asks for, on a node that has them, and no device is given away twice."""
    free: dict[tuple[NodeId, int], int] = {}
    for a in case.plan.assignments:
        workload, node = case.snapshot.workloads.get(a.workload), case.snapshot.fabric.nodes.get(a.node)
        if workload is None or node is None:
            continue
        need, has = workload.gpu, node.gpus
        wanted = 0 if need is None else need.count
        if len(set(a.devices)) != wanted or len(a.devices) != wanted:
            message = f"{a.instance} holds GPUs {list(a.devices)} of node {a.node}, it asks for {wanted}"
            yield Finding(rule="gpu.count", message=message, workload=a.workload, node=a.node)
        if need is None:
            continue
        if has is None or any(not 0 <= device < has.count for device in a.devices):
            message = f"{a.instance} holds GPUs {list(a.devices)}, which node {a.node} does not have"
            yield Finding(rule="gpu.unknown", message=message, workload=a.workload, node=a.node)
            continue
        if need.models and has.model not in need.models:
            message = f"{a.instance} asks for GPUs {list(need.models)}, node {a.node} has {has.model}"
            yield Finding(rule="gpu.model", message=message, workload=a.workload, node=a.node)
        for device in a.devices:
            left = free.get((a.node, device), 1_000) - need.share_milli
            free[a.node, device] = left
            if left < 0:
                message = f"GPU {device} of node {a.node} is overcommitted by {-left} thousandths"
                yield Finding(rule="gpu.overcommitted", message=message, workload=a.workload, node=a.node)


def _displaced(case: _Case) -> Iterator[Finding]:
    """Nobody gives way to an equal, and what gave way is gone from there."""
    for entry in case.plan.displaced:
        victim, by = case.snapshot.workloads.get(entry.workload), case.snapshot.workloads.get(entry.by)
        if victim is None or by is None:
            message = f"{entry.workload} gave way to {entry.by}, and nobody asked for one of them"
            yield Finding(rule="displaced.unknown", message=message, workload=entry.workload, node=entry.node)
            continue
        if victim.priority >= by.priority or by.preemption is Preemption.NEVER:
            message = f"{entry.workload} (priority {victim.priority}) gave way to {entry.by} (priority {by.priority})"
            yield Finding(rule="displaced.unjust", message=message, workload=entry.workload, node=entry.node)
        if any(a.node == entry.node for a in case.by_workload.get(entry.workload, ())):
            message = f"{entry.workload} is said to have left node {entry.node} and is still assigned to it"
            yield Finding(rule="displaced.stays", message=message, workload=entry.workload, node=entry.node)
        if not any(a.node == entry.node for a in case.by_workload.get(entry.by, ())):
            message = f"{entry.workload} left node {entry.node} for {entry.by}, which is not placed there"
            yield Finding(rule="displaced.needless", message=message, workload=entry.workload, node=entry.node)
    serving = {(r.workload, r.node) for r in case.snapshot.running if r.is_wanted and r.phase is Phase.RUNNING}
    stopped = Counter(e.workload for e in case.plan.displaced if (e.workload, e.node) in serving)
    for identity, times in sorted(stopped.items()):
        most = (
            case.snapshot.workloads[identity].disruption.max_unavailable if identity in case.snapshot.workloads else 0
        )
        if times > most:
            message = f"{times} running replicas of {identity} are displaced at once, its disruption budget is {most}"
            yield Finding(rule="displaced.budget", message=message, workload=identity)


def _counts(case: _Case) -> Iterator[Finding]:
    missing = {u.workload: u.missing for u in case.plan.unplaced}
    for identity in sorted(case.snapshot.workloads):
        workload, explanation = case.snapshot.workloads[identity], case.plan.explanations.get(identity)
        if explanation is None:
            yield Finding(rule="count.unexplained", message=f"{identity} is not explained", workload=identity)
            continue
        wanted, has = explanation.replicas_wanted, len(case.by_workload.get(identity, ()))
        if workload.replicas is not None and wanted != workload.replicas:
            message = f"{identity} asks for {workload.replicas} replicas, the plan counts with {wanted}"
            yield Finding(rule="count.wanted", message=message, workload=identity)
        if workload.most_replicas is not None and has > workload.most_replicas:
            message = f"{identity} has {has} replicas, its budget pays for {workload.most_replicas}"
            yield Finding(rule="count.budget", message=message, workload=identity)
        if has > wanted:
            message = f"{identity} has {has} replicas, wanted are {wanted}"
            yield Finding(rule="count.surplus", message=message, workload=identity)
        if has + missing.get(identity, 0) < wanted:
            message = f"{identity} has {has} of {wanted} replicas and the plan does not say that some are missing"
            yield Finding(rule="count.missing", message=message, workload=identity)


def _budgets(case: _Case) -> Iterator[Finding]:
    for identity, assignments in sorted(case.by_workload.items()):
        workload = case.snapshot.workloads.get(identity)
        nodes = [case.snapshot.fabric.nodes[a.node] for a in assignments if a.node in case.snapshot.fabric.nodes]
        if workload is None:
            continue
        slack = _ROUNDING_MICROEUR * len(nodes)
        bill, most = sum(_bill_microeur(case, workload, node) for node in nodes), workload.budget.cost_microeur_month
        if most is not None and bill > most + slack:
            message = f"{identity} would cost {float(bill):.0f} of {most} microeur a month"
            yield Finding(rule="budget.cost", message=message, workload=identity)
        carbon, most = sum(_carbon_ug(case, workload, node) for node in nodes), workload.budget.carbon_ug_month
        if most is not None and carbon > most + slack:
            message = f"{identity} would emit {float(carbon):.0f} of {most} micrograms a month"
            yield Finding(rule="budget.carbon", message=message, workload=identity)


def _latency(case: _Case) -> Iterator[Finding]:
    """Each origin within the SLO of its nearest replica, unless the plan says that it is not."""
    admitted = {u.workload for u in case.plan.unplaced}
    for identity, workload in sorted(case.snapshot.workloads.items()):
        if workload.slo.latency_p99_us is None or identity in admitted or identity not in case.by_workload:
            continue
        nodes = [case.snapshot.fabric.nodes.get(a.node) for a in case.by_workload[identity]]
        rates = workload.slo.rates_milli or (1,) * len(workload.slo.origins)
        late = [
            (origin, rate)
            for origin, rate in zip(workload.slo.origins, rates, strict=True)
            if not any(node is not None and _is_in_time(case, workload, origin, node) for node in nodes)
        ]
        if sum(rate for _, rate in late) * 100 > sum(rates) * (100 - workload.slo.percentile):
            names = ", ".join(origin for origin, _ in late)
            message = f"no replica of {identity} serves {names} within {workload.slo.latency_p99_us} us"
            yield Finding(rule="latency.cover", message=message, workload=identity)


def _availability(case: _Case) -> Iterator[Finding]:
    """What the plan says of each availability holds for the places, counted anew, and what falls short says why."""
    misses = {u.workload for u in case.plan.unplaced}
    for identity, assignments in sorted(case.by_workload.items()):
        workload, explanation = case.snapshot.workloads.get(identity), case.plan.explanations.get(identity)
        nodes = [case.snapshot.fabric.nodes[a.node] for a in assignments if a.node in case.snapshot.fabric.nodes]
        if workload is None or explanation is None:
            continue
        found = fault_of(
            explanation.availability, workload, nodes, case.snapshot, case.settings, misses=identity in misses
        )
        if found is not None:
            yield Finding(rule=f"availability.{found.rule}", message=found.message, workload=identity)


def _explanations(case: _Case) -> Iterator[Finding]:
    """The nodes an explanation calls chosen are the nodes assigned."""
    for identity, explanation in sorted(case.plan.explanations.items()):
        chosen = sorted(c.node for c in explanation.candidates if c.is_chosen)
        assigned = sorted(a.node for a in case.by_workload.get(identity, ()))
        if chosen != assigned:
            message = f"{identity} is explained as on {chosen} and assigned to {assigned}"
            yield Finding(rule="explanation.chosen", message=message, workload=identity)
        for candidate in explanation.candidates:
            if candidate.is_chosen and not (candidate.is_feasible and candidate.score is not None):
                message = f"{identity} is chosen on node {candidate.node}, which is called infeasible"
                yield Finding(rule="explanation.feasible", message=message, workload=identity, node=candidate.node)


def _objective(case: _Case) -> Iterator[Finding]:
    plan = case.plan
    total = 0
    for identity, explanation in sorted(plan.explanations.items()):
        workload = case.snapshot.workloads.get(identity)
        for candidate in explanation.candidates:
            if not candidate.is_chosen or candidate.score is None or workload is None:
                continue
            total += candidate.score.total_microeur
            node = case.snapshot.fabric.nodes.get(candidate.node)
            if node is None:
                continue
            money = _bill_microeur(case, workload, node) * workload.objective.cost_milli / 1_000
            carbon = _carbon_ug(case, workload, node) * workload.objective.carbon_microeur_per_t / MASS_UNITS["t"]
            waiting = _data(case, workload, node)[1] * case.settings.transfer_microeur_per_hour / PERIODS_US["hour"]
            true = money + carbon + waiting
            stated = candidate.score.money_microeur + candidate.score.carbon_microeur + candidate.score.data_microeur
            if abs(stated - true) > _ROUNDING_MICROEUR:
                message = f"{identity} on node {node.id} is scored {stated}, it is {float(true):.0f}"
                yield Finding(rule="objective.score", message=message, workload=identity, node=node.id)
    if total != plan.objective_microeur:
        message = f"the objective is stated as {plan.objective_microeur}, the chosen scores sum to {total}"
        yield Finding(rule="objective.sum", message=message)
    if plan.bound_microeur is not None and plan.bound_microeur > plan.objective_microeur:
        message = f"the bound {plan.bound_microeur} is above the objective {plan.objective_microeur}"
        yield Finding(rule="objective.bound", message=message)


def _unplaced(case: _Case) -> Iterator[Finding]:
    for entry in case.plan.unplaced:
        workload = case.snapshot.workloads.get(entry.workload)
        if workload is None:
            message = f"nobody asked for {entry.workload}"
            yield Finding(rule="unplaced.unknown", message=message, workload=entry.workload)
            continue
        if not entry.reasons:
            message = f"{entry.missing} replicas of {entry.workload} are missing without a reason"
            yield Finding(rule="unplaced.unreasoned", message=message, workload=entry.workload)
        true = _true_reasons(case, workload)
        for reason in entry.reasons:
            rule = reason.rule if reason.rule.startswith("placement.") else "policy"
            if rule not in true:
                message = f"{entry.workload} misses replicas for {reason.rule}, which is in the way on no node"
                yield Finding(rule="unplaced.unfounded", message=message, workload=entry.workload)
        node = _node_with_a_place(case, workload, entry)
        if node is not None:
            message = f"{entry.workload} misses {entry.missing} replicas, but node {node} would take one"
            yield Finding(rule="unplaced.place-free", message=message, workload=entry.workload, node=node)


def _true_reasons(case: _Case, workload: Workload) -> frozenset[str]:
    """The rules that are in the way of this workload somewhere in the finished plan; policy counts as one."""
    found: set[str] = set()
    every = [case.snapshot.fabric.nodes[node] for node in sorted(case.snapshot.fabric.nodes)]
    assigned = {a.node for a in case.by_workload.get(workload.id, ())}
    used = [node for node in every if node.id in assigned]
    allowed = set(case.verdicts.allowed(workload.id))
    origins = workload.slo.demanding if workload.slo.latency_p99_us is not None else ()
    for node in every:
        reach = case.snapshot.reach.get(node.id, Reach.UNREACHABLE)
        is_within = workload.resources.fits(case.left[node.id]) and _has_gpus_left(case, workload, node)
        is_cheap = not _is_tight(case, workload, [node])
        for rule, is_so in (
            ("policy", node.id not in allowed),
            ("placement.selector", not _is_selected(workload, node)),
            ("placement.drain", reach is Reach.DRAINING),
            ("placement.reachability", reach is not Reach.READY),
            ("placement.capacity", node.id not in assigned and not is_within),
            ("placement.latency", any(not _is_in_time(case, workload, o, node) for o in origins)),
            ("placement.budget", not is_cheap),
            ("placement.total-budget", bool(used) and node not in used and _is_tight(case, workload, [*used, node])),
        ):
            if is_so:
                found.add(rule)
    for rule, is_so in (
        ("placement.failure", any(r.workload == workload.id and r.phase in _LOST for r in case.snapshot.running)),
        ("placement.cover", any(not any(_is_in_time(case, workload, o, n) for n in used) for o in origins)),
        ("placement.one-per-node", bool(used)),
        ("placement.no-nodes", not every),
        ("placement.displaced", any(d.workload == workload.id and d.to is None for d in case.plan.displaced)),
    ):
        if is_so:
            found.add(rule)
    return frozenset(found)


def _is_tight(case: _Case, workload: Workload, nodes: Sequence[Node]) -> bool:
    """Tell whether these nodes exceed a budget, or come as near as the planner's rounding."""
    cost, carbon = workload.budget.cost_microeur_month, workload.budget.carbon_ug_month
    rounding = _ROUNDING_MICROEUR * len(nodes)
    if cost is not None and sum(_bill_microeur(case, workload, node) for node in nodes) + rounding > cost:
        return True
    return carbon is not None and sum(_carbon_ug(case, workload, node) for node in nodes) + rounding > carbon


def _node_with_a_place(case: _Case, workload: Workload, entry: Unplaced) -> NodeId | None:
    """The first node in id order that nothing keeps from taking one more replica which helps; None confirms."""
    assigned = {a.node for a in case.by_workload.get(workload.id, ())}
    used = [node for node in (case.snapshot.fabric.nodes.get(n) for n in sorted(assigned)) if node is not None]
    explanation = case.plan.explanations.get(workload.id)
    is_short = explanation is None or len(assigned) < explanation.replicas_wanted
    if not is_short and (workload.replicas is not None or len(assigned) == workload.most_replicas):
        return None  # The count is fixed and full: no node may take one more, whatever it would serve.
    origins = workload.slo.demanding if workload.slo.latency_p99_us is not None else ()
    unserved = [o for o in origins if not any(_is_in_time(case, workload, o, node) for node in used)]
    # A count that is short is helped by any replica in time for some origin, a full one only by one for an open origin.
    helped = origins if is_short else unserved
    failed = {r.node for r in case.snapshot.running if r.workload == workload.id and r.phase in _LOST}
    for identity in case.verdicts.allowed(workload.id):
        node = case.snapshot.fabric.nodes.get(identity)
        if node is None or identity in assigned or identity in failed:
            continue
        if case.snapshot.reach.get(identity, Reach.UNREACHABLE) is not Reach.READY or not _is_selected(workload, node):
            continue
        if not workload.resources.fits(case.left[identity]) or not _is_affordable(case, workload, [*used, node]):
            continue
        if not _has_gpus_left(case, workload, node):
            continue
        if (is_short and not origins) or any(_is_in_time(case, workload, o, node) for o in helped):
            return identity
    return None


def _has_gpus_left(case: _Case, workload: Workload, node: Node) -> bool:
    need, has = workload.gpu, node.gpus
    if need is None:
        return True
    if has is None or (need.models and has.model not in need.models):
        return False
    free = [1_000] * has.count
    for a in case.plan.assignments:
        other = case.snapshot.workloads.get(a.workload)
        if a.node == node.id and other is not None and other.gpu is not None:
            for device in a.devices:
                free[device] -= other.gpu.share_milli
    return sum(left >= need.share_milli for left in free) >= need.count


def _left(plan: Plan, snapshot: Snapshot) -> dict[NodeId, Resources]:
    left = {identity: snapshot.fabric.nodes[identity].allocatable for identity in sorted(snapshot.fabric.nodes)}
    for assignment in plan.assignments:
        workload = snapshot.workloads.get(assignment.workload)
        if workload is not None and assignment.node in left:
            left[assignment.node] = left[assignment.node].minus(workload.resources)
    return left


def _is_allowed(case: _Case, workload: WorkloadId, node: NodeId) -> bool:
    try:
        return case.verdicts.of(workload, node).is_allowed
    except KeyError:
        return False  # A pair that nobody screened is not allowed.


def _is_selected(workload: Workload, node: Node) -> bool:
    fields = {"node": node.id, "site": node.site, "operator": node.operator, "tier": node.tier.value}
    carried = {**node.labels, **fields}
    return all(carried.get(key) == value for key, value in workload.node_selector.items())


def _is_in_time(case: _Case, workload: Workload, origin: str, node: Node) -> bool:
    trip = case.snapshot.round_trip_us(origin, node.site)
    target = workload.slo.latency_p99_us
    return trip is not None and target is not None and trip + case.settings.service_time_us <= target


def _is_affordable(case: _Case, workload: Workload, nodes: Sequence[Node]) -> bool:
    cost, carbon = workload.budget.cost_microeur_month, workload.budget.carbon_ug_month
    if cost is not None and sum(_bill_microeur(case, workload, node) for node in nodes) > cost:
        return False
    return carbon is None or sum(_carbon_ug(case, workload, node) for node in nodes) <= carbon


def _bill_microeur(case: _Case, workload: Workload, node: Node) -> Fraction:
    hours = Fraction(PERIODS_US["month"], PERIODS_US["hour"])
    asks, price = workload.resources, node.price
    hourly = Fraction(asks.cpu_milli, 1_000) * price.cpu_core_hour_microeur
    hourly += Fraction(asks.memory_bytes, 2**30) * price.memory_gib_hour_microeur
    hourly += Fraction(asks.disk_bytes, 2**30) * price.disk_gib_hour_microeur
    hourly += Fraction(asks.bandwidth_bps, 10**6) * price.bandwidth_mbit_hour_microeur
    unit_prices = dict(price.custom)
    for name, units in asks.custom:
        hourly += units * unit_prices.get(name, 0)
    if workload.gpu is not None:
        hourly += Fraction(workload.gpu.count * workload.gpu.share_milli, 1_000) * price.gpu_hour_microeur
    site = case.snapshot.fabric.sites[node.site]
    energy = _draw_mw(workload, node, site)[0] / 10**6 * hours * site.energy_microeur_kwh
    sent = Fraction(workload.egress_bytes_month, 2**30) * price.egress_gib_microeur
    return hours * hourly + energy + sent + _data(case, workload, node)[0]


def _data(case: _Case, workload: Workload, node: Node) -> tuple[Fraction, Fraction]:
    """Money (microeur) and waiting (us) a month for data that a replica on a node reads, whatever the planner says."""
    fabric, money, wait_us = case.snapshot.fabric, Fraction(0), Fraction(0)
    to = fabric.sites[node.site]
    reads = {one.dataset: one.bytes_month for one in workload.data.reads}
    for one in workload.data.sets:
        amount = reads[one.id]
        if amount is None:
            runs = Fraction(1) if workload.job is None else Fraction(PERIODS_US["month"], workload.job.duration_us)
        gib = Fraction(one.size_bytes, 2**30) * runs if amount is None else Fraction(amount, 2**30)
        is_local = to.id in one.sites
        senders = [n for n in fabric.nodes.values() if (n.site == to.id if is_local else n.site in one.sites)]
        asked = []
        for sender in senders:
            rows = {**dict(sender.price.egress_to)}
            general = 0 if sender.site == to.id else rows.get(to.country, sender.price.egress_gib_microeur)
            asked.append(rows.get(to.id, general))
        money += gib * min(asked, default=0)
        if not is_local:
            wait_us += gib * 2**30 * 10**6 / case.settings.fetch_bytes_per_s
    return money, wait_us


def _carbon_ug(case: _Case, workload: Workload, node: Node) -> Fraction:
    site = case.snapshot.fabric.sites[node.site]
    draw_mw, share = _draw_mw(workload, node, site)
    hours = Fraction(PERIODS_US["month"], PERIODS_US["hour"])
    intensity = case.snapshot.intensity_g_per_kwh.get(site.grid_zone, case.settings.unknown_zone_g_per_kwh)
    made = Fraction(node.power.embodied_g * 10**6 * PERIODS_US["month"], node.power.life_us)
    return draw_mw * hours * intensity + made * share


def _draw_mw(workload: Workload, node: Node, site: Site) -> tuple[Fraction, Fraction]:
    """Draw with the share of the idle draw, PUE included; and the share of the machine that is reserved."""
    needs, has = workload.resources, node.allocatable
    shares = [Fraction(needs.of(name), max(has.of(name), 1)) for name in needs.names]
    busy_mw = Fraction(needs.cpu_milli, 1_000) * node.power.per_core_mw
    if workload.gpu is not None:
        devices = Fraction(workload.gpu.count * workload.gpu.share_milli, 1_000)
        shares.append(devices / max(1, 0 if node.gpus is None else node.gpus.count))
        busy_mw += devices * node.power.per_gpu_mw
    share = min(max(shares, default=Fraction(0)), Fraction(1))
    return (share * node.power.idle_mw + busy_mw) * Fraction(site.pue_permille, 1_000), share
