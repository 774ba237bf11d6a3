"""An event touches what it must and no more: proven by counting what is looked at, not by a clock."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from hanse.core.fabric import Resources
from hanse.core.ids import NodeId
from hanse.core.rng import Rng
from hanse.core.snapshot import Reach
from hanse.core.work import Slo
from hanse.placement import Changes, PlacementSettings, replan
from hanse.placement.feasible import Screen
from hanse.placement.growing import with_behind, with_entry, without_entry
from hanse.placement.prepared import respond
from hanse.placement.table import MANY_FREED, Freed, Room

LARGE = PlacementSettings(full_explanation_nodes=0)
SLOS = (Slo(), Slo(availability_ppm=999_500), Slo(latency_p99_us=12_000, origins=("Dublin", "Warsaw")))


def prepared_world(eu, nodes: int, workloads: int = 60):
    """A fabric of `nodes` with prices in steps, each workload of one of a few shapes, planned as a whole."""
    draw, fabric = random.Random(5), eu.fabric()
    patterns = list(fabric.nodes.values())
    known = {}
    for i in range(nodes):
        pattern, node = patterns[i % len(patterns)], NodeId(f"n{i:05d}")
        price = replace(pattern.price, cpu_core_hour_microeur=draw.choice((20_000, 30_000, 40_000)))
        capacity = Resources(cpu_milli=1_000, memory_bytes=2**30)
        known[node] = replace(pattern, id=node, price=price, capacity=capacity)
    specs = [
        eu.function(f"w{i:03d}", slo=SLOS[i % 3], resources=Resources(cpu_milli=100, memory_bytes=2**26))
        for i in range(workloads)
    ]
    at = eu.snapshot(*specs, fabric=replace(fabric, nodes=known))
    verdicts = eu.verdicts(at)
    made, kept = replan(None, at, verdicts, None, now=eu.now, rng=Rng(0), trigger="test", settings=LARGE)
    return at, verdicts, made, kept


def falls_silent(eu, world: tuple, node: NodeId):
    at, verdicts, _, kept = world
    after = replace(at, reach={**at.reach, node: Reach.UNREACHABLE})
    return respond(kept.state, after, verdicts, Changes(nodes=(node,)), now=eu.now)


class Counted:
    """How many rows were asked whether they have room, and which shapes took a change in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        self.shapes: set[int] = set()
        fits, catch_up = Room.fits, Screen._catch_up

        def counting_fits(room: Room, rows: np.ndarray, amount: Resources) -> np.ndarray:
            self.rows += len(rows)
            return fits(room, rows, amount)

        def counting_catch_up(screen: Screen, shape, *rest) -> None:
            self.shapes.add(id(shape))
            catch_up(screen, shape, *rest)

        monkeypatch.setattr(Room, "fits", counting_fits)
        monkeypatch.setattr(Screen, "_catch_up", counting_catch_up)


def busiest(made) -> NodeId:
    nodes = [a.node for a in made.assignments]
    return max(sorted(set(nodes)), key=nodes.count)


def test_a_silent_node_on_a_large_fabric_costs_a_look_at_some_hundred_nodes_for_each_workload(eu, monkeypatch):
    world = prepared_world(eu, 8_000)
    placings = world[3].state.placings.values()
    assert min(len(placing.feasibility.order) for placing in placings) > 2_000
    counted = Counted(monkeypatch)
    response, _ = falls_silent(eu, world, busiest(world[2]))
    assert response.assignments
    assert counted.rows / len(response.assignments) < 800


def test_only_who_stood_on_a_node_that_falls_silent_is_placed_again_and_only_their_shapes_catch_up(eu, monkeypatch):
    at, verdicts, made, kept = prepared_world(eu, 600)
    node = busiest(made)
    stood = {a.workload for a in made.assignments if a.node == node}
    shapes = {id(kept.state.placings[w].feasibility) for w in stood}
    counted = Counted(monkeypatch)
    response, _ = falls_silent(eu, (at, verdicts, made, kept), node)
    assert set(response.assignments) == stood
    assert counted.shapes == shapes


def test_a_column_given_away_shifts_where_it_lies():
    column = with_behind(np.arange(5), np.array([9]))
    memory = column.base
    column = with_entry(without_entry(column, 1), 0, 7)
    assert column.tolist() == [7, 0, 2, 3, 4, 9]
    assert column.base is memory
    assert with_behind(column, np.array([8])).base is memory


def test_a_column_that_is_part_of_another_never_grows_into_it():
    whole = np.arange(10)
    longer = with_behind(whole[2:4], np.array([0, 0]))
    assert longer.tolist() == [2, 3, 0, 0]
    assert whole.tolist() == list(range(10))


def test_who_asks_too_late_what_came_free_is_told_to_look_everywhere():
    freed = Freed()
    freed.note([3, 1, 3])
    assert freed.count == 3
    assert freed.since(0).tolist() == [1, 3]
    assert freed.since(1).tolist() == [1, 3]
    assert freed.since(3).tolist() == []
    freed.note(range(3 * MANY_FREED))
    assert freed.since(3) is None
    assert freed.since(freed.count - 2).tolist() == [3 * MANY_FREED - 2, 3 * MANY_FREED - 1]
    assert len(freed.rows) <= 2 * MANY_FREED
