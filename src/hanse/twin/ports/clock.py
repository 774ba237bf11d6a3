"""The `Clock` port in virtual time: a wall clock per node that drifts and steps, over one monotonic time.

`virtual time, drift, steps -> wall time`.
"""

from __future__ import annotations

from collections.abc import Callable

from hanse.core.time import MonoTime, WallTime


class VirtualClock:
    """One machine's clocks. `now_us` is the loop's time; drift is in parts per million, negative runs slow."""

    def __init__(self, now_us: Callable[[], MonoTime], *, start: WallTime, drift_ppm: int = 0) -> None:
        self._now_us = now_us
        self._start = start
        self._drift_ppm = drift_ppm
        self._stepped_us = 0

    def wall(self) -> WallTime:
        """What this machine believes the time is."""
        now = self._now_us()
        return WallTime(self._start + now + now * self._drift_ppm // 1_000_000 + self._stepped_us)

    def monotonic(self) -> MonoTime:
        """Virtual microseconds since the world began."""
        return self._now_us()

    def step(self, by_us: int) -> None:
        """Set the wall clock forward or, if negative, back."""
        self._stepped_us += by_us
