"""`python -m hanse.twin SCENARIO --seed N`: run one scenario, or replay one failure, from one line."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from hanse.twin.package import shipped_settings
from hanse.twin.run import Result, ScenarioFailed, play, scenario_named
from hanse.twin.scenarios import SCENARIOS
from hanse.wire import canonical


def main() -> int:
    """Run and tell. Returns 0 if it held, 1 with the violation on standard error if not."""
    asked = _arguments()
    scenario = scenario_named(asked.scenario)
    manifests = None if asked.fabric is None else asked.fabric.read_text(encoding="utf-8")
    settings = shipped_settings()
    for seed in range(asked.seed, asked.seed + asked.runs):
        began = time.monotonic()
        try:
            result = play(
                scenario, seed=seed, settings=settings, nodes=asked.nodes, manifests=manifests, seconds=asked.until
            )
        except ScenarioFailed as failure:
            sys.stderr.write(f"{failure}\n")
            return 1
        wall_s = time.monotonic() - began
        sys.stdout.write((as_json if asked.json else as_text)(result, wall_s) + "\n")
    return 0


def as_text(result: Result, wall_s: float) -> str:
    """A run for people."""
    faults = ", ".join(f"{count} {kind}" for kind, count in result.faults.items()) or "none"
    lines = [
        f"{result.scenario}, seed {result.seed}, {result.nodes} nodes: held",
        f"  trace     {result.trace}",
        f"  time      {result.simulated_us / 1e6:.0f} s simulated in {wall_s:.1f} s, "
        f"{result.simulated_us / 1e6 / wall_s:.0f} times as fast",
        f"  events    {result.events} traced, {result.steps} steps judged, {result.steps / wall_s:.0f} a second",
        f"  faults    {faults}",
        f"  ledger    {result.entries} entries followed",
    ]
    lines += [f"  {name:<20} {value}" for name, value in result.figures.items()]
    return "\n".join(lines)


def as_json(result: Result, wall_s: float) -> str:
    """A run as one JSON line."""
    speed = {"wall_ms": round(wall_s * 1_000), "steps_per_s": round(result.steps / wall_s)}
    return canonical.encode({"result": result, "speed": speed}).decode()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hanse.twin", description="Run one scenario in virtual time.")
    parser.add_argument("scenario", choices=sorted(SCENARIOS))
    parser.add_argument("--seed", type=int, default=1, help="first seed")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds, one after the other")
    parser.add_argument("--nodes", type=int, default=6, help="size of the generated fabric")
    parser.add_argument("--fabric", type=Path, help="manifests of a fabric instead of a generated one")
    parser.add_argument("--until", type=int, help="virtual seconds, for scenarios that can go on for any time")
    parser.add_argument("--json", action="store_true", help="one JSON line per run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
