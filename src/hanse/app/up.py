"""`hanse up`: a local fabric in the foreground until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from hanse.app.access_file import read_access
from hanse.app.local import LocalFabric, running_fabric
from hanse.app.options import PLAIN_FRONT, FrontOptions
from hanse.app.steering import steered
from hanse.core.errors import HanseError
from hanse.core.ids import NodeId


def up(
    state: Path,
    fabric_file: Path,
    controllers: int,
    latency_table: Path | None = None,
    *,
    access: Path | None = None,
    front: FrontOptions = PLAIN_FRONT,
    has_tpms: bool = False,
    attest_us: int | None = None,
) -> int:
    """Start, print the addresses, wait for a signal, stop everything. Returns the exit code."""
    if access is not None:
        read_access(access)  # what is wrong with it is told here, not in a controller's log
    fabric = running_fabric(
        state,
        fabric_file,
        controllers=controllers,
        latency_table=latency_table,
        access=access,
        front=front,
        has_tpms=has_tpms,
        attest_us=attest_us,
        say=say,
    )
    return asyncio.run(_up(fabric))


async def _up(starting: AbstractAsyncContextManager[LocalFabric]) -> int:
    async with starting as fabric:
        print_addresses(fabric)
        async with steered(fabric):
            reason = await fabric.supervisor.wait()
    say(reason)
    return 0 if reason.startswith("stopped") else 1


def say(line: str) -> None:
    """One line of progress on standard error."""
    sys.stderr.write(f"  {line}\n")
    sys.stderr.flush()


def print_addresses(fabric: LocalFabric) -> None:
    """Where everything answers, as plain lines: people copy them."""
    print(f"domain     {fabric.domain.name}")
    for url in fabric.api_urls:
        print(f"api        {url}/api/v1/docs")
    for name, process in sorted(fabric.nodes.items()):
        print(f"front      {process.url}  {name} ({process.node.site}, {process.node.tier.value})")
    print("Ctrl-C stops all of it; another terminal may use `hanse`", flush=True)


def set_cable(state: Path, node: str, is_linked: bool) -> None:
    """Pull or plug a node's cable in a fabric that another process runs. Raises HanseError ``uplink.unreachable``."""
    from hanse.adapters.uplink import switch_uplink
    from hanse.app.layout import Layout

    folder = Layout(state).node(NodeId(node))
    if not folder.exists():
        raise NoSuchNode(f"no node {node} in {state}", hint="see `hanse get nodes`")
    asyncio.run(switch_uplink(folder / "uplink.sock", "restore" if is_linked else "cut"))


class NoSuchNode(HanseError):
    """Raised when a node is named that this machine's fabric does not have."""

    code = "not_found"
