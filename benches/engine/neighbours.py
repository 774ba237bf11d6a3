"""What a function at its limits costs its neighbours, beside what this machine takes from all who use it whole.

In each round hello is asked alone, beside the noise, and beside programs of the lowest priority that only count: what
those cost (caches, the hypervisor's pauses of a processor that is never idle, the way from sleep to run) no engine can
take away. The noise's clients run at the lowest priority: in life they are other machines, and what they do to receive
an answer is none of the engine's work. They still get all that is left over.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benches import report
from benches.engine import loads, servers
from benches.engine.loads import Load
from benches.engine.rivals import Effort
from benches.engine.tools import Say, Tools

NEIGHBOURS = {
    "spin": "computes for as long as it may",
    "hog": "takes all memory it may have",
    "flood": "writes an answer without end",
}
VICTIM_RATE = 500.0
NOISE_CONNECTIONS = 8
NEIGHBOUR_LIMITS = {"concurrency": 2, "queue": 16, "timeout_ms": 1_000}
ROUNDS = 3
"""More rounds than of other figures: a percentile of some hundred requests is an unsteady one."""
COUNT = [sys.executable, "-c", "while True: pass"]
LOOK_AT_CLOCK = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
now = time.monotonic_ns
began = last = now()
lost = longest = 0
while last < began + int(sys.argv[2]):
    at = now()
    if at - last > 500_000:
        lost += at - last
        longest = max(longest, at - last)
    last = at
print(lost / (last - began), longest / 1e6)
"""


def noisy_neighbour(tools: Tools, effort: Effort, say: Say) -> dict[str, Any]:
    """The 99th percentile of hello at a steady rate: alone, beside each noise, and beside mere counting, in turn."""
    figures: dict[str, Any] = {"rate": VICTIM_RATE, "limits": NEIGHBOUR_LIMITS, "rounds": ROUNDS * effort.rounds}
    figures["pauses"] = _pauses(effort)
    say(f"pauses of processors that are never idle: {figures['pauses']}")
    for noise, what in NEIGHBOURS.items():
        samples: dict[str, list[loads.Sample]] = {"alone": [], "beside": [], "machine": []}
        with tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder, servers.bare_host() as host:
            host.start(Path(folder))
            host.serve({"w": tools.components["hello"]})
            host.serve({noise: tools.components["loop" if noise == "spin" else noise]}, **NEIGHBOUR_LIMITS)
            server = host.as_server()
            victim = Load(path="/w", connections=16, seconds=effort.seconds, rate=VICTIM_RATE)
            loads.put(tools, server, victim)
            clients = [str(tools.load), server.address, f"/{noise}", str(NOISE_CONNECTIONS), str(effort.seconds + 2)]
            for _ in range(figures["rounds"]):
                samples["alone"].append(loads.put(tools, server, victim))
                with _lowest([clients]):
                    samples["beside"].append(loads.put(tools, server, victim))
                with _lowest([COUNT] * (os.cpu_count() or 1)):
                    samples["machine"].append(loads.put(tools, server, victim))
        figures[noise] = {
            "what": what,
            **{name: loads.summary(taken) for name, taken in samples.items()},
            "p99_growth": _growth(samples["beside"], samples["alone"]),
            "machine_growth": _growth(samples["machine"], samples["alone"]),
        }
        grown, machine = figures[noise]["p99_growth"], figures[noise]["machine_growth"]
        say(f"neighbour {noise} ({what}): p99 x {grown}, the machine's own x {machine}")
    return figures


def _pauses(effort: Effort) -> dict[str, Any]:
    """How long a program that only looks at the clock does not see it: pauses over 0.5 ms, nothing else running."""
    share, longest = [], []
    for _ in range(ROUNDS * effort.rounds):
        looking = [
            subprocess.Popen(
                [sys.executable, "-c", LOOK_AT_CLOCK, str(cpu), str(int(effort.seconds * 1e9))],
                stdout=subprocess.PIPE,
                text=True,
            )
            for cpu in sorted(os.sched_getaffinity(0))
        ]
        for process in looking:
            words = process.communicate()[0].split()
            share.append(float(words[0]) * 100)
            longest.append(float(words[1]))
    return {"percent": report.spread(share, 2), "longest_ms": report.spread(longest, 2)}


def _growth(beside: Sequence[loads.Sample], alone: Sequence[loads.Sample]) -> dict[str, Any]:
    return report.spread([b.p99_us / a.p99_us for a, b in zip(alone, beside, strict=True)], 2)


@contextlib.contextmanager
def _lowest(commands: Sequence[Sequence[str]]) -> Iterator[None]:
    """Run programs at the lowest priority (`SCHED_IDLE`, sched(7)) meanwhile."""
    with contextlib.ExitStack() as running:
        for command in commands:
            process = running.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            running.callback(process.kill)
            os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
        yield
