"""What every instance hands back: a flat row of figures, or a reason why it did not run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from hanse.placement.solvers import Watch

Row = dict[str, Any]


class Skipped(Exception):
    """Raised when an instance can't run here; the message names what is missing."""


def existing(path: Path) -> Path:
    """The path, if it is there. Raises Skipped naming it."""
    if not path.exists():
        raise Skipped(f"{path} is absent")
    return path


def limit_of(seconds: float) -> Watch:
    """A watch that stops a solver after some seconds of CPU time, so that the answer does not depend on the load."""

    def clock_us() -> int:
        return time.process_time_ns() // 1_000

    return Watch(clock_us=clock_us, until_us=clock_us() + round(seconds * 1e6))


def progress(what: str) -> None:
    """Tell on stderr how far a long line has got."""
    print(f"  {what}", file=sys.stderr, flush=True)
