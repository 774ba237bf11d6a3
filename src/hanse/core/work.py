"""What users ask for: the spec of one workload, all quantities already integers in named units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hanse.core.fabric import Resources
from hanse.core.ids import CountryCode, Digest, WorkloadId


class Kind(StrEnum):
    """Kinds of work that this version runs."""

    FUNCTION = "Function"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where requests for a workload arrive: a path prefix, and a host name where one is given."""

    path: str
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Service levels: a latency percentile from named origins, and availability."""

    latency_p99_us: int | None = None
    """Upper bound on the round trip from each origin to its nearest replica plus service time."""
    origins: tuple[str, ...] = ()
    """City or site names, resolved against the fabric's gazetteer."""
    availability_ppm: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What data the workload touches, and whose."""

    classes: tuple[str, ...] = ()
    """For example ``health``, ``personal``, ``public``."""
    subjects: tuple[str, ...] = ()
    """Country codes or bloc names of the data subjects, for example ``EEA``."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """How the parts of the score are weighed."""

    cost_milli: int = 1_000
    """Weight of money, in thousandths."""
    carbon_microeur_per_t: int = 0
    """Price put on a tonne of CO2 equivalent, in microeur."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Upper bounds per month (a twelfth of a Gregorian year); None means no bound."""

    cost_microeur_month: int | None = None
    carbon_ug_month: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """One destination that the guest may call, and the jurisdiction it lies in."""

    host: str
    jurisdiction: str
    allow_private: bool = False


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
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """Labels a node must carry; the keys ``node``, ``site``, ``operator``, ``tier`` match those fields."""
    timeout_us: int = 10_000_000
    request_body_bytes: int = 10 * 2**20
    response_body_bytes: int = 64 * 2**20
    env: Mapping[str, str] = field(default_factory=dict)
    generation: int = 1
    """Raised by one at each accepted change of the spec."""
