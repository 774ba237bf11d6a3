"""The cuttable uplink: bytes pass, a cut is felt at once on both ends, the switch works from another process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hanse.adapters.uplink import Uplink, UplinkError, switch_uplink
from substrate import held_port

WAIT_S = 120
"""For a hang alone: some tests start interpreters."""


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[tuple[str, int], asyncio.Queue[str]]]:
    """A server that echoes and reports how each of its connections ended."""
    ends: asyncio.Queue[str] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            ends.put_nowait("end")
        except OSError:
            ends.put_nowait("reset")
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2], ends
    finally:
        server.close()
        await server.wait_closed()


async def says(address: tuple[str, int], data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(data)
        return await reader.readexactly(len(data))
    finally:
        writer.close()


def run(scenario: object) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WAIT_S):
            await scenario()  # type: ignore[operator]

    asyncio.run(bounded())


def test_bytes_pass_both_ways_whole() -> None:
    async def scenario() -> None:
        async with echo() as (target, _):
            uplink = await Uplink.start(target)
            try:
                big = bytes(range(256)) * 8_192
                reader, writer = await asyncio.open_connection(*uplink.address)
                writer.write(big)
                assert await reader.readexactly(len(big)) == big
                writer.close()
                assert await asyncio.gather(*(says(uplink.address, b"%d" % n) for n in range(20)))
            finally:
                await uplink.close()

    run(scenario)


def test_a_cut_ends_connections_on_both_sides_and_refuses_new_ones() -> None:
    async def scenario() -> None:
        async with echo() as (target, ends):
            uplink = await Uplink.start(target)
            try:
                reader, writer = await asyncio.open_connection(*uplink.address)
                writer.write(b"x")
                await reader.readexactly(1)
                uplink.cut()
                assert uplink.is_cut
                with pytest.raises(ConnectionResetError):
                    await reader.read(1)
                assert await ends.get() in {"end", "reset"}
                for _ in range(3):
                    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                        await says(uplink.address, b"y")
                uplink.restore()
                assert not uplink.is_cut
                assert await says(uplink.address, b"z") == b"z"
                writer.close()
            finally:
                await uplink.close()

    run(scenario)


def test_an_end_on_one_side_ends_the_other() -> None:
    async def scenario() -> None:
        async with echo() as (target, ends):
            uplink = await Uplink.start(target)
            _, writer = await asyncio.open_connection(*uplink.address)
            writer.close()
            assert await ends.get() == "end"
            await uplink.close()

    run(scenario)


def test_a_dead_target_looks_like_a_dead_link() -> None:
    async def scenario() -> None:
        with held_port() as nobody:
            uplink = await Uplink.start(("127.0.0.1", nobody))
            try:
                with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                    await says(uplink.address, b"y")
            finally:
                await uplink.close()

    run(scenario)


def test_another_process_pulls_the_cable(tmp_path: Path) -> None:
    control = tmp_path / "berlin-1.uplink"
    code = (
        "import asyncio, pathlib, sys; from hanse.adapters.uplink import switch_uplink; "
        "print(asyncio.run(switch_uplink(pathlib.Path(sys.argv[1]), sys.argv[2])))"
    )

    async def scenario() -> None:
        async with echo() as (target, _):
            control.write_text("stale")
            uplink = await Uplink.start(target, control=control)
            try:
                assert control.stat().st_mode & 0o777 == 0o600
                for order, answer in (("cut", "True"), ("status", "True"), ("restore", "False"), ("status", "False")):
                    process = await asyncio.create_subprocess_exec(
                        sys.executable, "-c", code, control, order, stdout=subprocess.PIPE
                    )
                    out, _ = await process.communicate()
                    assert out.decode().strip() == answer
                    assert uplink.is_cut is (answer == "True")
            finally:
                await uplink.close()
            assert not control.exists()

    run(scenario)


def test_the_switch_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with echo() as (target, _):
            uplink = await Uplink.start(target, control=tmp_path / "u")
            try:
                with pytest.raises(UplinkError) as refused:
                    await switch_uplink(tmp_path / "u", "explode")
                assert refused.value.code == "uplink.refused"
                reader, writer = await asyncio.open_unix_connection(tmp_path / "u")
                writer.write(b"x" * 100_000)
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await reader.readexactly(1)
                writer.close()
                assert await switch_uplink(tmp_path / "u", "status") is False
            finally:
                await uplink.close()
            with pytest.raises(UplinkError) as gone:
                await switch_uplink(tmp_path / "u", "status")
            assert (gone.value.code, gone.value.hint) == ("uplink.unreachable", "is `hanse up` running?")

    run(scenario)


def test_addresses_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with echo() as (target, _):
            with pytest.raises(OSError, match="in use"):
                await Uplink.start(target, listen=target, control=tmp_path / "u")
            assert not (tmp_path / "u").exists()
            with pytest.raises(UplinkError) as refused:
                await Uplink.start(target, control=tmp_path / ("long" * 40))
            assert refused.value.code == "uplink.path"

    run(scenario)
