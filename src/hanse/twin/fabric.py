"""A whole fabric on the virtual loop: controllers and nodes as the app builds them, on memory ports.

`manifests, seed, settings -> World with machines`. `build_control` and `build_node` are called as in `app`; a node
joins with a real token through a controller's `Enrolment`, and every message is sealed and opened. What the app does
over HTTP (joining, deploying) is a call here, with the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hanse.control import ControlConfig, Controller, build_control
from hanse.control.service import FabricService
from hanse.core.errors import HanseError
from hanse.core.fabric import Node
from hanse.core.geo import Place, modelled_rtt_us
from hanse.core.ids import ControllerId, NodeId, SiteId, WorkloadId
from hanse.core.ports import Addresses, ControlPorts, NodePorts
from hanse.core.snapshot import Series
from hanse.core.time import US_PER_S, WallTime
from hanse.core.traffic import COUNT_US
from hanse.core.work import Workload
from hanse.identity import key_from_secret, make_csr
from hanse.identity.authority import SECRET_BYTES, key_pem
from hanse.manifest import load
from hanse.node import NodeAgent, NodeConfig, build_node
from hanse.node.svid import BUCKET, KEY, StoredSvid
from hanse.twin.domain import NodeKeys, TwinDomain, make_domain, make_node_keys
from hanse.twin.faults import Fault
from hanse.twin.ports.attestor import MemoryAttestor
from hanse.twin.ports.dialer import MemoryDialer
from hanse.twin.ports.runtime import EngineModel, MemoryJobs, MemoryRuntime, ModelMeter, Watcher
from hanse.twin.world import Checker, MachinePorts, World
from hanse.wire import canonical, envelope
from hanse.wire.trust_messages import JoinRequest, JoinResponse

START = WallTime(1_795_000_000_000_000)
"""When a twin begins: 2026-11-18T09:46:40Z."""
RETRY_S = 0.5
RECONNECT_JITTER_US = 1_000_000
"""Nodes come back from an outage one after the other, as their clients back off by chance."""
DOMAIN = "twin.hanse"
VERSION = "twin"
Verb = Callable[[FabricService], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a twin is made from besides its manifests; texts come from the caller, who may read files."""

    packs: Mapping[str, str]
    start: WallTime = START
    """Wall time at which the twin begins."""
    intensity_g_per_kwh: Mapping[str, int] = field(default_factory=dict)
    gazetteer: Mapping[str, Place] = field(default_factory=dict)
    guardrails: tuple[str, ...] = ()
    controllers: int = 1
    """How many, 1..7."""
    engine: EngineModel = field(default_factory=EngineModel)
    delay_us: Mapping[str, int] = field(default_factory=dict)
    """One way to the substrate, by node; chance decides for those that are not named."""
    dial_every_us: int = 300 * US_PER_S
    """How often sites measure one another; the default of the app."""
    count_us: int = COUNT_US
    """How often is looked at where requests enter; the default of the app."""
    owner_policy: Mapping[NodeId, str] = field(default_factory=dict)
    """Cedar rules of single nodes' owners."""


@dataclass(slots=True)
class _NodePlace:
    """What of a node lasts beyond its process and its disk."""

    node: Node
    keys: NodeKeys
    joined: JoinResponse | None = None


class TwinFabric:
    """Builds the machines and keeps handles on the live ones, for scenarios and checkers."""

    def __init__(
        self,
        manifests: str,
        settings: Settings,
        *,
        seed: int,
        faults: Sequence[Fault] = (),
        checkers: Sequence[Checker] = (),
        limit_us: int = 6 * 3_600 * US_PER_S,
    ) -> None:
        self.text = manifests
        self.manifests = load([("fabric.yaml", manifests)])
        self.settings = settings
        self.domain: TwinDomain = make_domain(seed, DOMAIN, settings.start)
        self.world = World(seed=seed, start=settings.start, faults=faults, checkers=checkers, limit_us=limit_us)
        self.controllers: dict[str, Controller] = {}
        """Live ones by machine name."""
        self.agents: dict[NodeId, NodeAgent] = {}
        self.runtimes: dict[NodeId, MemoryRuntime] = {}
        self.runners: dict[NodeId, MemoryJobs] = {}
        """What ran jobs, per node; kept over restarts, so that a scenario may look at it."""
        self._job_failures: dict[WorkloadId, int] = {}
        self.detour_us: dict[tuple[NodeId, NodeId], int] = {}
        """What a way from node to node takes beyond the great circle, by both in id order; scenarios change it."""
        self.watchers: list[Watcher] = []
        self._services: dict[str, FabricService] = {}
        self._control_ports: dict[str, ControlPorts] = {}
        self._places = {n.id: _NodePlace(node=n, keys=make_node_keys(seed, n.id)) for n in self.manifests.nodes}
        rng = self.world.rng("wires")
        for number in range(settings.controllers):
            self.world.add(f"control-{number}", self._control_main, delay_us=300, drift_ppm=rng.randint(-50, 50))
        for node in self.node_ids:
            delay_us = settings.delay_us.get(node, rng.randint(500, 20_000))
            self.world.add(
                node,
                self._node_main,
                delay_us=delay_us,
                jitter_us=delay_us // 4,
                drift_ppm=rng.randint(-100, 100),
                reconnect_jitter_us=RECONNECT_JITTER_US,
            )

    @property
    def node_ids(self) -> tuple[NodeId, ...]:
        """Every node of the manifests, in id order."""
        return tuple(sorted(self._places))

    @property
    def controller_names(self) -> tuple[str, ...]:
        """Every controller's machine name, in order."""
        return tuple(f"control-{number}" for number in range(self.settings.controllers))

    def leader(self) -> str | None:
        """The machine that leads now by its own account; the first of them if several think so."""
        return next((name for name, one in sorted(self.controllers.items()) if one.lease.is_leader()), None)

    def site_of(self, node: NodeId) -> SiteId:
        """Where a node stands."""
        return self._places[node].node.site

    def config_of(self, controller: str) -> ControlConfig:
        """The settings of one controller: the defaults of the app."""
        return ControlConfig(
            id=ControllerId(controller),
            domain=self.domain.name,
            api_url=f"https://{controller}",
            nats_urls=("nats://twin",),
            packs=self.settings.packs,
            guardrails=self.settings.guardrails,
            intensity_g_per_kwh=self.settings.intensity_g_per_kwh,
            gazetteer=self.settings.gazetteer,
            dial_every_us=self.settings.dial_every_us,
            count_us=self.settings.count_us,
        )

    # --- what users do ---

    async def deploy(self, text: str, artifacts: Mapping[str, bytes] | None = None) -> None:
        """Upload artifacts and submit manifests through whichever controller answers; tries until one accepts."""
        while True:
            name = self._api()
            try:
                if name is not None:
                    await self._deploy(name, text, artifacts or {})
                    return
            except HanseError as error:
                if not error.retry and self.world.is_up(name or ""):
                    raise
            await asyncio.sleep(RETRY_S)

    async def delete(self, workload: str) -> None:
        """Delete a function through whichever controller answers."""
        await self._ask(lambda service: service.delete("Function", workload, user="twin"))

    async def set_draining(self, node: NodeId, is_draining: bool) -> None:
        """Begin or end emptying a node."""
        await self._ask(lambda service: service.set_draining(node, is_draining, user="operator"))

    async def take_carbon(self, zones: Mapping[str, Series]) -> None:
        """Bring in a forecast that is right."""
        await self._ask(lambda service: service.take_carbon(zones, source="twin", error_permille=0, user="operator"))

    async def _ask(self, verb: Verb) -> None:
        while True:
            name = self._api()
            try:
                if name is not None:
                    await verb(self._services[name])
                    return
            except HanseError as error:
                if not error.retry and self.world.is_up(name or ""):
                    raise
            await asyncio.sleep(RETRY_S)

    async def _deploy(self, name: str, text: str, artifacts: Mapping[str, bytes]) -> None:
        blobs = self._control_ports[name].blobs
        digests = {workload: await blobs.put(component) for workload, component in sorted(artifacts.items())}
        await self._services[name].submit([("twin.yaml", text)], digests, user="twin", is_dry_run=False)

    def _api(self) -> str | None:
        """A controller whose API would answer: the leader's first, as clients find it through the lease."""
        ready = [name for name, one in sorted(self.controllers.items()) if one.is_caught_up and one.is_connected]
        leader = self.leader()
        return leader if leader in ready else next(iter(ready), None)

    # --- machines ---

    async def _control_main(self, machine: MachinePorts) -> None:
        ports = ControlPorts(
            clock=machine.clock,
            entropy=machine.entropy,
            bus=machine.bus,
            store=machine.store,
            blobs=machine.blobs,
            ledger=machine.ledger,
            signer=self.domain.controller,
            ledger_signers=self.domain.ledger,
            witness_signers=self.domain.witness,
            mirror_signers=self.domain.mirror,
        )
        controller = build_control(ports, self.config_of(machine.name), self.domain.authority)
        self.controllers[machine.name] = controller
        self._services[machine.name] = FabricService(controller, ports)
        self._control_ports[machine.name] = ports
        try:
            await controller.run()
        finally:
            if self.controllers.get(machine.name) is controller:
                del self.controllers[machine.name]

    async def _node_main(self, machine: MachinePorts) -> None:
        place = self._places[NodeId(machine.name)]
        node = place.node.id
        if place.joined is None:
            place.joined = await self._join(place, machine)
        runtime = MemoryRuntime(
            node,
            model=self.settings.engine,
            clock=machine.clock,
            mesh=machine.mesh,
            rng=machine.entropy.stream("engine"),
            watcher=_Watchers(self.watchers),
        )
        addresses = Addresses(front=f"{node}.front:80", mesh=f"{node}.mesh:443")
        machine.mesh.join(addresses.mesh, runtime)
        ports = NodePorts(
            clock=machine.clock,
            entropy=machine.entropy,
            bus=machine.bus,
            store=machine.store,
            blobs=machine.blobs,
            disk=machine.disk,
            # A process that crashes finds both again; machines are not rebooted here.
            memory=machine.disk,
            cache=machine.cache,
            runtime=runtime,
            jobs=self.runners.setdefault(node, MemoryJobs(self._job_failures)),
            meter=ModelMeter(runtime, machine.clock),
            signer=place.keys.signer,
            attestor=MemoryAttestor(),
            dialer=MemoryDialer(machine.mesh, lambda other: self._direct_us(node, other)),
        )
        agent = build_node(ports, self._node_config(place.node, place.joined, addresses))
        self.agents[node], self.runtimes[node] = agent, runtime
        try:
            await agent.run()
        finally:
            if self.agents.get(node) is agent:
                del self.agents[node], self.runtimes[node]

    def _direct_us(self, a: NodeId, b: NodeId) -> int:
        """The round trip between two nodes that speak without the substrate."""
        sites = {site.id: site.place for site in self.manifests.sites}
        places = [sites[self._places[one].node.site] for one in (a, b)]
        return modelled_rtt_us(*places) + self.detour_us.get((min(a, b), max(a, b)), 0)

    def _node_config(self, node: Node, joined: JoinResponse, addresses: Addresses) -> NodeConfig:
        return NodeConfig(
            domain=joined.domain,
            node=node,
            site=joined.site,
            operator=joined.operator,
            controller_keys={envelope.key_id_of(key): key for key in joined.controller_keys},
            addresses=addresses,
            version=VERSION,
            packs=self.settings.packs,
            owner_policy=self.settings.owner_policy.get(node.id, ""),
            count_us=self.settings.count_us,
        )

    async def _join(self, place: _NodePlace, machine: MachinePorts) -> JoinResponse:
        """Join as `hanse node join` does, with a token asked for at the same controller."""
        svid_key = key_from_secret(machine.entropy.secret(SECRET_BYTES))
        while True:
            name = self._api()
            if name is not None and self.leader() is not None:
                try:
                    answer = await self._ask_to_join(name, place, make_csr(svid_key))
                except HanseError as error:
                    if not error.retry and error.code != "join.unknown_place" and self.world.is_up(name):
                        raise
                else:
                    stored = StoredSvid(svid=answer.svid, private_key_pem=key_pem(svid_key))
                    await machine.disk.put(BUCKET, KEY, canonical.encode(stored))
                    return answer
            await asyncio.sleep(RETRY_S)

    async def _ask_to_join(self, name: str, place: _NodePlace, csr: bytes) -> JoinResponse:
        enrolment, node = self.controllers[name].enrolment, place.node
        token, _ = await enrolment.mint(
            site=node.site, operator=node.operator, tier=node.tier, grade=node.grade, node=node.id
        )
        request = JoinRequest(
            token=token,
            node=node,
            csr_pem=csr,
            public_key=place.keys.signer.public_key,
            nats_public_key=place.keys.user.public,
        )
        # As over HTTP: the controller reads bytes, and the node reads bytes.
        read = canonical.decode(canonical.encode(request), JoinRequest)
        return canonical.decode(canonical.encode(await enrolment.join(read)), JoinResponse)


class _Watchers:
    """Hands what a runtime does to everyone who watches, also to those who come later."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def loaded(self, node: NodeId, workload: Workload) -> None:
        for watcher in self._watchers:
            watcher.loaded(node, workload)

    def unloaded(self, node: NodeId, workload: WorkloadId) -> None:
        for watcher in self._watchers:
            watcher.unloaded(node, workload)
