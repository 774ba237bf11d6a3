"""Orders to the fabric that another process of this machine runs: `hanse node restart` -> Unix socket -> `hanse up`.

One line of JSON each way. The socket lies in the state directory and is its owner's alone; nothing of this is reachable
from the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from hanse.adapters.handover import SOCKET_PATH_BYTES
from hanse.app.local import LocalFabric
from hanse.core.errors import HanseError
from hanse.core.ids import NodeId

SOCKET = "steer.sock"
ANSWER_S = 90.0
"""A node starts within 30 s or is given up."""


class SteeringError(HanseError):
    """Raised when the fabric of a state directory cannot be steered, or refuses an order."""

    code = "fabric.not_running"


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Restart a node: hot, or ending its process first."""

    restart: str
    is_hot: bool


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What became of an order; an empty code for done."""

    pid: int | None = None
    code: str = ""
    message: str = ""
    hint: str = ""


@contextlib.asynccontextmanager
async def steered(fabric: LocalFabric) -> AsyncIterator[None]:
    """Take orders for a fabric while the block runs."""
    path = fabric.layout.root / SOCKET
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        fabric.say(f"{path} is too long for a socket: `hanse node restart` will not find this fabric")
        yield
        return
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(os.fspath(path))
    path.chmod(0o600)

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            order = await asyncio.wait_for(reader.readline(), ANSWER_S)
            writer.write(msgspec.json.encode(await _carried_out(fabric, order)) + b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(obey, sock=bound)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def _carried_out(fabric: LocalFabric, line: bytes) -> Said:
    try:
        order = msgspec.json.decode(line, type=Order)
        node = NodeId(order.restart)
        if node not in fabric.nodes:
            known = ", ".join(sorted(fabric.nodes))
            return Said(code="not_found", message=f"this fabric runs no node {node}", hint=f"it runs: {known}")
        await (fabric.restart_hot(node) if order.is_hot else fabric.restart(node))
        return Said(pid=fabric.nodes[node].child.pid)
    except ValueError as error:
        return Said(code="order.unreadable", message=str(error), hint="use the same version of hanse for both")
    except HanseError as error:
        return Said(code=error.code, message=error.message, hint=error.hint)


async def steer(state: Path, order: Order) -> Said:
    """Give an order to the fabric of a state directory. Raises SteeringError."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(state / SOCKET)
            try:
                writer.write(msgspec.json.encode(order) + b"\n")
                said = msgspec.json.decode(await reader.readline(), type=Said)
            finally:
                writer.close()
    except (OSError, TimeoutError, msgspec.MsgspecError) as error:
        raise SteeringError(
            f"no fabric takes orders in {state}: {error}", hint="is `hanse up` running there?", retry=True
        ) from error
    if said.code:
        raise SteeringError(said.message, code=said.code, hint=said.hint)
    return said
