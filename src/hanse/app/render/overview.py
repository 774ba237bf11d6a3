"""The fabric at a glance: who leads, how many nodes are heard of, what runs, where on the map. `views -> text`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from hanse.app.render import tables
from hanse.app.render.fabric_map import fabric_map
from hanse.app.render.style import BAD, GOOD, WARN, heading, line, pairs, stack
from hanse.control.views import NodeView, StatusView, WorkloadView


def overview(view: StatusView, nodes: Sequence[NodeView], workloads: Sequence[WorkloadView]) -> Group:
    """Status, map, workloads, and whatever is wrong."""
    parts: list[RenderableType] = [
        pairs(
            ("domain", Text(view.domain, style="bold")),
            ("version", view.version),
            ("leader", _leader(view)),
            ("nodes", _count(view.nodes_ready, view.nodes, "heard of")),
            ("workloads", _count(view.workloads_running, view.workloads, "running")),
            ("plan", "none yet" if view.plan is None else f"{view.plan} (generation {view.plan_generation})"),
            ("ledger", "not read yet" if view.ledger_size is None else f"{view.ledger_size:,} entries"),
        )
    ]
    if nodes:
        parts += [Text(), fabric_map(nodes)]
    if workloads:
        parts += [Text(), tables.workloads(workloads)]
    jobs = [one.job for one in workloads if one.job is not None]
    if jobs:
        parts += [Text(), heading("Work that may wait"), tables.jobs(jobs)]
    if view.holds:
        parts += [Text(), heading("Held back"), *(line(Text(reason, style=WARN), indent=2) for reason in view.holds)]
    if view.rejected:
        parts += [Text(), heading("Not believed")]
        parts += [line(Text(f"{key}: {why}", style=BAD), indent=2) for key, why in sorted(view.rejected.items())]
    return stack(*parts)


def _leader(view: StatusView) -> Text:
    if not view.leader:
        return Text("nobody leads", style=BAD)
    said = Text(f"{view.leader}, term {view.term}")
    if not view.is_connected:
        said.append("; the substrate is out of reach", style=BAD)
    elif not view.is_caught_up:
        said.append("; still reading the state", style=WARN)
    return said


def _count(good: int, of: int, what: str) -> Text:
    return Text(f"{good} of {of} {what}", style=GOOD if good == of else WARN)
