"""Priorities: who gives way, who never does, and how the harm is stated."""

from __future__ import annotations

from dataclasses import replace

from hanse.core.fabric import Resources
from hanse.core.ids import NodeId
from hanse.core.plan import Displaced
from hanse.core.work import Disruption, Preemption
from hanse.placement import audit

BIG = Resources(cpu_milli=6_000, memory_bytes=2**30)
ON_FRA = {"node": "fra-1"}


def test_higher_priority_takes_the_place_and_the_harm_is_stated(eu) -> None:
    low = eu.function("low", resources=BIG, node_selector=ON_FRA)
    first = eu.decide(eu.snapshot(low))
    high = eu.function("high", resources=BIG, node_selector=ON_FRA, priority=10)
    world = eu.snapshot(low, high, running=eu.runs(first))
    made = eu.decide(world, first)
    assert eu.nodes_of(made, "clinic.high") == ["fra-1"]
    assert made.displaced == (
        Displaced(
            workload=low.id, priority=0, node=NodeId("fra-1"), by=high.id, by_priority=10, to=None,
            loses="it does not run at all until room is found",
        ),
    )  # fmt: skip
    assert made.unplaced[0].reasons[0].message == (
        "clinic.low (priority 0) gave way on node fra-1 to clinic.high (priority 10)"
    )
    assert audit(made, world, eu.verdicts(world)) == ()


def test_who_gives_way_moves_where_there_is_room(eu) -> None:
    low, denied = eu.function("low", resources=Resources(cpu_milli=3_500, memory_bytes=2**30)), ("dub-1", "sto-1")
    first = eu.decide(eu.snapshot(low), denied=denied)
    assert eu.nodes_of(first, "clinic.low") == ["fra-1"]
    high = eu.function("high", resources=BIG, node_selector=ON_FRA, priority=10)
    world = eu.snapshot(low, high, running=eu.runs(first))
    made = eu.decide(world, first, denied=denied)
    assert eu.nodes_of(made, "clinic.low") == ["par-1"]
    assert [(d.to, d.loses) for d in made.displaced] == [("par-1", "its replica starts anew elsewhere")]
    assert audit(made, world, eu.verdicts(world, *denied)) == ()


def test_an_equal_never_gives_way_and_neither_does_anyone_to_who_never_preempts(eu) -> None:
    low = eu.function("low", resources=BIG, node_selector=ON_FRA, priority=10)
    first = eu.decide(eu.snapshot(low))
    for high in (
        eu.function("high", resources=BIG, node_selector=ON_FRA, priority=10),
        eu.function("high", resources=BIG, node_selector=ON_FRA, priority=20, preemption=Preemption.NEVER),
    ):
        made = eu.decide(eu.snapshot(low, high, running=eu.runs(first)), first)
        assert eu.nodes_of(made, "clinic.low") == ["fra-1"]
        assert made.displaced == ()


def test_only_as_many_give_way_as_needed_and_the_lowest_first(eu) -> None:
    sizes = Resources(cpu_milli=2_500, memory_bytes=2**30)
    others = [eu.function(f"p{p}", resources=sizes, node_selector=ON_FRA, priority=p) for p in (1, 2, 3)]
    first = eu.decide(eu.snapshot(*others))
    high = eu.function("high", resources=sizes, node_selector=ON_FRA, priority=10)
    made = eu.decide(eu.snapshot(*others, high, running=eu.runs(first)), first)
    assert [d.workload for d in made.displaced] == ["clinic.p1"]


def test_never_more_running_replicas_than_the_disruption_budget_allows(eu) -> None:
    nodes = ("fra-1", "par-1", "sto-1")
    denied = ("dub-1", "zrh-1", "waw-1")
    low = eu.function("low", resources=Resources(cpu_milli=3_000, memory_bytes=2**30), replicas=3)
    first = eu.decide(eu.snapshot(low), denied=denied)
    assert eu.nodes_of(first, "clinic.low") == sorted(nodes)
    high = eu.function("high", resources=Resources(cpu_milli=4_000, memory_bytes=2**30), replicas=3, priority=5)
    for most in (1, 2):
        spec = replace(low, disruption=Disruption(max_unavailable=most))
        world = eu.snapshot(spec, high, running=eu.runs(first))
        made = eu.decide(world, first, denied=denied)
        # fra-1 holds both; of the two others only as many are emptied as the budget says.
        assert len(made.displaced) == most
        assert audit(made, world, eu.verdicts(world, *denied)) == ()


def test_the_auditor_finds_an_unjust_displacement(eu) -> None:
    low = eu.function("low", resources=BIG, node_selector=ON_FRA)
    first = eu.decide(eu.snapshot(low))
    high = eu.function("high", resources=BIG, node_selector=ON_FRA, priority=10)
    world = eu.snapshot(low, high, running=eu.runs(first))
    made = eu.decide(world, first)
    equal = eu.snapshot(replace(low, priority=10), high, running=eu.runs(first))
    assert "displaced.unjust" in {f.rule for f in audit(made, equal, eu.verdicts(equal))}


def test_the_world_settles_after_a_displacement(eu) -> None:
    low = eu.function("low", resources=BIG, node_selector=ON_FRA)
    first = eu.decide(eu.snapshot(low))
    high = eu.function("high", resources=BIG, node_selector=ON_FRA, priority=10)
    second = eu.decide(eu.snapshot(low, high, running=eu.runs(first)), first)
    third = eu.decide(eu.snapshot(low, high, running=eu.runs(second)), second)
    assert third.assignments == second.assignments
    assert third.displaced == ()
