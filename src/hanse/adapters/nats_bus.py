"""The `Bus` port on core NATS.

`publish / subscribe / request -> NatsLink`. At most once: what is published while the link is down is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from nats.aio.msg import Msg

from hanse.adapters.nats_link import NatsLink
from hanse.core.ports import BusMessage

QUEUE_LIMIT = 1_024
"""Messages kept per subscription; when full the oldest is dropped (the port's rule)."""


class NatsBus:
    """Messages over one `NatsLink`."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link

    async def publish(self, subject: str, data: bytes) -> None:
        """Send to whoever listens now; dropped while the link is down. Raises BusError if too large or closed."""
        await self._link.publish(subject, data)

    async def subscribe(self, pattern: str) -> AsyncIterator[BusMessage]:
        """Listen from the first `anext` until closed, across reconnects. Raises BusError when the link is closed."""
        queue: deque[BusMessage] = deque(maxlen=QUEUE_LIMIT)
        arrived = asyncio.Event()

        def deliver(message: Msg) -> None:
            queue.append(BusMessage(subject=message.subject, data=message.data, reply=message.reply))
            arrived.set()

        end = await self._link.listen(pattern, deliver, arrived)
        try:
            while True:
                while queue:
                    yield queue.popleft()
                self._link.refuse_if_closed()
                arrived.clear()
                await arrived.wait()
        finally:
            await end()

    async def request(self, subject: str, data: bytes, timeout_us: int) -> bytes:
        """Ask one responder. Raises BusError on no responders, timeout or lost link."""
        message = await self._link.request(subject, data, timeout_us=timeout_us)
        return message.data

    def is_connected(self) -> bool:
        """Tell whether the link is up, as far as this side knows."""
        return self._link.is_connected()
