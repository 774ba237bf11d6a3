"""`python -m hanse.twin SCENARIO --seed N`: run one scenario, or replay one failure, from one line."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from hanse.twin.package import shipped_settings
from hanse.twin.run import ScenarioFailed, play, scenario_named
from hanse.twin.scenarios import SCENARIOS
from hanse.twin.telling import json_line, text


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
        sys.stdout.write((json_line if asked.json else text)(result, wall_s) + "\n")
    return 0


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
