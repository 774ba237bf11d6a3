"""What a change of policy would do, and how packs' own cases came out. `PolicyDiff, CaseResult -> text`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hanse.app.render import quantities as q
from hanse.app.render.explanation import reason_lines
from hanse.app.render.style import BAD, FAINT, GOOD, heading, line, stack, table
from hanse.control.supposing import PackView
from hanse.policy import CaseResult, PolicyDiff, Turn, Uprooted


def diff(of: PolicyDiff) -> Group:
    """What changes, what would have to move or stop, and every verdict that turns."""
    nothing = Text("no verdict turns", style=FAINT) if not of.turns else None
    return stack(
        *(line(change) for change in of.changes),
        Text() if of.changes else None,
        *_uprooted("Would have no legal home", of.stops, BAD),
        *_uprooted("Would have to move", of.moves, "yellow"),
        *_names("Without an allowed node from then on", of.homeless, BAD),
        *_names("With an allowed node at last", of.housed, GOOD),
        *(part for turn in of.turns for part in _turn(turn)),
        nothing,
    )


def cases(results: Sequence[CaseResult]) -> Group:
    """Cases that came out otherwise than written, and the count."""
    wrong = [one for one in results if not one.is_ok]
    parts: list[RenderableType] = []
    for one in wrong:
        parts.append(Text.assemble((f"{one.file}: {one.name}", "bold")))
        parts.append(line(f"written: {one.wanted}", indent=2))
        parts.append(line(f"came out: {one.got}", indent=2))
    tally = f"{q.plural(len(results), 'case')}, {len(wrong)} wrong"
    return stack(*parts, Text(tally, style=BAD if wrong else GOOD))


def packs(views: Sequence[PackView]) -> Table:
    """One row per pack: what it is for and what it does not cover."""
    made = table("PACK", "BASIS", "APPLIES", "ASSURANCE", "AS OF", "RULES", "SCOPE", "NOT COVERED", right=("RULES",),
                 fold=("SCOPE", "NOT COVERED"))  # fmt: skip
    for view in views:
        made.add_row(
            view.name, view.basis, view.applies, view.assurance, view.as_of, str(len(view.rules)),
            Text(view.scope.strip()), Text(view.not_covered.strip()),
        )  # fmt: skip
    return made


def _uprooted(head: str, rows: Sequence[Uprooted], style: str) -> list[RenderableType]:
    if not rows:
        return []
    parts: list[RenderableType] = [Text(head, style=f"bold {style}")]
    for row in rows:
        homes = f"allowed: {_few(row.homes)}" if row.homes else "no node is allowed"
        parts.append(line(f"{row.workload} on {row.node}; {homes}", indent=2))
        parts.extend(reason_lines(row.reasons, indent=4))
    return [*parts, Text()]


def _names(head: str, names: Sequence[str], style: str) -> list[RenderableType]:
    return [Text(head, style=f"bold {style}"), line(_few(names), indent=2), Text()] if names else []


def _turn(turn: Turn) -> list[RenderableType]:
    verdict = Text("becomes allowed" if turn.is_allowed else "becomes denied", style=GOOD if turn.is_allowed else BAD)
    return [
        Text.assemble(heading(_few(turn.workloads)), " on ", heading(_few(turn.nodes)), ": ", verdict),
        *reason_lines(turn.reasons, indent=2),
    ]


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
