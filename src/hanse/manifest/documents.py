"""What comes out of reading manifests: functions ready to be built, and the parts of a fabric.

`models -> records of hanse.core`. A function becomes a `Workload` once it has been built, because a workload is named
by the digest of what runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hanse.core.fabric import (
    Fabric,
    GpuNeed,
    Gpus,
    Grade,
    Jurisdiction,
    KeyHolder,
    Node,
    Offer,
    Operator,
    Parent,
    Power,
    Price,
    Resources,
    Site,
    Tier,
)
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SecretId, SiteId, WorkloadId, workload_id
from hanse.core.layer import Policy
from hanse.core.secret import Secret
from hanse.core.time import WallTime
from hanse.core.work import (
    Access,
    Budget,
    BudgetRule,
    Caller,
    Data,
    DataRead,
    DataSet,
    DemandSource,
    Disruption,
    Egress,
    Isolation,
    Job,
    JwtAuth,
    Kind,
    Moving,
    Namespace,
    Objective,
    Preemption,
    Reuse,
    Route,
    Slo,
    Sovereignty,
    Workload,
)
from hanse.manifest.fabric_models import CapacityModel, OverheadModel
from hanse.manifest.models import (
    DatasetManifest,
    FunctionManifest,
    JobManifest,
    JurisdictionManifest,
    NamespaceManifest,
    NodeManifest,
    OperatorManifest,
    PolicyManifest,
    SecretManifest,
    ServiceManifest,
    SiteManifest,
)
from hanse.manifest.problems import ManifestError, ManifestProblem, nearest
from hanse.manifest.work_models import (
    AccessModel,
    BudgetModel,
    DataModel,
    JwkModel,
    JwtModel,
    ResourcesModel,
    SovereigntyModel,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a document begins, counted from 1, for errors that are found later."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDocument:
    """One function as written; everything of its workload but the artifact."""

    where: Where
    namespace: str
    name: str
    source: str
    """Path as written, relative to the manifest's own directory."""
    route: Route
    resources: Resources
    slo: Slo
    data: Data
    sovereignty: Sovereignty
    objective: Objective
    budget: Budget
    egress: tuple[Egress, ...]
    access: Access
    disruption: Disruption
    replicas: int | None
    node_selector: Mapping[str, str]
    timeout_us: int
    request_body_bytes: int
    response_body_bytes: int
    env: Mapping[str, str]
    auth: JwtAuth | None
    secrets: Mapping[str, SecretId] = field(default_factory=dict)
    reuse: Reuse = field(default_factory=Reuse)
    isolation: Isolation = Isolation.SHARED
    kind: Kind = Kind.FUNCTION
    upstream: str = ""
    """Of a service, which has no source."""
    gpu: GpuNeed | None = None
    priority: int = 0
    preemption: Preemption = Preemption.LOWER
    job: Job | None = None
    moving: Moving = field(default_factory=Moving)
    egress_bytes_month: int = 0

    @property
    def id(self) -> WorkloadId:
        """Id of the workload this will be."""
        return workload_id(self.namespace, self.name)

    def to_workload(self, artifact: Digest, artifact_bytes: int, generation: int) -> Workload:
        """Complete the workload with what was built and the generation of the spec (1 or more)."""
        return Workload(
            id=self.id,
            kind=self.kind,
            namespace=self.namespace,
            name=self.name,
            artifact=artifact,
            artifact_bytes=artifact_bytes,
            route=self.route,
            resources=self.resources,
            slo=self.slo,
            data=self.data,
            sovereignty=self.sovereignty,
            objective=self.objective,
            budget=self.budget,
            egress=self.egress,
            access=self.access,
            disruption=self.disruption,
            replicas=self.replicas,
            node_selector=self.node_selector,
            timeout_us=self.timeout_us,
            request_body_bytes=self.request_body_bytes,
            response_body_bytes=self.response_body_bytes,
            env=self.env,
            secrets=self.secrets,
            reuse=self.reuse,
            isolation=self.isolation,
            auth=self.auth,
            upstream=self.upstream,
            generation=generation,
            gpu=self.gpu,
            priority=self.priority,
            preemption=self.preemption,
            job=self.job,
            moving=self.moving,
            egress_bytes_month=self.egress_bytes_month,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDocument:
    """One policy as written, with where its rules stand."""

    where: Where
    policy: Policy
    line_before_rules: int
    """Added to a line of the rules it gives the line in the file."""
    line_before_properties: int
    """The same of its properties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretDocument:
    """One secret as written; its value is not part of it."""

    where: Where
    secret: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """Everything that a set of files declares, each kind in id order."""

    functions: tuple[FunctionDocument, ...] = ()
    operators: tuple[Operator, ...] = ()
    sites: tuple[Site, ...] = ()
    nodes: tuple[Node, ...] = ()
    policies: tuple[PolicyDocument, ...] = ()
    datasets: tuple[DataSet, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    jurisdictions: tuple[Jurisdiction, ...] = ()
    secrets: tuple[SecretDocument, ...] = ()
    wheres: Mapping[tuple[str, str], Where] = field(default_factory=dict)
    """Where each part of the fabric was declared, by (kind, name)."""

    def fabric(self) -> Fabric:
        """Join sites, operators and nodes into a fabric.

        Raises ManifestError naming each node whose site or operator is not among them.
        """
        sites = {site.id: site for site in self.sites}
        operators = {operator.id: operator for operator in self.operators}
        problems = [
            self._dangling(node, name, value, known)
            for node in self.nodes
            for name, value, known in (
                ("site", str(node.site), [str(key) for key in sites]),
                ("operator", str(node.operator), [str(key) for key in operators]),
            )
            if value not in known
        ]
        problems += [
            self._no_such_service(node, operators[node.operator])
            for node in self.nodes
            if node.service and node.operator in operators
            and node.service not in {offer.name for offer in operators[node.operator].offers}
        ]  # fmt: skip
        if problems:
            raise ManifestError(problems)
        return Fabric(
            sites=sites,
            operators=operators,
            nodes={node.id: node for node in self.nodes},
            jurisdictions={one.id: one for one in self.jurisdictions},
        )

    def _no_such_service(self, node: Node, operator: Operator) -> ManifestProblem:
        where = self.wheres[("Node", node.id)]
        known = [offer.name for offer in operator.offers]
        return ManifestProblem(
            file=where.file,
            line=where.line,
            column=where.column,
            field="spec.service",
            message=f"node {node.id!r} names a service that operator {operator.id!r} does not have: {node.service!r}",
            fix=nearest(node.service, known) if known else f"add it to `services` of operator {operator.id!r}",
        )

    def _dangling(self, node: Node, name: str, value: str, known: list[str]) -> ManifestProblem:
        where = self.wheres[("Node", node.id)]
        fix = nearest(value, known) if known else f"add a document of kind {name.capitalize()} named {value!r}"
        return ManifestProblem(
            file=where.file,
            line=where.line,
            column=where.column,
            field=f"spec.{name}",
            message=f"node {node.id!r} names a {name} that is not declared: {value!r}",
            fix=fix,
        )


def function_of(model: FunctionManifest, where: Where) -> FunctionDocument:
    """Turn a validated function manifest into its document."""
    spec = model.spec
    return replace(
        _work_of(model, where),
        source=spec.source,
        egress=tuple(
            Egress(host=item.host, jurisdiction=item.jurisdiction, allow_private=item.allow_private)
            for item in spec.egress
        ),
        env=dict(sorted(spec.env.items())),
        secrets={name: _secret_id(model, secret) for name, secret in sorted(spec.secrets.items())},
        reuse=Reuse(count=spec.reuse.count, concurrency=spec.reuse.concurrency, idle_us=spec.reuse.idle),
        isolation=Isolation(spec.isolation),
    )


def _secret_id(model: FunctionManifest, name: str) -> SecretId:
    return SecretId(name if "." in name else f"{model.metadata.namespace}.{name}")


def secret_of(model: SecretManifest) -> Secret:
    """Turn a validated secret manifest into the record."""
    spec = model.spec
    return Secret(
        namespace=model.metadata.namespace,
        name=model.metadata.name,
        about=spec.about,
        readers=tuple(WorkloadId(name) for name in spec.readers),
        data=_data(spec.data, model.metadata.namespace),
        sovereignty=_sovereignty(spec.sovereignty),
        rules=spec.rules,
        lease_us=spec.lease,
    )


def service_of(model: ServiceManifest, where: Where) -> FunctionDocument:
    """Turn a validated service manifest into its document."""
    return replace(_work_of(model, where), kind=Kind.SERVICE, upstream=model.spec.upstream)


def job_of(model: JobManifest, where: Where) -> FunctionDocument:
    """Turn a validated job manifest into its document."""
    spec = model.spec
    job = Job(
        duration_us=spec.duration,
        within_us=spec.within,
        deadline_us=None if spec.deadline is None else WallTime(spec.deadline),
        is_interruptible=spec.interruptible,
        retries=spec.retries,
    )
    return replace(
        _placed_of(model, where),
        kind=Kind.JOB,
        source=spec.source,
        job=job,
        timeout_us=spec.timeout,
        egress=tuple(
            Egress(host=item.host, jurisdiction=item.jurisdiction, allow_private=item.allow_private)
            for item in spec.egress
        ),
        env=dict(sorted(spec.env.items())),
    )


def dataset_of(model: DatasetManifest) -> DataSet:
    """Turn a validated data set manifest into the record."""
    spec = model.spec
    return DataSet(
        id=f"{model.metadata.namespace}.{model.metadata.name}",
        size_bytes=spec.size,
        sites=tuple(sorted({SiteId(site) for site in spec.sites})),
        fence=spec.fence.only,
    )


def namespace_of(model: NamespaceManifest) -> Namespace:
    """Turn a validated namespace manifest into the record."""
    return Namespace(id=model.metadata.name, budget=_budget(model.spec.budget))


def _work_of(model: FunctionManifest | ServiceManifest, where: Where) -> FunctionDocument:
    """What all kinds that answer requests have in common."""
    spec = model.spec
    latency = spec.slo.latency
    return replace(
        _placed_of(model, where),
        route=Route(path=spec.route.path, host=spec.route.host),
        slo=Slo(
            latency_p99_us=latency.bound[1] if latency else None,
            origins=latency.origins if latency else (),
            availability_ppm=spec.slo.availability,
            percentile=latency.bound[0] if latency else 99,
            rates_milli=tuple(latency.rates[name] for name in latency.origins) if latency and latency.rates else (),
            demand=DemandSource(latency.demand) if latency else DemandSource.STATED,
            floor_milli=latency.floor if latency else Slo().floor_milli,
        ),
        access=_access(spec.access),
        disruption=Disruption(max_unavailable=spec.disruption.max_unavailable),
        replicas=spec.replicas,
        timeout_us=spec.timeout,
        request_body_bytes=spec.limits.request_body,
        response_body_bytes=spec.limits.response_body,
        auth=_jwt(spec.auth.jwt),
    )


def _placed_of(model: FunctionManifest | ServiceManifest | JobManifest, where: Where) -> FunctionDocument:
    """What all kinds of work have in common."""
    spec = model.spec
    gpu = spec.resources.gpu
    return FunctionDocument(
        where=where,
        namespace=model.metadata.namespace,
        name=model.metadata.name,
        source="",
        route=Route(path=""),
        resources=_amount(spec.resources),
        slo=Slo(),
        data=_data(spec.data, model.metadata.namespace),
        sovereignty=_sovereignty(spec.sovereignty),
        objective=Objective(cost_milli=spec.objective.cost, carbon_microeur_per_t=spec.objective.carbon),
        budget=_budget(spec.budget),
        egress=(),
        access=Access(),
        disruption=Disruption(),
        replicas=None,
        node_selector=dict(sorted(spec.node_selector.items())),
        timeout_us=spec.timeout,
        request_body_bytes=0,
        response_body_bytes=0,
        env={},
        auth=None,
        gpu=None if gpu is None else GpuNeed(count=gpu.count, share_milli=gpu.share, models=tuple(sorted(gpu.models))),
        priority=spec.priority,
        preemption=Preemption(spec.preemption),
        moving=Moving(state_bytes=spec.moving.state or 0, cold_start_us=spec.moving.cold_start or 0),
        egress_bytes_month=spec.traffic or 0,
    )


def _budget(model: BudgetModel) -> Budget:
    return Budget(cost_microeur_month=model.cost, carbon_ug_month=model.carbon, rule=BudgetRule(model.rule))


def _data(model: DataModel, namespace: str) -> Data:
    reads = {one.name if "." in one.name else f"{namespace}.{one.name}": one.read for one in model.reads}
    return Data(
        classes=model.classes,
        subjects=model.subjects,
        reads=tuple(DataRead(dataset=name, bytes_month=amount) for name, amount in sorted(reads.items())),
    )


def _sovereignty(model: SovereigntyModel) -> Sovereignty:
    return Sovereignty(
        packs=model.packs,
        seal=model.seal.levels(),
        control_exclude=tuple(CountryCode(code) for code in model.control.exclude),
        location_only=model.location.only,
        grade=model.grade,
        cada=model.cada,
    )


def _jwt(model: JwtModel | None) -> JwtAuth | None:
    if model is None:
        return None
    jwks = _jwks(model.keys) if model.keys else ""
    return JwtAuth(issuer=model.issuer, audience=model.audience, jwks=jwks, is_optional=model.optional)


def _jwks(keys: Sequence[JwkModel]) -> str:
    document = {"keys": [key.model_dump(exclude_none=True) for key in keys]}
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _access(model: AccessModel) -> Access:
    users = [
        Caller(
            issuer=one.issuer,
            subject=one.subject or "",
            claims={name: (value,) if isinstance(value, str) else value for name, value in sorted(one.claims.items())},
        )
        for one in model.users
    ]
    certificates = [Caller(certificate_name=one.name) for one in model.certificates]
    workloads = [Caller(workload=name) for name in model.workloads]
    return Access(callers=(*users, *certificates, *workloads), rules=model.rules)


def operator_of(model: OperatorManifest) -> Operator:
    """Turn a validated operator manifest into the record."""
    spec = model.spec
    return Operator(
        id=OperatorId(model.metadata.name),
        name=spec.name,
        seat=CountryCode(spec.seat),
        parents=tuple(
            Parent(
                name=item.name,
                country=CountryCode(item.country),
                share_permille=item.share,
                has_veto=item.veto,
                votes_permille=item.votes,
            )
            for item in spec.parents
        ),
        key_holders=tuple(KeyHolder(name=item.name, country=CountryCode(item.country)) for item in spec.keys),
        support=tuple(sorted({CountryCode(code) for code in spec.support})),
        cada=spec.cada,
        offers=tuple(
            Offer(name=item.name, seal=item.seal.levels(), cada=item.cada, certificates=item.certificates)
            for item in sorted(spec.services, key=lambda one: one.name)
        ),
        seal=spec.seal.levels(),
        certificates=spec.certificates,
        down_ppm=spec.uptime,
        verified=spec.verified,
        grade=Grade(spec.grade),
    )


def site_of(model: SiteManifest) -> Site:
    """Turn a validated site manifest into the record."""
    spec = model.spec
    return Site(
        id=SiteId(model.metadata.name),
        country=CountryCode(spec.country),
        place=Place(city=spec.place.city, latitude_deg=spec.place.latitude, longitude_deg=spec.place.longitude),
        grid_zone=spec.grid_zone,
        pue_permille=spec.pue,
        is_landmark=spec.landmark,
        energy_microeur_kwh=spec.energy_price,
        down_ppm=spec.uptime,
    )


def jurisdiction_of(model: JurisdictionManifest) -> Jurisdiction:
    """Turn a validated jurisdiction manifest into the record."""
    return Jurisdiction(id=CountryCode(model.metadata.name), down_ppm=model.spec.uptime)


def policy_of(model: PolicyManifest) -> Policy:
    """Turn a validated policy manifest into the record; what its rules say is for the policy room to judge."""
    spec = model.spec
    return Policy(
        name=model.metadata.name, namespace=model.metadata.namespace or "", about=spec.about, packs=spec.packs,
        rules=spec.rules, properties=spec.properties,
    )  # fmt: skip


def node_of(model: NodeManifest) -> Node:
    """Turn a validated node manifest into the record."""
    spec = model.spec
    gpu = spec.capacity.gpu
    return Node(
        id=NodeId(model.metadata.name),
        site=SiteId(spec.site),
        operator=OperatorId(spec.operator),
        tier=Tier(spec.tier),
        capacity=_amount(spec.capacity),
        overhead=_amount(spec.overhead),
        gpus=None if gpu is None else Gpus(model=gpu.model, count=gpu.count, memory_bytes=gpu.memory or 0),
        price=Price(
            cpu_core_hour_microeur=spec.price.cpu,
            memory_gib_hour_microeur=spec.price.memory,
            egress_gib_microeur=spec.price.egress,
            disk_gib_hour_microeur=spec.price.disk,
            bandwidth_mbit_hour_microeur=spec.price.bandwidth,
            gpu_hour_microeur=spec.price.gpu,
            custom=tuple(sorted(spec.price.custom.items())),
            egress_to=tuple(sorted(spec.price.egress_to.items())),
        ),
        power=Power(
            idle_mw=spec.power.idle,
            per_core_mw=spec.power.per_core,
            per_gpu_mw=spec.power.per_gpu,
            embodied_g=spec.power.embodied,
            life_us=spec.power.life,
        ),
        down_ppm=spec.uptime,
        grade=Grade(spec.grade),
        evidence=spec.evidence,
        service=spec.service or "",
        labels=dict(sorted(model.metadata.labels.items())),
    )


def _amount(model: ResourcesModel | CapacityModel | OverheadModel) -> Resources:
    custom = {} if isinstance(model, OverheadModel) else model.custom
    return Resources(
        cpu_milli=model.cpu or 0,
        memory_bytes=model.memory or 0,
        disk_bytes=model.disk or 0,
        bandwidth_bps=model.bandwidth or 0,
        custom=tuple(sorted(custom.items())),
    )
