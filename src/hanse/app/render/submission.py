"""What a deployment does, or would do: each document, where its work goes, what it costs before and after.

`Submission -> text`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from hanse.app.render import quantities as q
from hanse.app.render.explanation import refusal, why_not
from hanse.app.render.style import FAINT, GOOD, WARN, heading, line, stack, table, word
from hanse.control.views import Submission, WorkloadChange


def submission(of: Submission) -> Group:
    """One row per document, then the work of others that would move, warnings, and refusals with their reasons."""
    parts: list[RenderableType] = [_changes(of.changes)]
    if of.moved:
        parts += [Text(), heading("Also moves"), _changes(of.moved)]
    parts += [line(Text(f"{one.outcome.value}: {one.title} ({one.id}): {one.why}")) for one in of.proofs]
    parts += [line(Text(f"warning: {text}", style=WARN)) for text in of.warnings]
    for change in of.changes:
        if change.action == "refuse":
            parts += [Text(), refused(change)]
    if of.is_dry_run:
        verdict = "it would be accepted" if of.is_accepted else "it would be refused as a whole"
        parts += [Text(), Text(f"dry run: {verdict}; nothing was changed", style=FAINT)]
    return stack(*parts)


def refused(change: WorkloadChange) -> Group:
    """Why one document may run nowhere."""
    unplaced = change.unplaced
    candidates = () if change.explanation is None else change.explanation.candidates
    return stack(
        heading(f"{change.document} may run nowhere"),
        None if unplaced is None else refusal(unplaced),
        why_not(candidates) if unplaced is None or not unplaced.reasons else None,
    )


def _changes(changes: Sequence[WorkloadChange]) -> RenderableType:
    made = table("DOCUMENT", "ACTION", "NODES", "COST/MONTH", "CO2e/MONTH", "LATENCY")
    for change in changes:
        made.add_row(
            change.document,
            word(change.action),
            nodes_difference(change.before, change.after),
            _difference(q.euros, change.money_microeur_month_before, change.money_microeur_month_after),
            _difference(q.carbon, change.carbon_ug_month_before, change.carbon_ug_month_after),
            q.latency(change.latency_us_after),
        )
    return made


def nodes_difference(before: Sequence[str], after: Sequence[str]) -> Text:
    """``berlin-1 -dublin-1 +lyon-1``: kept, left, new, each in name order."""
    if not before and not after:
        return Text(q.NOTHING)
    words = [(name, "") for name in sorted(set(before) & set(after))]
    words += [(f"-{name}", WARN) for name in sorted(set(before) - set(after))]
    words += [(f"+{name}", GOOD) for name in sorted(set(after) - set(before))]
    return Text(" ").join(Text(text, style=style) for text, style in words)


def _difference(spell: Callable[[int], str], before: int, after: int) -> str:
    was, will = spell(before), spell(after)
    if before == after:
        return was if after else q.NOTHING
    return f"{was} -> {will}" if before else will
