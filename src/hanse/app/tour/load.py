"""A steady client: idempotent requests at an even pace through given fronts, each counted and timed.

Bounded on purpose: at most one request per worker is in flight, so a slow fabric is not flooded by its own
demonstration.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx

from hanse.app.invoking import ERROR_HEADER, SERVED_BY

WORKERS = 4
PAUSE_S = 0.08
DEADLINE_S = 5.0


@dataclass(slots=True)
class Outcome:
    """What the client saw."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)
    took_us: list[int] = field(default_factory=list)
    served_by: dict[str, int] = field(default_factory=dict)

    def percentile_us(self, percent: float) -> int:
        """Nearest-rank percentile of the answered requests, 0 if there were none."""
        ranked = sorted(self.took_us)
        return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))] if ranked else 0


@contextlib.asynccontextmanager
async def steady_load(
    urls: Sequence[str], verify: ssl.SSLContext | bool = True, deadline_s: float = DEADLINE_S
) -> AsyncIterator[Outcome]:
    """Send GET requests to `urls` in turn while the block lasts; requests under way are finished and counted.

    One that has no answer after `deadline_s` seconds has failed.
    """
    outcome = Outcome()
    stop = asyncio.Event()
    client = httpx.AsyncClient(timeout=deadline_s, trust_env=False, verify=verify)
    async with client, asyncio.TaskGroup() as tasks:
        for number in range(WORKERS):
            mine = [*urls[number % len(urls) :], *urls[: number % len(urls)]]
            tasks.create_task(_work(client, mine, outcome, stop), name=f"client {number}")
        try:
            yield outcome
        finally:
            stop.set()


async def _work(client: httpx.AsyncClient, urls: Sequence[str], outcome: Outcome, stop: asyncio.Event) -> None:
    turn = 0
    while not stop.is_set():
        url = urls[turn % len(urls)]
        turn += 1
        began = time.perf_counter()
        try:
            answer = await client.get(url)
        except httpx.TransportError as error:
            outcome.failures.append(f"{url}: {type(error).__name__}")
            continue
        if answer.status_code >= 400:
            outcome.failures.append(f"{url}: {answer.status_code} {answer.headers.get(ERROR_HEADER, '')}".strip())
            continue
        outcome.answered += 1
        outcome.took_us.append(round((time.perf_counter() - began) * 1e6))
        node = answer.headers.get(SERVED_BY, "?")
        outcome.served_by[node] = outcome.served_by.get(node, 0) + 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_S):
                await stop.wait()
