"""Worker processes in a running fabric: a tenant's own on each node, dying alone, leaving nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fabric_kit import PATIENCE_S, Harness, Kit, Row

from hanse.app.steering import steered
from hanse.core.ids import NodeId

pytestmark = pytest.mark.fabric

APART = """\
apiVersion: hanse.dev/v1
kind: Function
metadata: {name: %s, namespace: %s}
spec:
  source: guest.wasm
  route: {path: /%s}
  replicas: 1
  isolation: process
"""


@pytest.fixture(scope="module")
def harness(guests: Mapping[str, Path]) -> Iterator[Harness]:
    with Harness(guests) as running:
        yield running


async def _hanse(kit: Kit, *arguments: str, as_text: bool = False) -> Any:
    """Run one command as a user would; returns its answer."""
    form = [] if as_text else ["--output", "json"]
    command = [sys.executable, "-m", "hanse", *arguments, "--state", str(kit.fabric.layout.root), *form]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=pipe, env=os.environ | {"COLUMNS": "200"}
    )
    said, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return said.decode() if as_text else json.loads(said)


async def _deploy(kit: Kit, namespace: str, name: str) -> NodeId:
    """`hanse deploy` a function that wants a process of its own; returns the node that runs it."""
    folder = kit.fabric.layout.root.with_name(f"{namespace}-{name}")
    folder.mkdir()
    (folder / "function.yaml").write_text(APART % (name, namespace, name))
    shutil.copyfile(kit.guests["hello"], folder / "guest.wasm")
    await _hanse(kit, "deploy", str(folder), "--timeout", "300")
    (row,) = [row for row in await kit.get(f"instances?workload={namespace}.{name}") if row["wanted"]]
    return NodeId(row["node"])


async def _worker(kit: Kit, workload: str, node: NodeId) -> Row | None:
    """The process that runs a workload's guests on a node, as `hanse top` tells it."""
    rows = [row for row in await kit.get("top") if (row["workload"], row["node"]) == (workload, node)]
    found: Row | None = rows[0]["worker"] if rows else None
    return found if found and found["pid"] else None


async def _pid(kit: Kit, workload: str, node: NodeId) -> int:
    found = await kit.until(lambda: _worker(kit, workload, node), f"{workload} having a worker on {node}")
    return int(found["pid"])


def _is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended; one that nobody has waited for yet has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_each_tenant_answers_from_a_process_of_its_own_and_a_killed_one_comes_back_alone(harness: Harness) -> None:
    async def scenario(kit: Kit) -> None:
        node = await _deploy(kit, "clinic", "ward")
        other = await _deploy(kit, "shop", "cart")
        assert node == other, "the cheapest place for both"
        assert (await kit.first_call(node, "/ward")).text == "hello\n"
        assert (await kit.first_call(node, "/cart")).text == "hello\n"
        ward, cart = await _pid(kit, "clinic.ward", node), await _pid(kit, "shop.cart", node)
        serving = kit.fabric.nodes[node].child.pid
        assert len({ward, cart, serving}) == 3

        os.kill(ward, signal.SIGKILL)
        answer = await kit.call(node, "/ward")
        while answer.headers.get("hanse-error") == "worker.down":  # on a busy machine it is not there again within 2 s
            answer = await kit.call(node, "/ward")
        assert (answer.status_code, answer.text) == (200, "hello\n"), "asked once more of the next process"

        async def counted() -> bool:
            worker = await _worker(kit, "clinic.ward", node)
            return worker is not None and worker["restarts"] == 1 and worker["pid"] != ward

        await kit.until(counted, "the restart being counted")
        again = await _worker(kit, "clinic.ward", node)
        assert again is not None
        assert "SIGKILL" in again["last_end"]
        assert await _pid(kit, "shop.cart", node) == cart, "the neighbour's process noticed nothing"
        assert kit.fabric.nodes[node].child.pid == serving, "nor did the node"
        assert await kit.reach(node) == "ready"

    harness.run(scenario(harness.kit))


def test_a_user_sees_who_has_a_process_of_its_own(harness: Harness) -> None:
    async def scenario(kit: Kit) -> None:
        node = await _deploy(kit, "clinic", "chart")
        assert (await kit.first_call(node, "/chart")).status_code == 200
        pid = await _pid(kit, "clinic.chart", node)
        described = await _hanse(kit, "describe", "workload", "clinic.chart")
        assert described["summary"]["isolation"] == "process"
        (instance,) = await _hanse(kit, "get", "instances", "--workload", "clinic.chart")
        assert instance["isolation"] == "process"
        assert (await _hanse(kit, "explain", "clinic.chart"))["isolation"] == "process"
        shown = await _hanse(kit, "top", as_text=True)
        (line,) = [line for line in shown.splitlines() if line.startswith("clinic.chart")]
        assert f"  {pid}" in line
        assert "no Landlock" not in line

    harness.run(scenario(harness.kit))


def test_a_node_that_is_killed_takes_its_workers_with_it(harness: Harness) -> None:
    async def scenario(kit: Kit) -> None:
        node = await _deploy(kit, "clinic", "night")
        assert (await kit.first_call(node, "/night")).status_code == 200
        pid = await _pid(kit, "clinic.night", node)
        await kit.fabric.kill(node)

        async def is_gone() -> bool:
            return not _is_alive(pid)

        await kit.until(is_gone, "the worker ending with its node")
        await kit.fabric.restart(node)
        await kit.until_reach(node, "ready")

    harness.run(scenario(harness.kit))


def test_a_hot_restart_with_a_worker_running_loses_no_request(harness: Harness) -> None:
    async def scenario(kit: Kit) -> None:
        node = await _deploy(kit, "clinic", "steady")
        assert (await kit.first_call(node, "/steady")).status_code == 200
        old = await _pid(kit, "clinic.steady", node)
        before = kit.fabric.nodes[node].child
        async with steered(kit.fabric), kit.load("/steady", node) as load:
            said = await _hanse(kit, "node", "restart", node, "--hot")
            assert said["pid"] == kit.fabric.nodes[node].child.pid != before.pid
            async with asyncio.timeout(PATIENCE_S):
                await before.wait_down()
            await kit.until_reach(node, "ready")
        assert load.failures == []
        assert load.answered > 0

        async def has_ended() -> bool:
            return not _is_alive(old)

        await kit.until(has_ended, "the worker ending with the process that it belonged to")

        async def has_another() -> bool:
            worker = await _worker(kit, "clinic.steady", node)
            return worker is not None and worker["pid"] != old

        await kit.until(has_another, "a worker of the process that serves now")

    harness.run(scenario(harness.kit))


def test_a_fabric_that_stops_leaves_no_worker_behind(guests: Mapping[str, Path]) -> None:
    async def scenario(kit: Kit) -> int:
        node = await _deploy(kit, "clinic", "last")
        assert (await kit.first_call(node, "/last")).status_code == 200
        return await _pid(kit, "clinic.last", node)

    with Harness(guests) as running:
        pid = running.run(scenario(running.kit))
        assert _is_alive(pid)
    assert not _is_alive(pid)
