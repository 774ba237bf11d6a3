"""Hot restart: listening sockets pass from one process of a node to the next by a Unix socket (SCM_RIGHTS, unix(7)).

`old process: asked -> quiet -> sockets given -> "serving" -> it drains and ends`. The successor asks before it opens
the node's disk, so that there is one writer at any time; it accepts clients only once its work is loaded. Until it says
so, the old engine goes on serving; if it fails, the old process takes the node up again. Only a process of the same
user is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

import structlog

from hanse.core.errors import HanseError

log = structlog.get_logger("node")

SOCKET: Final = "handover.sock"
"""Within the node's own directory."""
SOCKET_PATH_BYTES: Final = 107
"""Longest path of a Unix socket on Linux."""
GIVEN: Final = b"sockets\n"
SERVING: Final = b"serving\n"
LOAD_S: Final = 60.0
"""How long a successor may take to load its work; a cold compile of ten large components."""
ASK_S: Final = 30.0
"""How long the old process may take to fall quiet."""


class HandoverError(HanseError):
    """Raised when sockets cannot be handed over: nobody gives them, or the successor failed."""

    code = "handover.failed"
    retry = True


class Giver:
    """The old process's side. Use as ``async with``."""

    def __init__(self, path: Path, sockets: Callable[[], tuple[int, int]]) -> None:
        self._path = path
        self._sockets = sockets
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._asking: socket.socket | None = None
        self._is_open = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # The path may be the successor's by now: it stays, and who comes next replaces it.
        self._close_asking()
        self._listening.close()

    def open(self) -> None:
        """Let successors ask from now on; to be called once this process serves. Again, nothing happens."""
        if self._is_open:
            return
        if len(os.fsencode(self._path)) > SOCKET_PATH_BYTES:
            # The node serves all the same; it cannot be restarted hot.
            log.warning("handover.no_socket", path=str(self._path), reason="the path is too long for a socket")
            return
        # Whoever bound it before has ended, or gave its place to this process.
        self._path.unlink(missing_ok=True)
        self._listening.setblocking(False)
        self._listening.bind(os.fspath(self._path))
        self._path.chmod(0o600)
        self._listening.listen(1)
        self._is_open = True

    async def asked(self) -> None:
        """Wait until a successor asks."""
        if not self._is_open:
            await asyncio.get_running_loop().create_future()
        while True:
            asking, _ = await asyncio.get_running_loop().sock_accept(self._listening)
            asking.setblocking(False)
            if _peer_user(asking) == os.getuid():
                self._close_asking()
                self._asking = asking
                return
            asking.close()

    async def give(self) -> bool:
        """Give the sockets away; True once the successor serves, False if it failed."""
        asking = self._asking
        if asking is None:
            return False
        try:
            async with asyncio.timeout(LOAD_S):
                # A few bytes on a fresh socket: there is room for them.
                socket.send_fds(asking, [GIVEN], list(self._sockets()))
                return await _line(asking) == SERVING
        except (OSError, TimeoutError) as error:
            log.warning("handover.successor_failed", reason=str(error))
            return False
        finally:
            self._close_asking()

    def _close_asking(self) -> None:
        if self._asking is not None:
            self._asking.close()
            self._asking = None


class Taker:
    """The new process's side, from asking until it serves."""

    def __init__(self, connection: socket.socket, sockets: tuple[int, int]) -> None:
        self._connection = connection
        self.sockets = sockets
        """Descriptors of front and mesh; whoever listens on them closes them."""

    async def serving(self) -> None:
        """Tell the old process that this one serves. Raises HandoverError if it has gone meanwhile."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._connection, SERVING)
        except OSError as error:
            raise HandoverError(f"the process that gave its sockets has gone: {error}") from error
        finally:
            self._connection.close()


async def take(folder: Path) -> Taker | None:
    """Ask the process that runs the node in `folder` for its sockets; None if none runs there.

    Returns when it has fallen quiet: from then on its disk is this process's. Raises HandoverError.
    """
    loop = asyncio.get_running_loop()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        async with asyncio.timeout(ASK_S):
            try:
                await loop.sock_connect(connection, os.fspath(folder / SOCKET))
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                return None
            readable = asyncio.Event()
            loop.add_reader(connection, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(connection)
            said, descriptors, _, _ = socket.recv_fds(connection, len(GIVEN), 2)
    except (OSError, TimeoutError) as error:
        connection.close()
        raise HandoverError(f"the node's running process does not give its sockets: {error}") from error
    if said != GIVEN or len(descriptors) != 2:
        for descriptor in descriptors:
            os.close(descriptor)
        connection.close()
        raise HandoverError("the node's running process gave no sockets")
    for descriptor in descriptors:
        # Received ones would reach every program that this process starts.
        os.set_inheritable(descriptor, False)
    return Taker(connection, (descriptors[0], descriptors[1]))


def _peer_user(connection: socket.socket) -> int:
    """The user at the other end (SO_PEERCRED, unix(7))."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)


async def _line(connection: socket.socket) -> bytes:
    loop, line = asyncio.get_running_loop(), b""
    while not line.endswith(b"\n") and len(line) < len(SERVING):
        with contextlib.suppress(BlockingIOError):
            piece = await loop.sock_recv(connection, len(SERVING) - len(line))
            if not piece:
                break
            line += piece
    return line
