"""What the controller has read: caches of the buckets, kept current by watches, and the snapshot made of them.

`entries -> FabricState -> Snapshot`. An entry whose signature does not hold never enters the caches; it is kept aside
under its key with the reason, so that an operator sees it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import msgspec

from hanse.attest import Anchor, AppraisalRecord, Appraiser, Reference
from hanse.control.accounting import within_budgets
from hanse.control.config import ControlConfig
from hanse.control.history import observed_ppm
from hanse.control.liveness import Liveness
from hanse.core.errors import HanseError, SignatureError
from hanse.core.fabric import Attested, Fabric, Jurisdiction, Measured, Node, Operator, Resources, Site
from hanse.core.ids import CountryCode, InstanceId, NodeId, OperatorId, SecretId, SiteId, WorkloadId
from hanse.core.jobs import JobProgress
from hanse.core.layer import Policy
from hanse.core.ports import Entry
from hanse.core.secret import Secret
from hanse.core.snapshot import Phase, Reach, Running, Snapshot
from hanse.core.time import DAY_US, MonoTime, WallTime, to_datetime
from hanse.core.work import DataSet, Namespace, Workload
from hanse.identity.join import JoinToken
from hanse.placement import Book, Spent, mean_of, measured_trips, timed
from hanse.policy import RoundTrip, locate
from hanse.wire import envelope
from hanse.wire.account_messages import CarbonFeed, HistoryRecord, SpendRecord
from hanse.wire.demand_messages import SiteDemand
from hanse.wire.messages import (
    ActionRecord,
    JobRecord,
    NodeRecord,
    Order,
    PlanRecord,
    Presence,
    Report,
    RouteRecord,
    SpecRecord,
)
from hanse.wire.secret_messages import ReleaseRecord, SecretValue
from hanse.wire.subjects import (
    ACTIONS,
    APPRAISAL,
    ATTESTED,
    CREDENTIALS,
    DEMAND,
    DISTANCES,
    FEDERATION,
    FEEDS,
    HISTORY,
    JOBS,
    MEASURED,
    NODES,
    ORDERS,
    PLANS,
    PRESENCE,
    RELEASES,
    REPORTS,
    REVOCATIONS,
    ROUTES,
    SECRETS,
    SPECS,
    SPENDING,
    TOKENS,
    TRUST,
)
from hanse.wire.survey_messages import SiteTrips, Survey
from hanse.wire.trust_messages import Attestation, CredentialRecord, FederatedBundle, Revocations

_M = TypeVar("_M", bound=msgspec.Struct)

SEALED_BY_CONTROLLER: Mapping[str, type[msgspec.Struct]] = {
    SPECS: SpecRecord, NODES: NodeRecord, ORDERS: Order, ROUTES: RouteRecord, PLANS: PlanRecord,
    TRUST: Revocations, ACTIONS: ActionRecord, APPRAISAL: AppraisalRecord, ATTESTED: Attestation,
    TOKENS: JoinToken, SPENDING: SpendRecord, FEEDS: CarbonFeed, MEASURED: Survey, CREDENTIALS: CredentialRecord,
    SECRETS: SecretValue, RELEASES: ReleaseRecord, FEDERATION: FederatedBundle, JOBS: JobRecord, HISTORY: HistoryRecord,
    DISTANCES: SiteTrips, DEMAND: SiteDemand,
}  # fmt: skip
SEALED_BY_NODE: Mapping[str, type[msgspec.Struct]] = {PRESENCE: Presence, REPORTS: Report}
WATCHED = (
    SPECS, NODES, PRESENCE, ORDERS, REPORTS, ROUTES, PLANS, TRUST, ACTIONS, APPRAISAL, ATTESTED, TOKENS, SPENDING,
    FEEDS, MEASURED, CREDENTIALS, SECRETS, RELEASES, FEDERATION, JOBS, HISTORY, DISTANCES, DEMAND,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One verified record with the bytes that were signed and its revision."""

    message: msgspec.Struct
    sealed: bytes
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An entry that is not believed, and why."""

    entry: Entry
    reason: str


@dataclass(slots=True)
class FabricState:
    """Verified records by bucket and key. Changed only by `apply`, which is idempotent and ignores older revisions."""

    trusted: Mapping[str, bytes]
    """Key id -> raw key of every controller of the domain."""
    records: dict[str, dict[str, Known]] = field(default_factory=lambda: {bucket: {} for bucket in WATCHED})
    revisions: dict[tuple[str, str], int] = field(default_factory=dict)
    rejected: dict[tuple[str, str], Rejected] = field(default_factory=dict)
    trips: tuple[tuple[object, ...], Mapping[NodeId, tuple[RoundTrip, ...]]] | None = None
    """Round trips per node, with what they were made of: kept because 10,000 of them are read every second."""

    def apply(self, entry: Entry) -> bool:
        """Take one entry in. Returns whether anything changed."""
        place = (entry.bucket, entry.key)
        if self.revisions.get(place, -1) >= entry.revision:
            return False
        self.revisions[place] = entry.revision
        self.rejected.pop(place, None)
        if entry.value is None:
            return self.records[entry.bucket].pop(entry.key, None) is not None
        try:
            message = self._open(entry.bucket, entry.key, entry.value)
        except HanseError as error:
            self.rejected[place] = Rejected(entry=entry, reason=f"{error.code}: {error.message}")
            return False
        self.records[entry.bucket][entry.key] = Known(message=message, sealed=entry.value, revision=entry.revision)
        if entry.bucket == NODES:
            self._judge_again(NodeId(entry.key))
        return True

    def keep_only(self, bucket: str, keys: Collection[str]) -> bool:
        """Drop what is not among the live keys: it went while nobody listened. Returns whether anything changed.

        Its revisions are forgotten too, so that a key written a moment ago comes back with the watch.
        """
        gone = sorted(key for known, key in self.revisions if known == bucket and key not in keys)
        has_changed = False
        for key in gone:
            del self.revisions[bucket, key]
            self.rejected.pop((bucket, key), None)
            has_changed |= self.records[bucket].pop(key, None) is not None
        return has_changed

    def revision(self, bucket: str, key: str) -> int:
        """The revision to expect when writing a key: 0 if it is absent. What is not believed may be written over."""
        rejected = self.rejected.get((bucket, key))
        known = self.records[bucket].get(key)
        if rejected is not None:
            return rejected.entry.revision
        return 0 if known is None else known.revision

    def is_spoiled(self, bucket: str, key: str) -> bool:
        """Tell whether what stands at a key now is not believed."""
        return (bucket, key) in self.rejected

    def messages(self, bucket: str, kind: type[_M]) -> dict[str, _M]:
        """All messages of a bucket by key, in key order."""
        return {
            key: known.message for key, known in sorted(self.records[bucket].items()) if isinstance(known.message, kind)
        }

    def specs(self) -> dict[str, SpecRecord]:
        """Accepted manifests by key."""
        return self.messages(SPECS, SpecRecord)

    def nodes(self) -> dict[NodeId, NodeRecord]:
        """Enrolled nodes by id."""
        return {NodeId(key): record for key, record in self.messages(NODES, NodeRecord).items()}

    def orders(self) -> dict[InstanceId, Order]:
        """The latest order per instance."""
        return {order.instance: order for order in self.messages(ORDERS, Order).values()}

    def reports(self) -> dict[InstanceId, Report]:
        """The latest report per instance."""
        return {report.instance: report for report in self.messages(REPORTS, Report).values()}

    def plan_record(self) -> PlanRecord | None:
        """The committed plan's record."""
        return self.messages(PLANS, PlanRecord).get("current")

    def references(self) -> dict[str, Reference]:
        """Reference values by name."""
        records = self.messages(APPRAISAL, AppraisalRecord).values()
        return {r.reference.name: r.reference for r in records if r.reference is not None and not r.is_deleted}

    def anchors(self) -> dict[str, Anchor]:
        """Anchors of makers, those built in left out, by name."""
        records = self.messages(APPRAISAL, AppraisalRecord).values()
        return {r.anchor.name: r.anchor for r in records if r.anchor is not None and not r.is_deleted}

    def appraiser(self, life_us: int) -> Appraiser:
        """What evidence is held against now."""
        return Appraiser(
            anchors=tuple(self.anchors().values()), references=tuple(self.references().values()), life_us=life_us
        )

    def attested(self) -> dict[NodeId, Attested]:
        """What the verifier last found out about each node, ended or not."""
        return {NodeId(key): record.attested for key, record in self.messages(ATTESTED, Attestation).items()}

    def revocations(self) -> Revocations | None:
        """The published list of nodes that no longer count; None before the first revocation."""
        return self.messages(TRUST, Revocations).get(REVOCATIONS)

    def workloads(self, *, with_deleted: bool = False) -> dict[WorkloadId, Workload]:
        """Accepted workloads by id."""
        found = {
            record.workload.id: record.workload
            for record in self.specs().values()
            if record.workload is not None and (with_deleted or not record.is_deleted)
        }
        return dict(sorted(found.items()))

    def sites(self) -> dict[SiteId, Site]:
        """Sites by id."""
        return {r.site.id: r.site for r in self.specs().values() if r.site is not None and not r.is_deleted}

    def operators(self) -> dict[OperatorId, Operator]:
        """Operators by id, with what verified credentials say of them."""
        return {id_: self.certified(operator) for id_, operator in self.stated_operators().items()}

    def stated_operators(self) -> dict[OperatorId, Operator]:
        """Operators by id as their manifests say."""
        records = self.specs().values()
        return {r.operator.id: r.operator for r in records if r.operator is not None and not r.is_deleted}

    def certified(self, operator: Operator) -> Operator:
        """An operator with what the credentials that the domain holds say of it."""
        mine = sorted(certificate_of(one) for one in self.credentials().values() if one.operator == operator.id)
        if not mine:
            return operator
        return replace(operator, verified=tuple(dict.fromkeys((*operator.verified, *mine))))

    def credentials(self) -> dict[str, CredentialRecord]:
        """Credentials that the domain holds, ended ones too, by key."""
        records = self.messages(CREDENTIALS, CredentialRecord)
        return {key: record for key, record in records.items() if not record.is_removed}

    def datasets(self) -> dict[str, DataSet]:
        """Declared data sets by id."""
        records = self.specs().values()
        return {r.dataset.id: r.dataset for r in records if r.dataset is not None and not r.is_deleted}

    def jurisdictions(self) -> dict[CountryCode, Jurisdiction]:
        """What is stated of whole countries, in order of their codes."""
        found = [r.jurisdiction for r in self.specs().values() if r.jurisdiction is not None and not r.is_deleted]
        return {one.id: one for one in sorted(found, key=lambda one: one.id)}

    def namespaces(self) -> dict[str, Namespace]:
        """What holds for whole namespaces, by name."""
        records = self.specs().values()
        return {r.namespace.id: r.namespace for r in records if r.namespace is not None and not r.is_deleted}

    def policies(self) -> tuple[Policy, ...]:
        """Accepted layers of rules, in id order."""
        records = self.specs().values()
        found = [r.policy for r in records if r.policy is not None and not r.is_deleted]
        return tuple(sorted(found, key=lambda policy: policy.id))

    def secrets(self) -> dict[SecretId, Secret]:
        """Accepted secrets by id: what is said of them, not their values."""
        records = self.specs().values()
        found = {r.secret.id: r.secret for r in records if r.secret is not None and not r.is_deleted}
        return dict(sorted(found.items()))

    def secret_values(self) -> dict[SecretId, SecretValue]:
        """Values, sealed to the domain, by the secret's id."""
        return {SecretId(key): value for key, value in self.messages(SECRETS, SecretValue).items()}

    def releases(self) -> tuple[ReleaseRecord, ...]:
        """What nodes were told, in order of node and secret."""
        return tuple(self.messages(RELEASES, ReleaseRecord).values())

    def layer_ids(self) -> tuple[str, ...]:
        """Ids of every layer of rules, withdrawn ones too."""
        return tuple(r.policy.id for r in self.specs().values() if r.policy is not None)

    def fabric(self) -> Fabric:
        """Sites, operators, and the enrolled nodes whose site and operator are known, in id order."""
        sites, operators, attested = self.sites(), self.operators(), self.attested()
        trips, life_us = self._round_trips(sites)
        nodes = {
            key: _with_findings(
                self._as_offered(record.node),
                attested.get(key),
                locate(sites[record.node.site].place, trips.get(key, ()), life_us),
            )
            for key, record in self.nodes().items()
            if record.node.site in sites and record.node.operator in operators
        }
        return Fabric(sites=sites, operators=operators, nodes=nodes, jurisdictions=self.jurisdictions())

    def surveys(self) -> dict[NodeId, Survey]:
        """What each landmark measured last."""
        return {NodeId(key): record for key, record in self.messages(MEASURED, Survey).items()}

    def distances(self) -> dict[SiteId, SiteTrips]:
        """Round trips between sites, as measured, by the site that measured."""
        return {SiteId(key): record for key, record in self.messages(DISTANCES, SiteTrips).items()}

    def demand(self) -> dict[SiteId, SiteDemand]:
        """Where requests enter, by site, as last written."""
        return {SiteId(key): record for key, record in self.messages(DEMAND, SiteDemand).items()}

    def landmarks(self) -> tuple[NodeId, ...]:
        """Nodes at sites whose place the domain vouches for, in id order."""
        sites = self.sites()
        vouched = {id_ for id_, site in sites.items() if site.is_landmark}
        return tuple(node for node, r in self.nodes().items() if r.node.site in vouched and not r.is_revoked)

    def _round_trips(self, sites: Mapping[SiteId, Site]) -> tuple[Mapping[NodeId, tuple[RoundTrip, ...]], int]:
        """Per node what the landmarks of now measured, and for how long it counts; made anew when one changes."""
        surveys, nodes = self.surveys(), self.nodes()
        standing = tuple(
            (landmark, self.revisions.get((MEASURED, landmark), 0), sites[nodes[landmark].node.site].place)
            for landmark in self.landmarks() if landmark in surveys
        )  # fmt: skip
        if self.trips is None or self.trips[0] != standing:
            found: dict[NodeId, list[RoundTrip]] = {}
            for landmark, _, place in standing:
                of = surveys[landmark]
                for one in of.answered:
                    trip = RoundTrip(landmark=f"node/{landmark}", place=place, rtt_us=one.rtt_us, at_us=of.at_us)
                    found.setdefault(one.node, []).append(trip)
            self.trips = standing, {node: tuple(trips) for node, trips in found.items()}
        life_us = min((surveys[landmark].life_us for landmark, _, _ in standing), default=0)
        return self.trips[1], life_us

    def _as_offered(self, node: Node) -> Node:
        """The facts of a node with what it offers since its last start."""
        known = self.records[PRESENCE].get(node.id)
        said = known.message if known is not None else None
        if not isinstance(said, Presence) or said.capacity is None:
            return node
        if (said.capacity, said.gpus, said.overhead) == (node.capacity, node.gpus, node.overhead):
            return node
        return replace(node, capacity=said.capacity, gpus=said.gpus, overhead=said.overhead or Resources())

    def carbon_feed(self) -> CarbonFeed | None:
        """The forecast of carbon intensity that was brought in last."""
        return self.messages(FEEDS, CarbonFeed).get("carbon")

    def jobs(self) -> dict[WorkloadId, JobProgress]:
        """How far each job has come, as last written."""
        return {WorkloadId(key): record.progress for key, record in self.messages(JOBS, JobRecord).items()}

    def history(self) -> HistoryRecord | None:
        """What was seen of outages; None before anybody looked."""
        return self.messages(HISTORY, HistoryRecord).get("outages")

    def book(self) -> Book | None:
        """What work cost this month, as last written; None before anything was accounted."""
        records = self.messages(SPENDING, SpendRecord).values()
        if not records:
            return None
        start = max(record.period_start_us for record in records)
        current = [record for record in records if record.period_start_us == start]
        spent = {
            workload: Spent(money=row.money, carbon=row.carbon, run_us=row.run_us)
            for record in current
            for workload, row in record.workloads.items()
        }
        kept = {key: spent[key] for key in sorted(spent)}
        return Book(period_start_us=start, until_us=max(record.until_us for record in current), spent=kept)

    def node_key(self, node: NodeId) -> Mapping[str, bytes]:
        """The key a node seals with, as a trust map; empty for an unknown or revoked node."""
        known = self.records[NODES].get(node)
        if known is None or not isinstance(known.message, NodeRecord) or known.message.is_revoked:
            return {}
        return {envelope.key_id_of(known.message.public_key): known.message.public_key}

    def _judge_again(self, node: NodeId) -> None:
        """Entries of a node may have come before its key did: watches of different buckets keep no common order."""
        for (bucket, key), held in sorted(self.rejected.items()):
            if bucket in SEALED_BY_NODE and key.partition(".")[0] == node:
                del self.revisions[(bucket, key)]
                self.apply(held.entry)

    def _open(self, bucket: str, key: str, data: bytes) -> msgspec.Struct:
        if bucket in SEALED_BY_CONTROLLER:
            return envelope.open_sealed(data, SEALED_BY_CONTROLLER[bucket], self.trusted).message
        node = NodeId(key.partition(".")[0])
        message = envelope.open_sealed(data, SEALED_BY_NODE[bucket], self.node_key(node)).message
        if isinstance(message, Presence | Report) and message.node != node:
            raise SignatureError(f"{bucket}/{key} speaks for node {message.node}")
        return message


def certificate_of(record: CredentialRecord) -> str:
    """A credential as an operator's facts say it, ``name@YYYY-MM-DD``: until the day on which it ends begins."""
    return f"{record.certificate}@{to_datetime(record.valid_until_us).date().isoformat()}"


def _with_findings(node: Node, attested: Attested | None, measured: Measured | None) -> Node:
    if attested is None and measured is None:
        return node
    return replace(node, attested=attested, measured=measured)


def snapshot(
    state: FabricState, liveness: Liveness, config: ControlConfig, *, now: WallTime, mono: MonoTime
) -> Snapshot:
    """Freeze what is known into the one input of every decision."""
    fabric = state.fabric()
    nodes = state.nodes()
    feed = state.carbon_feed()
    at = Snapshot(
        at_us=now,
        fabric=fabric,
        reach={node: _reach(nodes[node], liveness.reach(node, mono)) for node in fabric.nodes},
        workloads=state.workloads(),
        running=_running(state),
        intensity_g_per_kwh=_intensity(feed, config.intensity_g_per_kwh, now),
        rtt_us=measured_trips(state.distances().values(), fabric.sites, config.rtt_us, now=now),
        gazetteer=config.gazetteer,
        policies=state.policies(),
        observed_down_ppm=observed_ppm(state.history(), fabric, config.placement),
        forecast={} if feed is None else feed.zones,
        forecast_error_permille=0 if feed is None else feed.error_permille,
    )
    return within_budgets(timed(at, state.jobs()), state.book(), state.namespaces(), config.placement)


def _intensity(feed: CarbonFeed | None, yearly: Mapping[str, int], now: WallTime) -> Mapping[str, int]:
    """What lasting work is judged by: the mean of the next day where the feed tells it, else the yearly mean.

    A single hour would have work follow the sun and move twice a day.
    """
    means = {} if feed is None else {z: mean_of(s, now=now, ahead_us=DAY_US) for z, s in feed.zones.items()}
    both = {**yearly, **{zone: mean for zone, mean in means.items() if mean is not None}}
    return {zone: both[zone] for zone in sorted(both)}


def _reach(record: NodeRecord, heard: Reach) -> Reach:
    if record.is_revoked:
        return Reach.REVOKED
    if record.is_draining and heard in (Reach.READY, Reach.SUSPECT):
        return Reach.DRAINING
    return heard


def _running(state: FabricState) -> tuple[Running, ...]:
    reports = state.reports()
    return tuple(_one_running(order, reports.get(instance)) for instance, order in sorted(state.orders().items()))


def _one_running(order: Order, report: Report | None) -> Running:
    return Running(
        instance=order.instance,
        workload=order.workload.id,
        node=order.node,
        ordinal=order.ordinal,
        spec_generation=order.workload.generation,
        phase=Phase.PENDING if report is None else report.phase,
        since_us=order.issued_us if report is None else report.since_us,
        is_wanted=order.wanted,
        reason=order.reason if report is None else report.reason,
    )
