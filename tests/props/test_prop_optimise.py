"""Properties of the global solver on random fabrics: never against a rule, never worse, never too high a bound."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placement_worlds import NOW, PairVerdicts, carried_out, wide_worlds, worlds

from hanse.core.fabric import Fabric, Resources
from hanse.core.plan import Plan
from hanse.core.rng import Rng
from hanse.core.snapshot import Reach, Snapshot
from hanse.placement import audit, difference, optimise, plan
from hanse.placement.solvers import Effort

pytest.importorskip("highspy", reason="the global solver needs highspy")


HARD = Effort()
LIGHTLY = Effort(gap=0.5)
"""Stops at half the way, so that a plan is often not the optimum: what hides in exact answers shows."""


def quickly(snapshot: Snapshot, rules: PairVerdicts, parent: Plan | None = None) -> Plan:
    return plan(snapshot, rules, parent, now=NOW, rng=Rng(0), trigger="property")


def globally(snapshot: Snapshot, rules: PairVerdicts, parent: Plan | None = None, effort: Effort = HARD) -> Plan:
    return optimise(snapshot, rules, parent, now=NOW, rng=Rng(0), trigger="property", effort=effort)


def missing(made: Plan) -> int:
    return sum(entry.missing for entry in made.unplaced)


@given(worlds())
@settings(max_examples=80, deadline=None)
def test_no_global_plan_ever_breaks_a_rule_or_costs_more_than_the_incremental_one(world):
    snapshot, rules = world
    quick, best = quickly(snapshot, rules), globally(snapshot, rules)
    assert audit(best, snapshot, rules) == ()
    assert missing(best) <= missing(quick)
    if missing(best) == missing(quick):
        assert best.objective_microeur <= quick.objective_microeur
    assert {a.workload for a in quick.assignments} <= {a.workload for a in best.assignments}
    assert best.bound_microeur <= best.objective_microeur


@given(wide_worlds(), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_no_global_plan_of_a_wide_world_breaks_a_rule_costs_more_or_is_undone(world, data):
    """Sixteen nodes, three operators, five sites: with rates of failure, measured lines and policies of their own."""
    snapshot, rules = world
    quick, best = quickly(snapshot, rules), globally(snapshot, rules)
    assert audit(quick, snapshot, rules) == ()
    assert audit(best, snapshot, rules) == ()
    assert missing(best) <= missing(quick)
    if missing(best) == missing(quick):
        assert best.objective_microeur <= quick.objective_microeur
    assert best.bound_microeur <= best.objective_microeur
    carried = replace(snapshot, running=carried_out(best))
    assert difference(best, globally(carried, rules, best)).is_empty
    lost = data.draw(st.sampled_from(sorted(snapshot.fabric.nodes)))
    without = replace(carried, reach={**carried.reach, lost: Reach.UNREACHABLE})
    assert audit(globally(without, rules, best), without, rules) == ()


@given(worlds(), worlds())
@settings(max_examples=40, deadline=None)
def test_no_global_replan_after_a_change_breaks_a_rule_either(before, after):
    first = globally(*before)
    snapshot, rules = after
    known = tuple(r for r in carried_out(first) if r.workload in snapshot.workloads)
    later = replace(snapshot, running=known)
    assert audit(globally(later, rules, first), later, rules) == ()


@given(worlds())
@settings(max_examples=40, deadline=None)
def test_the_order_of_nodes_and_workloads_leaves_no_trace_in_a_global_plan(world):
    snapshot, rules = world
    fabric = snapshot.fabric
    other = replace(
        snapshot,
        fabric=Fabric(
            sites=dict(reversed(fabric.sites.items())),
            operators=dict(reversed(fabric.operators.items())),
            nodes=dict(reversed(fabric.nodes.items())),
        ),
        workloads=dict(reversed(snapshot.workloads.items())),
    )
    assert globally(snapshot, rules).id == globally(other, rules).id


@given(worlds())
@settings(max_examples=40, deadline=None)
def test_an_unchanged_world_is_left_as_it_is_by_the_global_solver(world):
    snapshot, rules = world
    first = globally(snapshot, rules)
    second = globally(replace(snapshot, running=carried_out(first)), rules, first)
    assert difference(first, second).is_empty


@given(worlds(), st.integers(2, 4), st.sampled_from([HARD, LIGHTLY]))
@settings(max_examples=60, deadline=None)
def test_more_capacity_never_makes_the_objective_worse(world, times, effort):
    """The plan made with less is legal with more and given as the start; larger nodes also idle less per replica."""
    snapshot, rules = world
    less = globally(snapshot, rules)
    nodes = {
        n: replace(f, capacity=replace(f.capacity, cpu_milli=f.capacity.cpu_milli * times)) for n, f in
        snapshot.fabric.nodes.items()
    }  # fmt: skip
    larger = replace(snapshot, fabric=replace(snapshot.fabric, nodes=nodes))
    more = optimise(larger, rules, None, now=NOW, rng=Rng(0), trigger="property", start=less, effort=effort)
    if less.unplaced or any(
        less.explanations[w].replicas_wanted != told.replicas_wanted for w, told in more.explanations.items()
    ):
        return  # A node that was too small counts as a place now: more replicas may be wanted.
    assert not more.unplaced
    assert more.objective_microeur <= less.objective_microeur


@given(worlds())
@settings(max_examples=40, deadline=None)
def test_neighbourhoods_alone_break_no_rule_and_cost_no_more(world):
    """With no room for the whole program, as in a large fabric."""
    snapshot, rules = world
    with pytest.MonkeyPatch.context() as patch:
        # By module: the package calls its function by the same name.
        patch.setattr(sys.modules["hanse.placement.program"], "_MOST_COLUMNS", 0)
        patch.setattr(sys.modules["hanse.placement.neighbourhoods"], "_MOST_ROWS", 3)
        best = globally(snapshot, rules)
    assert audit(best, snapshot, rules) == ()
    quick = quickly(snapshot, rules)
    assert missing(best) < missing(quick) or best.objective_microeur <= quick.objective_microeur


@given(worlds(), st.sampled_from([HARD, LIGHTLY]))
@settings(max_examples=60, deadline=None)
def test_the_bound_is_never_above_the_true_optimum(world, effort):
    """Every way to put single replicas on nodes that have room and serve their origins costs at least the bound."""
    snapshot, rules = world
    single = {
        w: spec
        for w, spec in snapshot.workloads.items()
        if quickly(snapshot, rules).explanations[w].replicas_wanted == 1
    }
    alone = replace(snapshot, workloads=dict(list(single.items())[:3]))
    made = globally(alone, rules, effort=effort)
    if made.unplaced or not alone.workloads:
        return
    choices = []
    for workload in alone.workloads:
        free = quickly(replace(alone, workloads={workload: alone.workloads[workload]}), rules).explanations[workload]
        scores = [(c.node, c.score.total_microeur) for c in free.candidates if c.score is not None]
        origins = alone.workloads[workload].slo.origins if alone.workloads[workload].slo.latency_p99_us else ()
        target = (alone.workloads[workload].slo.latency_p99_us or 0) - 2_000
        sites = {n: alone.fabric.nodes[n].site for n, _ in scores}
        choices.append([(n, s) for n, s in scores if all(alone.round_trip_us(o, sites[n]) <= target for o in origins)])
    best = None
    for chosen in product(*choices):
        used: dict[str, Resources] = {}
        for (node, _), spec in zip(chosen, alone.workloads.values(), strict=True):
            used[node] = used.get(node, Resources()).plus(spec.resources)
        if all(amount.fits(alone.fabric.nodes[node].capacity) for node, amount in used.items()):
            total = sum(score for _, score in chosen)
            best = total if best is None else min(best, total)
    assert best is not None
    assert made.bound_microeur <= best <= made.objective_microeur
