"""Random small fabrics with verdicts, and what nodes report of a plan: strategies for properties of placement."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from hanse.core.fabric import Fabric, GpuNeed, Gpus, Jurisdiction, Node, Operator, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId, workload_id
from hanse.core.plan import Plan
from hanse.core.snapshot import Phase, Reach, Running, Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Reason, Verdict
from hanse.core.work import (
    Budget,
    Data,
    DataRead,
    DataSet,
    Disruption,
    Kind,
    Moving,
    Objective,
    Route,
    Slo,
    Workload,
)

NOW = WallTime(1_795_262_400_000_000)
MI = 2**20
GPU_NEEDS = (
    None,
    None,
    None,
    None,
    GpuNeed(),
    GpuNeed(share_milli=300),
    GpuNeed(share_milli=600),
    GpuNeed(count=2, models=("A100",)),
)
_SCANS = DataSet(id="t.scans", size_bytes=2**37, sites=(SiteId("s0"),), fence=("EEA",))
_MAPS = DataSet(id="t.maps", size_bytes=2**33, sites=(SiteId("s2"), SiteId("s4")))
_DATA = (
    Data(),
    Data(),
    Data(reads=(DataRead(dataset="t.scans"),), sets=(_SCANS,)),
    Data(reads=(DataRead(dataset="t.maps", bytes_month=2**38), DataRead(dataset="t.scans")), sets=(_MAPS, _SCANS)),
)
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
def fabrics(draw, most: int = 9) -> Fabric:
    sites = {
        SiteId(f"s{i}"): Site(
            id=SiteId(f"s{i}"),
            country=CountryCode(country),
            place=Place(city=city, latitude_deg=lat, longitude_deg=lon),
            grid_zone=country,
            energy_microeur_kwh=draw(st.sampled_from([0, 0, 250_000])),
        )
        for i, (city, country, lat, lon) in enumerate(CITIES)
    }
    operators = {OperatorId(o): Operator(id=OperatorId(o), name=o, seat=CountryCode("DE")) for o in ("o0", "o1", "o2")}
    nodes = {}
    for i in range(draw(st.integers(1, most))):
        nodes[NodeId(f"n{i}")] = Node(
            id=NodeId(f"n{i}"),
            site=SiteId(f"s{draw(st.integers(0, 4))}"),
            operator=OperatorId(f"o{draw(st.integers(0, 2))}"),
            tier=draw(st.sampled_from(Tier)),
            capacity=Resources(
                cpu_milli=draw(st.integers(100, 1_000)),
                memory_bytes=draw(st.integers(32, 512)) * MI,
                disk_bytes=draw(st.sampled_from([0, 64, 512])) * MI,
                custom=draw(st.sampled_from([(), (("licence", 2),)])),
            ),
            overhead=Resources(cpu_milli=draw(st.sampled_from([0, 0, 80]))),
            gpus=draw(st.sampled_from([None, Gpus(model="L4", count=1), Gpus(model="A100", count=2)])),
            price=Price(
                cpu_core_hour_microeur=draw(st.integers(0, 60_000)),
                memory_gib_hour_microeur=draw(st.integers(0, 6_000)),
                disk_gib_hour_microeur=draw(st.integers(0, 600)),
                gpu_hour_microeur=draw(st.integers(0, 600_000)),
                custom=draw(st.sampled_from([(), (("licence", 50_000),)])),
                egress_gib_microeur=draw(st.sampled_from([0, 20_000, 90_000])),
                egress_to=draw(st.sampled_from([(), (("DE", 10_000),), (("FR", 0), ("s0", 5_000))])),
            ),
            power=Power(
                idle_mw=draw(st.integers(0, 90_000)),
                per_core_mw=6_000,
                per_gpu_mw=150_000,
                embodied_g=draw(st.sampled_from([0, 0, 1_200_000])),
            ),
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
        resources=Resources(
            cpu_milli=draw(st.integers(10, 600)),
            memory_bytes=draw(st.integers(8, 256)) * MI,
            disk_bytes=draw(st.sampled_from([0, 0, 0, 50])) * MI,
            custom=draw(st.sampled_from([(), (), (), (("licence", 1),)])),
        ),
        gpu=draw(st.sampled_from(GPU_NEEDS)),
        slo=Slo(
            latency_p99_us=draw(st.sampled_from([None, 8_000, 15_000, 40_000])),
            origins=origins,
            availability_ppm=draw(st.sampled_from([None, 990_000, 999_500, 999_990])),
            percentile=draw(st.sampled_from([99, 99, 90, 50])),
            rates_milli=draw(st.sampled_from([(), tuple(range(1_000, 1_000 + 900 * len(origins), 900))])),
        ),
        objective=Objective(carbon_microeur_per_t=draw(st.sampled_from([0, 60_000_000, 10**10]))),
        budget=Budget(
            cost_microeur_month=draw(st.sampled_from([None, None, 5_000_000, 20_000_000])),
            carbon_ug_month=draw(st.sampled_from([None, None, 10**10])),
        ),
        data=draw(st.sampled_from(_DATA)),
        moving=draw(st.sampled_from([Moving(), Moving(), Moving(state_bytes=2**34, cold_start_us=30_000_000)])),
        egress_bytes_month=draw(st.sampled_from([0, 0, 2**36])),
        replicas=draw(st.sampled_from([None, None, 1, 3])),
        priority=draw(st.sampled_from([0, 0, 0, 5, 10])),
        disruption=Disruption(max_unavailable=draw(st.sampled_from([1, 1, 2]))),
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


@st.composite
def wide_worlds(draw) -> tuple[Snapshot, PairVerdicts]:
    """Larger fabrics whose domains fail by their own rates, lines that were measured, and policies that close whole
    operators and countries to some work, beside GPUs, data sets, budgets and priorities."""
    fabric = draw(fabrics(most=16))
    down = st.sampled_from([None, None, None, 50, 20_000])
    fabric = replace(
        fabric,
        sites={k: replace(s, down_ppm=draw(down)) for k, s in fabric.sites.items()},
        operators={k: replace(o, down_ppm=draw(down)) for k, o in fabric.operators.items()},
        nodes={k: replace(n, down_ppm=draw(down)) for k, n in fabric.nodes.items()},
        jurisdictions=draw(
            st.sampled_from([{}, {c: Jurisdiction(id=c, down_ppm=5_000) for c in (CountryCode("DE"),)}])
        ),
    )
    workloads = {w.id: w for w in (draw(specs(i)) for i in range(draw(st.integers(3, 9))))}
    parts = [*fabric.operators, *sorted({site.country for site in fabric.sites.values()})]
    closed = {w: draw(st.sets(st.sampled_from(parts), max_size=3)) for w in workloads}
    denied = {
        (w, n) for w in workloads for n, node in fabric.nodes.items()
        if {node.operator, fabric.site_of(node).country} & closed[w]
    }  # fmt: skip
    lines = [(a, b) for a in fabric.sites for b in fabric.sites if a < b]
    slow = draw(st.dictionaries(st.sampled_from(lines), st.sampled_from([2_000, 30_000, 90_000]), max_size=4))
    snapshot = Snapshot(
        at_us=NOW,
        fabric=fabric,
        reach={n: draw(st.sampled_from([*[Reach.READY] * 8, *Reach])) for n in fabric.nodes},
        workloads=workloads,
        running=(),
        intensity_g_per_kwh={"DE": 380, "FR": 56, "PL": 660},
        rtt_us=slow,
        observed_down_ppm=draw(st.sampled_from([{}, {"operator/o1": 1_000, "node/n0": 90_000}])),
    )
    return snapshot, PairVerdicts(nodes=tuple(sorted(fabric.nodes)), denied=frozenset(denied))


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
