"""Properties of the planner on random fabrics: never against a rule, never by accident of order, never restless."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.core.fabric import Fabric, Node, Operator, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId, workload_id
from hanse.core.plan import Plan
from hanse.core.snapshot import Phase, Reach, Running, Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Reason, Verdict
from hanse.core.work import Budget, Kind, Objective, Route, Slo, Workload
from hanse.placement import audit, difference, plan

NOW = WallTime(1_795_262_400_000_000)
MI = 2**20
CITIES = (
    ("Frankfurt", "DE", 50.1, 8.7),
    ("Berlin", "DE", 52.5, 13.4),
    ("Paris", "FR", 48.9, 2.4),
    ("Dublin", "IE", 53.4, -6.3),
    ("Warsaw", "PL", 52.2, 21.0),
)


@dataclass(frozen=True)
class PairVerdicts:
    """Verdicts from a set of denied pairs."""

    nodes: tuple[NodeId, ...]
    denied: frozenset[tuple[WorkloadId, NodeId]]

    def of(self, workload, node):
        if node not in self.nodes:
            raise KeyError(node)
        reason = Reason(rule="test.rule", cite="test", message="denied or allowed by the test")
        return Verdict(workload=workload, node=node, is_allowed=(workload, node) not in self.denied, reasons=(reason,))

    def allowed(self, workload):
        return tuple(node for node in self.nodes if (workload, node) not in self.denied)

    def changes(self, workload):
        return ()


@st.composite
def fabrics(draw) -> Fabric:
    sites = {
        SiteId(f"s{i}"): Site(
            id=SiteId(f"s{i}"),
            country=CountryCode(country),
            place=Place(city=city, latitude_deg=lat, longitude_deg=lon),
            grid_zone=country,
        )
        for i, (city, country, lat, lon) in enumerate(CITIES)
    }
    operators = {OperatorId(o): Operator(id=OperatorId(o), name=o, seat=CountryCode("DE")) for o in ("o0", "o1", "o2")}
    nodes = {}
    for i in range(draw(st.integers(1, 9))):
        nodes[NodeId(f"n{i}")] = Node(
            id=NodeId(f"n{i}"),
            site=SiteId(f"s{draw(st.integers(0, 4))}"),
            operator=OperatorId(f"o{draw(st.integers(0, 2))}"),
            tier=draw(st.sampled_from(Tier)),
            capacity=Resources(cpu_milli=draw(st.integers(100, 1_000)), memory_bytes=draw(st.integers(32, 512)) * MI),
            price=Price(
                cpu_core_hour_microeur=draw(st.integers(0, 60_000)),
                memory_gib_hour_microeur=draw(st.integers(0, 6_000)),
            ),
            power=Power(idle_mw=draw(st.integers(0, 90_000)), per_core_mw=6_000),
        )
    return Fabric(sites=sites, operators=operators, nodes=nodes)


@st.composite
def specs(draw, index: int) -> Workload:
    origins = tuple(draw(st.lists(st.sampled_from([c[0] for c in CITIES]), max_size=3, unique=True)))
    return Workload(
        id=workload_id("t", f"w{index}"),
        kind=Kind.FUNCTION,
        namespace="t",
        name=f"w{index}",
        artifact=Digest("sha256:" + "0" * 64),
        artifact_bytes=MI,
        route=Route(path=f"/w{index}"),
        resources=Resources(cpu_milli=draw(st.integers(10, 600)), memory_bytes=draw(st.integers(8, 256)) * MI),
        slo=Slo(
            latency_p99_us=draw(st.sampled_from([None, 8_000, 15_000, 40_000])),
            origins=origins,
            availability_ppm=draw(st.sampled_from([None, 990_000, 999_500, 999_990])),
        ),
        objective=Objective(carbon_microeur_per_t=draw(st.sampled_from([0, 60_000_000, 10**10]))),
        budget=Budget(
            cost_microeur_month=draw(st.sampled_from([None, None, 5_000_000, 20_000_000])),
            carbon_ug_month=draw(st.sampled_from([None, None, 10**10])),
        ),
        replicas=draw(st.sampled_from([None, None, 1, 3])),
        node_selector=draw(st.sampled_from([{}, {}, {"tier": "core"}, {"operator": "o1"}])),
    )


@st.composite
def worlds(draw) -> tuple[Snapshot, PairVerdicts]:
    fabric = draw(fabrics())
    workloads = {w.id: w for w in (draw(specs(i)) for i in range(draw(st.integers(1, 5))))}
    pairs = [(w, n) for w in workloads for n in fabric.nodes]
    denied = draw(st.sets(st.sampled_from(pairs), max_size=len(pairs) // 2))
    reach = {n: draw(st.sampled_from([Reach.READY, Reach.READY, Reach.READY, *Reach])) for n in fabric.nodes}
    snapshot = Snapshot(
        at_us=NOW,
        fabric=fabric,
        reach=reach,
        workloads=workloads,
        running=(),
        intensity_g_per_kwh={"DE": 380, "FR": 56, "PL": 660},
    )
    return snapshot, PairVerdicts(nodes=tuple(sorted(fabric.nodes)), denied=frozenset(denied))


def decide(snapshot: Snapshot, rules: PairVerdicts, parent: Plan | None = None) -> Plan:
    return plan(snapshot, rules, parent, now=NOW, rng=random.Random(0), trigger="property")


def carried_out(made: Plan) -> tuple[Running, ...]:
    return tuple(
        Running(
            instance=a.instance,
            workload=a.workload,
            node=a.node,
            ordinal=a.ordinal,
            spec_generation=a.spec_generation,
            phase=Phase.RUNNING,
            since_us=NOW,
            is_wanted=True,
        )
        for a in made.assignments
    )


def reversed_keys(mapping: Mapping) -> dict:
    return dict(reversed(list(mapping.items())))


@given(worlds())
@settings(max_examples=150, deadline=None)
def test_no_plan_ever_breaks_a_verdict_capacity_selector_slo_or_budget(world):
    snapshot, rules = world
    made = decide(snapshot, rules)
    # Written out here as well, so that the claim does not rest on the auditor alone.
    used: dict[NodeId, Resources] = {}
    for a in made.assignments:
        workload, node = snapshot.workloads[a.workload], snapshot.fabric.nodes[a.node]
        assert rules.of(a.workload, a.node).is_allowed
        assert snapshot.reach[a.node] is Reach.READY
        fields = {"tier": node.tier.value, "operator": node.operator}
        assert all(fields[key] == value for key, value in workload.node_selector.items())
        used[a.node] = used.get(a.node, Resources()).plus(workload.resources)
    assert all(amount.fits(snapshot.fabric.nodes[node].capacity) for node, amount in used.items())
    assert audit(made, snapshot, rules) == ()


@given(worlds(), worlds())
@settings(max_examples=60, deadline=None)
def test_no_replan_after_a_change_breaks_a_rule_either(before, after):
    first = decide(*before)
    snapshot, rules = after
    known = tuple(r for r in carried_out(first) if r.workload in snapshot.workloads)
    later = replace(snapshot, running=known)
    assert audit(decide(later, rules, first), later, rules) == ()


@given(worlds())
@settings(max_examples=60, deadline=None)
def test_the_order_of_nodes_and_workloads_leaves_no_trace(world):
    snapshot, rules = world
    fabric = snapshot.fabric
    other = replace(
        snapshot,
        fabric=Fabric(
            sites=reversed_keys(fabric.sites),
            operators=reversed_keys(fabric.operators),
            nodes=reversed_keys(fabric.nodes),
        ),
        reach=reversed_keys(snapshot.reach),
        workloads=reversed_keys(snapshot.workloads),
    )
    made, again = decide(snapshot, rules), decide(other, rules)
    assert (made, made.id) == (again, again.id)


@given(worlds())
@settings(max_examples=100, deadline=None)
def test_an_unchanged_world_is_left_as_it_is(world):
    snapshot, rules = world
    first = decide(snapshot, rules)
    for running in ((), carried_out(first)):
        second = decide(replace(snapshot, running=running), rules, first)
        assert second.assignments == first.assignments
        assert difference(first, second).is_empty


@given(worlds(), st.lists(st.integers(900, 1_100), min_size=9, max_size=9))
@settings(max_examples=60, deadline=None)
def test_drifting_prices_never_make_a_replica_swing_back(world, drift):
    """Prices that move by up to 10 % and come back never leave a plan that the next one undoes at equal prices."""
    snapshot, rules = world
    first = decide(snapshot, rules)
    nodes = {
        identity: replace(
            node,
            price=replace(
                node.price, cpu_core_hour_microeur=node.price.cpu_core_hour_microeur * drift[int(identity[1:])] // 1_000
            ),
        )
        for identity, node in snapshot.fabric.nodes.items()
    }
    drifted = replace(snapshot, fabric=replace(snapshot.fabric, nodes=nodes), running=carried_out(first))
    second = decide(drifted, rules, first)
    third = decide(replace(drifted, running=carried_out(second)), rules, second)
    assert third.assignments == second.assignments


@given(worlds())
@settings(max_examples=60, deadline=None)
def test_the_bound_is_never_above_any_legal_plan_of_the_same_counts(world):
    """Every set of as many feasible nodes as were placed, full or not, costs at least the bound."""
    snapshot, rules = world
    made = decide(snapshot, rules)
    assert made.bound_microeur <= made.objective_microeur
    cheapest = 0
    for workload, story in made.explanations.items():
        # Nodes that are full now could have been taken by a plan that fills them in another way.
        count = sum(a.workload == workload for a in made.assignments)
        alone = replace(snapshot, workloads={workload: snapshot.workloads[workload]})
        free = decide(alone, rules).explanations[workload]
        scores = [c.score.total_microeur for c in free.candidates if c.score is not None]
        assert story.replicas_wanted >= count
        cheapest += min((sum(chosen) for chosen in combinations(scores, count)), default=0)
    assert made.bound_microeur <= cheapest
