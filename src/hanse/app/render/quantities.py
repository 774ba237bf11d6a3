"""Quantities as people read them: euros, grams, milliseconds, sizes, ages. `integers in named units -> text`."""

from __future__ import annotations

from collections.abc import Sequence

from hanse.core.time import WallTime, to_datetime
from hanse.core.units import format_bytes, format_duration, format_rate

NOTHING = "-"


def euros(microeur: int | None) -> str:
    """``12.40 EUR``; a cent is the least that is told apart, below it the amount is given as it is."""
    if microeur is None:
        return NOTHING
    value = microeur / 1_000_000
    if microeur != 0 and abs(value) < 0.01:
        return f"{value:.4f} EUR"
    return f"{value:,.2f} EUR"


def amount(microeur: int) -> str:
    """``12.40``, for columns whose head names the euro; below a cent as it is."""
    return euros(microeur).removesuffix(" EUR")


def carbon(ug: int | None) -> str:
    """``310 g``, ``1.20 kg`` or ``2.5 t`` of CO2 equivalent."""
    if ug is None:
        return NOTHING
    grams = ug / 1_000_000
    if grams >= 1_000_000:
        return f"{grams / 1_000_000:.1f} t"
    if grams >= 1_000:
        return f"{grams / 1_000:.2f} kg"
    return f"{grams:.0f} g" if grams >= 10 or grams == 0 else f"{grams:.1f} g"


def latency(us: int | None) -> str:
    """``850us``, ``12.3ms`` or ``4.0s``."""
    return NOTHING if us is None else format_duration(us)


def size(count: int) -> str:
    """``64Mi``."""
    return format_bytes(count)


def rate(milli: int) -> str:
    """``20/s``, ``0.25/s``."""
    return format_rate(milli)


def memory(used: int, capacity: int) -> str:
    """``96Mi / 2Gi``."""
    return f"{format_bytes(used)} / {format_bytes(capacity)}"


def cores(used_milli: int, capacity_milli: int) -> str:
    """``0.25 / 4`` cores."""
    return f"{used_milli / 1_000:g} / {capacity_milli / 1_000:g}"


def power(mw: int, *, is_modelled: bool) -> str:
    """``3.4 W``, with a ``~`` where it comes from a model and not from a meter."""
    return f"{'~' if is_modelled else ''}{mw / 1_000:.1f} W"


def age(us: int | None) -> str:
    """How long ago, coarsely: ``now``, ``12s``, ``4m``, ``3h``, ``2d``."""
    if us is None:
        return NOTHING
    seconds = us // 1_000_000
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s" if seconds >= 1 else "now"


def moment(at_us: int) -> str:
    """``11-21 14:08:15`` in UTC: enough within a table; whole times stand where one thing is described."""
    return to_datetime(WallTime(at_us)).strftime("%m-%d %H:%M:%S")


def windows(runs: Sequence[tuple[int, int]]) -> str:
    """``11-22 02:00 to 08:00, 12:00 to 14:00`` in UTC."""
    said, day = [], ""
    for start, end in runs:
        first, last = to_datetime(WallTime(start)), to_datetime(WallTime(end))
        date, until = first.strftime("%m-%d"), last.strftime("%H:%M" if last.date() == first.date() else "%m-%d %H:%M")
        said.append(f"{'' if date == day else date + ' '}{first.strftime('%H:%M')} to {until}")
        day = last.strftime("%m-%d")
    return ", ".join(said) or NOTHING


def short_digest(digest: str) -> str:
    """``sha256:0123456789ab``: enough to tell components apart."""
    return digest[:19]


def plural(count: int, noun: str) -> str:
    """``1 replica``, ``2 replicas``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
