"""What a worker process costs: added time per request, memory, start. `components -> one JSON line`.

    python -m benches.workers --guests DIRECTORY [--rounds 20]

The same component is loaded twice, once in the node's process and once with `isolation: process`, and both are asked
in turns from one connection, so that whatever else the machine does hits both. `DIRECTORY` holds `hello.wasm`, as
`cargo run -p hanse-guests` writes it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benches.report import header, spread
from hanse import _engine
from hanse.adapters.engine_runtime import worker_command

REQUESTS_PER_ROUND = 200
STARTS = 8
_NS_PER_US = 1_000


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benches.workers")
    parser.add_argument("--guests", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    hello = (options.guests / "hello.wasm").read_bytes()
    with tempfile.TemporaryDirectory() as cache:
        engine = _engine.Engine(
            _engine.EngineConfig(
                node="bench",
                trust_domain="bench.hanse",
                front_bind="127.0.0.1:0",
                mesh_bind="127.0.0.1:0",
                cache_dir=cache,
                worker_command=worker_command(),
            )
        )
        front = engine.start().front
        try:
            figures = _requests(engine, front, hello, options.rounds) | _starts(engine, hello)
        finally:
            engine.stop(0)
    sys.stdout.write(json.dumps(header("workers") | figures, sort_keys=True) + "\n")
    return 0


def _requests(engine: _engine.Engine, front: str, hello: bytes, rounds: int) -> dict[str, object]:
    engine.load("shared", hello, _engine.Limits(trust_class="a"), [], {})
    engine.load("process", hello, _engine.Limits(trust_class="b", isolation="process"), [], {})
    engine.set_routes([_engine.Route(workload=n, path_prefix=f"/{n}", replicas=()) for n in ("shared", "process")])
    connection = http.client.HTTPConnection(front, timeout=30)
    took: dict[str, list[float]] = {"shared": [], "process": []}
    added = []
    for _ in range(rounds):
        medians = {}
        for name in ("shared", "process"):
            this_round = [_ask(connection, f"/{name}") for _ in range(REQUESTS_PER_ROUND)]
            took[name].extend(this_round)
            medians[name] = statistics.median(this_round)
        added.append(medians["process"] - medians["shared"])
    connection.close()
    (worker,) = engine.stats().workers
    return {
        "added_us_p50": spread(added, 1),
        "shared_us": _quantiles(took["shared"]),
        "process_us": _quantiles(took["process"]),
        "worker_rss_mib": round(worker.rss_bytes / 2**20, 1),
    }


def _starts(engine: _engine.Engine, hello: bytes) -> dict[str, object]:
    """New tenants, one after the other: process to first word, and the whole load."""
    starts, loads, memory = [], [], []
    for number in range(STARTS):
        tenant = f"start-{number}"
        begun = time.perf_counter_ns()
        engine.load(tenant, hello, _engine.Limits(trust_class=tenant, isolation="process"), [], {})
        loads.append((time.perf_counter_ns() - begun) / 1e6)
        worker = next(one for one in engine.stats().workers if one.tenant == tenant)
        starts.append(worker.start_us / 1e3)
        memory.append(worker.rss_bytes / 2**20)
    return {
        "start_ms": spread(starts, 1),
        "first_load_ms": spread(loads, 1),
        "idle_rss_mib": spread(memory, 1),
    }


def _ask(connection: http.client.HTTPConnection, path: str) -> float:
    begun = time.perf_counter_ns()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    if answer.status != http.client.OK:
        raise RuntimeError(f"{path} answered {answer.status}")
    return (time.perf_counter_ns() - begun) / _NS_PER_US


def _quantiles(samples: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(samples, n=100)
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}


if __name__ == "__main__":
    sys.exit(main())
