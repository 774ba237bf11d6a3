"""The JobRunner port on an engine of its own: `job, checkpoint -> one POST to its component -> JobStep`.

That engine listens on loopback alone, under a path that nobody else can guess, and knows no other node. It has its own
time limits, so that a job of hours shares none with requests of seconds. The component sees a request whose body is the
checkpoint. It answers 200 or 204 when it is done, 202 with the next checkpoint when there is more to do; anything else
is a failure, and the beginning of the body says why.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import secrets
from collections.abc import Sequence

from hanse import _engine
from hanse.adapters.engine_runtime import trust_class
from hanse.core.errors import RuntimeFailure
from hanse.core.ids import WorkloadId
from hanse.core.ports import JobStep, LogLine
from hanse.core.time import DAY_US, WallTime
from hanse.core.work import Workload

CHECKPOINT_BYTES_MAX = 2**16
REQUEST_TIMEOUT_MS = 30 * DAY_US // 1_000
"""The engine's own limit; the job's `timeout` is the one that is meant to bind."""
REASON_CHARS = 300
_UNLOAD_GRACE_MS = 100


class EngineJobs:
    """One engine as a `hanse.core.ports.JobRunner`; it starts with the first job."""

    def __init__(self, *, node: str, trust_domain: str, cache_dir: str) -> None:
        self._config = _engine.EngineConfig(
            node=node,
            trust_domain=trust_domain,
            front_bind="127.0.0.1:0",
            mesh_bind="127.0.0.1:0",
            cache_dir=cache_dir,
            worker_threads=1,
            max_instances=64,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            write_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        self._node = node
        self._engine: _engine.Engine | None = None
        self._front = ""
        self._paths: dict[WorkloadId, str] = {}

    async def run(self, workload: Workload, component: bytes, checkpoint: bytes) -> JobStep:
        """Load the job if need be and ask it once."""
        engine = self._started()
        try:
            await asyncio.to_thread(_load, engine, workload, component)
            self._route(engine, workload.id)
        except _engine.EngineError as error:
            raise RuntimeFailure(error.message, code=error.code, hint=error.hint) from error
        status, body = await self._ask(self._paths[workload.id], checkpoint)
        if status in (http.HTTPStatus.OK, http.HTTPStatus.NO_CONTENT):
            return JobStep(has_more=False)
        if status == http.HTTPStatus.ACCEPTED:
            if len(body) > CHECKPOINT_BYTES_MAX:
                raise RuntimeFailure(
                    f"{workload.id} hands on {len(body):,} bytes", code="job.checkpoint_too_large",
                    hint=f"a checkpoint has at most {CHECKPOINT_BYTES_MAX:,} bytes; put the rest where it can be read",
                )  # fmt: skip
            return JobStep(has_more=True, checkpoint=body)
        said = body.decode("utf-8", "replace").strip()[:REASON_CHARS]
        raise RuntimeFailure(
            f"{workload.id} answered {status}: {said}", code="job.failed", hint="see `hanse logs` for what it wrote"
        )

    async def unload(self, workload: WorkloadId) -> None:
        """Forget a job, and end what still runs of it."""
        if self._engine is not None and self._paths.pop(workload, None) is not None:
            self._set_routes(self._engine)
            await asyncio.to_thread(self._engine.unload, workload, _UNLOAD_GRACE_MS)

    def is_asked(self, workload: WorkloadId) -> bool:
        """Tell whether a job is loaded, or its piece runs."""
        return workload in self._paths

    def logs(self, workload: WorkloadId, after: int, limit: int) -> Sequence[LogLine]:
        """Lines that a job wrote, oldest first."""
        if self._engine is None:
            return ()
        return tuple(
            LogLine(seq=line.seq, time_us=WallTime(line.time_us), stream=line.stream, text=line.text)
            for line in self._engine.logs(workload, after, limit)
        )

    def close(self) -> None:
        """Stop the engine, if it ever started."""
        if self._engine is not None:
            self._engine.stop(_UNLOAD_GRACE_MS)
            self._engine = None

    def _started(self) -> _engine.Engine:
        if self._engine is None:
            self._engine = _engine.Engine(self._config)
            self._front = self._engine.start().front
        return self._engine

    def _route(self, engine: _engine.Engine, workload: WorkloadId) -> None:
        if workload not in self._paths:
            self._paths[workload] = f"/{secrets.token_hex(16)}"
            self._set_routes(engine)

    def _set_routes(self, engine: _engine.Engine) -> None:
        engine.set_routes(
            [
                _engine.Route(workload=workload, path_prefix=path, replicas=[], hedge=False)
                for workload, path in sorted(self._paths.items())
            ]
        )

    async def _ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        host, _, port = self._front.rpartition(":")
        head = f"POST {path} HTTP/1.1\r\nhost: job\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(head.encode() + body)
                await writer.drain()
                answer = await reader.read()
            finally:
                writer.close()
            parsed = http.client.HTTPResponse(_Read(answer))  # type: ignore[arg-type]  # the parser asks for `makefile` alone
            parsed.begin()
            return parsed.status, parsed.read()
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeFailure(f"the job's run broke off: {error!r}", code="job.broken_off") from error


class _Read:
    """An answer that has been read whole, for the parser of the standard library."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, mode: str) -> io.BytesIO:
        """The bytes as a file; `mode` is always ``rb``."""
        del mode
        return io.BytesIO(self._answer)


def _load(engine: _engine.Engine, workload: Workload, component: bytes) -> None:
    limits = _engine.Limits(
        memory_bytes=workload.resources.memory_bytes,
        timeout_ms=max(1, workload.timeout_us // 1_000),
        request_body_bytes=CHECKPOINT_BYTES_MAX,
        response_body_bytes=2 * CHECKPOINT_BYTES_MAX,
        trust_class=trust_class(workload),
    )
    egress = [
        _engine.EgressRule(host=rule.host, jurisdiction=rule.jurisdiction, allow_private=rule.allow_private)
        for rule in workload.egress
    ]
    engine.load(workload.id, component, limits, egress, dict(workload.env), digest=workload.artifact)
