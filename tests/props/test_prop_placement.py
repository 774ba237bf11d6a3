"""Properties of the planner on random fabrics: never against a rule, never by accident of order, never restless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from placement_worlds import NOW, PairVerdicts, carried_out, worlds

from hanse.core.fabric import Fabric, Resources
from hanse.core.ids import NodeId
from hanse.core.plan import Plan
from hanse.core.rng import Rng
from hanse.core.snapshot import Reach, Snapshot
from hanse.placement import audit, difference, plan


def decide(snapshot: Snapshot, rules: PairVerdicts, parent: Plan | None = None) -> Plan:
    return plan(snapshot, rules, parent, now=NOW, rng=Rng(0), trigger="property")


def reversed_keys(mapping: Mapping) -> dict:
    return dict(reversed(list(mapping.items())))


@given(worlds())
@settings(max_examples=150, deadline=None)
def test_no_plan_ever_breaks_a_verdict_capacity_selector_slo_or_budget(world):
    snapshot, rules = world
    made = decide(snapshot, rules)
    # Written out here as well, so that the claim does not rest on the auditor alone.
    used: dict[NodeId, Resources] = {}
    for a in made.assignments:
        workload, node = snapshot.workloads[a.workload], snapshot.fabric.nodes[a.node]
        assert rules.of(a.workload, a.node).is_allowed
        assert snapshot.reach[a.node] is Reach.READY
        fields = {"tier": node.tier.value, "operator": node.operator}
        assert all(fields[key] == value for key, value in workload.node_selector.items())
        used[a.node] = used.get(a.node, Resources()).plus(workload.resources)
    assert all(amount.fits(snapshot.fabric.nodes[node].capacity) for node, amount in used.items())
    assert audit(made, snapshot, rules) == ()


@given(worlds(), worlds())
@settings(max_examples=60, deadline=None)
def test_no_replan_after_a_change_breaks_a_rule_either(before, after):
    first = decide(*before)
    snapshot, rules = after
    known = tuple(r for r in carried_out(first) if r.workload in snapshot.workloads)
    later = replace(snapshot, running=known)
    assert audit(decide(later, rules, first), later, rules) == ()


@given(worlds())
@settings(max_examples=60, deadline=None)
def test_the_order_of_nodes_and_workloads_leaves_no_trace(world):
    snapshot, rules = world
    fabric = snapshot.fabric
    other = replace(
        snapshot,
        fabric=Fabric(
            sites=reversed_keys(fabric.sites),
            operators=reversed_keys(fabric.operators),
            nodes=reversed_keys(fabric.nodes),
        ),
        reach=reversed_keys(snapshot.reach),
        workloads=reversed_keys(snapshot.workloads),
    )
    made, again = decide(snapshot, rules), decide(other, rules)
    assert (made, made.id) == (again, again.id)


@given(worlds())
@settings(max_examples=100, deadline=None)
def test_an_unchanged_world_is_left_as_it_is(world):
    snapshot, rules = world
    first = decide(snapshot, rules)
    for running in ((), carried_out(first)):
        second = decide(replace(snapshot, running=running), rules, first)
        assert second.assignments == first.assignments
        assert difference(first, second).is_empty


@given(worlds(), st.lists(st.integers(900, 1_100), min_size=9, max_size=9))
@settings(max_examples=60, deadline=None)
def test_drifting_prices_never_make_a_replica_swing_back(world, drift):
    """Prices that move by up to 10 % and come back never leave a plan that the next one undoes at equal prices."""
    snapshot, rules = world
    first = decide(snapshot, rules)
    nodes = {
        identity: replace(
            node,
            price=replace(
                node.price, cpu_core_hour_microeur=node.price.cpu_core_hour_microeur * drift[int(identity[1:])] // 1_000
            ),
        )
        for identity, node in snapshot.fabric.nodes.items()
    }
    drifted = replace(snapshot, fabric=replace(snapshot.fabric, nodes=nodes), running=carried_out(first))
    second = decide(drifted, rules, first)
    third = decide(replace(drifted, running=carried_out(second)), rules, second)
    assert third.assignments == second.assignments


@given(worlds())
@settings(max_examples=60, deadline=None)
def test_the_bound_is_never_above_any_legal_plan_of_the_same_counts(world):
    """Every set of as many feasible nodes as were placed, full or not, costs at least the bound."""
    snapshot, rules = world
    made = decide(snapshot, rules)
    assert made.bound_microeur <= made.objective_microeur
    cheapest = 0
    for workload, story in made.explanations.items():
        # Nodes that are full now could have been taken by a plan that fills them in another way.
        count = sum(a.workload == workload for a in made.assignments)
        alone = replace(snapshot, workloads={workload: snapshot.workloads[workload]})
        free = decide(alone, rules).explanations[workload]
        scores = [c.score.total_microeur for c in free.candidates if c.score is not None]
        assert story.replicas_wanted >= count
        cheapest += min((sum(chosen) for chosen in combinations(scores, count)), default=0)
    assert made.bound_microeur <= cheapest
