"""One run: `scenario, seed, settings -> Result`, or the first violation with the line that replays it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from hanse.core.errors import HanseError
from hanse.policy import parse_packs
from hanse.twin.checkers import (
    Court,
    DisruptionBudget,
    GenerationsGrow,
    Lawful,
    OneInstancePerPlace,
    OneLeader,
    Rule,
    SilenceStopsNothing,
    StopsNeedOrders,
)
from hanse.twin.fabric import Settings, TwinFabric
from hanse.twin.generate import fabric_text
from hanse.twin.ledger_rule import LedgerMonitor
from hanse.twin.scenarios import SCENARIOS, Scenario
from hanse.twin.stage import Stage
from hanse.twin.view import RuntimeWatch, View
from hanse.twin.world import Failed

LOG_LINES = 60


class UnknownScenario(HanseError):
    """Raised for a scenario that does not exist."""

    code = "not_found"


class ScenarioFailed(Failed):
    """Raised when a checker or the plot found a violation; the text begins with the line that replays it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run that held has to say. Equal (scenario, seed, nodes, commit) give equal results."""

    scenario: str
    seed: int
    nodes: int
    trace: str
    """SHA-256 over everything that was delivered and written, with its virtual time."""
    simulated_us: int
    events: int
    """Lines in the trace: deliveries, writes, boots, faults."""
    steps: int
    """Batches of callbacks, after each of which every checker judged."""
    faults: Mapping[str, int]
    entries: int
    """In the ledger, each followed and verified."""
    figures: Mapping[str, int] = field(default_factory=dict)


def scenario_named(name: str) -> Scenario:
    """Find a scenario. Raises UnknownScenario."""
    if name not in SCENARIOS:
        raise UnknownScenario(f"no scenario {name}", hint="one of " + ", ".join(SCENARIOS))
    return SCENARIOS[name]


def replay_line(scenario: str, seed: int, nodes: int, seconds: int | None) -> str:
    """The command that repeats a run."""
    until = "" if seconds is None else f" --until {seconds}"
    return f"python -m hanse.twin {scenario} --seed {seed} --nodes {nodes}{until}"


def play(
    scenario: Scenario,
    *,
    seed: int,
    settings: Settings,
    nodes: int = 6,
    manifests: str | None = None,
    seconds: int | None = None,
) -> Result:
    """Run a scenario to its end on `nodes` generated nodes, or on the fabric of `manifests`.

    `seconds` is the length of a scenario that can go on for any time. Raises ScenarioFailed.
    """
    text = fabric_text(nodes) if manifests is None else manifests
    settings = replace(
        scenario.prepare(settings),
        controllers=max(settings.controllers, scenario.controllers),
        engine=scenario.engine or settings.engine,
    )
    fabric = TwinFabric(text, settings, seed=seed)
    world = fabric.world
    view = View(world=world)
    monitor = LedgerMonitor(fabric.domain)
    world.kv.observers.append(view)
    world.ledger.observers.append(monitor)
    fabric.watchers.append(RuntimeWatch(view))
    world.checkers += [Court(view, rules_for(fabric), fabric.node_ids), monitor]
    stage = Stage(fabric=fabric, view=view, ledger=monitor, seconds=seconds)
    with _told(world.now_us) as lines:
        try:
            trace = world.run(lambda _: scenario.plot(stage))
        except Failed as failure:
            replay = replay_line(scenario.name, seed, len(fabric.node_ids), seconds)
            told = "\n  ".join(lines)
            raise ScenarioFailed(f"{replay}\n{failure}\nlast said:\n  {told}") from failure
    return Result(
        scenario=scenario.name,
        seed=seed,
        nodes=len(fabric.node_ids),
        trace=trace,
        simulated_us=world.now_us(),
        events=world.trace.count,
        steps=world.batches,
        faults=dict(sorted(world.injected.items())),
        entries=monitor.size,
        figures=dict(sorted(stage.figures.items())),
    )


def rules_for(fabric: TwinFabric) -> tuple[Rule, ...]:
    """Every rule that holds in every scenario."""
    lawful = Lawful(
        packs=parse_packs(fabric.settings.packs),
        guardrails=fabric.settings.guardrails,
        controllers=fabric.controller_names,
    )
    return (
        lawful,
        GenerationsGrow(fabric.domain.controller.public_key),
        OneInstancePerPlace(),
        StopsNeedOrders(lawful),
        DisruptionBudget(lawful),
        SilenceStopsNothing(),
        OneLeader(fabric.config_of(fabric.controller_names[0]).lease_term_us),
    )


@contextmanager
def _told(now_us: Callable[[], int]) -> Iterator[deque[str]]:
    """Keep the last log lines instead of printing them; whatever was configured is back afterwards."""
    lines: deque[str] = deque(maxlen=LOG_LINES)

    def keep(_logger: object, level: str, event: Any) -> Any:
        said = " ".join(f"{key}={value}" for key, value in event.items() if key != "event")
        line = f"{level} {event['event']} {said}"
        if not lines or not lines[-1].endswith(line):
            lines.append(f"{now_us() / 1e6:.3f} {line}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(20), cache_logger_on_first_use=False
    )
    try:
        yield lines
    finally:
        structlog.configure(**before)
