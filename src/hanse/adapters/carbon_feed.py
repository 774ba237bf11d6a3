"""A forecast of carbon intensity, read from a file: `CSV -> zone -> Series`.

Columns ``zone``, ``datetime`` (RFC 3339 with an offset), ``g_per_kwh``, with a header line. Every zone has one value
per hour without a gap; zones may begin at different hours. What makes the file (a provider's download, a scheduled
job) is not hanse's business: forecasts are mostly licensed to whoever ordered them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from hanse.core.errors import HanseError
from hanse.core.snapshot import Series
from hanse.core.time import HOUR_US, from_datetime

_G_MAX = 5_000


class CarbonFeedError(HanseError):
    """Raised when a forecast cannot be read; the line is named."""

    code = "carbon.malformed"
    hint = "columns: zone,datetime,g_per_kwh; one line per zone and hour, without gaps"


def read_carbon_feed(path: Path) -> Mapping[str, Series]:
    """Read a forecast, zones in key order. Raises CarbonFeedError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CarbonFeedError(f"{path}: {error}") from error
    rows = csv.DictReader(text.splitlines())
    if rows.fieldnames is None or not {"zone", "datetime", "g_per_kwh"} <= set(rows.fieldnames):
        raise CarbonFeedError(f"{path}:1: the header lacks a column")
    found: dict[str, dict[int, int]] = {}
    for number, row in enumerate(rows, 2):
        try:
            at = from_datetime(datetime.fromisoformat(row["datetime"] or ""))
            grams = round(float(row["g_per_kwh"] or ""))
        except ValueError as error:
            raise CarbonFeedError(f"{path}:{number}: {error}") from None
        if not row["zone"] or not 0 <= grams <= _G_MAX or at % HOUR_US:
            raise CarbonFeedError(f"{path}:{number}: no zone, not a full hour, or not 0..{_G_MAX} g/kWh")
        found.setdefault(row["zone"], {})[at] = grams
    return {zone: _series(path, zone, found[zone]) for zone in sorted(found)}


def _series(path: Path, zone: str, values: Mapping[int, int]) -> Series:
    hours = sorted(values)
    if hours[-1] - hours[0] != (len(hours) - 1) * HOUR_US:
        raise CarbonFeedError(f"{path}: the hours of {zone} have a gap")
    return Series(start_us=hours[0], step_us=HOUR_US, values=tuple(values[hour] for hour in hours))
