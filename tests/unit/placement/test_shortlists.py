"""What is not even looked at could not have been chosen: the short way against choosing among every open node."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from hanse.core.fabric import Resources
from hanse.core.ids import NodeId
from hanse.core.work import Slo
from hanse.placement import PlacementSettings
from hanse.placement.choose import choose
from hanse.placement.outcome import totals_microeur
from hanse.placement.planner import _choose_enough, _open_rows, _problem, _with_kept, prepare

SLOS = (
    Slo(),
    Slo(availability_ppm=999_500),
    Slo(latency_p99_us=12_000, origins=("Dublin", "Warsaw")),
    Slo(latency_p99_us=25_000, origins=("Berlin",), availability_ppm=999_990),
)


def crowded(eu, seed: int):
    """700 nodes of the patterns known, a third of them without room, prices in steps so that many tie."""
    draw, fabric = random.Random(seed), eu.fabric()
    patterns = list(fabric.nodes.values())
    nodes = {}
    for i in range(700):
        pattern, node = draw.choice(patterns), NodeId(f"n{i:04d}")
        price = replace(pattern.price, cpu_core_hour_microeur=draw.choice((20_000, 30_000, 40_000)))
        capacity = Resources(cpu_milli=draw.choice((300, 300, 1_000)), memory_bytes=2**30)
        nodes[node] = replace(pattern, id=node, price=price, capacity=capacity)
    return replace(fabric, nodes=nodes)


def by_looking_at_all(placing, wanted, world):
    rows = _with_kept(placing, _open_rows(placing, world.room), world.room)
    totals = totals_microeur(placing, rows, world.settings)
    return sorted(rows[list(choose(_problem(placing, wanted, rows, totals, world.table)).positions)].tolist())


@pytest.mark.parametrize("replicas", [None, 9])
@pytest.mark.parametrize("shortlist_nodes", [1, 64])
@pytest.mark.parametrize("slo", SLOS)
def test_the_short_way_chooses_the_same_whatever_was_taken_and_came_back(eu, slo, shortlist_nodes, replicas):
    settings = PlacementSettings(full_explanation_nodes=0, shortlist_nodes=shortlist_nodes)
    world = eu.snapshot(replace(eu.function("w", slo=slo), replicas=replicas), fabric=crowded(eu, 1))
    run = prepare(world, eu.verdicts(world), None, now=eu.now, settings=settings)
    (placing,), room, draw = run.placings, run.world.room, random.Random(2)
    taken: dict[int, Resources] = {}
    for _ in range(60):
        found = _choose_enough(placing, run.world)
        assert found.rows.tolist() == by_looking_at_all(placing, found.wanted, run.world)
        # The chosen fill up, now and then with all that cost less; what comes back makes holes in that prefix.
        cheaper = placing.feasibility.order[: draw.choice((0, 0, 0, 2 * len(taken) + 20))].tolist()
        for row in [*found.rows.tolist(), *cheaper]:
            if room.cpu_milli[row]:
                taken[row] = Resources(cpu_milli=int(room.cpu_milli[row]))
                room.take(row, taken[row])
        for row in draw.sample(sorted(taken), min(3, len(taken) // 20)):
            room.give_back(row, taken.pop(row))
