"""Start a fabric, lead through the steps, stop everything. `options -> exit code`.

Whatever happens, what was started is stopped: `running_fabric` owns the processes, and this module leaves its block
on failure and on Ctrl-C alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from hanse.adapters.componentize import default_cache_dir
from hanse.app.cli.session import console as console_on
from hanse.app.client import Client
from hanse.app.context import context_path, read_context
from hanse.app.examples import fabric_file
from hanse.app.local import LocalFabric, running_fabric
from hanse.app.render.style import table
from hanse.app.tour import (
    step1_deploy,
    step2_explain,
    step3_call,
    step4_refuse,
    step5_kill,
    step6_control,
    step7_island,
    step8_receipt,
)
from hanse.app.tour.stage import Stage
from hanse.core.errors import HanseError

T = TypeVar("T")

STEPS: tuple[tuple[int, Callable[[Stage], Awaitable[None]]], ...] = (
    (1, step1_deploy.run),
    (2, step2_explain.run),
    (3, step3_call.run),
    (4, step4_refuse.run),
    (5, step5_kill.run),
    (6, step6_control.run),
    (7, step7_island.run),
)
FIRST, LAST = 1, 8
WIDEST = 120
"""Columns at most: sentences longer than that are hard to read."""


class TourEnded(HanseError):
    """Raised when the fabric ends under the tour: a signal, or a process that does not stay up."""

    code = "tour.ended"


def run_tour(*, state: Path | None, keep: bool, pause: bool, only: Sequence[int] = ()) -> int:
    """Take the tour. `state` None: a fresh directory that is removed afterwards. Returns 0, or 130 when interrupted.

    Raises TourFailed, and whatever keeps a fabric from starting.
    """
    console = console_on(is_stderr=False)
    console.width = min(console.width, WIDEST)
    with _place(state, console) as folder:
        try:
            asyncio.run(_tour(folder, console, keep=keep, pause=pause, only=only))
        except KeyboardInterrupt:
            return _interrupted(console)
        except HanseError as error:
            if error.code == "process.interrupted" or "stopped by SIG" in error.message:
                return _interrupted(console)
            raise
    return 0


async def _tour(folder: Path, console: Console, *, keep: bool, pause: bool, only: Sequence[int]) -> None:
    began = time.monotonic()
    console.print(Text("hanse: the tour. Every line comes from processes that run on this machine now.", style="bold"))

    def say(text: str) -> None:
        # What a dead process logged last comes along; it stands in its log, and here its end was meant.
        console.print(Text(f"  {text.splitlines()[0]}", style="dim"))

    async with running_fabric(folder, fabric_file(), is_restarting_nodes=False, say=say) as fabric:
        with Client(read_context(context_path(folder, None))) as client:
            stage = Stage(fabric=fabric, client=client, console=console, state=folder)
            stage.measured("start of the fabric", f"{time.monotonic() - began:.1f} s")
            say(f"{len(fabric.nodes)} nodes are up after {time.monotonic() - began:.1f} s")
            proof = await _unless_ended(fabric, _lead(stage, only, is_pausing=pause))
            if keep:
                if proof is not None:
                    await step8_receipt.verify(stage, proof, is_stopped=False)
                _summary(stage, began)
                await _keep(stage)
                return
        say("stopping the fabric")
    if proof is not None:
        await step8_receipt.verify(stage, proof, is_stopped=True)
    _summary(stage, began)


async def _lead(stage: Stage, only: Sequence[int], *, is_pausing: bool) -> step8_receipt.Exported | None:
    """Take the steps that need a running fabric; the value is what the last one verifies without it."""
    for number, step in STEPS:
        if only and number not in (FIRST, *only):
            continue
        await step(stage)
        if is_pausing and stage.console.is_terminal:
            await stage.ask(stage.console.input, "[dim]Enter goes on [/dim]")
    return None if only and LAST not in only else await step8_receipt.export(stage)


async def _unless_ended(fabric: LocalFabric, leading: Coroutine[Any, Any, T]) -> T:
    """Take the steps, unless a signal or a process that was given up ends the fabric first. Raises TourEnded."""
    steps = asyncio.ensure_future(leading)
    ended = asyncio.ensure_future(fabric.supervisor.wait())
    try:
        await asyncio.wait((steps, ended), return_when=asyncio.FIRST_COMPLETED)
        if not steps.done():
            raise TourEnded(f"the fabric ended under the tour: {ended.result()}")
        return await steps
    finally:
        steps.cancel()
        ended.cancel()
        await asyncio.gather(steps, ended, return_exceptions=True)


async def _keep(stage: Stage) -> None:
    state = stage.state
    stage.console.print(f"the fabric goes on; in another shell: hanse --help, with HANSE_STATE={state}", markup=False)
    for process in stage.fabric.nodes.values():
        stage.console.print(f"  {process.node.id}  {process.url}", markup=False)
    stage.console.print("Ctrl-C stops it", markup=False)
    await stage.fabric.supervisor.wait()


def _interrupted(console: Console) -> int:
    console.print(Text("interrupted; everything that was started is stopped", style="yellow"))
    return 130


def _summary(stage: Stage, began: float) -> None:
    console = stage.console
    console.print()
    console.print(Rule(Text("Measured", style="bold"), align="left", style="dim"))
    made = table("STEP", "WHAT", "MEASURED", right=("STEP", "MEASURED"))
    for number, what, value in stage.figures:
        made.add_row(str(number or ""), what, value)
    made.add_row("", "the whole tour", f"{time.monotonic() - began:.1f} s")
    console.print(made)
    console.print()
    console.print(Text("every promise was kept; everything that was started is stopped", style="green"))


@contextlib.contextmanager
def _place(state: Path | None, console: Console) -> Iterator[Path]:
    """The state directory: the one given, or a fresh one that goes when all went well.

    A short path, because sockets lie in it; compiled components go to the user's cache: the second tour is warm.
    """
    if state is not None:
        state.mkdir(parents=True, exist_ok=True)
        yield state
        return
    folder = Path(tempfile.mkdtemp(prefix="hanse-demo-"))
    cache = default_cache_dir() / "engine"
    cache.mkdir(parents=True, exist_ok=True)
    (folder / "cache").symlink_to(cache, target_is_directory=True)
    try:
        yield folder
    except BaseException:
        console.print(Text(f"logs and state are kept in {folder}", style="yellow"))
        raise
    shutil.rmtree(folder, ignore_errors=True)
