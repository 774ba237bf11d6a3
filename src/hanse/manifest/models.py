"""The shape of manifests: one pydantic model per kind, every field with its unit, range, default and meaning.

These models are a border: they read what users write and nothing else sees them. `convert` turns them into the nouns
of `hanse.core`; the JSON Schema and the reference page are generated from them. Defaults are written as a user would
write them and pass through the same reader.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from hanse.manifest.quantities import (
    Area,
    Availability,
    Bandwidth,
    BandwidthPrice,
    BodySize,
    CarbonPerMonth,
    CarbonPrice,
    CorePrice,
    CostPerMonth,
    Country,
    Cpu,
    Destination,
    Disk,
    EnvName,
    GpuModel,
    GpuPrice,
    GpuShare,
    GridZone,
    GuestMemory,
    Host,
    Label,
    LabelKey,
    LabelValue,
    Latency,
    MemoryPrice,
    NodeMemory,
    Pue,
    Rate,
    ResourceName,
    RoutePath,
    Share,
    Text,
    Timeout,
    TrafficPrice,
    UnitPrice,
    Upstream,
    Watts,
    Weight,
    WorkloadName,
)

API_VERSION = "hanse.dev/v1"
LATER_KINDS = ("Job", "Model", "Training", "Dataset", "Stream")
"""Kinds of the design that this version does not run."""

Level = Annotated[int, Field(ge=0, le=4)]
VerifiedCertificate = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}@\d{4}-\d{2}-\d{2}$")]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, validate_by_alias=True,
        validate_by_name=False, validate_default=True,
    )  # fmt: skip


def _written(default: str | float, description: str) -> Any:
    """A default as a user would write it; the field's own reader turns it into the stored value."""
    return Field(default=default, description=description)


class WorkMetadata(_Model):
    """Name of a workload."""

    name: Label = Field(description="Name, unique within the namespace.")
    namespace: Label = Field(default="default", description="Namespace the name lives in.")


class FabricMetadata(_Model):
    """Name of a part of the fabric."""

    name: Label = Field(description="Name, unique among documents of this kind.")


class NodeMetadata(_Model):
    """Name and labels of a node."""

    name: Label = Field(description="Name, unique among nodes.")
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels that a workload's `nodeSelector` may ask for."
    )


class RouteModel(_Model):
    """Where requests arrive."""

    path: RoutePath = Field(description="Path prefix that belongs to this work; the longest prefix wins.")
    host: Host | None = Field(default=None, description="Host name; without it the route answers on every host.")


Units = Annotated[int, Field(ge=1, le=10**12)]


class GpuNeedModel(_Model):
    """Accelerators."""

    count: int = Field(default=1, ge=1, le=64, description="Devices of one node.")
    share: GpuShare = _written("100%", "Share of the device; below 100% only with a count of 1.")
    models: tuple[GpuModel, ...] = Field(default=(), description="Models that will do; none means any.")

    @model_validator(mode="after")
    def _one_is_shared(self) -> GpuNeedModel:
        if self.share < 1_000 and self.count > 1:
            raise PydanticCustomError(
                "word",
                "{problem}",
                {"problem": "only one GPU can be shared", "fix": "ask for count 1, or for whole devices (share 100%)"},
            )
        return self


class ResourcesModel(_Model):
    """What one replica may use."""

    memory: GuestMemory = _written("128Mi", "Memory limit of one running instance.")
    cpu: Cpu = _written("100m", "Share of a core reserved for one replica.")
    disk: Disk | None = Field(default=None, description="Disk reserved for one replica; accounted, not enforced.")
    bandwidth: Bandwidth | None = Field(
        default=None, description="Bandwidth reserved for one replica; accounted, not enforced."
    )
    gpu: GpuNeedModel | None = Field(default=None, description="Accelerators reserved for one replica.")
    custom: dict[ResourceName, Units] = Field(
        default_factory=dict, description="Whole units of anything else that nodes offer by the same name."
    )


class LatencyModel(_Model):
    """A latency target."""

    p99: Latency | None = Field(
        default=None, description="Bound for 99 % of the demand, from each origin to its nearest replica."
    )
    p95: Latency | None = Field(default=None, description="The same for 95 % of the demand; give one of the four.")
    p90: Latency | None = Field(default=None, description="The same for 90 % of the demand.")
    p50: Latency | None = Field(default=None, description="The same for half of the demand.")
    origins: tuple[Text, ...] = Field(alias="from", min_length=1, description="Cities or sites the requests come from.")
    rates: dict[Text, Rate] = Field(
        default_factory=dict,
        description="Requests a second per origin; without them all ask alike. Origins that carry less than the "
        "percentile leaves over need not be served in time.",
    )

    @property
    def bound(self) -> tuple[int, int]:
        """Percentile and bound in microseconds."""
        return next((p, us) for p, us in self._bounds() if us is not None)

    def _bounds(self) -> tuple[tuple[int, int | None], ...]:
        return (99, self.p99), (95, self.p95), (90, self.p90), (50, self.p50)

    @model_validator(mode="after")
    def _one_bound(self) -> LatencyModel:
        problem, fix = "", ""
        if sum(us is not None for _, us in self._bounds()) != 1:
            problem, fix = "a latency target is one of p99, p95, p90 and p50", "give exactly one, like `p99: 40ms`"
        elif self.rates and set(self.rates) != set(self.origins):
            problem, fix = "rates and origins differ", "give a rate for every name in `from`, and for no other"
        if problem:
            raise PydanticCustomError("word", "{problem}", {"problem": problem, "fix": fix})
        return self


class SloModel(_Model):
    """Service levels."""

    latency: LatencyModel | None = Field(default=None, description="Latency target; none means that any will do.")
    availability: Availability | None = Field(
        default=None, description="Least availability; it decides the number of replicas unless `replicas` does."
    )


class DataModel(_Model):
    """What data the work touches, and whose."""

    classes: tuple[Label, ...] = Field(
        default=(), description="Classes of data, for example `health`, `personal`, `public`."
    )
    subjects: tuple[Area, ...] = Field(
        default=(), description="Countries or blocs whose people the data is about, for example `EEA`."
    )


class SealModel(_Model):
    """Levels 0 to 4 of the EU Cloud Sovereignty Framework, one per objective SOV-1 to SOV-8."""

    strategic: Level | None = Field(default=None, description="SOV-1 strategic sovereignty.")
    legal: Level | None = Field(default=None, description="SOV-2 legal and jurisdictional sovereignty.")
    data: Level | None = Field(default=None, description="SOV-3 data and AI sovereignty.")
    operational: Level | None = Field(default=None, description="SOV-4 operational sovereignty.")
    supply: Level | None = Field(default=None, description="SOV-5 supply chain sovereignty.")
    technology: Level | None = Field(default=None, description="SOV-6 technology sovereignty.")
    security: Level | None = Field(default=None, description="SOV-7 security and compliance sovereignty.")
    environment: Level | None = Field(default=None, description="SOV-8 environmental sustainability.")

    def levels(self) -> dict[str, int]:
        """The levels that were given, in order of the objectives."""
        return {name: level for name, level in self if level is not None}


class ControlModel(_Model):
    """Whose law must not reach the operator."""

    exclude: tuple[Country, ...] = Field(
        default=(), description="Countries that must not control the operator, through any chain of holders."
    )


class LocationModel(_Model):
    """Where the work must stay."""

    only: tuple[Area, ...] = Field(default=(), description="Countries or blocs; empty means anywhere.")


class SovereigntyModel(_Model):
    """What the owner demands beyond the law."""

    packs: tuple[Label, ...] = Field(default=(), description="Packs of rules that bind this work, for example `gdpr`.")
    seal: SealModel = Field(default_factory=SealModel, description="Least SEAL level of the operator per objective.")
    control: ControlModel = Field(default_factory=ControlModel, description="Bounds on legal control.")
    location: LocationModel = Field(default_factory=LocationModel, description="Bounds on location.")
    grade: Level = Field(
        default=0,
        description="Least grade of the node's facts: 0 claimed, 1 signed, 2 certified, 3 measured, 4 attested.",
    )


class ObjectiveModel(_Model):
    """How the parts of the score are weighed."""

    cost: Weight = _written(1.0, "Weight of money.")
    carbon: CarbonPrice = _written("0 EUR/t", "Price put on a tonne of CO2 equivalent.")


class BudgetModel(_Model):
    """Upper bounds on what all replicas together may use."""

    cost: CostPerMonth | None = Field(default=None, description="Bound on money; counted per month.")
    carbon: CarbonPerMonth | None = Field(default=None, description="Bound on carbon; counted per month.")
    rule: Literal["refuse", "shrink", "move", "stop"] = Field(
        default="refuse",
        description="What happens once the calendar month's spending reaches it: `refuse` starts nothing new, `shrink` "
        "runs fewer replicas, `move` runs only where the rest lasts, `stop` runs nothing until the month ends.",
    )


class EgressModel(_Model):
    """One destination that the guest may call."""

    host: Destination = Field(description="Host name, with `:port` if it is not the one of http or https.")
    jurisdiction: Area = Field(description="Country or bloc the destination lies in.")
    allow_private: bool = Field(default=False, description="Whether the name may resolve to a private address.")


class UsersModel(_Model):
    """Users with a token of one issuer."""

    issuer: Text = Field(description="Claim `iss` of their tokens, exactly.", examples=["https://id.clinic.example"])
    subject: Text | None = Field(default=None, description="Claim `sub`, for one user only.")
    claims: dict[Text, Text | tuple[Text, ...]] = Field(
        default_factory=dict,
        description="Claims they must have, all of them; several values of one claim are alternatives. A claim that is "
        "a list needs one of the values in it.",
        examples=[{"role": "nurse"}],
    )


class CertificatesModel(_Model):
    """Holders of client certificates."""

    name: Text = Field(
        description="Alternative name in the certificate: `dns:…`, `email:…` or `uri:…`.",
        examples=["dns:scanner.clinic"],
    )


class AccessModel(_Model):
    """Who may call the function. Without it everybody may, unless a pack in force forbids."""

    users: tuple[UsersModel, ...] = Field(default=(), description="Users who may.")
    certificates: tuple[CertificatesModel, ...] = Field(default=(), description="Holders of certificates who may.")
    workloads: tuple[WorkloadName, ...] = Field(default=(), description="Workloads that may, as `namespace.name`.")
    rules: str = Field(
        default="", max_length=65_536, description="Policies in the Cedar language about the action `invoke`."
    )


class DisruptionModel(_Model):
    """How much may be down on purpose."""

    max_unavailable: int = Field(
        default=1, ge=1, le=1_000, description="Replicas that a rollout or a drain may stop at once."
    )


class LimitsModel(_Model):
    """Bounds on bodies."""

    request_body: BodySize = _written("10Mi", "Largest request body.")
    response_body: BodySize = _written("64Mi", "Largest response body.")


class ReuseModel(_Model):
    """Instances that serve more than one request. Their memory carries over from one to the next."""

    count: int = Field(
        default=1, ge=1, le=100_000, description="Requests that one instance serves at most; 1 is a fresh one each."
    )
    concurrency: int = Field(
        default=1, ge=1, le=1_000, description="Requests that one instance serves at once; needs WASI 0.3 above 1."
    )
    idle: Timeout = _written("1s", "Time that an instance waits for another request.")


class JwkModel(_Model):
    """One public key (RFC 7517); the private parts have no place here."""

    kty: Literal["RSA", "EC", "OKP"] = Field(description="Kind of key.")
    kid: Text | None = Field(default=None, description="Its id, which tokens name.")
    alg: Text | None = Field(default=None, description="The one algorithm it is for, for example `ES256`.")
    use: Literal["sig"] | None = Field(default=None, description="What it is for.")
    crv: Literal["P-256", "P-384", "Ed25519"] | None = Field(default=None, description="Curve of an EC or OKP key.")
    n: Text | None = Field(default=None, description="Modulus of an RSA key, base64url.")
    e: Text | None = Field(default=None, description="Exponent of an RSA key, base64url.")
    x: Text | None = Field(default=None, description="Coordinate of an EC key, or an OKP key, base64url.")
    y: Text | None = Field(default=None, description="Other coordinate of an EC key, base64url.")


class JwtModel(_Model):
    """Whose bearer tokens requests must carry."""

    issuer: Text = Field(description="Value of the claim `iss`.")
    audience: Text = Field(description="Value of the claim `aud`, or one of its values.")
    optional: bool = Field(
        default=False, description="Whether a request without a token passes as anonymous; a bad one never does."
    )
    keys: tuple[JwkModel, ...] = Field(
        default=(),
        description="Public keys of the issuer, as in a JWKS (RFC 7517); without them the node's own for that issuer "
        "count (`--issuer`).",
    )


class AuthModel(_Model):
    """Who may ask."""

    jwt: JwtModel | None = Field(default=None, description="Bearer tokens of users; none by default.")


class WorkSpec(_Model):
    """What every kind of work that answers requests needs."""

    route: RouteModel = Field(description="Where requests arrive.")
    resources: ResourcesModel = Field(default_factory=ResourcesModel, description="What one replica may use.")
    slo: SloModel = Field(default_factory=SloModel, description="Service levels.")
    data: DataModel = Field(default_factory=DataModel, description="What data the work touches, and whose.")
    sovereignty: SovereigntyModel = Field(
        default_factory=SovereigntyModel, description="What the owner demands beyond the law."
    )
    objective: ObjectiveModel = Field(default_factory=ObjectiveModel, description="How the score is weighed.")
    budget: BudgetModel = Field(default_factory=BudgetModel, description="Bounds on money and carbon.")
    access: AccessModel = Field(default_factory=AccessModel, description="Who may call it; everybody by default.")
    disruption: DisruptionModel = Field(default_factory=DisruptionModel, description="What may be down on purpose.")
    replicas: Annotated[int, Field(ge=1, le=1_000)] | None = Field(
        default=None, description="Fixed number of replicas; without it the availability target decides."
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict,
        description="Labels a node must carry; the keys `node`, `site`, `operator` and `tier` match those fields.",
    )
    priority: int = Field(
        default=0, ge=-1_000, le=1_000, description="Who is placed first where room is scarce; higher goes first."
    )
    preemption: Literal["lower", "never"] = Field(
        default="lower",
        description="Whether it may displace work of lower priority, within its disruption budget; never its equals.",
    )
    timeout: Timeout = _written("10s", "Time that one request may take.")
    limits: LimitsModel = Field(default_factory=LimitsModel, description="Bounds on bodies.")
    auth: AuthModel = Field(default_factory=AuthModel, description="Who may ask; anybody by default.")


class FunctionSpec(WorkSpec):
    """What a function is and what it needs."""

    source: Text = Field(
        description="Path to a `.wasm` component, or to a `.py` or `.js` source that `hanse build` turns into one; "
        "relative to the manifest."
    )
    egress: tuple[EgressModel, ...] = Field(default=(), description="Destinations it may call; none by default.")
    reuse: ReuseModel = Field(
        default_factory=ReuseModel,
        description="Whether instances serve several requests; only for data that the pack `instance-reuse` allows.",
    )
    env: dict[EnvName, str] = Field(default_factory=dict, description="Environment of the guest; not for secrets.")


class ServiceSpec(WorkSpec):
    """What a service is and what it needs."""

    upstream: Upstream = Field(
        description="Address and port the program listens on, as its node sees it; the owner of the node allows it "
        "with `--allow-upstream`."
    )


class ParentModel(_Model):
    """One holder of an operator."""

    name: Text = Field(description="Name of the holder.")
    country: Country = Field(description="Seat of the holder.")
    share: Share = _written("100%", "Share of capital or votes.")
    veto: bool = Field(default=False, description="Whether the holder can block decisions whatever its share.")


class OperatorSpec(_Model):
    """Who runs nodes."""

    name: Text = Field(description="Legal name.")
    seat: Country = Field(description="Country of the legal seat.")
    parents: tuple[ParentModel, ...] = Field(default=(), description="Who holds the operator.")
    seal: SealModel = Field(default_factory=SealModel, description="SEAL level per objective; missing counts as 0.")
    certificates: tuple[Text, ...] = Field(default=(), description="Certificates held, for example `ISO 27001`.")
    grade: Level = Field(default=0, description="Grade of these facts, 0 claimed to 4 attested.")
    verified: tuple[VerifiedCertificate, ...] = Field(
        default=(), description="Certificates that `hanse credential verify` verified, `bsi-c5@2027-03-31`."
    )


class PlaceModel(_Model):
    """A point on the globe, WGS 84."""

    city: Text = Field(description="City.")
    latitude: Annotated[float, Field(ge=-90, le=90)] = Field(description="Degrees north.")
    longitude: Annotated[float, Field(ge=-180, le=180)] = Field(description="Degrees east.")


class SiteSpec(_Model):
    """Where nodes stand."""

    country: Country = Field(description="Country the site lies in.")
    place: PlaceModel = Field(description="Where it is.")
    grid_zone: GridZone = Field(description="Electricity Maps zone that feeds it.")
    pue: Pue = _written(1.2, "Power usage effectiveness.")


class NodeGpuModel(_Model):
    """Accelerators of one node, all of one model."""

    model: GpuModel = Field(description="Model, as workloads ask for it.")
    count: int = Field(ge=1, le=64, description="Devices.")
    memory: NodeMemory | None = Field(default=None, description="Memory of one device.")


class CapacityModel(_Model):
    """What a node offers."""

    cpu: Cpu = Field(description="Cores offered.")
    memory: NodeMemory = Field(description="Memory offered.")
    disk: Disk | None = Field(default=None, description="Disk offered.")
    bandwidth: Bandwidth | None = Field(default=None, description="Bandwidth offered, to and from outside together.")
    gpu: NodeGpuModel | None = Field(default=None, description="Accelerators offered.")
    custom: dict[ResourceName, Units] = Field(
        default_factory=dict, description="Whole units of anything else, for example `licence: 4`."
    )


class OverheadModel(_Model):
    """What the machine itself and its agent need."""

    cpu: Cpu | None = Field(default=None, description="Cores that no work is placed on.")
    memory: NodeMemory | None = Field(default=None, description="Memory that no work is placed on.")
    disk: Disk | None = Field(default=None, description="Disk that no work is placed on.")
    bandwidth: Bandwidth | None = Field(default=None, description="Bandwidth that no work is placed on.")


class PriceModel(_Model):
    """What the owner asks."""

    cpu: CorePrice = Field(description="Per core and hour.")
    memory: MemoryPrice = Field(description="Per GiB and hour.")
    egress: TrafficPrice = _written("0 EUR/GiB", "Per GiB sent out.")
    disk: MemoryPrice = _written("0 EUR/GiB-hour", "Per GiB of disk and hour.")
    bandwidth: BandwidthPrice = _written("0 EUR/Mbit/s-hour", "Per megabit per second reserved and hour.")
    gpu: GpuPrice = _written("0 EUR/GPU-hour", "Per whole GPU and hour.")
    custom: dict[ResourceName, UnitPrice] = Field(
        default_factory=dict, description="Per unit of a custom resource and hour."
    )


class PowerModel(_Model):
    """A linear power model."""

    idle: Watts = Field(description="Draw of the idle node.")
    per_core: Watts = Field(description="Additional draw per busy core.")
    per_gpu: Watts = _written("0 W", "Additional draw per busy GPU.")


class NodeSpec(_Model):
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
    evidence: Literal["none", "tpm"] = Field(
        default="none",
        description="Evidence it gives when it joins and from then on; `hanse up` gives such a node a software TPM.",
    )


class PolicyMetadata(_Model):
    """Name of a policy, and whom it binds."""

    name: Label = Field(description="Name; the id of each of its rules begins with it and a dot.")
    namespace: Label | None = Field(
        default=None, description="Namespace whose workloads it binds; without it the domain: every namespace."
    )


class PolicySpec(_Model):
    """What holds for whatever it binds, whatever the specs say. It can only narrow."""

    about: Text = Field(description="What it is for, in a sentence.")
    packs: tuple[Label, ...] = Field(default=(), description="Packs of rules that it binds, for example `gdpr`.")
    rules: str = Field(
        default="",
        description="Rules of its own in Cedar, forbids only, each with `@id`, `@cite` and `@message`; "
        "`@within` says within which time what they deny must be gone where it runs.",
    )


class FunctionManifest(_Model):
    """An HTTP function: a WebAssembly component that answers requests."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Function"] = Field(description="Kind of document.")
    metadata: WorkMetadata = Field(description="Name.")
    spec: FunctionSpec = Field(description="What it is and needs.")


class ServiceManifest(_Model):
    """A program that a node's owner runs beside the node; the fabric routes requests and WebSockets to it."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Service"] = Field(description="Kind of document.")
    metadata: WorkMetadata = Field(description="Name.")
    spec: ServiceSpec = Field(description="What it is and needs.")


class OperatorManifest(_Model):
    """An organisation that runs nodes, with who controls it."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Operator"] = Field(description="Kind of document.")
    metadata: FabricMetadata = Field(description="Name.")
    spec: OperatorSpec = Field(description="Who it is.")


class SiteManifest(_Model):
    """A place where nodes stand."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Site"] = Field(description="Kind of document.")
    metadata: FabricMetadata = Field(description="Name.")
    spec: SiteSpec = Field(description="Where it is.")


class NodeManifest(_Model):
    """A thing that can run work."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Node"] = Field(description="Kind of document.")
    metadata: NodeMetadata = Field(description="Name and labels.")
    spec: NodeSpec = Field(description="Where it stands, who runs it, what it offers.")


class PolicyManifest(_Model):
    """A layer of rules: guardrails of the domain, or of one namespace."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Policy"] = Field(description="Kind of document.")
    metadata: PolicyMetadata = Field(description="Name, and whom it binds.")
    spec: PolicySpec = Field(description="What holds.")


AnyManifest = FunctionManifest | ServiceManifest | OperatorManifest | SiteManifest | NodeManifest | PolicyManifest
KINDS: dict[str, type[AnyManifest]] = {
    "Function": FunctionManifest,
    "Service": ServiceManifest,
    "Operator": OperatorManifest,
    "Site": SiteManifest,
    "Node": NodeManifest,
    "Policy": PolicyManifest,
}
"""Kinds this version reads, in the order of the reference page."""
