"""The way of one change, from what is known to signed orders: DESIGN section 4, line by line.

`decide` is pure: snapshot in, decision out. `Pipeline` takes the snapshot, asks, and commits by compare-and-swap:
between the snapshot and the finished decision nothing is awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from hanse.control import memory, orders, revocations, routes
from hanse.control.accounting import records_of
from hanse.control.basis import Basis
from hanse.control.config import ControlConfig
from hanse.control.datasets import with_data
from hanse.control.history import watched
from hanse.control.improving import Think, look_for_better, pays
from hanse.control.jobs import advanced
from hanse.control.liveness import Liveness
from hanse.control.state import FabricState, snapshot
from hanse.control.writing import write
from hanse.core.errors import ConflictError, HanseError
from hanse.core.ids import NodeId, WorkloadId, ordinal_of
from hanse.core.plan import Assignment, Plan
from hanse.core.ports import ControlPorts
from hanse.core.rng import Rng
from hanse.core.snapshot import Phase, Reach, Snapshot
from hanse.core.time import WallTime
from hanse.core.work import DataSet, Workload
from hanse.placement import Finding, Kept, accrued, audit, is_same, replan, with_input, with_measured_demand
from hanse.placement.solvers import Watch
from hanse.policy import PackSet, Screening, VerdictCache, facts_at, in_force, screen, turned
from hanse.rollout import Hold, Start, Step, Stop, next_steps
from hanse.wire import canonical, envelope
from hanse.wire.messages import JobRecord, Order, PlanBody, PlanRecord, RouteRecord
from hanse.wire.subjects import (
    HISTORY,
    JOBS,
    ORDERS,
    PLANS,
    REPORTS,
    REVOCATIONS,
    ROUTES,
    SPECS,
    SPENDING,
    TRUST,
    instance_key,
)

log = structlog.get_logger("control")


_OVER = (Phase.STOPPED, Phase.SUCCEEDED)
TIME_PASSES = "time passes"
"""The trigger of a round that nothing but the clock began."""


class LeaseLost(HanseError):
    """Raised when the lease ran out in the middle of a round: the rest of it is the next leader's."""

    code = "lease.lost"
    retry = True


class PlanRejected(HanseError):
    """Raised when the auditor finds fault with a finished plan: a bug in hanse; the plan is not committed."""

    code = "plan.rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from one snapshot."""

    snapshot: Snapshot
    verdicts: Screening
    plan: Plan
    is_new: bool
    findings: tuple[Finding, ...]
    kept: Kept | None
    """For the next decision, which takes it over; None where that has to begin anew."""
    packs: PackSet
    guardrails: tuple[str, ...]
    """The domain's own, before the layers of the snapshot were laid over them."""


def decide(
    at: Snapshot,
    parent: Plan | None,
    packs: PackSet,
    cache: VerdictCache | None,
    config: ControlConfig,
    *,
    now: WallTime,
    trigger: str,
    last: Screening | None = None,
    before: Decision | None = None,
    proposal: Plan | None = None,
) -> Decision:
    """Screen, plan and audit. The parent stands unless the new plan differs from it in what runs where.

    `before` is the last decision of whoever decides again and again: where nothing changed since that anything here
    reads, its plan stands without a look at policy or placement; else its plan is taken on from where it stood. `last`
    is the screening that the parent was made on, where it is known: what lost its ground since then says why, in the
    plan's trigger and in the reasons of each denied place. `proposal` is what the global solver found; it is taken
    where it pays (`hanse.control.improving`).
    """
    if before is not None and proposal is None and _stands(before, at, parent, packs, config, now=now):
        return replace(before, snapshot=at, is_new=False, findings=())
    laid, guardrails = in_force(packs, at.policies, config.guardrails)
    verdicts = screen(at.workloads, at.fabric, laid, now, cache, guardrails=guardrails)
    lost = turned(last, verdicts, running_pairs(at))
    verdicts = replace(verdicts, turned=lost)
    fresh_causes = sorted({one for pair, why in lost.items() for one in why if last and pair not in last.turned})
    trigger = "; ".join([*([trigger] if trigger != TIME_PASSES or not fresh_causes else []), *fresh_causes])
    # A proposal is weighed against a whole plan: one that answered an event looked for no gain.
    fresh, kept = replan(
        before.kept if before is not None and proposal is None else None,
        at,
        verdicts,
        parent,
        now=now,
        rng=Rng(config.seed),
        trigger=trigger,
        settings=config.placement,
    )
    if proposal is not None and pays(proposal, fresh, config.placement):
        return _taken(_by_rules(proposal, laid, guardrails), at, verdicts, packs=packs, guardrails=config.guardrails)
    is_new = parent is None or _substance(fresh) != _substance(parent)
    chosen = _by_rules(fresh, laid, guardrails) if is_new or parent is None else parent
    findings = audit(chosen, at, verdicts) if is_new else ()
    return Decision(
        snapshot=at,
        verdicts=verdicts,
        plan=chosen,
        is_new=is_new,
        findings=findings,
        kept=kept.adopted(chosen),
        packs=packs,
        guardrails=config.guardrails,
    )


def _by_rules(plan: Plan, packs: PackSet, guardrails: tuple[str, ...]) -> Plan:
    """The plan with a digest of the packs, layers and guardrails that were in force for it."""
    policies = canonical.digest_of([packs.digest, list(guardrails)])
    return with_input(plan, "policies", policies)


def _taken(
    proposal: Plan, at: Snapshot, verdicts: Screening, *, packs: PackSet, guardrails: tuple[str, ...]
) -> Decision:
    """The proposal as the decision; what was kept describes another plan."""
    return Decision(
        snapshot=at, verdicts=verdicts, plan=proposal, is_new=True, findings=audit(proposal, at, verdicts), kept=None,
        packs=packs, guardrails=guardrails,
    )  # fmt: skip


def _stands(
    before: Decision, at: Snapshot, parent: Plan | None, packs: PackSet, config: ControlConfig, *, now: WallTime
) -> bool:
    """Tell whether deciding again would read what the last decision read."""
    verdicts = before.verdicts
    is_dated = verdicts.next_change_us is not None and verdicts.next_change_us <= now
    return (
        before.plan is parent
        and before.kept is not None
        and before.packs is packs
        and before.guardrails == config.guardrails
        and before.snapshot.policies == at.policies
        and not is_dated
        and not before.kept.is_due(now)
        and is_same(before.snapshot, at)
    )


class Pipeline:
    """Carries decisions out, as the leader."""

    def __init__(
        self,
        ports: ControlPorts,
        config: ControlConfig,
        state: FabricState,
        liveness: Liveness,
        packs: PackSet,
        *,
        may_act: Callable[[], bool],
    ) -> None:
        self._ports = ports
        self._config = config
        self._state = state
        self._liveness = liveness
        self._packs = packs
        self._may_act = may_act
        self._last: Screening | None = None
        """What the last round screened; kept where its plan was not committed, for verdicts do not depend on it."""
        self._basis = Basis(ports, config)
        self._plan: Plan | None = None
        self._decision: Decision | None = None
        """The last decision, from which the next one goes on."""
        self.proposal: Plan | None = None
        """What the global solver found; the next round takes or drops it."""
        self.holds: tuple[Hold, ...] = ()
        """What the last round did not do, and why: shown by `hanse get`."""

    @property
    def packs(self) -> PackSet:
        """The packs of this domain, without the policies that were submitted to it."""
        return self._packs

    @property
    def cache(self) -> VerdictCache | None:
        """Verdicts by class of the last screening, shared with the API's previews."""
        return None if self._last is None else self._last.cache

    def rules(self, at: Snapshot) -> tuple[PackSet, tuple[str, ...]]:
        """The rules in force and what binds which namespace, submitted policies included."""
        return in_force(self._packs, at.policies, self._config.guardrails)

    def snapshot(self) -> Snapshot:
        """Freeze what is known now."""
        clock = self._ports.clock
        at = snapshot(self._state, self._liveness, self._config, now=clock.wall(), mono=clock.monotonic())
        return self.with_data(at, self._state.datasets())

    def with_data(self, at: Snapshot, datasets: Mapping[str, DataSet]) -> Snapshot:
        """Give work the data sets it reads, as the law is at the snapshot's moment, and the demand measured for it."""
        at = with_measured_demand(at, self._state.demand())
        return with_data(at, datasets, lambda names: facts_at(self._packs.facts, at.at_us).expand(names))

    def watch(self) -> Watch:
        """How long the global solver may think from now on."""
        clock = self._ports.clock
        return Watch(clock_us=clock.monotonic, until_us=clock.monotonic() + self._config.solve_most_us)

    async def current_plan(self) -> Plan | None:
        """The committed plan, read from the blobs if this controller has not got it yet."""
        record = self._state.plan_record()
        if record is None:
            return None
        if self._plan is None or self._plan.id != record.plan:
            body = await self._ports.blobs.get(record.body)
            self._plan = canonical.decode(body, PlanBody).plan
        return self._plan

    async def improve(self, think: Think) -> bool:
        """Look for a better plan with the global solver. Returns whether there is one for the next round to judge."""
        parent = await self.current_plan()
        if parent is None:
            return False
        at, packs, cache, config = self.snapshot(), self._packs, self.cache, self._config
        found = await think(lambda: look_for_better(at, parent, packs, cache, config, watch=self.watch()))
        has_moved = _substance(found) != _substance(parent)
        self.proposal = found if has_moved else None
        return has_moved

    async def run_once(self, trigger: str) -> None:
        """One round: decide, commit the plan, order the next steps, publish routes, renew and tidy.

        Raises PlanRejected, ConflictError (somebody else wrote: the next round starts from what stands) or StoreError.
        """
        await self._publish_revocations()
        parent = await self.current_plan()
        if parent is not None and await self._restore_orders(parent):
            return  # these orders enter the ledger before anything follows from them
        if self._last is None:
            self._last = await self._basis.recall(self.snapshot())
        await self._advance_jobs()
        before, self._decision = self._decision, None
        with memory.undisturbed():
            at = self.snapshot()
            decision = decide(
                at, parent, self._packs, self.cache, self._config, now=at.at_us, trigger=trigger,
                before=before, last=self._last, proposal=self.proposal,
            )  # fmt: skip
        self.proposal = None
        self._last = decision.verdicts
        if decision.findings:
            first = decision.findings[0]
            raise PlanRejected(
                f"the auditor found {len(decision.findings)} faults in plan {decision.plan.id}, first: {first}",
                hint="this is a bug in hanse: the plan was not committed; please report it",
            )
        if decision.is_new:
            await self._commit(decision.plan)
            is_whole = decision.kept is None or not decision.kept.has_events
            if is_whole and len(decision.plan.assignments) >= memory.LARGE_PLAN:
                memory.settle()
        self._decision = decision
        steps = next_steps(decision.plan, at, at.workloads, limits=self._config.rollout, now=at.at_us)
        await self._order(steps, decision.plan, at)
        await self._publish_routes(at)
        await self._renew_orders(at, decision.verdicts)
        await self._tidy(at)
        await self._account(at)
        await self._watch_outages(at)
        self._refuse_without_lease()
        await self._basis.keep(at, decision.verdicts)

    async def _advance_jobs(self) -> None:
        """Write how far jobs have come, before anything is decided by it; those of specs that are gone go, too."""
        known = self._state.jobs()
        if not known and all(spec.job is None for spec in self._state.workloads().values()):
            return
        at = self.snapshot()
        packs, guardrails = self.rules(at)
        news = advanced(self._state, at, packs, self.cache, guardrails=guardrails, config=self._config)
        for workload, progress in news.items():
            await self._write(JOBS, workload, envelope.seal(JobRecord(progress=progress), self._ports.signer))
            log.info("job", workload=workload, state=progress.state.value, why=progress.why, late=progress.late)
        kept = self._state.workloads(with_deleted=True)
        for workload in sorted(known):
            if workload not in kept:
                await self._delete(JOBS, workload)

    async def _account(self, at: Snapshot) -> None:
        """Bring the book of spending up, once in a while; it is written before anything is decided by it."""
        book = self._state.book()
        if book is not None and at.at_us - book.until_us < self._config.account_every_us:
            return
        if book is None and not at.running:
            return
        now = accrued(book, at, settings=self._config.placement)
        for namespace, record in records_of(now, at.workloads).items():
            await self._write(SPENDING, namespace, envelope.seal(record, self._ports.signer))

    async def _watch_outages(self, at: Snapshot) -> None:
        """Bring the history of outages up, as often as the book."""
        record, every_us = self._state.history(), self._config.account_every_us
        if record is not None and at.at_us - record.until_us < every_us:
            return
        seen = watched(record, at, every_us=every_us)
        await self._write(HISTORY, "outages", envelope.seal(seen, self._ports.signer))

    async def _publish_revocations(self) -> None:
        """Tell peers and the substrate whom to refuse; before anything that may fail, for it waits on no plan."""
        wanted = revocations.wanted_revocations(self._state.nodes(), self._state.revocations())
        if wanted is not None:
            await self._write(TRUST, REVOCATIONS, envelope.seal(wanted, self._ports.signer))
            log.info("revocations.published", generation=wanted.generation, nodes=[one.node for one in wanted.nodes])

    async def _restore_orders(self, standing: Plan) -> bool:
        """Issue anew what nodes say they run and no order is left for: a store may lose a key, or come from a backup.

        Without an order nobody would ever renew or stop that work. What becomes of it is the next round's business.
        Returns whether any was issued.
        """
        ordered, reports = self._state.orders(), sorted(self._state.reports().items())
        lost = [(key, report) for key, report in reports if report.phase is Phase.RUNNING and key not in ordered]
        if not lost:
            return False
        at = self.snapshot()
        restored = 0
        for instance, report in lost:
            workload, node = at.workloads.get(report.workload), report.node
            if workload is None or at.reach.get(node) in (None, Reach.REVOKED):
                continue
            assignment = Assignment(
                instance=instance,
                workload=workload.id,
                ordinal=ordinal_of(instance),
                node=node,
                spec_generation=workload.generation,
            )
            step = Start(assignment=assignment, reason=f"node {node} runs {instance}, whose order was lost")
            life_us = self._config.order_lifetime_us
            above = orders.last_generation(None, report)
            await self._write_order(
                orders.order_to_start(
                    step, workload, at.fabric, standing.id, above, now=at.at_us, lifetime_us=life_us,
                    policies=at.policies,
                )
            )  # fmt: skip
            restored += 1
        return restored > 0

    async def _commit(self, fresh: Plan) -> None:
        body = await self._ports.blobs.put(canonical.encode(PlanBody(plan=fresh)))
        record = PlanRecord(
            plan=fresh.id,
            parent=fresh.parent,
            generation=fresh.generation,
            body=body,
            controller=self._config.id,
            committed_us=self._ports.clock.wall(),
        )
        await self._write(PLANS, "current", envelope.seal(record, self._ports.signer))
        self._plan = fresh
        log.info("plan.committed", plan=fresh.id, generation=fresh.generation, trigger=fresh.trigger)

    async def _order(self, steps: tuple[Step, ...], chosen: Plan, at: Snapshot) -> None:
        standing, reports, jobs = self._state.orders(), self._state.reports(), self._state.jobs()
        holds: list[Hold] = []
        specs = self._state.workloads()
        for step in steps:
            match step:
                case Start():
                    workload = _as_stated(at.workloads[step.assignment.workload], specs)
                    instance = step.assignment.instance
                    job = jobs.get(workload.id)
                    order = orders.order_to_start(
                        step,
                        workload,
                        at.fabric,
                        chosen.id,
                        orders.last_generation(standing.get(instance), reports.get(instance)),
                        now=at.at_us,
                        lifetime_us=self._config.order_lifetime_us,
                        policies=at.policies,
                        checkpoint=b"" if job is None or job.generation != workload.generation else job.checkpoint,
                    )
                    await self._write_order(order)
                case Stop():
                    order = orders.order_to_stop(
                        step,
                        standing[step.instance],
                        orders.last_generation(standing[step.instance], reports.get(step.instance)),
                        chosen.id,
                        now=at.at_us,
                        lifetime_us=self._config.order_lifetime_us,
                    )
                    await self._write_order(order)
                case Hold():
                    holds.append(step)
        self.holds = tuple(holds)

    async def _write_order(self, order: Order) -> None:
        await self._write(ORDERS, instance_key(order.node, order.instance), envelope.seal(order, self._ports.signer))
        log.info("order", instance=order.instance, node=order.node, wanted=order.wanted, reason=order.reason)

    async def _publish_routes(self, at: Snapshot) -> None:
        standing = self._state.messages(ROUTES, RouteRecord)
        wanted = routes.wanted_routes(self._state, at, self._liveness)
        for workload, record in sorted(wanted.items()):
            if standing.get(workload) != record:
                await self._write(ROUTES, workload, envelope.seal(record, self._ports.signer))
        for key in sorted(set(standing) - set(wanted)):
            await self._delete(ROUTES, key)

    async def _renew_orders(self, at: Snapshot, verdicts: Screening) -> None:
        """Issue anew what runs out, what a store spoilt, and what other policies bind than the order says."""
        now = at.at_us
        reports, life_us = self._state.reports(), self._config.order_lifetime_us
        for instance, order in sorted(self._state.orders().items()):
            report = reports.get(instance)
            is_due = orders.is_due_for_renewal(order, report, now=now, renew_us=self._config.order_renew_us)
            # What lost its ground leaves as the rules' bounds and its replacement allow: a node that had the new policy
            # would stop it at once.
            may_stay = (
                order.workload.id in at.workloads
                and order.node in at.fabric.nodes
                and (verdicts.allows(order.workload.id, order.node))
            )
            bound = orders.policies_for(at.policies, order.workload.namespace) if may_stay else order.policies
            is_stale = order.wanted and order.policies != bound
            if is_due or is_stale or self._state.is_spoiled(ORDERS, instance_key(order.node, instance)):
                above = orders.last_generation(order, report)
                await self._write_order(
                    orders.order_renewed(order, above, now=now, lifetime_us=life_us, policies=bound)
                )

    async def _tidy(self, at: Snapshot) -> None:
        """Purge what is over: stopped instances after a while, deleted specs once nothing of them runs."""
        left = {one.workload for one in at.running if one.is_wanted or one.phase not in _OVER}
        for one in at.running:
            is_over = not one.is_wanted and one.phase in _OVER
            is_gone = not one.is_wanted and at.reach.get(one.node) in (None, Reach.REVOKED)
            if (is_over and at.at_us - one.since_us >= self._config.stopped_keep_us) or is_gone:
                key = instance_key(one.node, one.instance)
                await self._delete(ORDERS, key)
                await self._delete(REPORTS, key)
        for key, record in self._state.specs().items():
            if record.is_deleted and record.workload is not None and record.workload.id not in left:
                await self._delete(SPECS, key)

    async def _write(self, bucket: str, key: str, value: bytes) -> None:
        self._refuse_without_lease()
        await write(self._ports.store, self._state, bucket, key, value)

    def _refuse_without_lease(self) -> None:
        """A round may outlast the lease; whoever took it over decides anew from what stands."""
        if not self._may_act():
            raise LeaseLost("the lease ran out during a round")

    async def _delete(self, bucket: str, key: str) -> None:
        self._refuse_without_lease()
        try:
            await self._ports.store.delete(bucket, key, self._state.revision(bucket, key) or None)
        except ConflictError:
            return  # it was written again meanwhile: the watch brings it, the next round looks at it


def _as_stated(workload: Workload, specs: Mapping[WorkloadId, Workload]) -> Workload:
    """A workload with the demand that its owner states: where it enters is nothing to a node, and changes no order."""
    spec = specs.get(workload.id)
    return workload if spec is None or spec.slo == workload.slo else replace(workload, slo=spec.slo)


def running_pairs(at: Snapshot) -> tuple[tuple[WorkloadId, NodeId], ...]:
    """What is meant to run where, in order."""
    wanted = {(one.workload, one.node) for one in at.running if one.is_wanted and one.workload in at.workloads}
    return tuple(sorted(wanted))


def _substance(of: Plan) -> tuple[object, ...]:
    """What a plan changes in the world: where things run and what could not be placed."""
    return (of.assignments, tuple((u.workload, u.missing) for u in of.unplaced), tuple(sorted(of.explanations)))
