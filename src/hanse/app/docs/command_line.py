"""The reference of the command line, from the commands' own signatures and docstrings. `typer app -> Markdown`."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer
from typer.models import ArgumentInfo, CommandInfo, OptionInfo

from hanse.app.cli.exits import MEANING
from hanse.app.cli.root import app

_CLI_HEAD = """# Command line

Every command answers on stdout: a table for people, or with `--output json` exactly one JSON document (one per line
where the answer is a stream). Progress, hints and errors go to stderr. Colours vanish with `NO_COLOR` and in pipes.
`HANSE_DEBUG=1` shows the traceback of a failure. `hanse --install-completion` sets up completion for your shell. This
page is generated from the code.
"""


def cli_markdown() -> str:
    """The reference of the command line: exit codes, then every command with its arguments and options."""
    parts = [_CLI_HEAD, "## Exit codes\n", "| code | meaning |", "|---|---|"]
    parts += [f"| {int(code)} | {meaning} |" for code, meaning in MEANING.items()]
    parts.append("")
    for name, command in _commands(app, "hanse"):
        parts.append(_command_markdown(name, command))
    return "\n".join(parts).rstrip() + "\n"


def _commands(of: typer.Typer, prefix: str) -> Iterator[tuple[str, CommandInfo]]:
    for command in of.registered_commands:
        if not command.hidden and command.callback is not None:
            yield f"{prefix} {command.name or command.callback.__name__}", command
    for group in of.registered_groups:
        if group.hidden is not True and group.typer_instance is not None:
            yield from _commands(group.typer_instance, f"{prefix} {group.name}")


def _command_markdown(name: str, command: CommandInfo) -> str:
    callback = command.callback
    if callback is None:
        return ""
    rows: list[tuple[str, str, str]] = []
    arguments: list[str] = []
    for info, kind, default, parameter in _parameters(callback):
        if info.hidden:
            continue
        if isinstance(info, ArgumentInfo):
            shown = parameter.upper()
            arguments.append(shown if default is ... else f"[{shown}]")
            rows.append((f"`{shown}`", info.help or "", _default_text(default)))
        else:
            rows.append((_spelling(info, parameter, kind), _option_help(info, kind), _default_text(default)))
    usage = " ".join([name, *arguments, "[OPTIONS]"])
    lines = [f"## {name}\n", f"```\n{usage}\n```\n", inspect.cleandoc(callback.__doc__ or ""), ""]
    if rows:
        lines += ["| argument or option | meaning | default |", "|---|---|---|"]
        lines += [f"| {spelling} | {_cell(meaning)} | {default} |" for spelling, meaning, default in rows]
        lines.append("")
    return "\n".join(lines)


def _parameters(callback: Any) -> Iterator[tuple[ArgumentInfo | OptionInfo, Any, Any, str]]:
    hints = typing.get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, *extras = typing.get_args(hints[name])
        info = next((extra for extra in extras if isinstance(extra, ArgumentInfo | OptionInfo)), None)
        if info is not None:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            yield info, kind, default, name


def _spelling(info: OptionInfo, parameter: str, kind: Any) -> str:
    dashed = parameter.replace("_", "-")
    # Typer keeps the first name in `default` where the option stands in an annotation.
    first = [info.default] if isinstance(info.default, str) else []
    spelled = [*first, *(info.param_decls or ())] or [f"--{dashed}/--no-{dashed}" if kind is bool else f"--{dashed}"]
    return ", ".join(f"`{one}`" for one in spelled)


def _option_help(info: OptionInfo, kind: Any) -> str:
    said = info.help or ""
    plain = next(
        (one for one in (kind, *typing.get_args(kind)) if isinstance(one, type) and issubclass(one, Enum)), None
    )
    if plain is not None:
        said += f" One of {', '.join(f'`{one.value}`' for one in plain)}."
    if info.envvar:
        said += f" Environment: `{info.envvar}`."
    return said


def _default_text(default: Any) -> str:
    match default:
        case builtins_ellipsis if builtins_ellipsis is ...:
            return "required"
        case None | "" | False:
            return ""
        case True:
            return "yes"
        case Enum():
            return f"`{default.value}`"
        case _:
            return f"`{default}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
