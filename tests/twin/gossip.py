"""A small fabric for tests of the twin: machines that count in one key, gossip on the bus, and keep a diary on disk."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from hanse.core.errors import BusError, ConflictError, StoreError
from hanse.core.time import US_PER_S, WallTime
from hanse.twin.faults import ClockStep, Crash, Delay, Drop, Duplicate, Fault, Outage, Partition, Restart
from hanse.twin.world import Checker, MachinePorts, World

START = WallTime(1_795_000_000_000_000)
FAULTS: tuple[Fault, ...] = (
    Partition(at_us=5 * US_PER_S, until_us=15 * US_PER_S, machine="m1"),
    Delay(at_us=2 * US_PER_S, until_us=20 * US_PER_S, machine="m2", extra_us=80_000, jitter_us=40_000),
    Drop(at_us=0, until_us=30 * US_PER_S, machine="m3", ppm=200_000),
    Duplicate(at_us=0, until_us=30 * US_PER_S, machine="m4", ppm=200_000),
    Crash(at_us=8 * US_PER_S, machine="m5"),
    Restart(at_us=12 * US_PER_S, machine="m5"),
    Crash(at_us=9 * US_PER_S, machine="m6", loses_disk=True),
    Restart(at_us=10 * US_PER_S, machine="m6"),
    Outage(at_us=22 * US_PER_S, until_us=25 * US_PER_S),
    ClockStep(at_us=3 * US_PER_S, machine="m0", by_us=-3_600 * US_PER_S),
)
NAMES = tuple(f"m{number}" for number in range(8))


async def machine(ports: MachinePorts) -> None:
    """Count, gossip and listen until ended."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_count(ports))
        group.create_task(_gossip(ports))
        group.create_task(_watch(ports))
        group.create_task(_listen(ports))


async def _count(ports: MachinePorts) -> None:
    rng = ports.entropy.stream("count")
    while True:
        await asyncio.sleep(rng.uniform(0.5, 1.5))
        try:
            entry = await ports.store.get("plans", "count")
            found, revision = (int(entry.value or b"0"), entry.revision) if entry else (0, 0)
            await ports.store.put("plans", "count", b"%d" % (found + 1), revision)
            mine = await ports.disk.get("diary", "written")
            await ports.disk.put("diary", "written", b"%d" % (int(mine.value or b"0") + 1 if mine else 1))
        except (StoreError, ConflictError):
            continue


async def _gossip(ports: MachinePorts) -> None:
    while True:
        await asyncio.sleep(1)
        try:
            await ports.bus.publish(f"gossip.{ports.name}", b"%d" % ports.clock.wall())
        except BusError:
            return


async def _listen(ports: MachinePorts) -> None:
    async for message in ports.bus.subscribe("gossip.*"):
        await ports.disk.put("heard", message.subject, message.data)


async def _watch(ports: MachinePorts) -> None:
    async for entry in ports.store.watch("plans"):
        if entry is not None and entry.value is not None:
            await ports.disk.put("diary", "seen", entry.value)


def world(seed: int, faults: Sequence[Fault] = FAULTS, checkers: Sequence[Checker] = ()) -> World:
    """Eight machines of different distance and drift."""
    made = World(seed=seed, start=START, faults=faults, checkers=checkers, limit_us=3_600 * US_PER_S)
    for number, name in enumerate(NAMES):
        made.add(name, machine, delay_us=500 + 3_000 * number, jitter_us=1_000, drift_ppm=10 * number - 40)
    return made


async def half_a_minute(_: World) -> None:
    """The scenario's own part: let time pass."""
    await asyncio.sleep(40)


if __name__ == "__main__":
    print(world(int(sys.argv[1])).run(half_a_minute))
