"""Entries of the ledger for people: one line each, or one whole. `decoded entries -> text`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.syntax import Syntax

from hanse.app.render.quantities import moment
from hanse.app.render.style import table

_TIMES = ("created_us", "issued_us", "effective_us", "accepted_us", "at_us", "since_us", "joined_us")
_SUBJECTS = ("plan", "instance", "workload", "node", "subject", "name", "target")


def entries(of: Iterable[Mapping[str, Any]]) -> RenderableType:
    """One row per entry: its number, when, what kind, about what."""
    made = table("ENTRY", "TIME", "KIND", "ABOUT", "WHY", right=("ENTRY",))
    for one in of:
        body = _body(one)
        about = str(one.get("subject", "")) or _about(body)
        made.add_row(str(one.get("index", "")), _time(body), str(one.get("kind", "")), about, _why(body))
    return made


def entry(one: Mapping[str, Any]) -> RenderableType:
    """One entry as indented JSON."""
    text = msgspec.json.format(msgspec.json.encode(one), indent=2).decode()
    return Syntax(text, "json", background_color="default", word_wrap=True)


def _body(one: Mapping[str, Any]) -> Mapping[str, Any]:
    body = one.get("body", one.get("predicate", one))
    return body if isinstance(body, Mapping) else one


def _time(body: Mapping[str, Any]) -> str:
    at = next((body[name] for name in _TIMES if isinstance(body.get(name), int)), None)
    return "" if at is None else moment(at)


def _about(body: Mapping[str, Any]) -> str:
    return " ".join(str(body[name]) for name in _SUBJECTS if isinstance(body.get(name), str))


def _why(body: Mapping[str, Any]) -> str:
    return str(next((body[name] for name in ("trigger", "reason", "action") if body.get(name)), ""))
