"""Where requests enter: what fronts say is added up per site, judged, and kept. `Traffic -> SiteDemand per site`.

Nodes tell levels, so only the last message of each counts, and not longer than one window: who is silent has no
traffic. What placement makes of a rate is decided in `hanse.placement.traffic`; a record is written where that changes,
and once in a while, so that whoever leads next goes on from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from hanse.control.config import ControlConfig
from hanse.control.state import FabricState
from hanse.control.writing import write
from hanse.core.errors import HanseError
from hanse.core.ids import NodeId, SiteId, WorkloadId
from hanse.core.ports import BusMessage, ControlPorts
from hanse.core.time import MonoTime, WallTime
from hanse.core.traffic import LOOKS
from hanse.placement import entering_at, settle_site
from hanse.wire import envelope
from hanse.wire.demand_messages import DemandRow, SiteDemand, Traffic
from hanse.wire.subjects import DEMAND

log = structlog.get_logger("control")

RISE_LOOKS = 20
"""How many looks a higher rate must last: two windows, so that no burst within one of them counts."""
FALL_LOOKS = 60
"""How many a lower one: work that left would come back with the next busy hour."""
WRITE_LOOKS = 10
"""A record that nothing of consequence changed in is written once in so many looks."""


class Demands:
    """Takes in what fronts count, and keeps what follows from it."""

    def __init__(self, ports: ControlPorts, config: ControlConfig, state: FabricState) -> None:
        self._ports = ports
        self._config = config
        self._state = state
        self._heard: dict[NodeId, tuple[MonoTime, Traffic]] = {}
        self._rows: dict[SiteId, Mapping[WorkloadId, DemandRow]] = {}
        """As they are now; the store has them as they were when something of consequence changed."""

    def rows(self) -> Mapping[SiteId, Mapping[WorkloadId, DemandRow]]:
        """What is known of the demand at each site, in id order: of now where this one leads, else as written."""
        written = {site: record.rows for site, record in self._state.demand().items()}
        return dict(sorted({**written, **self._rows}.items()))

    def take(self, message: BusMessage) -> None:
        """Take in what one node says of its front; what is not believed, or older than what is known, is dropped."""
        node = NodeId(message.subject.split(".")[3])
        try:
            told = envelope.open_sealed(message.data, Traffic, self._state.node_key(node)).message
        except HanseError as error:
            log.warning("traffic.refused", node=node, code=error.code, reason=error.message)
            return
        last = self._heard.get(node)
        is_newer = last is None or (told.incarnation, told.number) > (last[1].incarnation, last[1].number)
        if told.node == node and is_newer:
            self._heard[node] = MonoTime(self._ports.clock.monotonic()), told

    async def look(self) -> None:
        """Judge what every site's fronts say now. Raises ConflictError, StoreError."""
        mono, life_us = self._ports.clock.monotonic(), LOOKS * self._config.count_us
        nodes, sites = self._state.nodes(), self._state.sites()
        self._heard = {node: said for node, said in self._heard.items() if mono - said[0] < life_us}
        heard: dict[SiteId, list[Traffic]] = {}
        for node, (_, said) in sorted(self._heard.items()):
            if node in nodes and not nodes[node].is_revoked:
                heard.setdefault(nodes[node].node.site, []).append(said)
        standing = self._state.demand()
        for site in sorted({*heard, *standing, *self._rows} & {*sites}):
            await self._settle(site, heard.get(site, []), standing.get(site))
        for gone in sorted({*standing, *self._rows} - {*sites}):
            self._rows.pop(gone, None)
            await self._ports.store.delete(DEMAND, gone)

    def forget(self) -> None:
        """Leave it to whoever leads: what is known here grows old."""
        self._heard.clear()
        self._rows.clear()

    async def _settle(self, site: SiteId, heard: list[Traffic], record: SiteDemand | None) -> None:
        now, every_us = WallTime(self._ports.clock.wall()), self._config.count_us
        written: Mapping[WorkloadId, DemandRow] = {} if record is None else record.rows
        settled = settle_site(
            self._rows.get(site, written),
            entering_at(heard),
            now=now,
            window_us=min((one.window_us for one in heard), default=LOOKS * every_us),
            rise_us=RISE_LOOKS * every_us,
            fall_us=FALL_LOOKS * every_us,
        )
        known = self._state.workloads()
        rows = self._rows[site] = {workload: row for workload, row in settled.items() if workload in known}
        is_news = _standing(rows) != _standing(written)
        is_due = record is None or now - record.at_us >= WRITE_LOOKS * every_us
        if not is_news and not (is_due and (rows or written)):
            return
        if is_news:
            log.info("demand.changed", site=site, rates_milli={w: rate for w, (rate, _) in _standing(rows).items()})
        value = envelope.seal(SiteDemand(site=site, at_us=now, rows=rows), self._ports.signer)
        await write(self._ports.store, self._state, DEMAND, site, value)


def _standing(rows: Mapping[WorkloadId, DemandRow]) -> Mapping[WorkloadId, tuple[int, WallTime]]:
    """What placement reads of a record."""
    return {workload: (row.rate_milli, row.since_us) for workload, row in rows.items() if row.rate_milli}


async def count_forever(demands: Demands, config: ControlConfig, *, is_leader: Callable[[], bool]) -> None:
    """Look at intervals while this controller leads."""
    while True:
        await asyncio.sleep(config.count_us / 1e6)
        if not is_leader():
            demands.forget()
            continue
        try:
            await demands.look()
        except HanseError as error:
            log.warning("demand.failed", code=error.code, reason=error.message)
