"""What every command shares: where the fabric is, how to answer, and how to say that something takes time.

stdout carries the answer and nothing else: tables, or with ``--output json`` exactly one JSON document (JSON lines where the
answer is a stream). Progress, hints and errors go to stderr.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from hanse.app.client import Client

DEFAULT_STATE = Path(".hanse")
WIDE = 240
"""Columns where no terminal says otherwise: pipes and files get whole lines."""


class Output(StrEnum):
    """How a command answers."""

    TABLE = "table"
    JSON = "json"


StateOption = Annotated[
    Path, typer.Option("--state", envvar="HANSE_STATE", help="State directory of the fabric.", file_okay=False)
]
ContextOption = Annotated[
    Path | None,
    typer.Option("--context", envvar="HANSE_CONTEXT", help="Context file of a fabric elsewhere.", dir_okay=False),
]
OutputOption = Annotated[
    Output, typer.Option("--output", "-o", envvar="HANSE_OUTPUT", help="Tables for people, JSON for scripts.")
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait at most.")]


@dataclass(frozen=True, kw_only=True)
class Session:
    """One run of one command."""

    state: Path = DEFAULT_STATE
    context: Path | None = None
    output: Output = Output.TABLE

    @cached_property
    def out(self) -> Console:
        """Where the answer goes."""
        return console(is_stderr=False)

    @cached_property
    def err(self) -> Console:
        """Where everything else goes."""
        return console(is_stderr=True)

    @property
    def is_json(self) -> bool:
        """Whether a script is listening."""
        return self.output is Output.JSON

    def client(self) -> Client:
        """A client of the fabric. Raises ContextError where there is none."""
        from hanse.app.client import Client
        from hanse.app.context import context_path, read_context

        return Client(read_context(context_path(self.state, self.context)))

    def answer(self, view: Any, render: Callable[[], RenderableType]) -> None:
        """Print the one answer of this command: the view itself as JSON, or as `render` shows it."""
        if self.is_json:
            self.document(view)
        else:
            self.out.print(render())

    def document(self, view: Any) -> None:
        """Print one JSON document over several lines."""
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(view), indent=2).decode())

    def line(self, view: Any) -> None:
        """Print one JSON document on one line, as part of a stream."""
        import msgspec

        typer.echo(msgspec.json.encode(view).decode())

    def note(self, text: str) -> None:
        """Say something beside the answer."""
        self.err.print(text, markup=False)

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show that something takes time; the value changes what is shown meanwhile."""
        with progress_step(self.err, text) as say:
            yield say


@contextmanager
def progress_step(err: Console, text: str) -> Iterator[Callable[[str], None]]:
    """A spinner with what goes on, on a terminal; elsewhere a line when it begins and one for each change.

    What took over a second is told with its time when it ends.
    """
    began = time.monotonic()
    if err.is_terminal:
        with err.status(text) as status:
            yield lambda now: status.update(now)
    else:
        last = [text]
        err.print(f"{text} ...", markup=False)

        def say(now: str) -> None:
            if now != last[0]:
                last[0] = now
                err.print(f"{now} ...", markup=False)

        yield say
    took = time.monotonic() - began
    if took >= 1.0:
        err.print(f"{text}: done in {took:.1f} s", markup=False, style="dim")


def console(*, is_stderr: bool) -> Console:
    """A console on stdout or stderr: as wide as the terminal, or wide where there is none."""
    from rich.console import Console

    console = Console(stderr=is_stderr, highlight=False, soft_wrap=False, emoji=False)
    return console if console.is_terminal else Console(stderr=is_stderr, highlight=False, emoji=False, width=WIDE)
