"""Every message that crosses a process border, each with a version in its tag.

A reader refuses unknown tags and unknown fields: an old node that meets a newer message says so instead of guessing.
"""

from __future__ import annotations

import msgspec

from hanse.core.fabric import Attested, Fabric, Gpus, Measured, Node, Operator, Resources, Site
from hanse.core.geo import Place
from hanse.core.ids import ControllerId, Digest, InstanceId, NodeId, OperatorId, PlanId, SecretId, WorkloadId
from hanse.core.layer import Policy
from hanse.core.plan import Plan
from hanse.core.ports import LogLine, WorkloadStats
from hanse.core.secret import Secret
from hanse.core.snapshot import Phase, Series
from hanse.core.time import WallTime
from hanse.core.work import JwtAuth, Workload


class SpecRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="spec.v1", kw_only=True):
    """An accepted manifest: exactly one body is set. `is_deleted` is a level, kept until its work is stopped."""

    accepted_us: WallTime
    accepted_by: str
    workload: Workload | None = None
    operator: Operator | None = None
    site: Site | None = None
    policy: Policy | None = None
    secret: Secret | None = None
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


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One node that no longer counts: the names it is known by everywhere. All of it is public."""

    node: NodeId
    spiffe_id: str
    nats_public_key: str
    since_us: WallTime


class Revocations(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="revocations.v1", kw_only=True):
    """Nodes whose identity no longer counts, in id order. `generation` grows with each change; older lists are void."""

    nodes: tuple[Revoked, ...]
    generation: int


class WitnessedLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witnessed-log.v1", kw_only=True):
    """A log of another domain that this domain cosigns for."""

    policy: str
    """C2SP tlog-policy of that log: its keys."""


class WitnessedHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witnessed-head.v1", kw_only=True):
    """The last checkpoint this domain cosigned for a log, durable before the cosignature was given."""

    note: str
    split: str = ""
    """A checkpoint under the log's own signature that does not extend `note`: proof of two histories."""
    split_us: WallTime | None = None
    earlier: tuple[str, ...] = ()
    """Checkpoints before `note`, newest first, that an upload to a mirror may still lead to."""


class Witnesses(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witnesses.v1", kw_only=True):
    """Who cosigns this domain's own log."""

    policy: str
    """C2SP tlog-policy: witnesses with their addresses, groups, quorum."""
    bundle_pem: str
    """Authorities of the witnesses' servers; empty for those of the machine."""


class FederatedBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="federated.v1", kw_only=True):
    """What is believed of another trust domain, and where its bundle is fetched."""

    domain: str
    url: str
    """Bundle endpoint; empty where the bundle is brought by hand."""
    profile: str
    """``https_spiffe`` or ``https_web``."""
    endpoint_id: str
    """SPIFFE ID of the endpoint, for ``https_spiffe``."""
    authorities_pem: bytes
    sequence: int
    refresh_hint_s: int
    fetched_us: WallTime
    until_us: WallTime
    """From then on it is not believed."""
    problem: str = ""


class WitnessKeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witness-key.v1", kw_only=True):
    """Ask a node for the key that it cosigns with; it makes one where it has none."""

    at_us: WallTime


class WitnessKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witness-key-is.v1", kw_only=True):
    """A node's key as a witness, under the node's own seal."""

    node: NodeId
    vkey: str
    """C2SP signed-note verifier key, of type cosignature/v1."""


class WitnessRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witness-ask.v1", kw_only=True):
    """Ask a node to cosign a checkpoint of the domain's own log."""

    log: str
    """C2SP tlog-policy of the log: its keys. The node pins those that it sees first."""
    body: bytes
    """A request of C2SP tlog-witness (``add-checkpoint``)."""


class WitnessAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witness-answer.v1", kw_only=True):
    """What the standard answers over HTTP, under the node's seal."""

    node: NodeId
    request: Digest
    """Of the sealed request."""
    status: int
    body: bytes


class WitnessAlarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witness-alarm.v1", kw_only=True):
    """A witness saw another history of our own log than the one it is shown now."""

    url: str
    reason: str
    note: str
    """The checkpoint that it refused."""
    at_us: WallTime


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


class SpendRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What one workload cost since the period began, in millionths of a microeuro and of a microgram."""

    money: int
    carbon: int
    run_us: int


class SpendRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="spend.v1", kw_only=True):
    """What the workloads of one namespace cost this calendar month, up to a moment. Written by the leader."""

    period_start_us: WallTime
    until_us: WallTime
    workloads: dict[WorkloadId, SpendRow]


class CarbonFeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="carbon-feed.v1", kw_only=True):
    """A forecast of carbon intensity per grid zone, g/kWh, as somebody brought it in."""

    source: str
    error_permille: int
    """Mean relative error, as the source states it."""
    taken_us: WallTime
    zones: dict[str, Series]


class StateRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One key of the store at one moment."""

    key: str
    revision: int
    digest: Digest
    """Of the value."""


class StateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="state.v1", kw_only=True):
    """What the store held: the body behind a state digest in the ledger; a blob of its own."""

    buckets: dict[str, tuple[StateRow, ...]]


class RenewRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="renew.v1", kw_only=True):
    """A node asks for a new SVID for a fresh key."""

    node: NodeId
    csr_pem: bytes
    at_us: WallTime


class WorkloadSvidRequest(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="workload-svid-request.v1", kw_only=True
):
    """A node asks for the SVID of a workload that it was ordered to run."""

    node: NodeId
    workload: WorkloadId
    csr_pem: bytes
    at_us: WallTime


class Svid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="svid.v1", kw_only=True):
    """An issued X.509-SVID chain and the trust bundle."""

    certificate_chain_pem: bytes
    bundle_pem: bytes
    not_after_us: WallTime


class ChallengeRequest(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="challenge-request.v1", kw_only=True
):
    """A node asks for a challenge: before it joins with its token, later under its seal."""

    node: NodeId
    public_key: bytes
    """Raw Ed25519 key that it seals with, or will."""
    token: str = ""
    identity: bytes = b""
    """Which TPM will answer (`hanse.attest.TpmIdentity`); empty where evidence names its own platform."""


class Challenge(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="challenge.v1", kw_only=True):
    """What evidence must answer, once, until it ends."""

    id: str
    nonce: bytes
    credential: bytes = b""
    """TPM2B_ID_OBJECT, sealed to the TPM that was named: what it holds goes into the evidence's binding."""
    seed: bytes = b""
    """TPM2B_ENCRYPTED_SECRET."""
    expires_us: WallTime


class GivenEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Evidence in answer to one challenge."""

    challenge: str
    kind: str
    body: bytes


class AttestRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="attest.v1", kw_only=True):
    """An enrolled node attests again."""

    node: NodeId
    svid_key: bytes
    """SubjectPublicKeyInfo of its SVID's key, to which the evidence is bound."""
    evidence: GivenEvidence
    at_us: WallTime


class Attestation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="attestation.v1", kw_only=True):
    """What the domain's verifier found out about one node, signed by the controller."""

    node: NodeId
    attested: Attested


class CredentialRecord(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="credential-record.v1", kw_only=True
):
    """A verified credential that the domain holds against one operator's name: a fact of grade 2 while it lasts."""

    operator: OperatorId
    credential: str
    """The JWT, so that anybody can verify it again."""
    certificate: str
    """What it certifies, as rules spell it, for example ``bsi-c5``."""
    issuer: str
    """DID of who issued it."""
    subject: str
    valid_until_us: WallTime
    issuer_document: str = ""
    """SHA-256 of the issuer's DID document it was verified by; empty for ``did:key``."""
    added_us: WallTime
    is_removed: bool = False
    """A level: kept so that the ledger can say that it went."""


class Ping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="ping.v1", kw_only=True):
    """A landmark asks a node for a sign of life that nobody could have made before."""

    nonce: bytes


class Pong(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pong.v1", kw_only=True):
    """The node's answer, under its seal."""

    node: NodeId
    nonce: bytes


class SurveyTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One node to measure, with the key that its answers must be sealed by."""

    node: NodeId
    public_key: bytes


class SurveyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="survey-request.v1", kw_only=True):
    """A controller asks a node at a landmark to measure others."""

    targets: tuple[SurveyTarget, ...]
    at_us: WallTime


class Answered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One node's best round trip."""

    node: NodeId
    rtt_us: int


class SurveyReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="survey-reply.v1", kw_only=True):
    """What it measured; whoever did not answer is left out."""

    node: NodeId
    answered: tuple[Answered, ...]


class Survey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="survey.v1", kw_only=True):
    """Round trips from one landmark, as the leader took them in. What follows from them is for `hanse.policy`."""

    landmark: NodeId
    """Counts only while the domain vouches for its site."""
    answered: tuple[Answered, ...]
    at_us: WallTime
    life_us: int
    """How long they count."""


class JoinRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="join.v1", kw_only=True):
    """A new node presents a one-time token, its facts and its keys."""

    token: str
    node: Node
    csr_pem: bytes
    public_key: bytes
    nats_public_key: str
    evidence: GivenEvidence | None = None
    """Bound to the key of `csr_pem`."""


class JoinResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="joined.v1", kw_only=True):
    """What a node needs to take part: identity, credentials for the substrate, keys to trust."""

    svid: Svid
    nats_jwt: str
    nats_urls: tuple[str, ...]
    controller_keys: tuple[bytes, ...]
    """Raw Ed25519 keys whose orders count."""
    domain: str
    site: Site
    operator: Operator
    has_own_account: bool = False
    """Whether `nats_jwt` is of the nodes' account; nodes that joined before there was one join again."""


class UsageRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one workload took on one node in a period."""

    workload: WorkloadId
    requests: int
    errors: int
    cpu_us: int
    """Processor time of its guests."""
    peak_memory_bytes: int
    """Largest memory of one instance since the node's engine started."""
    cold_starts: int
    egress_bytes: dict[str, int]
    """Jurisdiction -> body bytes sent there."""


class DecisionRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often one node decided in one way about who may invoke a workload. No personal data."""

    workload: WorkloadId
    outcome: str
    """``allow``, ``deny`` or ``error`` (which denies)."""
    policies: tuple[str, ...]
    """Ids of the policies that decided; none where nothing permitted it."""
    principal: str
    """Kind of principal, never which one."""
    count: int
    sample_us: WallTime
    """When one of them was decided."""
    sample_trace: str = ""


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="account.v1", kw_only=True):
    """What a node did for workloads in a period, and what it decided on the request path. Told until it is taken."""

    node: NodeId
    incarnation: int
    number: int
    """Counts the accounts of one incarnation, from 1."""
    from_us: WallTime
    until_us: WallTime
    usage: tuple[UsageRow, ...]
    decisions: tuple[DecisionRow, ...]


class AccountTaken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="account-taken.v1", kw_only=True):
    """The domain's ledger holds an account."""

    node: NodeId
    incarnation: int
    number: int


class SecretVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One value that a secret had or has."""

    version: int
    """1 for the first."""
    set_us: WallTime
    sealed: Digest
    """Of the sealed value: it is different each time, so it tells nothing about the value."""


class SecretValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="secret-value.v1", kw_only=True):
    """The present value of one secret, sealed to the domain; of earlier ones only that they were."""

    secret: SecretId
    sealed: bytes
    """HPKE, under `hanse.identity.sealing.info_for_domain` of the last version."""
    versions: tuple[SecretVersion, ...]
    """Oldest first; the last one is in force."""


class SecretsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="secrets-request.v1", kw_only=True):
    """A node asks for the secrets of work that is ordered there."""

    node: NodeId
    workloads: tuple[WorkloadId, ...]
    certificate_chain_pem: bytes
    """Its present SVID."""
    sealing_key: bytes
    """X-Wing public key to seal to."""
    binding: bytes
    """Signature over `hanse.identity.sealing.binding_of` with the SVID's key."""
    at_us: WallTime


class ReleasedSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One secret, sealed to the node that asked."""

    workload: WorkloadId
    secret: SecretId
    version: int
    sealed: bytes
    """HPKE, under `hanse.identity.sealing.info_for_node`."""
    until_us: WallTime
    """The lease: without another release by then the node forgets it."""


class RefusedSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One secret that is not released, and why."""

    workload: WorkloadId
    secret: SecretId
    code: str
    reason: str


class Secrets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="secrets.v1", kw_only=True):
    """The answer to one `SecretsRequest`: a row for every secret of the workloads that were named."""

    node: NodeId
    request: Digest
    """Of the sealed request: an answer to another one is none."""
    released: tuple[ReleasedSecret, ...]
    refused: tuple[RefusedSecret, ...]


class SecretsChanged(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="secrets-changed.v1", kw_only=True):
    """Tell a node to ask again soon."""

    at_us: WallTime


class ReleaseRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="release.v1", kw_only=True):
    """What one node was told of one secret, and whether it was refused last: a level, written before the answer."""

    node: NodeId
    secret: SecretId
    versions: tuple[int, ...] = ()
    """Every version that was ever sent there, ascending."""
    workloads: tuple[WorkloadId, ...] = ()
    """Work that it was sent for, in id order."""
    refused: str = ""
    """Digest of the last refusal, so that asking again each few seconds is said once."""
    last_us: WallTime


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
