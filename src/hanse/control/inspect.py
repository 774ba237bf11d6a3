"""Views made from the controller's caches: pure reading, no waiting."""

from __future__ import annotations

import msgspec

from hanse.control.accounting import namespace_outlook, outlook_of
from hanse.control.accounts import NOTHING
from hanse.control.controller import Controller
from hanse.control.views import (
    ExplainView,
    InstanceView,
    JobView,
    JurisdictionView,
    NamespaceView,
    NodeView,
    OperatorView,
    PlanView,
    SiteView,
    StatusView,
    TopRow,
    UsageView,
    WorkloadDetail,
    WorkloadView,
)
from hanse.core.fabric import Resources
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.plan import Explanation, Plan
from hanse.core.snapshot import Phase, Reach, Snapshot
from hanse.core.work import Workload
from hanse.placement import Outlook
from hanse.policy import attested_at, control_reach, facts_at, in_union, key_reach, measured_at, secnumcloud
from hanse.wire.messages import Presence, RouteRecord, StatsReply
from hanse.wire.subjects import PRESENCE, ROUTES

_WELL = ("running", "waiting", "paused", "succeeded")
"""States in which all is as it should be."""


def totals(explanation: Explanation | None) -> tuple[int, int, int | None]:
    """Money (microeur) and carbon (micrograms) per month of the chosen nodes, and the worst latency (us) among them."""
    if explanation is None:
        return 0, 0, None
    scores = [c.score for c in explanation.candidates if c.is_chosen and c.score is not None]
    worst = max((s.latency_us for s in scores), default=None)
    return sum(s.money_microeur for s in scores), sum(s.carbon_ug for s in scores), worst


def status(controller: Controller, version: str, plan: Plan | None) -> StatusView:
    """The fabric at a glance."""
    at = controller.pipeline.snapshot()
    lease = controller.lease.holder
    views = workloads(controller, plan)
    return StatusView(
        domain=controller.config.domain,
        version=version,
        controller=controller.config.id,
        leader="" if lease is None else lease.holder,
        leader_api="" if lease is None else lease.api,
        term=0 if lease is None else lease.term,
        is_leader=controller.lease.is_leader(),
        is_caught_up=controller.is_caught_up,
        is_connected=controller.is_connected,
        plan=None if plan is None else plan.id,
        plan_generation=0 if plan is None else plan.generation,
        nodes_ready=sum(reach is Reach.READY for reach in at.reach.values()),
        nodes=len(at.reach),
        workloads=len(views),
        workloads_running=sum(view.status in _WELL for view in views),
        holds=tuple(hold.reason for hold in controller.pipeline.holds),
        rejected={f"{b}/{k}": r.reason for (b, k), r in sorted(controller.state.rejected.items())},
        ledger_size=controller.journal.size,
    )


def nodes(controller: Controller) -> tuple[NodeView, ...]:
    """Every enrolled node."""
    at = controller.pipeline.snapshot()
    return tuple(_node(controller, at, node) for node in at.fabric.nodes)


def instances(controller: Controller, workload: WorkloadId | None = None) -> tuple[InstanceView, ...]:
    """Every instance that was ordered and is not yet purged."""
    reports = controller.state.reports()
    views = []
    for instance, order in sorted(controller.state.orders().items()):
        if workload is not None and order.workload.id != workload:
            continue
        report = reports.get(instance)
        views.append(
            InstanceView(
                id=instance,
                workload=order.workload.id,
                node=order.node,
                ordinal=order.ordinal,
                spec_generation=order.workload.generation,
                wanted=order.wanted,
                phase=(Phase.PENDING if report is None else report.phase).value,
                since_us=order.issued_us if report is None else report.since_us,
                code="" if report is None else report.code,
                reason="" if report is None else report.reason,
                order_reason=order.reason,
                order_generation=order.generation,
                order_expires_us=order.expires_us,
                plan=order.plan,
                isolation=order.workload.isolation.value,
            )
        )
    return tuple(views)


def workloads(controller: Controller, plan: Plan | None) -> tuple[WorkloadView, ...]:
    """Every accepted workload, those being deleted included."""
    at = controller.pipeline.snapshot()
    found = controller.state.workloads(with_deleted=True)
    return tuple(_workload(controller, at, workload, plan) for workload in found.values())


def workload_detail(controller: Controller, workload: WorkloadId, plan: Plan | None) -> WorkloadDetail | None:
    """Everything about one workload; None if there is none of that id."""
    for record in controller.state.specs().values():
        if record.workload is None or record.workload.id != workload:
            continue
        at = controller.pipeline.snapshot()
        view = explain(workload, plan)
        return WorkloadDetail(
            summary=_workload(controller, at, record.workload, plan),
            spec=msgspec.to_builtins(record.workload),
            accepted_us=record.accepted_us,
            accepted_by=record.accepted_by,
            instances=instances(controller, workload),
            explanation=view.explanation,
            unplaced=view.unplaced,
            holds=tuple(h.reason for h in controller.pipeline.holds if h.workload == workload),
        )
    return None


def explain(workload: WorkloadId, plan: Plan | None) -> ExplainView:
    """The committed plan's reasons for one workload."""
    unplaced = None if plan is None else next((u for u in plan.unplaced if u.workload == workload), None)
    return ExplainView(
        workload=workload,
        plan="" if plan is None else plan.id,
        plan_generation=0 if plan is None else plan.generation,
        trigger="" if plan is None else plan.trigger,
        explanation=None if plan is None else plan.explain(workload),
        unplaced=unplaced,
        changes=() if unplaced is None else unplaced.changes,
    )


def jobs(controller: Controller) -> tuple[JobView, ...]:
    """Every job that is not being deleted: when it runs and how far it has come."""
    at = controller.pipeline.snapshot()
    views = (_job(controller, at, spec) for spec in at.workloads.values())
    return tuple(view for view in views if view is not None)


def namespaces(controller: Controller) -> tuple[NamespaceView, ...]:
    """Every namespace that has a budget."""
    at, book = controller.pipeline.snapshot(), controller.state.book()
    views = []
    for one in controller.state.namespaces().values():
        pooled, each = namespace_outlook(one, at, book, controller.config.placement)
        views.append(
            NamespaceView(
                id=one.id,
                workloads=tuple(each),
                cost_microeur_month=one.budget.cost_microeur_month,
                carbon_ug_month=one.budget.carbon_ug_month,
                rule=one.budget.rule.value,
                spending=pooled,
            )
        )
    return tuple(views)


def plans(plan: Plan | None) -> tuple[PlanView, ...]:
    """The committed plan in brief; empty before the first one."""
    if plan is None:
        return ()
    view = PlanView(
        id=plan.id,
        parent=plan.parent,
        generation=plan.generation,
        created_us=plan.created_us,
        trigger=plan.trigger,
        replicas=len(plan.assignments),
        missing=sum(one.missing for one in plan.unplaced),
        workloads=len(plan.explanations),
        nodes=len({a.node for a in plan.assignments}),
        objective_microeur=plan.objective_microeur,
        bound_microeur=plan.bound_microeur,
        inputs=plan.inputs,
    )
    return (view,)


def operators(controller: Controller) -> tuple[OperatorView, ...]:
    """Every operator, whose law reaches it, its keys and its support, and its levels."""
    at = controller.pipeline.snapshot()
    fabric = at.fabric
    is_inside = in_union(facts_at(controller.pipeline.packs.facts, at.at_us))
    return tuple(
        OperatorView(
            id=operator.id,
            name=operator.name,
            seat=operator.seat,
            control=tuple(control_reach(operator, fabric.operators)),
            seal=operator.seal,
            cada=operator.cada,
            services={
                offer.name: {**operator.serving(offer.name).seal, "cada": operator.serving(offer.name).cada}
                for offer in operator.offers
            },
            keys=key_reach(operator, fabric.operators),
            support=tuple(operator.support),
            secnumcloud=secnumcloud(operator, fabric.operators, is_inside),
            verified=operator.verified,
            nodes=tuple(n.id for n in fabric.nodes.values() if n.operator == operator.id),
        )
        for operator in fabric.operators.values()
    )


def sites(controller: Controller) -> tuple[SiteView, ...]:
    """Every site."""
    at = controller.pipeline.snapshot()
    fabric, measured = at.fabric, at.rtt_us
    return tuple(
        SiteView(
            id=site.id,
            city=site.place.city,
            country=site.country,
            latitude_deg=site.place.latitude_deg,
            longitude_deg=site.place.longitude_deg,
            grid_zone=site.grid_zone,
            nodes=tuple(n.id for n in fabric.nodes.values() if n.site == site.id),
            measured_us={
                other: at.round_trip_us(site.id, other) or 0
                for other in sorted(
                    {*(a for a, b in measured if b == site.id), *(b for a, b in measured if a == site.id)}
                )
                if other in fabric.sites
            },
        )
        for site in fabric.sites.values()
    )


def jurisdictions(controller: Controller) -> tuple[JurisdictionView, ...]:
    """Every country that a site lies in or that anything is stated of, as a failure domain."""
    at = controller.pipeline.snapshot()
    stated, sites = at.fabric.jurisdictions, at.fabric.sites.values()
    found = []
    for country in sorted({*stated, *(site.country for site in sites)}):
        seen, said = at.observed_down_ppm.get(f"country/{country}"), stated.get(country)
        assumed = controller.config.placement.jurisdiction_down_ppm
        down_ppm = seen if seen is not None else assumed if said is None else said.down_ppm
        found.append(
            JurisdictionView(
                id=country,
                sites=tuple(site.id for site in sites if site.country == country),
                down_ppm=down_ppm,
                source="observed" if seen is not None else "assumed" if said is None else "stated",
            )
        )
    return tuple(found)


def usage(controller: Controller) -> tuple[UsageView, ...]:
    """What workloads took, as nodes accounted for it, and where their requests enter, as fronts count."""
    entering: dict[WorkloadId, dict[str, int]] = {}
    for site, rows in controller.demands.rows().items():
        for workload, row in rows.items():
            entering.setdefault(workload, {})[site] = row.measured_milli
    accounted = controller.accounts.usage
    told = {workload: accounted.get(workload, NOTHING) for workload in sorted({*accounted, *entering})}
    return tuple(
        UsageView(
            workload=workload,
            requests=one.requests,
            errors=one.errors,
            cpu_us=one.cpu_us,
            peak_memory_bytes=one.peak_memory_bytes,
            cold_starts=one.cold_starts,
            egress_bytes=one.egress_bytes,
            entering_milli=entering.get(workload, {}),
        )
        for workload, one in told.items()
    )


def top_rows(node: NodeId, reply: StatsReply) -> tuple[TopRow, ...]:
    """One node's counters as rows."""
    return tuple(
        TopRow(
            workload=workload,
            node=node,
            requests=stats.requests,
            errors=stats.errors,
            in_flight=stats.in_flight,
            latency_us_p50=stats.latency_us_p50,
            latency_us_p99=stats.latency_us_p99,
            forwarded=stats.forwarded,
            retried=stats.retried,
            cpu_us=stats.cpu_us,
            peak_memory_bytes=stats.peak_memory_bytes,
            worker=stats.worker,
            instances=stats.instances,
            cold_starts=stats.cold_starts,
            egress_bytes=stats.egress_bytes,
        )
        for workload, stats in sorted(reply.workloads.items())
    )


def _workload(controller: Controller, at: Snapshot, workload: Workload, plan: Plan | None) -> WorkloadView:
    routes = controller.state.messages(ROUTES, RouteRecord).get(workload.id)
    serving: tuple[str, ...] = () if routes is None else tuple(replica.node for replica in routes.replicas)
    explanation = None if plan is None else plan.explanations.get(workload.id)
    money, carbon, latency = totals(explanation)
    placed = sum(a.workload == workload.id for a in plan.assignments) if plan is not None else 0
    wanted = explanation.replicas_wanted if explanation is not None else 0
    is_deleted = workload.id not in at.workloads
    job = _job(controller, at, workload)
    if job is not None:
        serving = job.nodes
    if is_deleted:
        status_word = "deleting"
    elif job is not None:
        status_word = job.state
        if job.state == "waiting" and explanation is not None and explanation.replicas_wanted and not placed:
            status_word = "unplaced"
    elif explanation is not None and placed == 0:
        status_word = "unplaced"
    elif not serving:
        status_word = "starting"
    elif len(serving) < wanted:
        status_word = "degraded"
    else:
        status_word = "running"
    return WorkloadView(
        id=workload.id,
        kind=workload.kind.value,
        namespace=workload.namespace,
        name=workload.name,
        path=workload.route.path,
        host=workload.route.host,
        generation=workload.generation,
        artifact=workload.artifact,
        status=status_word,
        running=len(serving),
        wanted=wanted,
        nodes=serving,
        money_microeur_month=money,
        carbon_ug_month=carbon,
        latency_us=latency,
        spending=spending(controller, at, workload),
        job=job,
        isolation=workload.isolation.value,
    )


def _job(controller: Controller, at: Snapshot, workload: Workload) -> JobView | None:
    """How far a job has come; None for other work, and until its leader has looked at it."""
    has = controller.state.jobs().get(workload.id)
    if workload.job is None or has is None:
        return None
    running = (r.node for r in at.running if r.workload == workload.id and r.phase is Phase.RUNNING and r.is_wanted)
    return JobView(
        workload=workload.id,
        state=has.state.value,
        accepted_us=has.accepted_us,
        deadline_us=has.deadline_us,
        runs=has.runs,
        site=has.site or "",
        zone=has.zone,
        nodes=tuple(sorted(set(running))),
        why=has.why,
        failures=len(has.failed),
        retries=workload.job.retries,
        ran_us=has.ran_us,
        ended_us=has.ended_us,
        reason=has.reason,
        late=has.late,
    )


def spending(controller: Controller, at: Snapshot, workload: Workload) -> Outlook | None:
    """What one workload cost this month and where that leads; None before anything was accounted."""
    book = controller.state.book()
    return None if book is None else outlook_of(workload, at, book, controller.config.placement)


def _node(controller: Controller, at: Snapshot, node_id: NodeId) -> NodeView:
    node = at.fabric.nodes[node_id]
    site = at.fabric.site_of(node)
    beat = controller.liveness.last(node_id)
    presence = controller.state.messages(PRESENCE, Presence).get(node_id)
    running = [r for r in at.running if r.node == node_id and r.is_wanted and r.phase is Phase.RUNNING]
    used = Resources() if beat is None else beat.used
    return NodeView(
        id=node_id,
        site=site.id,
        city=site.place.city,
        country=site.country,
        operator=node.operator,
        tier=node.tier.value,
        reach=at.reach[node_id].value,
        silence_us=controller.silence_us(node_id),
        front="" if presence is None else presence.front,
        mesh="" if presence is None else presence.mesh,
        incarnation=0 if presence is None else presence.incarnation,
        cpu_milli=node.capacity.cpu_milli,
        cpu_milli_used=used.cpu_milli,
        memory_bytes=node.capacity.memory_bytes,
        memory_bytes_used=used.memory_bytes,
        rss_bytes=0 if beat is None else beat.rss_bytes,
        power_mw=0 if beat is None else beat.power_mw,
        is_power_modelled=beat is None or beat.is_power_modelled,
        workloads=tuple(sorted({r.workload for r in running})),
        latitude_deg=site.place.latitude_deg,
        longitude_deg=site.place.longitude_deg,
        grid_zone=site.grid_zone,
        intensity_g_per_kwh=at.intensity_g_per_kwh.get(site.grid_zone),
        attested=attested_at(node, at.at_us),
        measured=measured_at(node, at.at_us),
        service=node.service,
        joined_with=controller.state.nodes()[node_id].evidence,
    )
