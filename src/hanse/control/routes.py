"""Which replicas answer for which route: `state, reach -> route records`.

A replica is in the table while its node reports it running, its order still says run, and its node is heard of.
Whoever is taken out of the table is not told to stop: the table says where requests go, orders say what runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from hanse.control.liveness import Liveness
from hanse.control.state import FabricState
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.snapshot import Phase, Reach, Running, Snapshot
from hanse.core.time import US_PER_S
from hanse.wire.messages import Presence, RouteRecord, RouteReplica
from hanse.wire.subjects import PRESENCE, ROUTES

SERVING = (Reach.READY, Reach.SUSPECT, Reach.DRAINING)


def wanted_routes(state: FabricState, snapshot: Snapshot, liveness: Liveness) -> dict[WorkloadId, RouteRecord]:
    """The route records that should stand, those that differ from what stands with a raised generation."""
    present = {NodeId(key): p for key, p in state.messages(PRESENCE, Presence).items()}
    standing = {WorkloadId(key): record for key, record in state.messages(ROUTES, RouteRecord).items()}
    running: dict[WorkloadId, list[Running]] = {}
    for one in snapshot.running:
        running.setdefault(one.workload, []).append(one)
    wanted: dict[WorkloadId, RouteRecord] = {}
    for workload in snapshot.workloads.values():
        if workload.job is not None:
            continue  # It answers nobody.
        replicas = _replicas(running.get(workload.id, []), snapshot, present, state, liveness)
        last = standing.get(workload.id)
        record = RouteRecord(
            workload=workload.id,
            path=workload.route.path,
            host=workload.route.host,
            replicas=replicas,
            generation=0 if last is None else last.generation,
            auth=workload.auth,
        )
        if record != last:
            record = RouteRecord(
                workload=record.workload,
                path=record.path,
                host=record.host,
                replicas=replicas,
                # Never below what a cut-off node may still hold of an earlier record that was taken away.
                generation=max(record.generation + 1, snapshot.at_us // US_PER_S),
                auth=record.auth,
            )
        wanted[workload.id] = record
    return wanted


def _replicas(
    running: list[Running],
    snapshot: Snapshot,
    present: Mapping[NodeId, Presence],
    state: FabricState,
    liveness: Liveness,
) -> tuple[RouteReplica, ...]:
    nodes = state.nodes()
    by_node: dict[NodeId, RouteReplica] = {}
    for one in running:
        if not one.is_wanted or one.phase is not Phase.RUNNING or snapshot.reach.get(one.node) not in SERVING:
            continue
        heartbeat = liveness.last(one.node)
        mesh = heartbeat.mesh if heartbeat is not None else present[one.node].mesh if one.node in present else ""
        if mesh:
            by_node[one.node] = RouteReplica(
                node=one.node,
                address=mesh,
                spiffe_id=nodes[one.node].spiffe_id,
                place=snapshot.fabric.site_of(snapshot.fabric.nodes[one.node]).place,
            )
    return tuple(by_node[node] for node in sorted(by_node))
