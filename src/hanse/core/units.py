"""Read quantities as people write them into integers of one named unit each.

`text -> integer`. Every value that is signed, hashed, stored or compared is an integer; this is the one
place where the text of a manifest becomes one. Raises `UnitError` naming what would have been accepted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from hanse.core.errors import UnitError

_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([^\s0-9][^\s]*)?\s*\Z")

MEMORY_UNITS: Mapping[str, int] = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
DURATION_UNITS: Mapping[str, int] = {
    "us": 1, "ms": 10**3, "s": 10**6, "m": 60 * 10**6, "h": 3_600 * 10**6, "d": 86_400 * 10**6,
}  # fmt: skip
CPU_UNITS: Mapping[str, int] = {"": 1_000, "m": 1}
MASS_UNITS: Mapping[str, int] = {"ug": 1, "mg": 10**3, "g": 10**6, "kg": 10**9, "t": 10**12}
BANDWIDTH_UNITS: Mapping[str, int] = {"bit/s": 1, "kbit/s": 10**3, "Mbit/s": 10**6, "Gbit/s": 10**9, "Tbit/s": 10**12}
POWER_UNITS: Mapping[str, int] = {"mW": 1, "W": 10**3, "kW": 10**6}
PERIODS_US: Mapping[str, int] = {
    "hour": 3_600 * 10**6, "day": 86_400 * 10**6, "month": 2_629_746 * 10**6, "year": 31_556_952 * 10**6,
}  # fmt: skip
"""A month is a twelfth of the mean Gregorian year."""


def memory_bytes(text: str | int) -> int:
    """Read ``64Mi``, ``1.5G`` or a bare number of bytes."""
    return _scaled(text, MEMORY_UNITS, what="memory", example="64Mi")


def duration_us(text: str | int) -> int:
    """Read ``40ms``, ``2s``, ``1h`` into microseconds; a bare number has no unit and is refused."""
    return _scaled(text, DURATION_UNITS, what="duration", example="40ms")


def cpu_milli(text: str | int | float) -> int:
    """Read ``250m`` or ``0.25`` cores into thousandths of a core."""
    return _scaled(str(text), CPU_UNITS, what="CPU", example="250m")


def bandwidth_bps(text: str | int) -> int:
    """Read ``10Mbit/s`` into bits per second; a bare number has no unit and is refused."""
    return _scaled(text, BANDWIDTH_UNITS, what="bandwidth", example="10Mbit/s")


def mass_ug(text: str | int) -> int:
    """Read ``3 kg`` into micrograms (of CO2 equivalent)."""
    return _scaled(text, MASS_UNITS, what="mass", example="3 kg")


def money_microeur(text: str) -> int:
    """Read ``40 EUR`` into millionths of a euro."""
    return _scaled(text, {"EUR": 10**6}, what="money", example="40 EUR")


def money_rate(text: str) -> tuple[int, int]:
    """Read ``40 EUR/month`` into (microeur, period_us)."""
    amount, period = _per(text, example="40 EUR/month")
    return money_microeur(amount), period


def mass_rate(text: str) -> tuple[int, int]:
    """Read ``3 kg/month`` into (micrograms, period_us)."""
    amount, period = _per(text, example="3 kg/month")
    return mass_ug(amount), period


def carbon_price_microeur_per_t(text: str) -> int:
    """Read ``60 EUR/t`` into microeur per tonne of CO2 equivalent."""
    return price_microeur(text, per="t", example="60 EUR/t")


def price_microeur(text: str, *, per: str, example: str) -> int:
    """Read ``0.031 EUR/core-hour`` into microeur per one `per`, which must stand after the slash."""
    amount, slash, unit = text.partition("/")
    if slash == "" or unit.strip() != per:
        raise UnitError(f"not a price in EUR/{per}: {text!r}", hint=f"write it like `{example}`")
    return money_microeur(amount)


def power_mw(text: str | int) -> int:
    """Read ``4.5 W`` into milliwatts; a bare number has no unit and is refused."""
    return _scaled(text, POWER_UNITS, what="power", example="4.5W")


def percent_ppm(text: str) -> int:
    """Read ``99.95%`` into parts per million (999,500); range 0 % to 100 %."""
    number = text.strip()
    if not number.endswith("%"):
        raise UnitError(f"not a percentage: {text!r}", hint="write it like `99.95%`")
    value = _exact(_decimal(number[:-1], text) * 10_000, text)
    if not 0 <= value <= 1_000_000:
        raise UnitError(f"percentage out of range: {text!r}", hint="between 0% and 100%")
    return value


def format_bytes(count: int) -> str:
    """Write a number of bytes for people: ``64Mi``, ``1.5Gi``."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        scale = MEMORY_UNITS[unit]
        if count >= scale:
            whole = f"{count / scale:.1f}"
            return whole.removesuffix(".0") + unit
    return str(count)


def format_bandwidth(bps: int) -> str:
    """Write bits per second for people: ``10Mbit/s``."""
    for unit in ("Tbit/s", "Gbit/s", "Mbit/s", "kbit/s"):
        scale = BANDWIDTH_UNITS[unit]
        if bps >= scale:
            return f"{bps / scale:.1f}".removesuffix(".0") + unit
    return f"{bps}bit/s"


def format_resource(name: str, amount: int) -> str:
    """Write an amount of one part of `Resources` for people: ``250m CPU``, ``64Mi``, ``10Gi disk``, ``2 licence``."""
    match name:
        case "cpu":
            return f"{amount}m CPU"
        case "memory":
            return format_bytes(amount)
        case "disk":
            return f"{format_bytes(amount)} disk"
        case "bandwidth":
            return format_bandwidth(amount)
        case _:
            return f"{amount} {name}"


def format_rate(milli: int) -> str:
    """Write thousandths of an event a second for people: ``20/s``, ``0.25/s``."""
    return f"{milli / 1_000:,.3f}".rstrip("0").rstrip(".") + "/s"


def format_duration(us: int) -> str:
    """Write microseconds for people: ``850us``, ``12.3ms``, ``4.0s``."""
    if us < 1_000:
        return f"{us}us"
    if us < 1_000_000:
        return f"{us / 1_000:.1f}ms"
    return f"{us / 1_000_000:.1f}s"


def _scaled(text: str | int, scales: Mapping[str, int], *, what: str, example: str) -> int:
    accepted = ", ".join(unit or "(none)" for unit in scales)
    hint = f"write it like `{example}`; units: {accepted}"
    if isinstance(text, bool):
        raise UnitError(f"not a {what}: {text!r}", hint=hint)
    match = _NUMBER_AND_UNIT.match(str(text))
    if match is None:
        raise UnitError(f"not a {what}: {text!r}", hint=hint)
    number, unit = match.group(1), match.group(2) or ""
    if unit not in scales:
        raise UnitError(f"unknown unit {unit or '(none)'!r} for {what}: {text!r}", hint=hint)
    value = _exact(_decimal(number, text) * scales[unit], text)
    if value >= 2**63:
        raise UnitError(f"{what} too large: {text!r}", hint="the limit is 2^63 - 1 base units")
    return value


def _per(text: str, *, example: str) -> tuple[str, int]:
    amount, slash, period = text.partition("/")
    if slash == "" or period.strip() not in PERIODS_US:
        periods = ", ".join(PERIODS_US)
        raise UnitError(f"not a rate: {text!r}", hint=f"write it like `{example}`; periods: {periods}")
    return amount, PERIODS_US[period.strip()]


def _decimal(number: str, text: object) -> Decimal:
    try:
        return Decimal(number.strip())
    except InvalidOperation:
        raise UnitError(f"not a number: {text!r}") from None


def _exact(value: Decimal, text: object) -> int:
    whole = int(value)
    if whole != value:
        raise UnitError(f"finer than the base unit: {text!r}", hint="use fewer decimal places")
    return whole
