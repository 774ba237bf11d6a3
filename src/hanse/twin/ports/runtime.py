"""The `Runtime` and `Meter` ports as a model: load and service times, memory and watts from parameters.

`EngineModel (measured on the real engine) -> waits, counters`. It models when things take place, not what a guest
computes. Requests come in through `MemoryRuntime.request`, from a scenario's clients.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hanse.core.errors import RuntimeFailure
from hanse.core.fabric import Power, Resources
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.ports import NO_SECRETS, Clock, InvokePolicy, JobStep, LogLine, Reading, RouteEntry, WorkloadStats
from hanse.core.time import US_PER_S
from hanse.core.work import Workload
from hanse.wire.canonical import digest_bytes

_LOG_LIMIT = 1_000
_PIECES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineModel:
    """What the engine costs. Times in microseconds, sizes in bytes."""

    load_fixed_us: int = 20_000
    load_us_per_mib: int = 60_000
    """Compiling one MiB of component; measured figures replace this default with their source."""
    service_us: int = 1_000
    service_jitter_us: int = 200
    idle_rss_bytes: int = 40 * 2**20
    loaded_rss_bytes: int = 8 * 2**20
    """Added by each loaded workload."""


class Watcher(Protocol):
    """Sees what a runtime serves as it changes, for checkers. Changes nothing."""

    def loaded(self, node: NodeId, workload: Workload) -> None:
        """A workload serves from now on, perhaps in place of an older generation."""
        ...

    def unloaded(self, node: NodeId, workload: WorkloadId) -> None:
        """A workload was told to stop and has."""
        ...


class Mesh:
    """The wires between fronts: which runtime answers at a mesh address. A crash removes its entry."""

    def __init__(self) -> None:
        self._runtimes: dict[str, MemoryRuntime] = {}

    def join(self, address: str, runtime: MemoryRuntime) -> None:
        """Answer at an address."""
        self._runtimes[address] = runtime

    def leave(self, node: NodeId) -> None:
        """Stop answering wherever this node did: its process ended."""
        self._runtimes = {at: one for at, one in self._runtimes.items() if one.node != node}

    def at(self, address: str) -> MemoryRuntime | None:
        """The runtime that answers there, if any."""
        return self._runtimes.get(address)


class MemoryRuntime:
    """One node's engine. `mesh` carries forwarded requests; `rng` draws service times."""

    def __init__(
        self,
        node: NodeId,
        *,
        model: EngineModel,
        clock: Clock,
        mesh: Mesh,
        rng: random.Random,
        watcher: Watcher | None = None,
    ) -> None:
        self.node = node
        self._model = model
        self._clock = clock
        self._mesh = mesh
        self._rng = rng
        self._watcher = watcher
        self._loaded: dict[WorkloadId, Workload] = {}
        self.told: dict[WorkloadId, Mapping[str, str]] = {}
        """The secrets that work runs with."""
        self._routes: tuple[RouteEntry, ...] = ()
        self._stats: dict[WorkloadId, WorkloadStats] = {}
        self._logs: dict[WorkloadId, deque[LogLine]] = {}
        self._lines = 0
        self.busy_us = 0

    async def load(
        self, workload: Workload, component: bytes, invoke: InvokePolicy, secrets: Mapping[str, str] = NO_SECRETS
    ) -> None:
        """Take as long as the model says; its callers are anonymous, and let in.

        Raises RuntimeFailure if the bytes are not the workload's artifact.
        """
        if digest_bytes(component) != workload.artifact:
            raise RuntimeFailure(f"{workload.id}: not the artifact", code="runtime.artifact", retry=False)
        load_us = self._model.load_fixed_us + self._model.load_us_per_mib * len(component) // 2**20
        self.busy_us += load_us
        await asyncio.sleep(load_us / US_PER_S)
        self._loaded[workload.id] = workload
        self.told[workload.id] = secrets
        if self._watcher is not None:
            self._watcher.loaded(self.node, workload)
        self._stats.setdefault(workload.id, WorkloadStats())
        self._log(workload.id, f"loaded generation {workload.generation}")

    async def unload(self, workload: WorkloadId) -> None:
        """Stop serving; absent is fine."""
        self.told.pop(workload, None)
        if self._loaded.pop(workload, None) is not None:
            if self._watcher is not None:
                self._watcher.unloaded(self.node, workload)
            self._log(workload, "unloaded")

    async def set_routes(self, routes: Sequence[RouteEntry]) -> None:
        """Swap the whole route table."""
        self._routes = tuple(routes)

    async def set_identity(
        self, certificate_chain_pem: bytes, private_key_pem: bytes, bundle_pem: bytes, revoked: Sequence[str]
    ) -> None:
        """Accept any SVID that has all its parts; TLS itself is not modelled. Raises RuntimeFailure."""
        if not (certificate_chain_pem and private_key_pem and bundle_pem):
            raise RuntimeFailure("an SVID needs a chain, a key and a bundle", code="runtime.identity", retry=False)

    async def stats(self) -> dict[WorkloadId, WorkloadStats]:
        """Counters per workload, in id order."""
        return {workload: self._stats[workload] for workload in sorted(self._stats)}

    async def logs(self, workload: WorkloadId, after: int, limit: int) -> Sequence[LogLine]:
        """Lines with `seq` greater than `after`, oldest first."""
        return [line for line in self._logs.get(workload, ()) if line.seq > after][:limit]

    def running(self) -> tuple[WorkloadId, ...]:
        """What is loaded, in id order: what a checker compares with the orders."""
        return tuple(sorted(self._loaded))

    def memory_bytes(self) -> int:
        """Modelled resident memory."""
        return self._model.idle_rss_bytes + len(self._loaded) * self._model.loaded_rss_bytes

    async def request(self, path: str) -> NodeId:
        """Serve a request here, or on the nearest replica that answers, trying the next on failure.

        Returns the node that served. Raises RuntimeFailure ``route.none`` or ``route.exhausted``.
        """
        route = self._route(path)
        if route is None:
            raise RuntimeFailure(f"no route for {path}", code="route.none", retry=False)
        if route.workload in self._loaded:
            await self._serve(route.workload)
            return self.node
        self._count(route.workload, requests=1)
        for replica in sorted(route.replicas, key=lambda one: (one.rtt_us, one.node)):
            await asyncio.sleep(replica.rtt_us / US_PER_S)
            target = self._mesh.at(replica.address)
            if target is not None and target.serves(route.workload):
                await target._serve(route.workload, from_mesh=1)
                if self._mesh.at(replica.address) is target:  # it lived long enough to answer
                    return replica.node
            self._count(route.workload, retried=1)
        raise RuntimeFailure(f"no replica of {route.workload} answers", code="route.exhausted", retry=True)

    def serves(self, workload: WorkloadId) -> bool:
        """Tell whether the workload is loaded here."""
        return workload in self._loaded

    async def _serve(self, workload: WorkloadId, *, from_mesh: int = 0) -> None:
        service_us = self._model.service_us + self._rng.randint(0, self._model.service_jitter_us)
        self.busy_us += service_us
        self._count(workload, requests=1, from_mesh=from_mesh, cpu_us=service_us)
        await asyncio.sleep(service_us / US_PER_S)

    def _route(self, path: str) -> RouteEntry | None:
        """The route with the longest path prefix."""
        fitting = [route for route in self._routes if _is_below(path, route.path)]
        return max(fitting, key=lambda route: (len(route.path), route.workload), default=None)

    def _count(
        self, workload: WorkloadId, *, requests: int = 0, from_mesh: int = 0, retried: int = 0, cpu_us: int = 0
    ) -> None:
        held = self._stats.get(workload, WorkloadStats())
        self._stats[workload] = replace(
            held,
            requests=held.requests + requests,
            from_mesh=held.from_mesh + from_mesh,
            retried=held.retried + retried,
            cpu_us=held.cpu_us + cpu_us,
            latency_us_p50=self._model.service_us + self._model.service_jitter_us // 2,
            latency_us_p99=self._model.service_us + self._model.service_jitter_us,
        )

    def _log(self, workload: WorkloadId, text: str) -> None:
        self._lines += 1
        lines = self._logs.setdefault(workload, deque(maxlen=_LOG_LIMIT))
        lines.append(LogLine(seq=self._lines, time_us=self._clock.wall(), stream="engine", text=text))


class MemoryJobs:
    """Runs jobs in virtual time. Each piece takes as long as the spec says, a tenth of it where it may be interrupted.

    The environment speaks for the guest: ``TWIN_FAILS`` is how often it fails first, wherever it runs; ``TWIN_TAKES``
    is how many seconds it takes, if not as many as its owner expects.
    """

    def __init__(self, failed: dict[WorkloadId, int] | None = None) -> None:
        """`failed`: failures so far, shared by all machines of a world."""
        self._failed = {} if failed is None else failed
        self.pieces: list[tuple[WorkloadId, bytes]] = []
        """Pieces that began, with what they went on from."""

    async def run(self, workload: Workload, component: bytes, checkpoint: bytes) -> JobStep:
        """Take the time; the checkpoint counts the pieces. Raises RuntimeFailure ``job.failed``."""
        job = workload.job
        if job is None or digest_bytes(component) != workload.artifact:
            raise RuntimeFailure(f"{workload.id}: not a job, or not its artifact", code="runtime.artifact", retry=False)
        self.pieces.append((workload.id, checkpoint))
        takes_us = int(workload.env.get("TWIN_TAKES", "0")) * US_PER_S or job.duration_us
        pieces = _PIECES if job.is_interruptible else 1
        await asyncio.sleep(takes_us / pieces / US_PER_S)
        failed = self._failed.get(workload.id, 0)
        if failed < int(workload.env.get("TWIN_FAILS", "0")):
            self._failed[workload.id] = failed + 1
            raise RuntimeFailure(f"{workload.id} answered 500", code="job.failed", retry=False)
        done = int(checkpoint or b"0") + 1
        return JobStep(has_more=done < pieces, checkpoint=str(done).encode())

    async def unload(self, workload: WorkloadId) -> None:
        """Nothing is kept."""


class ModelMeter:
    """Reads a `MemoryRuntime`: power is the node's linear model at the modelled CPU use since the last reading."""

    def __init__(self, runtime: MemoryRuntime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock
        self._last_at_us = clock.monotonic()
        self._last_busy_us = 0

    def read(self, power: Power, capacity: Resources) -> Reading:
        """Read now; always modelled."""
        now, busy = self._clock.monotonic(), self._runtime.busy_us
        span_us = max(1, now - self._last_at_us)
        busy_milli = min(capacity.cpu_milli, (busy - self._last_busy_us) * 1_000 // span_us)
        self._last_at_us, self._last_busy_us = now, busy
        return Reading(
            cpu_us=busy,
            rss_bytes=self._runtime.memory_bytes(),
            power_mw=power.idle_mw + power.per_core_mw * busy_milli // 1_000,
            is_modelled=True,
        )


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix.rstrip("/") + "/")
