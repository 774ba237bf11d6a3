"""The exact optimum of an assignment by CP-SAT, in a process of its own.

`JSON on stdin -> [best found, bound]`, equal where the optimum is proven. On its own because OR-Tools and highspy each
bring a HiGHS library of one name, and one process can't load both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

Case = dict[str, Any]
"""`jobs`: per job its options, each [agent, cost, [use per resource]] and perhaps a list of agents taken besides;
`has`: per agent its room per resource; `opening`: the cost of using an agent, or absent; `miss`: per job the cost of
leaving it out, or absent; `limit`: deterministic seconds."""


def exact(case: Case) -> tuple[int, int]:
    """The least cost CP-SAT finds, and what none can undercut; equal where it proves the optimum."""
    command = [sys.executable, "-m", "benches.placement.exact"]
    done = subprocess.run(command, input=json.dumps(case), capture_output=True, text=True, check=True)
    found, bound = json.loads(done.stdout)
    return found, bound


def main() -> None:
    """Read a case and solve it."""
    from ortools.sat.python import cp_model

    case = json.load(sys.stdin)
    model = cp_model.CpModel()
    opening = case.get("opening") or {}
    is_open = {agent: model.new_bool_var("") for agent in opening}
    per_agent: dict[str, list[tuple[cp_model.IntVar, list[int]]]] = {}
    terms = [cost * is_open[agent] for agent, cost in opening.items()]
    for job, options in enumerate(case["jobs"]):
        picks = [model.new_bool_var("") for _ in options]
        out = [model.new_bool_var("")] if case.get("miss") else []
        terms += [case["miss"][job] * left for left in out]
        model.add_exactly_one(picks + out)
        for pick, (agent, cost, uses, *others) in zip(picks, options, strict=True):
            for taken in [agent, *(others[0] if others else ())]:
                per_agent.setdefault(taken, []).append((pick, uses))
            terms.append(cost * pick)
            if agent in is_open:
                model.add_implication(pick, is_open[agent])
    for agent, picked in per_agent.items():
        for index, most in enumerate(case["has"][agent]):
            model.add(sum(uses[index] * pick for pick, uses in picked) <= most * is_open.get(agent, 1))
    model.minimize(sum(terms))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = float(case.get("limit", 10.0))
    solver.solve(model)
    print(json.dumps([round(solver.objective_value), round(solver.best_objective_bound)]))


if __name__ == "__main__":
    main()
