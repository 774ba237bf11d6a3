"""Policy-fenced random fabrics: both of the product's planners against the exact optimum by CP-SAT (OR-Tools).

Single replicas with fences, capacities tight enough to bind. The exact model shares no code with the planners: it takes
costs from each workload's explanation when it is planned alone, and knows capacities and fences from the snapshot.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from importlib.util import find_spec

from benches.placement import rate
from benches.placement.exact import Case, exact
from benches.placement.report import Row, Skipped

from hanse.core.rng import Rng
from hanse.core.snapshot import Snapshot
from hanse.core.work import Slo
from hanse.placement import audit, optimise, plan

SIZES = ((20, 60), (60, 150), (120, 250), (200, 400))


def measure(seeds: int) -> Row:
    """Mean gap of both planners to the optimum, or to the bound where it is not proven, so at most too large."""
    if find_spec("ortools") is None:
        raise Skipped("ortools is not installed: it is the independent reference here")
    quick_gaps, best_gaps, stated, above, findings, slowest, left_out, proven = [], [], [], 0, 0, 0.0, 0, 0
    for nodes, replicas in SIZES:
        for seed in range(max(1, seeds // 3)):
            snapshot, verdicts = tight(nodes, replicas, seed)
            quick = plan(snapshot, verdicts, None, now=rate.NOW, rng=Rng(0), trigger="bench")
            began = time.perf_counter()
            best = optimise(snapshot, verdicts, None, now=rate.NOW, rng=Rng(0), trigger="bench")
            slowest = max(slowest, time.perf_counter() - began)
            findings += len(audit(best, snapshot, verdicts))
            if quick.unplaced:
                left_out += 1
                continue
            found, least = exact(exact_case(snapshot, verdicts))
            proven += found == least
            quick_gaps.append(quick.objective_microeur / least - 1)
            best_gaps.append(best.objective_microeur / least - 1)
            bound = best.bound_microeur or 0
            stated.append(best.objective_microeur / bound - 1)
            above += bound > found
    return {
        "fabrics": len(best_gaps),
        "left_out": left_out,
        "optima_proven": proven,
        "mean_gap_percent": round(100 * statistics.mean(best_gaps), 4),
        "worst_gap_percent": round(100 * max(best_gaps), 4),
        "mean_stated_gap_percent": round(100 * statistics.mean(stated), 4),
        "incremental_mean_gap_percent": round(100 * statistics.mean(quick_gaps), 4),
        "bounds_above_a_known_plan": above,
        "findings": findings,
        "slowest_s": round(slowest, 2),
        "bar_mean_gap_percent": 1.0,
    }


def tight(nodes: int, replicas: int, seed: int, spare: float = 1.4) -> tuple[Snapshot, rate.Fenced]:
    """Single replicas, and nodes so small that they hold `spare` times the cores asked for, so that room decides."""
    snapshot, verdicts = rate.world(nodes, replicas, seed)
    needed = sum(spec.resources.cpu_milli for spec in snapshot.workloads.values())
    has = sum(node.capacity.cpu_milli for node in snapshot.fabric.nodes.values())
    share = min(1.0, spare * needed / has)
    small = {
        identity: replace(
            node,
            capacity=replace(node.capacity, cpu_milli=max(2_000, int(node.capacity.cpu_milli * share))),
        )
        for identity, node in snapshot.fabric.nodes.items()
    }
    single = {w: replace(spec, replicas=1, slo=Slo()) for w, spec in snapshot.workloads.items()}
    return replace(snapshot, fabric=replace(snapshot.fabric, nodes=small), workloads=single), verdicts


def exact_case(snapshot: Snapshot, verdicts: rate.Fenced, *, miss: int | None = None) -> Case:
    """The fabric as an assignment for CP-SAT; `miss` is the cost of a replica left out, None where none may be."""
    jobs = []
    for workload, spec in snapshot.workloads.items():
        alone = replace(snapshot, workloads={workload: spec})
        story = plan(alone, verdicts, None, now=rate.NOW, rng=Rng(0), trigger="costs").explanations[workload]
        allowed = set(verdicts.allowed(workload))
        uses = (spec.resources.cpu_milli, spec.resources.memory_bytes // 2**20)
        jobs.append([(c.node, c.score.total_microeur, uses) for c in story.candidates if c.score and c.node in allowed])
    has = {
        node: (facts.capacity.cpu_milli, facts.capacity.memory_bytes // 2**20)
        for node, facts in snapshot.fabric.nodes.items()
    }
    return {"jobs": jobs, "has": has, "miss": None if miss is None else [miss] * len(jobs)}
