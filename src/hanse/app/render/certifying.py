"""Credentials that the domain holds, as a table. `views -> Table`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from hanse.app.render.style import WARN, table
from hanse.control.certifying import CredentialView
from hanse.core.time import WallTime, rfc3339


def credentials(views: Sequence[CredentialView]) -> Table:
    """Which certificate of which operator, by whom, and until when it counts."""
    made = table("OPERATOR", "CERTIFICATE", "ISSUER", "UNTIL", "ID", fold=("ISSUER",))
    for view in views:
        until = Text(rfc3339(WallTime(view.until_us)), style="" if view.is_valid else WARN)
        made.add_row(view.operator, view.fact, view.issuer, until, view.id)
    return made
