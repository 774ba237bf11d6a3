"""The HTTP API under ``/api/v1``: OpenAPI, bearer token, server-sent events. The CLI is its client.

`FabricService -> FastAPI`. Errors are ``{"error": {"code", "message", "hint", "retry", "context", "details"}}`` with
a status that fits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from hanse.app.attest_api import attest_router
from hanse.app.authentication import Unauthorised, User, authenticated
from hanse.app.bodies import TooLarge, read_body
from hanse.app.ledger_api import cosigners_router, ledger_router, open_router
from hanse.app.plan_api import plan_router
from hanse.app.policy_api import policy_router
from hanse.app.secrets_api import secrets_router
from hanse.control import explaining, inspect
from hanse.control.appraising import Appraising
from hanse.control.controller import Controller
from hanse.control.planning import UnknownPart
from hanse.control.secrets import SecretVerbs
from hanse.control.service import FabricService, NotFound, SpecRefused
from hanse.control.views import (
    ExplainView,
    InstanceView,
    JobView,
    NamespaceView,
    NodeView,
    OperatorView,
    PlanView,
    SiteView,
    StatusView,
    Submission,
    TopRow,
    UsageView,
    VerdictView,
    WorkloadDetail,
    WorkloadView,
)
from hanse.core.errors import ConflictError, HanseError, StoreError, WireError
from hanse.core.fabric import Grade, Tier
from hanse.core.ids import Digest, InstanceId, NodeId, OperatorId, SiteId, WorkloadId, workload_id
from hanse.core.ports import ControlPorts
from hanse.core.snapshot import Series
from hanse.manifest import ManifestError
from hanse.policy import FactError, PolicyError
from hanse.wire import canonical
from hanse.wire.messages import ChallengeRequest, JoinRequest

MAX_ARTIFACT_BYTES = 64 * 2**20
MAX_BODY_BYTES = 4 * 2**20
"""Of a submission: manifests are text, a megabyte each at most."""
EVENT_IDLE_S = 15.0
"""A comment line goes out after this much silence, so that a dead client is noticed."""


class SubmitFile(BaseModel):
    """One manifest file as text."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=4_096)
    text: str = Field(max_length=2**20)


class SubmitBody(BaseModel):
    """A submission: accepted as a whole or refused as a whole."""

    model_config = ConfigDict(extra="forbid")
    files: list[SubmitFile] = Field(min_length=1, max_length=100)
    artifacts: dict[str, str] = Field(default_factory=dict, description="workload id -> digest of its component")
    dry_run: bool = False


class Artifact(BaseModel):
    """A stored component."""

    digest: str
    size_bytes: int
    world: str
    imports: list[str]


class TokenBody(BaseModel):
    """Which node a join token is for."""

    model_config = ConfigDict(extra="forbid")
    site: str
    operator: str
    tier: Tier
    grade: Grade = Grade.SIGNED
    """Up to which grade (0..4) the domain vouches for the node's facts."""
    node: str | None = None
    require: list[Literal["tpm", "tdx", "sgx", "snp"]] = Field(default_factory=list)
    """Kinds of evidence, one of which the node must bring."""


class TokenMade(BaseModel):
    """A join token; its text is shown once."""

    token: str
    expires_us: int


class SeriesBody(BaseModel):
    """Values at equal steps."""

    model_config = ConfigDict(extra="forbid")
    start_us: int
    step_us: int = Field(ge=1)
    values: list[int] = Field(min_length=1, max_length=400)


class CarbonBody(BaseModel):
    """A forecast of carbon intensity, g/kWh per grid zone."""

    model_config = ConfigDict(extra="forbid")
    source: str = Field(max_length=1_024)
    error_permille: int = Field(ge=0, le=1_000)
    zones: dict[str, SeriesBody] = Field(min_length=1, max_length=500)


class LogRow(BaseModel):
    """One log line of a workload on one node."""

    node: str
    seq: int
    time_us: int
    stream: str
    text: str


Inspect = Callable[[bytes], Awaitable[tuple[str, list[str]]]]
"""Judges a component: (world, imports), or raises HanseError ``component.*``."""


def build_api(
    controller: Controller, ports: ControlPorts, *, token: str, version: str, inspect_component: Inspect
) -> FastAPI:
    """Build the application around one controller. `token` is the bearer token of the domain's administrators."""
    service = FabricService(controller, ports)
    app = FastAPI(
        title="hanse",
        version=version,
        description="A sovereign cloud-to-edge compute fabric.",
        openapi_url="/api/v1/openapi.json",
        docs_url="/api/v1/docs",
        redoc_url=None,
    )
    app.add_exception_handler(HanseError, _answer_error)
    app.state.token = token
    secured = [Depends(authenticated)]
    app.include_router(policy_router(controller), dependencies=secured)
    app.include_router(ledger_router(controller), dependencies=secured)
    app.include_router(cosigners_router(controller), dependencies=secured)
    app.include_router(open_router(controller))
    app.include_router(plan_router(controller), dependencies=secured)
    app.include_router(secrets_router(SecretVerbs(controller, service, ports)))
    app.include_router(attest_router(Appraising(controller, service, ports)))

    @app.get("/api/v1/health")
    async def health() -> dict[str, bool]:
        """Whether this controller is up and has caught up; needs no token and tells nothing else."""
        return {"is_caught_up": controller.is_caught_up}

    @app.get("/api/v1/status", dependencies=secured)
    async def status() -> StatusView:
        """The fabric at a glance."""
        return inspect.status(controller, version, await controller.pipeline.current_plan())

    @app.put("/api/v1/artifacts", dependencies=secured)
    async def put_artifact(request: Request) -> Artifact:
        """Store a component; the body is its bytes. Idempotent: the digest is its name."""
        component = await read_body(request, MAX_ARTIFACT_BYTES, code="component.too_large")
        world, imports = await inspect_component(component)
        digest = await ports.blobs.put(component)
        return Artifact(digest=digest, size_bytes=len(component), world=world, imports=imports)

    @app.post("/api/v1/submissions")
    async def submit(body: SubmitBody, by: User) -> Submission:
        """Deploy manifests, or with `dry_run` show what would change."""
        files = [(file.name, file.text) for file in body.files]
        artifacts = {key: Digest(value) for key, value in body.artifacts.items()}
        return await service.submit(files, artifacts, user=by, is_dry_run=body.dry_run)

    @app.get("/api/v1/workloads", dependencies=secured)
    async def workloads() -> tuple[WorkloadView, ...]:
        """Every workload."""
        return inspect.workloads(controller, await controller.pipeline.current_plan())

    @app.get("/api/v1/namespaces", dependencies=secured)
    async def namespaces() -> tuple[NamespaceView, ...]:
        """Namespaces with budgets of their own, and where their spending leads."""
        return inspect.namespaces(controller)

    @app.get("/api/v1/jobs", dependencies=secured)
    async def jobs() -> tuple[JobView, ...]:
        """Work that may wait: when each runs, and how far it has come."""
        return inspect.jobs(controller)

    @app.get("/api/v1/workloads/{namespace}/{name}", dependencies=secured)
    async def workload(namespace: str, name: str) -> WorkloadDetail:
        """Everything about one workload."""
        plan = await controller.pipeline.current_plan()
        found = inspect.workload_detail(controller, workload_id(namespace, name), plan)
        if found is None:
            raise NotFound(f"no workload {namespace}.{name}", hint="see `hanse get workloads`")
        return found

    @app.get("/api/v1/workloads/{namespace}/{name}/explain", dependencies=secured)
    async def explain(namespace: str, name: str) -> ExplainView:
        """Why its replicas are where they are."""
        identity = workload_id(namespace, name)
        if identity not in controller.state.workloads(with_deleted=True):
            raise NotFound(f"no workload {identity}", hint="see `hanse get workloads`")
        view = inspect.explain(identity, await controller.pipeline.current_plan())
        return await asyncio.to_thread(explaining.with_changes, controller, view)

    @app.get("/api/v1/workloads/{namespace}/{name}/verdicts/{node}", dependencies=secured)
    async def verdict(namespace: str, name: str, node: str) -> VerdictView:
        """What policy says now of a workload on a node: rules, facts with grade and age, the nearest change."""
        plan = await controller.pipeline.current_plan()
        return await asyncio.to_thread(explaining.verdict, controller, workload_id(namespace, name), NodeId(node), plan)

    @app.get("/api/v1/workloads/{namespace}/{name}/logs", dependencies=secured)
    async def logs(
        namespace: str, name: str, after: Annotated[str, Query(description="node=seq,node=seq")] = "", limit: int = 200
    ) -> list[LogRow]:
        """Log lines from every node that runs it, oldest first."""
        answers = await service.logs(workload_id(namespace, name), after=_read_after(after), limit=limit)
        rows = [
            LogRow(node=node, seq=line.seq, time_us=line.time_us, stream=line.stream, text=line.text)
            for node, lines in answers.items()
            for line in lines
        ]
        return sorted(rows, key=lambda row: (row.time_us, row.node, row.seq))

    @app.delete("/api/v1/{kind}/{identity}", status_code=202)
    async def delete(kind: str, identity: str, by: User) -> dict[str, str]:
        """Ask for a workload (``functions/ns.name``), operator or site to go."""
        await service.delete(kind.removesuffix("s"), identity, user=by)
        return {"status": "deleting"}

    @app.get("/api/v1/instances", dependencies=secured)
    async def instances(workload: str | None = None) -> tuple[InstanceView, ...]:
        """Every instance, or those of one workload."""
        return inspect.instances(controller, None if workload is None else WorkloadId(workload))

    @app.get("/api/v1/nodes", dependencies=secured)
    async def nodes() -> tuple[NodeView, ...]:
        """Every node."""
        return inspect.nodes(controller)

    @app.post("/api/v1/nodes/{node}/drain", status_code=202)
    async def drain(node: str, by: User, undo: bool = False) -> dict[str, str]:
        """Empty a node on purpose, or with `undo` let it take work again."""
        await service.set_draining(NodeId(node), not undo, user=by)
        return {"status": "ready" if undo else "draining"}

    @app.post("/api/v1/nodes/{node}/revoke", status_code=202)
    async def revoke(node: str, by: User) -> dict[str, str]:
        """Withdraw a node's standing."""
        await service.revoke(NodeId(node), user=by)
        return {"status": "revoked"}

    @app.get("/api/v1/operators", dependencies=secured)
    async def operators() -> tuple[OperatorView, ...]:
        """Every operator and whose law reaches it."""
        return inspect.operators(controller)

    @app.get("/api/v1/sites", dependencies=secured)
    async def sites() -> tuple[SiteView, ...]:
        """Every site."""
        return inspect.sites(controller)

    @app.put("/api/v1/feeds/carbon", status_code=202)
    async def take_carbon(body: CarbonBody, by: User) -> dict[str, int]:
        """Take a forecast of carbon intensity in; it replaces the last one."""
        zones = {
            zone: Series(start_us=one.start_us, step_us=one.step_us, values=tuple(one.values))
            for zone, one in body.zones.items()
        }
        await service.take_carbon(zones, source=body.source, error_permille=body.error_permille, user=by)
        return {"zones": len(zones)}

    @app.get("/api/v1/plans", dependencies=secured)
    async def plans() -> tuple[PlanView, ...]:
        """The committed plan in brief."""
        return inspect.plans(await controller.pipeline.current_plan())

    @app.get("/api/v1/top", dependencies=secured)
    async def top() -> tuple[TopRow, ...]:
        """Traffic per workload and node."""
        return await service.top()

    @app.get("/api/v1/usage", dependencies=secured)
    async def usage() -> tuple[UsageView, ...]:
        """What workloads took, as nodes accounted for it."""
        return inspect.usage(controller)

    @app.post("/api/v1/tokens")
    async def token_for(body: TokenBody, by: User) -> TokenMade:
        """Make a one-time join token."""
        await service.note("admit", f"node/{body.node}" if body.node else f"site/{body.site}", user=by)
        text, kept = await controller.enrolment.mint(
            site=SiteId(body.site),
            operator=OperatorId(body.operator),
            tier=body.tier,
            grade=body.grade,
            node=None if body.node is None else NodeId(body.node),
            require=tuple(body.require),
        )
        return TokenMade(token=text, expires_us=kept.expires_us)

    @app.post("/api/v1/join/challenge")
    async def challenge(request: Request) -> Response:
        """A node that will join with evidence asks what to answer (`ChallengeRequest` -> `Challenge`)."""
        body = await read_body(request, MAX_BODY_BYTES, code="join.too_large")
        answer = await controller.enrolment.challenge(canonical.decode(body, ChallengeRequest))
        return Response(canonical.encode(answer), media_type="application/json")

    @app.post("/api/v1/join")
    async def join(request: Request) -> Response:
        """A node joins with its one-time token (`JoinRequest` -> `JoinResponse`, canonical JSON of the wire)."""
        body = await read_body(request, MAX_BODY_BYTES, code="join.too_large")
        answer = await controller.enrolment.join(canonical.decode(body, JoinRequest))
        return Response(canonical.encode(answer), media_type="application/json")

    @app.get("/api/v1/receipts/{instance}", dependencies=secured)
    async def receipt(instance: str) -> Response:
        """The receipt of one placement: verifiable offline with `hanse audit verify`."""
        data = await controller.journal.receipt(InstanceId(instance), controller.state)
        return Response(data, media_type="application/json")

    @app.get("/api/v1/watch", dependencies=secured)
    async def watch() -> StreamingResponse:
        """Workloads and nodes as server-sent events: all of them now, then whenever anything changes."""
        return StreamingResponse(_events(controller), media_type="text/event-stream")

    return app


async def _events(controller: Controller) -> AsyncIterator[bytes]:
    last = b""
    while True:
        plan = await controller.pipeline.current_plan()
        body = msgspec.json.encode(
            {"workloads": inspect.workloads(controller, plan), "nodes": inspect.nodes(controller)}
        )
        if body != last:
            last = body
            yield b"event: fabric\ndata: " + body + b"\n\n"
        try:
            async with asyncio.timeout(EVENT_IDLE_S), controller.changed:
                await controller.changed.wait()
        except TimeoutError:
            yield b": still here\n\n"


def _read_after(text: str) -> dict[NodeId, int]:
    try:
        pairs = [item.split("=", 1) for item in text.split(",") if item]
        return {NodeId(node): int(seq) for node, seq in pairs}
    except ValueError as error:
        raise WireError(f"`after` is node=seq,node=seq: {error}") from error


STATUS_OF: dict[type[HanseError], int] = {
    Unauthorised: 401, NotFound: 404, ManifestError: 422, SpecRefused: 422, ConflictError: 409, TooLarge: 413,
    StoreError: 503, WireError: 400, PolicyError: 422, FactError: 422, UnknownPart: 404,
}  # fmt: skip


async def _answer_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HanseError):
        raise error
    status = next((code for kind, code in STATUS_OF.items() if isinstance(error, kind)), 503 if error.retry else 422)
    body = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "retry": error.retry,
        "context": error.context,
        "details": _details(error),
    }
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    return Response(msgspec.json.encode({"error": body}), status, headers=headers, media_type="application/json")


def _details(error: HanseError) -> Any:
    match error:
        case ManifestError():
            return error.problems
        case SpecRefused():
            return error.submission
        case _:
            return None
