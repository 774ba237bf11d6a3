"""Attestation as tables: what nodes have shown, anchors, reference values. `views -> Table`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hanse.app.attest_files import VerifiedEvidence
from hanse.app.render import quantities as q
from hanse.app.render.style import heading, pairs, stack, table
from hanse.attest import Anchor, Reference
from hanse.control.appraising import AttestedView
from hanse.core.fabric import Attested
from hanse.core.time import WallTime, rfc3339


def attested(views: Sequence[AttestedView], *, with_claims: bool) -> Group:
    """One row per node; with every claim where one node is asked for."""
    made = table("NODE", "ATTESTED", "REFERENCES", "ADVISORIES", "UNTIL", "WHY", fold=("WHY",))
    for view in views:
        made.add_row(view.node, *_row(view))
    parts: list[RenderableType] = [made]
    for view in views if with_claims else ():
        if view.attested is not None:
            claims = {**view.attested.claims, **{f"level {k}": str(v) for k, v in view.attested.levels.items()}}
            parts += [Text(), heading(f"Claims of {view.node}"), pairs(*sorted(claims.items()))]
            parts += [Text(), heading("AR4SI"), pairs(*((k, str(v)) for k, v in view.attested.vector.items()))]
    return stack(*parts)


def summary(of: Attested | None, *, has_ended: bool = False) -> str:
    """One line for a page about a node: what is attested, by whom it is endorsed, and until when."""
    if of is None:
        return "nothing"
    ended = "ended " if has_ended else "until "
    matched = f", as {', '.join(of.references)}" if of.references else ""
    why = f": {of.reason}" if of.reason else ""
    return f"{of.label}{matched}, {ended}{rfc3339(WallTime(of.until_us))}{why}"


def verified(found: VerifiedEvidence) -> Group:
    """Evidence from files: what it shows, and what it was bound to."""
    of = found.attested
    head = pairs(
        ("evidence", of.label),
        ("report data", found.report_data),
        ("advisories", ", ".join(of.advisories) or q.NOTHING),
        ("endorsed until", rfc3339(WallTime(of.until_us))),
    )
    return stack(head, Text(), heading("Claims"), pairs(*sorted(of.claims.items())))


def references(views: Sequence[Reference]) -> Table:
    """Each reference value with its claims."""
    made = table("REFERENCE", "KIND", "CLAIMS", "FLOORS", fold=("CLAIMS", "FLOORS"))
    for view in views:
        claims = ", ".join(
            f"{name}={value[:16]}{'...' if len(value) > 16 else ''}" for name, value in view.claims.items()
        )
        floors = ", ".join(f"{name}>={least}" for name, least in view.floors.items())
        made.add_row(view.name, view.kind, claims or q.NOTHING, floors or q.NOTHING)
    return made


def anchors(views: Sequence[Anchor]) -> Table:
    """Each anchor with its fingerprint."""
    made = table("ANCHOR", "ENDORSES", "ORIGIN", "KEY (SHA-256)")
    for view in views:
        made.add_row(view.name, view.kind, view.origin.value, view.fingerprint)
    return made


def _row(view: AttestedView) -> tuple[str, str, str, str, str]:
    of = view.attested
    if of is None:
        return ("nothing", q.NOTHING, q.NOTHING, q.NOTHING, q.NOTHING)
    until = ("ended " if view.has_ended else "") + rfc3339(WallTime(of.until_us))
    why = f"{of.code}: {of.reason}" if of.code else of.reason or q.NOTHING
    return (of.label, ", ".join(of.references) or q.NOTHING, ", ".join(of.advisories) or q.NOTHING, until, why)
