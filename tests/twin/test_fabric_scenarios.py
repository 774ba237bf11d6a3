"""Every scenario holds at a few seeds, the same controllers and nodes as in the fabric running under every checker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hanse.twin.package import shipped_settings
from hanse.twin.run import ScenarioFailed, UnknownScenario, play, replay_line, scenario_named
from hanse.twin.scenarios import SCENARIOS, Scenario
from hanse.twin.stage import CART, Stage
from hanse.twin.world import Violation

SETTINGS = shipped_settings()
ROOT = Path(__file__).parents[2]
EUROPE = ROOT / "examples" / "fabric" / "europe.yaml"
CALM = sorted(set(SCENARIOS) - {"swarm"})


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", CALM)
def test_a_scenario_holds(name: str, seed: int) -> None:
    result = play(SCENARIOS[name], seed=seed, settings=SETTINGS, seconds=20)
    assert result.entries > 20, "the ledger was followed"
    assert result.steps > 1_000, "checkers judged all along"


@pytest.mark.parametrize(
    ("seed", "what"),
    [
        (5, "an order that vanished was issued anew at generation 1, which its node refuses"),
        (22, "a standby kept a route that was deleted while its link was down"),
        (3, "crashes with and without the disk, clocks, drops, duplicates and a partition together"),
    ],
)
def test_a_swarm_of_faults_ends_well(seed: int, what: str) -> None:
    result = play(SCENARIOS["swarm"], seed=seed, settings=SETTINGS)
    assert sum(result.faults.values()) > 5, what


def test_the_example_fabric_of_six_countries_survives_a_crash() -> None:
    result = play(SCENARIOS["node-crash"], seed=1, settings=SETTINGS, manifests=EUROPE.read_text())
    assert result.nodes == 6
    assert result.figures["replaced_us"] < 6_000_000
    assert result.figures["requests"] > 100


def test_the_same_seed_is_the_same_run_and_another_seed_is_another() -> None:
    one, again, other = (play(SCENARIOS["node-crash"], seed=seed, settings=SETTINGS) for seed in (3, 3, 4))
    assert one == again
    assert one.trace != other.trace


def test_runs_of_a_fabric_are_equal_under_different_hash_seeds() -> None:
    outputs = set()
    for hash_seed in ("1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", _ONE_RUN],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=600,
            check=True,
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert "trace=" in outputs.pop()


_ONE_RUN = """
from hanse.twin.package import shipped_settings
from hanse.twin.run import play, scenario_named
print(play(scenario_named("leader-crash-mid-rollout"), seed=9, settings=shipped_settings()))
"""


def test_a_violation_names_the_line_that_replays_it() -> None:
    async def plot(stage: Stage) -> None:
        await stage.open((CART,))
        raise Violation("the roof is on fire")

    with pytest.raises(ScenarioFailed) as failed:
        play(Scenario(name="fire", about="It burns.", plot=plot), seed=11, settings=SETTINGS)
    first, second, *rest = str(failed.value).splitlines()
    assert first == "python -m hanse.twin fire --seed 11 --nodes 6"
    assert second.startswith("seed 11 at ")
    assert "the roof is on fire" in second
    assert any("plan.committed" in line for line in rest), "what was said last is told"


def test_a_replay_line_runs() -> None:
    line = replay_line("steady", 1, 6, 5).split()
    done = subprocess.run(
        [sys.executable, *line[1:], "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert '"scenario":"steady"' in done.stdout


def test_an_unknown_scenario_is_named() -> None:
    with pytest.raises(UnknownScenario, match="no scenario weather"):
        scenario_named("weather")
