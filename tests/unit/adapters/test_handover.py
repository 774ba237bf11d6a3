"""Sockets passing from one process to the next: who gives, who takes, and what happens when one of both fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from hanse.adapters.handover import SOCKET, Giver, HandoverError, take

WAIT_S = 60


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's path takes 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="hanse-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def listening() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as front, socket.create_server(("127.0.0.1", 0)) as mesh:
        yield front, mesh


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WAIT_S):
            await scenario

    asyncio.run(bounded())


def numbers(listening: tuple[socket.socket, socket.socket]) -> tuple[int, int]:
    return listening[0].fileno(), listening[1].fileno()


def test_the_same_sockets_arrive_in_their_order_and_the_giver_hears_that_they_are_served(
    folder: Path, listening: tuple[socket.socket, socket.socket]
) -> None:
    async def scenario() -> None:
        async with Giver(folder / SOCKET, lambda: numbers(listening)) as giver:
            giver.open()
            giver.open()
            taking = asyncio.create_task(take(folder))
            await giver.asked()
            giving = asyncio.create_task(giver.give())
            taker = await taking
            assert taker is not None
            taken = [socket.socket(fileno=descriptor) for descriptor in taker.sockets]
            assert [one.getsockname() for one in taken] == [one.getsockname() for one in listening]
            assert [os.get_inheritable(one.fileno()) for one in taken] == [False, False]
            assert not giving.done()
            await taker.serving()
            assert await giving
            for one in taken:
                one.close()

    run(scenario())


def test_a_successor_that_dies_before_it_serves_is_told_from_one_that_serves(
    folder: Path, listening: tuple[socket.socket, socket.socket]
) -> None:
    async def scenario() -> None:
        async with Giver(folder / SOCKET, lambda: numbers(listening)) as giver:
            giver.open()
            for _ in range(2):  # and the next one may try
                taking = asyncio.create_task(take(folder))
                await giver.asked()
                giving = asyncio.create_task(giver.give())
                taker = await taking
                assert taker is not None
                for descriptor in taker.sockets:
                    os.close(descriptor)
                taker._connection.close()
                assert await giving is False

    run(scenario())


def test_where_nobody_runs_there_is_nothing_to_take(folder: Path) -> None:
    async def scenario() -> None:
        assert await take(folder) is None
        left = socket.socket(socket.AF_UNIX)
        left.bind(os.fspath(folder / SOCKET))
        left.close()
        assert await take(folder) is None, "what a dead process left"

    run(scenario())


def test_a_process_that_gives_rubbish_or_goes_away_is_an_error(folder: Path) -> None:
    async def scenario(said: bytes) -> None:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(said)
            writer.close()

        server = await asyncio.start_unix_server(answer, folder / SOCKET)
        with pytest.raises(HandoverError) as caught:
            await take(folder)
        assert caught.value.code == "handover.failed"
        server.close()

    for said in (b"", b"sockets\n", b"nonsense"):
        run(scenario(said))


def test_a_path_that_is_too_long_is_no_reason_not_to_serve(listening: tuple[socket.socket, socket.socket]) -> None:
    async def scenario() -> None:
        async with Giver(Path("/tmp") / ("x" * 200), lambda: numbers(listening)) as giver:
            giver.open()
            waiting = asyncio.create_task(giver.asked())
            await asyncio.sleep(0)
            assert not waiting.done()
            waiting.cancel()

    run(scenario())
