"""The entry of a process that another hanse process starts: `launch file -> controller or node`.

A file instead of a command line: nothing secret shows in the process list, and nothing is imported that the process
does not need.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from hanse.app.options import ControllerOptions, JoinOptions, NodeOptions
from hanse.app.serving import log_to_stderr
from hanse.core.errors import HanseError

TAKE_OVER = "--take-over"
"""Second argument: take the sockets of the process that runs the node now."""


class LaunchController(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="controller", kw_only=True):
    """Run a controller."""

    options: ControllerOptions


class LaunchNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="node", kw_only=True):
    """Run a node; `join` where it has not joined yet."""

    options: NodeOptions
    join: JoinOptions | None


async def _run(launch: LaunchController | LaunchNode, *, takes_over: bool) -> None:
    if isinstance(launch, LaunchController):
        from hanse.app.controller_main import run_controller

        await run_controller(launch.options)
    else:
        from hanse.app.node_main import run_node

        await run_node(launch.options, launch.join, takes_over=takes_over)


def main(path: str, *flags: str) -> int:
    """Run what the file says until a signal comes; returns the exit code. `flags`: `TAKE_OVER` or none."""
    log_to_stderr("info")
    data = Path(path).read_bytes()
    try:
        asyncio.run(_run(msgspec.json.decode(data, type=LaunchController | LaunchNode), takes_over=TAKE_OVER in flags))
    except HanseError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n{error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
