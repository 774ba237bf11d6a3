"""Resources as a vector: what adds up, what does not, what each limit says, and what the auditor finds of it."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from hanse.core.fabric import GpuNeed, Gpus, Node, Resources
from hanse.core.ids import NodeId
from hanse.core.work import Workload
from hanse.placement import audit
from hanse.placement.headroom import headroom

GI = 2**30
amounts = st.builds(
    Resources,
    cpu_milli=st.integers(0, 10**6),
    memory_bytes=st.integers(0, 10**12),
    disk_bytes=st.integers(0, 10**12),
    bandwidth_bps=st.integers(0, 10**10),
    custom=st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)).map(lambda d: tuple(sorted(d.items()))),
)


@given(amounts, amounts)
def test_what_was_added_can_be_taken_away_again_and_never_fits_into_less(a: Resources, b: Resources) -> None:
    assert a.plus(b).minus(b) == a
    assert a.fits(a.plus(b))
    assert not a.plus(b).fits(a) or b == Resources()


@given(amounts)
def test_an_amount_that_is_overcommitted_takes_nothing(a: Resources) -> None:
    assert not Resources().fits(a.minus(a.plus(Resources(custom=(("d", 1),)))))


def test_a_node_without_the_custom_resource_is_ruled_out_by_capacity_and_the_nearest_change_says_so(eu) -> None:
    spec = eu.function(resources=Resources(cpu_milli=100, memory_bytes=2**26, custom=(("licence", 2),)))
    fabric = eu.fabric()
    nodes = {**fabric.nodes, NodeId("fra-1"): _with(fabric.nodes[NodeId("fra-1")], custom=(("licence", 1),))}
    world = eu.snapshot(spec, fabric=replace(fabric, nodes=nodes))
    made = eu.decide(world)
    assert made.assignments == ()
    assert made.unplaced[0].changes[0].what == "lower resources.custom.licence of clinic.triage from 2 licence to 1"
    said = {c.node: c.reasons[0].message for c in made.explain(spec.id).candidates}
    assert said["fra-1"] == (
        "a replica needs 100m CPU, 64Mi and 2 licence, node fra-1 has 8000m CPU, 32Gi and 1 licence in all"
    )
    assert audit(made, world, eu.verdicts(world)) == ()


def test_overhead_is_never_given_to_work(eu) -> None:
    spec = eu.function(resources=Resources(cpu_milli=2_000, memory_bytes=GI), node_selector={"node": "zrh-1"})
    fabric = eu.fabric()
    zurich = replace(fabric.nodes[NodeId("zrh-1")], overhead=Resources(cpu_milli=1))
    world = eu.snapshot(spec, fabric=replace(fabric, nodes={**fabric.nodes, zurich.id: zurich}))
    assert eu.decide(world).assignments == ()
    assert eu.decide(eu.snapshot(spec)).assignments[0].node == "zrh-1"


def test_shares_fill_one_gpu_before_they_open_the_next_and_whole_ones_stay_whole(eu) -> None:
    fabric = _with_gpus(eu, "fra-1", Gpus(model="L4", count=2))
    shares = [eu.function(f"s{i}", gpu=GpuNeed(share_milli=300)) for i in range(3)]
    world = eu.snapshot(*shares, eu.function("whole", gpu=GpuNeed(models=("L4",))), fabric=fabric)
    made = eu.decide(world)
    devices = {a.workload.split(".")[1]: a.devices for a in made.assignments}
    assert devices["whole"] == (0,)  # placed first: the largest
    assert {devices[f"s{i}"] for i in range(3)} == {(1,)}
    assert audit(made, world, eu.verdicts(world)) == ()
    more = eu.snapshot(*shares, eu.function("late", gpu=GpuNeed(count=2)), fabric=fabric, running=eu.runs(made))
    later = eu.decide(more, made)
    assert [u.workload for u in later.unplaced] == ["clinic.late"]
    said = {c.node: c.reasons[0].message for c in later.explain(later.unplaced[0].workload).candidates}
    assert said["fra-1"] == "node fra-1 has not 2 GPUs free of its 2 L4"
    assert said["par-1"] == "a replica needs 2 GPUs, node par-1 has no GPU"


def test_two_halves_of_two_gpus_are_not_one_gpu(eu) -> None:
    fabric = _with_gpus(eu, "fra-1", Gpus(model="L4", count=2))
    halves = [eu.function(f"h{i}", gpu=GpuNeed(share_milli=600)) for i in range(2)]
    first = eu.decide(eu.snapshot(*halves, fabric=fabric))
    assert sorted(a.devices for a in first.assignments) == [(0,), (1,)]
    world = eu.snapshot(
        *halves, eu.function("whole", gpu=GpuNeed(share_milli=500)), fabric=fabric, running=eu.runs(first)
    )
    assert [u.workload for u in eu.decide(world, first).unplaced] == ["clinic.whole"]


def test_a_replica_keeps_its_gpu_from_plan_to_plan(eu) -> None:
    fabric = _with_gpus(eu, "fra-1", Gpus(model="L4", count=3))
    a, b = eu.function("a", gpu=GpuNeed()), eu.function("b", gpu=GpuNeed())
    first = eu.decide(eu.snapshot(a, b, fabric=fabric))
    second = eu.decide(eu.snapshot(b, fabric=fabric, running=eu.runs(first)), first)
    was = {x.workload: x.devices for x in first.assignments}
    assert [x.devices for x in second.assignments] == [was[b.id]]


def test_the_auditor_finds_a_gpu_that_was_given_twice(eu) -> None:
    fabric = _with_gpus(eu, "fra-1", Gpus(model="L4", count=2))
    world = eu.snapshot(eu.function("a", gpu=GpuNeed()), eu.function("b", gpu=GpuNeed()), fabric=fabric)
    made = eu.decide(world)
    wrong = replace(made, assignments=tuple(replace(a, devices=(0,)) for a in made.assignments))
    assert "gpu.overcommitted" in {f.rule for f in audit(wrong, world, eu.verdicts(world))}
    absent = replace(made, assignments=tuple(replace(a, devices=()) for a in made.assignments))
    assert "gpu.count" in {f.rule for f in audit(absent, world, eu.verdicts(world))}


def test_money_counts_every_part_of_the_vector(eu) -> None:
    fabric = _with_gpus(eu, "fra-1", Gpus(model="L4", count=1))
    node = fabric.nodes[NodeId("fra-1")]
    price = replace(
        node.price, disk_gib_hour_microeur=100, bandwidth_mbit_hour_microeur=50, gpu_hour_microeur=500_000,
        custom=(("licence", 20_000),),
    )  # fmt: skip
    node = replace(_with(node, disk_bytes=100 * GI, bandwidth_bps=10**9, custom=(("licence", 3),)), price=price)
    asks = Resources(
        cpu_milli=1_000, memory_bytes=GI, disk_bytes=10 * GI, bandwidth_bps=20 * 10**6, custom=(("licence", 2),)
    )
    spec = eu.function(resources=asks, gpu=GpuNeed(share_milli=500))
    world = eu.snapshot(spec, fabric=replace(fabric, nodes={**fabric.nodes, node.id: node}))
    made = eu.decide(world)
    hourly = 30_000 + 4_000 + 10 * 100 + 20 * 50 + 2 * 20_000 + 250_000
    score = next(c.score for c in made.explain(spec.id).candidates if c.is_chosen)
    assert abs(score.bill_microeur - hourly * 730.485) < 2
    assert audit(made, world, eu.verdicts(world)) == ()


def test_headroom_names_what_runs_out_first(eu) -> None:
    fabric = _with_gpus(eu, "fra-1", Gpus(model="L4", count=2))
    spec = eu.function(gpu=GpuNeed(share_milli=500))
    world = eu.snapshot(spec, fabric=fabric)
    found = headroom(world, eu.verdicts(world), None, spec.id, now=eu.now)
    assert (found.replicas, found.scarce, found.largest) == (3, "gpu", "fra-1")


def test_messages_from_before_the_vector_are_still_read(eu) -> None:
    old = msgspec.to_builtins(eu.fabric().nodes[NodeId("fra-1")])
    for name in ("gpus", "overhead"):
        del old[name]
    old["capacity"] = {"cpu_milli": 8_000, "memory_bytes": 32 * GI}
    old["price"] = {"cpu_core_hour_microeur": 30_000, "memory_gib_hour_microeur": 4_000}
    old["power"] = {"idle_mw": 60_000, "per_core_mw": 6_000}
    assert msgspec.convert(old, Node) == eu.fabric().nodes[NodeId("fra-1")]
    spec = msgspec.to_builtins(eu.function())
    for name in ("gpu", "priority", "preemption"):
        del spec[name]
    assert msgspec.convert(spec, Workload) == eu.function()


def _with(node: Node, **more) -> Node:
    return replace(node, capacity=replace(node.capacity, **more))


def _with_gpus(eu, node: str, gpus: Gpus):
    fabric = eu.fabric()
    return replace(fabric, nodes={**fabric.nodes, NodeId(node): replace(fabric.nodes[NodeId(node)], gpus=gpus)})
