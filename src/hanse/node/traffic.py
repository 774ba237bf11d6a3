"""Where requests enter: `counters of the front, looked at again and again -> rates over a window -> the domain`.

A node tells how many requests a second its own front took from clients, per workload: those that another node passed
on entered there. It tells the rate, not what is new, so that a message that is lost costs nothing, and it waits for no
answer. A node that nobody asks says so once and is silent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

import structlog

from hanse.core.errors import HanseError
from hanse.core.ids import WorkloadId
from hanse.core.ports import NodePorts, WorkloadStats
from hanse.core.traffic import LOOKS, ROWS_MAX, rate_milli
from hanse.node.config import NodeConfig
from hanse.wire import envelope
from hanse.wire.demand_messages import Entering, Traffic
from hanse.wire.subjects import ask

log = structlog.get_logger("node")

Entered = Mapping[WorkloadId, int]


class TrafficTeller:
    """Looks at the front's counters and tells what they come to."""

    def __init__(self, ports: NodePorts, config: NodeConfig) -> None:
        self._ports = ports
        self._config = config
        self._number = 0

    async def run(self, incarnation: int) -> None:
        """Look and tell at every interval until cancelled."""
        window: deque[tuple[int, Entered]] = deque(maxlen=LOOKS + 1)
        window.append((self._ports.clock.monotonic(), entered(await self._ports.runtime.stats())))
        has_traffic = False
        while True:
            await asyncio.sleep(self._config.count_us / 1e6)
            window.append((self._ports.clock.monotonic(), entered(await self._ports.runtime.stats())))
            rates, span_us = rates_over(window)
            if rates or has_traffic:
                await self._tell(rates, span_us, incarnation)
            has_traffic = bool(rates)

    async def _tell(self, rates: tuple[Entering, ...], span_us: int, incarnation: int) -> None:
        self._number += 1
        me = self._config.node.id
        said = Traffic(
            node=me, incarnation=incarnation, number=self._number, window_us=span_us, entering=rates
        )  # fmt: skip
        try:
            await self._ports.bus.publish(ask(me, "traffic"), envelope.seal(said, self._ports.signer))
        except HanseError as error:
            log.debug("traffic.untold", number=self._number, code=error.code)


def entered(stats: Mapping[WorkloadId, WorkloadStats]) -> Entered:
    """How many requests clients brought to this front, by workload, since the engine started."""
    return {workload: one.requests - one.from_mesh for workload, one in sorted(stats.items())}


def rates_over(window: deque[tuple[int, Entered]]) -> tuple[tuple[Entering, ...], int]:
    """Rates from the oldest look to the newest, in workload id order and without zeros, and the span in microseconds.

    The busiest `ROWS_MAX`, so that they fit into one message.
    """
    (first_us, before), (last_us, now) = window[0], window[-1]
    span_us = max(1, last_us - first_us)
    rates = [(workload, rate_milli(count - before.get(workload, 0), span_us)) for workload, count in now.items()]
    busiest = sorted(((w, rate) for w, rate in rates if rate), key=lambda one: (-one[1], one[0]))[:ROWS_MAX]
    return tuple(Entering(workload, rate) for workload, rate in sorted(busiest)), span_us
