"""Entries of the ledger for people: one line each, or one whole. `decoded entries -> text`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.syntax import Syntax
from rich.text import Text

from hanse.app.render.quantities import moment
from hanse.app.render.style import table
from hanse.control.cosigning import CosigningView
from hanse.control.known_logs import LogView
from hanse.control.mirror import MirroredView
from hanse.control.mirroring import MirroringView
from hanse.control.state_anchor import StateHealth

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


def state_health(of: StateHealth) -> RenderableType:
    """The store against its last anchor."""
    if of.anchored_us is None:
        return Text("the state was not anchored yet")
    lines = [f"{one.bucket}/{one.key} {one.message}" for one in of.findings]
    verdict = "DAMAGED" if lines else "nothing lost, nothing changed by itself"
    return Text("\n".join([f"{of.keys} keys anchored {moment(of.anchored_us)}: {verdict}", *lines]))


def cosigning(view: CosigningView) -> RenderableType:
    """Who cosigns a ledger, how far, and what they complain about."""
    lines = [f"entries {_or_none(view.size)}, cosigned {_or_none(view.cosigned_size)}"]
    lines += [f"asks      {url}" for url in view.urls] or ["asks      nobody: see `hanse audit witnesses --use FILE`"]
    lines += [f"cosigned  by {name}" for name in view.cosigners]
    lines += [f"ALARM     {moment(one.at_us)} {one.url}: {one.reason}" for one in view.alarms]
    return Text("\n".join(lines))


def witnessed(logs: Iterable[LogView], keys: Iterable[str]) -> RenderableType:
    """Logs that this domain cosigns, and the keys it does so with."""
    lines = [
        f"log  {one.origin}: {_or_none(one.size)} entries"
        + ("" if one.split_size is None else f"; ALARM: it also signed another history of {one.split_size} entries")
        for one in logs
    ]
    return Text("\n".join([*lines, *(f"key  {key}" for key in keys)]))


def mirroring(view: MirroringView) -> RenderableType:
    """Where copies of a ledger are kept, and how far each is."""
    lines = [f"entries {_or_none(view.size)}"]
    lines += [f"mirror  {one.url}: {_or_none(one.size)} entries, durable there" for one in view.mirrors]
    return Text("\n".join(lines if view.mirrors else [*lines, "mirror  none: see `hanse audit mirrors --use FILE`"]))


def mirrored(logs: Iterable[MirroredView], keys: Iterable[str]) -> RenderableType:
    """Logs that this domain keeps copies of, and the keys it says so with."""
    lines = [
        f"log  {one.log.origin}: {one.size} of {_or_none(one.log.size)} entries, in ledger/{one.folder}"
        + ("" if one.log.split_size is None else f"; ALARM: it also signed another history of {one.log.split_size}")
        for one in logs
    ]
    return Text("\n".join([*lines, *(f"key  {key}" for key in keys)]))


def _or_none(count: int | None) -> str:
    return "none" if count is None else str(count)


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
