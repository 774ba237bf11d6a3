"""Measure a whole fabric of real processes on this machine. Progress on standard error, one JSON line on standard out.

`python -m benches.fabric --json [--samples N] [--kills N] [--controllers N]`. Starts the example fabric (six nodes),
deploys a small function twice, calls it, and kills its nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benches import report
from hanse.app.examples import fabric_file
from hanse.app.local import LocalFabric, running_fabric
from hanse.app.tour.load import steady_load
from hanse.core.ids import NodeId

ROOT = Path(__file__).resolve().parent.parent
WORKLOAD = "bench.hello"
PATH = "/hello"
MANIFEST = f"""\
apiVersion: hanse.dev/v1
kind: Function
metadata: {{name: hello, namespace: bench}}
spec: {{source: hello.wasm, route: {{path: {PATH}}}, replicas: 2}}
"""
PATIENCE_S = 60.0
LOOK_S = 0.01
IDLE_S = 5.0
"""After the calls, before memory is read: what a node holds when nothing asks it."""


@dataclass(slots=True)
class Bench:
    """A running fabric under measurement."""

    fabric: LocalFabric
    api: httpx.AsyncClient
    http: httpx.AsyncClient

    async def get(self, path: str) -> Any:
        """Read from the API."""
        return (await self.api.get(f"/api/v1/{path}")).raise_for_status().json()

    async def homes(self) -> list[NodeId]:
        """Nodes that serve the function."""
        return [NodeId(node) for node in (await self.get("workloads/bench/hello"))["summary"]["nodes"]]

    async def settled(self) -> bool:
        """Whether the function runs as planned, and every front leads to it."""
        rows = [row for row in await self.get(f"instances?workload={WORKLOAD}") if row["wanted"]]
        if len(rows) != 2 or any(row["phase"] != "running" for row in rows):
            return False
        return set(await self.homes()) == {row["node"] for row in rows}


async def until(is_so: Callable[[], Awaitable[bool]], what: str) -> float:
    """Wait until something is so; returns the moment."""
    async with asyncio.timeout(PATIENCE_S):
        while not await is_so():  # noqa: ASYNC110 - processes outside have no event to wait for
            await asyncio.sleep(LOOK_S)
    say(what)
    return time.monotonic()


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


async def measure(samples: int, kills: int, controllers: int) -> dict[str, Any]:
    """Run everything once; returns the figures."""
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder:
        component = build_hello(Path(folder))
        began = time.monotonic()
        async with (
            running_fabric(
                Path(folder) / "state", fabric_file(), controllers=controllers, is_restarting_nodes=False, say=say
            ) as fabric,
            fabric.client() as api,
            httpx.AsyncClient(timeout=10.0, trust_env=False) as http,
        ):
            bench = Bench(fabric, api, http)
            up = time.monotonic() - began
            deploying = time.monotonic()
            await deploy(bench, component)
            first = await until(lambda: is_answered(bench, next(iter(fabric.nodes))), "the first answer")
            await until(bench.settled, "settled")
            figures = {
                "nodes": len(fabric.nodes),
                "controllers": controllers,
                "up_s": round(up, 2),
                "first_answer_s": round(first - began, 2),
                "deploy_to_answer_s": round(first - deploying, 2),
                "calls": await calls(bench, samples),
            }
            await asyncio.sleep(IDLE_S)
            return {**figures, "memory_mib": memory(bench), "kill": await killings(bench, kills)}


def build_hello(folder: Path) -> bytes:
    """Build the function from its source in the repository."""
    command = ["cargo", "run", "--release", "--quiet", "--locked", "--package", "hanse-guests", "--", str(folder)]
    target = os.environ.get("CARGO_TARGET_DIR", str(Path.home() / ".cache" / "hanse" / "cargo-target"))
    subprocess.run(command, cwd=ROOT, env=os.environ | {"CARGO_TARGET_DIR": target}, check=True)
    return (folder / "hello.wasm").read_bytes()


async def deploy(bench: Bench, component: bytes) -> None:
    """Store the component and submit its manifest."""
    stored = (await bench.api.put("/api/v1/artifacts", content=component)).raise_for_status().json()
    body = {"files": [{"name": "hello.yaml", "text": MANIFEST}], "artifacts": {WORKLOAD: stored["digest"]}}
    (await bench.api.post("/api/v1/submissions", json=body)).raise_for_status()


async def is_answered(bench: Bench, node: NodeId) -> bool:
    """Whether the function answers through a node's front."""
    return (await bench.http.get(bench.fabric.nodes[node].url + PATH)).status_code == 200


async def calls(bench: Bench, samples: int) -> dict[str, Any]:
    """Latency of a call that is served where it arrives, and of one that is forwarded to another node."""
    homes = await bench.homes()
    away = next(node for node in sorted(bench.fabric.nodes) if node not in homes)
    figures = {}
    for kind, node in (("local", homes[0]), ("forwarded", away)):
        took_us = await call_from_outside(bench.fabric.nodes[node].front, samples)
        figures[f"{kind}_ms"] = report.percentiles([took / 1_000 for took in took_us])
        say(f"{kind}: {figures[f'{kind}_ms']}")
    return figures


async def call_from_outside(front: str, samples: int) -> list[int]:
    """Call from a client process of its own: microseconds per request."""
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benches.caller", front, PATH, str(samples), stdout=subprocess.PIPE, cwd=ROOT
    )
    out, _ = await client.communicate()
    if client.returncode != 0:
        raise RuntimeError(f"the client ended with {client.returncode}")
    took: list[int] = json.loads(out)
    return took


def memory(bench: Bench) -> dict[str, Any]:
    """Resident and proportional memory of each process."""
    pids = {name: child.pid for name, child in bench.fabric.controllers.items()}
    pids |= {str(name): process.child.pid for name, process in bench.fabric.nodes.items()}
    if bench.fabric.server is not None:
        pids["nats-server"] = bench.fabric.server.pid
    return {name: {"rss": report.rss_mib(pid), "pss": report.pss_mib(pid)} for name, pid in sorted(pids.items()) if pid}


async def killings(bench: Bench, count: int) -> dict[str, Any]:
    """Kill a serving node under load, several times: detection, restored service, failed requests."""
    detected_s, restored_s, answered, failures = [], [], 0, []
    for number in range(count):
        homes = await bench.homes()
        front = next(node for node in sorted(bench.fabric.nodes) if node not in homes)
        victim = await serving_for(bench, front)
        say(f"kill {number + 1} of {count}: {victim}, which serves {front}")
        async with steady_load([bench.fabric.nodes[front].url + PATH]) as load:
            await until(_served(load.served_by, victim), f"{victim} serves")
            killed = time.monotonic()
            await bench.fabric.kill(victim)
            detected = await until(lambda node=victim: _is_unreachable(bench, node), f"{victim} is missed")
            restored = await until(lambda old=homes: _is_restored(bench, old), "the lost replica serves elsewhere")
        detected_s.append(detected - killed)
        restored_s.append(restored - detected)
        answered += load.answered
        failures += load.failures
        await bench.fabric.restart(victim)
        await until(lambda node=victim: _is_ready(bench, node), f"{victim} is back")
        await until(bench.settled, "settled")
    return {
        "to_detected_s": report.spread(detected_s),
        "detected_to_restored_s": report.spread(restored_s),
        "requests": answered + len(failures),
        "failed_requests": len(failures),
    }


async def serving_for(bench: Bench, front: NodeId) -> NodeId:
    """Which node answers what comes in at a front."""
    answer = await bench.http.get(bench.fabric.nodes[front].url + PATH)
    return NodeId(answer.raise_for_status().headers["hanse-node"])


def _served(served_by: dict[str, int], node: NodeId) -> Callable[[], Awaitable[bool]]:
    async def is_so() -> bool:
        return node in served_by

    return is_so


async def _reach(bench: Bench, node: NodeId) -> str:
    return next(str(row["reach"]) for row in await bench.get("nodes") if row["id"] == node)


async def _is_unreachable(bench: Bench, node: NodeId) -> bool:
    return await _reach(bench, node) == "unreachable"


async def _is_ready(bench: Bench, node: NodeId) -> bool:
    return await _reach(bench, node) == "ready"


async def _is_restored(bench: Bench, old: list[NodeId]) -> bool:
    """Whether a node that did not serve before answers with its own replica."""
    for node in await bench.homes():
        if node not in old:
            answer = await bench.http.get(bench.fabric.nodes[node].url + PATH)
            return answer.headers.get("hanse-node") == node
    return False


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON line (the only format)")
    parser.add_argument("--samples", type=int, default=5_000, help="requests per kind of call")
    parser.add_argument("--kills", type=int, default=5, help="how many times a serving node is killed")
    parser.add_argument("--controllers", type=int, default=1)
    options = parser.parse_args()
    head = report.header("fabric")
    figures = asyncio.run(measure(options.samples, options.kills, options.controllers))
    print(json.dumps({**head, **figures}))


if __name__ == "__main__":
    main()
