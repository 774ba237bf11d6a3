"""Proves: a listener is timed, and silence, refusal and nonsense are no answer."""

from __future__ import annotations

import asyncio
import socket

import pytest

from hanse.adapters.dialer import TcpDialer
from substrate import held_port

PATIENCE_US = 60_000_000


def test_who_listens_is_timed() -> None:
    async def scenario() -> int | None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            return await TcpDialer().connect_us(f"127.0.0.1:{port}", PATIENCE_US)

    took = asyncio.run(scenario())
    assert took is not None
    assert 0 <= took < PATIENCE_US


@pytest.mark.parametrize("address", ["", "nowhere", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999999", "[::1"])
def test_what_is_no_address_is_no_answer(address: str) -> None:
    assert asyncio.run(TcpDialer().connect_us(address, PATIENCE_US)) is None


def test_a_refusal_is_no_answer() -> None:
    with held_port() as port:
        assert asyncio.run(TcpDialer().connect_us(f"127.0.0.1:{port}", PATIENCE_US)) is None
