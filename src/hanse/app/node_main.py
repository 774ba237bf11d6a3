"""One node process: engine, ports, the agent. Started by `hanse up` and by `hanse node run`.

A node that has not joined yet joins first, with its one-time token; after that it needs nobody to start again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import structlog
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hanse import __version__, _engine
from hanse.adapters.attestor import NoEvidence
from hanse.adapters.clock import SystemClock
from hanse.adapters.dialer import TcpDialer
from hanse.adapters.disk_blobs import DiskBlobs
from hanse.adapters.disk_store import DiskStore
from hanse.adapters.engine_jobs import EngineJobs
from hanse.adapters.engine_runtime import EngineRuntime, worker_command
from hanse.adapters.entropy import SystemEntropy
from hanse.adapters.front_files import FrontFiles, FrontKeeper
from hanse.adapters.handover import SOCKET, Giver, Taker, take
from hanse.adapters.memory_files import memory_store
from hanse.adapters.meter import ProcessMeter
from hanse.adapters.nats_blobs import NatsBlobs
from hanse.adapters.nats_bus import NatsBus
from hanse.adapters.nats_link import LinkConfig, NatsCredentials, NatsLink
from hanse.adapters.nats_store import NatsStore
from hanse.adapters.node_files import NodeFiles, NodeKeys
from hanse.adapters.package_data import read_packs
from hanse.adapters.tee import tee_of
from hanse.adapters.tls import client_context
from hanse.adapters.tpm import Tpm
from hanse.adapters.tpm_boot import FIRMWARE_LOG, BootRecord, digest_of_files
from hanse.adapters.workload_api import WorkloadApi
from hanse.app.options import JoinOptions, NodeOptions
from hanse.app.serving import run_until_signalled
from hanse.attest import NO_EVIDENCE
from hanse.core.errors import HanseError, WireError
from hanse.core.fabric import Node
from hanse.core.ports import Addresses, Attestor, NodePorts, Store
from hanse.identity import NODE_API, NODE_INGEST, deliver_prefix, inbox_prefix, key_from_secret, make_csr
from hanse.identity.authority import SECRET_BYTES, key_pem
from hanse.node import NodeAgent, NodeConfig, build_node
from hanse.node.attesting import give_evidence
from hanse.node.config import ACCOUNT_US, ATTEST_US
from hanse.node.svid import BUCKET, KEY, StoredSvid
from hanse.wire import canonical, envelope
from hanse.wire.trust_messages import Challenge, ChallengeRequest, JoinRequest, JoinResponse

log = structlog.get_logger("node")

_Answer = TypeVar("_Answer")
JOIN_DEADLINE_S = 60.0
READY_S = 30.0
"""How long a successor waits for its own work before it serves with what it has."""
HANDOVER_GRACE_MS = 15_000
"""How long requests in flight may take to end after a successor serves; open streams are cut then."""
STOP_GRACE_MS = 2_000
WORKLOAD_SOCKET = "workload.sock"
"""In the node's own folder, unless told otherwise: for programs of the same user."""
UNSPECIFIED = ("", "0.0.0.0", "[::]")  # noqa: S104 - refused, not bound


class JoinFailed(HanseError):
    """Raised when a node could not join; the code is the domain's own."""

    code = "join.failed"


async def run_node(options: NodeOptions, join: JoinOptions | None, *, takes_over: bool = False) -> None:
    """Run one node until a signal comes, or until a successor has taken over.

    `takes_over`: from the process that runs it now, if one does, without a failed request. Raises JoinFailed,
    HandoverError, RuntimeFailure ``engine.address_in_use``.
    """
    entropy = SystemEntropy()
    if options.mesh.rpartition(":")[0] in UNSPECIFIED:
        raise JoinFailed(
            f"other nodes cannot reach this one at {options.mesh}",
            code="node.mesh_unspecified",
            hint="give --mesh an address of this machine that the other nodes reach",
        )
    state = Path(options.state)
    # Before the disk is opened: the process before has then left it.
    predecessor = await take(state) if takes_over else None
    files = NodeFiles(state / "identity")
    keys = files.keys(entropy)
    disk = DiskStore(state / "disk", damaged=_name_damage)
    memory = memory_store(state, damaged=_name_damage)
    # The first version kept the SVID there.
    await disk.delete(BUCKET, KEY)
    joined = files.enrolment()
    attestor = await _attestor(options)
    if joined is None or not joined.has_own_account:
        if join is None:
            raise JoinFailed(
                f"{options.node.id} has not joined a domain yet",
                code="join.needed",
                hint="`hanse node token` on the domain's side makes a token; give it to `hanse node join`",
            )
        joined = await _join(options.node, keys, join, memory, entropy, attestor)
        files.save_enrolment(joined)
    member = _Member(
        options=options, joined=joined, keys=keys, disk=disk, memory=memory, entropy=entropy, attestor=attestor
    )
    await _run_joined(member, predecessor)


async def _attestor(options: NodeOptions) -> Attestor:
    """The node's TPM, with what runs here measured into it; its TEE; or a platform that has nothing to say."""
    if options.is_tee:
        return tee_of(None if options.tee_endorsements is None else Path(options.tee_endorsements))
    if options.tpm is None:
        return NoEvidence()
    measured = {
        "engine": digest_of_files(Path(_engine.__file__)),
        "agent": digest_of_files(*Path(__file__).parents[1].rglob("*.py")),
        "owner-policy": hashlib.sha256(options.owner_policy.encode()).digest(),
        "guardrails": hashlib.sha256(canonical.encode(options.guardrails)).digest(),
    }
    folder = Path(options.state) / "tpm"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    firmware_log = FIRMWARE_LOG if options.tpm.tcti.startswith("device:") else None
    tpm = Tpm(options.tpm.tcti, folder, BootRecord(folder / "boot.log", measured, firmware_log), options.tpm.issuers)
    await tpm.measure_boot()
    return tpm


async def _join(  # noqa: PLR0917 - everything a node is, once in its life
    node: Node, keys: NodeKeys, join: JoinOptions, memory: Store | None, entropy: SystemEntropy, attestor: Attestor
) -> JoinResponse:
    svid_key = key_from_secret(entropy.secret(SECRET_BYTES))
    evidence = None
    if attestor.kind != NO_EVIDENCE:
        public, asked = keys.signer.public_key, await attestor.identity()
        question = ChallengeRequest(node=node.id, public_key=public, token=join.token, identity=asked)
        challenge = await _ask_api(join, "join/challenge", canonical.encode(question), Challenge)
        svid_der = svid_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        evidence = await give_evidence(attestor, challenge, node.id, public, svid_der)
    request = JoinRequest(
        token=join.token,
        node=node,
        csr_pem=make_csr(svid_key),
        public_key=keys.signer.public_key,
        nats_public_key=keys.nats_user.public,
        evidence=evidence,
    )
    answer = await _ask_api(join, "join", canonical.encode(request), JoinResponse)
    if memory is not None:
        stored = StoredSvid(svid=answer.svid, private_key_pem=key_pem(svid_key))
        await memory.put(BUCKET, KEY, canonical.encode(stored))
    return answer


async def _ask_api(join: JoinOptions, path: str, request: bytes, kind: type[_Answer]) -> _Answer:
    last: Exception | None = None
    for url in join.api_urls:
        try:
            status, body = await asyncio.to_thread(_post, f"{url}/api/v1/{path}", request, join.ca_pem)
        except OSError as error:
            last = error
            continue
        if status == http.HTTPStatus.OK:
            return canonical.decode(body, kind)
        raise _refusal(status, body)
    raise JoinFailed(f"no API of the domain answers: {last}", code="join.unreachable", retry=True)


def _post(url: str, body: bytes, ca_pem: bytes) -> tuple[int, bytes]:
    """Post once and return status and body: a node asks this once in its life, so it carries no HTTP client library."""
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"}, method="POST")  # noqa: S310 - the address comes from the node's own launch file
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=client_context(ca_pem))
    )
    try:
        with opener.open(request, timeout=JOIN_DEADLINE_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def _refusal(status: int, body: bytes) -> HanseError:
    try:
        error = json.loads(body)["error"]
        return JoinFailed(error["message"], code=error["code"], hint=error["hint"], retry=error["retry"])
    except (ValueError, KeyError, TypeError):
        return WireError(f"the API answered {status} without an error body")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A node that has joined, and what is its own."""

    options: NodeOptions
    joined: JoinResponse
    keys: NodeKeys
    disk: DiskStore
    memory: DiskStore | None
    entropy: SystemEntropy
    attestor: Attestor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Front:
    """The engine with what keeps it fresh, and what gives its sockets away."""

    state: Path
    runtime: EngineRuntime
    jobs: EngineJobs
    addresses: Addresses
    keeper: FrontKeeper
    giver: Giver


async def _run_joined(member: _Member, predecessor: Taker | None) -> None:
    options, joined = member.options, member.joined
    state = Path(options.state)
    compiled = options.compiled or str(state / "compiled")
    jobs = EngineJobs(node=options.node.id, trust_domain=joined.domain, cache_dir=compiled)
    runtime = EngineRuntime(
        _engine.EngineConfig(
            node=options.node.id,
            trust_domain=joined.domain,
            front_bind=options.front,
            front_tls=options.front_tls is not None,
            mesh_bind=options.mesh,
            inherited=None if predecessor is None else predecessor.sockets,
            cache_dir=compiled,
            worker_command=worker_command(),
            otlp_endpoint=options.sight.otlp_endpoint,
            trace_ratio_ppm=options.sight.trace_ratio_ppm,
            access_log=options.sight.access_log,
            access_log_ratio_ppm=options.sight.access_log_ratio_ppm,
            tell_paths=options.sight.tells_paths,
        ),
        upstreams=options.upstreams,
        job_logs=jobs.logs,
    )
    keeper = FrontKeeper(_front_files(options), runtime)
    keeper.load()
    # Who follows another process serves only once its work is loaded: until then that one does.
    addresses = runtime.start() if predecessor is None else runtime.bind()
    if options.front_tls is not None:
        addresses = replace(addresses, front=f"https://{addresses.front}")
    try:
        async with Giver(state / SOCKET, runtime.sockets) as giver:
            front = _Front(state=state, runtime=runtime, jobs=jobs, addresses=addresses, keeper=keeper, giver=giver)
            while True:
                link, agent = _connected(member, front)
                has_successor = await _serve(front, link, agent, predecessor, _workload_api(options))
                if not has_successor:
                    return
                if await giver.give():
                    break
                # The successor failed. Nothing was lost but some heartbeats: take the node up again.
                predecessor = None
        log.info("node.handed_over")
        await asyncio.to_thread(runtime.hand_over, HANDOVER_GRACE_MS)
    finally:
        jobs.close()
        runtime.stop(STOP_GRACE_MS)


def _connected(member: _Member, front: _Front) -> tuple[NatsLink, NodeAgent]:
    """A link that is not started yet, and an agent on it."""
    options, joined, keys = member.options, member.joined, member.keys
    link = NatsLink(
        LinkConfig(
            urls=(options.substrate_url,) if options.substrate_url else joined.nats_urls,
            name=f"node {options.node.id}",
            inbox_prefix=inbox_prefix(options.node.id),
            api=NODE_API,
            ingest=NODE_INGEST,
            deliver_prefix=deliver_prefix(options.node.id),
        ),
        rng=member.entropy.stream("link", options.node.id),
        credentials=lambda: NatsCredentials(jwt=joined.nats_jwt, seed=keys.nats_user.seed),
        # The root's certificate may have been made anew since this node joined.
        tls=lambda: client_context(agent.bundle_pem or joined.svid.bundle_pem),
    )
    ports = NodePorts(
        clock=SystemClock(),
        entropy=member.entropy,
        bus=NatsBus(link),
        store=NatsStore(link),
        blobs=NatsBlobs(link),
        disk=member.disk,
        memory=member.memory,
        cache=DiskBlobs(Path(options.state) / "artifacts", damaged=_name_damage),
        runtime=front.runtime,
        jobs=front.jobs,
        meter=ProcessMeter(),
        signer=keys.signer,
        attestor=member.attestor,
        dialer=TcpDialer(),
    )
    agent = build_node(
        ports,
        NodeConfig(
            domain=joined.domain,
            node=options.node,
            site=joined.site,
            operator=joined.operator,
            controller_keys={envelope.key_id_of(key): key for key in joined.controller_keys},
            addresses=front.addresses,
            version=__version__,
            packs=read_packs(),
            owner_policy=options.owner_policy,
            guardrails=options.guardrails,
            account_us=options.sight.account_us or ACCOUNT_US,
            count_us=options.sight.count_us,
            attest_us=ATTEST_US if options.tpm is None else options.tpm.attest_us or ATTEST_US,
        ),
    )
    return link, agent


async def _serve(
    front: _Front, link: NatsLink, agent: NodeAgent, predecessor: Taker | None, socket: Path | None
) -> bool:
    """Run until a signal comes, or until a successor asks for the sockets; True for the latter.

    Afterwards nothing of the agent is left: the disk and the node's place at the substrate are free.
    """
    try:
        await link.start()
        async with contextlib.AsyncExitStack() as ends_with, asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(agent.run(), name="agent"),
                tasks.create_task(front.keeper.run(), name="front"),
            ]
            if predecessor is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(agent.wait_ready(), READY_S)
                front.runtime.start()
                # One that has died meanwhile serves nobody: this process does.
                with contextlib.suppress(HanseError):
                    await predecessor.serving()
            front.giver.open()
            if socket is not None:
                await ends_with.enter_async_context(WorkloadApi(socket, agent.workload_svids))
            _say_ready(front.state, front.runtime.front)
            ends = [asyncio.create_task(run_until_signalled()), asyncio.create_task(front.giver.asked())]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                has_successor = not ends[0].done()
            finally:
                for task in (*ends, *running):
                    task.cancel()
                await asyncio.gather(*ends, return_exceptions=True)
        return has_successor
    finally:
        with contextlib.suppress(HanseError):
            await link.stop()


def _workload_api(options: NodeOptions) -> Path | None:
    """Where programs beside this node fetch their SVIDs; nowhere if the owner allows no program."""
    if not options.upstreams:
        return None
    return Path(options.workload_api or f"{options.state}/{WORKLOAD_SOCKET}")


def _front_files(options: NodeOptions) -> FrontFiles:
    kept = Path(options.state) / "issuers"
    tls = options.front_tls
    if tls is None:
        return FrontFiles(issuers=options.issuers, kept=kept)
    return FrontFiles(
        certificates=tls.certificates,
        client_auth=tls.client_auth,
        client_ca=tls.client_ca,
        issuers=options.issuers,
        kept=kept,
    )


def _name_damage(path: Path, why: str) -> None:
    """A bad file is set aside and named; the rest starts."""
    log.error("disk.damaged", file=str(path), why=why)


def _say_ready(state: Path, front: str) -> None:
    """The supervisor waits for this file: the front is bound and the agent starts its own work from disk."""
    path = state / "ready"
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(front)
    partial.replace(path)
