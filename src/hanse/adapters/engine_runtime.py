"""The Runtime port on the native engine: converts records, moves waiting calls off the event loop, maps errors.

`Workload -> engine limits`. Compiling a component takes seconds the first time; it runs in a thread and the engine
releases the interpreter lock meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hanse import _engine
from hanse.core.errors import RuntimeFailure
from hanse.core.ids import WorkloadId
from hanse.core.ports import (
    NO_SECRETS,
    Addresses,
    DecisionCount,
    InvokePolicy,
    LogLine,
    RouteEntry,
    WorkerProcess,
    WorkloadStats,
)
from hanse.core.time import WallTime
from hanse.core.work import JwtAuth, Kind, Workload

UNLOAD_GRACE_MS = 5_000
"""How long requests in flight may take to end when a workload leaves."""

LARGE_BYTES = 2 * 2**20
"""Components from this size on are compiled in a process of their own: 18 MB of Python take 400 MB for some seconds."""

NO_UPSTREAMS: Mapping[str, str] = {}

JobLogs = Callable[[WorkloadId, int, int], Sequence[LogLine]]
OnIdentity = Callable[[bytes, bytes, bytes], None]


class EngineRuntime:
    """One engine as a `hanse.core.ports.Runtime`."""

    def __init__(
        self,
        config: _engine.EngineConfig,
        *,
        on_identity: OnIdentity | None = None,
        upstreams: Mapping[str, str] = NO_UPSTREAMS,
        job_logs: JobLogs | None = None,
    ) -> None:
        """`upstreams`: what the node's owner allows services to name, each with the file of the authorities believed
        there (PEM; the public ones if empty); `job_logs`: what jobs wrote elsewhere.
        """
        self._engine = _engine.Engine(config)
        self._cache = Path(config.cache_dir)
        self.front = ""
        """Where the front listens (`ip:port`), once it is bound."""
        self._on_identity = on_identity
        self._job_logs = job_logs
        self._upstreams = upstreams

    def bind(self) -> Addresses:
        """Bind the front and the mesh, or take up the inherited ones; clients wait in the kernel's queue until `start`.

        Raises RuntimeFailure ``engine.address_in_use``, ``engine.socket_invalid``.
        """
        return self._listen(self._engine.bind)

    def start(self) -> Addresses:
        """Serve, binding first if need be. Raises RuntimeFailure ``engine.address_in_use``."""
        return self._listen(self._engine.start)

    def sockets(self) -> tuple[int, int]:
        """Descriptors of the listening sockets, for a successor. Raises RuntimeFailure ``engine.stopped``."""
        try:
            return self._engine.sockets()
        except _engine.EngineError as error:
            raise _failure(error) from error

    def hand_over(self, grace_ms: int) -> None:
        """Accept no more, because a successor does; returns when every client has gone or the grace is over."""
        self._engine.hand_over(grace_ms)

    def _listen(self, begin: Callable[[], _engine.Addresses]) -> Addresses:
        try:
            bound = begin()
        except _engine.EngineError as error:
            raise _failure(error) from error
        self.front = bound.front
        return Addresses(front=bound.front, mesh=bound.mesh)

    def stop(self, grace_ms: int) -> None:
        """Stop serving; requests in flight get `grace_ms` to end."""
        self._engine.stop(grace_ms)

    async def load(
        self, workload: Workload, component: bytes, invoke: InvokePolicy, secrets: Mapping[str, str] = NO_SECRETS
    ) -> None:
        """Make a workload ready to serve here."""
        limits = _engine.Limits(
            memory_bytes=workload.resources.memory_bytes,
            timeout_ms=max(1, workload.timeout_us // 1_000),
            request_body_bytes=workload.request_body_bytes,
            response_body_bytes=workload.response_body_bytes,
            reuse_count=workload.reuse.count,
            reuse_concurrency=workload.reuse.concurrency,
            reuse_idle_ms=workload.reuse.idle_us // 1_000,
            trust_class=trust_class(workload),
            isolation=workload.isolation.value,
        )
        if workload.kind is Kind.SERVICE:
            self._load_service(workload, limits)
            return
        egress = [
            _engine.EgressRule(host=rule.host, jurisdiction=rule.jurisdiction, allow_private=rule.allow_private)
            for rule in workload.egress
        ]
        await self._precompile(workload, component)
        try:
            # Before it runs: there is no moment in which it answers anybody.
            self._engine.set_auth(workload.id, _rule(workload.auth))
            await asyncio.to_thread(
                self._engine.load,
                workload.id,
                component,
                limits,
                egress,
                {**workload.env, **secrets},
                digest=workload.artifact,
                access=_engine.Access(policies=invoke.policies, entities=invoke.entities),
            )
        except _engine.EngineError as error:
            raise _failure(error) from error

    def _load_service(self, workload: Workload, limits: _engine.Limits) -> None:
        place = self._upstreams.get(workload.upstream)
        if place is None:
            raise RuntimeFailure(
                f"the owner of this node does not allow a service at {workload.upstream}",
                code="service.upstream_not_allowed",
                hint=f"start the node with --allow-upstream {workload.upstream}, or place the service elsewhere",
            )
        try:
            authorities = Path(place).read_bytes() if place else None
        except OSError as error:
            raise RuntimeFailure(
                f"the authorities of {workload.upstream} cannot be read: {error}",
                code="service.authorities_unreadable",
                hint="put the file that --allow-upstream names in its place",
            ) from error
        try:
            self._engine.set_auth(workload.id, _rule(workload.auth))
            self._engine.load_service(workload.id, workload.upstream, limits, authorities=authorities)
        except _engine.EngineError as error:
            raise _failure(error) from error

    async def _precompile(self, workload: Workload, component: bytes) -> None:
        """Compile a large component in a process of its own: the compiler's memory goes with it.

        A failure here is not told: the engine compiles for itself then, and says what is wrong.
        """
        hexadecimal = workload.artifact.removeprefix("sha256:")
        if len(component) < LARGE_BYTES or any(self._cache.glob(f"{hexadecimal}-*.cwasm")):
            return
        compiler = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "hanse.adapters.precompile",
            str(self._cache),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await compiler.communicate(component)
        except asyncio.CancelledError:
            compiler.kill()
            raise

    async def unload(self, workload: WorkloadId) -> None:
        """Stop serving a workload after its requests in flight."""
        await asyncio.to_thread(self._engine.unload, workload, UNLOAD_GRACE_MS)

    async def set_routes(self, routes: Sequence[RouteEntry]) -> None:
        """Swap the route table."""
        self._engine.set_routes(
            [
                _engine.Route(
                    workload=route.workload,
                    path_prefix=route.path,
                    host=route.host,
                    replicas=[
                        _engine.Replica(
                            node=replica.node,
                            address=replica.address,
                            spiffe_id=replica.spiffe_id,
                            rtt_us=replica.rtt_us,
                        )
                        for replica in route.replicas
                    ],
                    auth=_rule(route.auth),
                )
                for route in routes
            ]
        )

    async def set_identity(
        self, certificate_chain_pem: bytes, private_key_pem: bytes, bundle_pem: bytes, revoked: Sequence[str]
    ) -> None:
        """Swap the SVID used between nodes, and whom the mesh refuses; open connections end with the old ones."""
        try:
            self._engine.set_identity(certificate_chain_pem, private_key_pem, bundle_pem, revoked)
        except _engine.EngineError as error:
            raise _failure(error) from error
        if self._on_identity is not None:
            self._on_identity(certificate_chain_pem, private_key_pem, bundle_pem)

    def set_front_tls(
        self, certificates: Sequence[tuple[bytes, bytes]], *, client_auth: str = "none", client_bundle_pem: bytes = b""
    ) -> None:
        """Swap the front's certificates (chain and key, PEM), and what clients have to show.

        Raises RuntimeFailure ``engine.front_tls_invalid``; the old ones stay.
        """
        try:
            self._engine.set_front_tls(certificates, client_auth=client_auth, client_bundle_pem=client_bundle_pem)
        except _engine.EngineError as error:
            raise _failure(error) from error

    def set_issuer_keys(self, issuer: str, jwks: str) -> None:
        """Swap the public keys of a token issuer. Raises RuntimeFailure ``engine.jwks_invalid``; the old ones stay."""
        try:
            self._engine.set_issuer_keys(issuer, jwks)
        except _engine.EngineError as error:
            raise _failure(error) from error

    async def stats(self) -> dict[WorkloadId, WorkloadStats]:
        """Counters per workload."""
        stats = self._engine.stats()
        workers = {workload: worker for worker in stats.workers for workload in worker.workloads}
        return {
            WorkloadId(one.workload): WorkloadStats(
                requests=one.requests,
                from_mesh=one.from_mesh,
                errors=sum(one.errors.values()),
                in_flight=one.in_flight,
                latency_us_p50=one.latency_us_p50,
                latency_us_p99=one.latency_us_p99,
                forwarded=one.forwarded,
                retried=one.retried,
                cpu_us=one.cpu_us,
                peak_memory_bytes=one.peak_memory_bytes,
                worker=_worker(workers.get(one.workload)),
                instances=one.instances,
                cold_starts=one.instances_started,
                egress_bytes={name: bytes_.sent for name, bytes_ in sorted(one.egress.items())},
                decisions=tuple(
                    DecisionCount(
                        is_allowed=row.is_allowed,
                        is_error=row.is_error,
                        policies=row.policies,
                        principal=row.principal,
                        count=row.count,
                        sample_us=WallTime(row.sample_us),
                        sample_trace=row.sample_trace,
                    )
                    for row in one.decisions
                ),
            )
            for one in stats.workloads
        }

    async def logs(self, workload: WorkloadId, after: int, limit: int) -> Sequence[LogLine]:
        """Lines a guest wrote, and faults noted about it."""
        of_job = () if self._job_logs is None else self._job_logs(workload, after, limit)
        if of_job:
            return of_job
        return tuple(
            LogLine(seq=line.seq, time_us=WallTime(line.time_us), stream=line.stream, text=line.text)
            for line in self._engine.logs(workload, after, limit)
        )


WORKER_PROGRAM = """\
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
loader = ExtensionFileLoader("hanse._engine", sys.argv[1])
engine = module_from_spec(spec_from_loader("hanse._engine", loader))
loader.exec_module(engine)
engine.work()
"""
"""What a worker process runs: the engine's library and nothing else of this package, so that little stands in it."""


def worker_command() -> tuple[str, ...]:
    """Name the program that becomes a worker process: this interpreter, without site, paths or environment."""
    return (sys.executable, "-S", "-I", "-c", WORKER_PROGRAM, _engine.__file__ or "")


def _worker(stats: _engine.WorkerStats | None) -> WorkerProcess | None:
    if stats is None:
        return None
    return WorkerProcess(
        pid=stats.pid,
        restarts=stats.restarts,
        last_end=stats.last_end,
        landlock=stats.landlock,
        rss_bytes=stats.rss_bytes,
    )


def trust_class(workload: Workload) -> str:
    """Name those who may share a wasmtime engine: workloads of one namespace that handle the same classes of data.

    An engine's instances use the same memories and stacks one after the other. A flaw in how they are cleared, as
    wasmtime had one in 2026 (GHSA-6wgr-89rj-399p), then shows a guest no other owner's data and none of another class.
    """
    return "/".join((workload.namespace, *sorted(set(workload.data.classes))))


def _rule(auth: JwtAuth | None) -> _engine.JwtRule | None:
    if auth is None:
        return None
    return _engine.JwtRule(issuer=auth.issuer, audience=auth.audience, jwks=auth.jwks, is_optional=auth.is_optional)


def _failure(error: _engine.EngineError) -> RuntimeFailure:
    return RuntimeFailure(error.message, code=error.code, hint=error.hint)
