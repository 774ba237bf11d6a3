"""The `Dialer` port in the twin: `mesh address -> how long the way there is said to be`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hanse.core.ids import NodeId
from hanse.core.time import US_PER_S
from hanse.twin.ports.runtime import Mesh


class MemoryDialer:
    """Waits as long as a connection would take; `trip_us` says how long for each node."""

    def __init__(self, mesh: Mesh, trip_us: Callable[[NodeId], int]) -> None:
        self._mesh = mesh
        self._trip_us = trip_us

    async def connect_us(self, address: str, timeout_us: int) -> int | None:
        """The round trip; None where nobody listens, or too far away."""
        peer = self._mesh.at(address)
        trip_us = timeout_us if peer is None else min(timeout_us, self._trip_us(peer.node))
        await asyncio.sleep(trip_us / US_PER_S)
        return None if peer is None or trip_us >= timeout_us else trip_us
