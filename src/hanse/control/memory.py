"""Keep the collector away from what stays. `a process with a large plan -> the same, and no event waits for a walk`.

A plan of a million replicas is some million records that refer to nothing in circles. The collector would walk all of
them again and again, in the middle of answering an event: measured at 100,000 nodes, that was most of the slow events.
Not for small fabrics, where a walk costs less than a millisecond.

What is frozen is not walked, but each new snapshot is: its tables of all nodes and workloads are young, and the next
collection of the youngest looks at every entry of them (8 ms at 100,000 nodes and 500,000 workloads). So a decision is
made with the collector held back, and it collects what it must right after, when the answer is out.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

LARGE_PLAN = 10_000
"""Assignments from which on a walk over a plan and what belongs to it takes milliseconds."""


def settle() -> None:
    """Collect once and leave what is there now out of later collections, until the next call. Takes up to seconds."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold collections back while a decision is made; not for work that waits, for nothing is collected meanwhile."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
