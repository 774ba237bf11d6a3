"""What comes out of reading manifests: functions ready to be built, and the parts of a fabric.

`models -> records of hanse.core`. A function becomes a `Workload` once it has been built, because a workload is named
by the digest of what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hanse.core.fabric import Fabric, Grade, Node, Operator, Parent, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId, workload_id
from hanse.core.work import (
    Access,
    Budget,
    Caller,
    Data,
    Disruption,
    Egress,
    Kind,
    Objective,
    Route,
    Slo,
    Sovereignty,
    Workload,
)
from hanse.manifest.models import AccessModel, FunctionManifest, NodeManifest, OperatorManifest, SiteManifest
from hanse.manifest.problems import ManifestError, ManifestProblem, nearest


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

    @property
    def id(self) -> WorkloadId:
        """Id of the workload this will be."""
        return workload_id(self.namespace, self.name)

    def to_workload(self, artifact: Digest, artifact_bytes: int, generation: int) -> Workload:
        """Complete the workload with what was built and the generation of the spec (1 or more)."""
        return Workload(
            id=self.id,
            kind=Kind.FUNCTION,
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
            generation=generation,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """Everything that a set of files declares, each kind in id order."""

    functions: tuple[FunctionDocument, ...] = ()
    operators: tuple[Operator, ...] = ()
    sites: tuple[Site, ...] = ()
    nodes: tuple[Node, ...] = ()
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
        if problems:
            raise ManifestError(problems)
        return Fabric(
            sites=sites,
            operators=operators,
            nodes={node.id: node for node in self.nodes},
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
    latency = spec.slo.latency
    return FunctionDocument(
        where=where,
        namespace=model.metadata.namespace,
        name=model.metadata.name,
        source=spec.source,
        route=Route(path=spec.route.path, host=spec.route.host),
        resources=Resources(cpu_milli=spec.resources.cpu, memory_bytes=spec.resources.memory),
        slo=Slo(
            latency_p99_us=latency.p99 if latency else None,
            origins=latency.origins if latency else (),
            availability_ppm=spec.slo.availability,
        ),
        data=Data(classes=spec.data.classes, subjects=spec.data.subjects),
        sovereignty=Sovereignty(
            packs=spec.sovereignty.packs,
            seal=spec.sovereignty.seal.levels(),
            control_exclude=tuple(CountryCode(code) for code in spec.sovereignty.control.exclude),
            location_only=spec.sovereignty.location.only,
            grade=spec.sovereignty.grade,
        ),
        objective=Objective(cost_milli=spec.objective.cost, carbon_microeur_per_t=spec.objective.carbon),
        budget=Budget(cost_microeur_month=spec.budget.cost, carbon_ug_month=spec.budget.carbon),
        egress=tuple(
            Egress(host=item.host, jurisdiction=item.jurisdiction, allow_private=item.allow_private)
            for item in spec.egress
        ),
        access=_access(spec.access),
        disruption=Disruption(max_unavailable=spec.disruption.max_unavailable),
        replicas=spec.replicas,
        node_selector=dict(sorted(spec.node_selector.items())),
        timeout_us=spec.timeout,
        request_body_bytes=spec.limits.request_body,
        response_body_bytes=spec.limits.response_body,
        env=dict(sorted(spec.env.items())),
    )


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
            Parent(name=item.name, country=CountryCode(item.country), share_permille=item.share, has_veto=item.veto)
            for item in spec.parents
        ),
        seal=spec.seal.levels(),
        certificates=spec.certificates,
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
    )


def node_of(model: NodeManifest) -> Node:
    """Turn a validated node manifest into the record."""
    spec = model.spec
    return Node(
        id=NodeId(model.metadata.name),
        site=SiteId(spec.site),
        operator=OperatorId(spec.operator),
        tier=Tier(spec.tier),
        capacity=Resources(cpu_milli=spec.capacity.cpu, memory_bytes=spec.capacity.memory),
        price=Price(
            cpu_core_hour_microeur=spec.price.cpu,
            memory_gib_hour_microeur=spec.price.memory,
            egress_gib_microeur=spec.price.egress,
        ),
        power=Power(idle_mw=spec.power.idle, per_core_mw=spec.power.per_core),
        grade=Grade(spec.grade),
        labels=dict(sorted(model.metadata.labels.items())),
    )
