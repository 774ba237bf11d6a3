"""The planner on the six-node Europe fabric: where work goes, when it moves, what is said when it cannot go."""

from __future__ import annotations

from dataclasses import replace

from hanse.core.fabric import Resources
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.snapshot import Phase, Reach
from hanse.core.verdict import Change
from hanse.core.work import Budget, Objective, Slo
from hanse.placement import audit, difference

TRIAGE = WorkloadId("clinic.triage")

GOLDEN = """\
clinic.triage wants 2: 2 replicas on different sites give 99.9933% where 1 would give 99.7441% and 99.95% is asked; \
the operator, still shared and assumed down 50 ppm of the time, carries this; the places chosen give 99.9943%
- dub-1 no (policy): operator nimbus is under US control and no transfer basis is stated [GDPR Art. 44]
- fra-1 could, money 2374076 carbon 26981 latency 0: node fra-1 may take it, but scores 0.1751 EUR a month more than \
the dearest chosen [score on node fra-1]
- par-1 could, money 2529304 carbon 6443 latency 0: node par-1 may take it, but scores 0.3098 EUR a month more than \
the dearest chosen [score on node par-1]
- sto-1 chosen, money 2223414 carbon 2531 latency 0: the owner's domain permits it [contract 1]
- waw-1 chosen, money 1903827 carbon 145793 latency 0: the owner's domain permits it [contract 1]
- zrh-1 could, money 3561114 carbon 8205 latency 0: node zrh-1 may take it, but scores 1.3434 EUR a month more than \
the dearest chosen [score on node zrh-1]"""


def told(explanation):
    """Write an explanation the way a person would want to read it."""
    lines = [f"{explanation.workload} wants {explanation.replicas_wanted}: {explanation.replicas_why}"]
    for c in explanation.candidates:
        state = "chosen" if c.is_chosen else "could" if c.is_feasible else f"no ({c.limit})"
        parts = ""
        if c.score is not None:
            s = c.score
            parts = f", money {s.money_microeur} carbon {s.carbon_microeur} latency {s.latency_microeur}"
        why = "; ".join(f"{r.message} [{r.cite}]" for r in c.reasons)
        lines.append(f"- {c.node} {state}{parts}: {why}")
    return "\n".join(lines)


def test_explains_each_candidate_of_the_design_manifest(eu):
    world = eu.snapshot(eu.triage())
    made = eu.decide(world, denied=("dub-1",))
    assert told(made.explanations[TRIAGE]) == GOLDEN
    assert audit(made, world, eu.verdicts(world, "dub-1")) == ()


def test_cheapest_legal_places_are_chosen_and_the_bound_meets_them(eu):
    made = eu.decide(eu.snapshot(eu.triage()))
    assert eu.nodes_of(made) == ["dub-1", "waw-1"]
    assert made.bound_microeur == made.objective_microeur


def test_a_price_on_carbon_moves_work_to_the_clean_grid(eu):
    cheap = eu.decide(eu.snapshot(eu.function(objective=Objective(carbon_microeur_per_t=0))))
    clean = eu.decide(eu.snapshot(eu.function(objective=Objective(carbon_microeur_per_t=20_000_000_000))))
    assert (eu.nodes_of(cheap), eu.nodes_of(clean)) == (["dub-1"], ["sto-1"])


def test_an_unchanged_world_keeps_every_instance(eu):
    first = eu.decide(eu.snapshot(eu.triage()))
    second = eu.decide(eu.snapshot(eu.triage(), running=eu.runs(first)), first)
    assert second.assignments == first.assignments
    assert (second.parent, second.generation) == (first.id, 2)
    assert difference(first, second).is_empty


def test_a_small_gain_moves_nothing_and_a_large_one_does(eu):
    spec = eu.function(node_selector={"operator": "hansa"})
    first = eu.decide(eu.snapshot(spec))
    assert eu.nodes_of(first) == ["fra-1"]

    def with_paris_at(microeur):
        fabric = eu.fabric()
        paris = fabric.nodes[NodeId("par-1")]
        cheaper = replace(paris, price=replace(paris.price, cpu_core_hour_microeur=microeur))
        world = replace(fabric, nodes={**fabric.nodes, NodeId("par-1"): cheaper})
        return eu.nodes_of(eu.decide(eu.snapshot(spec, fabric=world, running=eu.runs(first)), first))

    assert with_paris_at(28_000) == ["fra-1"]
    assert with_paris_at(15_000) == ["par-1"]


def test_an_unreachable_node_is_replaced_and_does_not_get_its_work_back(eu):
    legal = {"denied": ("dub-1",)}
    first = eu.decide(eu.snapshot(eu.triage()), **legal)
    assert eu.nodes_of(first) == ["sto-1", "waw-1"]
    lost = eu.decide(eu.snapshot(eu.triage(), running=eu.runs(first), sto_1=Reach.UNREACHABLE), first, **legal)
    assert eu.nodes_of(lost) == ["fra-1", "waw-1"]
    kept = {a.node: a.instance for a in first.assignments}
    assert {a.node: a.instance for a in lost.assignments}[NodeId("waw-1")] == kept[NodeId("waw-1")]
    ordinals = {a.ordinal for a in first.assignments} | {a.ordinal for a in lost.assignments}
    assert len(ordinals) == 3, "the replacement does not take the ordinal of one that may still run"
    everything = {r.instance: r for r in (*eu.runs(first), *eu.runs(lost))}.values()
    back = eu.decide(eu.snapshot(eu.triage(), running=everything), lost, **legal)
    assert back.assignments == lost.assignments


def test_a_node_that_is_back_before_its_replacement_runs_keeps_its_work(eu):
    legal = {"denied": ("dub-1",)}
    first = eu.decide(eu.snapshot(eu.triage()), **legal)
    lost = eu.decide(eu.snapshot(eu.triage(), running=eu.runs(first), sto_1=Reach.UNREACHABLE), first, **legal)
    back = eu.decide(eu.snapshot(eu.triage(), running=eu.runs(first)), lost, **legal)
    assert back.assignments == first.assignments


def test_suspicion_keeps_what_is_there_and_adds_nothing(eu):
    first = eu.decide(eu.snapshot(eu.triage()))
    both = (eu.triage(), eu.function("other", resources=Resources(cpu_milli=50, memory_bytes=2**20)))
    world = eu.snapshot(*both, running=eu.runs(first), dub_1=Reach.SUSPECT)
    second = eu.decide(world, first)
    assert eu.nodes_of(second) == ["dub-1", "waw-1"]
    assert "dub-1" not in eu.nodes_of(second, "clinic.other")
    assert audit(second, world, eu.verdicts(world)) == ()


def test_draining_and_revoked_nodes_give_up_what_they_have(eu):
    first = eu.decide(eu.snapshot(eu.triage()))
    for reach, limit in ((Reach.DRAINING, "drain"), (Reach.REVOKED, "reachability")):
        second = eu.decide(eu.snapshot(eu.triage(), running=eu.runs(first), dub_1=reach), first)
        assert eu.nodes_of(second) == ["sto-1", "waw-1"]
        limits = {c.node: c.limit for c in second.explanations[TRIAGE].candidates}
        assert limits[NodeId("dub-1")] == limit


def test_a_place_that_lost_its_ground_says_since_when_in_every_later_plan(eu):
    first = eu.decide(eu.snapshot(eu.triage()))
    world = eu.snapshot(eu.triage(), running=eu.runs(first))
    second = eu.decide(world, first, denied=("dub-1",))
    third = eu.decide(world, second, denied=("dub-1",), now=eu.now + 30_000_000)

    def since(made):
        (found,) = [c for c in made.explanations[TRIAGE].candidates if c.node == "dub-1"]
        return [r.facts[0].value for r in found.reasons if r.rule == "placement.denied-since"]

    assert since(second) == since(third) == [str(eu.now)]


def test_origins_far_apart_get_a_replica_each(eu):
    slo = Slo(latency_p99_us=12_000, origins=("Dublin", "Warsaw"))
    world = eu.snapshot(eu.function("triage", slo=slo))
    made = eu.decide(world)
    assert eu.nodes_of(made) == ["dub-1", "waw-1"]
    why = made.explanations[TRIAGE].replicas_why
    assert why.startswith("2 replicas: no fewer put one within 12.0ms of each origin")
    limits = {c.node: c.limit for c in made.explanations[TRIAGE].candidates}
    assert limits[NodeId("zrh-1")] == "latency"
    assert audit(made, world, eu.verdicts(world)) == ()


def test_an_origin_nobody_serves_in_time_is_unplaced_with_the_p99_that_would_do(eu):
    slo = Slo(latency_p99_us=12_000, origins=("Lisbon",))
    world = eu.snapshot(eu.function("triage", slo=slo))
    made = eu.decide(world)
    (entry,) = made.unplaced
    assert (made.assignments, entry.missing) == ((), 1)
    assert entry.reasons[0].rule == "placement.latency"
    assert entry.changes[0].what == "relax slo.latency.p99 of clinic.triage to 18ms"
    assert audit(made, world, eu.verdicts(world)) == ()
    relaxed = eu.snapshot(eu.function("triage", slo=replace(slo, latency_p99_us=18_000)))
    assert eu.nodes_of(eu.decide(relaxed)) == list(entry.changes[0].allows)


def test_no_legal_home_names_the_rule_and_the_nearest_change(eu):
    near = Change(what="state a transfer basis", target="spec", allows=(NodeId("dub-1"),))
    world = eu.snapshot(eu.triage())
    rules = eu.verdicts(world, *world.fabric.nodes, nearest=(near,))
    made = eu.decide(world, denied=tuple(world.fabric.nodes))
    (entry,) = made.unplaced
    assert entry.missing == 2
    assert [r.cite for r in entry.reasons] == ["GDPR Art. 44"]
    assert audit(made, world, rules) == ()


def test_a_budget_too_small_names_what_would_do(eu):
    world = eu.snapshot(eu.triage(budget=Budget(cost_microeur_month=3_000_000)))
    made = eu.decide(world)
    assert len(made.assignments) == 1
    (entry,) = made.unplaced
    assert entry.reasons[0].rule == "placement.total-budget"
    assert entry.changes[0].what.startswith("raise budget.cost of clinic.triage to 3.")
    assert audit(made, world, eu.verdicts(world)) == ()
    alone = eu.snapshot(eu.function(budget=Budget(cost_microeur_month=1_000)))
    assert {c.limit for c in eu.decide(alone).explanations[TRIAGE].candidates} == {"budget"}


def test_a_carbon_budget_rules_out_the_dirty_grid(eu):
    # 1 kg a month: Warsaw alone emits 2.4 kg.
    world = eu.snapshot(eu.function(budget=Budget(carbon_ug_month=10**9)))
    limits = {c.node: c.limit for c in eu.decide(world).explanations[TRIAGE].candidates}
    assert limits[NodeId("waw-1")] == "budget"
    assert limits[NodeId("sto-1")] == ""


def test_too_large_for_any_node_says_how_much_memory_would_fit(eu):
    world = eu.snapshot(eu.function(resources=Resources(cpu_milli=100, memory_bytes=100 * 2**30)))
    (entry,) = eu.decide(world).unplaced
    assert {r.rule for r in entry.reasons} == {"placement.capacity"}
    assert entry.changes[0].what == "lower resources.memory of clinic.triage from 100Gi to 65536Mi"


def test_full_nodes_push_the_rest_elsewhere_and_running_work_is_not_displaced(eu):
    half = Resources(cpu_milli=1_000, memory_bytes=3 * 2**30)
    pinned = {"node_selector": {"tier": "edge"}, "resources": half}
    first = eu.decide(eu.snapshot(eu.function("b", **pinned)))
    both = eu.snapshot(eu.function("a", **pinned), eu.function("b", **pinned), running=eu.runs(first))
    second = eu.decide(both, first)
    assert eu.nodes_of(second, "clinic.b") == eu.nodes_of(first, "clinic.b") == ["waw-1"]
    assert eu.nodes_of(second, "clinic.a") == ["zrh-1"]
    third = eu.snapshot(*(eu.function(name, **pinned) for name in "abc"), running=eu.runs(second))
    made = eu.decide(third, second)
    assert [u.workload for u in made.unplaced] == ["clinic.c"]
    assert audit(made, third, eu.verdicts(third)) == ()


def test_a_fixed_count_wins_over_availability(eu):
    made = eu.decide(eu.snapshot(eu.triage(replicas=4)))
    assert len(eu.nodes_of(made)) == 4
    assert made.explanations[TRIAGE].replicas_why.startswith("4 replicas: fixed by the spec")


def test_a_node_that_failed_is_left_out_for_a_while_and_longer_each_time(eu):
    first = eu.decide(eu.snapshot(eu.function()))
    failed = eu.runs(first, phase=Phase.FAILED)
    second = eu.decide(eu.snapshot(eu.function(), running=failed), first, now=eu.now + 1)
    assert eu.nodes_of(second) != eu.nodes_of(first)
    (out,) = [c for c in second.explanations[TRIAGE].candidates if c.node == first.assignments[0].node]
    assert out.limit == "failure"
    assert "failed once on node dub-1" in out.reasons[0].message
    later = eu.decide(eu.snapshot(eu.function(), running=failed), None, now=eu.now + 31_000_000)
    assert eu.nodes_of(later) == eu.nodes_of(first)
    twice = (*failed, replace(failed[0], instance="clinic.triage.0.9"))
    again = eu.decide(eu.snapshot(eu.function(), running=twice), None, now=eu.now + 31_000_000)
    assert eu.nodes_of(again) != eu.nodes_of(first)


def test_a_new_spec_generation_gets_new_instances_on_the_same_nodes(eu):
    first = eu.decide(eu.snapshot(eu.triage()))
    second = eu.decide(eu.snapshot(eu.triage(generation=2), running=eu.runs(first)), first)
    assert eu.nodes_of(second) == eu.nodes_of(first)
    assert not {a.instance for a in first.assignments} & {a.instance for a in second.assignments}
    (change,) = difference(first, second).changed
    assert change.replaced == change.kept == (NodeId("dub-1"), NodeId("waw-1"))


def test_difference_tells_places_money_carbon_and_latency(eu):
    first = eu.decide(eu.snapshot(eu.triage()))
    second = eu.decide(eu.snapshot(eu.triage(), running=eu.runs(first)), first, denied=("dub-1",))
    (change,) = difference(first, second).changed
    assert (change.added, change.removed, change.kept) == (("sto-1",), ("dub-1",), ("waw-1",))
    assert change.before.money_microeur < change.after.money_microeur
    assert change.before.carbon_ug > change.after.carbon_ug
    fresh = difference(None, first)
    assert fresh.changed[0].added == ("dub-1", "waw-1")
