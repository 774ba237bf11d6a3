"""What would change, what an exit would mean, what money buys in carbon, what still fits: questions about plans.

`one controller's caches, a question -> an answer`. Pure reading: nothing is committed, any controller may be asked.
Whoever asks runs these on a thread, for the global solver takes seconds on a large fabric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from hanse.control.controller import Controller
from hanse.core.errors import HanseError
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId
from hanse.core.plan import Displaced, Plan, Unplaced
from hanse.core.rng import Rng
from hanse.core.snapshot import Snapshot
from hanse.core.time import WallTime
from hanse.core.work import Workload
from hanse.manifest import Manifests, load
from hanse.placement import (
    Capacity,
    Homeless,
    Leaving,
    Waiting,
    WhyNot,
    WorkloadDifference,
    capacity,
    difference,
    frontier,
    optimise,
    rehearse,
    shift,
    why_not,
)
from hanse.policy import Screening, screen

_K = TypeVar("_K", bound=str)
_V = TypeVar("_V")
_NO_ARTIFACT = Digest("sha256:" + "0" * 64)
PRICES_EUR_PER_T = (0, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Prices of a tonne at which a frontier is looked for: from nothing to far beyond any market."""


class UnknownPart(HanseError):
    """Raised when a question names an operator, site, country, node or workload that the fabric does not have."""

    code = "not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeView:
    """One workload before and after."""

    workload: str
    action: str
    """``new``, ``move``, ``replace``, ``grow``, ``shrink``, ``gone`` or ``stays``."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    money_microeur_month_before: int
    money_microeur_month_after: int
    carbon_ug_month_before: int
    carbon_ug_month_after: int
    latency_us_before: int
    latency_us_after: int
    missing_after: int
    why: tuple[str, ...]
    """What decided, a sentence for each node that is left or taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAnswer:
    """What the global solver would change now."""

    plan: str
    """Id of the plan that stands; empty before the first one."""
    changes: tuple[ChangeView, ...]
    """Workloads that would change, in id order."""
    unchanged: int
    money_microeur_month_before: int
    money_microeur_month_after: int
    carbon_ug_month_before: int
    carbon_ug_month_after: int
    objective_microeur: int
    bound_microeur: int | None
    solved_us: int
    """How long the solver thought, wall time."""
    unplaced: tuple[Unplaced, ...]
    displaced: tuple[Displaced, ...]

    @property
    def gap_permille(self) -> int | None:
        """How far above the optimum the plan may lie at most; None without a bound."""
        if self.bound_microeur is None:
            return None
        return (self.objective_microeur - self.bound_microeur) * 1_000 // max(self.bound_microeur, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitView:
    """What an exit would mean."""

    without: tuple[str, ...]
    """``operator=X``, ``site=Y``, ``country=Z`` as asked."""
    nodes: tuple[str, ...]
    changes: tuple[ChangeView, ...]
    moves: int
    bytes_to_fetch: int
    duration_us: int
    money_microeur_month: int
    """Change of the monthly bill; negative is cheaper."""
    carbon_ug_month: int
    homeless: tuple[Homeless, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierView:
    """One plan that no other found beats in both money and carbon."""

    carbon_price_eur_per_t: int
    money_microeur_month: int
    carbon_ug_month: int
    missing: int
    moves: int
    """Replicas that stand elsewhere than in the plan in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierAnswer:
    """Money against carbon."""

    money_microeur_month: int
    """Of the plan in force."""
    carbon_ug_month: int
    points: tuple[FrontierView, ...]
    """Cheapest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftView:
    """When work that may wait would best run on one node."""

    node: str
    zone: str
    runs: tuple[tuple[int, int], ...]
    """Beginning and end of each piece, microseconds since 1970."""
    g_per_kwh: int
    g_per_kwh_now: int
    saved_permille: int
    why: str


def preview(controller: Controller, parent: Plan | None, files: Sequence[tuple[str, str]]) -> PlanAnswer:
    """What the global solver would change: now, or with these manifests, of which nothing need be built yet.

    Raises ManifestError.
    """
    at = controller.pipeline.snapshot()
    if files:
        datasets, documents = controller.state.datasets(), load(files)
        datasets.update((one.id, one) for one in documents.datasets)
        at = controller.pipeline.with_data(_proposed(at, controller.state.workloads(), documents), datasets)
    verdicts, watch = _screened(controller, at), controller.pipeline.watch()
    began_us = watch.clock_us()
    new = optimise(
        at, verdicts, parent, now=at.at_us, rng=Rng(controller.config.seed), trigger="asked",
        settings=controller.config.placement, watch=watch,
    )  # fmt: skip
    found = difference(parent, new)
    return PlanAnswer(
        plan="" if parent is None else parent.id,
        changes=tuple(_change(one, new) for one in found.changed),
        unchanged=len(found.workloads) - len(found.changed),
        money_microeur_month_before=sum(w.before.money_microeur for w in found.workloads),
        money_microeur_month_after=sum(w.after.money_microeur for w in found.workloads),
        carbon_ug_month_before=sum(w.before.carbon_ug for w in found.workloads),
        carbon_ug_month_after=sum(w.after.carbon_ug for w in found.workloads),
        objective_microeur=new.objective_microeur,
        bound_microeur=new.bound_microeur,
        solved_us=watch.clock_us() - began_us,
        unplaced=new.unplaced,
        displaced=new.displaced,
    )


def without(controller: Controller, parent: Plan | None, parts: Sequence[tuple[str, str]]) -> ExitView:
    """Rehearse an exit; `parts` are pairs of ``operator``, ``site`` or ``country`` and a name. Raises UnknownPart."""
    at = controller.pipeline.snapshot()
    named = {kind: [name for key, name in parts if key == kind] for kind in ("operator", "site", "country")}
    known = {
        "operator": [str(o) for o in at.fabric.operators],
        "site": [str(s) for s in at.fabric.sites],
        "country": sorted({str(s.country) for s in at.fabric.sites.values()}),
    }
    for kind, name in parts:
        if name not in known.get(kind, ()):
            hint = f"there is: {', '.join(known[kind])}" if kind in known else "name operator=, site= or country="
            raise UnknownPart(f"the fabric has no {kind} {name}", hint=hint)
    leaving = Leaving(
        operators=tuple(OperatorId(name) for name in named["operator"]),
        sites=tuple(SiteId(name) for name in named["site"]),
        countries=tuple(CountryCode(name) for name in named["country"]),
    )
    found = rehearse(
        at, _screened(controller, at), parent, leaving, now=at.at_us, rng=Rng(controller.config.seed),
        settings=controller.config.placement,
    )  # fmt: skip
    return ExitView(
        without=tuple(f"{kind}={name}" for kind, name in parts),
        nodes=found.nodes,
        changes=tuple(_change(one, found.after) for one in found.difference.changed),
        moves=found.moves,
        bytes_to_fetch=found.bytes_to_fetch,
        duration_us=found.duration_us,
        money_microeur_month=found.money_microeur,
        carbon_ug_month=found.carbon_ug,
        homeless=found.homeless,
    )


def pareto(controller: Controller, parent: Plan | None, prices_eur_per_t: Sequence[int]) -> FrontierAnswer:
    """Money against carbon, everything placed anew at each price of carbon: moving costs bend no point."""
    at = controller.pipeline.snapshot()
    points = frontier(
        at, _screened(controller, at), None, [price * 10**6 for price in prices_eur_per_t], now=at.at_us,
        rng=Rng(controller.config.seed), settings=controller.config.placement,
    )  # fmt: skip
    stands = difference(None, parent).workloads if parent is not None else ()
    return FrontierAnswer(
        money_microeur_month=sum(w.after.money_microeur for w in stands),
        carbon_ug_month=sum(w.after.carbon_ug for w in stands),
        points=tuple(
            FrontierView(
                carbon_price_eur_per_t=point.carbon_microeur_per_t // 10**6,
                money_microeur_month=point.money_microeur,
                carbon_ug_month=point.carbon_ug,
                missing=point.missing,
                moves=sum(len(w.added) for w in difference(parent, point.plan).workloads),
            )
            for point in points
        ),
    )


def shifts(
    controller: Controller, workload: WorkloadId, *, duration_us: int, within_us: int, is_interruptible: bool
) -> tuple[ShiftView, ...]:
    """When to run work of this length that must have ended `within_us` from now, on each node that may take it.

    Cleanest first; nodes whose grid zone has no forecast are left out. Raises UnknownPart.
    """
    at = controller.pipeline.snapshot()
    if workload not in at.workloads:
        raise UnknownPart(f"the fabric has no {workload}", hint="see `hanse get workloads`")
    if not at.forecast:
        raise UnknownPart("no forecast was brought in", hint="`hanse carbon refresh FILE` takes one")
    waiting = Waiting(
        duration_us=duration_us, deadline_us=WallTime(at.at_us + within_us), is_interruptible=is_interruptible
    )
    found: list[ShiftView] = []
    for node in _screened(controller, at).allowed(workload):
        zone = at.fabric.site_of(at.fabric.nodes[node]).grid_zone
        series = at.forecast.get(zone)
        if series is None:
            continue
        best = shift(series, waiting, now=at.at_us, error_permille=at.forecast_error_permille)
        if best is not None:
            found.append(
                ShiftView(
                    node=node, zone=zone, runs=best.runs, g_per_kwh=best.mean, g_per_kwh_now=best.mean_now,
                    saved_permille=best.saved_permille, why=best.why,
                )
            )  # fmt: skip
    return tuple(sorted(found, key=lambda one: (one.g_per_kwh, one.node)))


def room_left(controller: Controller, parent: Plan | None) -> Capacity:
    """What the fabric could still take, and what limits it."""
    at = controller.pipeline.snapshot()
    return capacity(at, _screened(controller, at), parent, now=at.at_us, settings=controller.config.placement)


def why_not_there(controller: Controller, parent: Plan | None, workload: WorkloadId, node: NodeId) -> WhyNot:
    """Every limit between a workload and a node, nearest first. Raises UnknownPart."""
    at = controller.pipeline.snapshot()
    for name, known in ((str(workload), at.workloads), (str(node), at.fabric.nodes)):
        if name not in known:
            raise UnknownPart(f"the fabric has no {name}", hint="see `hanse get workloads` and `hanse get nodes`")
    return why_not(
        at, _screened(controller, at), parent, workload, node, now=at.at_us, settings=controller.config.placement
    )


def _screened(controller: Controller, at: Snapshot) -> Screening:
    packs, guardrails = controller.pipeline.rules(at)
    return screen(at.workloads, at.fabric, packs, at.at_us, controller.pipeline.cache, guardrails=guardrails)


def _proposed(at: Snapshot, specs: Mapping[WorkloadId, Workload], documents: Manifests) -> Snapshot:
    """The snapshot as the documents would leave it; what is not built yet stands with an empty artifact.

    `specs` as their owners wrote them: the snapshot's know more (data, demand, budgets).
    """
    workloads = dict(at.workloads)
    for document in documents.functions:
        last = specs.get(document.id)
        if last is None:
            workloads[document.id] = document.to_workload(_NO_ARTIFACT, 0, 1)
            continue
        same = document.to_workload(last.artifact, last.artifact_bytes, last.generation)
        if same != last:
            workloads[document.id] = replace(same, generation=last.generation + 1)
    fabric = replace(
        at.fabric,
        sites=_merged(at.fabric.sites, {site.id: site for site in documents.sites}),
        operators=_merged(at.fabric.operators, {operator.id: operator for operator in documents.operators}),
        jurisdictions=_merged(at.fabric.jurisdictions, {one.id: one for one in documents.jurisdictions}),
    )
    return replace(at, fabric=fabric, workloads=_merged({}, workloads))


def _merged(old: Mapping[_K, _V], new: Mapping[_K, _V]) -> Mapping[_K, _V]:
    both = {**old, **new}
    return {key: both[key] for key in sorted(both)}


def _change(of: WorkloadDifference, new: Plan) -> ChangeView:
    return ChangeView(
        workload=of.workload,
        action=_action(of, new),
        added=of.added,
        removed=of.removed,
        kept=of.kept,
        money_microeur_month_before=of.before.money_microeur,
        money_microeur_month_after=of.after.money_microeur,
        carbon_ug_month_before=of.before.carbon_ug,
        carbon_ug_month_after=of.after.carbon_ug,
        latency_us_before=of.before.latency_us,
        latency_us_after=of.after.latency_us,
        missing_after=of.missing_after,
        why=_why(of, new),
    )


def _action(of: WorkloadDifference, new: Plan) -> str:
    was, will = len(of.kept) + len(of.removed), len(of.kept) + len(of.added)
    if of.workload not in new.explanations:
        return "gone"
    if not was:
        return "new" if will else "stays"
    if of.added and of.removed:
        return "move"
    if will != was:
        return "grow" if will > was else "shrink"
    return "replace" if of.replaced else "stays"


def _why(of: WorkloadDifference, new: Plan) -> tuple[str, ...]:
    told = new.explain(of.workload)
    if told is None:
        return ("nobody asks for it any more",)
    said = {candidate.node: candidate for candidate in told.candidates}
    sentences = [said[n].reasons[0].message for n in of.removed if n in said and said[n].reasons]
    sentences += [
        f"it gives way on node {d.node} to {d.by}: {d.loses}" for d in new.displaced if d.workload == told.workload
    ]
    if of.replaced:
        sentences.append("its spec changed: the same places run the new one")
    return (*sentences, told.replicas_why) if of.added or not sentences else tuple(sentences)
