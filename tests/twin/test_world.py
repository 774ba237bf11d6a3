"""The world: faults do what they say, checkers stop a run, and one line replays it."""

from __future__ import annotations

import asyncio

import pytest
from gossip import FAULTS, NAMES, START, half_a_minute, world

from hanse.core.errors import BusError, StoreError
from hanse.core.time import US_PER_S
from hanse.twin.faults import ClockStep, Crash, Partition, Restart
from hanse.twin.world import Failed, MachinePorts, Violation, World


def test_the_same_seed_gives_the_same_trace_and_another_seed_another():
    first, again, other = (world(seed).run(half_a_minute) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_the_twin_runs_far_ahead_of_the_clock():
    made = world(1)
    made.run(half_a_minute)
    assert made.trace.count > 5_000, "it is a busy world"


def test_after_the_faults_everyone_agrees():
    made = world(3)
    made.run(half_a_minute)
    count = made.kv.get("plans", "count")
    assert int(count.value) > 50
    for name in NAMES:
        seen = made.disk(name).get("diary", "seen")
        assert int(count.value) - int(seen.value) <= 1, f"{name} has not caught up"


def test_never_does_a_counter_lose_a_write_that_was_acknowledged():
    made = world(4, faults=[fault for fault in FAULTS if not isinstance(fault, Crash | Restart)])
    made.run(half_a_minute)
    acknowledged = sum(int(made.disk(name).get("diary", "written").value) for name in NAMES)
    counted = int(made.kv.get("plans", "count").value)
    # A write whose answer was lost in a cut happened without its writer knowing: at most one per cut and machine.
    assert acknowledged <= counted <= acknowledged + 10


def test_a_checker_stops_the_run_and_the_failure_names_seed_and_time():
    class NoMoreThanTwenty:
        def check(self, world: World) -> None:
            entry = world.kv.get("plans", "count")
            if entry is not None and int(entry.value) > 20:
                raise Violation("the count passed twenty")

    with pytest.raises(Failed) as failed:
        world(5, checkers=[NoMoreThanTwenty()]).run(half_a_minute)
    text = str(failed.value)
    assert "seed 5" in text
    assert "the count passed twenty" in text
    assert "put|kv|plans|count|21" in text, "the last events are told"
    with pytest.raises(Failed) as again:
        world(5, checkers=[NoMoreThanTwenty()]).run(half_a_minute)
    assert str(again.value) == text, "one line replays it"


def test_a_machine_that_ends_by_itself_fails_the_run():
    async def fragile(ports: MachinePorts) -> None:
        await asyncio.sleep(3)
        raise ValueError("boom")

    made = World(seed=1, start=START)
    made.add("m", fragile)
    with pytest.raises(Failed, match="boom"):
        made.run(half_a_minute)


def test_a_crash_is_sudden_the_disk_stays_and_a_restart_is_another_incarnation():
    incarnations: list[tuple[int, bytes | None, bytes]] = []
    last_words: list[str] = []

    async def diarist(ports: MachinePorts) -> None:
        kept = await ports.disk.get("diary", "day")
        incarnations.append((ports.incarnation, kept.value if kept else None, ports.entropy.secret(8)))
        await ports.disk.put("diary", "day", b"%d" % ports.incarnation)
        try:
            await asyncio.Event().wait()
        finally:
            for words in (ports.disk.put("diary", "day", b"never"), ports.store.put("plans", "words", b"never")):
                try:
                    await words
                except StoreError as error:
                    last_words.append(error.message)

    faults = (Crash(at_us=US_PER_S, machine="m"), Restart(at_us=2 * US_PER_S, machine="m"))
    made = World(seed=1, start=START, faults=faults)
    made.add("m", diarist)

    async def until(_: World) -> None:
        await asyncio.sleep(3)
        assert made.is_up("m")

    made.run(until)
    assert [(number, kept) for number, kept, _ in incarnations] == [(1, None), (2, b"1")]
    assert incarnations[0][2] != incarnations[1][2], "a restart draws other secrets"
    assert made.disk("m").get("diary", "day").value == b"2"
    assert made.kv.get("plans", "words") is None, "a dead process writes nothing, whatever its cleanup tries"
    assert len(last_words) == 4


def test_a_partition_is_noticed_late_and_heals():
    noticed: list[tuple[int, bool]] = []

    async def observer(ports: MachinePorts) -> None:
        before = True
        while True:
            await asyncio.sleep(0.1)
            if ports.bus.is_connected() != before:
                before = not before
                noticed.append((round(ports.clock.monotonic() / US_PER_S), before))

    made = World(seed=1, start=START, faults=[Partition(at_us=US_PER_S, until_us=20 * US_PER_S, machine="m")])
    made.add("m", observer)
    made.run(half_a_minute)
    assert noticed == [(5, False), (20, True)]


def test_a_stepped_clock_moves_wall_time_only():
    readings: list[tuple[int, int]] = []

    async def reader(ports: MachinePorts) -> None:
        while True:
            readings.append((ports.clock.wall() - START, ports.clock.monotonic()))
            await asyncio.sleep(10)

    made = World(seed=1, start=START, faults=[ClockStep(at_us=15 * US_PER_S, machine="m", by_us=-3_600 * US_PER_S)])
    made.add("m", reader, drift_ppm=100)
    made.run(half_a_minute)
    walls = [wall for wall, _ in readings]
    assert walls[:2] == [0, 10 * US_PER_S + 1_000]
    assert walls[2] == 20 * US_PER_S + 2_000 - 3_600 * US_PER_S
    assert [mono for _, mono in readings[:3]] == [0, 10 * US_PER_S, 20 * US_PER_S]


def test_requests_cross_the_wire_with_its_delay():
    async def server(ports: MachinePorts) -> None:
        async for message in ports.bus.subscribe("echo"):
            await ports.bus.publish(message.reply, message.data)

    took: list[int] = []

    async def client(ports: MachinePorts) -> None:
        with pytest.raises(BusError):
            await ports.bus.request("nobody", b"", US_PER_S)
        began = ports.clock.monotonic()
        assert await ports.bus.request("echo", b"hello", US_PER_S) == b"hello"
        took.append(ports.clock.monotonic() - began)
        await asyncio.Event().wait()

    made = World(seed=1, start=START, shuffles=False)
    made.add("server", server, delay_us=3_000)
    made.add("client", client, delay_us=2_000)
    made.run(half_a_minute)
    assert took == [2 * (3_000 + 2_000)]
