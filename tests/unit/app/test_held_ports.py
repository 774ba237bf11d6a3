"""A fabric's ports: nobody else is given them between their choice and their use, and the fabric's own may listen."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from hanse.app.held_ports import HeldPorts

HOST = "127.0.0.1"
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sharing a bound address is Linux's way")


@needs_linux
def test_never_is_a_held_port_given_to_a_stranger_and_the_fabric_listens_on_it_again_and_again(tmp_path: Path) -> None:
    ports = HeldPorts(tmp_path / "ports.json", HOST)
    port = ports.take("nats")
    for _ in range(2):  # a server that is started again finds its port
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((HOST, port))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port))
        with socket.create_server((HOST, port)) as server, socket.create_connection((HOST, port)):
            server.accept()[0].close()
            with pytest.raises(OSError, match="in use"):
                socket.create_server((HOST, port))
    ports.release()


@needs_linux
def test_each_name_has_one_port_and_keeps_it_over_a_restart_unless_somebody_listens_there(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    first = HeldPorts(file, HOST)
    taken = {name: first.take(name) for name in ("nats", "api", "front")}
    assert len(set(taken.values())) == 3
    assert {name: first.take(name) for name in taken} == first.taken == taken
    first.save()
    assert json.loads(file.read_text()) == taken
    # The first goes on holding them: nobody else can come between.
    with socket.create_server((HOST, taken["api"])):
        second = HeldPorts(file, HOST)
        again = {name: second.take(name) for name in taken}
        second.release()
    first.release()
    assert again["api"] not in taken.values()
    assert (again["nats"], again["front"]) == (taken["nats"], taken["front"])
