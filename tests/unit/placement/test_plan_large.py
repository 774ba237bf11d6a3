"""Fabrics too large to explain node by node: same decisions as by looking at every node, and a bounded explanation."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from hanse.core.fabric import Resources
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.rng import Rng
from hanse.core.snapshot import Reach
from hanse.core.work import Moving, Slo
from hanse.placement import PlacementSettings, audit, replan

SMALL_LIST = PlacementSettings(shortlist_nodes=8)
WHOLE_LIST = PlacementSettings(shortlist_nodes=10_000)


def many_nodes(eu, count: int, seed: int):
    draw, fabric = random.Random(seed), eu.fabric()
    patterns = list(fabric.nodes.values())
    nodes = {}
    for i in range(count):
        pattern, node = draw.choice(patterns), NodeId(f"n{i:04d}")
        price = replace(pattern.price, cpu_core_hour_microeur=draw.randrange(15_000, 50_000))
        capacity = Resources(cpu_milli=draw.choice((300, 1_000)), memory_bytes=2**30)
        nodes[node] = replace(pattern, id=node, price=price, capacity=capacity)
    return replace(fabric, nodes=nodes)


def many_workloads(eu, count: int, seed: int):
    draw = random.Random(seed)
    far = Slo(latency_p99_us=12_000, origins=("Dublin", "Warsaw"))
    spread = Slo(availability_ppm=999_500)
    return [
        eu.function(
            f"w{i:03d}",
            slo=draw.choice((Slo(), far, spread)),
            resources=Resources(cpu_milli=draw.choice((100, 250)), memory_bytes=2**20 * draw.choice((64, 128))),
            node_selector=draw.choice(({}, {}, {"tier": "core"})),
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_a_shortlist_decides_like_the_whole_list(eu, seed):
    world = eu.snapshot(*many_workloads(eu, 60, seed), fabric=many_nodes(eu, 400, seed))
    short, whole = (eu.decide(world, settings=settings) for settings in (SMALL_LIST, WHOLE_LIST))
    assert short.assignments == whole.assignments
    assert audit(short, world, eu.verdicts(world)) == ()
    lost = {a.node.replace("-", "_"): Reach.UNREACHABLE for a in short.assignments[::3]}
    later = eu.snapshot(*world.workloads.values(), fabric=world.fabric, running=eu.runs(short), **lost)
    again, slowly = (eu.decide(later, short, settings=settings) for settings in (SMALL_LIST, WHOLE_LIST))
    assert again.assignments == slowly.assignments
    assert audit(again, later, eu.verdicts(later)) == ()


def test_an_explanation_of_a_large_fabric_keeps_the_telling_candidates_and_counts_the_rest(eu):
    fabric = many_nodes(eu, 400, 1)
    denied = tuple(node for node, facts in fabric.nodes.items() if facts.operator == "nimbus")
    spec = eu.function(node_selector={"tier": "core"}, slo=Slo(availability_ppm=999_000))
    world = eu.snapshot(spec, fabric=fabric)
    made = eu.decide(world, denied=denied)
    story = made.explain(WorkloadId("clinic.triage"))
    assert len(story.candidates) <= 20
    assert {c.node for c in story.candidates if c.is_chosen} == {a.node for a in made.assignments}
    assert {c.limit for c in story.candidates} == {"", "selector", "policy"}
    assert "; of 400 nodes by limit: feasible " in story.replicas_why
    assert [c.node for c in story.candidates] == sorted(c.node for c in story.candidates)


def test_a_place_that_lost_its_ground_is_among_the_candidates_of_a_large_fabric(eu):
    world = eu.snapshot(eu.function(), fabric=many_nodes(eu, 400, 2))
    first = eu.decide(world)
    (place,) = eu.nodes_of(first)
    later = eu.snapshot(eu.function(), fabric=world.fabric, running=eu.runs(first))
    second = eu.decide(later, first, denied=(place,))
    (told,) = [c for c in second.explanations[WorkloadId("clinic.triage")].candidates if c.node == place]
    assert told.limit == "policy"
    assert any(reason.rule == "placement.denied-since" for reason in told.reasons)


def test_work_with_state_whose_node_is_gone_is_placed_anew(eu):
    """A node that is gone keeps its row until a whole plan is made; what leaves it has no site to send from."""
    one_by_one = PlacementSettings(full_explanation_nodes=0)
    world = eu.snapshot(eu.function("w", moving=Moving(state_bytes=2**34, cold_start_us=30_000_000)))
    how = {"now": world.at_us, "rng": Rng(0), "trigger": "test", "settings": one_by_one}
    made, kept = replan(None, world, eu.verdicts(world), None, **how)
    (home,) = eu.nodes_of(made, "clinic.w")
    left = replace(world.fabric, nodes={n: facts for n, facts in world.fabric.nodes.items() if n != home})
    later = replace(world, fabric=left, running=eu.runs(made), reach=dict.fromkeys(left.nodes, Reach.READY))
    after, kept = replan(kept, later, eu.verdicts(later), made, **how)
    assert kept.has_events, "answered as an event"
    assert eu.nodes_of(after, "clinic.w") not in ([], [home])
    assert audit(after, later, eu.verdicts(later), settings=one_by_one) == ()
