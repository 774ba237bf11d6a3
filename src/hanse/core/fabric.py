"""What the fabric is made of: sites, operators and the nodes they run.

A node has a *location* (its site's country) and an *operator* (whose control chain ends in countries).
Location is not control (docs/architecture.md, sovereignty model).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum

from hanse.core.geo import Place
from hanse.core.ids import CountryCode, NodeId, OperatorId, SiteId
from hanse.core.time import DAY_US


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
    is_landmark: bool = False
    """Whether the domain vouches for the place: nodes here then measure where others can be."""
    energy_microeur_kwh: int = 0
    """Price of energy where it is billed apart from the machine; 0 where the prices of resources cover it."""
    down_ppm: int | None = None
    """Share of time the whole site is down or cut off, as its owner states it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """One holder of an operator: another operator or a plain name with a seat."""

    name: str
    country: CountryCode
    share_permille: int = 1_000
    """Share of capital held, in thousandths; of votes, too, where `votes_permille` is None."""
    has_veto: bool = False
    votes_permille: int | None = None
    """Share of votes, where it is another one."""

    @property
    def weight_permille(self) -> int:
        """The larger of capital and votes: what a test of control goes by."""
        return max(self.share_permille, self.votes_permille or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHolder:
    """Who holds keys that open what an operator stores: itself, a trustee, a maker of key stores."""

    name: str
    country: CountryCode
    """Seat. Where the name is that of an operator, its own holders count as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One service of an operator, where it stands otherwise than the operator as a whole."""

    name: str
    seal: Mapping[str, int] = field(default_factory=dict)
    """SEAL levels of this service; an objective that is not stated is the operator's."""
    cada: int | None = None
    """CADA level of this service; None: the operator's."""
    certificates: tuple[str, ...] = ()
    """Certificates of this service beside those of the operator."""


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
    """As the operator states them, ``name`` or ``name@YYYY-MM-DD``: as good as `grade` says."""
    grade: Grade = Grade.CLAIMED
    down_ppm: int | None = None
    """Share of time everything it runs is down, as stated."""
    verified: tuple[str, ...] = ()
    """Certificates whose credential was verified, ``name@YYYY-MM-DD``: of grade 2 each, whatever `grade` says."""
    key_holders: tuple[KeyHolder, ...] = ()
    """Who holds its keys; empty: nobody but the operator."""
    support: tuple[CountryCode, ...] = ()
    """Countries from which its staff, or whoever supports it, can reach what it runs; empty: its seat alone."""
    cada: int = 0
    """Union assurance level 1..4 of the CADA proposal; 0 where none is recognised."""
    offers: tuple[Offer, ...] = ()
    """Services that stand otherwise than the whole."""

    def serving(self, service: str) -> Operator:
        """The operator as it stands for one of its services; one that it does not know has no levels at all."""
        if not service:
            return self
        found = next((offer for offer in self.offers if offer.name == service), None)
        if found is None:
            return replace(self, seal={}, cada=0)
        return replace(
            self, seal={**self.seal, **found.seal}, cada=self.cada if found.cada is None else found.cada,
            certificates=tuple(dict.fromkeys((*self.certificates, *found.certificates))),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """An amount of what adds up: a vector with a named unit per part.

    GPUs are not part of it: half of two devices is not one device (`Gpus`, `GpuNeed`).
    """

    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    bandwidth_bps: int = 0
    """Bits per second."""
    custom: tuple[tuple[str, int], ...] = ()
    """Whole units of anything else by name, in name order, none of them 0."""

    def of(self, name: str) -> int:
        """The amount of one part: ``cpu``, ``memory``, ``disk``, ``bandwidth`` or a custom name; 0 where absent."""
        field_of = PARTS.get(name)
        return getattr(self, field_of) if field_of is not None else dict(self.custom).get(name, 0)

    @property
    def names(self) -> tuple[str, ...]:
        """Parts that are not 0: the built-in ones first, then the custom ones in name order."""
        return (*(name for name, part in PARTS.items() if getattr(self, part)), *(name for name, _ in self.custom))

    def plus(self, other: Resources) -> Resources:
        """Add part by part."""
        return self._joined(other, 1)

    def minus(self, other: Resources) -> Resources:
        """Subtract part by part; may go negative, which means overcommitted."""
        return self._joined(other, -1)

    def fits(self, room: Resources) -> bool:
        """Tell whether this amount fits into `room`; nothing fits into room that is overcommitted in any part."""
        names = (*PARTS, *(name for name, _ in (*self.custom, *room.custom)))
        return all(self.of(name) <= room.of(name) for name in names)

    def _joined(self, other: Resources, sign: int) -> Resources:
        names = sorted({name for name, _ in (*self.custom, *other.custom)})
        custom = tuple((name, self.of(name) + sign * other.of(name)) for name in names)
        return Resources(
            cpu_milli=self.cpu_milli + sign * other.cpu_milli,
            memory_bytes=self.memory_bytes + sign * other.memory_bytes,
            disk_bytes=self.disk_bytes + sign * other.disk_bytes,
            bandwidth_bps=self.bandwidth_bps + sign * other.bandwidth_bps,
            custom=tuple((name, amount) for name, amount in custom if amount),
        )


PARTS: Mapping[str, str] = {
    "cpu": "cpu_milli", "memory": "memory_bytes", "disk": "disk_bytes", "bandwidth": "bandwidth_bps",
}  # fmt: skip
"""Built-in parts of `Resources` by the name people use, in the order in which they are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """The accelerators of one node, all of one model."""

    model: str
    count: int
    memory_bytes: int = 0
    """Per device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuNeed:
    """The accelerators one replica needs: whole ones of one node, or a share of a single one."""

    count: int = 1
    share_milli: int = 1_000
    """Share of the device, 1..1,000; below 1,000 only where `count` is 1."""
    models: tuple[str, ...] = ()
    """Models that will do; empty means any."""

    @property
    def total_milli(self) -> int:
        """Thousandths of a device in all."""
        return self.count * self.share_milli


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a node's owner asks."""

    cpu_core_hour_microeur: int
    memory_gib_hour_microeur: int
    egress_gib_microeur: int = 0
    """To the internet, and to every place that `egress_to` does not name."""
    disk_gib_hour_microeur: int = 0
    bandwidth_mbit_hour_microeur: int = 0
    """Per megabit per second reserved and hour."""
    gpu_hour_microeur: int = 0
    """Per whole device and hour."""
    custom: tuple[tuple[str, int], ...] = ()
    """Per unit of a custom resource and hour, in name order."""
    egress_to: tuple[tuple[str, int], ...] = ()
    """Per GiB sent to a site (by id) or a country (by code), in name order; the site's row goes before the country's.
    Within one site nothing is charged unless the site's own row says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """A linear power model: idle draw shared over the cores, plus draw per busy core and device, in milliwatts."""

    idle_mw: int
    per_core_mw: int
    per_gpu_mw: int = 0
    embodied_g: int = 0
    """Grams of CO2 equivalent that making the machine emitted (TE of ISO/IEC 21031); 0 where nobody states it."""
    life_us: int = 4 * 365 * DAY_US
    """Over how long that is written off: four years, as cloud providers mostly do."""


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
class Measured:
    """What round trips to landmarks say about where a node claims to stand (`hanse.policy.location`)."""

    landmarks: tuple[str, ...]
    """Landmarks that were answered, in order."""
    radius_m: int
    """No farther than this from the place it claims; of no meaning where the claim is contradicted."""
    contradiction: str = ""
    """Why the claim cannot be true, in a sentence; empty where nothing speaks against it."""
    since_us: int
    """Wall time of the first of these round trips."""
    until_us: int
    """Wall time after which they say nothing."""

    @property
    def label(self) -> str:
        """A word for people."""
        if self.contradiction:
            return "contradicted"
        return f"within {self.radius_m // 1_000:,} km"


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
    evidence: str = "none"
    """Kind of evidence that its owner promises when it joins: ``none`` or ``tpm``; its token then asks for it."""
    attested: Attested | None = None
    """What a verifier of the domain found. A node cannot say this of itself: it is refused when it joins."""
    service: str = ""
    """Which of its operator's services it belongs to; its token says so as well. Empty: the operator as a whole."""
    measured: Measured | None = None
    """What landmarks of the domain found. A node cannot say this of itself."""
    gpus: Gpus | None = None
    overhead: Resources = Resources()
    """What the machine itself and its agent need; no work is placed on it."""
    down_ppm: int | None = None
    """Share of time it is down alone, as its operator states it."""

    @property
    def allocatable(self) -> Resources:
        """What work may take: the capacity less the overhead."""
        return self.capacity.minus(self.overhead)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jurisdiction:
    """What is stated of a whole country: the widest failure domain."""

    id: CountryCode
    down_ppm: int
    """Share of time everything in it is down at once: grid, exchange, or an order of its authorities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """Every site, operator and node of a domain at one moment, each mapping in id order."""

    sites: Mapping[SiteId, Site]
    operators: Mapping[OperatorId, Operator]
    nodes: Mapping[NodeId, Node]
    jurisdictions: Mapping[CountryCode, Jurisdiction] = field(default_factory=dict)
    """Of countries of which anything is stated."""

    def site_of(self, node: Node) -> Site:
        """The site a node stands at."""
        return self.sites[node.site]

    def operator_of(self, node: Node) -> Operator:
        """The operator that runs a node, as it stands for the node's service."""
        return self.operators[node.operator].serving(node.service)
