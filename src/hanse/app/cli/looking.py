"""Commands that look and change nothing: get, describe, explain, top."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanse.app.cli.session import Session, fabric_command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hanse.app.client import Client, FabricEvent
    from hanse.control.views import NodeView

WATCH_INTERVAL_S = 1.0


class Thing(StrEnum):
    """What there is to get."""

    WORKLOADS = "workloads"
    JOBS = "jobs"
    NAMESPACES = "namespaces"
    NODES = "nodes"
    INSTANCES = "instances"
    OPERATORS = "operators"
    SITES = "sites"
    JURISDICTIONS = "jurisdictions"
    PLANS = "plans"


class One(StrEnum):
    """What there is to describe."""

    WORKLOAD = "workload"
    NODE = "node"
    INSTANCE = "instance"
    OPERATOR = "operator"
    SITE = "site"


WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Go on, and show every change.")]


@fabric_command
def get(
    *,
    thing: Annotated[Thing, typer.Argument(help="What to list.")],
    workload: Annotated[str | None, typer.Option(help="Only instances of this workload.")] = None,
    watch: WatchOption = False,
    session: Session,
) -> None:
    """List what there is: workloads, jobs, namespaces, nodes, instances, operators, sites, jurisdictions, plans."""
    from hanse.app.cli.names import workload_name
    from hanse.app.render import tables

    only = None if workload is None else ".".join(workload_name(workload))
    with session.client() as client:
        ask = _askers(client, only)[thing]
        render = getattr(tables, thing.value)
        if watch:
            _watch(session, client, thing, ask, render)
            return
        views = ask()
        session.answer(views, lambda: render(views))


@fabric_command
def describe(
    *,
    kind: Annotated[One, typer.Argument(help="What it is.")],
    name: Annotated[str, typer.Argument(help="Its name, for example clinic.triage or fra-1.")],
    session: Session,
) -> None:
    """Everything about one workload, node, instance, operator or site."""
    from hanse.app.cli.names import workload_name
    from hanse.app.render import details

    with session.client() as client:
        if kind is One.WORKLOAD:
            found = client.workload(*workload_name(name))
            nodes: Sequence[NodeView] = () if session.is_json else client.nodes()
            session.answer(found, lambda: details.workload(found, nodes))
            return
        everything: Mapping[One, tuple[Callable[[], Sequence[Any]], Callable[[Any], RenderableType]]] = {
            One.NODE: (client.nodes, lambda view: details.node(view, client.instances())),
            One.INSTANCE: (client.instances, details.instance),
            One.OPERATOR: (client.operators, details.operator),
            One.SITE: (client.sites, details.site),
        }
        ask, render = everything[kind]
        view = _named(ask(), kind, name)
        session.answer(view, lambda: render(view))


@fabric_command
def explain(
    *,
    workload: Annotated[str, typer.Argument(help="For example clinic.triage.")],
    node: Annotated[
        str | None,
        typer.Option(help="May it run on this node now, by which rules, and what would turn the answer?"),
    ] = None,
    why_not: Annotated[
        str | None, typer.Option("--why-not", help="Every limit between the workload and this node, nearest first.")
    ] = None,
    session: Session,
) -> None:
    """Why a workload is where it is, or nowhere: candidates, rules, citations, facts, scores, the nearest change.

    With --node the rules are asked anew, whatever the plan says: verdict, deciding rules with citations, the facts they
    read with grade and age, and the nearest changes, each with who may make it.
    """
    from hanse.app.cli.names import workload_name
    from hanse.app.render import explanation, planning

    with session.client() as client:
        if node is not None:
            verdict = client.verdict(*workload_name(workload), node)
            session.answer(verdict, lambda: explanation.verdict(verdict))
            return
        if why_not is not None:
            found = client.why_not(*workload_name(workload), why_not)
            session.answer(found, lambda: planning.why_not(found))
            return
        view = client.explain(*workload_name(workload))
        nodes = client.nodes()
    session.answer(view, lambda: explanation.explain(view, nodes))


@fabric_command
def top(
    *,
    watch: WatchOption = False,
    session: Session,
) -> None:
    """Traffic per workload and node: requests, errors, latency, CPU, memory."""
    from hanse.app.render import tables

    with session.client() as client:
        if watch:
            _poll(session, client.top, tables.top)
        else:
            rows = client.top()
            session.answer(rows, lambda: tables.top(rows))


@fabric_command
def usage(*, session: Session) -> None:
    """What workloads took on all nodes, as nodes sealed it for the ledger: requests, CPU, memory, egress."""
    from hanse.app.render import tables

    with session.client() as client:
        rows = client.usage()
    session.answer(rows, lambda: tables.usage(rows))


def _askers(client: Client, workload: str | None) -> Mapping[Thing, Callable[[], Sequence[Any]]]:
    return {
        Thing.WORKLOADS: client.workloads,
        Thing.JOBS: client.jobs,
        Thing.NAMESPACES: client.namespaces,
        Thing.NODES: client.nodes,
        Thing.INSTANCES: lambda: client.instances(workload),
        Thing.OPERATORS: client.operators,
        Thing.SITES: client.sites,
        Thing.JURISDICTIONS: client.jurisdictions,
        Thing.PLANS: client.plans,
    }


def _named(views: Sequence[Any], kind: One, name: str) -> Any:
    from hanse.app.client_answers import ApiError

    for view in views:
        if view.id == name:
            return view
    known = ", ".join(view.id for view in views[:20]) or "none"
    raise ApiError(f"no {kind.value} {name}", code="not_found", hint=f"there is: {known}")


def _watch(
    session: Session,
    client: Client,
    thing: Thing,
    ask: Callable[[], Sequence[Any]],
    render: Callable[[Sequence[Any]], RenderableType],
) -> None:
    """Show a list anew after every change of the fabric, as the API tells of it."""

    def views_of(event: FabricEvent) -> Sequence[Any]:
        match thing:
            case Thing.WORKLOADS:
                return event.workloads
            case Thing.NODES:
                return event.nodes
            case _:
                return ask()

    _show_each(session, (views_of(event) for event in client.watch()), render)


def _poll(
    session: Session, ask: Callable[[], Sequence[Any]], render: Callable[[Sequence[Any]], RenderableType]
) -> None:
    """Show a list anew at an interval: counters change without any event."""
    import itertools
    import time

    def ticks() -> Any:
        for turn in itertools.count():
            if turn:
                time.sleep(WATCH_INTERVAL_S)
            yield ask()

    _show_each(session, ticks(), render)


def _show_each(session: Session, stream: Any, render: Callable[[Sequence[Any]], RenderableType]) -> None:
    """On a terminal in place; in a pipe one table after the other; as JSON one line each."""
    from rich.live import Live

    last: Sequence[Any] | None = None
    if session.out.is_terminal and not session.is_json:
        with Live(console=session.out, auto_refresh=False) as live:
            for views in stream:
                live.update(render(views), refresh=True)
        return
    for views in stream:
        if views == last:
            continue
        last = views
        if session.is_json:
            session.line(views)
        else:
            session.out.print(render(views))
            session.out.print()
