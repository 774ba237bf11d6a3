"""What work has cost so far this month, where that leads, and what its owner's rule makes of it.

`book, snapshot, now -> book`; `book, workload, now -> Outlook`; `workload, outlook -> workload`. Money is the price of
what is reserved for the time it really ran; carbon is the power model at the intensity of the moment. Periods are
calendar months in UTC. Amounts in a book are millionths of the usual unit, so that a minute of a cheap replica counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hanse.core.fabric import Node, Site
from hanse.core.ids import WorkloadId
from hanse.core.snapshot import Phase, Running, Snapshot
from hanse.core.time import WallTime, from_datetime, to_datetime
from hanse.core.units import PERIODS_US
from hanse.core.work import Budget, BudgetRule, Workload
from hanse.placement.gravity import prices_at, reading
from hanse.placement.settings import PlacementSettings

FINE = 10**6
"""Parts of a microeuro and of a microgram that a book counts in."""
WARN_PERMILLE = 800
"""Share of a budget from which its owner is warned."""
GROW_MARGIN_PERMILLE = 100
"""How much more than one more replica costs must be left before one more runs under ``shrink``."""
_MONTH_US = PERIODS_US["month"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one workload cost since the period began, in `FINE` parts."""

    money: int = 0
    carbon: int = 0
    run_us: int = 0
    """Time that its replicas ran, added up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What everything cost since the period began."""

    period_start_us: WallTime
    until_us: WallTime
    """Accounted up to here."""
    spent: Mapping[WorkloadId, Spent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Where one workload's spending leads by the end of the period."""

    spent_microeur: int
    spent_ug: int
    projected_microeur: int
    """Spent so far and what runs now until the end."""
    projected_ug: int
    left_permille: int
    """Share of the period that is left."""
    running: int
    """Replicas that run now."""
    state: str
    """``ok``, ``warn`` (projected at 80 % of a bound or more), ``over``, or ``free`` without a budget."""


def period_of(now: WallTime) -> tuple[WallTime, WallTime]:
    """Beginning and end of the calendar month, UTC, that a moment lies in."""
    at = to_datetime(now)
    start = datetime(at.year, at.month, 1, tzinfo=UTC)
    end = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return from_datetime(start), from_datetime(end)


def accrued(book: Book | None, snapshot: Snapshot, *, settings: PlacementSettings) -> Book:
    """Add what ran since the book was last brought up; a new month begins a new book, a clock that fell back waits."""
    now = snapshot.at_us
    start, _ = period_of(now)
    if book is None:
        rows = sorted({one.workload for one in _serving(snapshot.running)})
        return Book(period_start_us=start, until_us=now, spent={workload: Spent() for workload in rows})
    if book.period_start_us < start:
        book = Book(period_start_us=start, until_us=start, spent={})
    if now <= book.until_us:
        return book
    spent = dict(book.spent)
    for one in _serving(snapshot.running):
        workload, node = snapshot.workloads.get(one.workload), snapshot.fabric.nodes.get(one.node)
        if workload is None or node is None:
            continue
        ran_us = now - max(book.until_us, min(one.since_us, now))
        has = spent.get(workload.id, Spent())
        site = snapshot.fabric.site_of(node)
        intensity = snapshot.intensity_g_per_kwh.get(site.grid_zone, settings.unknown_zone_g_per_kwh)
        spent[workload.id] = Spent(
            money=has.money + bill_microeur(workload, node, snapshot, settings) * FINE * ran_us // _MONTH_US,
            carbon=has.carbon + carbon_ug(workload, node, site, intensity) * FINE * ran_us // _MONTH_US,
            run_us=has.run_us + ran_us,
        )
    kept = {key: spent[key] for key in sorted(spent)}
    return Book(period_start_us=book.period_start_us, until_us=now, spent=kept)


def outlook(book: Book | None, workload: Workload, snapshot: Snapshot, *, settings: PlacementSettings) -> Outlook:
    """Project one workload's spending to the end of the period."""
    now = snapshot.at_us
    start, end = period_of(now)
    has = Spent() if book is None or book.period_start_us != start else book.spent.get(workload.id, Spent())
    left_us, bill, carbon, running = end - now, 0, 0, 0
    for one in _serving(snapshot.running):
        node = snapshot.fabric.nodes.get(one.node)
        if one.workload != workload.id or node is None:
            continue
        site = snapshot.fabric.site_of(node)
        running += 1
        bill += bill_microeur(workload, node, snapshot, settings)
        if workload.job is not None:
            left_us = min(left_us, workload.job.duration_us)
        carbon += carbon_ug(
            workload, node, site, snapshot.intensity_g_per_kwh.get(site.grid_zone, settings.unknown_zone_g_per_kwh)
        )
    money, grams = has.money // FINE, has.carbon // FINE
    found = Outlook(
        spent_microeur=money,
        spent_ug=grams,
        projected_microeur=money + bill * left_us // _MONTH_US,
        projected_ug=grams + carbon * left_us // _MONTH_US,
        left_permille=left_us * 1_000 // (end - start),
        running=running,
        state="ok",
    )
    return replace(found, state=state_of(found, workload.budget))


def pooled_outlook(book: Book | None, namespace: str, budget: Budget, each: Sequence[Outlook], at: WallTime) -> Outlook:
    """Project the spending of all work of a namespace, that which was deleted since the period began included."""
    start, end = period_of(at)
    is_current = book is not None and book.period_start_us == start
    rows = [s for w, s in book.spent.items() if w.partition(".")[0] == namespace] if book and is_current else []
    money, grams = sum(row.money for row in rows) // FINE, sum(row.carbon for row in rows) // FINE
    found = Outlook(
        spent_microeur=money,
        spent_ug=grams,
        projected_microeur=money + sum(one.projected_microeur - one.spent_microeur for one in each),
        projected_ug=grams + sum(one.projected_ug - one.spent_ug for one in each),
        left_permille=(end - at) * 1_000 // (end - start),
        running=sum(one.running for one in each),
        state="ok",
    )
    return replace(found, state=state_of(found, budget))


def restrained(workload: Workload, at: Outlook, now: WallTime) -> Workload:
    """A workload as the rule of its budget lets it be placed now.

    ``refuse`` lets nothing new start, ``shrink`` lets only as many replicas run as the rest of the budget pays for,
    ``move`` lets it run only where the rest of the budget lasts, ``stop`` ends it once the budget is used up.
    """
    return restrained_together(workload.budget, at, ((workload, at),), now)[workload.id]


def restrained_together(
    budget: Budget, pooled: Outlook, each: Sequence[tuple[Workload, Outlook]], now: WallTime
) -> Mapping[WorkloadId, Workload]:
    """Workloads that share one budget as its rule lets them be placed now; `pooled` is the outlook of all of them.

    What the rest of the budget pays for is shared out by what runs: in whole replicas where they shrink, at least one
    each, and by what each is projected to use where they move.
    """
    bounds = ((pooled.spent_microeur, budget.cost_microeur_month), (pooled.spent_ug, budget.carbon_ug_month))
    is_used_up = any(most is not None and spent >= most for spent, most in bounds)
    match budget.rule:
        case BudgetRule.STOP:
            return {w.id: replace(w, replicas=0) if is_used_up else w for w, _ in each}
        case BudgetRule.REFUSE:
            return {w.id: _no_more_than(w, at.running) if is_used_up else w for w, at in each}
        case BudgetRule.MOVE:
            if state_of(pooled, budget) != "over":
                return {w.id: w for w, _ in each}
            return {w.id: _moved(w, budget, pooled, at, now) for w, at in each}
        case BudgetRule.SHRINK:
            most = _replicas_paid_for(budget, pooled)
            if most is None:
                return {w.id: w for w, _ in each}
            spare = max(most - pooled.running, 0) // len(each)
            return {
                w.id: _no_more_than(w, max(1, at.running * min(most, pooled.running) // pooled.running + spare))
                for w, at in each
            }


def _no_more_than(workload: Workload, most: int) -> Workload:
    """Let no more replicas run; a fixed count that is higher comes down."""
    if workload.replicas is not None:
        return replace(workload, replicas=min(workload.replicas, most))
    known = workload.most_replicas
    return replace(workload, most_replicas=most if known is None else min(most, known))


def _replicas_paid_for(budget: Budget, at: Outlook) -> int | None:
    """Replicas that the rest of the budget pays for until the period ends; None where it pays for more than enough.

    One more than run now must leave a margin, so that a count that came down does not go up and down again with every
    drift of prices and intensities.
    """
    if not at.running:
        return None
    found: list[int] = []
    for most, spent, projected in (
        (budget.cost_microeur_month, at.spent_microeur, at.projected_microeur),
        (budget.carbon_ug_month, at.spent_ug, at.projected_ug),
    ):
        running = projected - spent
        if most is None or running <= 0:
            continue
        rest = max(most - spent, 0) * at.running
        roomy = rest * 1_000 // (running * (1_000 + GROW_MARGIN_PERMILLE))
        found.append(max(min(rest // running, at.running), roomy))
    paid = min(found, default=None)
    return None if paid is None or paid > 2 * at.running + 2 else paid


def bill_microeur(workload: Workload, node: Node, at: Snapshot, settings: PlacementSettings) -> int:
    """Price of one replica on a node per month: what is reserved, energy, what is sent, what its data costs."""
    asks, price = workload.resources, node.price
    hourly = asks.cpu_milli * price.cpu_core_hour_microeur / 1_000
    hourly += asks.memory_bytes * price.memory_gib_hour_microeur / 2**30
    hourly += asks.disk_bytes * price.disk_gib_hour_microeur / 2**30
    hourly += asks.bandwidth_bps * price.bandwidth_mbit_hour_microeur / 10**6
    units = dict(price.custom)
    hourly += sum(amount * units.get(name, 0) for name, amount in asks.custom)
    if workload.gpu is not None:
        hourly += workload.gpu.total_milli * price.gpu_hour_microeur / 1_000
    site = at.fabric.site_of(node)
    draw_mw, _ = _draw_mw(workload, node, site)
    hourly += draw_mw * site.energy_microeur_kwh / 10**6
    sent = workload.egress_bytes_month * node.price.egress_gib_microeur / 2**30
    if workload.data.sets:
        sent += float(reading(workload, site, prices_at(at.fabric), settings).money_microeur)
    return round(hourly * _MONTH_US / PERIODS_US["hour"] + sent)


def carbon_ug(workload: Workload, node: Node, site: Site, g_per_kwh: int) -> int:
    """Emission of one replica on a node per month at one intensity, with its share of what making the node emitted."""
    draw_mw, share = _draw_mw(workload, node, site)
    operated = draw_mw * g_per_kwh * _MONTH_US / PERIODS_US["hour"]
    return round(operated + node.power.embodied_g * 10**6 * share * _MONTH_US / node.power.life_us)


def _draw_mw(workload: Workload, node: Node, site: Site) -> tuple[float, float]:
    """Draw of one replica with its share of the idle draw, PUE included; and the share of the node it reserves."""
    asks, has = workload.resources, node.allocatable
    share = max((asks.of(name) / max(has.of(name), 1) for name in asks.names), default=0.0)
    draw_mw = asks.cpu_milli * node.power.per_core_mw / 1_000
    if workload.gpu is not None:
        share = max(share, workload.gpu.total_milli / 1_000 / max(1, 0 if node.gpus is None else node.gpus.count))
        draw_mw += workload.gpu.total_milli * node.power.per_gpu_mw / 1_000
    share = min(share, 1.0)
    return (draw_mw + share * node.power.idle_mw) * site.pue_permille / 1_000, share


def _serving(running: Sequence[Running]) -> Sequence[Running]:
    return [one for one in running if one.phase is Phase.RUNNING]


def state_of(at: Outlook, budget: Budget) -> str:
    """Where an outlook stands against a budget: ``free``, ``ok``, ``warn`` or ``over``."""
    bounds = [
        (at.projected_microeur, budget.cost_microeur_month),
        (at.projected_ug, budget.carbon_ug_month),
    ]
    asked = [(projected, most) for projected, most in bounds if most is not None]
    if not asked:
        return "free"
    if any(projected > most for projected, most in asked):
        return "over"
    return "warn" if any(projected * 1_000 >= most * WARN_PERMILLE for projected, most in asked) else "ok"


def _moved(workload: Workload, budget: Budget, pooled: Outlook, at: Outlook, now: WallTime) -> Workload:
    """Bound a workload by its part of what is left, as a rate per month over what is left of the period.

    Never more than the budget itself, nor than its own.
    """
    _, end = period_of(now)
    left_us = max(end - now, 1)

    def rate(most: int | None, spent: int, parts: tuple[int, int], own: int | None) -> int | None:
        if most is None:
            return own
        mine, all_of_it = parts
        share = most - spent if all_of_it <= 0 else (most - spent) * mine // all_of_it
        return min(most, max(share, 0) * _MONTH_US // left_us, *(() if own is None else (own,)))

    money = at.projected_microeur - at.spent_microeur, pooled.projected_microeur - pooled.spent_microeur
    carbon = at.projected_ug - at.spent_ug, pooled.projected_ug - pooled.spent_ug
    own = workload.budget
    return replace(
        workload,
        budget=replace(
            own,
            cost_microeur_month=rate(budget.cost_microeur_month, pooled.spent_microeur, money, own.cost_microeur_month),
            carbon_ug_month=rate(budget.carbon_ug_month, pooled.spent_ug, carbon, own.carbon_ug_month),
        ),
    )
