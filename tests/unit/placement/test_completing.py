"""The global solver where replicas find no place: it makes room by moving others, and plans around who must wait."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from placement_worlds import MI, NOW, PairVerdicts, carried_out

from hanse.core.fabric import Fabric, Node, Operator, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import Digest, NodeId, OperatorId, SiteId, WorkloadId, workload_id
from hanse.core.plan import Plan
from hanse.core.rng import Rng
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.work import Kind, Route, Workload
from hanse.placement import audit, optimise, plan

pytest.importorskip("highspy", reason="the global solver needs highspy")


def _fabric(sizes: Mapping[str, int], prices: Mapping[str, int], *workloads: Workload) -> Snapshot:
    place = Place(city="Frankfurt", latitude_deg=50.1, longitude_deg=8.7)
    site = Site(id=SiteId("s0"), country="DE", place=place, grid_zone="DE")
    nodes = {
        NodeId(name): Node(
            id=NodeId(name),
            site=SiteId("s0"),
            operator=OperatorId("o0"),
            tier=Tier.CORE,
            capacity=Resources(cpu_milli=100, memory_bytes=size * MI),
            price=Price(cpu_core_hour_microeur=prices[name], memory_gib_hour_microeur=0),
            power=Power(idle_mw=0, per_core_mw=0),
        )
        for name, size in sizes.items()
    }
    operator = Operator(id=OperatorId("o0"), name="o0", seat="DE")
    return Snapshot(
        at_us=NOW,
        fabric=Fabric(sites={site.id: site}, operators={operator.id: operator}, nodes=nodes),
        reach=dict.fromkeys(nodes, Reach.READY),
        workloads={w.id: w for w in workloads},
        running=(),
        intensity_g_per_kwh={"DE": 380},
    )


def _work(name: str, memory_mi: int, priority: int = 0) -> Workload:
    return Workload(
        id=workload_id("t", name),
        kind=Kind.FUNCTION,
        namespace="t",
        name=name,
        artifact=Digest("sha256:" + "0" * 64),
        artifact_bytes=MI,
        route=Route(path=f"/{name}"),
        replicas=1,
        priority=priority,
        resources=Resources(cpu_milli=10, memory_bytes=memory_mi * MI),
    )


def _rules(snapshot: Snapshot, *denied: tuple[str, str]) -> PairVerdicts:
    pairs = frozenset((WorkloadId(f"t.{work}"), NodeId(node)) for work, node in denied)
    return PairVerdicts(nodes=tuple(snapshot.fabric.nodes), denied=pairs)


def _both(snapshot: Snapshot, rules: PairVerdicts, parent: Plan | None = None) -> tuple[Plan, Plan]:
    quick = plan(snapshot, rules, parent, now=NOW, rng=Rng(0), trigger="test")
    return quick, optimise(snapshot, rules, parent, now=NOW, rng=Rng(0), trigger="test")


def _places(made: Plan) -> dict[str, str]:
    return {str(a.workload): str(a.node) for a in made.assignments}


def test_room_is_made_where_a_greedy_packing_leaves_one_out():
    """Largest first makes 5 + 4 and 4 + 3 + 2 and leaves 2 out; 5 + 3 + 2 and 4 + 4 + 2 fill both nodes to the last."""
    work = (_work(f"w{i}", memory) for i, memory in enumerate((5, 4, 4, 3, 2, 2)))
    snapshot = _fabric({"a": 10, "b": 10}, {"a": 1, "b": 2}, *work)
    quick, best = _both(snapshot, _rules(snapshot))
    assert sum(u.missing for u in quick.unplaced) == 1
    assert not best.unplaced
    assert audit(best, snapshot, _rules(snapshot)) == ()
    assert best.bound_microeur <= best.objective_microeur


def test_a_fence_that_leaves_no_place_does_not_keep_the_rest_from_the_optimum():
    """One workload has no legal home; the other two swap all the same, and the reason of the one is confirmed."""
    small = {"a": 8, "b": 8}
    prices = {"a": 1_000, "b": 50_000}
    snapshot = _fabric(small, prices, _work("large", 7), _work("small", 6), _work("fenced", 1))
    rules = _rules(snapshot, ("fenced", "a"), ("fenced", "b"))
    quick, best = _both(snapshot, rules)
    assert [u.workload for u in best.unplaced] == ["t.fenced"]
    assert audit(best, snapshot, rules) == ()
    assert best.objective_microeur - 10 <= best.bound_microeur <= best.objective_microeur
    assert quick.bound_microeur < quick.objective_microeur


def test_a_fenced_workload_gets_the_place_that_another_can_leave():
    """Who may run anywhere sits on the only node that the fenced one may use; it moves over."""
    snapshot = _fabric({"a": 8, "b": 8}, {"a": 1, "b": 2}, _work("free", 8))
    first, _ = _both(snapshot, _rules(snapshot))
    assert _places(first) == {"t.free": "a"}
    later = _fabric({"a": 8, "b": 8}, {"a": 1, "b": 2}, _work("free", 8), _work("bound", 8))
    later = Snapshot(
        at_us=NOW, fabric=later.fabric, reach=later.reach, workloads=later.workloads,
        running=carried_out(first), intensity_g_per_kwh=later.intensity_g_per_kwh,
    )  # fmt: skip
    rules = _rules(later, ("bound", "b"))
    quick, best = _both(later, rules, first)
    assert [u.workload for u in quick.unplaced] == ["t.bound"]
    assert _places(best) == {"t.free": "b", "t.bound": "a"}
    assert audit(best, later, rules) == ()


def test_the_higher_priority_waits_last():
    """Three want the last place, none of them runs yet and preemption has nothing to take: the highest gets it."""
    work = (_work("low", 8), _work("middle", 8, priority=1), _work("high", 8, priority=2))
    snapshot = _fabric({"a": 8}, {"a": 1}, *work)
    _, best = _both(snapshot, _rules(snapshot))
    assert _places(best) == {"t.high": "a"}
    assert audit(best, snapshot, _rules(snapshot)) == ()
