"""Measured round trips between sites, read from a file: `CSV -> (site, site) -> microseconds`.

Columns ``from``, ``to``, ``rtt_ms``, with a header line. A pair stands for both directions unless the other one has a
line of its own; pairs that are missing are modelled.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from hanse.core.errors import HanseError
from hanse.core.ids import SiteId, is_label

RTT_MS_MAX = 10_000.0


class LatencyTableError(HanseError):
    """Raised when a table of round trips cannot be read; the line is named."""

    code = "latency.malformed"
    hint = "columns: from,to,rtt_ms"


def read_latency_table(path: Path) -> Mapping[tuple[SiteId, SiteId], int]:
    """Read a table. Raises LatencyTableError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LatencyTableError(f"{path}: {error}") from error
    rows = csv.DictReader(text.splitlines())
    if rows.fieldnames is None or not {"from", "to", "rtt_ms"} <= set(rows.fieldnames):
        raise LatencyTableError(f"{path}:1: the header lacks a column")
    return dict(sorted(_row(path, number, row) for number, row in enumerate(rows, 2)))


def _row(path: Path, number: int, row: Mapping[str, str | None]) -> tuple[tuple[SiteId, SiteId], int]:
    source, target = row["from"] or "", row["to"] or ""
    if not is_label(source) or not is_label(target):
        raise LatencyTableError(f"{path}:{number}: not a site: {source!r} or {target!r}")
    try:
        rtt_ms = float(row["rtt_ms"] or "")
    except ValueError:
        raise LatencyTableError(f"{path}:{number}: not a number of milliseconds: {row['rtt_ms']!r}") from None
    if not 0 <= rtt_ms <= RTT_MS_MAX:
        raise LatencyTableError(f"{path}:{number}: out of range 0..{RTT_MS_MAX:.0f} ms: {rtt_ms}")
    return (SiteId(source), SiteId(target)), round(rtt_ms * 1_000)
