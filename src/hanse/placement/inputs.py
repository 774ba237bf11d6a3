"""Digests of what a plan read, so that anyone can tell later whether two plans saw the same world.

`Snapshot, Verdicts -> name -> digest`. Spelled by key, so the order of mappings leaves no trace.
"""

from __future__ import annotations

from collections.abc import Mapping

from hanse.core.ids import NodeId
from hanse.core.snapshot import Snapshot
from hanse.core.verdict import Verdicts
from hanse.wire.canonical import digest_of


def input_digests(snapshot: Snapshot, verdicts: Verdicts) -> Mapping[str, str]:
    """One SHA-256 per kind of input: facts, prices, specs, verdicts, reach, running work, intensities, forecast,
    round trips. The rules themselves are behind the verdicts; who decides by them adds their digest."""
    fabric = snapshot.fabric
    running = sorted(snapshot.running, key=lambda record: (record.instance, record.node))
    trips = {f"{origin} {site}": us for (origin, site), us in snapshot.rtt_us.items()}
    return {
        "facts": digest_of(fabric),
        "forecast": digest_of([snapshot.forecast, snapshot.forecast_error_permille]),
        "intensity": digest_of(snapshot.intensity_g_per_kwh),
        "latency": digest_of({"measured": trips, "gazetteer": snapshot.gazetteer}),
        "prices": digest_of({node.id: node.price for node in fabric.nodes.values()}),
        "reach": digest_of(snapshot.reach),
        "running": digest_of(running),
        "specs": digest_of(snapshot.workloads),
        "verdicts": _verdicts_digest(snapshot, verdicts),
    }


def _verdicts_digest(snapshot: Snapshot, verdicts: Verdicts) -> str:
    # Workloads of one policy class share a tuple: found by identity first, by value where it was built anew.
    by_value: dict[tuple[NodeId, ...], tuple[tuple[NodeId, ...], str]] = {}
    by_identity: dict[int, tuple[tuple[NodeId, ...], str]] = {}
    per_workload: dict[str, str] = {}
    for workload in snapshot.workloads:
        allowed = verdicts.allowed(workload)
        known = by_identity.get(id(allowed))
        if known is None or known[0] is not allowed:
            if allowed not in by_value:
                by_value[allowed] = by_identity[id(allowed)] = (allowed, digest_of(allowed))
            known = by_value[allowed]
        per_workload[workload] = known[1]
    return digest_of(per_workload)
