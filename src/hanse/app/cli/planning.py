"""Commands that ask what if, and change nothing: plan, capacity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hanse.app.cli.session import Session, fabric_command

carbon = typer.Typer(help="Carbon intensity: forecasts, and when to run.", no_args_is_help=True)
AXES = ("cost", "carbon")


@fabric_command
def plan(
    *,
    files: Annotated[
        list[Path] | None,
        typer.Option("--file", "-f", help="Manifests that are not deployed yet, or directories; - is stdin."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", help="Rehearse an exit: operator=X, site=Y or country=Z; may be given again."),
    ] = None,
    frontier: Annotated[
        str | None, typer.Option("--frontier", help="Money against carbon: cost,carbon.", metavar="cost,carbon")
    ] = None,
    prices: Annotated[
        str | None, typer.Option("--prices", help="With --frontier: prices of a tonne to try, in EUR: 0,50,100.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", help="With --frontier: write the plot into this file.", dir_okay=False)
    ] = None,
    session: Session,
) -> None:
    """What would change and why, before and after in money, carbon and latency. Nothing is changed.

    Alone: what the global solver would change now. With --file: what these manifests would change. With --without: what
    an exit would mean. With --frontier: what a lower carbon figure costs.
    """
    from hanse.app.render import planning

    if sum(bool(one) for one in (files, without, frontier)) > 1:
        raise typer.BadParameter("give one of --file, --without and --frontier")
    if (prices or svg) and not frontier:
        raise typer.BadParameter("--prices and --svg go with --frontier")
    with session.client() as client:
        if without:
            parts = [_part(text) for text in without]
            with session.step("rehearsing the exit"):
                gone = client.plan_without(parts)
            session.answer(gone, lambda: planning.leaving(gone))
        elif frontier:
            if sorted(frontier.split(",")) != sorted(AXES):
                raise typer.BadParameter("--frontier knows cost,carbon")
            with session.step("planning at each price of carbon"):
                front = client.plan_frontier(_prices(prices))
            if svg is not None:
                svg.write_text(planning.svg(front), encoding="utf-8")
                session.note(f"the plot is in {svg}")
            session.answer(front, lambda: planning.frontier(front))
        else:
            from hanse.app.deploying import read_files

            with session.step("planning"):
                view = client.plan_preview(read_files(files) if files else ())
            session.answer(view, lambda: planning.preview(view))


@fabric_command
def capacity(*, session: Session) -> None:
    """What the fabric could still take: free resources, and how many more of each workload and what limits them."""
    from hanse.app.render import planning

    with session.client() as client:
        found = client.capacity()
    session.answer(found, lambda: planning.capacity(found))


@carbon.command()
@fabric_command
def refresh(
    *,
    file: Annotated[Path, typer.Argument(help="CSV: zone,datetime,g_per_kwh; one line per hour.", dir_okay=False)],
    source: Annotated[str, typer.Option(help="Who made the forecast.")] = "file",
    error: Annotated[float, typer.Option(min=0, max=100, help="Its mean relative error, percent.")] = 0.0,
    session: Session,
) -> None:
    """Bring a forecast of carbon intensity in; it replaces the last one. Zones it leaves out keep their yearly mean."""
    from hanse.adapters.carbon_feed import read_carbon_feed

    zones = read_carbon_feed(file)
    with session.client() as client:
        count = client.refresh_carbon(zones, source=source, error_permille=round(error * 10))
    session.answer({"zones": count, "source": source}, lambda: f"{count} zones from {source}")


@carbon.command()
@fabric_command
def show(*, session: Session) -> None:
    """The intensity that each node's grid is judged by now."""
    from hanse.app.render.tables import grid

    with session.client() as client:
        nodes = client.nodes()
    rows = {node.grid_zone: node.intensity_g_per_kwh for node in sorted(nodes, key=lambda one: one.grid_zone)}
    session.answer(rows, lambda: grid(rows))


@carbon.command()
@fabric_command
def when(
    *,
    workload: Annotated[str, typer.Argument(help="Whose legal nodes to look at, for example clinic.report.")],
    duration: Annotated[str, typer.Option("--for", help="How long the work takes, like 6h.")],
    within: Annotated[str, typer.Option(help="It must have ended after this time.")] = "24h",
    interruptible: Annotated[bool, typer.Option("--interruptible", help="It may run in pieces.")] = False,
    session: Session,
) -> None:
    """When work that may wait would run cleanest, on each node that may take it, and what waiting saves."""
    from hanse.app.cli.names import workload_name
    from hanse.app.render import planning
    from hanse.core.units import duration_us

    with session.client() as client:
        found = client.plan_shift(
            ".".join(workload_name(workload)), duration_us=duration_us(duration), within_us=duration_us(within),
            is_interruptible=interruptible,
        )  # fmt: skip
    session.answer(found, lambda: planning.shifts(found))


def _part(text: str) -> tuple[str, str]:
    kind, equals, name = text.partition("=")
    if not equals or kind not in ("operator", "site", "country") or not name:
        raise typer.BadParameter(f"--without takes operator=X, site=Y or country=Z, not {text!r}")
    return kind, name


def _prices(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(price) for price in text.split(",")) if text else ()
    except ValueError:
        raise typer.BadParameter(f"--prices takes whole euros with commas between, not {text!r}") from None
