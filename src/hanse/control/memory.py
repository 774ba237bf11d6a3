"""Keep the collector away from what stays. `a process with a large plan -> the same, and no event waits for a walk`.

A plan of a million replicas is some million records that refer to nothing in circles. The collector would walk all of
them again and again, in the middle of answering an event: measured at 100,000 nodes, that was most of the slow events.
Not for small fabrics, where a walk costs less than a millisecond.
"""

from __future__ import annotations

import gc

LARGE_PLAN = 10_000
"""Assignments from which on a walk over a plan and what belongs to it takes milliseconds."""


def settle() -> None:
    """Collect once and leave what is there now out of later collections, until the next call. Takes up to seconds."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
