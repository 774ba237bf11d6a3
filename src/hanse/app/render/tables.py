"""Lists of the fabric's things as tables: nodes, workloads, instances, operators, sites, plans, traffic.

`views -> Table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from hanse.app.render import quantities as q
from hanse.app.render.style import FAINT, WARN, table, word
from hanse.control.views import (
    InstanceView,
    JobView,
    JurisdictionView,
    NamespaceView,
    NodeView,
    OperatorView,
    PlanView,
    SiteView,
    TopRow,
    UsageView,
    WorkloadView,
)
from hanse.core.ports import WorkerProcess

if TYPE_CHECKING:
    from hanse.adapters.sandbox import EscapeAttempt


def nodes(views: Iterable[NodeView]) -> Table:
    """Where each node stands, who runs it, whether it is heard of, and how full it is; where landmarks found it."""
    views = tuple(views)
    measured = ("MEASURED",) if any(view.measured for view in views) else ()
    made = table(
        "NODE", "CITY", "OPERATOR", "TIER", "REACH", "HEARD", "CPU", "MEMORY", "POWER", "GRID", *measured, "RUNS",
        right=("CPU", "MEMORY", "POWER", "HEARD"), fold=("RUNS",),
    )  # fmt: skip
    for view in views:
        grid = view.grid_zone
        if view.intensity_g_per_kwh is not None:
            grid += f" {view.intensity_g_per_kwh} g/kWh"
        made.add_row(
            view.id,
            f"{view.city}, {view.country}",
            view.operator,
            view.tier,
            word(view.reach),
            q.age(view.silence_us),
            q.cores(view.cpu_milli_used, view.cpu_milli),
            q.memory(view.memory_bytes_used, view.memory_bytes),
            q.power(view.power_mw, is_modelled=view.is_power_modelled),
            grid,
            *([_measured(view)] if measured else []),
            ", ".join(view.workloads) or q.NOTHING,
        )
    return made


def _measured(view: NodeView) -> Text:
    if view.measured is None:
        return Text(q.NOTHING)
    return Text(view.measured.label, style=WARN if view.measured.contradiction else "")


def workloads(views: Iterable[WorkloadView]) -> Table:
    """What is to run, how it fares, where, what it costs per month; who has processes of its own, if anybody has."""
    views = tuple(views)
    isolation = _isolation_column(view.isolation for view in views)
    made = table(
        "WORKLOAD", "STATUS", "REPLICAS", "NODES", "ROUTE", "COST/MONTH", "CO2e/MONTH", "LATENCY", *isolation,
        right=("REPLICAS", "COST/MONTH", "CO2e/MONTH", "LATENCY"), fold=("NODES",),
    )  # fmt: skip
    for view in views:
        made.add_row(
            view.id,
            word(view.status),
            f"{view.running}/{view.wanted}",
            ", ".join(view.nodes) or q.NOTHING,
            f"{view.host or ''}{view.path}",
            q.euros(view.money_microeur_month),
            q.carbon(view.carbon_ug_month),
            q.latency(view.latency_us),
            *([view.isolation] if isolation else []),
        )
    return made


def _isolation_column(of: Iterable[str]) -> tuple[str, ...]:
    """A column only where somebody asked for a process of its own."""
    return ("ISOLATION",) if any(one != "shared" for one in of) else ()


def jobs(views: Iterable[JobView]) -> Table:
    """Work that may wait: when it runs, by when it has to be done, and why then."""
    made = table("JOB", "STATE", "RUNS", "SITE", "DEADLINE", "FAILED", "WHY", right=("FAILED",), fold=("RUNS", "WHY"))
    for view in views:
        made.add_row(
            view.workload,
            word(view.state),
            q.windows(view.runs),
            ", ".join(view.nodes) or (f"{view.site} ({view.zone})" if view.site else q.NOTHING),
            q.moment(view.deadline_us),
            f"{view.failures} of {view.retries + 1}",
            Text(view.late, style=WARN) if view.late else Text(view.reason or view.why),
        )
    return made


def jurisdictions(views: Iterable[JurisdictionView]) -> Table:
    """Countries as failure domains: how often everything in each is down at once, and who says so."""
    made = table("COUNTRY", "SITES", "DOWN", "AS", right=("DOWN",))
    for view in views:
        made.add_row(view.id, ", ".join(view.sites) or q.NOTHING, f"{view.down_ppm} ppm", view.source)
    return made


def namespaces(views: Iterable[NamespaceView]) -> Table:
    """Budgets of whole namespaces: what is spent this month, where that leads, and what follows."""
    made = table(
        "NAMESPACE", "BUDGET", "SPENT", "PROJECTED", "CO2e BUDGET", "CO2e SPENT", "CO2e PROJECTED", "STATE", "RULE",
        right=("BUDGET", "SPENT", "PROJECTED", "CO2e BUDGET", "CO2e SPENT", "CO2e PROJECTED"),
    )  # fmt: skip
    for view in views:
        made.add_row(
            view.id,
            q.euros(view.cost_microeur_month),
            q.euros(view.spending.spent_microeur),
            q.euros(view.spending.projected_microeur),
            q.carbon(view.carbon_ug_month),
            q.carbon(view.spending.spent_ug),
            q.carbon(view.spending.projected_ug),
            word(view.spending.state),
            view.rule,
        )
    return made


def instances(views: Iterable[InstanceView]) -> Table:
    """Each placed replica: what was ordered and what its node reports."""
    views = tuple(views)
    isolation = _isolation_column(view.isolation for view in views)
    made = table(
        "INSTANCE", "NODE", "WANTED", "PHASE", "SINCE", "ORDER", *isolation, "WHY", right=("ORDER",), fold=("WHY",)
    )
    for view in views:
        why = view.reason or view.order_reason
        made.add_row(
            view.id,
            view.node,
            "run" if view.wanted else Text("stop", style=FAINT),
            word(view.phase),
            q.moment(view.since_us),
            str(view.order_generation),
            *([view.isolation] if isolation else []),
            f"{view.code}: {why}" if view.code else why,
        )
    return made


def operators(views: Iterable[OperatorView]) -> Table:
    """Who runs nodes, and whose law reaches them."""
    made = table("OPERATOR", "NAME", "SEAT", "LAW THAT REACHES IT", "SEAL", "NODES", fold=("SEAL", "NODES"))
    for view in views:
        made.add_row(
            view.id,
            view.name,
            view.seat,
            ", ".join(country for country, _ in view.control) or q.NOTHING,
            " ".join(f"{name}:{level}" for name, level in sorted(view.seal.items())) or q.NOTHING,
            ", ".join(view.nodes) or q.NOTHING,
        )
    return made


def sites(views: Iterable[SiteView]) -> Table:
    """Places, the nodes that stand there, and to which other sites the way was measured, where any was."""
    views = tuple(views)
    measured = ("MEASURED TO",) if any(view.measured_us for view in views) else ()
    made = table("SITE", "CITY", "COORDINATES", "GRID", "NODES", *measured)
    for view in views:
        made.add_row(
            view.id,
            f"{view.city}, {view.country}",
            f"{view.latitude_deg:.2f}, {view.longitude_deg:.2f}",
            view.grid_zone,
            ", ".join(view.nodes) or q.NOTHING,
            *((trips(view),) if measured else ()),
        )
    return made


def trips(view: SiteView) -> str:
    """Measured round trips of a site."""
    return ", ".join(f"{site} {q.latency(rtt_us)}" for site, rtt_us in view.measured_us.items()) or q.NOTHING


def plans(views: Iterable[PlanView]) -> Table:
    """Plans in brief: what made each necessary, and how far from the optimum it can be at most."""
    made = table(
        "PLAN", "GENERATION", "COMMITTED", "REPLICAS", "MISSING", "OBJECTIVE/MONTH", "GAP", "BECAUSE",
        right=("GENERATION", "REPLICAS", "MISSING", "OBJECTIVE/MONTH", "GAP"), fold=("BECAUSE",),
    )  # fmt: skip
    for view in views:
        made.add_row(
            view.id,
            str(view.generation),
            q.moment(view.created_us),
            str(view.replicas),
            str(view.missing),
            q.euros(view.objective_microeur),
            gap(view.objective_microeur, view.bound_microeur),
            view.trigger,
        )
    return made


def gap(objective: int, bound: int | None) -> str:
    """How far above the lower bound, in percent of it; ``-`` where there is no bound."""
    if bound is None:
        return q.NOTHING
    if objective <= bound:
        return "0 %"
    return f"{100 * (objective - bound) / bound:.1f} %" if bound > 0 else q.NOTHING


def grid(rows: Mapping[str, int | None]) -> Table:
    """Grid zones and their intensity."""
    made = table("ZONE", "g CO2e/kWh", right=("g CO2e/kWh",))
    for zone, grams in rows.items():
        made.add_row(zone, q.NOTHING if grams is None else str(grams))
    return made


def usage(rows: Iterable[UsageView]) -> Table:
    """What workloads took since the controller leads; destinations and sites of entry with most first."""
    rows = tuple(rows)
    enters = ("ENTERS AT",) if any(row.entering_milli for row in rows) else ()
    made = table(
        "WORKLOAD", "REQUESTS", "ERRORS", "CPU", "PEAK MEMORY", "COLD STARTS", "EGRESS", *enters,
        right=("REQUESTS", "ERRORS", "CPU", "PEAK MEMORY", "COLD STARTS"),
    )  # fmt: skip
    for row in rows:
        asked = sorted(row.entering_milli.items(), key=lambda one: (-one[1], one[0]))
        sent = sorted(row.egress_bytes.items(), key=lambda one: (-one[1], one[0]))
        made.add_row(
            row.workload,
            f"{row.requests:,}",
            f"{row.errors:,}",
            q.latency(row.cpu_us),
            q.size(row.peak_memory_bytes),
            f"{row.cold_starts:,}",
            ", ".join(f"{name} {q.size(count)}" for name, count in sent) or q.NOTHING,
            *([", ".join(f"{site} {q.rate(milli)}" for site, milli in asked) or q.NOTHING] if enters else []),
        )
    return made


def top(rows: Iterable[TopRow]) -> Table:
    """Traffic per workload and node since the node's engine started; pairs without any are left out.

    What was spent is the whole workload's, this calendar month.
    """
    made = table(
        "WORKLOAD", "NODE", "REQUESTS", "ERRORS", "NOW", "P50", "P99", "FORWARDED", "RETRIED", "CPU", "PEAK MEMORY",
        "SPENT", "BUDGET", "PROCESS",
        right=("REQUESTS", "ERRORS", "NOW", "P50", "P99", "FORWARDED", "RETRIED", "CPU", "PEAK MEMORY", "SPENT"),
    )  # fmt: skip
    for row in sorted(rows, key=lambda one: (one.workload, one.node)):
        if row.requests == 0 and row.in_flight == 0:
            continue
        made.add_row(
            row.workload,
            row.node,
            f"{row.requests:,}",
            f"{row.errors:,}",
            str(row.in_flight),
            q.latency(row.latency_us_p50),
            q.latency(row.latency_us_p99),
            f"{row.forwarded:,}",
            f"{row.retried:,}",
            q.latency(row.cpu_us),
            q.size(row.peak_memory_bytes),
            q.euros(row.spent_microeur),
            word(row.budget) if row.budget != "free" else Text(q.NOTHING),
            _process(row.worker),
        )
    return made


def _process(worker: WorkerProcess | None) -> Text:
    """Whose process runs the guests: the node's, or the tenant's own with its id and how often it was started anew."""
    if worker is None:
        return Text("shared")
    again = f", {worker.restarts} restarts" if worker.restarts else ""
    if worker.pid == 0:
        return Text(f"down{again}", style="red")
    walls = "" if worker.landlock else ", no Landlock"
    return Text(f"{worker.pid}{again}{walls}")


def escape_attempts(attempts: Iterable[EscapeAttempt]) -> Table:
    """What a worker process tried, and what the kernel said."""
    made = table("ATTEMPT", "WALL", "REFUSED", "HOW", fold=("HOW",))
    for one in attempts:
        refused = Text("yes") if one.is_refused else Text("NO", style="red")
        made.add_row(one.attempt, one.wall, refused, one.how)
    return made
