"""What a scenario's plot can do and ask: deploy, cut, crash, wait for a state with a deadline, demand convergence.

`fabric + view -> plots`. Waiting is virtual and always bounded; what does not come about in time is a `Violation`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hanse.core.ids import InstanceId, NodeId, WorkloadId
from hanse.core.snapshot import Phase, Reach
from hanse.core.time import US_PER_S
from hanse.node.svid import BUCKET, KEY, StoredSvid
from hanse.twin.fabric import TwinFabric
from hanse.twin.faults import Fault
from hanse.twin.generate import component_of, function_text
from hanse.twin.ledger_rule import LedgerMonitor
from hanse.twin.view import View
from hanse.twin.world import Violation
from hanse.wire import canonical, envelope
from hanse.wire.messages import Order

LOOK_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A workload as a scenario deploys it."""

    name: str
    replicas: int
    is_fenced: bool = False
    max_unavailable: int = 1
    latency: str = ""
    """Its target as in a manifest, for example ``p99: 30ms, from: [Paris]``."""

    @property
    def id(self) -> WorkloadId:
        """Its id in the fabric."""
        return WorkloadId(f"twin.{self.name}")


CART = Work(name="cart", replicas=3)
TRIAGE = Work(name="triage", replicas=2, is_fenced=True)
TARIFF = Work(name="tariff", replicas=1)
USUAL = (CART, TRIAGE, TARIFF)


@dataclass(slots=True)
class Stage:
    """One run's handles."""

    fabric: TwinFabric
    view: View
    ledger: LedgerMonitor
    seconds: int | None = None
    """How long a scenario that can go on for any time should; None leaves it its own length."""
    figures: dict[str, int] = field(default_factory=dict)
    """What a scenario measured, for its report: virtual microseconds and counts, by name."""

    @property
    def now_us(self) -> int:
        """Virtual microseconds since the world began."""
        return self.fabric.world.now_us()

    # --- doing ---

    async def open(self, work: tuple[Work, ...] = USUAL) -> None:
        """Bring the fabric up, deploy, and wait until everything runs."""
        await self.fabric.deploy(self.fabric.text)
        await self.until("every node is ready", self._is_all_ready, within_s=30)
        for one in work:
            await self.deploy(one)
        await self.converge(within_s=30)

    async def deploy(self, work: Work, version: int = 1) -> None:
        """Submit one workload in one version."""
        text = function_text(
            work.name,
            replicas=work.replicas,
            max_unavailable=work.max_unavailable,
            version=version,
            is_fenced=work.is_fenced,
            latency=work.latency,
        )
        await self.fabric.deploy(text, {work.id: component_of(work.name, version)})

    def inject(self, fault: Fault) -> None:
        """Let a fault begin now."""
        self.fabric.world.inject(fault)

    def serving(self, work: Work) -> tuple[NodeId, ...]:
        """Nodes on which it really runs, in id order."""
        is_up = self.fabric.world.is_up
        return tuple(sorted(node for node, workload in self.view.loaded if workload == work.id and is_up(node)))

    # --- demanding ---

    async def until(self, what: str, is_so: Callable[[], bool], *, within_s: float) -> int:
        """Wait for a state; returns the virtual microseconds it took. Raises Violation if it does not come in time."""
        began = self.now_us
        while not is_so():
            if self.now_us - began > within_s * US_PER_S:
                raise Violation(f"after {within_s} s it is still not so that {what}")
            await asyncio.sleep(LOOK_S)
        return self.now_us - began

    async def converge(self, *, within_s: float) -> int:
        """Wait until what runs is what the plan holds and everything is reported and logged."""
        began = self.now_us
        while missing := self.unfinished():
            if self.now_us - began > within_s * US_PER_S:
                raise Violation(f"not converged after {within_s} s: " + "; ".join(missing[:5]))
            await asyncio.sleep(LOOK_S)
        return self.now_us - began

    @contextmanager
    def nothing_moves(self) -> Iterator[None]:
        """Demand that no plan is made, nothing stops and nothing starts while this lasts."""
        kinds = ("Planned", "Loaded", "Unloaded")
        before = {kind: self.view.counts[kind] for kind in kinds}
        yield
        moved = {kind: self.view.counts[kind] - before[kind] for kind in kinds}
        if any(moved.values()):
            plan = self.view.plan
            raise Violation(f"nothing should have moved: {moved}, last trigger {plan.trigger if plan else None!r}")

    def unfinished(self) -> list[str]:
        """Everything that still differs from what the plan, the specs and the books say."""
        view, plan = self.view, self.view.plan
        if plan is None:
            return ["there is no plan"]
        missing = [f"{w} is not planned" for w in view.workloads() if w not in plan.explanations]
        missing += [f"{u.workload} misses {u.missing} replicas" for u in plan.unplaced]
        if len([n for n, c in self.fabric.controllers.items() if c.lease.is_leader()]) != 1:
            missing.append("there is not one leader")
        missing += self._unserved()
        missing += self._surplus()
        missing += self._unbooked()
        missing += [f"{node} has no valid SVID" for node in self.fabric.node_ids if not self._has_svid(node)]
        return missing

    def _unserved(self) -> list[str]:
        view, missing = self.view, []
        assignments = view.plan.assignments if view.plan else ()
        jobs = {key for key, spec in view.workloads().items() if spec.job is not None}
        for a in assignments:
            if a.workload in jobs:
                missing.append(f"{a.workload} still runs")
                continue
            order, loaded = view.orders.get(a.instance), view.loaded.get((a.node, a.workload))
            report, wanted = view.reports.get(a.instance), view.workloads().get(a.workload)
            if order is None or not order.wanted or order.node != a.node:
                missing.append(f"{a.instance} is not ordered on {a.node}")
            elif loaded is None or wanted is None or loaded.workload != wanted:
                missing.append(f"{a.instance} does not run its spec on {a.node}")
            elif report is None or report.phase is not Phase.RUNNING:
                missing.append(f"{a.instance} runs on {a.node} and is not reported")
        for workload in sorted(view.workloads().keys() - jobs):
            route = view.routes.get(workload)
            nodes = sorted(a.node for a in assignments if a.workload == workload)
            if route is None or sorted(r.node for r in route.replicas) != nodes:
                missing.append(f"{workload} is not routed to {nodes}")
        return missing

    def _surplus(self) -> list[str]:
        view = self.view
        assignments = view.plan.assignments if view.plan else ()
        held, places = {a.instance for a in assignments}, {(a.node, a.workload) for a in assignments}
        missing = [
            f"{o.instance} is ordered on {o.node} beyond the plan"
            for o in view.orders.values()
            if _is_over(o.wanted, o.instance in held)
        ]
        return missing + [f"{w} runs on {n} beyond the plan" for n, w in sorted(view.loaded) if (n, w) not in places]

    def _unbooked(self) -> list[str]:
        """Orders and reports that are not in the books yet."""
        missing = []
        for instance, order in self.view.orders.items():
            report = self.view.reports.get(instance)
            if not order.wanted and (report is None or report.phase not in (Phase.STOPPED, Phase.SUCCEEDED)):
                missing.append(f"the stop of {instance} is not reported")
        for entry in self.fabric.world.kv.entries("orders", ""):
            if canonical.digest_bytes(entry.value or b"") not in self.ledger.orders:
                missing.append(f"the order at {entry.key} is not in the ledger")
            newest = self.view.last_orders.get(InstanceId(entry.key.partition(".")[2]))
            if newest is None or envelope.peek(entry.value or b"", Order).generation != newest.generation:
                missing.append(f"the order at {entry.key} is not the newest")
        return missing

    def _has_svid(self, node: NodeId) -> bool:
        entry = self.fabric.world.disk(node).get(BUCKET, KEY)
        if entry is None or entry.value is None:
            return False
        stored = canonical.decode(entry.value, StoredSvid)
        return stored.svid.not_after_us > self.fabric.world.wall(node)

    def _is_all_ready(self) -> bool:
        leader = self.fabric.leader()
        if leader is None:
            return False
        controller = self.fabric.controllers[leader]
        known = controller.state.nodes()
        return len(known) == len(self.fabric.node_ids) and all(
            controller.liveness.reach(node, self.fabric.world.now_us()) is Reach.READY for node in known
        )


def _is_over(is_wanted: bool, is_held: bool) -> bool:
    return is_wanted and not is_held
