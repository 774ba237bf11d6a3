"""The node's own view of the route table: `route records, my place -> runtime routes`."""

from __future__ import annotations

from collections.abc import Mapping

from hanse.core.geo import Place, modelled_rtt_us
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.ports import Replica, RouteEntry
from hanse.wire.messages import RouteRecord


def routes_from(records: Mapping[WorkloadId, RouteRecord], *, me: NodeId, place: Place) -> tuple[RouteEntry, ...]:
    """Turn records into runtime routes, replicas nearest first; this node's own replica is 0 away."""
    return tuple(_route(records[workload], me, place) for workload in sorted(records))


def _route(record: RouteRecord, me: NodeId, place: Place) -> RouteEntry:
    replicas = [
        Replica(
            node=one.node,
            address=one.address,
            spiffe_id=one.spiffe_id,
            rtt_us=0 if one.node == me else modelled_rtt_us(place, one.place),
        )
        for one in record.replicas
    ]
    replicas.sort(key=lambda replica: (replica.rtt_us, replica.node))
    return RouteEntry(
        workload=record.workload, path=record.path, host=record.host, replicas=tuple(replicas), auth=record.auth
    )
