"""The shape of the fabric and its law: operators, sites, nodes, policies, every field with unit, range and default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hanse.manifest.quantities import (
    Bandwidth,
    BandwidthPrice,
    CorePrice,
    Country,
    Cpu,
    Disk,
    EgressPlace,
    EnergyPrice,
    GpuModel,
    GpuPrice,
    GridZone,
    Label,
    Lease,
    Life,
    Mass,
    MemoryPrice,
    NodeMemory,
    Pue,
    ResourceName,
    Share,
    Text,
    TrafficPrice,
    UnitPrice,
    Uptime,
    Watts,
    WorkloadName,
)
from hanse.manifest.shape import (
    Level,
    ManifestModel,
    SealModel,
    Units,
    VerifiedCertificate,
    written,
)
from hanse.manifest.work_models import DataModel, SovereigntyModel


class ParentModel(ManifestModel):
    """One holder of an operator."""

    name: Text = Field(description="Name of the holder.")
    country: Country = Field(description="Seat of the holder.")
    share: Share = written("100%", "Share of capital, and of votes where `votes` is not given.")
    votes: Share | None = Field(default=None, description="Share of votes, where it is another one.")
    veto: bool = Field(default=False, description="Whether the holder can block decisions whatever its share.")


class KeyHolderModel(ManifestModel):
    """Somebody else who holds keys that open what the operator stores."""

    name: Text = Field(description="Name; that of an operator brings its own holders along.")
    country: Country = Field(description="Seat.")


class OfferModel(ManifestModel):
    """A service that stands otherwise than the operator as a whole."""

    name: Label = Field(description="Name, as nodes state it in `service`.")
    seal: SealModel = Field(default_factory=SealModel, description="SEAL levels; one not given is the operator's.")
    cada: Level | None = Field(default=None, description="CADA level; without it the operator's.")
    certificates: tuple[Text, ...] = Field(default=(), description="Certificates beside those of the operator.")


class OperatorSpec(ManifestModel):
    """Who runs nodes."""

    name: Text = Field(description="Legal name.")
    seat: Country = Field(description="Country of the legal seat.")
    parents: tuple[ParentModel, ...] = Field(default=(), description="Who holds the operator.")
    seal: SealModel = Field(default_factory=SealModel, description="SEAL level per objective; missing counts as 0.")
    certificates: tuple[Text, ...] = Field(default=(), description="Certificates held, for example `ISO 27001`.")
    uptime: Uptime | None = Field(
        default=None,
        description="Share of time not all of its nodes are down at once; assumed and observed without it.",
    )
    grade: Level = Field(default=0, description="Grade of these facts, 0 claimed to 4 attested.")
    verified: tuple[VerifiedCertificate, ...] = Field(
        default=(), description="Certificates that `hanse credential verify` verified, `bsi-c5@2027-03-31`."
    )
    keys: tuple[KeyHolderModel, ...] = Field(
        default=(), description="Who else holds its keys; nobody: it holds them alone."
    )
    support: tuple[Country, ...] = Field(
        default=(), description="Countries from which staff reaches what it runs; without any nothing is said."
    )
    cada: Level = Field(default=0, description="Union assurance level of the CADA proposal, 0 where there is none.")
    services: tuple[OfferModel, ...] = Field(
        default=(), description="Services that stand otherwise than the operator as a whole."
    )


class PlaceModel(ManifestModel):
    """A point on the globe, WGS 84."""

    city: Text = Field(description="City.")
    latitude: Annotated[float, Field(ge=-90, le=90)] = Field(description="Degrees north.")
    longitude: Annotated[float, Field(ge=-180, le=180)] = Field(description="Degrees east.")


class SiteSpec(ManifestModel):
    """Where nodes stand."""

    country: Country = Field(description="Country the site lies in.")
    place: PlaceModel = Field(description="Where it is.")
    grid_zone: GridZone = Field(description="Electricity Maps zone that feeds it.")
    pue: Pue = written(1.2, "Power usage effectiveness.")
    landmark: bool = Field(
        default=False,
        description="Whether the domain vouches for the place: who stands here measures where others are.",
    )
    energy_price: EnergyPrice = written(
        "0 EUR/kWh", "Price of energy, where it is billed apart; 0 where the prices of resources cover it."
    )
    uptime: Uptime | None = Field(
        default=None, description="Share of time the whole site is up; assumed and observed without it."
    )


class JurisdictionMetadata(ManifestModel):
    """Which country."""

    name: Country = Field(description="Country, as sites name it.")


class JurisdictionSpec(ManifestModel):
    """What is known of a whole country."""

    uptime: Uptime = Field(
        description="Share of time not everything in it is down at once; without this document it is assumed and "
        "observed."
    )


class NodeGpuModel(ManifestModel):
    """Accelerators of one node, all of one model."""

    model: GpuModel = Field(description="Model, as workloads ask for it.")
    count: int = Field(ge=1, le=64, description="Devices.")
    memory: NodeMemory | None = Field(default=None, description="Memory of one device.")


class CapacityModel(ManifestModel):
    """What a node offers."""

    cpu: Cpu = Field(description="Cores offered.")
    memory: NodeMemory = Field(description="Memory offered.")
    disk: Disk | None = Field(default=None, description="Disk offered.")
    bandwidth: Bandwidth | None = Field(default=None, description="Bandwidth offered, to and from outside together.")
    gpu: NodeGpuModel | None = Field(default=None, description="Accelerators offered.")
    custom: dict[ResourceName, Units] = Field(
        default_factory=dict, description="Whole units of anything else, for example `licence: 4`."
    )


class OverheadModel(ManifestModel):
    """What the machine itself and its agent need."""

    cpu: Cpu | None = Field(default=None, description="Cores that no work is placed on.")
    memory: NodeMemory | None = Field(default=None, description="Memory that no work is placed on.")
    disk: Disk | None = Field(default=None, description="Disk that no work is placed on.")
    bandwidth: Bandwidth | None = Field(default=None, description="Bandwidth that no work is placed on.")


class PriceModel(ManifestModel):
    """What the owner asks."""

    cpu: CorePrice = Field(description="Per core and hour.")
    memory: MemoryPrice = Field(description="Per GiB and hour.")
    egress: TrafficPrice = written("0 EUR/GiB", "Per GiB sent out to the internet, and to places `egressTo` lacks.")
    egress_to: dict[EgressPlace, TrafficPrice] = Field(
        default_factory=dict,
        description="Per GiB sent to a site or a country; a site's row goes before its country's. Within a site it is "
        "free unless the site's own row says otherwise.",
    )
    disk: MemoryPrice = written("0 EUR/GiB-hour", "Per GiB of disk and hour.")
    bandwidth: BandwidthPrice = written("0 EUR/Mbit/s-hour", "Per megabit per second reserved and hour.")
    gpu: GpuPrice = written("0 EUR/GPU-hour", "Per whole GPU and hour.")
    custom: dict[ResourceName, UnitPrice] = Field(
        default_factory=dict, description="Per unit of a custom resource and hour."
    )


class PowerModel(ManifestModel):
    """A linear power model."""

    idle: Watts = Field(description="Draw of the idle node.")
    per_core: Watts = Field(description="Additional draw per busy core.")
    per_gpu: Watts = written("0 W", "Additional draw per busy GPU.")
    embodied: Mass = written("0 kg", "CO2 equivalent that making the machine emitted; 0 where nobody states it.")
    life: Life = written("1460d", "Over how long that is written off.")


class NodeSpec(ManifestModel):
    """One thing that runs work."""

    site: Label = Field(description="Name of its Site.")
    operator: Label = Field(description="Name of its Operator.")
    tier: Literal["core", "regional", "edge", "device"] = Field(description="How far from the core it stands.")
    capacity: CapacityModel = Field(description="What it offers.")
    overhead: OverheadModel = Field(
        default_factory=OverheadModel, description="What of it the machine itself and its agent need."
    )
    price: PriceModel = Field(description="What its owner asks.")
    power: PowerModel = Field(description="What it draws.")
    grade: Level = Field(default=1, description="Grade of its own facts, 0 claimed to 4 attested.")
    service: Label | None = Field(default=None, description="Which of its operator's services it belongs to.")
    uptime: Uptime | None = Field(
        default=None, description="Share of time it is up by itself; assumed and observed without it."
    )
    evidence: Literal["none", "tpm"] = Field(
        default="none",
        description="Evidence it gives when it joins and from then on; `hanse up` gives such a node a software TPM.",
    )


class SecretSpec(ManifestModel):
    """Who may read it, what a place must show, for how long. The value is set with `hanse secret set`, never here."""

    about: Text = Field(description="What it opens, in a sentence; not the value.")
    readers: tuple[WorkloadName, ...] = Field(
        default=(), description="Workloads that may, as `namespace.name`; none: every one of its namespace."
    )
    data: DataModel = Field(default_factory=DataModel, description="What data it opens, and whose.")
    sovereignty: SovereigntyModel = Field(
        default_factory=SovereigntyModel, description="What a place must show before it is sent there."
    )
    rules: str = Field(
        default="", max_length=65_536, description="Rules of its own in Cedar about the action `read`, forbids only."
    )
    lease: Lease = written(
        "1h", "Time that a node may use it without asking again; a node that is cut off keeps it so long."
    )


class PolicyMetadata(ManifestModel):
    """Name of a policy, and whom it binds."""

    name: Label = Field(description="Name; the id of each of its rules begins with it and a dot.")
    namespace: Label | None = Field(
        default=None, description="Namespace whose workloads it binds; without it the domain: every namespace."
    )


class PolicySpec(ManifestModel):
    """What holds for whatever it binds, whatever the specs say. It can only narrow."""

    about: Text = Field(description="What it is for, in a sentence.")
    packs: tuple[Label, ...] = Field(default=(), description="Packs of rules that it binds, for example `gdpr`.")
    rules: str = Field(
        default="",
        description="Rules of its own in Cedar, forbids only, each with `@id`, `@cite` and `@message`; "
        "`@within` says within which time what they deny must be gone where it runs.",
    )
    properties: str = Field(
        default="",
        description="What must never be let through, in Cedar: forbids with `@id`, `@title`, `@cite` and `@message`. "
        "Proved again whenever a policy is submitted or deleted.",
    )
