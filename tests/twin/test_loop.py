"""The virtual loop: same order every time, no waiting on the outside, and a deadlock is an error, not a hang."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hanse.twin.loop import DeadlockError, OutsideWorldError, OverrunError, VirtualLoop, run

HERE = Path(__file__).parent


def test_a_day_passes_in_no_time():
    async def sleeper() -> float:
        await asyncio.sleep(24 * 3_600)
        return asyncio.get_running_loop().time()

    began = time.process_time()
    assert run(sleeper(), loop=VirtualLoop()) == 24 * 3_600
    assert time.process_time() - began < 5


def test_stock_asyncio_works_in_virtual_time():
    async def main() -> list[str]:
        log: list[str] = []
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

        async def produce() -> None:
            for number in range(3):
                await asyncio.sleep(1)
                await queue.put(number)

        async def consume() -> None:
            for _ in range(3):
                log.append(f"{asyncio.get_running_loop().time():.0f} {await queue.get()}")

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            group.create_task(consume())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(100), 5)
        log.append(f"{asyncio.get_running_loop().time():.0f}")
        return log

    assert run(main(), loop=VirtualLoop()) == ["0 0", "1 1", "2 2", "18"]


def test_timers_of_one_moment_run_in_the_order_they_were_set():
    async def main() -> list[int]:
        loop, order = asyncio.get_running_loop(), []
        for number in range(100):
            loop.call_at(5.0, order.append, number)
        await asyncio.sleep(6)
        return order

    assert run(main(), loop=VirtualLoop()) == list(range(100))


def test_a_deadlock_is_an_error_that_names_who_waits():
    async def main() -> None:
        await asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="the-waiter")

    with pytest.raises(DeadlockError, match="the-waiter"):
        run(main(), loop=VirtualLoop())


def test_a_run_that_never_ends_is_stopped_at_its_limit():
    async def main() -> None:
        while True:  # noqa: ASYNC110 - endless on purpose
            await asyncio.sleep(60)

    with pytest.raises(OverrunError):
        run(main(), loop=VirtualLoop(limit_us=3_600_000_000))


@pytest.mark.parametrize(
    "reach",
    [
        lambda: asyncio.to_thread(int),
        lambda: asyncio.open_connection("127.0.0.1", 1),
        lambda: asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0),
        lambda: asyncio.create_subprocess_exec("true"),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80),
    ],
)
def test_the_outside_is_refused(reach):
    async def main() -> None:
        with pytest.raises(OutsideWorldError):
            await reach()

    run(main(), loop=VirtualLoop())


def test_a_task_group_cancels_in_order_of_creation():
    async def main() -> list[int]:
        cancelled: list[int] = []

        async def wait(number: int) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(number)
                raise

        async def fail() -> None:
            await asyncio.sleep(1)
            raise ValueError

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(wait(number))
                group.create_task(fail())
        return cancelled

    assert run(main(), loop=VirtualLoop()) == list(range(50))


def test_what_main_leaves_behind_is_cancelled():
    ended: list[str] = []

    async def forgotten(name: str) -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append(name)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        main.tasks = [loop.create_task(forgotten(name)) for name in "abc"]
        await asyncio.sleep(1)

    run(main(), loop=VirtualLoop())
    assert ended == ["a", "b", "c"]


def _interleaving(seed: int | None) -> str:
    """Twenty tasks that race; returns who went when."""

    async def main() -> str:
        log: list[str] = []

        async def racer(name: str) -> None:
            for _ in range(5):
                log.append(name)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(racer(f"{number:02}"))
        return "".join(log)

    return run(main(), loop=VirtualLoop(None if seed is None else random.Random(seed)))


def test_a_seed_draws_an_order_and_draws_it_again():
    orders = {seed: _interleaving(seed) for seed in range(5)}
    assert all(_interleaving(seed) == order for seed, order in orders.items())
    assert len(set(orders.values())) == 5, "different seeds explore different orders"
    assert _interleaving(None) == "".join(f"{number:02}" for number in range(20)) * 5


@pytest.mark.parametrize("seed", ["3", "8"])
def test_runs_are_equal_under_different_hash_seeds(seed):
    hashes = set()
    for hash_seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, str(HERE / "gossip.py"), seed],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=600,
            check=True,
        )
        hashes.add(done.stdout.strip())
    assert len(hashes) == 1
    assert len(hashes.pop()) == 64
