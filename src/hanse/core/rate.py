"""Token buckets: how much of something may be asked for in a time. `level, rate, now -> level, wait`.

A bucket holds up to `burst` tokens and fills at a steady rate; what is asked for takes one. It reads no clock and keeps
nothing: whoever counts holds the levels, bounded as they see fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from hanse.core.time import US_PER_S, MonoTime

MICRO = 1_000_000
"""Parts of a token that levels are kept in, so that a slow rate loses nothing by rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A steady rate and how much may come at once."""

    per_minute: int
    """Tokens that flow in per minute, 1 or more."""
    burst: int
    """Tokens that a full bucket holds, 1 or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a bucket held at a moment, in millionths of a token."""

    micro: int
    at_us: MonoTime


def full(rate: Rate, now: MonoTime) -> Level:
    """A bucket that nobody has taken from."""
    return Level(micro=rate.burst * MICRO, at_us=now)


def filled(level: Level, rate: Rate, now: MonoTime) -> Level:
    """What the bucket holds now. A moment before the last one fills nothing."""
    gone_us = max(0, now - level.at_us)
    flowed = gone_us * rate.per_minute * MICRO // (60 * US_PER_S)
    if flowed == 0:
        return level
    return Level(micro=min(rate.burst * MICRO, level.micro + flowed), at_us=now)


def take(level: Level, rate: Rate, now: MonoTime) -> tuple[Level, int]:
    """Take one token: the level afterwards, and 0; or the level as it is, and the microseconds until there is one."""
    held = filled(level, rate, now)
    if held.micro >= MICRO:
        return Level(micro=held.micro - MICRO, at_us=held.at_us), 0
    lacking = MICRO - held.micro
    wait_us = -(-lacking * 60 * US_PER_S // (rate.per_minute * MICRO))
    return held, max(1, wait_us - max(0, now - held.at_us))
