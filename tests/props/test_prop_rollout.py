"""Properties of rollout on a small simulated fabric: planner and rollout drive it, nodes obey in any order."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.core.fabric import Fabric, Node, Operator, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId, workload_id
from hanse.core.plan import Plan
from hanse.core.snapshot import Phase, Reach, Running, Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Verdict
from hanse.core.work import Disruption, Kind, Route, Workload
from hanse.placement import plan
from hanse.rollout import RolloutLimits, Start, Stop, next_steps

START = 1_795_262_400_000_000
STEP_US = 1_000_000
NODES = tuple(NodeId(f"n{i}") for i in range(6))
LIMITS = RolloutLimits(stop_at_least=3, stop_share_permille=300)


@dataclass(frozen=True)
class AllAllowed:
    def of(self, workload, node):
        return Verdict(workload=workload, node=node, is_allowed=True, reasons=())

    def allowed(self, workload):
        return NODES

    def changes(self, workload):
        return ()


def fabric() -> Fabric:
    place = Place(city="Frankfurt", latitude_deg=50.1, longitude_deg=8.7)
    sites = {
        SiteId(f"s{i}"): Site(id=SiteId(f"s{i}"), country=CountryCode("DE"), place=place, grid_zone="DE")
        for i in range(3)
    }
    operator = Operator(id=OperatorId("o"), name="o", seat=CountryCode("DE"))
    nodes = {
        node: Node(
            id=node,
            site=SiteId(f"s{i % 3}"),
            operator=operator.id,
            tier=Tier.EDGE,
            capacity=Resources(cpu_milli=1_000, memory_bytes=2**30),
            price=Price(cpu_core_hour_microeur=20_000 + 3_000 * i, memory_gib_hour_microeur=3_000),
            power=Power(idle_mw=0, per_core_mw=0),
        )
        for i, node in enumerate(NODES)
    }
    return Fabric(sites=sites, operators={operator.id: operator}, nodes=nodes)


def spec(index: int, replicas: int, max_unavailable: int, generation: int = 1) -> Workload:
    return Workload(
        id=workload_id("t", f"w{index}"),
        kind=Kind.FUNCTION,
        namespace="t",
        name=f"w{index}",
        artifact=Digest("sha256:" + "0" * 64),
        artifact_bytes=1,
        route=Route(path=f"/w{index}"),
        resources=Resources(cpu_milli=150, memory_bytes=2**20),
        replicas=replicas,
        disruption=Disruption(max_unavailable=max_unavailable),
        generation=generation,
    )


class Sim:
    """A fabric reduced to what rollout sees: orders take effect when `obey` is called for their instance."""

    def __init__(self, workloads: list[Workload]) -> None:
        self.now = START
        self.reach = dict.fromkeys(NODES, Reach.READY)
        self.workloads = {w.id: w for w in workloads}
        self.records: dict[tuple[str, NodeId], Running] = {}
        self.plan: Plan | None = None

    def snapshot(self) -> Snapshot:
        return Snapshot(
            at_us=WallTime(self.now),
            fabric=fabric(),
            reach=dict(self.reach),
            workloads=dict(self.workloads),
            running=tuple(self.records.values()),
            intensity_g_per_kwh={},
        )

    def round(self) -> tuple:
        self.now += STEP_US
        now = WallTime(self.now)
        self.plan = plan(self.snapshot(), AllAllowed(), self.plan, now=now, rng=random.Random(0), trigger="simulated")
        steps = next_steps(self.plan, self.snapshot(), self.workloads, limits=LIMITS, now=now)
        again = next_steps(self.plan, self.snapshot(), self.workloads, limits=LIMITS, now=now)
        assert steps == again
        self.check(steps)
        for step in steps:
            if isinstance(step, Start):
                a = step.assignment
                self.records[a.instance, a.node] = Running(
                    instance=a.instance,
                    workload=a.workload,
                    node=a.node,
                    ordinal=a.ordinal,
                    spec_generation=a.spec_generation,
                    phase=Phase.PENDING,
                    since_us=now,
                    is_wanted=True,
                )
            elif isinstance(step, Stop):
                key = (step.instance, step.node)
                self.records[key] = replace(self.records[key], is_wanted=False)
        repeated = next_steps(self.plan, self.snapshot(), self.workloads, limits=LIMITS, now=now)
        orders = {(type(s), getattr(s, "instance", None) or s.assignment.instance) for s in steps if not_hold(s)}
        for step in repeated:
            if not_hold(step):
                identity = (type(step), getattr(step, "instance", None) or step.assignment.instance)
                assert identity not in orders, "an order that stands is not given again"
        return steps

    def check(self, steps: tuple) -> None:
        stops = [s for s in steps if isinstance(s, Stop)]
        running = [r for r in self.records.values() if r.is_wanted and r.phase is Phase.RUNNING]
        counted = [s for s in stops if self.records[s.instance, s.node].phase is Phase.RUNNING]
        assert len(counted) <= max(LIMITS.stop_at_least, len(running) * LIMITS.stop_share_permille // 1_000)
        for stop in stops:
            assert self.reach[stop.node] not in (Reach.UNREACHABLE, Reach.SUSPECT), "silence stops nothing"
        for workload in self.workloads.values():
            before = self.serving(workload.id)
            after = before - {(s.instance, s.node) for s in counted if s.workload == workload.id}
            floor = (workload.replicas or 0) - workload.disruption.max_unavailable
            assert len(after) >= min(floor, len(before)), "own stops never go below the disruption budget"

    def serving(self, workload: WorkloadId) -> set:
        return {
            key
            for key, r in self.records.items()
            if r.workload == workload
            and r.is_wanted
            and r.phase is Phase.RUNNING
            and self.reach[r.node] in (Reach.READY, Reach.DRAINING)
        }

    def obey(self, draw: random.Random, share: float) -> None:
        """Nodes that are heard carry out some of their orders; a start fails now and then."""
        for key, record in sorted(self.records.items()):
            if self.reach[record.node] is Reach.UNREACHABLE or draw.random() > share:
                continue
            if record.is_wanted and record.phase is Phase.PENDING:
                phase = Phase.FAILED if draw.random() > share else Phase.RUNNING
                self.records[key] = replace(record, phase=phase, since_us=WallTime(self.now))
            elif not record.is_wanted:
                self.records[key] = replace(record, phase=Phase.STOPPED, since_us=WallTime(self.now))


def not_hold(step) -> bool:
    return isinstance(step, Start | Stop)


@st.composite
def stories(draw):
    workloads = [spec(i, draw(st.integers(1, 3)), draw(st.integers(0, 2))) for i in range(draw(st.integers(1, 3)))]
    events = draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("reach"), st.sampled_from(NODES), st.sampled_from(Reach)),
                st.tuples(st.just("update"), st.integers(0, len(workloads) - 1), st.none()),
                st.tuples(st.just("scale"), st.integers(0, len(workloads) - 1), st.integers(1, 4)),
                st.tuples(st.just("wait"), st.none(), st.none()),
            ),
            max_size=12,
        )
    )
    return workloads, events, draw(st.integers(0, 2**32)), draw(st.sampled_from([0.5, 0.8, 1.0]))


@given(stories())
@settings(max_examples=80, deadline=None)
def test_no_round_ever_stops_too_much_or_on_silence_and_the_fabric_settles(story):
    workloads, events, seed, share = story
    sim, draw = Sim(workloads), random.Random(seed)
    for kind, what, value in [("wait", None, None), *events]:
        if kind == "reach" and sim.reach[what] is not Reach.REVOKED and value is not Reach.REVOKED:
            sim.reach[what] = value
        elif kind in ("update", "scale"):
            workload = sim.workloads[workloads[what].id]
            replicas = value if kind == "scale" else workload.replicas
            sim.workloads[workload.id] = replace(workload, replicas=replicas, generation=workload.generation + 1)
        sim.round()
        sim.obey(draw, share)

    sim.reach = dict.fromkeys(NODES, Reach.READY)
    for _ in range(30):
        sim.now += 3_600 * STEP_US
        sim.round()
        sim.obey(draw, 1.0)
    for workload in sim.workloads.values():
        assert len(sim.serving(workload.id)) == workload.replicas
    assert not any(not_hold(step) for step in sim.round())
    active = [r for r in sim.records.values() if r.phase is not Phase.STOPPED]
    assert {(r.instance, r.node) for r in active} == {(a.instance, a.node) for a in sim.plan.assignments}


@given(st.integers(0, 4), st.integers(0, 4), st.sets(st.sampled_from(NODES)))
@settings(max_examples=60, deadline=None)
def test_a_deletion_never_reaches_a_node_that_is_not_heard(first, second, silent):
    sim = Sim([spec(0, max(first, 1), 1), spec(1, max(second, 1), 1)])
    sim.round()
    sim.obey(random.Random(0), 1.0)
    for node in silent:
        sim.reach[node] = Reach.UNREACHABLE
    sim.workloads = {}
    stops = [s for s in sim.round() if isinstance(s, Stop)]
    assert not {s.node for s in stops} & silent
