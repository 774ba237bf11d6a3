"""The linear optimum of sharing load out among sites, by GLOP (OR-Tools), in a process of its own.

`JSON on stdin -> [least mean cost per case]`. Shares no code with the planner. On its own because OR-Tools and highspy
each bring a HiGHS library of one name, and one process can't load both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

Case = dict[str, Any]
"""{"costs": per site, "may": sites per origin of one unit of load each, "room": units of load a site holds}."""


def optima(cases: Sequence[Case]) -> list[float | None] | None:
    """The least mean cost of each case, None where the load has no room; None where OR-Tools is not installed."""
    if find_spec("ortools") is None:
        return None
    command = [sys.executable, "-m", "benches.placement.transport"]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=True)
    found: list[float | None] = json.loads(done.stdout)
    return found


def _optimum(case: Case) -> float | None:
    from ortools.linear_solver import pywraplp  # type: ignore[import-untyped]

    solver = pywraplp.Solver.CreateSolver("GLOP")
    per_site: list[list[Any]] = [[] for _ in case["costs"]]
    terms = []
    for sites in case["may"]:
        shares = [solver.NumVar(0, 1, "") for _ in sites]
        solver.Add(sum(shares) == 1)
        for share, site in zip(shares, sites, strict=True):
            per_site[site].append(share)
            terms.append(case["costs"][site] * share)
    for shares in per_site:
        if shares:
            solver.Add(sum(shares) <= case["room"])
    solver.Minimize(sum(terms))
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return None
    return float(solver.Objective().Value()) / len(case["may"])


if __name__ == "__main__":
    print(json.dumps([_optimum(case) for case in json.load(sys.stdin)]))
