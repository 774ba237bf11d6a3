"""The `Dialer` port over TCP: `host:port -> time until the connection stood`.

A connection is opened and closed, and nothing is sent: the peer's kernel answers, so a busy process does not seem far.
It is the way that requests between nodes take, not that over the substrate.
"""

from __future__ import annotations

import asyncio
import socket
import time

from hanse.core.time import US_PER_S


class TcpDialer:
    """Times how long connections take to stand."""

    async def connect_us(self, address: str, timeout_us: int) -> int | None:
        """Microseconds from the first packet to the answer; None if nobody answered in time or the address is none."""
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_us / US_PER_S):
                # Names are looked up before the time runs.
                found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
                family, kind, protocol, _, target = found[0]
                with socket.socket(family, kind, protocol) as wire:
                    wire.setblocking(False)
                    begun = time.monotonic_ns()
                    await loop.sock_connect(wire, target)
                    return (time.monotonic_ns() - begun) // 1_000
        except (OSError, ValueError, OverflowError, UnicodeError):
            return None
