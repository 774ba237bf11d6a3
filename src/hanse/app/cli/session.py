"""What every command shares: where the fabric is, how to answer, and how to say that something takes time.

stdout carries the answer and nothing else: tables, or with ``--output json`` exactly one JSON document (JSON lines
where the answer is a stream). Progress, hints and errors go to stderr.

A command says by its decorator how far it reaches (`fabric_command`, `local_command`, `plain_command`) and takes the
ready `Session`: the options are written here once, so no command can spell them differently or leave one out.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, wraps
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
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token", envvar="HANSE_TOKEN", show_envvar=True, help="Token to show, in place of whoever signed in here."
    ),
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
    token: str | None = field(default=None, repr=False)
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

    @property
    def context_path(self) -> Path:
        """The context file that is meant."""
        from hanse.app.context import context_path

        return context_path(self.state, self.context)

    def client(self, *, is_anonymous: bool = False) -> Client:
        """A client of the fabric, in the name of ``--token``, of whoever signed in, or of the context's own token.

        Raises ContextError where there is no fabric, LoginError where a sign-in has ended.
        """
        from hanse.app.client import Client
        from hanse.app.context import read_context

        context = read_context(self.context_path)
        return Client(replace(context, token="" if is_anonymous else self._bearer() or context.token))

    def _bearer(self) -> str | None:
        if self.token:
            return self.token
        from hanse.app.credentials import credentials_path, current_bearer

        path = credentials_path(self.context_path)
        return current_bearer(path, time.time_ns() // 1_000) if path.exists() else None

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


def fabric_command(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that asks the API its session: ``--state``, ``--context``, ``--token``, ``--output``."""
    return in_place_of("session", command, Session, _STATE, _CONTEXT, _TOKEN, _OUTPUT)


def local_command(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that works on files of this machine's fabric its session: ``--state``, ``--output``."""
    return in_place_of("session", command, Session, _STATE, _OUTPUT)


def plain_command(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that needs no fabric at all its session: ``--output``."""
    return in_place_of("session", command, Session, _OUTPUT)


_STATE = inspect.Parameter("state", inspect.Parameter.KEYWORD_ONLY, default=DEFAULT_STATE, annotation=StateOption)
_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ContextOption)
_TOKEN = inspect.Parameter("token", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=TokenOption)
_OUTPUT = inspect.Parameter("output", inspect.Parameter.KEYWORD_ONLY, default=Output.TABLE, annotation=OutputOption)


def in_place_of(
    parameter: str, command: Callable[..., None], make: Callable[..., Any], *options: inspect.Parameter
) -> Callable[..., None]:
    """Put `options` in place of one parameter, which `make` makes of them: typer reads the signature that is shown."""
    names = [option.name for option in options]

    @wraps(command)
    def run(**given: Any) -> None:
        made = make(**{name: given.pop(name) for name in names})
        command(**{parameter: made}, **given)

    shown: list[inspect.Parameter] = []
    for one in inspect.signature(command, eval_str=True).parameters.values():
        shown += options if one.name == parameter else (one,)
    run.__signature__ = inspect.Signature(shown, return_annotation=None)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in shown}
    return run


@contextmanager
def progress_step(err: Console, text: str) -> Iterator[Callable[[str], None]]:
    """A spinner with what goes on, on a terminal; elsewhere a line when it begins and one for each change.

    What took over a second is told with its time when it ends.
    """
    began = time.monotonic()
    if err.is_terminal:
        with err.status(text) as status:
            yield status.update
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
