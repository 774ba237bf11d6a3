"""How busy the machine was while a promise was timed: `Pace -> stretched bound`.

A promise in seconds is one about a machine that gives the fabric the processor when it asks. Where it is shared with
other work, each step of the way (a timer, a message, a thread) waits for its turn, and a bound in plain seconds would
judge the neighbours. A process of the same priority does what the fabric does, small pieces of work and short sleeps,
and measures how much longer both take than they should: on a quiet machine that is 1.0, and the bound is what it says.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Self

_PROBE = """
import os, select, time
began, slept = time.monotonic(), 0.0
while True:
    used = time.process_time()
    while time.process_time() - used < 0.001: pass
    since = time.monotonic()
    is_asked = bool(select.select([0], [], [], 0.02)[0])
    slept += min(time.monotonic() - since, 0.02)
    if is_asked:
        if not os.read(0, 1): break
        print(time.monotonic() - began, time.process_time() + slept, flush=True)
"""


class Pace:
    """Measures from `mark` (or the start of the block) on."""

    def __enter__(self) -> Self:
        self._probe = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.mark()
        return self

    def __exit__(self, *_: object) -> None:
        self._probe.communicate()

    @property
    def pid(self) -> int:
        """The measuring process."""
        return self._probe.pid

    def mark(self) -> None:
        """Forget what was before."""
        self._took_s, self._should_s = self._totals()

    def slowdown(self) -> float:
        """How many times longer things took than on a quiet machine since the mark; at least 1."""
        took_s, should_s = self._totals()
        return max(1.0, (took_s - self._took_s) / max(should_s - self._should_s, 1e-6))

    def stretched(self, bound_s: float) -> float:
        """The bound, as much longer as the machine was slower."""
        return bound_s * self.slowdown()

    def _totals(self) -> tuple[float, float]:
        assert self._probe.stdin is not None
        assert self._probe.stdout is not None
        self._probe.stdin.write(b"?")
        self._probe.stdin.flush()
        took_s, should_s = self._probe.stdout.readline().split()
        return float(took_s), float(should_s)
