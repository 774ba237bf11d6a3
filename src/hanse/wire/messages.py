"""Every message that crosses a process border, each with a version in its tag.

A reader refuses unknown tags and unknown fields: an old node that meets a newer message says so instead of guessing.
"""

from __future__ import annotations

import msgspec

from hanse.core.fabric import Attested, Fabric, Gpus, Jurisdiction, Measured, Node, Operator, Resources, Site
from hanse.core.geo import Place
from hanse.core.ids import ControllerId, Digest, InstanceId, NodeId, PlanId, WorkloadId
from hanse.core.jobs import JobProgress
from hanse.core.layer import Policy
from hanse.core.plan import Plan
from hanse.core.ports import LogLine, WorkloadStats
from hanse.core.secret import Secret
from hanse.core.snapshot import Phase
from hanse.core.time import WallTime
from hanse.core.work import DataSet, JwtAuth, Namespace, Workload


class SpecRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="spec.v1", kw_only=True):
    """An accepted manifest: exactly one body is set. `is_deleted` is a level, kept until its work is stopped."""

    accepted_us: WallTime
    accepted_by: str
    workload: Workload | None = None
    operator: Operator | None = None
    site: Site | None = None
    policy: Policy | None = None
    dataset: DataSet | None = None
    namespace: Namespace | None = None
    secret: Secret | None = None
    jurisdiction: Jurisdiction | None = None
    is_deleted: bool = False


class NodeRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="node.v1", kw_only=True):
    """One enrolled node, signed by the controller: facts, the node's receipt key, administrative state."""

    node: Node
    public_key: bytes
    """Raw Ed25519 key that the node seals its messages with."""
    enrolled_us: WallTime
    spiffe_id: str
    nats_public_key: str = ""
    """Public nkey that the node proves itself to the substrate with."""
    is_draining: bool = False
    is_revoked: bool = False
    revoked_us: WallTime | None = None
    evidence: str = ""
    """What it brought when it joined, for example ``tpm affirming (simulated)``; empty if nothing."""


class Presence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="presence.v1", kw_only=True):
    """What a node says when it starts: where it listens, and which start this is."""

    node: NodeId
    incarnation: int
    """Grows by one at each start of the agent."""
    front: str
    mesh: str
    version: str
    started_us: WallTime
    capacity: Resources | None = None
    """What it offers from this start on; None (a node of an older version): what it said when it joined."""
    gpus: Gpus | None = None
    overhead: Resources | None = None


class Heartbeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="heartbeat.v1", kw_only=True):
    """One sign of life, every second on the bus."""

    node: NodeId
    incarnation: int
    sequence: int
    at_us: WallTime
    used: Resources
    power_mw: int
    is_power_modelled: bool
    rss_bytes: int
    front: str
    mesh: str


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="order.v1", kw_only=True):
    """The desired state of one instance on one node: a level, complete in itself.

    `generation` grows with each order for the same instance; a node refuses an older one than it holds. After
    `expires_us` the order grants nothing: a node that hears nothing stops its work then, and not before.
    """

    node: NodeId
    instance: InstanceId
    generation: int
    wanted: bool
    workload: Workload
    site: Site
    operators: tuple[Operator, ...]
    """The node's operator first, then the known holders up its chain: the facts by which the order was decided."""
    ordinal: int
    plan: PlanId
    reason: str
    issued_us: WallTime
    expires_us: WallTime
    attested: Attested | None = None
    """What was attested of the node when the order was decided."""
    measured: Measured | None = None
    """What landmarks had found about its place by then."""
    policies: tuple[Policy, ...] = ()
    """Submitted policies that bind this work, the domain's and its namespace's: the node asks them again."""
    checkpoint: bytes = b""
    """Of a job: what it goes on from."""


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="report.v1", kw_only=True):
    """What a node did about an order: the receipt, signed by the node. Written when the order or the phase changes, not
    in time."""

    node: NodeId
    instance: InstanceId
    workload: WorkloadId
    generation: int
    """Of the order it answers."""
    order_digest: str
    phase: Phase
    since_us: WallTime
    code: str = ""
    reason: str = ""
    artifact: str = ""
    checkpoint: bytes = b""
    """Of a job: what its next piece goes on from, wherever that runs."""


class RouteReplica(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One place where a workload answers; each node models its own round trip to `place`."""

    node: NodeId
    address: str
    """``host:port`` of the node's mesh listener."""
    spiffe_id: str
    place: Place


class RouteRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="route.v1", kw_only=True):
    """Where one workload answers. `generation` only grows."""

    workload: WorkloadId
    path: str
    host: str | None
    replicas: tuple[RouteReplica, ...]
    generation: int
    auth: JwtAuth | None = None
    """Tokens that requests must carry; a record of an older version has none, and the node that runs it still asks."""


class ServiceArtifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="service.v1", kw_only=True):
    """What stands for a service among the artifacts: the program is its owner's own and is not in the fabric."""

    upstream: str


class PlanRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="plan.v1", kw_only=True):
    """The committed plan: its ancestry and the digest of its `PlanBody` in the blob store."""

    plan: PlanId
    parent: PlanId | None
    generation: int
    body: Digest
    controller: ControllerId
    committed_us: WallTime


class PlanBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="plan-body.v1", kw_only=True):
    """The whole plan; a blob of its own, because a large fabric's plan outgrows one message."""

    plan: Plan


class BasisRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="basis.v1", kw_only=True):
    """What the last screening rested on: whoever leads next can say what has changed since."""

    body: Digest
    """Of the `BasisBody` in the blob store."""
    files: Digest
    """Of the `PackFiles` in the blob store: the rules and facts of law themselves."""
    screening: Digest
    """Of everything that decided; where it is the same nothing needs to be written."""


class BasisBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="basis-body.v1", kw_only=True):
    """Facts and layers at one moment; a blob of its own."""

    at_us: WallTime
    fabric: Fabric
    policies: tuple[Policy, ...]
    guardrails: tuple[str, ...]


class PackFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pack-files.v1", kw_only=True):
    """Packs as they are read: path -> text. The same blob for as long as they are the same."""

    files: dict[str, str]


class Lease(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="lease.v1", kw_only=True):
    """Who leads. Renewed by compare-and-swap; a holder that sees no renewal for the term may take it."""

    holder: ControllerId
    term: int
    """Grows by one at each change of holder."""
    renewals: int
    api: str
    """URL of the holder's API."""


class ActionRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="action.v1", kw_only=True):
    """Something a user asked for and was granted; written before it is done."""

    action: str
    """A verb, for example ``drain``."""
    target: str
    """For example ``node/fra-1``."""
    actor: Digest
    """Of the canonical `ActorRecord`."""
    at_us: WallTime


class ActorRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="actor.v1", kw_only=True):
    """The user behind one action: personal data, kept outside the ledger and erasable. A salt for each action, so that
    neither guessing names nor comparing entries tells who acted."""

    user: str
    salt: bytes


class JobRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="job.v1", kw_only=True):
    """How far one job has come. Written by the leader."""

    progress: JobProgress


class StateRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One key of the store at one moment."""

    key: str
    revision: int
    digest: Digest
    """Of the value."""


class StateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="state.v1", kw_only=True):
    """What the store held: the body behind a state digest in the ledger; a blob of its own."""

    buckets: dict[str, tuple[StateRow, ...]]


class LogsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="logs.v1", kw_only=True):
    """Ask a node for lines of a workload."""

    workload: WorkloadId
    after: int
    limit: int


class LogsReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="logs-reply.v1", kw_only=True):
    """The lines."""

    node: NodeId
    lines: tuple[LogLine, ...]


class StatsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="stats.v1", kw_only=True):
    """Ask a node for its counters."""

    at_us: WallTime


class StatsReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="stats-reply.v1", kw_only=True):
    """Counters of everything a node serves."""

    node: NodeId
    workloads: dict[WorkloadId, WorkloadStats]
