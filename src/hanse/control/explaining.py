"""One workload on one node, and what would allow more: `Controller, names -> VerdictView`.

The verdict is asked of the rules and facts as they stand now, not read from the plan: a plan says what was decided, and
a date may have passed since. Each fact is shown with the day it was stated, so that its age can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hanse.control.controller import Controller
from hanse.control.service import NotFound
from hanse.control.state import FabricState
from hanse.control.views import DemandView, ExplainView, RoundTripView, VerdictView
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.plan import Plan
from hanse.core.snapshot import Snapshot
from hanse.core.time import to_datetime
from hanse.core.verdict import FactRead, Reason
from hanse.core.work import DemandSource
from hanse.policy import Screening, screen


def verdict(controller: Controller, workload: WorkloadId, node: NodeId, plan: Plan | None) -> VerdictView:
    """Ask about one pair: the rules that decide, the facts they read, the nearest change. Raises NotFound."""
    at = controller.pipeline.snapshot()
    if node not in at.fabric.nodes:
        raise NotFound(f"no node {node}", hint="see `hanse get nodes`")
    screening = _screening(controller, workload, at)
    said = screening.of(workload, node)
    told = None if plan is None else plan.explain(workload)
    stated = stated_days(controller.state)
    return VerdictView(
        workload=workload,
        node=node,
        is_allowed=said.is_allowed,
        reasons=tuple(_dated(reason, stated) for reason in said.reasons),
        changes=screening.changes_on(workload, node),
        asked_us=at.at_us,
        valid_until_us=said.valid_until_us,
        candidate=None if told is None else next((c for c in told.candidates if c.node == node), None),
    )


def with_changes(controller: Controller, view: ExplainView) -> ExplainView:
    """Add the isolation, and what would allow more nodes, unless the plan has said so. A deleted workload gets none."""
    at = controller.pipeline.snapshot()
    workload = WorkloadId(view.workload)
    if workload not in at.workloads:
        return view
    view = replace(view, isolation=at.workloads[workload].isolation.value)
    return view if view.changes else replace(view, changes=_screening(controller, workload, at).changes(workload))


def with_round_trips(controller: Controller, view: ExplainView) -> ExplainView:
    """Add how far its demand is from the sites that serve it, and whether that is measured or modelled."""
    at = controller.pipeline.snapshot()
    workload = at.workloads.get(WorkloadId(view.workload))
    if workload is None or view.explanation is None:
        return view
    chosen = [at.fabric.nodes.get(one.node) for one in view.explanation.candidates if one.is_chosen]
    sites = sorted({node.site for node in chosen if node is not None})
    known = [(origin, site, at.round_trip_us(origin, site)) for origin in workload.slo.origins for site in sites]
    trips = tuple(
        RoundTripView(origin=origin, site=site, rtt_us=rtt_us, is_measured=at.is_measured(origin, site))
        for origin, site, rtt_us in known
        if rtt_us is not None
    )
    return replace(view, round_trips=trips)


def with_demand(controller: Controller, view: ExplainView) -> ExplainView:
    """Add where its requests enter, at which rates and since when, and whether placement goes by them."""
    at = controller.pipeline.snapshot()
    identity = WorkloadId(view.workload)
    workload = at.workloads.get(identity)
    if workload is None:
        return view
    found = tuple(
        DemandView(
            site=site,
            rate_milli=row.rate_milli,
            age_us=max(0, at.at_us - row.since_us),
            measured_milli=row.measured_milli,
        )
        for site, rows in controller.demands.rows().items()
        for row in [rows.get(identity)]
        if row is not None
    )
    source = "stated"
    if workload.slo.demand is DemandSource.MEASURED:
        source = "unmeasured" if workload.slo.measured_us is None else "measured"
    return replace(view, demand_source=source, demand=found)


def stated_days(state: FabricState) -> Mapping[str, str]:
    """On which day (UTC) the facts of each operator, site and node were accepted, by ``operator/ID`` and so on."""
    days = {
        f"{kind}/{name}": to_datetime(record.accepted_us).date().isoformat()
        for key, record in state.specs().items()
        for kind, _, name in [key.partition(".")]
        if kind in ("operator", "site")
    }
    days |= {f"node/{id_}": to_datetime(r.enrolled_us).date().isoformat() for id_, r in state.nodes().items()}
    return days


def _screening(controller: Controller, workload: WorkloadId, at: Snapshot) -> Screening:
    if workload not in at.workloads:
        raise NotFound(f"no workload {workload}", hint="see `hanse get workloads`")
    packs, guardrails = controller.pipeline.rules(at)
    only = {workload: at.workloads[workload]}
    return screen(only, at.fabric, packs, at.at_us, controller.pipeline.cache, guardrails=guardrails)


def _dated(reason: Reason, stated: Mapping[str, str]) -> Reason:
    return replace(reason, facts=tuple(_dated_fact(fact, stated) for fact in reason.facts))


def _dated_fact(fact: FactRead, stated: Mapping[str, str]) -> FactRead:
    if fact.as_of is not None:
        return fact
    about, _, _ = fact.subject.partition(".")
    return replace(fact, as_of=stated.get(about))
