"""When to run work that may wait: the cleanest hours of a forecast, and whether waiting is worth the forecast's error.

`Series, Waiting, now -> Shift`. A run of one piece takes the cheapest window, an interruptible one the cheapest hours.
A forecast is worth what it is expected to save beyond its own error: below that the work starts at once, so that noise
moves nothing. With a perfect forecast (error 0) this is the optimum.

Source: Wiesner et al., "Let's Wait Awhile", Middleware 2021; bounds: Sukprasert et al., EuroSys 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hanse.core.errors import invariant
from hanse.core.snapshot import Series
from hanse.core.time import WallTime
from hanse.placement.table import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What work allows."""

    duration_us: int
    """1 us or more; counted in whole steps of the forecast."""
    deadline_us: WallTime
    """It must have ended by then."""
    is_interruptible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """When it runs, and what that saves."""

    runs: tuple[tuple[WallTime, WallTime], ...]
    """Beginning and end of each piece, in order."""
    mean: int
    """Mean of the series while it runs, for example g/kWh."""
    mean_now: int
    """The same if it began at once."""
    why: str

    @property
    def saved_permille(self) -> int:
        """Share saved against beginning at once."""
        return 0 if not self.mean_now else (self.mean_now - self.mean) * 1_000 // self.mean_now


def shift(series: Series, waiting: Waiting, *, now: WallTime, error_permille: int = 0) -> Shift | None:
    """Choose when to run; None where the deadline cannot be met or the forecast does not reach as far as one run.

    `error_permille` is the forecast's mean relative error, 0..1,000.
    """
    step = series.step_us
    first = max(0, (now - series.start_us) // step)
    last = min(len(series.values), (waiting.deadline_us - series.start_us) // step)
    count = max(1, -(-waiting.duration_us // step))
    values = np.array(series.values[first:last], dtype=np.int64)
    if len(values) < count:
        return None
    at_once = np.arange(count)
    chosen = _cheapest_hours(values, count) if waiting.is_interruptible else _cheapest_window(values, count)
    here, there = int(values[at_once].sum()), int(values[chosen].sum())
    saved = (here - there) * 1_000
    errs = f"the forecast errs by {error_permille / 10:g} %"
    if saved <= here * error_permille:
        chosen, there = at_once, here
        why = "it starts at once: waiting would save nothing"
        if saved > 0:
            why = f"it starts at once: waiting would save {saved / max(here, 1) / 10:.1f} %, {errs}"
    else:
        why = f"it waits: {saved / here / 10:.1f} % less than at once, {errs}"
    return Shift(runs=_pieces(chosen + first, series), mean=there // count, mean_now=here // count, why=why)


def mean_of(series: Series, *, now: WallTime, ahead_us: int) -> int | None:
    """Mean of a series from now on; None where it says nothing about that time."""
    invariant(series.step_us > 0, "a series has a step")
    first = max(0, (now - series.start_us) // series.step_us)
    last = min(len(series.values), -(-(now + ahead_us - series.start_us) // series.step_us))
    values = series.values[first:last]
    return round(sum(values) / len(values)) if values else None


def _cheapest_window(values: Ints, count: int) -> Ints:
    sums = np.convolve(values, np.ones(count, dtype=np.int64), mode="valid")
    return np.arange(count) + int(np.argmin(sums))


def _cheapest_hours(values: Ints, count: int) -> Ints:
    """The cheapest hours; ties go to the earlier."""
    return np.sort(np.argsort(values, kind="stable")[:count])


def _pieces(steps: Ints, series: Series) -> tuple[tuple[WallTime, WallTime], ...]:
    cuts = np.flatnonzero(np.diff(steps) > 1) + 1
    return tuple(
        (
            WallTime(series.start_us + int(part[0]) * series.step_us),
            WallTime(series.start_us + (int(part[-1]) + 1) * series.step_us),
        )
        for part in np.split(steps, cuts)
    )
