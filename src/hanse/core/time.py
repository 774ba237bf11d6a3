"""Time as data: wall time and monotonic time are different types; durations are microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NewType

WallTime = NewType("WallTime", int)
"""Microseconds since 1970-01-01T00:00:00Z. May step; compare only with other wall times."""
MonoTime = NewType("MonoTime", int)
"""Microseconds since an arbitrary origin of this process. Never steps; never leaves the process."""

US_PER_S = 1_000_000
US_PER_MS = 1_000
HOUR_US = 3_600 * US_PER_S
DAY_US = 24 * HOUR_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(at: WallTime) -> datetime:
    """Convert to an aware UTC datetime."""
    return _EPOCH + timedelta(microseconds=at)


def from_datetime(at: datetime) -> WallTime:
    """Convert an aware datetime to wall time; naive datetimes are a programmer's error."""
    if at.tzinfo is None:
        raise ValueError("naive datetime: wall time needs a time zone")
    delta = at - _EPOCH
    return WallTime((delta.days * 86_400 + delta.seconds) * US_PER_S + delta.microseconds)


def rfc3339(at: WallTime) -> str:
    """Write as RFC 3339 in UTC with milliseconds, for people and for JSON."""
    return to_datetime(at).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at // US_PER_MS % 1000:03d}Z"
