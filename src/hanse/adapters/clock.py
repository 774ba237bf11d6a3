"""The `Clock` port on the system's clocks."""

from __future__ import annotations

import time

from hanse.core.time import MonoTime, WallTime

_NS_PER_US = 1_000


class SystemClock:
    """Wall time from the system (it may step), monotonic time from the process."""

    def wall(self) -> WallTime:
        """Microseconds since 1970 UTC."""
        return WallTime(time.time_ns() // _NS_PER_US)

    def monotonic(self) -> MonoTime:
        """Microseconds since an arbitrary origin."""
        return MonoTime(time.monotonic_ns() // _NS_PER_US)
