"""One engine in a process of its own, led by JSON lines: `orders on standard in -> answers on standard out`.

The engine is used as a node uses it, through `hanse._engine`. Each order is an object with `do`; each answer one line.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Order = Mapping[str, Any]
MIB = 2**20


class Host:
    """Does what one order says."""

    def __init__(self) -> None:
        self._engine: Any = None

    def start(self, order: Order) -> dict[str, Any]:
        """Make the engine and begin to serve."""
        from hanse import _engine

        config = _engine.EngineConfig(
            node=order.get("node", "bench"),
            trust_domain="bench.hanse",
            front_bind="127.0.0.1:0",
            mesh_bind="127.0.0.1:0",
            cache_dir=order["cache"],
            max_component_bytes=64 * MIB,
        )
        self._engine = _engine.Engine(config)
        bound = self._engine.start()
        return {"front": bound.front, "mesh": bound.mesh}

    def precompile(self, order: Order) -> dict[str, Any]:
        """Compile a component into the cache, for the engine of another process."""
        from hanse import _engine

        _engine.precompile(Path(order["component"]).read_bytes(), order["cache"], max_bytes=64 * MIB)
        return {}

    def load(self, order: Order) -> dict[str, Any]:
        """Load components as workloads; returns seconds per load."""
        from hanse import _engine

        limits = _engine.Limits(
            memory_bytes=order.get("memory_mib", 64) * MIB,
            timeout_ms=order.get("timeout_ms", 10_000),
            concurrency=order.get("concurrency", 64),
            queue=order.get("queue", 1024),
        )
        took = []
        for workload, path in order["components"].items():
            component = Path(path).read_bytes()
            began = time.perf_counter()
            self._engine.load(workload, component, limits, [], {})
            took.append(time.perf_counter() - began)
        return {"seconds": took}

    def routes(self, order: Order) -> dict[str, Any]:
        """Replace the route table: path -> workload and its replicas elsewhere."""
        from hanse import _engine

        routes = [
            _engine.Route(
                workload=one["workload"],
                path_prefix=one["path"],
                replicas=[_engine.Replica(**replica) for replica in one.get("replicas", ())],
            )
            for one in order["routes"]
        ]
        self._engine.set_routes(routes)
        return {}

    def identity(self, order: Order) -> dict[str, Any]:
        """Take an identity for the mesh."""
        self._engine.set_identity(order["chain"].encode(), order["key"].encode(), order["bundle"].encode())
        return {}

    def stats(self, _: Order) -> dict[str, Any]:
        """Selected counts per workload."""
        fields = ("requests", "cpu_us", "instances_started", "instantiate_us_p50", "instantiate_us_p99")
        stats = self._engine.stats()
        return {one.workload: {name: getattr(one, name) for name in fields} for one in stats.workloads}

    def rss(self, _: Order) -> dict[str, Any]:
        """Resident memory of this process, in KiB: all of it, and what no file is behind."""
        gc.collect()
        text = Path("/proc/self/status").read_text()
        lines = {
            name: value.split()[0]
            for name, _, value in (line.partition(":") for line in text.splitlines() if ":" in line)
            if value.strip()
        }
        return {"rss_kib": int(lines["VmRSS"]), "anonymous_kib": int(lines["RssAnon"])}


def main() -> None:
    """Answer orders until standard in ends."""
    host = Host()
    for line in sys.stdin:
        order = json.loads(line)
        act: Callable[[Order], dict[str, Any]] = getattr(host, order["do"])
        print(json.dumps(act(order)), flush=True)


if __name__ == "__main__":
    main()
