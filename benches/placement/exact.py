"""The exact optimum of an assignment by CP-SAT, in a process of its own.

`JSON on stdin -> [best found, bound]`, equal where the optimum is proven. On its own because OR-Tools and highspy each
bring a HiGHS library of one name, and one process can't load both.
"""

from __future__ import annotations

import json
import sys

from ortools.sat.python import cp_model


def main() -> None:
    """Read {"jobs": [[agent, cost], ...], "needs": [[a, b], ...], "has": {agent: [a, b]}} and solve it."""
    case = json.load(sys.stdin)
    model = cp_model.CpModel()
    per_agent: dict[str, list[tuple[cp_model.IntVar, list[int]]]] = {}
    terms = []
    for options, needs in zip(case["jobs"], case["needs"], strict=True):
        picks = [model.new_bool_var("") for _ in options]
        model.add_exactly_one(picks)
        for pick, (agent, cost) in zip(picks, options, strict=True):
            per_agent.setdefault(agent, []).append((pick, needs))
            terms.append(cost * pick)
    for agent, taken in per_agent.items():
        for index, most in enumerate(case["has"][agent]):
            model.add(sum(needs[index] * pick for pick, needs in taken) <= most)
    model.minimize(sum(terms))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = 10.0
    solver.solve(model)
    print(json.dumps([round(solver.objective_value), round(solver.best_objective_bound)]))


if __name__ == "__main__":
    main()
