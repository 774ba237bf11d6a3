"""Reports on their way: made once per change, kept on disk, delivered when the link allows, in any order, once or more.

A report is a level, so delivering it twice changes nothing; one that was replaced before it left is never sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from hanse.core.errors import HanseError
from hanse.core.ids import InstanceId, NodeId
from hanse.core.ports import NodePorts
from hanse.node.disk import NodeDisk
from hanse.wire import envelope
from hanse.wire.messages import Report
from hanse.wire.subjects import REPORTS, instance_key

log = structlog.get_logger("node")

RETRY_US_MIN = 200_000
RETRY_US_MAX = 5_000_000
"""Back-off between deliveries while the store cannot be reached; at most five seconds after a link returns it is
tried."""


class Outbox:
    """Undelivered reports of one node."""

    def __init__(self, ports: NodePorts, disk: NodeDisk, *, me: NodeId) -> None:
        self._ports = ports
        self._disk = disk
        self._me = me
        self._latest: dict[InstanceId, tuple[Report, bytes]] = {}
        self._undelivered: set[InstanceId] = set()
        self._when_delivered: dict[InstanceId, Callable[[InstanceId], Awaitable[None]]] = {}
        self._wake = asyncio.Event()
        self._rng = ports.entropy.stream("outbox", me)

    async def load(self) -> None:
        """Take up the reports kept on disk; each is delivered again."""
        self._latest = await self._disk.load_reports()
        self._undelivered = set(self._latest)

    def said(self, instance: InstanceId) -> Report | None:
        """What was reported last of an instance; None if nothing, or if it is forgotten."""
        last = self._latest.get(instance)
        return None if last is None else last[0]

    async def put(self, report: Report) -> None:
        """Keep and deliver a report, unless it says what the last one of this instance said."""
        last = self._latest.get(report.instance)
        if last is not None and _says(last[0]) == _says(report):
            return
        if last is not None and last[0].phase is report.phase:
            # A renewed order is answered, but the work has not changed since.
            report = msgspec.structs.replace(report, since_us=last[0].since_us)
        sealed = envelope.seal(report, self._ports.signer)
        await self._disk.keep_report(report, sealed)
        self._latest[report.instance] = (report, sealed)
        self._undelivered.add(report.instance)
        self._wake.set()
        log.info("report", instance=report.instance, phase=report.phase.value, code=report.code, reason=report.reason)

    def forget_when_delivered(self, instance: InstanceId, forget: Callable[[InstanceId], Awaitable[None]]) -> None:
        """Call `forget` once the instance's last report is in the store."""
        self._when_delivered[instance] = forget
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._wake.clear()
            for instance in sorted(self._undelivered):
                await self._deliver_one(instance)
            for instance in sorted(set(self._when_delivered) - self._undelivered):
                await self._when_delivered.pop(instance)(instance)
                self._latest.pop(instance, None)
            await self._wake.wait()

    async def deliver(self, bucket: str, key: str, sealed: bytes) -> None:
        """Write one value, trying until the link allows it."""
        wait_us = RETRY_US_MIN
        while True:
            try:
                await self._ports.store.put(bucket, key, sealed)
            except HanseError as error:
                log.debug("delivery.postponed", bucket=bucket, key=key, code=error.code)
                await asyncio.sleep(wait_us * (1 + self._rng.random()) / 2e6)
                wait_us = min(wait_us * 2, RETRY_US_MAX)
            else:
                return

    async def _deliver_one(self, instance: InstanceId) -> None:
        while True:
            _, sealed = self._latest[instance]
            await self.deliver(REPORTS, instance_key(self._me, instance), sealed)
            if self._latest[instance][1] is sealed:
                self._undelivered.discard(instance)
                return


def _says(report: Report) -> tuple[int, str, str, str, bytes]:
    """What a report states, without when: a restart that runs the same work again is no news.

    The generation is: it is how a controller that lost an order learns above what the next one must be.
    """
    return (report.generation, report.phase.value, report.code, report.reason, report.checkpoint)
