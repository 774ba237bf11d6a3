"""What users ask for: the spec of one workload, all quantities already integers in named units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hanse.core.fabric import GpuNeed, Resources
from hanse.core.ids import CountryCode, Digest, SecretId, SiteId, WorkloadId
from hanse.core.time import WallTime


class Kind(StrEnum):
    """Kinds of work that this version runs."""

    FUNCTION = "Function"
    SERVICE = "Service"
    """A program beside the node that listens on an address of its own; the fabric brings it its requests."""
    JOB = "Job"
    """Work with an end, which may wait for cheap and clean hours; it answers nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where requests for a workload arrive: a path prefix, and a host name where one is given."""

    path: str
    host: str | None = None


class DemandSource(StrEnum):
    """Where what is known of a workload's demand comes from."""

    STATED = "stated"
    """Its owner names the origins, and the rates where they differ."""
    MEASURED = "measured"
    """Fronts count where its requests enter; what its owner names holds until enough was counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Service levels: a latency percentile from named origins, and availability."""

    latency_p99_us: int | None = None
    """Upper bound, at `percentile`, on the round trip from each origin to its nearest replica plus service time."""
    origins: tuple[str, ...] = ()
    """City or site names, resolved against the fabric's gazetteer."""
    availability_ppm: int | None = None
    percentile: int = 99
    """Share of the demand that the bound holds for, percent, 1..100."""
    rates_milli: tuple[int, ...] = ()
    """Demand per origin, thousandths of a request a second; empty where all origins ask alike."""
    demand: DemandSource = DemandSource.STATED
    floor_milli: int = 100
    """Of measured demand: thousandths of a request a second from which a site counts as an origin."""
    measured_us: WallTime | None = None
    """Since when the origins are sites, and the rates what their fronts counted: filled in by the controller, never by
    the owner of the work. None: origins and rates are those of the spec."""

    @property
    def demanding(self) -> tuple[str, ...]:
        """The fewest origins that carry the share of demand that the bound is for, in the order of the spec."""
        rates = self.rates_milli or (1,) * len(self.origins)
        needed = -(-sum(rates) * self.percentile // 100)
        left, held = set(range(len(rates))), sum(rates)
        # Who asks least is given up first, as long as the rest still carries the share; the last of equals first.
        for index in sorted(left, key=lambda i: (rates[i], -i)):
            if held - rates[index] < needed:
                break
            held -= rates[index]
            left.discard(index)
        return tuple(origin for index, origin in enumerate(self.origins) if index in left)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """Data that lies at some sites: it pulls the work that reads it, and its fence binds that work."""

    id: str
    """``namespace.name``."""
    size_bytes: int
    sites: tuple[SiteId, ...]
    """Where copies lie, in id order; at least one."""
    fence: tuple[str, ...] = ()
    """Country codes or bloc names that it must not leave; whoever reads it runs there. Empty: anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRead:
    """That a workload reads a data set."""

    dataset: str
    """``namespace.name``."""
    bytes_month: int | None = None
    """What one replica reads in a month; None: the whole set once a month, and once per run where it is a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What data the workload touches, and whose."""

    classes: tuple[str, ...] = ()
    """For example ``health``, ``personal``, ``public``."""
    subjects: tuple[str, ...] = ()
    """Country codes or bloc names of the data subjects, for example ``EEA``."""
    reads: tuple[DataRead, ...] = ()
    """Data sets that it reads, in id order."""
    sets: tuple[DataSet, ...] = ()
    """Those data sets as they are now, in id order: filled in by the controller, never by the owner of the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sovereignty:
    """What the owner demands beyond the law: packs of rules, minimum levels, excluded control."""

    packs: tuple[str, ...] = ()
    seal: Mapping[str, int] = field(default_factory=dict)
    """Minimum SEAL level 0..4 per objective."""
    control_exclude: tuple[CountryCode, ...] = ()
    """Countries whose law must not reach the operator."""
    location_only: tuple[str, ...] = ()
    """Country codes or bloc names in which the work must stay; empty means anywhere."""
    grade: int = 0
    """Least grade of the node's facts, 0..4."""
    cada: int = 0
    """Least CADA level of the operator or its service, 0..4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """How the parts of the score are weighed."""

    cost_milli: int = 1_000
    """Weight of money, in thousandths."""
    carbon_microeur_per_t: int = 0
    """Price put on a tonne of CO2 equivalent, in microeur."""


class BudgetRule(StrEnum):
    """What happens to work whose spending reaches its budget within the month."""

    REFUSE = "refuse"
    """Nothing new starts; what runs goes on."""
    SHRINK = "shrink"
    """Fewer replicas, at least one."""
    MOVE = "move"
    """Only where the rest of the budget lasts."""
    STOP = "stop"
    """Nothing runs until the month ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Upper bounds per month (a twelfth of a Gregorian year); None means no bound."""

    cost_microeur_month: int | None = None
    carbon_ug_month: int | None = None
    rule: BudgetRule = BudgetRule.REFUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """What holds for all work of one namespace together."""

    id: str
    budget: Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """One destination that the guest may call, and the jurisdiction it lies in."""

    host: str
    jurisdiction: str
    allow_private: bool = False


class Isolation(StrEnum):
    """What stands between a workload and those of other tenants, beside the walls of WebAssembly."""

    SHARED = "shared"
    """Nothing: guests of all tenants run in the node's process."""
    PROCESS = "process"
    """A process for the tenant alone, behind Landlock and seccomp; no node whose kernel lacks either runs it."""
    PROCESS_SECCOMP = "process-seccomp"
    """The same, but where the kernel has no Landlock seccomp alone will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """How long an instance lives beyond its first request; its memory is seen by every request it serves."""

    count: int = 1
    """Requests one instance serves at most; 1 makes a fresh one for each."""
    concurrency: int = 1
    """Requests one instance serves at once; above 1 only components of WASI 0.3 do."""
    idle_us: int = 1_000_000
    """How long an instance waits for another request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who may call: users of an issuer, holders of a client certificate, or a workload. One of the three is set."""

    issuer: str = ""
    """Claim ``iss`` of users' tokens."""
    subject: str = ""
    """Claim ``sub``; empty means any."""
    claims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Claims that a user must have: one of the values of each."""
    certificate_name: str = ""
    """A name in the client certificate: ``dns:…``, ``email:…`` or ``uri:…``."""
    workload: str = ""
    """Id of the calling workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may invoke the workload. Nothing named: everybody, unless a pack in force forbids."""

    callers: tuple[Caller, ...] = ()
    rules: str = ""
    """Policies in the Cedar language, about the action ``invoke``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """How much may be down on purpose at once."""

    max_unavailable: int = 1


class Preemption(StrEnum):
    """Whose place a workload may take where there is no room for it."""

    NEVER = "never"
    LOWER = "lower"
    """Those of strictly lower priority, within their disruption budgets; never its equals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtAuth:
    """Whose bearer tokens a request must carry (RFC 7519, RFC 6750)."""

    issuer: str
    audience: str
    jwks: str = ""
    """The issuer's public keys as a JWKS document; empty: the keys that the node's owner gave for the issuer."""
    is_optional: bool = False
    """Whether a request without a token passes as anonymous; a bad token never passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """When work that may wait has to be done, and how it may be run."""

    duration_us: int
    """How long it runs, as its owner expects; what takes longer is not cut off."""
    within_us: int | None = None
    """Time from its acceptance to its deadline; this or `deadline_us` is set."""
    deadline_us: WallTime | None = None
    is_interruptible: bool = False
    """Whether it may be paused between its pieces: each piece hands on what the next one goes on from."""
    retries: int = 2
    """How often it is tried again after a failure, 0..100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """What a replica's start elsewhere takes, beyond what every start takes."""

    state_bytes: int = 0
    """State that moves with it."""
    cold_start_us: int = 0
    """Until it serves as well as it did before: caches, models, connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One workload as its owner wants it, complete: a node needs nothing else to run it."""

    id: WorkloadId
    kind: Kind
    namespace: str
    name: str
    artifact: Digest
    artifact_bytes: int
    route: Route
    resources: Resources
    slo: Slo = Slo()
    data: Data = Data()
    sovereignty: Sovereignty = Sovereignty()
    objective: Objective = Objective()
    budget: Budget = Budget()
    egress: tuple[Egress, ...] = ()
    access: Access = Access()
    disruption: Disruption = Disruption()
    replicas: int | None = None
    """Fixed number of replicas; None lets the availability target decide."""
    most_replicas: int | None = None
    """What a budget's rule lets run now, 0 or more: filled in by the controller, never by the owner of the work."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """Labels a node must carry; the keys ``node``, ``site``, ``operator``, ``tier`` match those fields."""
    timeout_us: int = 10_000_000
    request_body_bytes: int = 10 * 2**20
    response_body_bytes: int = 64 * 2**20
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretId] = field(default_factory=dict)
    """Environment variable -> secret whose value it carries; the value itself is never part of a spec."""
    reuse: Reuse = Reuse()
    isolation: Isolation = Isolation.SHARED
    auth: JwtAuth | None = None
    """None: anybody may ask."""
    upstream: str = ""
    """Of a service: `ip:port` as the node sees it. The node's owner says which may be named."""
    generation: int = 1
    """Raised by one at each accepted change of the spec."""
    gpu: GpuNeed | None = None
    priority: int = 0
    """-1,000..1,000; higher is placed first, and may displace lower (`Preemption`)."""
    preemption: Preemption = Preemption.LOWER
    job: Job | None = None
    """Set for jobs, and for nothing else."""
    moving: Moving = Moving()
    egress_bytes_month: int = 0
    """What one replica sends out to the internet in a month."""
