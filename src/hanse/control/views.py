"""What the API shows: flat records for people and scripts, made from the state. Units in the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hanse.core.fabric import Attested, Measured
from hanse.core.plan import Candidate, Explanation, Unplaced
from hanse.core.ports import WorkerProcess
from hanse.core.verdict import Change, Reason
from hanse.placement import Outlook
from hanse.policy import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One enrolled node."""

    id: str
    site: str
    city: str
    country: str
    operator: str
    tier: str
    reach: str
    silence_us: int | None
    front: str
    mesh: str
    incarnation: int
    cpu_milli: int
    cpu_milli_used: int
    memory_bytes: int
    memory_bytes_used: int
    rss_bytes: int
    power_mw: int
    is_power_modelled: bool
    workloads: tuple[str, ...]
    latitude_deg: float
    longitude_deg: float
    grid_zone: str
    intensity_g_per_kwh: int | None
    attested: Attested | None = None
    """What evidence of its platform shows; None if it gave none, or if that has ended."""
    measured: Measured | None = None
    """What landmarks found about its place; None if none did, or if that has ended."""
    service: str = ""
    joined_with: str = ""
    """Evidence it brought when it joined; empty if none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """One placed replica: what was ordered and what its node reports."""

    id: str
    workload: str
    node: str
    ordinal: int
    spec_generation: int
    wanted: bool
    phase: str
    since_us: int
    code: str
    reason: str
    order_reason: str
    order_generation: int
    order_expires_us: int
    plan: str
    isolation: str = "shared"
    """``shared``, ``process`` or ``process-seccomp``, as ordered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """When work that may wait runs, and how far it has come."""

    workload: str
    state: str
    """``waiting``, ``running``, ``paused``, ``succeeded`` or ``failed``."""
    accepted_us: int
    deadline_us: int
    runs: tuple[tuple[int, int], ...]
    """Beginning and end of each piece as planned, microseconds since 1970."""
    site: str
    zone: str
    nodes: tuple[str, ...]
    """Where it runs now."""
    why: str
    """Why then."""
    failures: int
    retries: int
    ran_us: int
    """Time that earlier pieces ran and that is not lost."""
    ended_us: int | None
    reason: str
    """Why it failed, or what failed last."""
    late: str
    """Why it missed its deadline, or is going to; empty where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceView:
    """One namespace with a budget of its own, and where its spending leads."""

    id: str
    workloads: tuple[str, ...]
    cost_microeur_month: int | None
    carbon_ug_month: int | None
    rule: str
    spending: Outlook


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadView:
    """One accepted workload and how it fares."""

    id: str
    kind: str
    namespace: str
    name: str
    path: str
    host: str | None
    generation: int
    artifact: str
    status: str
    """``running``, ``starting``, ``degraded``, ``unplaced`` or ``deleting``; of a job also ``waiting``, ``paused``,
    ``succeeded`` or ``failed``."""
    running: int
    wanted: int
    nodes: tuple[str, ...]
    """Nodes that serve it now."""
    money_microeur_month: int
    carbon_ug_month: int
    latency_us: int | None
    spending: Outlook | None = None
    """What it cost this calendar month and where that leads; None before anything was accounted."""
    job: JobView | None = None
    isolation: str = "shared"
    """``shared``, ``process`` or ``process-seccomp``, as asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadDetail:
    """Everything about one workload."""

    summary: WorkloadView
    spec: Mapping[str, object]
    accepted_us: int
    accepted_by: str
    instances: tuple[InstanceView, ...]
    explanation: Explanation | None
    unplaced: Unplaced | None
    holds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTripView:
    """How far a site is from an origin of demand."""

    origin: str
    site: str
    rtt_us: int
    is_measured: bool
    """Measured between the two sites, or given by the operator; else modelled from the distance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandView:
    """How many requests for a workload enter the fabric at one site."""

    site: str
    rate_milli: int
    """What placement goes by where the workload asks for measured demand, thousandths of a request a second."""
    age_us: int
    """For how long it has stood."""
    measured_milli: int
    """What is measured now, or was when it was last written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainView:
    """Why the replicas of a workload are where they are, from the committed plan, and what would allow more nodes."""

    workload: str
    plan: str
    plan_generation: int
    trigger: str
    explanation: Explanation | None
    unplaced: Unplaced | None
    changes: tuple[Change, ...]
    isolation: str = "shared"
    """Whose process runs its guests, wherever it is placed: ``shared``, ``process`` or ``process-seccomp``."""
    round_trips: tuple[RoundTripView, ...] = ()
    """From each origin of its demand to each site that serves it, as known now."""
    demand_source: str = "stated"
    """``stated`` by its owner, ``measured``, or ``unmeasured``: to be measured, and what is stated holds so far."""
    demand: tuple[DemandView, ...] = ()
    """Where its requests enter, in site order, whether or not placement goes by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictView:
    """What policy says now of one workload on one node, and what would turn it."""

    workload: str
    node: str
    is_allowed: bool
    reasons: tuple[Reason, ...]
    """On a denial every rule that denies; on an allowance the rules that permit, with the facts they rest on."""
    changes: tuple[Change, ...]
    """The nearest changes that would allow it, fewest edits first; none if it is allowed."""
    asked_us: int
    """When this was asked."""
    valid_until_us: int | None
    """When a dated fact read here begins or ends; None if nothing is dated."""
    candidate: Candidate | None
    """What the committed plan says of the node: its score, or the limit that ruled it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorView:
    """One operator, with the countries whose law reaches it."""

    id: str
    name: str
    seat: str
    control: tuple[tuple[str, str], ...]
    """Country and the path by which its law reaches the operator."""
    seal: Mapping[str, int]
    nodes: tuple[str, ...]
    cada: int = 0
    services: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """SEAL levels of each service that stands otherwise than the whole; ``cada`` is its CADA level."""
    keys: tuple[tuple[str, str], ...] = ()
    """Country and the path by which its law reaches who else holds the keys."""
    support: tuple[str, ...] = ()
    secnumcloud: tuple[str, ...] = ()
    """What misses SecNumCloud 3.2 section 19.6, each with its path; empty: it passes."""
    verified: tuple[str, ...] = ()
    """Certificates whose credential was verified, with their ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteView:
    """One site."""

    id: str
    city: str
    country: str
    latitude_deg: float
    longitude_deg: float
    grid_zone: str
    nodes: tuple[str, ...]
    measured_us: Mapping[str, int] = field(default_factory=dict)
    """Measured (or given) round trips to other sites, in microseconds; the others are modelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JurisdictionView:
    """One country as a failure domain."""

    id: str
    sites: tuple[str, ...]
    down_ppm: int
    """Share of time everything in it is down, as placement takes it."""
    source: str
    """``observed``, ``stated`` or ``assumed``: who says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """A committed plan in brief."""

    id: str
    parent: str | None
    generation: int
    created_us: int
    trigger: str
    replicas: int
    missing: int
    """Replicas that have no place."""
    workloads: int
    nodes: int
    """Nodes that it uses."""
    objective_microeur: int
    bound_microeur: int | None
    inputs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """The fabric at a glance."""

    domain: str
    version: str
    controller: str
    leader: str
    leader_api: str
    term: int
    is_leader: bool
    is_caught_up: bool
    is_connected: bool
    plan: str | None
    plan_generation: int
    nodes_ready: int
    nodes: int
    workloads: int
    workloads_running: int
    holds: tuple[str, ...]
    rejected: Mapping[str, str]
    """Entries of the store that are not believed, and why."""
    ledger_size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadChange:
    """What a submission does to one document."""

    document: str
    action: str
    """``create``, ``update``, ``unchanged`` or ``refuse``."""
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    money_microeur_month_before: int = 0
    money_microeur_month_after: int = 0
    carbon_ug_month_before: int = 0
    carbon_ug_month_after: int = 0
    latency_us_after: int | None = None
    explanation: Explanation | None = None
    unplaced: Unplaced | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The answer to a deployment: accepted as a whole or refused as a whole."""

    is_accepted: bool
    is_dry_run: bool
    changes: tuple[WorkloadChange, ...]
    moved: tuple[WorkloadChange, ...] = ()
    """Other workloads whose placement would change."""
    warnings: tuple[str, ...] = field(default=())
    proofs: tuple[Proof, ...] = ()
    """Of the properties that policies keep, where a policy was among the documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageView:
    """What one workload took on all nodes, as they accounted for it since the controller leads."""

    workload: str
    requests: int
    errors: int
    cpu_us: int
    """Processor time of its guests."""
    peak_memory_bytes: int
    """Largest memory of one instance."""
    cold_starts: int
    egress_bytes: Mapping[str, int]
    """Jurisdiction -> body bytes sent there."""
    entering_milli: Mapping[str, int] = field(default_factory=dict)
    """Site -> thousandths of a request a second that enter there, as measured last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopRow:
    """Traffic of one workload on one node."""

    workload: str
    node: str
    requests: int
    errors: int
    in_flight: int
    latency_us_p50: int
    latency_us_p99: int
    forwarded: int
    retried: int
    cpu_us: int
    peak_memory_bytes: int
    worker: WorkerProcess | None = None
    """The tenant's own process there; None where it shares the node's."""
    instances: int = 0
    cold_starts: int = 0
    egress_bytes: Mapping[str, int] = field(default_factory=dict)
    """Jurisdiction -> body bytes sent there."""
    spent_microeur: int = 0
    """By the whole workload, on all nodes, since the calendar month began."""
    spent_ug: int = 0
    budget: str = "free"
    """``ok``, ``warn``, ``over``, or ``free`` where the workload has no budget."""
