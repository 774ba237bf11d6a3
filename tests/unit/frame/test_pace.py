"""The measure of how busy a machine is: it sees a stop, forgets at a mark, and never shortens a promise."""

from __future__ import annotations

import os
import signal
import time

from pace import Pace


def test_a_time_in_which_nothing_ran_stretches_a_bound_by_as_much() -> None:
    with Pace() as pace:
        began = time.monotonic()
        assert pace.stretched(5.0) >= 5.0
        os.kill(pace.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        while time.monotonic() < stopped + 0.5:
            pass
        still_s = time.monotonic() - stopped
        os.kill(pace.pid, signal.SIGCONT)
        slowdown = pace.slowdown()
        whole_s = time.monotonic() - began
        # What was measured as worked or slept through is at most the time in which it was not stopped.
        assert slowdown >= (still_s - 0.03) / (whole_s - still_s + 0.05)
        pace.mark()
        assert pace.stretched(5.0) >= 5.0
