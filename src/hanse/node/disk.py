"""What a node keeps on its own disk, so that it restarts all its work with no uplink.

Orders and routes are kept as the sealed bytes that came: what a restart believes is verified again, not trusted
because it lay on the disk. A record that does not verify is named in the log and left where it lies; the rest starts.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from hanse.core.errors import HanseError, WireError
from hanse.core.ids import InstanceId, NodeId, WorkloadId
from hanse.core.ports import Store
from hanse.core.time import WallTime
from hanse.node.judge import Held, Rejected, judge
from hanse.wire import canonical, envelope
from hanse.wire.messages import Report, RouteRecord
from hanse.wire.subjects import REVOCATIONS
from hanse.wire.trust_messages import Revocations

log = structlog.get_logger("node")

ORDERS = "orders"
REPORTS = "reports"
ROUTES = "routes"
TRUST = "trust"
META = "meta"


class NodeDisk:
    """Typed access to the node's local store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def next_incarnation(self) -> int:
        """Count this start of the agent; durable before it returns."""
        entry = await self._store.get(META, "incarnation")
        last = 0
        if entry is not None and entry.value is not None:
            try:
                last = canonical.decode(entry.value, int)
            except WireError as error:
                _leave_out(META, "incarnation", error.code, error.message)
        await self._store.put(META, "incarnation", canonical.encode(last + 1))
        return last + 1

    async def load_orders(self, *, me: NodeId, trusted: Mapping[str, bytes], now: WallTime) -> dict[InstanceId, Held]:
        """Read and verify every kept order. One that no longer verifies or has expired is left out, not deleted."""
        held: dict[InstanceId, Held] = {}
        for entry in await self._store.entries(ORDERS):
            verdict = judge(entry.value or b"", key=f"{me}.{entry.key}", me=me, held={}, trusted=trusted, now=now)
            match verdict:
                case Held():
                    held[verdict.order.instance] = verdict
                case Rejected():
                    _leave_out(ORDERS, entry.key, verdict.code, verdict.reason)
                case None:
                    pass
        return held

    async def keep_order(self, held: Held) -> None:
        """Keep an order; durable before it returns."""
        await self._store.put(ORDERS, held.order.instance, held.sealed)

    async def drop_order(self, instance: InstanceId) -> None:
        """Forget an order whose stop was carried out and reported."""
        await self._store.delete(ORDERS, instance)
        await self._store.delete(REPORTS, instance)

    async def load_reports(self) -> dict[InstanceId, tuple[Report, bytes]]:
        """Reports as last made, each with its sealed bytes, for delivery after a restart."""
        found: dict[InstanceId, tuple[Report, bytes]] = {}
        for entry in await self._store.entries(REPORTS):
            try:
                found[InstanceId(entry.key)] = (envelope.peek(entry.value or b"", Report), entry.value or b"")
            except HanseError as error:
                _leave_out(REPORTS, entry.key, error.code, error.message)
        return found

    async def keep_report(self, report: Report, sealed: bytes) -> None:
        """Keep a report until it was delivered and replaced."""
        await self._store.put(REPORTS, report.instance, sealed)

    async def load_routes(self, trusted: Mapping[str, bytes]) -> dict[WorkloadId, RouteRecord]:
        """Read and verify the kept route table."""
        found: dict[WorkloadId, RouteRecord] = {}
        for entry in await self._store.entries(ROUTES):
            try:
                record = envelope.open_sealed(entry.value or b"", RouteRecord, trusted).message
            except HanseError as error:
                _leave_out(ROUTES, entry.key, error.code, error.message)
                continue
            found[record.workload] = record
        return found

    async def keep_route(self, workload: WorkloadId, sealed: bytes) -> None:
        """Keep one route record."""
        await self._store.put(ROUTES, workload, sealed)

    async def load_revocations(self, trusted: Mapping[str, bytes]) -> Revocations | None:
        """Read and verify the kept list of revoked nodes."""
        entry = await self._store.get(TRUST, REVOCATIONS)
        if entry is None or entry.value is None:
            return None
        return envelope.open_sealed(entry.value, Revocations, trusted).message

    async def keep_revocations(self, sealed: bytes) -> None:
        """Keep the list of revoked nodes: a restart with no uplink must not let them in again."""
        await self._store.put(TRUST, REVOCATIONS, sealed)

    async def drop_route(self, workload: WorkloadId) -> None:
        """Forget a route that the controller took away."""
        await self._store.delete(ROUTES, workload)


def _leave_out(bucket: str, key: str, code: str, reason: str) -> None:
    log.warning("disk.left_out", record=f"{bucket}/{key}", code=code, reason=reason)
