"""The link to the substrate: never in the clear when TLS is asked for, never hammering, never hanging."""

from __future__ import annotations

import asyncio
import random
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aio import run, soon, until
from hanse.adapters.nats_buckets import ensure_buckets
from hanse.adapters.nats_consumer import _metadata
from hanse.adapters.nats_link import LinkConfig, NatsLink
from hanse.adapters.nats_store import NatsStore
from hanse.core.errors import BusError, StoreError
from substrate import link_config, linked, unique


@pytest.mark.substrate
def test_a_server_without_tls_gets_no_credentials(nats):
    async def scenario():
        said: list[str] = []
        told = asyncio.Event()

        def note(_up: bool, why: str) -> None:
            said.append(why)
            told.set()

        link = NatsLink(link_config(nats.port), rng=random.Random(1), tls=ssl.create_default_context, on_change=note)
        async with link:
            await soon(told.wait())
            with pytest.raises(BusError) as failed:
                await link.wait_connected(1)
        assert "the server offers no TLS" in failed.value.message
        assert said
        assert all("the server offers no TLS" in why for why in said)

    run(scenario())


def test_nobody_listening_is_told_with_a_hint_and_start_does_not_wait():
    async def scenario():
        async with NatsLink(link_config(1), rng=random.Random(1)) as link:
            assert not link.is_connected()
            with pytest.raises(BusError) as failed:
                await soon(link.request("x"))
            assert failed.value.code == "bus.disconnected"
            with pytest.raises(BusError) as waited:
                await link.wait_connected(50_000)
            assert "hanse up" in waited.value.hint

    run(scenario())


def test_a_server_that_is_no_nats_server_does_not_stop_the_link():
    async def scenario():
        calls = 0

        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal calls
            calls += 1
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with (
            await asyncio.start_server(serve, "127.0.0.1", 0) as server,
            NatsLink(link_config(server.sockets[0].getsockname()[1]), rng=random.Random(1)) as link,
        ):
            await until(lambda: calls >= 3)
            assert not link.is_connected()

    run(scenario())


@given(failures=st.integers(1, 10_000), seed=st.integers(0, 2**32))
def test_backoff_never_leaves_its_bounds(failures, seed):
    async def scenario():
        config = LinkConfig(urls=("nats://x:1",), name="x", backoff_min_us=50_000, backoff_max_us=2_000_000)
        wait_us = NatsLink(config, rng=random.Random(seed))._backoff_us(failures)
        assert 25_000 <= wait_us <= 2_000_000
        if failures > 10:
            assert wait_us >= 1_000_000

    run(scenario())


@pytest.mark.substrate
def test_a_lost_answer_fails_at_once_not_at_its_deadline(nats):
    async def scenario():
        async with linked(nats.port) as link, linked(nats.port, "mute") as mute:
            subject, heard = unique("mute"), asyncio.Event()
            await mute.listen(subject, lambda _message: heard.set(), asyncio.Event())
            while not heard.is_set():
                asking = asyncio.create_task(link.request(subject, b"", timeout_us=600_000_000))
                hearing = asyncio.create_task(heard.wait())
                await soon(asyncio.wait([asking, hearing], return_when=asyncio.FIRST_COMPLETED))
                hearing.cancel()
                if not heard.is_set():  # nobody listened yet
                    with pytest.raises(BusError):
                        asking.result()
            await link.stop()
            with pytest.raises(BusError) as failed:
                await soon(asking)
            assert failed.value.code == "bus.disconnected"

    run(scenario())


@pytest.mark.substrate
def test_buckets_are_made_once_and_adjusted(nats):
    async def scenario():
        async with linked(nats.port) as link:
            bucket = unique("state")
            await ensure_buckets(link, [bucket], artifacts=[], replicas=1)
            await NatsStore(link).put(bucket, "k", b"kept")
            await ensure_buckets(link, [bucket], artifacts=[], replicas=1)
            assert (await NatsStore(link).get(bucket, "k")).value == b"kept"
            with pytest.raises(StoreError):
                await ensure_buckets(link, [unique("state")], artifacts=[], replicas=3)

    run(scenario())


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("$JS.ACK.KV_a.name.1.17.4.1700000000.9", (17, 4, 9)),
        ("$JS.ACK.dom.hash.KV_a.name.1.17.4.1700000000.9", (17, 4, 9)),
        ("$JS.ACK.dom.hash.KV_a.name.1.17.4.1700000000.9.token", (17, 4, 9)),
    ],
)
def test_sequences_are_read_from_both_versions_of_the_ack_subject(reply, expected):
    assert _metadata(reply) == expected
