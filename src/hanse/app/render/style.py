"""The look: few colours with one meaning each, tables without boxes.

Colours vanish with NO_COLOR and in pipes; no meaning is theirs alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

GOOD, WARN, BAD, FAINT, STRONG = "green", "yellow", "red", "dim", "bold"

CHOSEN, FEASIBLE, RULED_OUT = "●", "○", "✕"

_STYLE_OF = {
    "ready": GOOD, "running": GOOD, "succeeded": GOOD, "waiting": FAINT, "paused": FAINT, "ok": GOOD, "create": GOOD,
    "suspect": WARN, "draining": WARN, "starting": WARN, "degraded": WARN, "loading": WARN, "pending": WARN,
    "update": WARN, "move": WARN, "deleting": WARN, "warn": WARN, "over": BAD,
    "unreachable": BAD, "revoked": BAD, "unplaced": BAD, "failed": BAD, "refused": BAD, "refuse": BAD,
    "stopped": FAINT, "unchanged": FAINT,
}  # fmt: skip


def line(text: Text | str, *, indent: int = 0) -> Padding:
    """Text under an indent of its own, also where a narrow terminal folds it."""
    return Padding(Text(text) if isinstance(text, str) else text, (0, 0, 0, indent), expand=False)


def word(text: str) -> Text:
    """A status word in the colour of its meaning."""
    return Text(text, style=_STYLE_OF.get(text, ""))


def table(*columns: str, right: Sequence[str] = (), fold: Sequence[str] = ()) -> Table:
    """An empty table: bold heads, two spaces between, numbers to the right; where width is short, `fold` gives."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=STRONG, show_edge=False)
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column not in fold,
            overflow="fold" if column in fold else "ellipsis",
        )
    return made


def heading(text: str) -> Text:
    """A heading within an answer."""
    return Text(text, style=STRONG)


def pairs(*rows: tuple[str, RenderableType]) -> Table:
    """Names and values below each other."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style=FAINT, no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, value)
    return made


def stack(*parts: RenderableType | None) -> Group:
    """Parts below each other; None is left out."""
    return Group(*(part for part in parts if part is not None))
