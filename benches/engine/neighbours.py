"""What a function at its limits costs its neighbours, and what the same work costs them outside of the engine.

The second is the part that no engine can take away where load, neighbours and noise share the processors: caches, the
kernel's balancing, and a processor that is not idle when a request comes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benches import report
from benches.engine import loads, servers
from benches.engine.loads import Load
from benches.engine.rivals import Effort
from benches.engine.servers import Server
from benches.engine.tools import Say, Tools

NEIGHBOURS = {
    "spin": "computes for as long as it may",
    "hog": "takes all memory it may have",
    "flood": "writes an answer without end",
}
OUTSIDE = {
    "outside_idle": "spins outside of the engine on every processor, at the priority of its long lane",
    "outside": "spins outside of the engine on every processor, at ordinary priority",
}
VICTIM_RATE = 500.0
NOISE_CONNECTIONS = 8
NEIGHBOUR_LIMITS = {"concurrency": 2, "queue": 16, "timeout_ms": 1_000}
SPIN = "import os\nif {is_idle}: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass\n"


def noisy_neighbour(tools: Tools, effort: Effort, say: Say) -> dict[str, Any]:
    """The 99th percentile of hello at a steady rate, alone and beside each kind of noise, in turn."""
    figures: dict[str, Any] = {"rate": VICTIM_RATE, "limits": NEIGHBOUR_LIMITS}
    for noise, what in {**NEIGHBOURS, **OUTSIDE}.items():
        alone, beside = [], []
        with tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder, servers.bare_host() as host:
            host.start(Path(folder))
            host.serve({"w": tools.components["hello"]})
            if noise in NEIGHBOURS:
                host.serve({noise: tools.components["loop" if noise == "spin" else noise]}, **NEIGHBOUR_LIMITS)
            victim = Load(path="/w", connections=16, seconds=effort.seconds, rate=VICTIM_RATE)
            server = host.as_server()
            loads.put(tools, server, victim)
            for _ in range(effort.rounds):
                alone.append(loads.put(tools, server, victim))
                with _noise(noise, tools, server, effort.seconds + 2):
                    beside.append(loads.put(tools, server, victim))
        growth = [b.p99_us / a.p99_us for a, b in zip(alone, beside, strict=True)]
        figures[noise] = {
            "what": what,
            **({} if noise in NEIGHBOURS else {"bar": "the part that is not the engine's"}),
            "alone": loads.summary(alone),
            "beside": loads.summary(beside),
            "p99_growth": report.spread(growth, 2),
        }
        say(f"neighbour {noise} ({what}): p99 x {figures[noise]['p99_growth']}")
    return figures


@contextlib.contextmanager
def _noise(noise: str, tools: Tools, server: Server, seconds: float) -> Iterator[None]:
    if noise in NEIGHBOURS:
        commands = [[str(tools.load), server.address, f"/{noise}", str(NOISE_CONNECTIONS), str(seconds)]]
    else:
        program = SPIN.format(is_idle=noise == "outside_idle")
        commands = [[sys.executable, "-c", program]] * (os.cpu_count() or 1)
    with contextlib.ExitStack() as running:
        for command in commands:
            process = running.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            running.callback(process.kill)
        yield
