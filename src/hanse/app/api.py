"""The HTTP API under ``/api/v1``: OpenAPI, bearer token, server-sent events. The CLI is its client.

`FabricService -> FastAPI`. Errors are ``{"error": {"code", "message", "hint", "retry", "context", "details"}}`` with
a status that fits (`hanse.app.answers`). Every route names who may use it (`hanse.app.authentication`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Annotated, Literal

import msgspec
from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from hanse.app.access_file import NO_FILE, Access
from hanse.app.answers import answer_of
from hanse.app.attest_api import attest_router
from hanse.app.auth_api import auth_router, metrics_router
from hanse.app.authentication import Caller, Gate, guard, open_to_all, refuse_unguarded, signed_in
from hanse.app.bodies import read_body
from hanse.app.credential_api import credential_router
from hanse.app.ledger_api import cosigners_router, ledger_router, mirrors_router, open_router
from hanse.app.limits import AddressLimit, Limiter
from hanse.app.plan_api import plan_router
from hanse.app.policy_api import policy_router
from hanse.app.proving import prove_submitted
from hanse.app.secrets_api import secrets_router
from hanse.app.trust_api import trust_router
from hanse.control import explaining, inspect
from hanse.control.api_tokens import ApiTokens
from hanse.control.appraising import Appraising
from hanse.control.certifying import Certifying
from hanse.control.controller import Controller
from hanse.control.federation import Federation
from hanse.control.secrets import SecretVerbs
from hanse.control.service import FabricService, NotFound
from hanse.control.views import (
    ExplainView,
    InstanceView,
    JobView,
    JurisdictionView,
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
from hanse.core.errors import HanseError, WireError
from hanse.core.fabric import Grade, Tier
from hanse.core.ids import Digest, InstanceId, NodeId, OperatorId, SiteId, WorkloadId, workload_id
from hanse.core.ports import ControlPorts
from hanse.core.snapshot import Series
from hanse.manifest import Manifests, load
from hanse.policy import Part, access_rules
from hanse.wire import canonical
from hanse.wire.trust_messages import ChallengeRequest, JoinRequest

MAX_ARTIFACT_BYTES = 64 * 2**20
MAX_BODY_BYTES = 4 * 2**20
"""Of a submission: manifests are text, a megabyte each at most."""
EVENT_IDLE_S = 15.0
"""A comment line goes out after this much silence, so that a dead client is noticed."""
STREAM_US = 300_000_000
"""A stream of events ends after five minutes: for so long at most does a withdrawn token go on seeing."""
DOCUMENTATION = frozenset({"/api/v1/openapi.json", "/api/v1/docs"})
"""What the API is like, not what is in it: needs no token."""


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
    service: str = ""
    """Which of the operator's services it belongs to; empty for the operator as a whole."""


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
    controller: Controller,
    ports: ControlPorts,
    *,
    token: str,
    version: str,
    inspect_component: Inspect,
    access: Access = NO_FILE,
) -> FastAPI:
    """Build the application around one controller. `token` is the bearer token of the domain's administrators.

    Raises PolicyError where the domain's own rules of access are wrong.
    """
    service = FabricService(controller, ports, prove=prove_submitted)
    tokens = ApiTokens(controller, service, ports)
    limiter = Limiter(access.limits, ports.clock)
    rules = access_rules(controller.pipeline.packs, access.rules)
    gate = Gate(token=token, rules=rules, access=access, tokens=tokens, clock=ports.clock, limiter=limiter)
    app = FastAPI(
        title="hanse",
        version=version,
        description="A sovereign cloud-to-edge compute fabric.",
        openapi_url="/api/v1/openapi.json",
        docs_url="/api/v1/docs",
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.add_exception_handler(HanseError, _answer_error)
    app.add_middleware(AddressLimit, limiter=limiter)
    app.state.gate = gate
    app.include_router(auth_router(gate, tokens))
    app.include_router(metrics_router(gate))
    app.include_router(policy_router(controller))
    app.include_router(ledger_router(controller))
    app.include_router(cosigners_router(controller, service))
    app.include_router(mirrors_router(controller, service))
    app.include_router(open_router(controller))
    app.include_router(plan_router(controller))
    app.include_router(trust_router(Federation(controller, service, ports)))
    app.include_router(credential_router(Certifying(controller, service, ports)))
    app.include_router(secrets_router(SecretVerbs(controller, service, ports)))
    app.include_router(attest_router(Appraising(controller, service, ports)))

    @app.get("/api/v1/health", dependencies=[open_to_all()])
    async def health() -> dict[str, bool]:
        """Whether this controller is up and has caught up; needs no token and tells nothing else."""
        return {"is_caught_up": controller.is_caught_up}

    @app.get("/api/v1/status", dependencies=[guard("read", "fabric")])
    async def status() -> StatusView:
        """The fabric at a glance."""
        return inspect.status(controller, version, await controller.pipeline.current_plan())

    @app.put("/api/v1/artifacts")
    async def put_artifact(request: Request, by: Annotated[Caller, guard("deploy", "artifact")]) -> Artifact:
        """Store a component; the body is its bytes. Idempotent: the digest is its name."""
        component = await read_body(request, MAX_ARTIFACT_BYTES, code="component.too_large")
        world, imports = await inspect_component(component)
        if not await ports.blobs.has(canonical.digest_bytes(component)):
            await service.note("store", f"artifact/{canonical.digest_bytes(component)}", user=by.id)
        digest = await ports.blobs.put(component)
        return Artifact(digest=digest, size_bytes=len(component), world=world, imports=imports)

    @app.post("/api/v1/submissions")
    async def submit(body: SubmitBody, by: Annotated[Caller, signed_in()]) -> Submission:
        """Deploy manifests, or with `dry_run` show what would change."""
        files = [(file.name, file.text) for file in body.files]
        for action, part in parts_of(load(files)):
            by.must(action, part)
        artifacts = {key: Digest(value) for key, value in body.artifacts.items()}
        done = await service.submit(files, artifacts, user=by.id, is_dry_run=body.dry_run)
        # What moves beside it may be the work of others.
        moved = tuple(one for one in done.moved if by.sees(one.document.partition(" ")[2].partition(".")[0]))
        return replace(done, moved=moved)

    @app.get("/api/v1/workloads")
    async def workloads(by: Annotated[Caller, guard("read", "fabric")]) -> tuple[WorkloadView, ...]:
        """Every workload that the caller may see."""
        found = inspect.workloads(controller, await controller.pipeline.current_plan())
        return tuple(one for one in found if by.sees(namespace_of(one.id)))

    @app.get("/api/v1/namespaces")
    async def namespaces(by: Annotated[Caller, guard("read", "fabric")]) -> tuple[NamespaceView, ...]:
        """Namespaces with budgets of their own, and where their spending leads; those that the caller may see."""
        return tuple(one for one in inspect.namespaces(controller) if by.sees(one.id))

    @app.get("/api/v1/jurisdictions", dependencies=[guard("read", "fabric")])
    async def jurisdictions() -> tuple[JurisdictionView, ...]:
        """Countries that sites lie in or that anything is stated of: how often each is down, and who says so."""
        return inspect.jurisdictions(controller)

    @app.get("/api/v1/jobs")
    async def jobs(by: Annotated[Caller, guard("read", "fabric")]) -> tuple[JobView, ...]:
        """Work that may wait: when each runs, and how far it has come; what the caller may see."""
        return tuple(one for one in inspect.jobs(controller) if by.sees(namespace_of(one.workload)))

    @app.get("/api/v1/workloads/{namespace}/{name}", dependencies=[guard("read", "workload")])
    async def workload(namespace: str, name: str) -> WorkloadDetail:
        """Everything about one workload."""
        plan = await controller.pipeline.current_plan()
        found = inspect.workload_detail(controller, workload_id(namespace, name), plan)
        if found is None:
            raise NotFound(f"no workload {namespace}.{name}", hint="see `hanse get workloads`")
        return found

    @app.get("/api/v1/workloads/{namespace}/{name}/explain", dependencies=[guard("read", "workload")])
    async def explain(namespace: str, name: str) -> ExplainView:
        """Why its replicas are where they are."""
        identity = workload_id(namespace, name)
        if identity not in controller.state.workloads(with_deleted=True):
            raise NotFound(f"no workload {identity}", hint="see `hanse get workloads`")
        view = inspect.explain(identity, await controller.pipeline.current_plan())
        view = explaining.with_demand(controller, explaining.with_round_trips(controller, view))
        return await asyncio.to_thread(explaining.with_changes, controller, view)

    @app.get("/api/v1/workloads/{namespace}/{name}/verdicts/{node}", dependencies=[guard("read", "workload")])
    async def verdict(namespace: str, name: str, node: str) -> VerdictView:
        """What policy says now of a workload on a node: rules, facts with grade and age, the nearest change."""
        plan = await controller.pipeline.current_plan()
        return await asyncio.to_thread(explaining.verdict, controller, workload_id(namespace, name), NodeId(node), plan)

    @app.get("/api/v1/workloads/{namespace}/{name}/logs", dependencies=[guard("read", "workload")])
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
    async def delete(kind: str, identity: str, by: Annotated[Caller, signed_in()]) -> dict[str, str]:
        """Ask for a workload (``functions/ns.name``), policy, operator or site to go."""
        one = kind.removesuffix("s").replace("policie", "policy")
        by.must(*part_to_delete(one, identity))
        await service.delete(one, identity, user=by.id)
        return {"status": "deleting"}

    @app.get("/api/v1/instances")
    async def instances(
        by: Annotated[Caller, guard("read", "fabric")], workload: str | None = None
    ) -> tuple[InstanceView, ...]:
        """Every instance that the caller may see, or those of one workload."""
        found = inspect.instances(controller, None if workload is None else WorkloadId(workload))
        return tuple(one for one in found if by.sees(namespace_of(one.workload)))

    @app.get("/api/v1/nodes", dependencies=[guard("read", "node")])
    async def nodes() -> tuple[NodeView, ...]:
        """Every node."""
        return inspect.nodes(controller)

    @app.post("/api/v1/nodes/{node}/drain", status_code=202)
    async def drain(node: str, by: Annotated[Caller, guard("operate", "node")], undo: bool = False) -> dict[str, str]:
        """Empty a node on purpose, or with `undo` let it take work again."""
        await service.set_draining(NodeId(node), not undo, user=by.id)
        return {"status": "ready" if undo else "draining"}

    @app.post("/api/v1/nodes/{node}/revoke", status_code=202)
    async def revoke(node: str, by: Annotated[Caller, guard("operate", "node")]) -> dict[str, str]:
        """Withdraw a node's standing."""
        await service.revoke(NodeId(node), user=by.id)
        return {"status": "revoked"}

    @app.get("/api/v1/operators", dependencies=[guard("read", "operator")])
    async def operators() -> tuple[OperatorView, ...]:
        """Every operator and whose law reaches it."""
        return inspect.operators(controller)

    @app.get("/api/v1/sites", dependencies=[guard("read", "site")])
    async def sites() -> tuple[SiteView, ...]:
        """Every site."""
        return inspect.sites(controller)

    @app.put("/api/v1/feeds/carbon", status_code=202)
    async def take_carbon(body: CarbonBody, by: Annotated[Caller, guard("operate", "feed")]) -> dict[str, int]:
        """Take a forecast of carbon intensity in; it replaces the last one."""
        zones = {
            zone: Series(start_us=one.start_us, step_us=one.step_us, values=tuple(one.values))
            for zone, one in body.zones.items()
        }
        await service.take_carbon(zones, source=body.source, error_permille=body.error_permille, user=by.id)
        return {"zones": len(zones)}

    @app.get("/api/v1/plans", dependencies=[guard("read", "plan")])
    async def plans() -> tuple[PlanView, ...]:
        """The committed plan in brief."""
        return inspect.plans(await controller.pipeline.current_plan())

    @app.get("/api/v1/top")
    async def top(by: Annotated[Caller, guard("read", "fabric")]) -> tuple[TopRow, ...]:
        """Traffic per workload and node, of the work that the caller may see."""
        return tuple(row for row in await service.top() if by.sees(namespace_of(row.workload)))

    @app.get("/api/v1/usage")
    async def usage(by: Annotated[Caller, guard("read", "fabric")]) -> tuple[UsageView, ...]:
        """What workloads took, as nodes accounted for it; of the work that the caller may see."""
        return tuple(row for row in inspect.usage(controller) if by.sees(namespace_of(row.workload)))

    @app.post("/api/v1/tokens")
    async def token_for(body: TokenBody, by: Annotated[Caller, guard("operate", "node")]) -> TokenMade:
        """Make a one-time join token."""
        await service.note("admit", f"node/{body.node}" if body.node else f"site/{body.site}", user=by.id)
        text, kept = await controller.enrolment.mint(
            site=SiteId(body.site),
            operator=OperatorId(body.operator),
            tier=body.tier,
            grade=body.grade,
            node=None if body.node is None else NodeId(body.node),
            require=tuple(body.require),
            service=body.service,
        )
        return TokenMade(token=text, expires_us=kept.expires_us)

    @app.post("/api/v1/join/challenge", dependencies=[open_to_all()])
    async def challenge(request: Request) -> Response:
        """A node that will join with evidence asks what to answer (`ChallengeRequest` -> `Challenge`)."""
        body = await read_body(request, MAX_BODY_BYTES, code="join.too_large")
        answer = await controller.enrolment.challenge(canonical.decode(body, ChallengeRequest))
        return Response(canonical.encode(answer), media_type="application/json")

    @app.post("/api/v1/join", dependencies=[open_to_all()])
    async def join(request: Request) -> Response:
        """A node joins with its one-time token (`JoinRequest` -> `JoinResponse`, canonical JSON of the wire)."""
        body = await read_body(request, MAX_BODY_BYTES, code="join.too_large")
        answer = await controller.enrolment.join(canonical.decode(body, JoinRequest))
        return Response(canonical.encode(answer), media_type="application/json")

    @app.get("/api/v1/receipts/{instance}", dependencies=[guard("audit", "receipt")])
    async def receipt(instance: str) -> Response:
        """The receipt of one placement: verifiable offline with `hanse audit verify`."""
        data = await controller.journal.receipt(InstanceId(instance), controller.state)
        return Response(data, media_type="application/json")

    @app.get("/api/v1/watch")
    async def watch(by: Annotated[Caller, guard("read", "fabric")]) -> StreamingResponse:
        """Workloads and nodes as server-sent events: what the caller may see now, then whenever anything changes.

        It ends after some minutes: whoever goes on asks again, with a token that still holds.
        """
        return StreamingResponse(_events(controller, by, ports), media_type="text/event-stream")

    refuse_unguarded(app, DOCUMENTATION)
    return app


def parts_of(documents: Manifests) -> Iterator[tuple[str, Part]]:
    """What a submission does, document by document, and to which part."""
    for work in documents.functions:
        yield "deploy", Part(kind="workload", namespace=work.namespace, name=work.name)
    for operator in documents.operators:
        yield "operate", Part(kind="operator", name=operator.id)
    for site in documents.sites:
        yield "operate", Part(kind="site", name=site.id)
    for country in documents.jurisdictions:
        yield "operate", Part(kind="jurisdiction", name=country.id)
    for node in documents.nodes:
        yield "operate", Part(kind="node", name=node.id)
    for kept in documents.secrets:
        yield "deploy", Part(kind="secret", namespace=kept.secret.namespace, name=kept.secret.name)
    for dataset in documents.datasets:
        namespace, _, name = dataset.id.partition(".")
        yield "deploy", Part(kind="workload", namespace=namespace, name=name)
    for whole in documents.namespaces:
        # Its budgets bind whoever deploys there, so they are not his to set.
        yield "administer", Part(kind="namespace", namespace=whole.id, name=whole.id)
    for one in documents.policies:
        yield "set-policy", Part(kind="policy", namespace=one.policy.namespace, name=one.policy.name)


def part_to_delete(kind: str, identity: str) -> tuple[str, Part]:
    """What deleting something is, and of which part; a kind that nobody knows is the administrators' business."""
    namespace, _, name = identity.rpartition(".")
    match kind.lower():
        case "function" | "service" | "job" | "dataset":
            return "delete", Part(kind="workload", namespace=namespace, name=name)
        case "policy":
            return "set-policy", Part(kind="policy", namespace=namespace, name=name)
        case "namespace":
            return "administer", Part(kind="namespace", namespace=identity, name=identity)
        case "operator" | "site" | "jurisdiction":
            return "operate", Part(kind=kind.lower(), name=identity)
        case _:
            return "administer", Part(kind=kind.lower(), name=identity)


def namespace_of(workload: str) -> str:
    """The namespace of ``namespace.name``."""
    return workload.partition(".")[0]


async def _events(controller: Controller, by: Caller, ports: ControlPorts) -> AsyncIterator[bytes]:
    last, until = b"", ports.clock.monotonic() + STREAM_US
    while ports.clock.monotonic() < until:
        plan = await controller.pipeline.current_plan()
        seen = [one for one in inspect.workloads(controller, plan) if by.sees(namespace_of(one.id))]
        body = msgspec.json.encode({"workloads": seen, "nodes": inspect.nodes(controller)})
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


async def _answer_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HanseError):
        raise error
    return answer_of(error)
