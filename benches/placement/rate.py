"""How many placements a second a whole planning run makes: screening, choice, explanation, digests and all.

8 node classes (operator, country, size, price) x 6 policies x mixed SLOs; the verdicts are a table, so policy itself is
not timed. Work for 20,000 replicas, requests drawn so that a tenth to a half of the fabric fills.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass

from benches.placement.report import Row

from hanse.core.fabric import Fabric, Node, Operator, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId, workload_id
from hanse.core.rng import Rng
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Change, Reason, Verdict
from hanse.core.work import Kind, Objective, Route, Slo, Workload
from hanse.placement import audit, plan

NOW = WallTime(1_795_262_400_000_000)
GIB, MIB = 2**30, 2**20
CITIES = (
    ("Frankfurt", "DE", 50.11, 8.68), ("Berlin", "DE", 52.52, 13.40), ("Paris", "FR", 48.86, 2.35),
    ("Dublin", "IE", 53.35, -6.26), ("Stockholm", "SE", 59.33, 18.07), ("Warsaw", "PL", 52.23, 21.01),
    ("Madrid", "ES", 40.42, -3.70), ("Milan", "IT", 45.46, 9.19),
)  # fmt: skip
INTENSITY = {"DE": 380, "FR": 56, "IE": 290, "SE": 25, "PL": 660, "ES": 170, "IT": 330}
PERMIT = Reason(rule="base.permit", cite="contract 1", message="the owner's domain permits it")
DENY = Reason(rule="base.fence", cite="contract 2", message="outside the fence of this workload")


@dataclass(frozen=True)
class Fenced:
    """Verdicts by policy: each of six policies allows some of the eight node classes."""

    policy_of: dict[WorkloadId, int]
    class_of: dict[NodeId, int]
    lists: tuple[tuple[NodeId, ...], ...]
    classes: tuple[frozenset[int], ...]

    def of(self, workload: WorkloadId, node: NodeId) -> Verdict:
        is_allowed = self.class_of[node] in self.classes[self.policy_of[workload]]
        return Verdict(workload=workload, node=node, is_allowed=is_allowed, reasons=(PERMIT if is_allowed else DENY,))

    def allowed(self, workload: WorkloadId) -> tuple[NodeId, ...]:
        return self.lists[self.policy_of[workload]]

    def changes(self, workload: WorkloadId) -> tuple[Change, ...]:
        return ()


POLICIES = tuple(frozenset(s) for s in (range(8), (0, 1, 2, 3), (0, 1), (2, 4, 6), (1, 3, 5, 7), (0, 2, 3, 4, 5, 7)))
SLOS = (
    Slo(),
    Slo(availability_ppm=999_500),
    Slo(latency_p99_us=30_000, origins=("Berlin",)),
    Slo(latency_p99_us=25_000, origins=("Berlin", "Madrid"), availability_ppm=999_500),
)
SIZES = (
    Resources(cpu_milli=100, memory_bytes=64 * MIB), Resources(cpu_milli=250, memory_bytes=256 * MIB),
    Resources(cpu_milli=500, memory_bytes=512 * MIB), Resources(cpu_milli=1_000, memory_bytes=GIB),
    Resources(cpu_milli=2_000, memory_bytes=4 * GIB),
)  # fmt: skip


def world(nodes: int, replicas: int, seed: int = 1) -> tuple[Snapshot, Fenced]:
    """A fabric of `nodes` and enough workloads for about `replicas` replicas."""
    draw = random.Random(seed)
    sites = {
        SiteId(f"s{i:03d}"): Site(
            id=SiteId(f"s{i:03d}"), country=CountryCode(CITIES[i % 8][1]), grid_zone=CITIES[i % 8][1],
            place=Place(
                city=CITIES[i % 8][0], latitude_deg=CITIES[i % 8][2] + i / 1e3, longitude_deg=CITIES[i % 8][3]
            ),
        )
        for i in range(80)
    }  # fmt: skip
    operators = {OperatorId(f"o{i}"): Operator(id=OperatorId(f"o{i}"), name=f"o{i}", seat=CountryCode("DE"))
                 for i in range(4)}  # fmt: skip
    fabric_nodes, class_of = {}, {}
    for i in range(nodes):
        node, kind = NodeId(f"n{i:06d}"), draw.randrange(8)
        class_of[node] = kind
        cores = (4, 8, 16, 32)[kind % 4]
        fabric_nodes[node] = Node(
            id=node, site=SiteId(f"s{draw.randrange(10) * 8 + kind:03d}"), operator=OperatorId(f"o{kind % 4}"),
            tier=(Tier.CORE, Tier.REGIONAL, Tier.EDGE)[kind % 3],
            capacity=Resources(cpu_milli=cores * 1_000, memory_bytes=cores * 4 * GIB),
            price=Price(cpu_core_hour_microeur=18_000 + 2_000 * kind, memory_gib_hour_microeur=2_400 + 300 * kind),
            power=Power(idle_mw=60_000, per_core_mw=6_000),
        )  # fmt: skip
    workloads: dict[WorkloadId, Workload] = {}
    policy_of: dict[WorkloadId, int] = {}
    placed = 0
    while placed < replicas:
        name = f"w{len(workloads):06d}"
        identity = workload_id("bench", name)
        count = draw.choice((None, None, 1, 3))
        slo = draw.choice(SLOS)
        workloads[identity] = Workload(
            id=identity, kind=Kind.FUNCTION, namespace="bench", name=name,
            artifact=Digest("sha256:" + "0" * 64), artifact_bytes=MIB, route=Route(path=f"/{name}"),
            resources=draw.choice(SIZES), slo=slo, replicas=count,
            objective=Objective(carbon_microeur_per_t=draw.choice((0, 60_000_000))),
        )  # fmt: skip
        policy_of[identity] = draw.randrange(len(POLICIES))
        placed += count or (2 if slo.availability_ppm else 1)
    lists = tuple(tuple(n for n in fabric_nodes if class_of[n] in p) for p in POLICIES)
    snapshot = Snapshot(
        at_us=NOW, fabric=Fabric(sites=sites, operators=operators, nodes=fabric_nodes),
        reach=dict.fromkeys(fabric_nodes, Reach.READY), workloads=workloads, running=(),
        intensity_g_per_kwh=INTENSITY,
    )  # fmt: skip
    return snapshot, Fenced(policy_of=policy_of, class_of=class_of, lists=lists, classes=POLICIES)


def measure(nodes: int, replicas: int = 20_000, runs: int = 3) -> Row:
    """Plan the same world a few times; the rate is by wall time, the CPU rate beside it."""
    snapshot, verdicts = world(nodes, replicas)
    walls, cpus = [], []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        made = plan(snapshot, verdicts, None, now=NOW, rng=Rng(0), trigger="bench")
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    placed = len(made.assignments)
    return {
        "nodes": nodes,
        "workloads": len(snapshot.workloads),
        "placements": placed,
        "missing": sum(u.missing for u in made.unplaced),
        "per_s_wall_median": round(placed / statistics.median(walls)),
        "per_s_wall_best": round(placed / min(walls)),
        "per_s_cpu_best": round(placed / min(cpus)),
        "gap_bound_percent": round(100 * (made.objective_microeur / max(made.bound_microeur or 1, 1) - 1), 3),
        "findings": len(audit(made, snapshot, verdicts)) if nodes <= 5_000 else None,
        "reference": {
            "kube-scheduler": 810,
            "kube-scheduler, device constraints": 180,
            "Nomad C1M": 3_750,
            "Dirigent": 2_500,
        },
        "bar_per_s": 20_000,
    }
