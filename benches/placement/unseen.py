"""Instances that nobody tuned for: made here, of other seeds, sizes and kinds than the published ones.

Generalised assignment of types a to e, facility location in the manner of Holmberg, fenced fabrics with less room than
the published line has, and whole and shared GPUs to be packed. The reference is CP-SAT (OR-Tools) in a process of its
own: the optimum where it proves one, else what it found and its bound, so that a gap is at most too large.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
from benches.placement import rate
from benches.placement.exact import Case, exact
from benches.placement.fenced import exact_case, tight
from benches.placement.report import Row, Skipped, limit_of, progress

from hanse.core.fabric import GpuNeed, Gpus, Resources
from hanse.core.rng import Rng
from hanse.core.snapshot import Snapshot
from hanse.core.work import Slo
from hanse.placement import audit, optimise, plan
from hanse.placement.solvers import Assigning, Effort, assign

MOST_S = 50
GAP_SIZES = {"a": (8, 120), "b": (12, 90), "c": (15, 180), "d": (8, 80), "e": (10, 120)}
FACILITY_SIZES = ((15, 80), (20, 100), (30, 150), (40, 120))
FENCED_SIZES = ((30, 80, 1.05), (50, 160, 1.02), (80, 200, 1.2))
GPU_SIZES = ((6, 400), (10, 700), (16, 1_000))
MISS = 10**10
"""What leaving one replica out costs in the exact model: more than any plan."""


def measure(seeds: int) -> Row:
    """Gap to the optimum per kind, and how many replicas found no place that the exact solver places."""
    if find_spec("ortools") is None:
        raise Skipped("ortools is not installed: it is the independent reference here")
    rounds = range(max(1, seeds // 5))
    return {
        **{f"gap {kind}": _assigned([_gap(kind, 1_000 + seed) for seed in rounds]) for kind in GAP_SIZES},
        "facility": _assigned([_facility(*size, 2_000 + seed) for seed in rounds for size in FACILITY_SIZES]),
        "fenced": _planned([tight(*size[:2], 3_000 + seed, size[2]) for seed in rounds for size in FENCED_SIZES]),
        "gpus": _packed([_gpu_world(*size, 4_000 + seed) for seed in rounds for size in GPU_SIZES]),
    }


def _gap(kind: str, seed: int) -> Assigning:
    """As Martello and Toth (a to c), Chu and Beasley (d), Laguna et al. (e) make them."""
    draw, (agents, jobs) = np.random.default_rng(seed), GAP_SIZES[kind]
    if kind == "e":
        uses = np.floor(1 - 10 * np.log(1 - draw.random((agents, jobs)))).clip(1)
        costs = np.floor(1_000 / uses - 10 * draw.random((agents, jobs))).clip(1)
    elif kind == "d":
        uses = draw.integers(1, 101, (agents, jobs)).astype(np.float64)
        costs = 111 - uses + draw.integers(-10, 11, (agents, jobs))
    else:
        uses = draw.integers(5, 26, (agents, jobs)).astype(np.float64)
        costs = draw.integers(10, 51, (agents, jobs)).astype(np.float64)
    capacity = np.floor(0.8 * uses.sum(axis=1) / agents)
    if kind in "ab":
        cheapest = costs.argmin(axis=0)
        load = np.array([uses[agent, cheapest == agent].sum() for agent in range(agents)])
        capacity = np.full(agents, np.floor(9 * jobs / agents + 0.4 * load.max()) * (1 if kind == "a" else 0.7))
    return Assigning(costs=costs, uses=uses, capacity=np.floor(capacity), opening=np.zeros(agents))


def _facility(sites: int, customers: int, seed: int) -> Assigning:
    """Places in a square, serving costs by distance and demand, three to six times the room that is needed."""
    draw = np.random.default_rng(seed)
    here, there = draw.uniform(10, 200, (sites, 2)), draw.uniform(10, 200, (customers, 2))
    demands = draw.integers(10, 51, customers)
    distance = np.sqrt(((here[:, None] - there[None]) ** 2).sum(axis=2))
    spare = (3, 4, 6)[seed % 3]
    capacity = draw.uniform(0.6, 1.4, sites) * spare * demands.sum() / sites
    return Assigning(
        costs=np.floor(distance * demands / 10),
        uses=np.tile(demands.astype(np.float64), (sites, 1)),
        capacity=np.floor(capacity),
        opening=draw.integers(1_000, 4_001, sites).astype(np.float64),
    )


def _assigned(instances: list[Assigning]) -> Row:
    gaps, stated, above, infeasible, proven, cpu = [], [], 0, 0, 0, 0.0
    for of in instances:
        began = time.process_time()
        found = assign(of, Effort(search_nodes=200), limit_of(MOST_S))
        cpu = max(cpu, time.process_time() - began)
        best, bound = exact(_case(of))
        proven += best == bound
        progress(f"{of.costs.shape}: {found.objective:.0f}, CP-SAT {best} to {bound}, {cpu:.1f} s of CPU time")
        above += found.bound > best + 1e-6
        if found.agent_of is None:
            infeasible += 1
            continue
        gaps.append(found.objective / max(bound, found.bound) - 1)
        stated.append(found.gap)
    return _row(gaps, stated, above, infeasible, proven, cpu)


def _case(of: Assigning) -> Case:
    agents, jobs = of.costs.shape
    return {
        "jobs": [[(str(a), int(of.costs[a, j]), [int(of.uses[a, j])]) for a in range(agents)] for j in range(jobs)],
        "has": {str(a): [int(of.capacity[a])] for a in range(agents)},
        "opening": {str(a): int(of.opening[a]) for a in range(agents)} if of.opening.any() else None,
    }


def _planned(worlds: list[tuple[Snapshot, rate.Fenced]]) -> Row:
    gaps, stated, above, short, proven, findings, cpu, quick_short = [], [], 0, 0, 0, 0, 0.0, 0
    for snapshot, verdicts in worlds:
        quick = plan(snapshot, verdicts, None, now=rate.NOW, rng=Rng(0), trigger="bench")
        began = time.process_time()
        made = optimise(snapshot, verdicts, None, now=rate.NOW, rng=Rng(0), trigger="bench", watch=limit_of(MOST_S))
        cpu = max(cpu, time.process_time() - began)
        findings += len(audit(made, snapshot, verdicts))
        best, bound = exact(exact_case(snapshot, verdicts, miss=MISS))
        proven += best == bound
        missing, least = sum(u.missing for u in made.unplaced), round(best / MISS)
        quick_short += sum(u.missing for u in quick.unplaced) - least
        short += missing - least
        told = f"{len(snapshot.fabric.nodes)} nodes: {missing} missing of {least} at least"
        progress(f"{told}, {made.objective_microeur} of {best % MISS} ({bound % MISS})")
        if missing == least:
            gaps.append(made.objective_microeur / max(bound - least * MISS, 1) - 1)
            stated.append(made.objective_microeur / max(made.bound_microeur or 1, 1) - 1)
            above += least == 0 and (made.bound_microeur or 0) > best
    row = _row(gaps, stated, above, 0, proven, cpu)
    return {**row, "missing_beyond_exact": short, "incremental_missing_beyond_exact": quick_short, "findings": findings}


def _gpu_world(nodes: int, replicas: int, seed: int) -> tuple[Snapshot, rate.Fenced]:
    """Nodes of two to eight devices of two models; work that asks for a share of one, one, two or four."""
    draw = random.Random(seed)
    snapshot, verdicts = rate.world(nodes, replicas, seed)
    fabric = {
        identity: replace(
            node,
            gpus=Gpus(model=draw.choice(("A100", "L4")), count=draw.choice((2, 4, 8))),
            capacity=Resources(cpu_milli=64_000, memory_bytes=256 * 2**30),
            price=replace(node.price, cpu_core_hour_microeur=20_000, memory_gib_hour_microeur=2_000),
        )
        for identity, node in snapshot.fabric.nodes.items()
    }
    room, asked, workloads = sum(node.gpus.count for node in fabric.values() if node.gpus), 0, {}
    for identity, spec in snapshot.workloads.items():
        if asked >= 1_200 * room:
            break
        count, share = draw.choice(((1, 250), (1, 400), (1, 600), (1, 1_000), (2, 1_000), (4, 1_000)))
        models = draw.choice(((), (), ("A100",), ("L4",)))
        asked += count * share
        workloads[identity] = replace(
            spec, replicas=1, slo=Slo(), gpu=GpuNeed(count=count, share_milli=share, models=models)
        )
    everywhere = tuple(frozenset(range(8)) for _ in verdicts.classes)
    fenced = replace(verdicts, lists=tuple(tuple(fabric) for _ in verdicts.lists), classes=everywhere)
    return replace(snapshot, fabric=replace(snapshot.fabric, nodes=fabric), workloads=workloads), fenced


def _packed(worlds: list[tuple[Snapshot, rate.Fenced]]) -> Row:
    """Device thousandths placed beside the most that can be."""
    shares, findings, proven = [], 0, 0
    for snapshot, verdicts in worlds:
        made = optimise(snapshot, verdicts, None, now=rate.NOW, rng=Rng(0), trigger="bench", watch=limit_of(MOST_S))
        findings += len(audit(made, snapshot, verdicts))
        size = {w: spec.gpu.total_milli if spec.gpu else 0 for w, spec in snapshot.workloads.items()}
        placed = sum(size[a.workload] for a in made.assignments)
        best, bound = exact(_gpu_case(snapshot))
        proven += best == bound
        shares.append(placed / max(sum(size.values()) - bound, 1))
        progress(f"GPUs of {len(snapshot.fabric.nodes)} nodes: {placed} of {sum(size.values()) - best} placed")
    return {
        "instances": len(shares), "optima_proven": proven, "findings": findings,
        "mean_of_the_most_percent": round(100 * float(np.mean(shares)), 3),
        "worst_of_the_most_percent": round(100 * min(shares), 3),
    }  # fmt: skip


def _gpu_case(snapshot: Snapshot) -> Case:
    """Each device is an agent; a set of whole ones takes others of the node besides its first.

    Devices of a node are alike and sets are of one, two or four, so sets may begin at multiples of their size.
    """
    jobs, has = [], {}
    for node, facts in snapshot.fabric.nodes.items():
        for device in range(facts.gpus.count if facts.gpus else 0):
            has[f"{node}/{device}"] = [1_000]
    for spec in snapshot.workloads.values():
        need, options = spec.gpu, []
        for node, facts in snapshot.fabric.nodes.items():
            if need is None or facts.gpus is None or (need.models and facts.gpus.model not in need.models):
                continue
            firsts = range(0, facts.gpus.count - need.count + 1, need.count)
            options += [
                (f"{node}/{first}", 0, [need.share_milli], [f"{node}/{first + i}" for i in range(1, need.count)])
                for first in firsts
            ]
        jobs.append(options)
    return {"jobs": jobs, "has": has, "miss": [s.gpu.total_milli if s.gpu else 0 for s in snapshot.workloads.values()]}


def _row(gaps: list[float], stated: list[float], above: int, infeasible: int, proven: int, cpu: float) -> Row:
    return {
        "instances": len(gaps) + infeasible,
        "optima_proven": proven,
        "mean_gap_percent": round(100 * float(np.mean(gaps)), 4) if gaps else None,
        "worst_gap_percent": round(100 * max(gaps), 4) if gaps else None,
        "mean_stated_gap_percent": round(100 * float(np.mean(stated)), 4) if stated else None,
        "bounds_above_a_known_plan": above,
        "infeasible": infeasible,
        "slowest_cpu_s": round(cpu, 2),
    }
