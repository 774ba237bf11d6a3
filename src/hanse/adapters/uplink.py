"""A cable that can be pulled: a TCP relay between one node and the substrate, with a switch.

`node <-> Uplink <-> nats-server`. While cut, existing connections are reset and new ones are closed at once, as with a
dead link behind a live interface. It copies bytes and knows no protocol; TLS passes through it end to end.

Its switch is a Unix-domain socket that only its owner may open; another process writes one line and reads one:
``cut`` -> ``ok cut``, ``restore`` -> ``ok linked``, ``status`` -> ``ok cut`` or ``ok linked``, else ``error ...``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

from hanse.core.errors import HanseError, invariant

CHUNK_BYTES = 65_536
MAX_LINE_BYTES = 64
CONTROL_TIMEOUT_S = 5.0
SOCKET_PATH_BYTES = 107
"""``sun_path`` on Linux holds 108 bytes, one of them the final zero."""


class UplinkError(HanseError):
    """Raised when a relay's switch cannot be reached, or answers with an error."""

    code = "uplink.unreachable"


class Uplink:
    """One relay. Make it with `start`; close it with `close`."""

    def __init__(self, target: tuple[str, int], control: Path | None) -> None:
        self._target = target
        self._control_path = control
        self._is_cut = False
        self._relay: asyncio.Server | None = None
        self._control: asyncio.Server | None = None
        self._relaying: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @classmethod
    async def start(
        cls, target: tuple[str, int], *, listen: tuple[str, int] = ("127.0.0.1", 0), control: Path | None = None
    ) -> Uplink:
        """Relay from `listen` (port 0: of the system's choice) to `target`; open the switch at `control`.

        A stale socket file at `control` is replaced. Raises OSError if an address is in use, UplinkError
        ``uplink.path`` if the path is over 107 bytes.
        """
        uplink = cls(target, control)
        if control is not None:
            uplink._control = await asyncio.start_unix_server(
                uplink._serve_switch, sock=_bind_switch(control), limit=MAX_LINE_BYTES
            )
        try:
            uplink._relay = await asyncio.start_server(uplink._relay_one, *listen)
        except BaseException:
            await uplink.close()
            raise
        return uplink

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that the relay listens on."""
        invariant(self._relay is not None, "the relay is closed")
        assert self._relay is not None  # noqa: S101 - for the type checker; the line above stays on
        host, port = self._relay.sockets[0].getsockname()[:2]
        return host, port

    @property
    def is_cut(self) -> bool:
        """Tell whether the cable is pulled."""
        return self._is_cut

    def cut(self) -> None:
        """Pull the cable: reset what is connected, refuse what comes."""
        self._is_cut = True
        for task, inbound in self._relaying.items():
            _reset(inbound)
            task.cancel()

    def restore(self) -> None:
        """Plug the cable in again; clients reconnect by themselves."""
        self._is_cut = False

    async def close(self) -> None:
        """Stop relaying and remove the switch."""
        servers = [server for server in (self._relay, self._control) if server is not None]
        for server in servers:
            server.close()
        tasks = list(self._relaying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in servers:
            await server.wait_closed()
        self._relay = self._control = None
        if self._control_path is not None:
            self._control_path.unlink(missing_ok=True)

    async def _relay_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            _reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio serves each connection in a task
        self._relaying[task] = writer
        try:
            with contextlib.suppress(OSError):
                await self._connect_and_copy(reader, writer)
        except asyncio.CancelledError:
            # Only `cut` and `close` cancel; the stream protocol would log a cancelled handler as a failure.
            pass
        finally:
            del self._relaying[task]
            writer.close()

    async def _connect_and_copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        out_reader, out_writer = await asyncio.open_connection(*self._target)
        try:
            copying = [
                asyncio.create_task(_copy(reader, out_writer)),
                asyncio.create_task(_copy(out_reader, writer)),
            ]
            try:
                await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in copying:
                    task.cancel()
                await asyncio.gather(*copying, return_exceptions=True)
        finally:
            out_writer.close()

    async def _serve_switch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONTROL_TIMEOUT_S):
                line = await reader.readline()
                writer.write(self._obey(line.decode("ascii", "replace").strip()).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            # The asker is gone, silent or babbling: its line is lost, the switch stays as it is.
            pass
        finally:
            writer.close()

    def _obey(self, order: str) -> str:
        match order:
            case "cut":
                self.cut()
            case "restore":
                self.restore()
            case "status":
                pass
            case _:
                return "error unknown order; one of: cut, restore, status"
        return "ok cut" if self._is_cut else "ok linked"


async def switch_uplink(control: Path, order: str) -> bool:
    """Send `order` (``cut``, ``restore``, ``status``) to another process's relay; True if it is cut afterwards.

    Raises UplinkError ``uplink.unreachable`` if no relay listens there, ``uplink.refused`` if it does not know `order`.
    """
    try:
        async with asyncio.timeout(CONTROL_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(control)
            try:
                writer.write(order.encode() + b"\n")
                answer = (await reader.readline()).decode("ascii", "replace").strip()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        raise UplinkError(f"no uplink answers at {control}", hint="is `hanse up` running?", retry=True) from error
    if answer not in {"ok cut", "ok linked"}:
        raise UplinkError(f"the uplink refused {order!r}: {answer}", code="uplink.refused")
    return answer == "ok cut"


def _bind_switch(path: Path) -> socket.socket:
    """Bind the switch's socket for its owner alone; nobody can connect before it listens."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise UplinkError(
            f"{path} is too long for a socket",
            code="uplink.path",
            hint=f"use a state directory with a shorter path (sockets take {SOCKET_PATH_BYTES} bytes)",
        )
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(os.fspath(path))
        path.chmod(0o600)
    except BaseException:
        bound.close()
        raise
    return bound


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN, so that the peer sees a broken link and not a polite end."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
