"""The auditor finds every fault seeded into a sound plan, and nothing in the sound plan itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hanse.core.fabric import Resources
from hanse.core.ids import InstanceId, NodeId, PlanId, WorkloadId
from hanse.core.plan import Plan, Unplaced
from hanse.core.snapshot import Reach
from hanse.core.verdict import Reason
from hanse.core.work import Budget
from hanse.placement import audit
from hanse.placement.planner import plan_digest


def sealed(plan: Plan) -> Plan:
    """Give a changed plan the id of its contents, so that only the seeded fault is left to find."""
    draft = replace(plan, id=PlanId(""), assignments=tuple(sorted(plan.assignments, key=lambda a: a.instance)))
    return replace(draft, id=PlanId(f"p{plan.generation}-{plan_digest(draft)[:16]}"))


def with_first(plan: Plan, **changes) -> Plan:
    first, *rest = plan.assignments
    return sealed(replace(plan, assignments=(replace(first, **changes), *rest)))


def explained(plan: Plan, **changes) -> Plan:
    (identity,) = plan.explanations
    return sealed(replace(plan, explanations={identity: replace(plan.explanations[identity], **changes)}))


def denied_place(plan):
    return with_first(plan, node=NodeId("dub-1"))


def unknown_node(plan):
    return with_first(plan, node=NodeId("nowhere"))


def unknown_workload(plan):
    return with_first(plan, workload=WorkloadId("clinic.ghost"))


def old_spec(plan):
    return with_first(plan, spec_generation=0)


def shared_node(plan):
    return with_first(plan, node=plan.assignments[1].node)


def same_ordinal(plan):
    return with_first(plan, ordinal=plan.assignments[1].ordinal)


def same_instance(plan):
    return with_first(plan, instance=plan.assignments[1].instance)


def silent_loss(plan):
    return sealed(replace(plan, assignments=plan.assignments[1:]))


def one_too_many(plan):
    extra = replace(plan.assignments[0], instance=InstanceId("clinic.triage.7.1"), ordinal=7, node=NodeId("par-1"))
    return sealed(replace(plan, assignments=(*plan.assignments, extra)))


def unexplained(plan):
    return sealed(replace(plan, explanations={}))


def false_story(plan):
    (story,) = plan.explanations.values()
    return explained(plan, candidates=tuple(replace(c, is_chosen=c.node == "par-1") for c in story.candidates))


def false_score(plan):
    (story,) = plan.explanations.values()
    cheaper = [
        replace(c, score=replace(c.score, money_microeur=1)) if c.is_chosen and c.score else c for c in story.candidates
    ]
    return explained(plan, candidates=tuple(cheaper))


def false_objective(plan):
    return sealed(replace(plan, objective_microeur=plan.objective_microeur + 1))


def bound_too_high(plan):
    return sealed(replace(plan, bound_microeur=plan.objective_microeur + 1))


def false_id(plan):
    return replace(plan, id=PlanId("p1-0000000000000000"))


def orphan(plan):
    return sealed(replace(plan, generation=2))


def unordered(plan):
    return replace(plan, assignments=tuple(reversed(plan.assignments)))


def refused_without_need(plan):
    why = Reason(rule="placement.capacity", cite="capacity of node fra-1", message="full")
    entry = Unplaced(workload=plan.assignments[0].workload, missing=1, reasons=(why,), changes=())
    return sealed(replace(plan, assignments=plan.assignments[1:], unplaced=(entry,)))


def refused_for_what_is_not_so(plan):
    why = Reason(rule="placement.budget", cite="budget of clinic.triage", message="too dear")
    entry = Unplaced(workload=plan.assignments[0].workload, missing=1, reasons=(why,), changes=())
    return sealed(replace(plan, assignments=plan.assignments[1:], unplaced=(entry,)))


def refused_without_reason(plan):
    entry = Unplaced(workload=plan.assignments[0].workload, missing=1, reasons=(), changes=())
    return sealed(replace(plan, assignments=plan.assignments[1:], unplaced=(entry,)))


def refused_for_nobody(plan):
    entry = Unplaced(workload=WorkloadId("clinic.ghost"), missing=1, reasons=(), changes=())
    return sealed(replace(plan, unplaced=(entry,)))


SEEDED = {
    denied_place: "verdict.denied",
    unknown_node: "unknown.node",
    unknown_workload: "unknown.workload",
    old_spec: "spec.generation",
    shared_node: "duplicate.node",
    same_ordinal: "duplicate.ordinal",
    same_instance: "duplicate.instance",
    silent_loss: "count.missing",
    one_too_many: "count.surplus",
    unexplained: "count.unexplained",
    false_story: "explanation.chosen",
    false_score: "objective.score",
    false_objective: "objective.sum",
    bound_too_high: "objective.bound",
    false_id: "plan.id",
    orphan: "plan.generation",
    unordered: "plan.order",
    refused_without_need: "unplaced.place-free",
    refused_for_what_is_not_so: "unplaced.unfounded",
    refused_without_reason: "unplaced.unreasoned",
    refused_for_nobody: "unplaced.unknown",
}


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: seed.__name__)
def test_finds_a_fault_in_the_plan(eu, seed):
    world = eu.snapshot(eu.triage())
    rules = eu.verdicts(world, "dub-1")
    made = eu.decide(world, denied=("dub-1",))
    assert audit(made, world, rules) == ()
    assert SEEDED[seed] in {finding.rule for finding in audit(seed(made), world, rules)}


@pytest.mark.parametrize("reach", [Reach.UNREACHABLE, Reach.DRAINING, Reach.REVOKED, Reach.SUSPECT])
def test_finds_a_place_that_may_take_nothing_new(eu, reach):
    made = eu.decide(eu.snapshot(eu.triage()))
    later = eu.snapshot(eu.triage(), dub_1=reach)
    assert f"reach.{reach.value}" in {f.rule for f in audit(made, later, eu.verdicts(later))}


WORLDS = {
    "capacity": {"resources": Resources(cpu_milli=3_000, memory_bytes=2**20)},
    "selector": {"node_selector": {"tier": "core"}},
    "budget.cost": {"budget": Budget(cost_microeur_month=1_000_000)},
    "budget.carbon": {"budget": Budget(carbon_ug_month=1_000_000)},
    "count.wanted": {"replicas": 3},
}


@pytest.mark.parametrize("rule", WORLDS)
def test_finds_a_plan_that_another_spec_made_wrong(eu, rule):
    made = eu.decide(eu.snapshot(eu.triage()))
    stricter = eu.snapshot(eu.triage(**WORLDS[rule]))
    assert rule in {finding.rule for finding in audit(made, stricter, eu.verdicts(stricter))}


def test_finds_an_origin_that_no_replica_serves_in_time(eu):
    made = eu.decide(eu.snapshot(eu.triage()))
    slo = replace(eu.triage().slo, latency_p99_us=12_000)
    stricter = eu.snapshot(eu.triage(slo=slo))
    assert "latency.cover" in {finding.rule for finding in audit(made, stricter, eu.verdicts(stricter))}


def test_a_pair_that_nobody_screened_is_not_allowed(eu):
    world = eu.snapshot(eu.triage())
    made = eu.decide(world)
    rules = replace(eu.verdicts(world), nodes=(NodeId("fra-1"),))
    assert "verdict.denied" in {finding.rule for finding in audit(made, world, rules)}
