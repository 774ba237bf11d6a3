"""The ten ports: the only ways in which a decision-free shell touches the world.

Each has a real adapter (`hanse.adapters`) and an in-memory twin (`hanse.twin.ports`) that pass one contract suite
(`tests/contracts`). Behaviour outside the suite may not be relied on. Adding a port needs a decision record.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from hanse.core.fabric import Power, Resources
from hanse.core.ids import Digest, NodeId, WorkloadId
from hanse.core.time import MonoTime, WallTime
from hanse.core.work import JwtAuth, Workload


class Clock(Protocol):
    """Wall and monotonic time. Waiting is `asyncio.sleep`: the event loop is the other half of this port."""

    def wall(self) -> WallTime:
        """Read the wall clock; it may step either way."""
        ...

    def monotonic(self) -> MonoTime:
        """Read the monotonic clock; it never steps."""
        ...


class Entropy(Protocol):
    """Randomness: named streams for decisions, secret bytes for keys and tokens."""

    def stream(self, *names: str | int) -> random.Random:
        """Derive a named stream (not secret)."""
        ...

    def secret(self, count: int) -> bytes:
        """Draw `count` unpredictable bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BusMessage:
    """One message from the bus; `reply` is the subject to answer on, empty if none is expected."""

    subject: str
    data: bytes
    reply: str = ""


class Bus(Protocol):
    """Messages, at most once, in order per publisher and subject; NATS core manners.

    A publish while the link is down is dropped and the message is lost: levels in the `Store` carry what must arrive.
    """

    async def publish(self, subject: str, data: bytes) -> None:
        """Send to whoever listens now. Raises BusError if the payload exceeds 1 MiB or the bus is closed."""
        ...

    def subscribe(self, pattern: str) -> AsyncIterator[BusMessage]:
        """Listen; ``*`` matches one token, a final ``>`` one or more. Interest is registered at the first `anext`.

        The queue is bounded (1,024): when full the oldest is dropped. Survives reconnects of the link.
        """
        ...

    async def request(self, subject: str, data: bytes, timeout_us: int) -> bytes:
        """Ask one responder. Raises BusError on no responders, timeout or lost link."""
        ...

    def is_connected(self) -> bool:
        """Tell whether the link is up, as far as this side knows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key's value at one revision. A deleted key has `value` None. Revisions of a bucket only grow."""

    bucket: str
    key: str
    value: bytes | None
    revision: int


class Store(Protocol):
    """Key-value state in buckets, with compare-and-swap on revisions; durable before acknowledged.

    Buckets are labels; keys are tokens of ``A-Za-z0-9_-`` joined by dots (and ``=``), at most 255 characters.
    """

    async def get(self, bucket: str, key: str) -> Entry | None:
        """Read one key; None if it never existed or was deleted."""
        ...

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
        """Write and return the new revision.

        `expected` None: whatever is there. 0: only if the key is absent. n: only if it is at revision n.
        Raises ConflictError on another revision, StoreError if the store cannot be written.
        """
        ...

    async def delete(self, bucket: str, key: str, expected: int | None = None) -> None:
        """Delete a key (absent is fine). Raises like `put`."""
        ...

    async def entries(self, bucket: str, prefix: str = "") -> Sequence[Entry]:
        """All live entries whose key equals `prefix` or starts with `prefix` + ``.`` (all for ``""``), in key order."""
        ...

    def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry | None]:
        """Yield current entries in some order, then one None (caught up), then changes as they happen, deletions too.

        After a lost link it starts again from current entries and a None: a consumer treats entries as levels.
        """
        ...


class Blobs(Protocol):
    """Immutable bytes by digest."""

    async def put(self, data: bytes) -> Digest:
        """Store durably and return the SHA-256 digest; storing the same bytes again is free of effect."""
        ...

    async def get(self, digest: Digest) -> bytes:
        """Read and verify. Raises BlobError if missing or if the bytes do not hash to `digest`."""
        ...

    async def has(self, digest: Digest) -> bool:
        """Tell whether the blob is present."""
        ...

    async def delete(self, digest: Digest) -> None:
        """Remove; absent is fine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One place where a workload answers: node, mesh address, the identity to expect, modelled round trip."""

    node: NodeId
    address: str
    spiffe_id: str
    rtt_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteEntry:
    """One route of the table that every node's front carries."""

    workload: WorkloadId
    path: str
    host: str | None
    replicas: tuple[Replica, ...]
    auth: JwtAuth | None = None
    """Tokens that requests must carry; refused at the front already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the runtime listens: ``host:port`` of the public front and of the mesh."""

    front: str
    mesh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """The process that runs a workload's guests, where its tenant has one of its own."""

    pid: int
    """0 while it is being started anew."""
    restarts: int = 0
    last_end: str = ""
    """How it ended the last time, in words; empty before the first."""
    landlock: int = 0
    """Version of Landlock in force; 0 where seccomp stands alone."""
    rss_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionCount:
    """Decisions of one kind about who may invoke a workload, since the runtime started. No personal data."""

    is_allowed: bool
    is_error: bool
    """Whether a policy could not be evaluated, which denies."""
    policies: tuple[str, ...]
    """Ids of the policies that decided, sorted; none where nothing permitted it."""
    principal: str
    """Kind of principal: ``anonymous``, ``user``, ``certificate``, ``workload`` or ``node``; never which one."""
    count: int
    sample_us: WallTime
    """When one of the last was decided."""
    sample_trace: str = ""
    """Its trace; empty without tracing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadStats:
    """Counters of one workload since the runtime started."""

    requests: int = 0
    """Requests that reached this node, from clients and from other nodes."""
    from_mesh: int = 0
    """Those of them that other nodes had passed on; the others entered the fabric here."""
    errors: int = 0
    in_flight: int = 0
    latency_us_p50: int = 0
    latency_us_p99: int = 0
    forwarded: int = 0
    retried: int = 0
    cpu_us: int = 0
    """Processor time of its guests."""
    peak_memory_bytes: int = 0
    """Largest memory of one instance."""
    instances: int = 0
    cold_starts: int = 0
    egress_bytes: Mapping[str, int] = field(default_factory=dict)
    """Jurisdiction of the destination -> body bytes sent there."""
    decisions: tuple[DecisionCount, ...] = ()
    worker: WorkerProcess | None = None
    """None: its guests run in the node's own process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line a guest wrote, or one fault the runtime noted about it."""

    seq: int
    time_us: WallTime
    stream: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvokePolicy:
    """Everything that decides about requests to one workload, in Cedar's own forms."""

    policies: str
    entities: str
    """JSON."""


NO_SECRETS: Mapping[str, str] = MappingProxyType({})


class Runtime(Protocol):
    """Runs workloads and serves requests: the native engine, or its model in the twin."""

    async def load(
        self, workload: Workload, component: bytes, invoke: InvokePolicy, secrets: Mapping[str, str] = NO_SECRETS
    ) -> None:
        """Make a workload ready to serve here, to those whom `invoke` lets in; idempotent, replacing swaps.

        `secrets` are further variables of its environment: they are kept in memory, and in no message or file.
        Raises RuntimeFailure with the engine's code.
        """
        ...

    async def unload(self, workload: WorkloadId) -> None:
        """Stop serving after in-flight requests end; absent is fine."""
        ...

    async def set_routes(self, routes: Sequence[RouteEntry]) -> None:
        """Swap the whole route table."""
        ...

    async def set_identity(
        self, certificate_chain_pem: bytes, private_key_pem: bytes, bundle_pem: bytes, revoked: Sequence[str]
    ) -> None:
        """Swap the SVID used between nodes, and whom to refuse: SPIFFE IDs whose certificates are valid still.

        Raises RuntimeFailure if it is not acceptable.
        """
        ...

    async def stats(self) -> dict[WorkloadId, WorkloadStats]:
        """Counters per workload."""
        ...

    async def logs(self, workload: WorkloadId, after: int, limit: int) -> Sequence[LogLine]:
        """Lines with `seq` greater than `after`, oldest first, at most `limit`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStep:
    """What one piece of a job came to."""

    has_more: bool
    """Whether another piece follows."""
    checkpoint: bytes = b""
    """What that one goes on from; at most 64 KiB."""


class JobRunner(Protocol):
    """Runs jobs: the native engine away from its routes, or its model in the twin."""

    async def run(self, workload: Workload, component: bytes, checkpoint: bytes) -> JobStep:
        """Run one piece of a job to its end. Cancelling it ends the piece.

        Raises RuntimeFailure with the engine's code, ``job.failed`` where the job itself says so.
        """
        ...

    async def unload(self, workload: WorkloadId) -> None:
        """Forget a job, and end what still runs of it; absent is fine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading of a node's consumption."""

    cpu_us: int
    """CPU time of the node process since its start."""
    rss_bytes: int
    power_mw: int
    """Draw attributed to the node."""
    is_modelled: bool
    """True where `power_mw` comes from the power model and not from a meter."""


class Meter(Protocol):
    """Measures what a node uses."""

    def read(self, power: Power, capacity: Resources) -> Reading:
        """Read now."""
        ...


class Signer(Protocol):
    """Signs bytes with one private key that never leaves it."""

    @property
    def algorithm(self) -> str:
        """``ed25519`` (public key 32 bytes, signature 64) or ``ml-dsa-44`` (1,312 and 2,420)."""
        ...

    @property
    def key_id(self) -> str:
        """Hex SHA-256 of the raw public key."""
        ...

    @property
    def public_key(self) -> bytes:
        """The raw public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Sign and return the raw signature."""
        ...


class Attestor(Protocol):
    """Produces evidence about the platform the node runs on."""

    @property
    def kind(self) -> str:
        """``tpm``, ``tdx``, ``sgx``, ``snp``, or ``none`` where the platform has nothing to say."""
        ...

    async def identity(self) -> bytes:
        """Which platform will answer, for a challenge that is sealed to it; no bytes where evidence says it itself.

        Raises AttestorError, as all of these do.
        """
        ...

    async def activate(self, credential: bytes, seed: bytes) -> bytes:
        """Open a credential that was sealed to this platform and its key (TPM2_ActivateCredential)."""
        ...

    async def evidence(self, nonce: bytes) -> tuple[str, bytes]:
        """Return (kind, evidence) bound to `nonce`; kind ``none`` with empty bytes where the platform has none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPorts:
    """What a controller needs of the world."""

    clock: Clock
    entropy: Entropy
    bus: Bus
    store: Store
    blobs: Blobs
    ledger: Store
    """Files of the transparency log: a store of its own, local to the domain's ledger."""
    signer: Signer
    """Ed25519: seals orders, routes and records."""
    ledger_signers: tuple[Signer, ...]
    """Sign checkpoints, one line each: Ed25519 and ML-DSA-44."""
    witness_signers: tuple[Signer, ...]
    """Cosign the checkpoints of other domains' logs that were seen."""
    mirror_signers: tuple[Signer, ...]
    """Cosign those whose entries are kept here: keys of their own, for the two say different things about one text."""


class Dialer(Protocol):
    """Times the way to another node's mesh address."""

    async def connect_us(self, address: str, timeout_us: int) -> int | None:
        """One round trip to ``host:port`` in microseconds; None if nobody answers in time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePorts:
    """What a node agent needs of the world."""

    clock: Clock
    entropy: Entropy
    bus: Bus
    store: Store
    """The fabric's state, over the uplink."""
    blobs: Blobs
    """The fabric's artifacts, over the uplink."""
    disk: Store
    """This node's own disk: orders and routes, there after a reboot with no uplink."""
    memory: Store | None
    """What outlives the process and never touches a disk: the SVID's key. None where the machine has no such place."""
    cache: Blobs
    """This node's own artifacts."""
    runtime: Runtime
    jobs: JobRunner
    meter: Meter
    signer: Signer
    attestor: Attestor
    dialer: Dialer
