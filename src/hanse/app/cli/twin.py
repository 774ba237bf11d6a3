"""`hanse twin`: run scenarios in virtual time, against the same controllers and nodes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from hanse.app.cli.exits import Exit

app = typer.Typer(help="The fabric in virtual time: scenarios, faults, checkers.", no_args_is_help=True)


@app.command("list")
def list_scenarios() -> None:
    """Every scenario, and what must come of it."""
    from hanse.twin.scenarios import SCENARIOS

    for name, scenario in SCENARIOS.items():
        typer.echo(f"{name:<26}{scenario.about}")


@app.command("run")
def run_scenario(
    *,
    scenario: Annotated[str, typer.Argument(help="Name of the scenario (`hanse twin list`).")],
    seed: Annotated[int, typer.Option(help="First seed.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.")] = 1,
    nodes: Annotated[int, typer.Option(min=4, max=10_000, help="Size of the generated fabric.")] = 6,
    fabric: Annotated[Path | None, typer.Option(help="Manifests of a fabric instead of a generated one.")] = None,
    until: Annotated[int | None, typer.Option(min=1, help="Virtual seconds, where a scenario has no length.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per run.")] = False,
) -> None:
    """Run one scenario, or replay a failure: equal scenario, seed and commit give an equal trace."""
    from hanse.twin.package import shipped_settings
    from hanse.twin.run import ScenarioFailed, play, scenario_named
    from hanse.twin.telling import json_line, text

    chosen, settings = scenario_named(scenario), shipped_settings()
    manifests = None if fabric is None else fabric.read_text(encoding="utf-8")
    for one in range(seed, seed + runs):
        began = time.monotonic()
        try:
            result = play(chosen, seed=one, settings=settings, nodes=nodes, manifests=manifests, seconds=until)
        except ScenarioFailed as failure:
            typer.echo(str(failure), err=True)
            raise typer.Exit(int(Exit.FAILED)) from failure
        typer.echo((json_line if as_json else text)(result, time.monotonic() - began))
