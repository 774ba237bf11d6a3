"""A whole fabric on one machine, as real processes: what `hanse up`, the tour, the tests and the benches start.

`fabric file, state directory -> nats-server, controllers, nodes`, each in its own process with its own identity and
state. Between each node and the substrate lies a relay whose cable can be pulled. Everything started here is stopped
here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hanse.adapters.clock import SystemClock
from hanse.adapters.domain_ca import IN_FOLDER, is_rotation_due, rotate_issuing, view_ca
from hanse.adapters.domain_files import Domain, DomainError, init_domain, issue_server, load_domain, write_context
from hanse.adapters.entropy import SystemEntropy
from hanse.adapters.keys import write_private
from hanse.adapters.nats_server import NatsServer, server_config
from hanse.adapters.node_files import NodeFiles
from hanse.adapters.processes import Child, ChildEvent, ChildSpec, RestartPolicy
from hanse.adapters.supervisor import Supervisor
from hanse.adapters.swtpm import SoftTpmMaker, soft_tpm_process, soft_tpm_tcti
from hanse.adapters.tls import client_context
from hanse.adapters.uplink import Uplink
from hanse.app.held_ports import HeldPorts
from hanse.app.launch import TAKE_OVER, LaunchController, LaunchNode
from hanse.app.layout import Layout
from hanse.app.options import (
    PLAIN_FRONT,
    ControllerOptions,
    FrontOptions,
    FrontTls,
    JoinOptions,
    NodeOptions,
    TpmOptions,
)
from hanse.app.revoking import RevocationFile, follow_revocations
from hanse.core.errors import HanseError
from hanse.core.fabric import Node
from hanse.core.ids import NodeId
from hanse.core.time import DAY_US, US_PER_S, WallTime, rfc3339
from hanse.identity import ServerTls, nats_auth_config
from hanse.manifest import Manifests, load
from hanse.wire import canonical

HOST = "127.0.0.1"
SOFT_TPMS = "software-tpms"
"""Name of the anchor under which a domain knows the TPMs of `hanse up --tpm`."""
READY_S = 120.0
"""How long one process may take to be ready: under one second, or as long as a small and busy machine needs. What
ends instead of getting ready is noticed at once; this is for what hangs."""
LOOK_S = 0.02
REVOCATION_RETRY_S = 1.0
CERTIFY_LOOK_S = 86_400.0
"""How often a running fabric makes its substrate's certificate anew, and asks whether the issuing authority is due."""
Say = Callable[[str], None]


class FabricError(HanseError):
    """Raised when a local fabric cannot start or a process of it does not become ready."""

    code = "fabric.failed"


@dataclass(slots=True)
class NodeProcess:
    """One node of the local fabric."""

    node: Node
    child: Child
    uplink: Uplink
    front: str
    mesh: str
    is_front_tls: bool = False

    @property
    def url(self) -> str:
        """Base URL of the node's own front."""
        return f"{'https' if self.is_front_tls else 'http'}://{self.front}"


@dataclass(slots=True)
class LocalFabric:
    """A running fabric. Make it with `running_fabric`."""

    layout: Layout
    domain: Domain
    supervisor: Supervisor
    say: Say
    is_restarting_nodes: bool
    is_restarting_controllers: bool
    latency_table: str | None = None
    access: str | None = None
    front: FrontOptions = PLAIN_FRONT
    has_tpms: bool = False
    """Whether every node gets a software TPM; else those whose manifests promise evidence."""
    attest_us: int | None = None
    optimise_us: int | None = None
    """How often the leader runs the global solver; None: as often as a controller does by itself."""
    server: NatsServer | None = None
    api_urls: tuple[str, ...] = ()
    controllers: dict[str, Child] = field(default_factory=dict)
    nodes: dict[NodeId, NodeProcess] = field(default_factory=dict)
    _leaving: list[Child] = field(default_factory=list)
    """Processes whose successors serve, and that still finish their requests."""
    _relays: list[Uplink] = field(default_factory=list)
    """One for each node, also for those that did not become ready."""
    _tpm_maker: SoftTpmMaker | None = None
    _keeper: asyncio.Task[None] | None = None
    _revoker: asyncio.Task[None] | None = None
    _certifier: asyncio.Task[None] | None = None
    _ports: HeldPorts | None = None

    # --- faults and repairs, by name ---

    async def kill(self, node: NodeId) -> None:
        """End a node's process as ``kill -9`` does, and wait until it is gone."""
        self.nodes[node].child.kill()
        await self.nodes[node].child.wait_down()

    async def restart(self, node: NodeId) -> None:
        """Start a node's process again and wait until its front is bound."""
        self.nodes[node].child = await self.supervisor.replace(node)

    async def restart_hot(self, node: NodeId) -> None:
        """Start a node's process anew while the one before serves, until the new one does. Raises ProcessError."""
        before = self.nodes[node].child
        self.nodes[node].child = await self.supervisor.succeed(node, TAKE_OVER)
        self._leaving.append(before)

    async def kill_controller(self, name: str) -> None:
        """End a controller's process as ``kill -9`` does, and wait until it is gone."""
        self.controllers[name].kill()
        await self.controllers[name].wait_down()

    async def restart_controller(self, name: str) -> None:
        """Start a controller's process again and wait until it has caught up."""
        self.controllers[name] = await self.supervisor.replace(name)
        async with self.client(sorted(self.controllers).index(name)) as api:
            await self._until(lambda: _is_caught_up(api), f"the API of {name}")

    def cut(self, node: NodeId) -> None:
        """Pull the cable between a node and the substrate."""
        self.nodes[node].uplink.cut()

    def link(self, node: NodeId) -> None:
        """Plug the cable in again."""
        self.nodes[node].uplink.restore()

    def client(self, number: int = 0) -> httpx.AsyncClient:
        """An HTTP client for one controller's API, authenticated."""
        return httpx.AsyncClient(
            base_url=self.api_urls[number],
            verify=client_context(self.domain.bundle_pem),
            headers={"authorization": f"Bearer {self.domain.api_token}"},
            timeout=READY_S,
        )

    # --- starting ---

    async def _start(self, fabric_file: Path, controllers: int) -> None:
        manifests = load([(fabric_file.name, fabric_file.read_text())])
        self._ports = ports = HeldPorts(self.layout.ports, HOST)
        await self._start_substrate(ports)
        relays = {node.id: await self._start_uplink(node, ports) for node in manifests.nodes}
        await self._start_controllers(controllers, ports)
        self._revoker = asyncio.create_task(self._keep_revoked_out(), name="revocations")
        await self._submit_places(fabric_file, manifests)
        await self._make_tpms([node for node in manifests.nodes if self._wants_tpm(node)])
        self.say(f"starting {len(manifests.nodes)} nodes")
        async with asyncio.TaskGroup() as tasks:
            for node in manifests.nodes:
                tasks.create_task(self._start_node(node, relays[node.id], ports))
        ports.save()
        await self._wait_ready()
        self.supervisor.note_ports(ports.taken)

    async def _start_substrate(self, ports: HeldPorts) -> None:
        self.say("starting the substrate (nats-server with JetStream)")
        folder = self.layout.substrate
        folder.mkdir(exist_ok=True, mode=0o700)
        files = self._substrate_tls()
        self._write_substrate_certificate(files)
        port, revoked = ports.take("nats"), RevocationFile(self.layout.revocations, self.domain).revoked
        self.server = NatsServer(config=self._substrate_config(port, revoked), run_dir=folder / "run")
        await self.server.start()
        self._keeper = asyncio.create_task(self._keep_substrate(self.server), name="keep nats-server")
        self._certifier = asyncio.create_task(self._keep_certified(files), name="certificates")

    def _write_substrate_certificate(self, files: ServerTls) -> None:
        chain, key = issue_server(
            self.domain, "nats", now=SystemClock().wall(), entropy=SystemEntropy(), lifetime_us=90 * DAY_US
        )
        for path, data in ((files.certificate, chain), (files.key, key), (files.bundle, self.domain.bundle_pem)):
            write_private(Path(path), data)

    async def _keep_certified(self, files: ServerTls) -> None:
        """Rotate the issuing authority when it is due, and with it the substrate's certificate."""
        while True:
            await asyncio.sleep(CERTIFY_LOOK_S)
            try:
                self.domain = rotated_if_due(self.layout.root, self.say)
                self._write_substrate_certificate(files)
            except (HanseError, OSError) as error:
                self.say(f"the substrate's certificate cannot be made anew: {error}; trying again")
                continue
            if self.server is not None:
                revoked = RevocationFile(self.layout.revocations, self.domain).revoked
                self.server.reload(self._substrate_config(self.server.port, revoked))

    def _substrate_tls(self) -> ServerTls:
        folder = self.layout.substrate
        return ServerTls(
            certificate=str(folder / "server.pem"), key=str(folder / "server.key"), bundle=str(folder / "bundle.pem")
        )

    def _substrate_config(self, port: int, revoked: Mapping[str, WallTime]) -> str:
        folder = self.layout.substrate
        return server_config(
            server_name=f"{self.domain.name}-1",
            host=HOST,
            port=port,
            store_dir=str(folder / "jetstream"),
            run_dir=str(folder / "run"),
            security=nats_auth_config(self.domain.nats_trust(revoked), self._substrate_tls()),
        )

    async def _keep_revoked_out(self) -> None:
        """Write the server's configuration anew whenever the list of revoked nodes changes."""
        file = RevocationFile(self.layout.revocations, self.domain)

        def apply(revoked: Mapping[str, WallTime]) -> None:
            if self.server is not None:
                self.server.reload(self._substrate_config(self.server.port, revoked))

        while True:
            try:
                await follow_revocations(file, self.domain, self._substrate_url(), SystemEntropy(), apply)
            except HanseError as error:
                self.say(f"the list of revoked nodes cannot be followed: {error.message}; trying again")
            await asyncio.sleep(REVOCATION_RETRY_S)

    async def _keep_substrate(self, server: NatsServer) -> None:
        """Start nats-server again whenever it dies: what it acknowledged is on disk."""
        policy = RestartPolicy()
        failures = 0
        while True:
            code = await server.wait()
            failures += 1
            self.say(f"nats-server ended with code {code}; starting it again")
            await asyncio.sleep(policy.backoff_us(failures) / 1e6)
            with contextlib.suppress(HanseError):
                await server.start()
                failures = 0

    async def _start_uplink(self, node: Node, ports: HeldPorts) -> Uplink:
        state = self.layout.node(node.id)
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.server is None:
            raise FabricError("the substrate was not started")
        relay = await Uplink.start(
            (HOST, self.server.port), listen=(HOST, ports.take(f"uplink/{node.id}")), control=state / "uplink.sock"
        )
        self._relays.append(relay)
        return relay

    async def _start_controllers(self, count: int, ports: HeldPorts) -> None:
        self.say(f"starting {count} controller{'s' if count > 1 else ''}")
        names = [f"controller-{number}" for number in range(1, count + 1)]
        addresses = [ports.take(f"api/{name}") for name in names]
        self.api_urls = tuple(f"https://{HOST}:{port}" for port in addresses)
        for name, port in zip(names, addresses, strict=True):
            options = ControllerOptions(
                state=str(self.layout.root),
                id=name,
                api_host=HOST,
                api_port=port,
                substrate_url=self._substrate_url(),
                node_substrate_urls=(self._substrate_url(),),
                latency_table=self.latency_table,
                access=self.access,
                count_us=self.front.sight.count_us,
            )
            if self.optimise_us is not None:
                options = replace(options, optimise_every_us=self.optimise_us)
            launch = self.layout.root / f"{name}.launch.json"
            write_private(launch, canonical.encode(LaunchController(options=options)))
            restart = RestartPolicy() if self.is_restarting_controllers else None
            self.controllers[name] = await self.supervisor.start(self._spec(name, launch, restart=restart))
        write_context(self.layout.root, self.api_urls)
        async with self.client() as api:
            await self._until(lambda: _is_caught_up(api), "the controller's API")

    async def _submit_places(self, fabric_file: Path, manifests: Manifests) -> None:
        """Make the fabric's sites and operators known once; later changes to them are the users', not this file's."""
        async with self.client() as api:
            known = {row["id"] for kind in ("sites", "operators") for row in (await api.get(f"/api/v1/{kind}")).json()}
            wanted = {*(site.id for site in manifests.sites), *(operator.id for operator in manifests.operators)}
            if wanted <= known:
                return
            text = fabric_file.read_text()
            answer = await api.post("/api/v1/submissions", json={"files": [{"name": fabric_file.name, "text": text}]})
            if answer.is_error:
                raise FabricError(f"the fabric's sites and operators were refused: {answer.text}")

    def _wants_tpm(self, node: Node) -> bool:
        return self.has_tpms or node.evidence == "tpm"

    async def _make_tpms(self, nodes: Sequence[Node]) -> None:
        """Start a software TPM per node, and have the domain believe their maker, marked as simulated."""
        if not nodes:
            return
        self.say(f"starting {len(nodes)} software TPMs; whatever they attest is marked as simulated")
        maker = SoftTpmMaker(self.layout.tpm_maker)
        for node in nodes:
            state = self.layout.node(node.id) / "swtpm"
            await maker.make(state)
            log = self.layout.logs / f"{node.id}.tpm.log"
            await self.supervisor.start(soft_tpm_process(node.id, state, self.tpm_socket(node.id), log))
        self._tpm_maker = maker
        root = x509.load_der_x509_certificate(maker.issuers[-1]).public_bytes(Encoding.PEM).decode()
        async with self.client() as api:
            known = {row["name"] for row in (await api.get("/api/v1/attest/anchors")).json()}
            if SOFT_TPMS in known:
                return
            body = {"kind": "tpm", "certificate_pem": root, "origin": "simulated"}
            answer = await api.put(f"/api/v1/attest/anchors/{SOFT_TPMS}", json=body)
            if answer.is_error:
                raise FabricError(f"the root of the software TPMs was refused: {answer.text}")

    def tpm_socket(self, node: NodeId) -> Path:
        """Where a node's software TPM listens."""
        return self.layout.node(node) / "tpm.sock"

    async def _start_node(self, node: Node, uplink: Uplink, ports: HeldPorts) -> None:
        state = self.layout.node(node.id)
        front, mesh = (f"{HOST}:{ports.take(f'{what}/{node.id}')}" for what in ("front", "mesh"))
        host, port = uplink.address
        options = NodeOptions(
            state=str(state),
            node=node,
            front=front,
            mesh=mesh,
            compiled=str(self.layout.compiled),
            substrate_url=f"nats://{host}:{port}",
            front_tls=self._front_tls(node),
            issuers=self.front.issuers,
            upstreams=self.front.upstreams,
            sight=self.front.sight,
            tpm=self._tpm_options(node),
        )
        join = None
        joined = NodeFiles(state / "identity").enrolment()
        if joined is None or not joined.has_own_account:
            join = JoinOptions(api_urls=self.api_urls, ca_pem=self.domain.bundle_pem, token=await self._token(node))
        launch = state / "launch.json"
        write_private(launch, canonical.encode(LaunchNode(options=options, join=join)))
        restart = RestartPolicy() if self.is_restarting_nodes else None
        child = await self.supervisor.start(self._spec(node.id, launch, restart=restart, ready_file=state / "ready"))
        self.say(f"node {node.id} is up ({node.site}, run by {node.operator})")
        self.nodes[node.id] = NodeProcess(
            node=node, child=child, uplink=uplink, front=front, mesh=mesh, is_front_tls=options.front_tls is not None
        )

    def _front_tls(self, node: Node) -> FrontTls | None:
        """The front's files: those that were given, else a certificate of the domain's own authority."""
        if not self.front.is_tls:
            return None
        certificates = self.front.certificates
        if not certificates:
            state = self.layout.node(node.id)
            chain, key = issue_server(
                self.domain,
                f"front-{node.id}",
                now=SystemClock().wall(),
                entropy=SystemEntropy(),
                dns_names=("localhost", node.id, f"{node.id}.{self.domain.name}"),
                lifetime_us=90 * DAY_US,
            )
            files = (state / "front.pem", state / "front.key")
            for path, data in zip(files, (chain, key), strict=True):
                write_private(path, data)
            certificates = ((str(files[0]), str(files[1])),)
        return replace(self.front, certificates=certificates).tls()

    def _tpm_options(self, node: Node) -> TpmOptions | None:
        if self._tpm_maker is None or not self._wants_tpm(node):
            return None
        tcti = soft_tpm_tcti(self.tpm_socket(node.id))
        return TpmOptions(tcti=tcti, issuers=self._tpm_maker.issuers, attest_us=self.attest_us)

    async def _token(self, node: Node) -> str:
        async with self.client() as api:
            body = {
                "site": node.site,
                "operator": node.operator,
                "tier": node.tier.value,
                "grade": int(node.grade),
                "node": node.id,
                "require": ["tpm"] if self._wants_tpm(node) else [],
                "service": node.service,
            }
            answer = await api.post("/api/v1/tokens", json=body)
            if answer.is_error:
                raise FabricError(f"no join token for {node.id}: {answer.text}")
            return str(answer.json()["token"])

    async def _wait_ready(self) -> None:
        """Wait until the controller hears every node."""
        self.say("waiting until every node is heard")
        async with self.client() as api:
            await self._until(lambda: _all_ready(api, set(self.nodes)), "the nodes' heartbeats")

    def _spec(
        self, name: str, launch: Path, *, restart: RestartPolicy | None, ready_file: Path | None = None
    ) -> ChildSpec:
        return ChildSpec(
            name=name,
            argv=(sys.executable, "-m", "hanse.app.launch", str(launch)),
            env=dict(os.environ),
            log_path=self.layout.logs / f"{name}.log",
            restart=restart,
            ready_file=ready_file,
            start_timeout_us=int(READY_S) * US_PER_S,
        )

    async def _until(self, is_so: Callable[[], Awaitable[bool]], what: str) -> None:
        try:
            async with asyncio.timeout(READY_S):
                while not await is_so():  # noqa: ASYNC110 - another process makes it so
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise FabricError(f"{what} was not ready within {READY_S:.0f} s", hint=f"see {self.layout.logs}") from None

    def _substrate_url(self) -> str:
        if self.server is None:
            raise FabricError("the substrate was not started")
        return f"nats://{HOST}:{self.server.port}"

    async def _stop(self) -> None:
        """What the supervisor does not own: the substrate and the relays. Nodes and controllers have ended before."""
        for task in (self._revoker, self._keeper, self._certifier):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for child in self._leaving:
            await child.stop()
        for relay in self._relays:
            await relay.close()
        if self.server is not None:
            await self.server.stop()
        if self._ports is not None:
            self._ports.release()


@contextlib.asynccontextmanager
async def running_fabric(
    state: Path,
    fabric_file: Path,
    *,
    domain_name: str = "europe.hanse",
    controllers: int = 1,
    is_restarting_nodes: bool = True,
    is_restarting_controllers: bool = True,
    latency_table: Path | None = None,
    access: Path | None = None,
    front: FrontOptions = PLAIN_FRONT,
    has_tpms: bool = False,
    attest_us: int | None = None,
    optimise_us: int | None = None,
    say: Say = lambda _: None,
) -> AsyncIterator[LocalFabric]:
    """Start everything, yield when every node is heard, stop everything however the block ends.

    `is_restarting_nodes` False leaves a dead node dead until `LocalFabric.restart`, `is_restarting_controllers` False a
    dead controller until `LocalFabric.restart_controller`. `has_tpms` gives every node a software TPM, and
    they attest every `attest_us`. `access` is the file of providers, roles and limits.
    Raises FabricError, SubstrateError, ProcessError, DomainError, ManifestError,
    AttestorError.
    """
    layout = Layout(state.resolve())
    layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with contextlib.AsyncExitStack() as stack:
        last: list[LocalFabric] = []
        stack.push_async_callback(_stop_last, last)
        supervisor = await stack.enter_async_context(Supervisor(layout.root, lambda event: _tell(say, event)))
        init_domain(layout.root, domain_name, SystemClock().wall(), SystemEntropy())
        fabric = LocalFabric(
            layout=layout,
            domain=rotated_if_due(layout.root, say),
            supervisor=supervisor,
            say=say,
            is_restarting_nodes=is_restarting_nodes,
            is_restarting_controllers=is_restarting_controllers,
            latency_table=None if latency_table is None else str(latency_table.resolve()),
            access=None if access is None else str(access.resolve()),
            front=front,
            has_tpms=has_tpms,
            attest_us=attest_us,
            optimise_us=optimise_us,
        )
        last.append(fabric)
        await fabric._start(fabric_file, controllers)
        yield fabric


def rotated_if_due(root: Path, say: Say) -> Domain:
    """The domain, with a new issuing authority if that is due and the root key is here; else a word about it."""
    now, domain = SystemClock().wall(), load_domain(root)
    if not is_rotation_due(domain, now):
        return domain
    if domain.root_at != IN_FOLDER:
        say(f"the issuing authority ends at {rfc3339(view_ca(domain, now).issuing_until_us)}: run `hanse ca rotate`")
        return domain
    try:
        return rotate_issuing(root, now, SystemEntropy())
    except DomainError as error:
        say(f"the issuing authority is not rotated yet: {error.message}")
        return domain


async def _stop_last(fabrics: list[LocalFabric]) -> None:
    for fabric in fabrics:
        await fabric._stop()


def _tell(say: Say, event: ChildEvent) -> None:
    if event.kind in ("ended", "gave_up"):
        say(f"{event.name} {event.kind.replace('_', ' ')}: {event.detail}")


async def _is_caught_up(api: httpx.AsyncClient) -> bool:
    try:
        return bool((await api.get("/api/v1/health")).json()["is_caught_up"])
    except httpx.TransportError:
        return False


async def _all_ready(api: httpx.AsyncClient, wanted: Collection[NodeId]) -> bool:
    rows = (await api.get("/api/v1/nodes")).json()
    return {row["id"] for row in rows if row["reach"] in ("ready", "draining")} >= set(wanted)
