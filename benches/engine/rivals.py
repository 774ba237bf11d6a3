"""The same handlers on the engine, `wasmtime serve` and `workerd`: requests per second, latency, processor time.

All three run at once and are asked in turn, so that what else the machine does hits them alike. A fresh instance per
request on the first two; workerd keeps its isolate, which is its way of working.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.engine import loads, servers
from benches.engine.loads import Load, Sample
from benches.engine.servers import Server
from benches.engine.tools import Say, Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One handler in the form of each server."""

    component: str
    modules: tuple[str, ...]
    """For workerd, the main one first; empty where it has no way to run it from its package alone."""
    path: str = "/"
    body_bytes: int = 0
    memory_mib: int = 64


HANDLERS = {
    "hello": Handler(component="hello", modules=("workerd-hello.js",)),
    "echo": Handler(component="echo", modules=("workerd-echo.js",), body_bytes=1_024),
    "body": Handler(component="echo", modules=("workerd-echo.js",), body_bytes=65_536),
    "primes": Handler(component="primes", modules=("workerd-primes.js",)),
    # Python in workerd needs a distribution of Pyodide that is not in the package.
    "python": Handler(component="quote.py", modules=(), path="/?quantity=12", memory_mib=256),
    "javascript": Handler(
        component="quote.js", modules=("workerd-quote.js", "quote.js"), path="/?quantity=12", memory_mib=256
    ),
}
CONCURRENCY = (1, 32, 256)
HALF_PEAK_CONNECTIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long and how often is measured."""

    rounds: int
    seconds: float


def compare(name: str, tools: Tools, effort: Effort, say: Say) -> dict[str, Any]:
    """Measure one handler on every server that can run it."""
    handler = HANDLERS[name]
    with (
        tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder,
        _running(handler, tools, Path(folder)) as running,
    ):
        _check(handler, tools, running)
        closed = {
            connections: _in_turn(
                tools,
                {one: _load(handler, effort, connections=connections) for one in running},
                effort,
            )
            for connections in CONCURRENCY
        }
        peaks = {one: max(loads.peak(samples[one]) for samples in closed.values()) for one in running}
        half = {one: _load(handler, effort, connections=HALF_PEAK_CONNECTIONS, rate=peaks[one] / 2) for one in running}
        at_half = _in_turn(tools, half, effort)
    figures: dict[str, Any] = {}
    for one in running:
        figures[one.name] = {
            "concurrency": {str(count): loads.summary(samples[one]) for count, samples in closed.items()},
            "half_peak": {"rate": round(half[one].rate), **loads.summary(at_half[one])},
        }
        best = figures[one.name]["concurrency"]
        say(
            f"{name} on {one.name}: "
            + ", ".join(f"{count}: {row['requests_per_s']['median']:.0f}/s" for count, row in best.items())
            + f"; {best['1']['cpu_us']['median']:.0f} us of processor each"
            + f"; at half p99 {figures[one.name]['half_peak']['p99_ms']['median']} ms"
        )
    return figures


@contextlib.contextmanager
def _running(handler: Handler, tools: Tools, folder: Path) -> Iterator[list[Server]]:
    component = tools.components[handler.component]
    with contextlib.ExitStack() as stack:
        cache = folder / "cache"
        host = stack.enter_context(servers.engine(cache, {"w": component}, memory_mib=handler.memory_mib))
        running = [host.as_server(), stack.enter_context(servers.wasmtime(tools, component))]
        if handler.modules:
            running.append(stack.enter_context(servers.workerd(tools, folder, handler.modules)))
        yield running


def _check(handler: Handler, tools: Tools, running: list[Server]) -> None:
    """All answer, and with bodies of one length; this also warms them up."""
    warm_up = Load(path=handler.path, body_bytes=handler.body_bytes, connections=4, seconds=1.0)
    lengths = {}
    for server in running:
        sample = loads.put(tools, server, warm_up)
        if sample.errors or not sample.requests:
            raise RuntimeError(f"{server.name}: {sample.errors} errors, {sample.last_error}")
        lengths[server.name] = sample.body_bytes
    if len(set(lengths.values())) > 1:
        raise RuntimeError(f"the servers answer differently: {lengths}")


def _load(handler: Handler, effort: Effort, *, connections: int, rate: float = 0.0) -> Load:
    return Load(
        path=handler.path,
        body_bytes=handler.body_bytes,
        connections=connections,
        seconds=effort.seconds,
        rate=rate,
    )


def _in_turn(tools: Tools, planned: dict[Server, Load], effort: Effort) -> dict[Server, list[Sample]]:
    """Every server in each round, and another one first each time."""
    samples: dict[Server, list[Sample]] = {server: [] for server in planned}
    order = list(planned)
    for _ in range(effort.rounds):
        for server in order:
            samples[server].append(loads.put(tools, server, planned[server]))
        order = order[1:] + order[:1]
    return samples
