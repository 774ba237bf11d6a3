"""The `Bus` contract, over memory and real NATS: at most once, in order, no responders, a payload cap."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aio import run, soon, until
from hanse.core.errors import BusError
from hanse.core.ports import Bus, BusMessage
from hanse.core.time import US_PER_MS, US_PER_S


@asynccontextmanager
async def collecting(bus: Bus, pattern: str, sender: Bus, probe: str) -> AsyncIterator[list[BusMessage]]:
    """Collect what arrives, once `sender` is known to be heard; probes are not kept."""
    got: list[BusMessage] = []
    heard = asyncio.Event()

    async def collect() -> None:
        stream = bus.subscribe(pattern)
        try:
            async for message in stream:
                if message.data == b"probe":
                    heard.set()
                else:
                    got.append(message)
        finally:
            await stream.aclose()

    task = asyncio.create_task(collect())
    try:
        while not heard.is_set():
            await sender.publish(probe, b"probe")
            with contextlib.suppress(TimeoutError):
                await soon(heard.wait(), 0.05)
        yield got
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_messages_arrive_in_order_with_subject_and_data(buses):
    async def scenario():
        async with buses() as b, collecting(b.mine, f"{b.root}.beat.*", b.other, f"{b.root}.beat.probe") as got:
            for number in range(500):
                await b.other.publish(f"{b.root}.beat.n", b"%d" % number)
            await until(lambda: len(got) == 500)
            assert [m.data for m in got] == [b"%d" % number for number in range(500)]
            assert {m.subject for m in got} == {f"{b.root}.beat.n"}

    run(scenario())


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a.*.c", "a.x.c", True),
        ("a.*.c", "a.x.d", False),
    ],
)
def test_patterns_match_by_token(buses, pattern, subject, matches):
    async def scenario():
        async with (
            buses() as b,
            collecting(b.mine, f"{b.root}.{pattern}", b.other, _example(b.root, pattern)) as got,
            collecting(b.mine, f"{b.root}.end", b.other, f"{b.root}.end") as ended,
        ):
            await b.other.publish(f"{b.root}.{subject}", b"x")
            await b.other.publish(f"{b.root}.end", b"end")
            await until(lambda: bool(ended))
            await asyncio.sleep(0)
            assert [m.data for m in got] == ([b"x"] if matches else [])

    run(scenario())


def _example(root: str, pattern: str) -> str:
    return f"{root}." + pattern.replace("*", "probe").replace(">", "probe")


def test_a_request_is_answered_by_a_responder(buses):
    async def scenario():
        async with buses() as b:

            async def respond() -> None:
                stream = b.mine.subscribe(f"{b.root}.ask")
                try:
                    async for message in stream:
                        await b.mine.publish(message.reply, b"re: " + message.data)
                finally:
                    await stream.aclose()

            task = asyncio.create_task(respond())
            answer = await _retry_until_heard(b.other, f"{b.root}.ask", b"hello")
            assert answer == b"re: hello"
            answers = await asyncio.gather(
                *(b.other.request(f"{b.root}.ask", b"%d" % n, 60 * US_PER_S) for n in range(50))
            )
            assert answers == [b"re: %d" % n for n in range(50)], "each asker gets its own answer"
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(scenario())


async def _retry_until_heard(bus: Bus, subject: str, data: bytes) -> bytes:
    while True:
        try:
            return await bus.request(subject, data, 60 * US_PER_S)
        except BusError as error:
            assert error.code == "bus.no_responders"
            await asyncio.sleep(0)


def test_no_responders_is_told_at_once(buses):
    async def scenario():
        async with buses() as b:
            with pytest.raises(BusError) as failed:
                await soon(b.mine.request(f"{b.root}.nobody", b"", 600 * US_PER_S))
            assert failed.value.code == "bus.no_responders"
            assert failed.value.retry

    run(scenario())


def test_a_silent_responder_costs_the_timeout_and_no_more(buses):
    async def scenario():
        async with buses() as b, collecting(b.mine, f"{b.root}.mute", b.other, f"{b.root}.mute") as got:
            with pytest.raises(BusError) as failed:
                await soon(b.other.request(f"{b.root}.mute", b"?", 50 * US_PER_MS))
            assert failed.value.code == "bus.timeout"
            await until(lambda: bool(got))  # the asker's patience may end before the question arrives
            assert [m.data for m in got] == [b"?"]

    run(scenario())


def test_one_mebibyte_is_carried_and_more_is_refused(buses):
    async def scenario():
        async with buses() as b, collecting(b.mine, f"{b.root}.big", b.other, f"{b.root}.big") as got:
            await b.other.publish(f"{b.root}.big", bytes(2**20))
            await until(lambda: bool(got))
            assert got[0].data == bytes(2**20)
            for attempt in (
                b.other.publish(f"{b.root}.big", bytes(2**20 + 1)),
                b.other.request(f"{b.root}.big", bytes(2**20 + 1), US_PER_S),
            ):
                with pytest.raises(BusError) as refused:
                    await attempt
                assert refused.value.code == "bus.too_large"
                assert not refused.value.retry
            assert b.other.is_connected()

    run(scenario())


def test_what_is_published_while_cut_off_is_lost_not_late(buses):
    async def scenario():
        async with buses() as b, collecting(b.other, f"{b.root}.x", b.mine, f"{b.root}.x") as got:
            await b.side.cut()
            await until(lambda: not b.mine.is_connected())
            for _ in range(10):
                await soon(b.mine.publish(f"{b.root}.x", b"lost"))
            with pytest.raises(BusError):
                await soon(b.mine.request(f"{b.root}.x", b"", 600 * US_PER_S))
            await b.side.heal()
            await until(b.mine.is_connected)
            while not got:
                await b.mine.publish(f"{b.root}.x", b"after")
                await asyncio.sleep(0.002)
            assert all(m.data == b"after" for m in got)

    run(scenario())


def test_a_subscription_survives_a_cut(buses):
    async def scenario():
        async with buses() as b, collecting(b.mine, f"{b.root}.x", b.other, f"{b.root}.x") as got:
            await b.side.cut()
            await until(lambda: not b.mine.is_connected())
            await b.other.publish(f"{b.root}.x", b"missed")
            await b.side.heal()
            await until(b.mine.is_connected)
            while not got:
                await b.other.publish(f"{b.root}.x", b"after")
                await asyncio.sleep(0.002)
            assert all(m.data == b"after" for m in got), "what was missed is not replayed"

    run(scenario())


def test_a_full_queue_drops_the_oldest(buses):
    async def scenario():
        async with buses() as b:
            stream = b.mine.subscribe(f"{b.root}.flood")
            first = asyncio.ensure_future(anext(stream))
            while not first.done():
                await b.other.publish(f"{b.root}.flood", b"-1")
                await asyncio.sleep(0.002)
            # The consumer sleeps. What follows the flood on the same wire tells when all of it has arrived.
            async with collecting(b.mine, f"{b.root}.over", b.other, f"{b.root}.over") as over:
                for number in range(2_000):
                    await b.other.publish(f"{b.root}.flood", b"%d" % number)
                    await asyncio.sleep(0)
                await b.other.publish(f"{b.root}.over", b"over")
                await until(lambda: bool(over))
            kept = [(await soon(anext(stream))).data for _ in range(1_024)]
            assert kept == [b"%d" % number for number in range(976, 2_000)]
            await stream.aclose()

    run(scenario())


def test_a_closed_bus_says_so(buses):
    async def scenario():
        async with buses() as b:
            stream = b.mine.subscribe(f"{b.root}.x")
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            await b.side.close()
            for attempt in (waiting, b.mine.publish(f"{b.root}.x", b""), b.mine.request(f"{b.root}.x", b"", US_PER_S)):
                with pytest.raises(BusError) as failed:
                    await soon(attempt)
                assert failed.value.code == "bus.closed"
            assert not b.mine.is_connected()

    run(scenario())
