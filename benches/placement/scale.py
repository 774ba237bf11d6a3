"""A fabric of 100,000 nodes: the first whole plan, and what one event costs after it.

An event is a workload that comes, changes or goes, or a node that falls silent, comes back, changes its price or joins.
Timed is the decision (`hanse.placement.prepared.respond`) with its explanations; not the caller's snapshot, nor writing
the whole plan out as one value. As the leader does after a whole plan, what stands then is left out of collections; as
it does around each decision, collections wait until it is made.
"""

from __future__ import annotations

import random
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from benches.placement import rate
from benches.placement.report import Row, progress

from hanse.control import memory
from hanse.core.fabric import Node
from hanse.core.ids import NodeId, WorkloadId, workload_id
from hanse.core.rng import Rng
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.work import Workload
from hanse.placement import Changes, audit, replan
from hanse.placement.prepared import respond
from hanse.placement.replan import plan_after

Name = TypeVar("Name", bound=str)
BARS = {"first_plan_s": 600, "event_p99_ms": 20, "memory_gib": 4}


@dataclass(frozen=True)
class Event:
    """What happened, and the world after it."""

    kind: str
    snapshot: Snapshot
    verdicts: rate.Fenced
    changes: Changes


def measure(nodes: int, replicas: int, events: int, seed: int = 7) -> Row:
    """Plan once, then answer a random mix of events; the last plan of a smaller fabric is audited as a whole."""
    snapshot, verdicts = rate.world(nodes, replicas)
    wall, cpu = time.perf_counter(), time.process_time()
    made, kept = replan(None, snapshot, verdicts, None, now=rate.NOW, rng=Rng(0), trigger="bench")
    first_wall, first_cpu = time.perf_counter() - wall, time.process_time() - cpu
    if len(made.assignments) >= memory.LARGE_PLAN:
        memory.settle()
    placed, state, draw = len(made.assignments), kept.state, random.Random(seed)
    walls, cpus, by_kind, refused, touched = [], [], dict[str, list[float]](), 0, []
    progress(f"{len(made.assignments)} replicas placed in {first_wall:.0f} s")
    for number in range(events):
        event = _event(snapshot, verdicts, draw, number)
        with memory.undisturbed():
            wall, cpu = time.perf_counter(), time.thread_time()
            found = respond(state, event.snapshot, event.verdicts, event.changes, now=rate.NOW)
            spent, thread = time.perf_counter() - wall, time.thread_time() - cpu
        if found is None:
            refused += 1
            continue
        response, state = found
        snapshot, verdicts = event.snapshot, event.verdicts
        walls.append(1e3 * spent)
        cpus.append(1e3 * thread)
        by_kind.setdefault(event.kind, []).append(1e3 * thread)
        touched.append(len(response.assignments))
        if nodes <= 2_000:
            made = plan_after(state, response, made, "bench")
    findings = len(audit(made, snapshot, verdicts)) if nodes <= 2_000 else None
    return {
        "nodes": nodes,
        "placements": placed,
        "first_plan_wall_s": round(first_wall, 1),
        "first_plan_cpu_s": round(first_cpu, 1),
        "events": len(walls),
        "events_refused": refused,
        "event_wall_ms": _spread(walls),
        "event_cpu_ms": _spread(cpus),
        "cpu_ms_by_kind": {kind: _spread(all_of) for kind, all_of in sorted(by_kind.items())},
        "most_workloads_touched": max(touched, default=0),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "findings_after_events": findings,
        "bar": BARS,
    }


def _spread(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {"p50": round(sum(values), 2)}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2), "max": round(max(values), 2)}


def _event(at: Snapshot, verdicts: rate.Fenced, draw: random.Random, number: int) -> Event:
    kind = draw.choice(("comes", "comes", "goes", "changes", "silent", "back", "price", "joins"))
    match kind:
        case "comes" | "goes" | "changes":
            return _workload_event(kind, at, verdicts, draw, number)
        case _:
            return _node_event(kind, at, verdicts, draw, number)


def _workload_event(kind: str, at: Snapshot, verdicts: rate.Fenced, draw: random.Random, number: int) -> Event:
    name = _some(draw, list(at.workloads))
    like = at.workloads[name]
    workloads: dict[WorkloadId, Workload] = dict(at.workloads)
    if kind == "comes":
        fresh = workload_id("bench", f"x{number:06d}")
        workloads[fresh] = replace(like, id=fresh, name=f"x{number:06d}")
        verdicts.policy_of[fresh] = verdicts.policy_of[name]
        name = fresh
    elif kind == "goes":
        del workloads[name]
    else:
        workloads[name] = replace(like, resources=draw.choice(rate.SIZES), generation=like.generation + 1)
    return Event(kind, replace(at, workloads=workloads), verdicts, Changes(workloads=(name,)))


def _node_event(kind: str, at: Snapshot, verdicts: rate.Fenced, draw: random.Random, number: int) -> Event:
    name = _some(draw, list(at.fabric.nodes))
    nodes: dict[NodeId, Node] = dict(at.fabric.nodes)
    reach = dict(at.reach)
    match kind:
        case "silent":
            reach[name] = Reach.UNREACHABLE
        case "back":
            name = next((n for n, heard in reach.items() if heard is not Reach.READY), name)
            reach[name] = Reach.READY
        case "price":
            price = nodes[name].price
            other = replace(price, cpu_core_hour_microeur=price.cpu_core_hour_microeur + draw.randrange(-9, 10) * 100)
            nodes[name] = replace(nodes[name], price=other)
        case _:
            fresh = NodeId(f"x{number:06d}")
            nodes[fresh], reach[fresh] = replace(nodes[name], id=fresh), Reach.READY
            kind_of = verdicts.class_of[name]
            lists = tuple(
                (*known, fresh) if kind_of in allowed else known
                for known, allowed in zip(verdicts.lists, verdicts.classes, strict=True)
            )
            verdicts = replace(verdicts, class_of={**verdicts.class_of, fresh: kind_of}, lists=lists)
            name = fresh
    after = replace(at, fabric=replace(at.fabric, nodes=nodes), reach=reach)
    return Event(kind, after, verdicts, Changes(nodes=(name,)))


def _some(draw: random.Random, names: Sequence[Name]) -> Name:
    return names[draw.randrange(len(names))]
