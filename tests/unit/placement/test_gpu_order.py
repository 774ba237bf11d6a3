"""Replicas with GPUs go where they strand least, where cost does not decide."""

from __future__ import annotations

from dataclasses import replace

from placement_worlds import MI

from hanse.core.fabric import GpuNeed, Gpus, Resources
from hanse.core.ids import NodeId


def rack(eu, *counts: int):
    """Machines of one price list and one site that differ in how many devices they have, or in what is in use."""
    fabric = eu.fabric()
    pattern = next(iter(fabric.nodes.values()))
    nodes = {}
    for index, count in enumerate(counts):
        node = NodeId(f"gpu-{index}")
        nodes[node] = replace(
            pattern, id=node, labels={}, capacity=Resources(cpu_milli=64_000, memory_bytes=64 * 1024 * MI),
            gpus=Gpus(model="A100", count=count), power=replace(pattern.power, idle_mw=0),
        )  # fmt: skip
    return replace(fabric, nodes=nodes)


def asks(eu, name: str, priority: int = 0, **gpu):
    return eu.function(name, gpu=GpuNeed(**gpu), replicas=1, priority=priority)


def test_shares_and_singles_that_choose_first_keep_off_the_machine_that_a_set_needs(eu):
    """By node id alone they would open the larger machine, and the set of lower priority would find no place."""
    half, other = (asks(eu, name, priority=10, share_milli=500) for name in ("a-half", "b-half"))
    whole_set = asks(eu, "set", count=4)
    made = eu.decide(eu.snapshot(half, other, whole_set, fabric=rack(eu, 4, 1)))
    assert made.unplaced == ()
    homes = {a.workload: a.node for a in made.assignments}
    assert homes == {half.id: "gpu-1", other.id: "gpu-1", whole_set.id: "gpu-0"}


def test_cost_goes_before_what_would_be_stranded(eu):
    single, whole_set = asks(eu, "single", priority=10), asks(eu, "set", count=4)
    fabric = rack(eu, 4, 1)
    dear = fabric.nodes["gpu-1"]
    dear = replace(dear, price=replace(dear.price, gpu_hour_microeur=10**6))
    made = eu.decide(eu.snapshot(single, whole_set, fabric=replace(fabric, nodes={**fabric.nodes, "gpu-1": dear})))
    assert {a.workload: a.node for a in made.assignments}[single.id] == "gpu-0"


def test_work_that_wants_gpus_of_a_fabric_without_any_is_unplaced_with_the_reason(eu):
    made = eu.decide(eu.snapshot(asks(eu, "single"), asks(eu, "set", count=4)))
    assert made.assignments == ()
    assert {one.workload: one.missing for one in made.unplaced} == {"clinic.single": 1, "clinic.set": 1}
