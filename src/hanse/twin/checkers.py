"""What must never be, judged after every batch of events on what really is: `View -> nothing | Violation`.

Each rule is one class that looks at single events, and once a virtual second at the whole. None of them asks a
controller or a node what it believes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hanse.core.ids import InstanceId, NodeId, WorkloadId
from hanse.core.snapshot import Phase
from hanse.core.time import US_PER_S
from hanse.policy import PackSet, Screening, VerdictCache, in_force, screen
from hanse.rollout import RolloutLimits
from hanse.twin.view import Event, FactsChanged, Leased, Ordered, Reported, Tried, Unloaded, View
from hanse.twin.world import Violation, World
from hanse.wire import envelope
from hanse.wire.messages import Order
from hanse.wire.subjects import ORDERS, PLANS, ROUTES

DETECTION_US = 10 * US_PER_S
"""A node that is down for less may still be counted on: silence 3 s, a broken link 4 s, one round, and slack."""
SILENT_US = 2_000_000
"""By then a controller has seen the silence: suspicion comes 1.5 s after the last heartbeat."""
ROUND_WAYS = 40
"""How many ways over the wire a controller's round may take from its snapshot to its last order."""
IN_FLIGHT_US = 2_500_000
"""A write sent before the lease went may arrive this much later: the client's deadline and the wire."""
SLACK_US = 20 * US_PER_S
"""Added to stated graces: rounds, retries and the way to the node and back."""
GONE_US = 60 * US_PER_S
"""Work of a deleted spec may run on this long while its node can be reached."""


class Rule(Protocol):
    """One thing that must hold."""

    def saw(self, event: Event, view: View) -> None:
        """Judge one event. Raises Violation."""
        ...

    def look(self, view: View) -> None:
        """Judge the whole, once a virtual second. Raises Violation."""
        ...


class Court:
    """Puts every event before every rule; a `Checker` of the world."""

    def __init__(self, view: View, rules: Sequence[Rule], nodes: tuple[NodeId, ...]) -> None:
        self._view = view
        self._rules = tuple(rules)
        self._nodes = nodes
        self._lives = -1
        self._due_us = 0

    def check(self, world: World) -> None:
        """Judge what happened since the last batch."""
        view = self._view
        if world.lives != self._lives:
            self._lives = world.lives
            view.look(self._nodes)
        if view.events:
            events, view.events = view.events, []
            for event in events:
                for rule in self._rules:
                    rule.saw(event, view)
        if world.now_us() >= self._due_us:
            self._due_us = world.now_us() + US_PER_S
            view.look(self._nodes)
            for rule in self._rules:
                rule.look(view)


class GenerationsGrow:
    """The generation of an instance's orders only grows, on one node, under the controllers' key; so does what a node
    answers to."""

    def __init__(self, key: bytes) -> None:
        self._trusted = {envelope.key_id_of(key): key}

    def saw(self, event: Event, view: View) -> None:
        """Judge each order and each report written."""
        if isinstance(event, Reported) and event.before is not None:
            new, old = event.report, event.before
            if new.generation < old.generation and new.phase is Phase.RUNNING:
                raise Violation(f"{new.node} runs {new.instance} under order {new.generation} after {old.generation}")
        if not isinstance(event, Ordered):
            return
        order, before = event.order, event.before
        envelope.open_sealed(event.sealed, Order, self._trusted)
        if before is None:
            return
        if order.generation <= before.generation:
            raise Violation(
                f"order {order.instance}: generation {order.generation} written over {before.generation} by {event.by}"
            )
        if order.node != before.node:
            raise Violation(f"instance {order.instance} went from {before.node} to {order.node}: ids are not reused")

    def look(self, view: View) -> None:
        """Nothing but events counts."""


class OneInstancePerPlace:
    """At most one instance is wanted per workload in one version, node and ordinal."""

    def saw(self, event: Event, view: View) -> None:
        """Judge each order written."""
        if not isinstance(event, Ordered) or not event.order.wanted:
            return
        new = event.order
        for other in view.orders.values():
            if other.instance != new.instance and other.wanted and _place(other) == _place(new):
                raise Violation(f"{new.instance} and {other.instance} are both wanted on {new.node}")

    def look(self, view: View) -> None:
        """Nothing but events counts."""


def _place(order: Order) -> tuple[WorkloadId, int, NodeId, int]:
    return order.workload.id, order.workload.generation, order.node, order.ordinal


class StopsNeedOrders:
    """A node stops work only under a signed order to stop, after its grant expired, or where policy denies it."""

    def __init__(self, lawful: Lawful) -> None:
        self._lawful = lawful

    def saw(self, event: Event, view: View) -> None:
        """Judge each unload."""
        if not isinstance(event, Unloaded) or event.workload.secrets:
            # The end of a secret's lease stops work, too; when that is, only the node knows.
            return
        node, workload = event.node, event.workload.id
        mine = [o for o in view.last_orders.values() if o.node == node and o.workload.id == workload]
        now = view.world.wall(node)
        standing = [o for o in mine if o.wanted and o.expires_us > now]
        is_told = any(o.instance in view.stops and event.at_us - view.stops[o.instance] < SLACK_US for o in mine)
        if standing and not is_told and self._lawful.is_allowed(workload, node):
            names = ", ".join(sorted(o.instance for o in standing))
            raise Violation(f"{node} stopped {workload} by itself: {names} is ordered to run and has not expired")

    def look(self, view: View) -> None:
        """Nothing but events counts."""


@dataclass(slots=True)
class Lawful:
    """Whatever runs is allowed by policy, or has not yet been denied for longer than its grace.

    The grace counts while the node can be told to stop: its wire carries and a controller is at work.
    """

    packs: PackSet
    guardrails: tuple[str, ...]
    controllers: tuple[str, ...]
    limits: RolloutLimits = field(default_factory=RolloutLimits)
    denied_us: dict[tuple[NodeId, WorkloadId], int] = field(default_factory=dict)
    """How long each running place has been denied, in virtual time."""
    _screening: Screening | None = None
    _cache: VerdictCache | None = None
    _is_stale: bool = True

    def saw(self, event: Event, view: View) -> None:
        """Facts make verdicts stale."""
        if isinstance(event, FactsChanged):
            self._is_stale = True
            self._refresh(view)

    def look(self, view: View) -> None:
        """Count the time of every place that is denied."""
        self._refresh(view)
        is_led = any(view.world.is_up(name) and view.world.is_wired(name) for name in self.controllers)
        denied: dict[tuple[NodeId, WorkloadId], int] = {}
        for node, workload in view.loaded:
            if self.is_allowed(workload, node):
                continue
            is_heard = is_led and view.world.is_wired(node)
            denied[node, workload] = self.denied_us.get((node, workload), 0) + (US_PER_S if is_heard else 0)
            is_known = self._screening is not None and workload in self._screening.workloads
            most = self.bound_us(workload, node) + SLACK_US if is_known else GONE_US
            if denied[node, workload] > most:
                raise Violation(f"{workload} runs on {node} for {denied[node, workload]} us after it lost its ground")
        self.denied_us = denied

    def bound_us(self, workload: WorkloadId, node: NodeId) -> int:
        """Within which time the denying rules want it gone: the strictest counts; else the domain's grace."""
        if self._screening is None or node not in self._screening.fabric.nodes:
            return self.limits.illegal_grace_us
        reasons = self._screening.of(workload, node).reasons
        bounds = [self.limits.illegal_grace_us if r.within_us is None else r.within_us for r in reasons]
        return min(bounds, default=self.limits.illegal_grace_us)

    def is_allowed(self, workload: WorkloadId, node: NodeId) -> bool:
        """Ask the current verdict; a workload that nobody wants, and a node that is not known, is denied."""
        screening = self._screening
        if screening is None or workload not in screening.workloads or node not in screening.fabric.nodes:
            return False
        return screening.allows(workload, node)

    def _refresh(self, view: View) -> None:
        now = view.world.true_wall()
        due = self._screening.next_change_us if self._screening is not None else None
        if not self._is_stale and (due is None or now < due):
            return
        self._is_stale = False
        packs, guardrails = in_force(self.packs, view.policies(), self.guardrails)
        self._screening = screen(view.workloads(), view.fabric(), packs, now, self._cache, guardrails=guardrails)
        self._cache = self._screening.cache


class DisruptionBudget:
    """Nothing is stopped on purpose below what the budget leaves, and never the last before another serves."""

    def __init__(self, lawful: Lawful) -> None:
        self._lawful = lawful

    def saw(self, event: Event, view: View) -> None:
        """Judge each order that turns a serving instance off."""
        if not isinstance(event, Ordered) or event.order.wanted or event.before is None or not event.before.wanted:
            return
        order = event.order
        workload = view.workloads().get(order.workload.id)
        report = view.reports.get(order.instance)
        if workload is None or view.plan is None or report is None or report.phase is not Phase.RUNNING:
            return
        record = view.nodes.get(order.node)
        explanation = view.plan.explanations.get(workload.id)
        if record is None or record.is_revoked or explanation is None:
            return
        wanted = explanation.replicas_wanted
        others = sum(self._serves(view, other.instance) for other in view.orders.values() if _is_peer(other, order))
        least = max(wanted - workload.disruption.max_unavailable, min(1, wanted))
        if others >= least or (not self._lawful.is_allowed(workload.id, order.node) and self._may_go(view, order)):
            return
        raise Violation(
            f"{order.instance} on {order.node} is stopped ({order.reason}): {others} of {wanted} others serve, "
            f"at least {least} must"
        )

    def look(self, view: View) -> None:
        """Nothing but events counts."""

    def _serves(self, view: View, instance: InstanceId) -> bool:
        order, report = view.orders[instance], view.reports.get(instance)
        down = view.down_since.get(order.node)
        is_there = down is None or view.world.now_us() - down < DETECTION_US
        return is_there and report is not None and report.phase is Phase.RUNNING

    def _may_go(self, view: View, order: Order) -> bool:
        """Illegal work goes after its replacement, after its grace, or at once where there is no legal home."""
        plan = view.plan
        has_home = plan is not None and any(a.workload == order.workload.id for a in plan.assignments)
        waited = self._lawful.denied_us.get((order.node, order.workload.id), 0)
        most = self._lawful.bound_us(order.workload.id, order.node)
        return not has_home or waited >= most - SLACK_US


def _is_peer(other: Order, order: Order) -> bool:
    return other.wanted and other.instance != order.instance and other.workload.id == order.workload.id


class SilenceStopsNothing:
    """No order to stop is written for a node that has not been heard for a while: it is told when it is back."""

    def saw(self, event: Event, view: View) -> None:
        """Judge each order that turns an instance off."""
        if not isinstance(event, Ordered) or event.order.wanted or event.before is None or not event.before.wanted:
            return
        node = event.order.node
        since, record = view.silent_since.get(node), view.nodes.get(node)
        is_silent = not (view.world.is_up(node) and view.world.is_wired(node))
        if since is None or not is_silent or (record is not None and record.is_revoked):
            return
        if event.at_us - since > SILENT_US + ROUND_WAYS * view.world.way_us(event.by):
            raise Violation(f"{event.order.instance} is stopped on {node}, silent for {event.at_us - since} us")

    def look(self, view: View) -> None:
        """Nothing but events counts."""


class OneLeader:
    """Only the holder of the lease acts, and it is not taken from a holder that renews."""

    def __init__(self, term_us: int) -> None:
        self._term_us = term_us
        self._since_us = 0

    def saw(self, event: Event, view: View) -> None:
        """Judge each change of the lease and each attempt to write what only leaders write."""
        if isinstance(event, Leased):
            self._leased(event)
        elif isinstance(event, Tried) and event.bucket in (ORDERS, PLANS, ROUTES):
            holder = None if view.lease is None else view.lease.holder
            if event.by != holder and event.by and event.at_us - self._since_us > IN_FLIGHT_US:
                raise Violation(
                    f"{event.by} writes {event.bucket}/{event.key} in the term of {holder or 'nobody'}, which "
                    f"began {event.at_us - self._since_us} us before"
                )

    def look(self, view: View) -> None:
        """Nothing but events counts."""

    def _leased(self, event: Leased) -> None:
        lease, before = event.lease, event.before
        if before is None or lease.holder == before.holder:
            if before is not None and lease.term != before.term:
                raise Violation(f"{lease.holder} went from term {before.term} to {lease.term} without losing the lease")
            self._since_us = self._since_us if before is not None else event.at_us
            return
        self._since_us = event.at_us
        if lease.holder and lease.term != before.term + 1:
            raise Violation(f"term {lease.term} of {lease.holder} follows term {before.term} of {before.holder}")
        if before.holder and lease.holder and event.at_us - event.before_us < self._term_us:
            raise Violation(
                f"{lease.holder} took the lease {event.at_us - event.before_us} us after {before.holder} renewed it"
            )
