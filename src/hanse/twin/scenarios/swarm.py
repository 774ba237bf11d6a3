"""A random subset of all faults at random times, users at work meanwhile; then quiet, and everything must be right.

Swarm testing (Groce et al., ISSTA 2012): leaving out kinds of faults per seed reaches states that all of them together
never reach.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from hanse.core.time import HOUR_US, US_PER_S
from hanse.twin.faults import ClockStep, Crash, Delay, Drop, Duplicate, Fault, Outage, Partition, Restart, Vanish
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import USUAL, Stage

STORM_S = 120
"""How long faults begin; the last one ends 30 s later at most."""
CALM_S = 150
"""Within which everything must be right again: orders of magnitude above detection, below failure back-offs' end."""
Draw = Callable[[random.Random, Sequence[str], int], list[Fault]]


def storm(rng: random.Random, machines: Sequence[str], begin_us: int) -> list[Fault]:
    """Draw a schedule of faults from a random subset of kinds, in order of time."""
    kinds = sorted(rng.sample(sorted(KINDS), rng.randint(1, len(KINDS))))
    faults = [fault for kind in kinds for fault in KINDS[kind](rng, machines, begin_us)]
    return sorted(faults, key=lambda fault: fault.at_us)


async def _plot(stage: Stage) -> None:
    await stage.open()
    rng = stage.fabric.world.rng("swarm")
    machines = (*stage.fabric.node_ids, *stage.fabric.controller_names)
    for fault in storm(rng, machines, stage.now_us):
        asyncio.get_running_loop().call_at(fault.at_us / US_PER_S, stage.inject, fault)
    users = asyncio.create_task(_users(stage, rng), name="users")
    await asyncio.sleep(STORM_S + 30)
    await users
    stage.figures["converged_us"] = await stage.converge(within_s=CALM_S)
    with stage.nothing_moves():
        await asyncio.sleep(20)


async def _users(stage: Stage, rng: random.Random) -> None:
    """Deploy new versions and drain nodes while it storms; undo every drain."""
    version = 1
    for _ in range(rng.randint(0, 6)):
        await asyncio.sleep(rng.uniform(1, STORM_S / 6))
        if rng.randrange(3):
            version += 1
            await stage.deploy(rng.choice(USUAL), version=version)
            continue
        node = rng.choice(stage.fabric.node_ids)
        await stage.fabric.set_draining(node, True)
        await asyncio.sleep(rng.uniform(1, 10))
        await stage.fabric.set_draining(node, False)


def _crashes(rng: random.Random, machines: Sequence[str], begin_us: int) -> list[Fault]:
    faults: list[Fault] = []
    for machine in rng.sample(list(machines), rng.randint(1, len(machines))):
        at_us = _moment(rng, begin_us)
        for _ in range(rng.randint(1, 3)):
            back_us = at_us + rng.randint(US_PER_S // 10, 20 * US_PER_S)
            loses_disk = not machine.startswith("control") and rng.randrange(4) == 0
            faults.append(Crash(at_us=at_us, machine=machine, loses_disk=loses_disk))
            faults.append(Restart(at_us=back_us, machine=machine))
            at_us = back_us + rng.randint(1, 10 * US_PER_S)
            if at_us > begin_us + STORM_S * US_PER_S:
                break
    return faults


def _partitions(rng: random.Random, machines: Sequence[str], begin_us: int) -> list[Fault]:
    return [
        Partition(at_us=at_us, until_us=at_us + _span(rng), machine=rng.choice(machines))
        for at_us in _moments(rng, begin_us, 6)
    ]


def _delays(rng: random.Random, machines: Sequence[str], begin_us: int) -> list[Fault]:
    return [
        Delay(
            at_us=at_us,
            until_us=at_us + _span(rng),
            machine=rng.choice(machines),
            extra_us=rng.randint(1_000, 800_000),
            jitter_us=rng.randint(0, 400_000),
        )
        for at_us in _moments(rng, begin_us, 6)
    ]


def _drops(rng: random.Random, machines: Sequence[str], begin_us: int) -> list[Fault]:
    return [
        Drop(at_us=at_us, until_us=at_us + _span(rng), machine=rng.choice(machines), ppm=rng.randint(1_000, 900_000))
        for at_us in _moments(rng, begin_us, 6)
    ]


def _duplicates(rng: random.Random, machines: Sequence[str], begin_us: int) -> list[Fault]:
    return [
        Duplicate(
            at_us=at_us, until_us=at_us + _span(rng), machine=rng.choice(machines), ppm=rng.randint(1_000, 900_000)
        )
        for at_us in _moments(rng, begin_us, 6)
    ]


def _outages(rng: random.Random, machines: Sequence[str], begin_us: int) -> list[Fault]:
    del machines
    return [Outage(at_us=at_us, until_us=at_us + _span(rng)) for at_us in _moments(rng, begin_us, 2)]


def _clocks(rng: random.Random, machines: Sequence[str], begin_us: int) -> list[Fault]:
    faults: list[Fault] = []
    for at_us in _moments(rng, begin_us, 4):
        machine, by_us = rng.choice(machines), rng.choice((-HOUR_US, -60 * US_PER_S, 60 * US_PER_S, HOUR_US))
        faults.append(ClockStep(at_us=at_us, machine=machine, by_us=by_us))
        faults.append(ClockStep(at_us=at_us + _span(rng), machine=machine, by_us=-by_us))
    return faults


def _vanishing(rng: random.Random, machines: Sequence[str], begin_us: int) -> list[Fault]:
    del machines
    return [
        Vanish(at_us=at_us, bucket=rng.choice(("orders", "routes")), number=rng.randrange(1_000))
        for at_us in _moments(rng, begin_us, 4)
    ]


def _moments(rng: random.Random, begin_us: int, most: int) -> list[int]:
    return sorted(_moment(rng, begin_us) for _ in range(rng.randint(1, most)))


def _moment(rng: random.Random, begin_us: int) -> int:
    return begin_us + rng.randrange(STORM_S * US_PER_S)


def _span(rng: random.Random) -> int:
    return rng.choice((rng.randint(10_000, 2 * US_PER_S), rng.randint(2 * US_PER_S, 30 * US_PER_S)))


KINDS: dict[str, Draw] = {
    "clock": _clocks,
    "crash": _crashes,
    "delay": _delays,
    "drop": _drops,
    "duplicate": _duplicates,
    "outage": _outages,
    "partition": _partitions,
    "vanish": _vanishing,
}

SWARM = Scenario(
    name="swarm",
    about="Random faults of a random subset of kinds, users at work; then quiet, and it must converge.",
    plot=_plot,
    controllers=2,
)
