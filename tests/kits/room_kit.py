"""Records and ports for tests of the controller's and the node's rooms: one node, one site, memory ports, virtual time.

`run(scenario)` plays a coroutine on the virtual loop; nothing in it takes real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hanse.control.state import FabricState
from hanse.core.fabric import Grade, Node, Operator, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, InstanceId, NodeId, OperatorId, PlanId, SiteId, workload_id
from hanse.core.ports import Addresses, ControlPorts, Entry, NodePorts
from hanse.core.snapshot import Phase
from hanse.core.time import HOUR_US, MonoTime, WallTime
from hanse.core.work import Kind, Route, Workload
from hanse.node import NodeConfig
from hanse.twin.loop import VirtualLoop
from hanse.twin.loop import run as run_on
from hanse.twin.ports.attestor import MemoryAttestor
from hanse.twin.ports.blobs import BlobServer, MemoryBlobs
from hanse.twin.ports.bus import MemoryBus, Switch
from hanse.twin.ports.clock import VirtualClock
from hanse.twin.ports.dialer import MemoryDialer
from hanse.twin.ports.entropy import SeededEntropy
from hanse.twin.ports.link import Conditions, Link
from hanse.twin.ports.runtime import EngineModel, MemoryJobs, MemoryRuntime, Mesh, ModelMeter
from hanse.twin.ports.signer import ed25519, ml_dsa_44
from hanse.twin.ports.store import KvServer, MemoryStore
from hanse.twin.trace import Trace
from hanse.wire import envelope
from hanse.wire.canonical import digest_bytes
from hanse.wire.messages import Heartbeat, NodeRecord, Order, Report, SpecRecord
from hanse.wire.subjects import BUCKETS

T = TypeVar("T")

START = WallTime(1_795_000_000_000_000)
CONTROLLER, NODE_SIGNER, STRANGER = ed25519(b"\x01" * 32), ed25519(b"\x02" * 32), ed25519(b"\x03" * 32)
TRUSTED = {CONTROLLER.key_id: CONTROLLER.public_key}
PACKS = {
    str(path.relative_to(root)): path.read_text()
    for root in [Path(__file__).parents[2] / "src" / "hanse" / "packs"]
    for path in sorted(root.rglob("*"))
    if path.suffix in (".yaml", ".cedar")
}
COMPONENT = b"a component, as far as the modelled engine cares"
ME, OTHER = NodeId("fra-1"), NodeId("par-1")
SITE = Site(
    id=SiteId("frankfurt"),
    country=CountryCode("DE"),
    place=Place(city="Frankfurt", latitude_deg=50.11, longitude_deg=8.68),
    grid_zone="DE",
)
OPERATOR = Operator(id=OperatorId("hansa"), name="Hansa eG", seat=CountryCode("DE"), grade=Grade.CERTIFIED)
WORKLOAD = workload_id("clinic", "triage")
INSTANCE = InstanceId("clinic.triage.0.1")


def node(identity: NodeId = ME) -> Node:
    """A node in Frankfurt."""
    return Node(
        id=identity,
        site=SITE.id,
        operator=OPERATOR.id,
        tier=Tier.CORE,
        capacity=Resources(cpu_milli=8_000, memory_bytes=2**34),
        price=Price(cpu_core_hour_microeur=30_000, memory_gib_hour_microeur=4_000),
        power=Power(idle_mw=20_000, per_core_mw=5_000),
    )


def workload(name: str = "triage", *, generation: int = 1, component: bytes = COMPONENT, **more: Any) -> Workload:
    """A function of the clinic."""
    return Workload(
        id=workload_id("clinic", name),
        kind=Kind.FUNCTION,
        namespace="clinic",
        name=name,
        artifact=digest_bytes(component),
        artifact_bytes=len(component),
        route=Route(path=f"/{name}"),
        resources=Resources(cpu_milli=100, memory_bytes=2**26),
        generation=generation,
        **more,
    )


def order(work: Workload | None = None, **more: Any) -> Order:
    """An order for `INSTANCE` on `ME`, good for a day, unless `more` says otherwise."""
    plain = Order(
        node=ME,
        instance=INSTANCE,
        generation=1,
        wanted=True,
        workload=work or workload(),
        site=SITE,
        operators=(OPERATOR,),
        ordinal=0,
        plan=PlanId("p1-0"),
        reason="the plan holds it",
        issued_us=START,
        expires_us=WallTime(START + 24 * HOUR_US),
    )
    return msgspec.structs.replace(plain, **more)


def sealed(message: msgspec.Struct) -> bytes:
    """As the controller seals it."""
    return envelope.seal(message, CONTROLLER)


def report(**more: Any) -> Report:
    """A report that `INSTANCE` runs."""
    plain = Report(
        node=ME,
        instance=INSTANCE,
        workload=WORKLOAD,
        generation=1,
        order_digest=digest_bytes(b"order"),
        phase=Phase.RUNNING,
        since_us=START,
        artifact=workload().artifact,
    )
    return msgspec.structs.replace(plain, **more)


def heartbeat(identity: NodeId = ME, *, sequence: int = 1, incarnation: int = 1) -> Heartbeat:
    """A sign of life."""
    return Heartbeat(
        node=identity,
        incarnation=incarnation,
        sequence=sequence,
        at_us=START,
        used=Resources(),
        power_mw=20_000,
        is_power_modelled=True,
        rss_bytes=2**26,
        front="127.0.0.1:1",
        mesh="127.0.0.1:2",
    )


def node_record(identity: NodeId = ME, **more: bool) -> NodeRecord:
    """What the controller enrolled of a node."""
    return NodeRecord(
        node=node(identity),
        public_key=NODE_SIGNER.public_key,
        enrolled_us=START,
        spiffe_id=f"spiffe://test/node/{identity}",
        **more,
    )


def entry(bucket: str, key: str, value: bytes | None, revision: int) -> Entry:
    """One value as a watch delivers it."""
    return Entry(bucket=bucket, key=key, value=value, revision=revision)


def entries() -> list[Entry]:
    """A small fabric: a site, an operator, a node, a workload, its order and its report."""
    return [
        entry("specs", "site.frankfurt", sealed(SpecRecord(accepted_us=START, accepted_by="t", site=SITE)), 1),
        entry("specs", "operator.hansa", sealed(SpecRecord(accepted_us=START, accepted_by="t", operator=OPERATOR)), 2),
        entry("specs", f"function.{WORKLOAD}",
              sealed(SpecRecord(accepted_us=START, accepted_by="t", workload=workload())), 3),
        entry("nodes", ME, sealed(node_record()), 1),
        entry("orders", f"{ME}.{INSTANCE}", sealed(order()), 1),
        entry("reports", f"{ME}.{INSTANCE}", envelope.seal(report(), NODE_SIGNER), 1),
    ]  # fmt: skip


def state_of(arrivals: list[Entry]) -> FabricState:
    """Caches that took these entries in, in this order."""
    state = FabricState(trusted=TRUSTED)
    for one in arrivals:
        state.apply(one)
    return state


class HandClock:
    """A clock that a test sets by hand."""

    def __init__(self) -> None:
        self.mono_us = 0
        self.wall_us = START

    def wall(self) -> WallTime:
        return WallTime(self.wall_us)

    def monotonic(self) -> MonoTime:
        return MonoTime(self.mono_us)


@dataclass(slots=True)
class Room:
    """A substrate, and one machine on it whose cable can be cut and whose disk outlives its processes."""

    loop: VirtualLoop
    trace: Trace = field(init=False)
    kv: KvServer = field(init=False)
    artifacts: BlobServer = field(init=False)
    switch: Switch = field(init=False)
    disk: KvServer = field(init=False)
    memory: KvServer = field(init=False)
    cache: BlobServer = field(init=False)
    mesh: Mesh = field(init=False)
    wire: Conditions = field(init=False)
    clock: VirtualClock = field(init=False)
    lives: int = 0

    def __post_init__(self) -> None:
        self.trace = Trace(self.loop.now_us)
        self.kv, self.artifacts, self.switch = KvServer(BUCKETS), BlobServer(), Switch(self.trace)
        self.disk, self.cache, self.mesh = KvServer(name="disk", makes_buckets=True), BlobServer(), Mesh()
        self.memory = KvServer(name="memory", makes_buckets=True)
        self.wire = Conditions(rng=SeededEntropy(1).stream("wire"), delay_us=1_000)
        self.clock = VirtualClock(self.loop.now_us, start=START)

    def node_ports(self) -> NodePorts:
        """Ports of one life of the node."""
        self.lives += 1
        entropy = SeededEntropy(7, "node", self.lives)
        wire = Link("node", self.wire)
        local = Link("disk", Conditions(rng=entropy.stream("disk")))
        runtime = MemoryRuntime(ME, model=EngineModel(), clock=self.clock, mesh=self.mesh, rng=entropy.stream("engine"))
        return NodePorts(
            clock=self.clock,
            entropy=entropy,
            bus=MemoryBus(self.switch, wire),
            store=MemoryStore(self.kv, wire),
            blobs=MemoryBlobs(self.artifacts, wire),
            disk=MemoryStore(self.disk, local),
            memory=MemoryStore(self.memory, local),
            cache=MemoryBlobs(self.cache, local),
            runtime=runtime,
            jobs=MemoryJobs(),
            meter=ModelMeter(runtime, self.clock),
            signer=NODE_SIGNER,
            attestor=MemoryAttestor(),
            dialer=MemoryDialer(self.mesh, lambda _: 1_000),
        )

    def control_ports(self, ledger: KvServer | None = None) -> ControlPorts:
        """Ports of one controller."""
        self.lives += 1
        entropy = SeededEntropy(7, "control", self.lives)
        wire = Link("control", Conditions(rng=entropy.stream("wire"), delay_us=500))
        local = Link("ledger", Conditions(rng=entropy.stream("disk")))
        return ControlPorts(
            clock=self.clock,
            entropy=entropy,
            bus=MemoryBus(self.switch, wire),
            store=MemoryStore(self.kv, wire),
            blobs=MemoryBlobs(self.artifacts, wire),
            ledger=MemoryStore(ledger or KvServer(name="ledger", makes_buckets=True), local),
            signer=CONTROLLER,
            ledger_signers=(ed25519(b"\x04" * 32), ml_dsa_44(b"\x05" * 32)),
            witness_signers=(ed25519(b"\x06" * 32),),
            mirror_signers=(ed25519(b"\x07" * 32),),
        )

    def order(self, given: Order) -> None:
        """Put an order where the node watches, signed by the controller."""
        self.put(f"{given.node}.{given.instance}", sealed(given))

    def put(self, key: str, value: bytes) -> None:
        """Put any bytes under a key of the orders."""
        self.kv.put("orders", key, value, None)

    def told(self, instance: InstanceId = INSTANCE) -> Report | None:
        """The node's report as it stands in the store."""
        entry = self.kv.get("reports", f"{ME}.{instance}")
        return None if entry is None or entry.value is None else envelope.peek(entry.value, Report)

    async def until(self, is_so: Callable[[], bool], within_s: float = 60.0) -> None:
        """Let virtual time pass until something is so."""
        async with asyncio.timeout(within_s):
            while not is_so():  # noqa: ASYNC110 - virtual time: looking costs nothing
                await asyncio.sleep(0.01)


def node_config(**more: Any) -> NodeConfig:
    """Settings of `ME`."""
    given: dict[str, Any] = {
        "domain": "test.hanse",
        "node": node(),
        "site": SITE,
        "operator": OPERATOR,
        "controller_keys": TRUSTED,
        "addresses": Addresses(front="fra-1:80", mesh="fra-1:443"),
        "version": "test",
        "packs": PACKS,
    }
    return NodeConfig(**{**given, **more})


def run(scenario: Callable[[Room], Coroutine[Any, Any, T]], *, limit_s: int = 100 * 3_600) -> T:
    """Play a scenario on a fresh virtual loop."""
    loop = VirtualLoop(limit_us=limit_s * 1_000_000)
    return run_on(scenario(Room(loop)), loop=loop)
