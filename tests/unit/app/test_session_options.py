"""Every command that answers takes the same options for where the fabric is and how to answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer.main

from hanse.app.cli.root import app
from hanse.app.cli.session import Output, Session, fabric_command

FOREGROUND = {"hanse up", "hanse demo", "hanse node join", "hanse node run", "hanse controller run"}
"""These print what happens until they end; there is no answer."""
MODEL = {
    "state": ("--state", "HANSE_STATE"),
    "context": ("--context", "HANSE_CONTEXT"),
    "token": ("--token", "HANSE_TOKEN"),
    "output": ("--output", "HANSE_OUTPUT"),
}


def _commands(group: object, name: str) -> Iterator[tuple[str, object]]:
    for key, one in sorted(getattr(group, "commands", {}).items()):
        if hasattr(one, "commands"):
            yield from _commands(one, f"{name} {key}")
        else:
            yield f"{name} {key}", one


COMMANDS = dict(_commands(typer.main.get_command(app), "hanse"))


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - FOREGROUND))
def test_every_answer_can_be_had_as_json_and_no_option_differs(name: str) -> None:
    options = {one.name: one for one in COMMANDS[name].params}  # type: ignore[attr-defined]
    if not name.startswith("hanse twin"):
        assert "output" in options
    assert "context" not in options or "state" in options
    for key, (spelling, variable) in MODEL.items():
        if key in options:
            assert (options[key].opts[0], options[key].envvar) == (spelling, variable)
            assert options[key].help == COMMANDS["hanse status"].params[list(MODEL).index(key)].help  # type: ignore[attr-defined]


def test_a_command_gets_one_session_and_its_own_arguments() -> None:
    seen: list[tuple[str, Session]] = []

    @fabric_command
    def ask(*, name: str = "x", session: Session) -> None:
        seen.append((name, session))

    app = typer.Typer()
    app.command()(ask)
    app(["--name", "y", "-o", "json", "--state", "elsewhere"], standalone_mode=False)
    ((name, session),) = seen
    assert (name, session.output, str(session.state), session.context) == ("y", Output.JSON, "elsewhere", None)
