"""The shape of work: what a function or service says of itself, every field with its unit, range and default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hanse.manifest.quantities import (
    Area,
    Availability,
    Bandwidth,
    BodySize,
    CarbonPerMonth,
    CarbonPrice,
    CostPerMonth,
    Country,
    Cpu,
    DataPerMonth,
    DataSetName,
    Destination,
    Disk,
    EnvName,
    GpuModel,
    GpuShare,
    GuestMemory,
    Host,
    Label,
    LabelKey,
    LabelValue,
    Latency,
    Moment,
    Rate,
    ResourceName,
    RoutePath,
    SecretName,
    Span,
    Text,
    Timeout,
    Upstream,
    Weight,
    WorkloadName,
)
from hanse.manifest.shape import (
    Level,
    ManifestModel,
    SealModel,
    Units,
    written,
)


class RouteModel(ManifestModel):
    """Where requests arrive."""

    path: RoutePath = Field(description="Path prefix that belongs to this work; the longest prefix wins.")
    host: Host | None = Field(default=None, description="Host name; without it the route answers on every host.")


class GpuNeedModel(ManifestModel):
    """Accelerators."""

    count: int = Field(default=1, ge=1, le=64, description="Devices of one node.")
    share: GpuShare = written("100%", "Share of the device; below 100% only with a count of 1.")
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


class ResourcesModel(ManifestModel):
    """What one replica may use."""

    memory: GuestMemory = written("128Mi", "Memory limit of one running instance.")
    cpu: Cpu = written("100m", "Share of a core reserved for one replica.")
    disk: Disk | None = Field(default=None, description="Disk reserved for one replica; accounted, not enforced.")
    bandwidth: Bandwidth | None = Field(
        default=None, description="Bandwidth reserved for one replica; accounted, not enforced."
    )
    gpu: GpuNeedModel | None = Field(default=None, description="Accelerators reserved for one replica.")
    custom: dict[ResourceName, Units] = Field(
        default_factory=dict, description="Whole units of anything else that nodes offer by the same name."
    )


class LatencyModel(ManifestModel):
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
    demand: Literal["stated", "measured"] = Field(
        default="stated",
        description="`measured`: the origins are the sites where requests enter the fabric, with the rates that their "
        "fronts count; `from` and `rates` hold until a site reaches the floor.",
    )
    floor: Rate = written("0.1/s", "Measured requests a second from which a site counts as an origin.")

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


class SloModel(ManifestModel):
    """Service levels."""

    latency: LatencyModel | None = Field(default=None, description="Latency target; none means that any will do.")
    availability: Availability | None = Field(
        default=None, description="Least availability; it decides the number of replicas unless `replicas` does."
    )


class DataReadModel(ManifestModel):
    """One data set that the work reads."""

    name: DataSetName = Field(description="Name of its Dataset document.")
    read: DataPerMonth | None = Field(
        default=None,
        description="What one replica reads of it; without it the whole set once a month, and once per run of a job.",
    )


class DataModel(ManifestModel):
    """What data the work touches, and whose."""

    classes: tuple[Label, ...] = Field(
        default=(), description="Classes of data, for example `health`, `personal`, `public`."
    )
    subjects: tuple[Area, ...] = Field(
        default=(), description="Countries or blocs whose people the data is about, for example `EEA`."
    )
    reads: tuple[DataReadModel, ...] = Field(
        default=(), description="Data sets that it reads; they pull it towards them, and their fences bind it."
    )


class ControlModel(ManifestModel):
    """Whose law must not reach the operator."""

    exclude: tuple[Country, ...] = Field(
        default=(), description="Countries that must not control the operator, through any chain of holders."
    )


class LocationModel(ManifestModel):
    """Where the work must stay."""

    only: tuple[Area, ...] = Field(default=(), description="Countries or blocs; empty means anywhere.")


class SovereigntyModel(ManifestModel):
    """What the owner demands beyond the law."""

    packs: tuple[Label, ...] = Field(default=(), description="Packs of rules that bind this work, for example `gdpr`.")
    seal: SealModel = Field(default_factory=SealModel, description="Least SEAL level of the operator per objective.")
    control: ControlModel = Field(default_factory=ControlModel, description="Bounds on legal control.")
    location: LocationModel = Field(default_factory=LocationModel, description="Bounds on location.")
    grade: Level = Field(
        default=0,
        description="Least grade of the node's facts: 0 claimed, 1 signed, 2 certified, 3 measured, 4 attested.",
    )
    cada: Level = Field(
        default=0, description="Least Union assurance level (CADA, a proposal) of the operator or its service."
    )


class ObjectiveModel(ManifestModel):
    """How the parts of the score are weighed."""

    cost: Weight = written(1.0, "Weight of money.")
    carbon: CarbonPrice = written("0 EUR/t", "Price put on a tonne of CO2 equivalent.")


class BudgetModel(ManifestModel):
    """Upper bounds on what all replicas together may use."""

    cost: CostPerMonth | None = Field(default=None, description="Bound on money; counted per month.")
    carbon: CarbonPerMonth | None = Field(default=None, description="Bound on carbon; counted per month.")
    rule: Literal["refuse", "shrink", "move", "stop"] = Field(
        default="refuse",
        description="What happens once the calendar month's spending reaches it: `refuse` starts nothing new, `shrink` "
        "runs fewer replicas, `move` runs only where the rest lasts, `stop` runs nothing until the month ends.",
    )


class EgressModel(ManifestModel):
    """One destination that the guest may call."""

    host: Destination = Field(description="Host name, with `:port` if it is not the one of http or https.")
    jurisdiction: Area = Field(description="Country or bloc the destination lies in.")
    allow_private: bool = Field(default=False, description="Whether the name may resolve to a private address.")


class UsersModel(ManifestModel):
    """Users with a token of one issuer."""

    issuer: Text = Field(description="Claim `iss` of their tokens, exactly.", examples=["https://id.clinic.example"])
    subject: Text | None = Field(default=None, description="Claim `sub`, for one user only.")
    claims: dict[Text, Text | tuple[Text, ...]] = Field(
        default_factory=dict,
        description="Claims they must have, all of them; several values of one claim are alternatives. A claim that is "
        "a list needs one of the values in it.",
        examples=[{"role": "nurse"}],
    )


class CertificatesModel(ManifestModel):
    """Holders of client certificates."""

    name: Text = Field(
        description="Alternative name in the certificate: `dns:…`, `email:…` or `uri:…`.",
        examples=["dns:scanner.clinic"],
    )


class AccessModel(ManifestModel):
    """Who may call the function. Without it everybody may, unless a pack in force forbids."""

    users: tuple[UsersModel, ...] = Field(default=(), description="Users who may.")
    certificates: tuple[CertificatesModel, ...] = Field(default=(), description="Holders of certificates who may.")
    workloads: tuple[WorkloadName, ...] = Field(default=(), description="Workloads that may, as `namespace.name`.")
    rules: str = Field(
        default="", max_length=65_536, description="Policies in the Cedar language about the action `invoke`."
    )


class DisruptionModel(ManifestModel):
    """How much may be down on purpose."""

    max_unavailable: int = Field(
        default=1, ge=1, le=1_000, description="Replicas that a rollout or a drain may stop at once."
    )


class LimitsModel(ManifestModel):
    """Bounds on bodies."""

    request_body: BodySize = written("10Mi", "Largest request body.")
    response_body: BodySize = written("64Mi", "Largest response body.")


class JwkModel(ManifestModel):
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


class JwtModel(ManifestModel):
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


class AuthModel(ManifestModel):
    """Who may ask."""

    jwt: JwtModel | None = Field(default=None, description="Bearer tokens of users; none by default.")


class MovingModel(ManifestModel):
    """What its start elsewhere takes."""

    state: Disk | None = Field(default=None, description="State that moves with a replica.")
    cold_start: Span | None = Field(
        default=None, description="Time until a moved replica serves as well as before: caches, models, connections."
    )


class PlacedSpec(ManifestModel):
    """What every kind of work needs."""

    resources: ResourcesModel = Field(default_factory=ResourcesModel, description="What one replica may use.")
    data: DataModel = Field(default_factory=DataModel, description="What data the work touches, and whose.")
    sovereignty: SovereigntyModel = Field(
        default_factory=SovereigntyModel, description="What the owner demands beyond the law."
    )
    objective: ObjectiveModel = Field(default_factory=ObjectiveModel, description="How the score is weighed.")
    budget: BudgetModel = Field(default_factory=BudgetModel, description="Bounds on money and carbon.")
    moving: MovingModel = Field(default_factory=MovingModel, description="What its start elsewhere takes.")
    traffic: DataPerMonth | None = Field(
        default=None, description="What one replica sends out to the internet; it is paid at the node's egress price."
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


class WorkSpec(PlacedSpec):
    """What every kind of work that answers requests needs."""

    route: RouteModel = Field(description="Where requests arrive.")
    slo: SloModel = Field(default_factory=SloModel, description="Service levels.")
    access: AccessModel = Field(default_factory=AccessModel, description="Who may call it; everybody by default.")
    disruption: DisruptionModel = Field(default_factory=DisruptionModel, description="What may be down on purpose.")
    replicas: Annotated[int, Field(ge=1, le=1_000)] | None = Field(
        default=None, description="Fixed number of replicas; without it the availability target decides."
    )
    timeout: Timeout = written("10s", "Time that one request may take.")
    limits: LimitsModel = Field(default_factory=LimitsModel, description="Bounds on bodies.")
    auth: AuthModel = Field(default_factory=AuthModel, description="Who may ask; anybody by default.")


class ReuseModel(ManifestModel):
    """Instances that serve more than one request. Their memory carries over from one to the next."""

    count: int = Field(
        default=1, ge=1, le=100_000, description="Requests that one instance serves at most; 1 is a fresh one each."
    )
    concurrency: int = Field(
        default=1, ge=1, le=1_000, description="Requests that one instance serves at once; needs WASI 0.3 above 1."
    )
    idle: Timeout = written("1s", "Time that an instance waits for another request.")


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
    isolation: Literal["shared", "process", "process-seccomp"] = Field(
        default="shared",
        description="Whether the tenant (namespace and classes of data) has a worker process of its own on each "
        "node, behind Landlock and seccomp; with `process-seccomp` a kernel without Landlock will do.",
    )
    env: dict[EnvName, str] = Field(default_factory=dict, description="Environment of the guest; not for secrets.")
    secrets: dict[EnvName, SecretName] = Field(
        default_factory=dict,
        description="Environment variables that carry secrets: the name of a `Secret` of the same namespace, or "
        "`namespace.name`.",
        examples=[{"DB_PASSWORD": "ledger-db"}],
    )

    @model_validator(mode="after")
    def _said_once(self) -> FunctionSpec:
        both = sorted(set(self.env) & set(self.secrets))
        if both:
            problem = f"{', '.join(both)} stands in env and in secrets"
            raise PydanticCustomError("word", "{problem}", {"problem": problem, "fix": "leave it out of `env`"})
        return self


class ServiceSpec(WorkSpec):
    """What a service is and what it needs."""

    upstream: Upstream = Field(
        description="Address and port the program listens on, as its node sees it, or `https://`, its name or address, "
        "and a port where it proves that name; the owner of the node allows it with `--allow-upstream`."
    )


class JobSpec(PlacedSpec):
    """Work with an end, which may wait for cheap and clean hours."""

    source: Text = Field(
        description="Path to a `.wasm` component, or to a `.py` or `.js` source that `hanse build` turns into one; "
        "relative to the manifest. It is asked once per piece: 200 is done, 202 with a checkpoint is more to do."
    )
    duration: Span = Field(description="How long it runs; what takes longer is not cut off.")
    within: Span | None = Field(
        default=None, description="Time from its acceptance to its deadline; give this or `deadline`."
    )
    deadline: Moment | None = Field(default=None, description="When it has to be done.")
    interruptible: bool = Field(
        default=False, description="Whether it may be paused between pieces and go on later, also on another node."
    )
    retries: int = Field(default=2, ge=0, le=100, description="How often it is tried again after a failure.")
    timeout: Span = written("1h", "Time that one piece may take.")
    egress: tuple[EgressModel, ...] = Field(default=(), description="Destinations it may call; none by default.")
    env: dict[EnvName, str] = Field(default_factory=dict, description="Environment of the guest; not for secrets.")

    @model_validator(mode="after")
    def _one_deadline(self) -> JobSpec:
        if (self.within is None) == (self.deadline is None):
            raise PydanticCustomError(
                "word",
                "{problem}",
                {"problem": "a job has one deadline", "fix": "give `within: 24h` or `deadline: 2026-11-22T06:00:00Z`"},
            )
        return self


class DatasetFenceModel(ManifestModel):
    """Where data must stay."""

    only: tuple[Area, ...] = Field(default=(), description="Countries or blocs; empty means anywhere.")


class DatasetSpec(ManifestModel):
    """Data that lies somewhere."""

    size: Disk = Field(description="Size of the whole set.")
    sites: tuple[Label, ...] = Field(min_length=1, description="Sites that hold a copy.")
    fence: DatasetFenceModel = Field(
        default_factory=DatasetFenceModel, description="Where it must stay: binds all work that reads it."
    )


class NamespaceSpec(ManifestModel):
    """What holds for all work of one namespace together."""

    budget: BudgetModel = Field(default_factory=BudgetModel, description="Bounds on the money and carbon of all of it.")
