"""Secrets as tables: versions, holders, advice. `views -> Table`. There is no value in a view."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hanse.app.render import quantities as q
from hanse.app.render.style import heading, pairs, stack, table
from hanse.control.secrets import HolderView, SecretView
from hanse.core.time import WallTime, rfc3339


def listed(views: Sequence[SecretView]) -> Table:
    """One row per secret."""
    made = table("SECRET", "VERSION", "SET", "READERS", "USED BY", "TOLD", "ADVICE", fold=("ADVICE",))
    for view in views:
        made.add_row(
            view.id,
            q.NOTHING if view.version is None else str(view.version),
            _time(view.set_us),
            ", ".join(view.readers) or "its namespace",
            ", ".join(view.used_by) or q.NOTHING,
            str(len(view.holders)),
            view.advice or q.NOTHING,
        )
    return made


def detail(view: SecretView) -> Group:
    """Everything that may be seen of one secret."""
    parts: list[RenderableType] = [
        pairs(
            ("secret", view.id),
            ("about", view.about),
            ("readers", ", ".join(view.readers) or "every workload of its namespace"),
            ("used by", ", ".join(view.used_by) or q.NOTHING),
            ("lease", f"{view.lease_us // 60_000_000} min"),
            ("version", q.NOTHING if view.version is None else f"{view.version}, set {_time(view.set_us)}"),
            ("advice", view.advice or q.NOTHING),
        )
    ]
    if view.holders:
        made = table("NODE", "VERSIONS", "FOR", "LAST", "STANDING")
        for holder in view.holders:
            made.add_row(
                holder.node,
                ", ".join(map(str, holder.versions)),
                ", ".join(holder.workloads),
                _time(holder.last_us),
                _standing(holder),
            )
        parts += [Text(), heading("Told to"), made]
    return stack(*parts)


def _standing(holder: HolderView) -> str:
    if holder.is_exposed:
        return "revoked: exposed"
    return "revoked" if holder.is_revoked else "trusted"


def _time(at: WallTime | None) -> str:
    return q.NOTHING if at is None else rfc3339(at)
