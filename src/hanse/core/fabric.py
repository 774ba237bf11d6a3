"""What the fabric is made of: sites, operators and the nodes they run.

A node has a *location* (its site's country) and an *operator* (whose control chain ends in countries).
Location is not control (docs/architecture.md, sovereignty model).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from hanse.core.geo import Place
from hanse.core.ids import CountryCode, NodeId, OperatorId, SiteId


class Tier(StrEnum):
    """How far from the core a node stands."""

    CORE = "core"
    REGIONAL = "regional"
    EDGE = "edge"
    DEVICE = "device"


class Grade(IntEnum):
    """How well a fact is founded (docs/architecture.md, sovereignty model)."""

    CLAIMED = 0
    SIGNED = 1
    CERTIFIED = 2
    MEASURED = 3
    ATTESTED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place with a country and a grid zone (Electricity Maps zone key, e.g. ``DE``, ``SE-SE3``)."""

    id: SiteId
    country: CountryCode
    place: Place
    grid_zone: str
    pue_permille: int = 1_200
    """Power usage effectiveness in thousandths; 1,000 is ideal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """One holder of an operator: another operator or a plain name with a seat."""

    name: str
    country: CountryCode
    share_permille: int = 1_000
    """Share of capital or votes held, in thousandths."""
    has_veto: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who runs nodes: a legal seat, holders, and levels of the EU Cloud Sovereignty Framework."""

    id: OperatorId
    name: str
    seat: CountryCode
    parents: tuple[Parent, ...] = ()
    seal: Mapping[str, int] = field(default_factory=dict)
    """SEAL level 0..4 per objective: strategic, legal, data, operational, supply, technology, security,
    environment. A missing objective counts as 0."""
    certificates: tuple[str, ...] = ()
    grade: Grade = Grade.CLAIMED


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """An amount of compute: thousandths of a core and bytes."""

    cpu_milli: int = 0
    memory_bytes: int = 0

    def plus(self, other: Resources) -> Resources:
        """Add component by component."""
        return Resources(
            cpu_milli=self.cpu_milli + other.cpu_milli, memory_bytes=self.memory_bytes + other.memory_bytes
        )

    def minus(self, other: Resources) -> Resources:
        """Subtract component by component; may go negative, which means overcommitted."""
        return Resources(
            cpu_milli=self.cpu_milli - other.cpu_milli, memory_bytes=self.memory_bytes - other.memory_bytes
        )

    def fits(self, room: Resources) -> bool:
        """Tell whether this amount fits into `room`."""
        return self.cpu_milli <= room.cpu_milli and self.memory_bytes <= room.memory_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a node's owner asks."""

    cpu_core_hour_microeur: int
    memory_gib_hour_microeur: int
    egress_gib_microeur: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """A linear power model: idle draw shared over the cores, plus draw per busy core, in milliwatts."""

    idle_mw: int
    per_core_mw: int


class Origin(StrEnum):
    """Where evidence comes from: a maker of hardware vouches for it, or software pretends to be hardware."""

    HARDWARE = "hardware"
    SOFTWARE = "simulated"


class Trust(StrEnum):
    """Tiers of an AR4SI trust vector (draft-ietf-rats-ar4si): none 0, affirming 2..31, warning 32..95, contra 96."""

    NONE = "none"
    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """What evidence showed about a node's platform: facts of grade 4, which end (RATS: an attestation result)."""

    kind: str
    """``tpm``, ``tdx``, ``sgx`` or ``snp``."""
    origin: Origin
    """Follows from the anchor that the endorsements lead to, never from what a node says."""
    status: Trust
    """The worst tier of the vector."""
    vector: Mapping[str, int]
    """AR4SI claims, for example ``hardware``, ``executables``; -128..127 each."""
    claims: Mapping[str, str]
    """What was measured: name -> lower-case hex or a word."""
    levels: Mapping[str, int] = field(default_factory=dict)
    """Security versions that were shown."""
    references: tuple[str, ...] = ()
    """Names of the reference values that matched."""
    advisories: tuple[str, ...] = ()
    """Open advisories of the maker, for example ``INTEL-SA-00289``."""
    code: str = ""
    """Why evidence was refused (``attest.*``); empty where it was appraised."""
    reason: str = ""
    since_us: int
    """Wall time of the appraisal that first said this."""
    until_us: int
    """Wall time after which it says nothing."""

    @property
    def label(self) -> str:
        """One word of kind, one of worth, and the mark that no record of simulated evidence may lack."""
        mark = "" if self.origin is Origin.HARDWARE else f" ({self.origin.value})"
        return f"{self.kind} {self.status.value}{mark}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing that can run work, with the facts its operator states about it."""

    id: NodeId
    site: SiteId
    operator: OperatorId
    tier: Tier
    capacity: Resources
    price: Price
    power: Power
    grade: Grade = Grade.SIGNED
    """How well the node's own facts (site, operator) are founded."""
    labels: Mapping[str, str] = field(default_factory=dict)
    attested: Attested | None = None
    """What a verifier of the domain found. A node cannot say this of itself: it is refused when it joins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """Every site, operator and node of a domain at one moment, each mapping in id order."""

    sites: Mapping[SiteId, Site]
    operators: Mapping[OperatorId, Operator]
    nodes: Mapping[NodeId, Node]

    def site_of(self, node: Node) -> Site:
        """The site a node stands at."""
        return self.sites[node.site]

    def operator_of(self, node: Node) -> Operator:
        """The operator that runs a node."""
        return self.operators[node.operator]
