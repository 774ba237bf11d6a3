"""What really is, seen from outside: everything written to the substrate and everything that runs, as it happens.

`writes, loads -> View`. Checkers judge by this and never by what a controller believes. It decodes each message once;
a list of events since the last look lets a checker see only what is new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from hanse.core.fabric import Fabric
from hanse.core.ids import InstanceId, NodeId, WorkloadId
from hanse.core.layer import Policy
from hanse.core.plan import Plan
from hanse.core.ports import Entry
from hanse.core.work import Workload
from hanse.twin.world import World
from hanse.wire import canonical, envelope
from hanse.wire.messages import Lease, NodeRecord, Order, PlanBody, PlanRecord, Report, RouteRecord, SpecRecord
from hanse.wire.subjects import LEASES, NODES, ORDERS, PLANS, REPORTS, ROUTES, SPECS


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A client's write arrived at the substrate, whether or not it then took effect."""

    by: str
    bucket: str
    key: str
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """An order was written; `before` is the one it replaced, `by` the machine that wrote it."""

    order: Order
    before: Order | None
    sealed: bytes
    by: str
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """The lease changed or was renewed."""

    lease: Lease
    before: Lease | None
    before_us: int
    """When `before` was written."""
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan was committed."""

    record: PlanRecord
    plan: Plan
    by: str
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsChanged:
    """A spec or a node's record changed or went: verdicts may differ from now on."""

    key: str
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A node serves a workload from now on; `before` is the generation it replaced there."""

    node: NodeId
    workload: Workload
    before: Workload | None
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unloaded:
    """A node stopped serving a workload of its own will: a crash is not this."""

    node: NodeId
    workload: Workload
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A node's report arrived; `before` is the one it replaced."""

    report: Report
    before: Report | None
    at_us: int


Event = Tried | Ordered | Reported | Leased | Planned | FactsChanged | Loaded | Unloaded


@dataclass(slots=True)
class View:
    """Latest levels, and the events that led to them. Observes `World.kv` and every runtime."""

    world: World
    events: list[Event] = field(default_factory=list)
    """Since the last batch; checkers see them, then they are dropped."""
    counts: Counter[str] = field(default_factory=Counter)
    """Events so far, by kind."""
    orders: dict[InstanceId, Order] = field(default_factory=dict)
    """Standing in the substrate."""
    last_orders: dict[InstanceId, Order] = field(default_factory=dict)
    """The newest ever written, deleted ones too."""
    stops: dict[InstanceId, int] = field(default_factory=dict)
    """When an order not to run was last written."""
    reports: dict[InstanceId, Report] = field(default_factory=dict)
    specs: dict[str, SpecRecord] = field(default_factory=dict)
    nodes: dict[NodeId, NodeRecord] = field(default_factory=dict)
    routes: dict[WorkloadId, RouteRecord] = field(default_factory=dict)
    plan: Plan | None = None
    lease: Lease | None = None
    leased_us: int = 0
    loaded: dict[tuple[NodeId, WorkloadId], Loaded] = field(default_factory=dict)
    """What runs; a crashed node runs nothing."""
    down_since: dict[NodeId, int] = field(default_factory=dict)
    """Crashed nodes, and when they crashed."""
    silent_since: dict[NodeId, int] = field(default_factory=dict)
    """Nodes that are down or cut off, and since when."""
    _ups: dict[NodeId, bool] = field(default_factory=dict)

    # --- levels derived ---

    def workloads(self) -> Mapping[WorkloadId, Workload]:
        """Accepted and not deleted, in id order."""
        live = [r.workload for r in self.specs.values() if r.workload is not None and not r.is_deleted]
        return {w.id: w for w in sorted(live, key=lambda w: w.id)}

    def fabric(self) -> Fabric:
        """Sites, operators and enrolled nodes as the specs say now."""
        live = [record for _, record in sorted(self.specs.items()) if not record.is_deleted]
        sites = {r.site.id: r.site for r in live if r.site is not None}
        operators = {r.operator.id: r.operator for r in live if r.operator is not None}
        nodes = {
            key: r.node
            for key, r in sorted(self.nodes.items())
            if r.node.site in sites and r.node.operator in operators and not r.is_revoked
        }
        jurisdictions = {r.jurisdiction.id: r.jurisdiction for r in live if r.jurisdiction is not None}
        return Fabric(sites=sites, operators=operators, nodes=nodes, jurisdictions=jurisdictions)

    def policies(self) -> tuple[Policy, ...]:
        """Layers of rules as the specs say now, in id order."""
        live = [r.policy for r in self.specs.values() if r.policy is not None and not r.is_deleted]
        return tuple(sorted(live, key=lambda policy: policy.id))

    # --- observing ---

    def note(self, event: Event) -> None:
        """Keep an event until the checkers have seen it."""
        self.events.append(event)
        self.counts[type(event).__name__] += 1

    def tried(self, by: str, bucket: str, key: str) -> None:
        """Note an attempt."""
        self.note(Tried(by=by, bucket=bucket, key=key, at_us=self.world.now_us()))

    def changed(self, by: str, entry: Entry) -> None:
        """Take a write in."""
        now = self.world.now_us()
        match entry.bucket:
            case bucket if bucket == ORDERS:
                self._order(by, entry, now)
            case bucket if bucket == REPORTS:
                instance = InstanceId(entry.key.partition(".")[2])
                before = self.reports.get(instance)
                self._level(self.reports, instance, entry, Report)
                if instance in self.reports:
                    self.note(Reported(report=self.reports[instance], before=before, at_us=now))
            case bucket if bucket == ROUTES:
                self._level(self.routes, WorkloadId(entry.key), entry, RouteRecord)
            case bucket if bucket == SPECS:
                self._level(self.specs, entry.key, entry, SpecRecord)
                self.note(FactsChanged(key=entry.key, at_us=now))
            case bucket if bucket == NODES:
                self._level(self.nodes, NodeId(entry.key), entry, NodeRecord)
                self.note(FactsChanged(key=entry.key, at_us=now))
            case bucket if bucket == PLANS and entry.value is not None:
                record = envelope.peek(entry.value, PlanRecord)
                self.plan = canonical.decode(self.world.artifacts.get(record.body), PlanBody).plan
                self.note(Planned(record=record, plan=self.plan, by=by, at_us=now))
            case bucket if bucket == LEASES and entry.value is not None:
                lease = envelope.peek(entry.value, Lease)
                self.note(Leased(lease=lease, before=self.lease, before_us=self.leased_us, at_us=now))
                self.lease, self.leased_us = lease, now
            case _:
                pass

    def loaded_on(self, node: NodeId) -> tuple[WorkloadId, ...]:
        """What a node serves, in id order."""
        return tuple(sorted(workload for at, workload in self.loaded if at == node))

    def look(self, nodes: tuple[NodeId, ...]) -> None:
        """Notice which nodes crashed, came back or were cut off since the last look."""
        for node in nodes:
            is_up = self.world.is_up(node)
            if is_up and self.world.is_wired(node):
                self.silent_since.pop(node, None)
            else:
                self.silent_since.setdefault(node, self.world.now_us())
            if is_up == self._ups.get(node, False):
                continue
            self._ups[node] = is_up
            if is_up:
                self.down_since.pop(node, None)
            else:
                self.down_since[node] = self.world.now_us()
                self.loaded = {place: one for place, one in self.loaded.items() if place[0] != node}

    def _order(self, by: str, entry: Entry, now: int) -> None:
        instance = InstanceId(entry.key.partition(".")[2])
        if entry.value is None:
            self.orders.pop(instance, None)
            return
        order = envelope.peek(entry.value, Order)
        if not by:
            return  # an intruder's: no controller said so
        before = self.last_orders.get(instance)
        self.orders[instance] = self.last_orders[instance] = order
        if not order.wanted:
            self.stops[instance] = now
        self.note(Ordered(order=order, before=before, sealed=entry.value, by=by, at_us=now))

    @staticmethod
    def _level(levels: dict, key: object, entry: Entry, kind: type) -> None:  # type: ignore[type-arg]
        if entry.value is None:
            levels.pop(key, None)
        else:
            levels[key] = envelope.peek(entry.value, kind)


class RuntimeWatch:
    """The half of the view that looks at runtimes."""

    def __init__(self, view: View) -> None:
        self._view = view

    def loaded(self, node: NodeId, workload: Workload) -> None:
        """A workload serves from now on."""
        view = self._view
        before = view.loaded.get((node, workload.id))
        event = Loaded(
            node=node,
            workload=workload,
            before=None if before is None else before.workload,
            at_us=view.world.now_us(),
        )
        view.loaded[node, workload.id] = event
        view.note(event)

    def unloaded(self, node: NodeId, workload: WorkloadId) -> None:
        """A workload was told to stop."""
        view = self._view
        was = view.loaded.pop((node, workload), None)
        if was is not None:
            view.note(Unloaded(node=node, workload=was.workload, at_us=view.world.now_us()))
