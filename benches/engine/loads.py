"""Load on a server from a process of its own, and what it took: the generator is `crates/load`."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benches import report
from benches.engine.servers import Server
from benches.engine.tools import Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of load."""

    path: str = "/"
    connections: int = 1
    seconds: float = 3.0
    rate: float = 0.0
    """Requests per second, sent when they are due; 0: each connection sends when it has its answer."""
    body_bytes: int = 0
    paths: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one round of load took."""

    requests: int
    requests_per_s: float
    p50_us: float
    p99_us: float
    cpu_us_per_request: float
    """Processor time of the server; less at the mercy of a busy machine than the rest."""
    body_bytes: int
    errors: int
    last_error: str


def put(tools: Tools, server: Server, load: Load) -> Sample:
    """Put a load on a server, once."""
    before = server.cpu_s()
    words = [server.address, load.path, load.connections, load.seconds, load.rate, load.body_bytes, load.paths]
    ran = subprocess.run([str(tools.load), *map(str, words)], capture_output=True, text=True, check=True)
    said: dict[str, Any] = json.loads(ran.stdout)
    return Sample(
        requests=said["requests"],
        requests_per_s=said["requests_per_s"],
        p50_us=said["us"]["p50"],
        p99_us=said["us"]["p99"],
        cpu_us_per_request=(server.cpu_s() - before) * 1e6 / max(1, said["requests"]),
        body_bytes=said["body_bytes"],
        errors=said["errors"],
        last_error=said["last_error"],
    )


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Medians and spread of several rounds."""
    return {
        "requests_per_s": report.spread([one.requests_per_s for one in samples], 0),
        "p50_ms": report.spread([one.p50_us / 1_000 for one in samples]),
        "p99_ms": report.spread([one.p99_us / 1_000 for one in samples]),
        "cpu_us": report.spread([one.cpu_us_per_request for one in samples], 1),
        "errors": sum(one.errors for one in samples),
        **({"last_error": why} if (why := next((one.last_error for one in samples if one.last_error), "")) else {}),
    }


def peak(samples: Sequence[Sample]) -> float:
    """The rate of the median round."""
    return statistics.median(one.requests_per_s for one in samples)
