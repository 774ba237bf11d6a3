"""A real substrate for tests: one nats-server, links to it, and a wire in front of it that can be cut.

A test takes the session fixture `nats` and names its buckets and subjects with `unique`, or starts a server of its own
with `hanse.adapters.nats_server.NatsServer` where it kills it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from hanse.adapters.nats_link import LinkConfig, NatsLink
from hanse.adapters.nats_server import die_with, server_binary, server_config
from hanse.core.time import US_PER_MS, US_PER_S

_numbers = itertools.count()


def unique(name: str) -> str:
    """A label that no other test of any worker uses."""
    return f"{name}-{os.getpid()}-{next(_numbers)}"


def link_config(port: int, name: str = "test") -> LinkConfig:
    """Short waits between attempts, so that tests of lost links are quick; long ones for answers of a busy machine."""
    return LinkConfig(
        urls=(f"nats://127.0.0.1:{port}",),
        name=name,
        connect_timeout_us=10 * US_PER_S,
        request_timeout_us=60 * US_PER_S,
        backoff_min_us=5 * US_PER_MS,
        backoff_max_us=50 * US_PER_MS,
        ping_interval_us=10 * US_PER_S,
    )


@contextmanager
def held_port() -> Iterator[int]:
    """A port that nobody else is given while the block lasts, whether anything listens on it or not.

    Bound here without listening: a server that sets SO_REUSEADDR, as all of ours do, may listen on it all the same.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@asynccontextmanager
async def linked(port: int, name: str = "test") -> AsyncIterator[NatsLink]:
    """A connected link, stopped at the end."""
    async with NatsLink(link_config(port, name), rng=random.Random(name)) as link:
        await link.wait_connected(60 * US_PER_S)
        yield link


class NatsFixture:
    """One nats-server that outlives the event loops of single tests."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start on a free port and wait until clients are served."""
        run_dir = self._root / "run"
        run_dir.mkdir()
        text = server_config(
            server_name=unique("test"),
            host="127.0.0.1",
            port=0,
            store_dir=str(self._root / "jetstream"),
            run_dir=str(run_dir),
        )
        config = run_dir / "nats-server.conf"
        config.write_text(text)
        self._process = subprocess.Popen(
            [server_binary(), "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with(os.getpid()),  # noqa: PLW1509 - one prctl, no Python state
        )
        ports = run_dir / f"nats-server_{self._process.pid}.ports"
        end = time.monotonic() + 60
        while self.port == 0:
            assert self._process.poll() is None and time.monotonic() < end, "nats-server did not start"
            with contextlib.suppress(FileNotFoundError, ValueError):
                self.port = int(json.loads(ports.read_bytes())["nats"][0].rpartition(":")[2])
            time.sleep(0.005)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=60)


class Wire:
    """A TCP proxy in front of a server: cut it, and connections break and new ones are refused."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._is_cut = False
        self._port = held_port()
        self.port = 0

    async def __aenter__(self) -> Wire:
        self.port = self._port.__enter__()
        await self.heal()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()
        self._port.__exit__(None, None, None)

    async def heal(self) -> None:
        """Carry again, on the same port as before."""
        self._is_cut = False
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Break every connection, those that are still being made too, and accept none."""
        self._is_cut = True
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        if self._is_cut:
            writer.transport.abort()
            up_writer.transport.abort()
            return
        self._writers += [writer, up_writer]
        try:
            # The loop's end cancels this; the stream server would report that as an error.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))
        finally:
            writer.transport.abort()
            up_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
