"""One thing whole: a workload, node, instance, operator or site, or what was built. `view -> text`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hanse.app.render import quantities as q
from hanse.app.render import tables
from hanse.app.render.attesting import summary
from hanse.app.render.explanation import explanation, refusal
from hanse.app.render.style import WARN, heading, line, pairs, stack, table, word
from hanse.control.views import InstanceView, NodeView, OperatorView, SiteView, WorkloadDetail, WorkloadView
from hanse.core.fabric import Measured
from hanse.core.time import WallTime, rfc3339

if TYPE_CHECKING:
    from hanse.adapters.componentize import BuiltComponent


def workload(of: WorkloadDetail, nodes: Sequence[NodeView]) -> Group:
    """Summary, instances, what is held back, why it is where it is, and the spec as accepted."""
    view = of.summary
    head = pairs(
        ("workload", Text(view.id, style="bold")),
        ("kind", view.kind),
        ("status", Text.assemble(word(view.status), f", {view.running} of {view.wanted} replicas")),
        ("route", f"{view.host or ''}{view.path}"),
        ("generation", str(view.generation)),
        ("artifact", view.artifact),
        ("isolation", view.isolation),
        ("accepted", f"{rfc3339(WallTime(of.accepted_us))} by {of.accepted_by}"),
        ("cost", f"{q.euros(view.money_microeur_month)} a month"),
        ("carbon", f"{q.carbon(view.carbon_ug_month)} CO2e a month"),
        ("latency", q.latency(view.latency_us)),
        *_spending(view),
    )
    parts: list[RenderableType] = [head, Text(), heading("Instances"), tables.instances(of.instances)]
    if view.job is not None:
        parts += [Text(), heading("When it runs"), tables.jobs([view.job])]
    if of.holds:
        parts += [Text(), heading("Held back"), *(line(Text(reason, style=WARN), indent=2) for reason in of.holds)]
    if of.explanation is not None:
        parts += [Text(), heading("Placement"), explanation(of.explanation, nodes)]
    if of.unplaced is not None:
        parts.append(refusal(of.unplaced, with_head=True))
    parts += [Text(), heading("Spec"), line(_spec(of.spec), indent=2)]
    return stack(*parts)


def node(view: NodeView, instances: Iterable[InstanceView]) -> Group:
    """Where it stands, what it has and uses, and what runs on it."""
    grid = view.grid_zone if view.intensity_g_per_kwh is None else f"{view.grid_zone}, {view.intensity_g_per_kwh} g/kWh"
    head = pairs(
        ("node", Text(view.id, style="bold")),
        ("place", f"{view.city}, {view.country} ({view.latitude_deg:.4f}, {view.longitude_deg:.4f}), site {view.site}"),
        ("operator", view.operator),
        ("tier", view.tier),
        ("reach", Text.assemble(word(view.reach), f", last heard: {q.age(view.silence_us)}")),
        ("front", view.front or q.NOTHING),
        ("mesh", view.mesh or q.NOTHING),
        ("start", f"number {view.incarnation}"),
        ("cpu", f"{q.cores(view.cpu_milli_used, view.cpu_milli)} cores"),
        ("memory", f"{q.memory(view.memory_bytes_used, view.memory_bytes)}, process {q.size(view.rss_bytes)}"),
        ("power", q.power(view.power_mw, is_modelled=view.is_power_modelled)),
        ("grid", grid),
        ("attested", summary(view.attested)),
        ("measured", measured(view.measured)),
        ("joined with", view.joined_with or "no evidence"),
    )
    mine = [one for one in instances if one.node == view.id]
    return stack(head, Text(), heading("Instances"), tables.instances(mine) if mine else Text("  none"))


def measured(of: Measured | None) -> str:
    """Where landmarks found a node, and until when that counts."""
    if of is None:
        return "by no landmark"
    said = of.contradiction or f"{of.label} of where it says"
    return f"{said} (by {', '.join(of.landmarks)}, until {rfc3339(WallTime(of.until_us))})"


def instance(view: InstanceView) -> Table:
    """What was ordered and what its node reports."""
    return pairs(
        ("instance", Text(view.id, style="bold")),
        ("workload", f"{view.workload}, generation {view.spec_generation}, replica {view.ordinal}"),
        ("node", view.node),
        ("wanted", "run" if view.wanted else "stop"),
        ("isolation", view.isolation),
        ("phase", Text.assemble(word(view.phase), f" since {rfc3339(WallTime(view.since_us))}")),
        ("report", f"{view.code}: {view.reason}" if view.code else view.reason or q.NOTHING),
        ("order", f"number {view.order_generation}: {view.order_reason}"),
        ("granted until", rfc3339(WallTime(view.order_expires_us))),
        ("plan", view.plan),
    )


def operator(view: OperatorView) -> Group:
    """Its seat, the law that reaches it and by which path, its SEAL levels and nodes."""
    head = pairs(
        ("operator", Text(view.id, style="bold")),
        ("name", view.name),
        ("seat", view.seat),
        ("nodes", ", ".join(view.nodes) or q.NOTHING),
        ("SEAL", _levels(view.seal)),
        ("CADA", f"level {view.cada} (a proposal)" if view.cada else q.NOTHING),
        ("support from", ", ".join(view.support) or "not stated"),
        ("verified", ", ".join(view.verified) or q.NOTHING),
    )
    parts: list[RenderableType] = [head, Text(), heading("Law that reaches it")]
    parts += [line(f"{country}: {path}", indent=2) for country, path in view.control]
    if view.keys:
        parts += [Text(), heading("Law that reaches its keys")]
        parts += [line(f"{country}: {path}", indent=2) for country, path in view.keys]
    parts += [Text(), heading("SecNumCloud 3.2 section 19.6")]
    parts += [line(missed, indent=2) for missed in view.secnumcloud or ("passed, as far as its facts say",)]
    if view.services:
        parts += [
            Text(),
            heading("Services"),
            *(line(f"{n}: {_levels(v)}", indent=2) for n, v in view.services.items()),
        ]
    return stack(*parts)


def _levels(of: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {level}" for name, level in sorted(of.items())) or q.NOTHING


def site(view: SiteView) -> Table:
    """Where it is, its grid zone and nodes."""
    return pairs(
        ("site", Text(view.id, style="bold")),
        ("place", f"{view.city}, {view.country} ({view.latitude_deg:.4f}, {view.longitude_deg:.4f})"),
        ("grid", view.grid_zone),
        ("nodes", ", ".join(view.nodes) or q.NOTHING),
        ("measured to", tables.trips(view)),
    )


def built_components(built: Mapping[str, BuiltComponent]) -> Table:
    """What was built from what."""
    made = table("SOURCE", "COMPONENT", "SIZE", "TOOK", right=("SIZE", "TOOK"))
    for source, one in built.items():
        took = "cached" if one.is_cached else f"{one.seconds:.1f} s"
        made.add_row(source, q.short_digest(one.digest), q.size(one.size_bytes), took)
    return made


def _spending(of: WorkloadView) -> Sequence[tuple[str, str]]:
    """This calendar month so far, and where it leads."""
    at = of.spending
    if at is None:
        return ()
    words = {"warn": "; 80 % of the budget or more", "over": "; beyond the budget"}
    leads = f"{q.euros(at.projected_microeur)} and {q.carbon(at.projected_ug)} CO2e by its end{words.get(at.state, '')}"
    return (
        ("this month", f"{q.euros(at.spent_microeur)} and {q.carbon(at.spent_ug)} CO2e so far"),
        ("leads to", leads),
    )


def _spec(spec: Mapping[str, Any]) -> str:
    """The spec without what is empty, as YAML."""
    shown = {key: value for key, value in spec.items() if value not in (None, "", [], {}, ())}
    return yaml.safe_dump(shown, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True).rstrip()
