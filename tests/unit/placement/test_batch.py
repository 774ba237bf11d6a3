"""Equal workloads placed at once stand exactly where they would stand if placed one after the other."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from hanse.core.fabric import Resources
from hanse.core.ids import NodeId
from hanse.core.work import Slo
from hanse.placement import PlacementSettings
from hanse.placement.batch import place_alike
from hanse.placement.planner import _choose_enough, prepare

SLOS = (Slo(), Slo(latency_p99_us=12_000, origins=("Dublin", "Warsaw")), Slo(availability_ppm=999_500))


def fabric_of(eu, seed: int):
    draw, fabric = random.Random(seed), eu.fabric()
    patterns = list(fabric.nodes.values())
    nodes = {}
    for i in range(60):
        pattern, node = draw.choice(patterns), NodeId(f"n{i:04d}")
        price = replace(pattern.price, cpu_core_hour_microeur=draw.choice((20_000, 30_000, 40_000)))
        capacity = Resources(cpu_milli=draw.choice((0, 300, 1_000)), memory_bytes=2**30)
        nodes[node] = replace(pattern, id=node, price=price, capacity=capacity)
    return replace(fabric, nodes=nodes)


@pytest.mark.parametrize("full_explanation_nodes", [0, 200])
@pytest.mark.parametrize("slo", SLOS)
@pytest.mark.parametrize("seed", range(4))
def test_at_once_is_as_one_after_the_other(eu, seed, slo, full_explanation_nodes):
    settings = PlacementSettings(full_explanation_nodes=full_explanation_nodes, shortlist_nodes=8)
    many = [eu.function(f"w{i:03d}", slo=slo) for i in range(120)]
    world = eu.snapshot(*many, fabric=fabric_of(eu, seed))

    def run():
        return prepare(world, eu.verdicts(world), None, now=eu.now, settings=settings)

    together, alone = run(), run()
    (group,) = together.queue
    at_once = [o.rows.tolist() for o in place_alike(group, together.world, _choose_enough)]
    one_by_one = []
    for placing in alone.placings:
        outcome = _choose_enough(placing, alone.world)
        for row in outcome.rows.tolist():
            alone.world.room.take(row, placing.workload.resources)
        one_by_one.append(outcome.rows.tolist())
    assert at_once == one_by_one
    assert (together.world.room.cpu_milli == alone.world.room.cpu_milli).all()
