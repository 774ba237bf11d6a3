"""Run coroutines in tests: a deadline instead of a hang, waiting on conditions instead of sleeping.

The deadlines here are for hangs alone and promise nothing: generous, for a machine that runs much else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

HANG_S = 60.0
"""For one step. What is promised in less is said where it is measured."""


def run(coro: Coroutine[Any, Any, T], timeout_s: float = 3 * HANG_S) -> T:
    """Run to the end on a fresh event loop; a hang fails after `timeout_s`."""

    async def bounded() -> T:
        async with asyncio.timeout(timeout_s):
            return await coro

    return asyncio.run(bounded())


async def until(condition: Callable[[], bool], timeout_s: float = HANG_S) -> None:
    """Poll a condition that has no event of its own; fails after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.002)


async def soon(awaitable: Awaitable[T], timeout_s: float = HANG_S) -> T:
    """Await with a deadline."""
    async with asyncio.timeout(timeout_s):
        return await awaitable


async def take(iterator: AsyncIterator[T], count: int, timeout_s: float = HANG_S) -> list[T]:
    """The next `count` items of a stream."""
    return [await soon(anext(iterator), timeout_s) for _ in range(count)]
