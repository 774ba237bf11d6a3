"""The six-node Europe fabric, verdicts by table, and short ways to vary both."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from hanse.core.fabric import Fabric, Node, Operator, Parent, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId, workload_id
from hanse.core.plan import Plan
from hanse.core.snapshot import Phase, Reach, Running, Snapshot
from hanse.core.time import WallTime
from hanse.core.units import memory_bytes, percent_ppm
from hanse.core.verdict import Change, Reason, Verdict
from hanse.core.work import Kind, Objective, Route, Slo, Workload
from hanse.placement import plan

NOW = WallTime(1_795_262_400_000_000)
GIB = 2**30

_SITES = (
    # id, country, city, latitude, longitude, zone, PUE
    ("fra", "DE", "Frankfurt", 50.11, 8.68, "DE", 1_200),
    ("par", "FR", "Paris", 48.86, 2.35, "FR", 1_250),
    ("dub", "IE", "Dublin", 53.35, -6.26, "IE", 1_150),
    ("sto", "SE", "Stockholm", 59.33, 18.07, "SE-SE3", 1_100),
    ("zrh", "CH", "Zurich", 47.37, 8.54, "CH", 1_300),
    ("waw", "PL", "Warsaw", 52.23, 21.01, "PL", 1_400),
)
_NODES = (
    # id, site, operator, tier, cores, GiB, price per core hour and GiB hour
    ("fra-1", "fra", "hansa", Tier.CORE, 8, 32, 30_000, 4_000),
    ("par-1", "par", "hansa", Tier.REGIONAL, 4, 16, 32_000, 4_200),
    ("dub-1", "dub", "nimbus", Tier.CORE, 16, 64, 18_000, 2_400),
    ("sto-1", "sto", "norrsken", Tier.REGIONAL, 4, 16, 28_000, 3_900),
    ("zrh-1", "zrh", "hansa", Tier.EDGE, 2, 4, 45_000, 6_000),
    ("waw-1", "waw", "norrsken", Tier.EDGE, 2, 4, 24_000, 3_300),
)
_OPERATORS = (
    Operator(id=OperatorId("hansa"), name="Hansa GmbH", seat=CountryCode("DE")),
    Operator(
        id=OperatorId("nimbus"),
        name="Nimbus Ireland Ltd",
        seat=CountryCode("IE"),
        parents=(Parent(name="Nimbus Inc", country=CountryCode("US")),),
    ),
    Operator(id=OperatorId("norrsken"), name="Norrsken AB", seat=CountryCode("SE")),
)
INTENSITY = {"CH": 40, "DE": 380, "FR": 56, "IE": 290, "PL": 660, "SE-SE3": 25}


def europe() -> Fabric:
    sites = {
        SiteId(i): Site(
            id=SiteId(i),
            country=CountryCode(c),
            place=Place(city=city, latitude_deg=lat, longitude_deg=lon),
            grid_zone=zone,
            pue_permille=pue,
        )
        for i, c, city, lat, lon, zone, pue in _SITES
    }
    nodes = {
        NodeId(i): Node(
            id=NodeId(i),
            site=SiteId(site),
            operator=OperatorId(operator),
            tier=tier,
            capacity=Resources(cpu_milli=cores * 1_000, memory_bytes=gib * GIB),
            price=Price(cpu_core_hour_microeur=core, memory_gib_hour_microeur=ram),
            power=Power(idle_mw=60_000, per_core_mw=6_000),
        )
        for i, site, operator, tier, cores, gib, core, ram in _NODES
    }
    return Fabric(
        sites=dict(sorted(sites.items())),
        operators={o.id: o for o in _OPERATORS},
        nodes=dict(sorted(nodes.items())),
    )


def function(name: str = "triage", **changes: Any) -> Workload:
    spec = Workload(
        id=workload_id("clinic", name),
        kind=Kind.FUNCTION,
        namespace="clinic",
        name=name,
        artifact=Digest("sha256:" + "0" * 64),
        artifact_bytes=2**20,
        route=Route(path=f"/{name}"),
        resources=Resources(cpu_milli=100, memory_bytes=memory_bytes("64Mi")),
    )
    return replace(spec, **changes)


def triage(**changes: Any) -> Workload:
    """The manifest of the design's section 6."""
    spec = function(
        slo=Slo(
            latency_p99_us=40_000,
            origins=("Berlin", "Lyon", "Vienna"),
            availability_ppm=percent_ppm("99.95%"),
        ),
        objective=Objective(carbon_microeur_per_t=60_000_000),
    )
    return replace(spec, **changes)


GAZETTEER = {
    "Berlin": Place(city="Berlin", latitude_deg=52.52, longitude_deg=13.40),
    "Lisbon": Place(city="Lisbon", latitude_deg=38.72, longitude_deg=-9.14),
    "Lyon": Place(city="Lyon", latitude_deg=45.76, longitude_deg=4.84),
    "Vienna": Place(city="Vienna", latitude_deg=48.21, longitude_deg=16.37),
}


def snapshot(
    *workloads: Workload, fabric: Fabric | None = None, running: Iterable[Running] = (), **reach: Reach
) -> Snapshot:
    """A world at `NOW`; name nodes with ``_`` for ``-`` to set their reach, the others are ready."""
    there = fabric or europe()
    reached = dict.fromkeys(there.nodes, Reach.READY)
    reached.update({NodeId(name.replace("_", "-")): value for name, value in reach.items()})
    return Snapshot(
        at_us=NOW,
        fabric=there,
        reach=reached,
        workloads={w.id: w for w in sorted(workloads, key=lambda w: w.id)},
        running=tuple(running),
        intensity_g_per_kwh=INTENSITY,
        gazetteer=GAZETTEER,
    )


PERMIT = Reason(rule="base.permit", cite="contract 1", message="the owner's domain permits it")
NO_US_CONTROL = Reason(
    rule="gdpr.transfer-needs-basis",
    cite="GDPR Art. 44",
    message="operator nimbus is under US control and no transfer basis is stated",
)


@dataclass(frozen=True)
class TableVerdicts:
    """Verdicts from a table: everything is allowed on every node but on those denied."""

    nodes: tuple[NodeId, ...]
    denied: Mapping[NodeId, Reason] = field(default_factory=dict)
    nearest: tuple[Change, ...] = ()

    def of(self, workload: WorkloadId, node: NodeId) -> Verdict:
        if node not in self.nodes:
            raise KeyError(node)
        reason = self.denied.get(node, PERMIT)
        return Verdict(workload=workload, node=node, is_allowed=node not in self.denied, reasons=(reason,))

    def allowed(self, workload: WorkloadId) -> tuple[NodeId, ...]:
        return tuple(node for node in sorted(self.nodes) if node not in self.denied)

    def changes(self, workload: WorkloadId) -> tuple[Change, ...]:
        return self.nearest


def verdicts(world: Snapshot, *denied: str, nearest: tuple[Change, ...] = ()) -> TableVerdicts:
    nodes = tuple(sorted(world.fabric.nodes))
    return TableVerdicts(nodes=nodes, denied={NodeId(n): NO_US_CONTROL for n in denied}, nearest=nearest)


def decide(world: Snapshot, parent: Plan | None = None, denied: tuple[str, ...] = (), **more: Any) -> Plan:
    now = WallTime(more.pop("now", NOW))
    return plan(world, verdicts(world, *denied), parent, now=now, rng=random.Random(0), trigger="test", **more)


def runs(made: Plan, *, phase: Phase = Phase.RUNNING, **phases: Phase) -> tuple[Running, ...]:
    """What the nodes report when they have carried a plan out."""
    return tuple(
        Running(
            instance=a.instance,
            workload=a.workload,
            node=a.node,
            ordinal=a.ordinal,
            spec_generation=a.spec_generation,
            phase=phases.get(a.node.replace("-", "_"), phase),
            since_us=NOW,
            is_wanted=True,
        )
        for a in made.assignments
    )


def nodes_of(made: Plan, workload: str = "clinic.triage") -> list[str]:
    return sorted(a.node for a in made.assignments if a.workload == workload)


class Europe:
    """Everything above, by name, for tests."""

    now = NOW
    function = staticmethod(function)
    triage = staticmethod(triage)
    fabric = staticmethod(europe)
    snapshot = staticmethod(snapshot)
    verdicts = staticmethod(verdicts)
    decide = staticmethod(decide)
    runs = staticmethod(runs)
    nodes_of = staticmethod(nodes_of)


@pytest.fixture
def eu() -> Europe:
    return Europe()
