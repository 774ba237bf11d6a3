"""30 cloud zones under capacity and latency, by annual mean intensity: the product's planners against the LP optimum.

Each unit of load is a workload of one core with a latency SLO from its own zone; each zone is a node of 100 cores.
"""

from __future__ import annotations

import csv
import gzip
import time
from pathlib import Path

import numpy as np
from benches.placement.rate import PERMIT
from benches.placement.report import Row, existing

from hanse.core.fabric import Fabric, Node, Operator, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId, workload_id
from hanse.core.plan import Plan
from hanse.core.rng import Rng
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Change, Verdict
from hanse.core.work import Kind, Objective, Route, Slo, Workload
from hanse.placement import audit, optimise, plan
from hanse.placement.settings import DEFAULT_SETTINGS

NOW = WallTime(1_795_262_400_000_000)
LIMITS_MS = (5, 50, 100, 150, 200, 250, 300)
OPTIMA = {
    50: (372.3320, 261.5889, 225.6024, 208.4371, 206.2002, 206.2002, 206.2002),
    99: (372.3320, 199.7688, 135.6410, 86.6236, 40.1124, 28.4712, 28.4712),
}
GREEDY = {
    50: (372.332, 261.612, 244.376, 208.557, 206.200, 206.985, 206.200),
    99: (372.332, 199.769, 135.641, 86.624, 40.112, 28.471, 28.471),
}
"""As published by the data's authors; see the data's own README."""


class Anywhere:
    """Nothing is fenced here: the published cells have no jurisdictions."""

    def __init__(self, nodes: tuple[NodeId, ...]) -> None:
        self._nodes = nodes

    def of(self, workload: WorkloadId, node: NodeId) -> Verdict:
        return Verdict(workload=workload, node=node, is_allowed=True, reasons=(PERMIT,))

    def allowed(self, workload: WorkloadId) -> tuple[NodeId, ...]:
        return self._nodes

    def changes(self, workload: WorkloadId) -> tuple[Change, ...]:
        return ()


def measure(data: Path) -> Row:
    """Mean intensity in g/kWh per cell of both solvers beside the optimum, and the worst gap."""
    folder = existing(data / "carbon" / "decarb2022")
    zones, trips_ms, intensity = _zones(folder)
    cells, worst, worst_bound, findings, slowest = {}, 0.0, 0.0, 0, 0.0
    for idle, optima in OPTIMA.items():
        for limit, optimum, greedy in zip(LIMITS_MS, optima, GREEDY[idle], strict=True):
            snapshot, verdicts = _world(zones, trips_ms, intensity, limit, 100 - idle)
            quick = plan(snapshot, verdicts, None, now=NOW, rng=Rng(0), trigger="bench")
            began = time.perf_counter()
            best = optimise(snapshot, verdicts, None, now=NOW, rng=Rng(0), trigger="bench")
            slowest = max(slowest, time.perf_counter() - began)
            findings += len(audit(best, snapshot, verdicts))
            means = [_mean(made, intensity) for made in (quick, best)]
            gap = means[1] / optimum - 1
            worst = max(worst, gap)
            worst_bound = max(worst_bound, best.objective_microeur / max(best.bound_microeur or 1, 1) - 1)
            cells[f"idle {idle} %, {limit} ms"] = {
                "optimum": optimum, "published_greedy": greedy, "incremental": round(means[0], 4),
                "global": round(means[1], 4), "gap_percent": round(100 * gap, 4),
            }  # fmt: skip
    return {
        "cells": cells,
        "worst_gap_percent": round(100 * worst, 4),
        "worst_stated_gap_percent": round(100 * worst_bound, 4),
        "slowest_s": round(slowest, 2),
        "findings": findings,
        "bar_gap_percent": 0.1,
    }


def _zones(folder: Path) -> tuple[tuple[str, ...], dict[tuple[str, str], float], dict[str, float]]:
    with (folder / "gcp_latency_matrix_by_zone.csv").open(encoding="utf-8-sig") as lines:
        rows = list(csv.reader(lines))
    heads = rows[0][1:]
    trips: dict[tuple[str, str], float] = {}
    for row in rows[1:]:
        for origin, cell in zip(heads, row[1:], strict=True):
            trips.setdefault((origin, row[0]), float(cell))
    with gzip.open(folder / "ci_lca_hourly_2022_123zones.csv.gz", "rt", encoding="utf-8-sig") as lines:
        reader = csv.reader(lines)
        names = next(reader)
        table = list(reader)
    known = [name for name in dict.fromkeys(heads) if name in names]
    means = {name: float(np.mean([float(row[names.index(name)]) for row in table])) for name in known}
    return tuple(sorted(known)), trips, means


def _world(
    zones: tuple[str, ...],
    trips_ms: dict[tuple[str, str], float],
    intensity: dict[str, float],
    limit_ms: int,
    load: int,
) -> tuple[Snapshot, Anywhere]:
    sites = {
        SiteId(z.lower()): Site(
            id=SiteId(z.lower()), country=CountryCode(z[:2]), grid_zone=z, pue_permille=1_000,
            place=Place(city=f"city of {z}", latitude_deg=0.0, longitude_deg=0.0),
        )
        for z in zones
    }  # fmt: skip
    nodes = {
        NodeId(z.lower()): Node(
            id=NodeId(z.lower()), site=SiteId(z.lower()), operator=OperatorId("o"), tier=Tier.CORE,
            capacity=Resources(cpu_milli=100_000, memory_bytes=100 * 2**30),
            price=Price(cpu_core_hour_microeur=0, memory_gib_hour_microeur=0),
            power=Power(idle_mw=0, per_core_mw=1_000),
        )
        for z in zones
    }  # fmt: skip
    workloads = {}
    for zone in zones:
        for unit in range(load):
            name = f"{zone.lower()}-{unit:02d}"
            identity = workload_id("load", name)
            workloads[identity] = Workload(
                id=identity, kind=Kind.FUNCTION, namespace="load", name=name, artifact=Digest("sha256:" + "0" * 64),
                artifact_bytes=1, route=Route(path=f"/{name}"), replicas=1,
                resources=Resources(cpu_milli=1_000, memory_bytes=2**20),
                slo=Slo(
                    latency_p99_us=limit_ms * 1_000 + DEFAULT_SETTINGS.service_time_us, origins=(zone.lower(),)
                ),
                objective=Objective(cost_milli=0, carbon_microeur_per_t=10**9),
            )  # fmt: skip
    rtt = {
        (SiteId(o.lower()), SiteId(d.lower())): 0 if o == d else round(trips_ms[o, d] * 1_000)
        for o in zones
        for d in zones
    }
    snapshot = Snapshot(
        at_us=NOW, fabric=Fabric(sites=sites, operators={OperatorId("o"): _OPERATOR}, nodes=nodes),
        reach=dict.fromkeys(nodes, Reach.READY), workloads=workloads, running=(), rtt_us=rtt,
        # In milligrams, so that a mean of 11.21 g does not become 11: every score scales alike.
        intensity_g_per_kwh={z: round(intensity[z] * 1_000) for z in zones},
    )  # fmt: skip
    return snapshot, Anywhere(tuple(sorted(nodes)))


_OPERATOR = Operator(id=OperatorId("o"), name="o", seat=CountryCode("DE"))


def _mean(made: Plan, intensity: dict[str, float]) -> float:
    by_site = {zone.lower(): grams for zone, grams in intensity.items()}
    if made.unplaced:
        raise RuntimeError(f"{len(made.unplaced)} units of load have no place")
    return sum(by_site[a.node] for a in made.assignments) / len(made.assignments)
