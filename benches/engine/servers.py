"""The servers under load, each one a process: the engine and its rivals, started, measured from outside and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benches.engine.tools import HANDLERS, ROOT, Tools

START_S = 60.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
WORKERD_CONFIG = """\
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (modules = [{modules}], compatibilityDate = "2026-11-01"))],
  sockets = [(name = "http", address = "{address}", http = (), service = "main")],
);
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    address: str
    process: subprocess.Popen[str]

    def cpu_s(self) -> float:
        """Processor time so far, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


@dataclass(slots=True)
class Host:
    """An engine in a process of its own; see `benches.engine.host`."""

    process: subprocess.Popen[str]
    front: str = ""
    mesh: str = ""
    loaded: list[str] = field(default_factory=list)

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Give one order and return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the engine's process has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def start(self, cache: Path, node: str = "bench") -> None:
        """Make the engine and begin to serve."""
        bound = self.ask("start", cache=str(cache), node=node)
        self.front, self.mesh = bound["front"], bound["mesh"]

    def serve(self, components: dict[str, Path], **limits: Any) -> list[float]:
        """Load components and route `/<name>/` to each; the first one has the root too. Returns seconds per load."""
        took = self.ask("load", components={name: str(path) for name, path in components.items()}, **limits)
        self.loaded += list(components)
        self.route()
        return list(took["seconds"])

    def route(self) -> None:
        """Route what is loaded."""
        routes = [{"workload": name, "path": f"/{name}"} for name in self.loaded]
        self.ask("routes", routes=[{"workload": self.loaded[0], "path": "/"}, *routes])

    def as_server(self) -> Server:
        """This process as a server under load."""
        return Server("hanse", self.front, self.process)


@contextlib.contextmanager
def bare_host() -> Iterator[Host]:
    """A process that can hold an engine and has none yet."""
    command = [sys.executable, "-m", "benches.engine.host"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with _ended(process):
        yield Host(process)


@contextlib.contextmanager
def engine(cache: Path, components: dict[str, Path], **limits: Any) -> Iterator[Host]:
    """An engine that serves `components`."""
    with bare_host() as host:
        host.start(cache)
        host.serve(components, **limits)
        yield host


@contextlib.contextmanager
def wasmtime(tools: Tools, component: Path) -> Iterator[Server]:
    """`wasmtime serve`: pooling allocator, one instance per request, which is its default for WASI 0.2."""
    address = _free_address()
    command = [str(tools.wasmtime), "serve", "-Scli", "-Opooling-allocator=y", "--addr", address, str(component)]
    with _process(command) as process:
        yield _listening("wasmtime", address, process)


@contextlib.contextmanager
def workerd(tools: Tools, folder: Path, modules: tuple[str, ...]) -> Iterator[Server]:
    """`workerd serve`: one worker, whose isolate stays."""
    address = _free_address()
    entries = []
    for name in modules:
        (folder / name).write_text((HANDLERS / name).read_text())
        entries.append(f'(name = "{name}", esModule = embed "{name}")')
    config = folder / "config.capnp"
    config.write_text(WORKERD_CONFIG.format(modules=", ".join(entries), address=address))
    with _process([str(tools.workerd), "serve", str(config)]) as process:
        yield _listening("workerd", address, process)


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    with _ended(process):
        yield process


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _free_address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def _listening(name: str, address: str, process: subprocess.Popen[str]) -> Server:
    host, _, port = address.rpartition(":")
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return Server(name, address, process)
        time.sleep(0.02)
    raise RuntimeError(f"{name} does not listen")
