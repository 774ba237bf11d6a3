"""Assign each job to one agent under capacities, with a fixed cost per agent in use: near the optimum, with a bound.

`Assigning, Effort -> Assigned`. Generalised assignment, and with fixed costs single-source facility location. First the
linear relaxation, strengthened per agent and job where opening costs: it gives the bound and reduced costs. Then a
core: a job keeps the agents whose reduced cost is small, which holds the optimum nearly always and shrinks the model by
an order of magnitude. The core is solved by HiGHS within the effort; its answer never claims the core's bound as its
own. A core without an answer is followed by the whole model.

Source: Martello, Toth, "Knapsack Problems" (1990), ch. 7; core problems after Balas, Zemel, "An algorithm for large
zero-one knapsack problems", Operations Research 28 (1980).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hanse.placement.solvers.mip import DEFAULT_EFFORT, Effort, Flags, Floats, Ints, Model, Solution, solve

_CORE_AGENTS = 6
"""Agents kept per job besides those the relaxation uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigning:
    """Costs and uses per agent and job; an infinite cost forbids a pair."""

    costs: Floats
    uses: Floats
    capacity: Floats
    opening: Floats
    """Cost of using an agent at all; zeros where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """The agent of each job, the objective, and what no assignment can undercut."""

    agent_of: Ints | None
    """None where no feasible assignment was found."""
    objective: float
    bound: float

    @property
    def gap(self) -> float:
        """How far above the optimum the objective may lie, as a share of the bound; infinite without an answer."""
        return 0.0 if self.objective <= self.bound else (self.objective - self.bound) / max(abs(self.bound), 1e-9)


def assign(of: Assigning, effort: Effort = DEFAULT_EFFORT) -> Assigned:
    """Find an assignment of least cost."""
    relaxed, pairs = _relaxation(of)
    if relaxed.values is None:
        return Assigned(agent_of=None, objective=math.inf, bound=math.inf)
    kept = _core(of, relaxed.values[: len(pairs[0])], pairs)
    for allowed in (kept, np.isfinite(of.costs)):
        model, (agents, jobs) = _model(of, allowed, is_whole=True)
        found = solve(model, effort)
        if found.values is None:
            continue
        bound = max(relaxed.bound, found.bound) if allowed.sum() == np.isfinite(of.costs).sum() else relaxed.bound
        chosen = found.values[: len(agents)] > 0.5
        agent_of = np.empty(of.costs.shape[1], dtype=np.int64)
        agent_of[jobs[chosen]] = agents[chosen]
        return Assigned(
            agent_of=agent_of, objective=_objective(of, agent_of), bound=min(bound, _objective(of, agent_of))
        )
    return Assigned(agent_of=None, objective=math.inf, bound=relaxed.bound)


def _objective(of: Assigning, agent_of: Ints) -> float:
    opened = np.unique(agent_of)
    return float(of.costs[agent_of, np.arange(len(agent_of))].sum() + of.opening[opened].sum())


def _relaxation(of: Assigning) -> tuple[Solution, tuple[Ints, Ints]]:
    model, pairs = _model(of, np.isfinite(of.costs), is_whole=False)
    return solve(model), pairs


def _model(of: Assigning, allowed: Flags, *, is_whole: bool) -> tuple[Model, tuple[Ints, Ints]]:
    agents, jobs = np.nonzero(allowed)
    model, columns = Model(), np.arange(len(agents))
    model.add_columns(of.costs[agents, jobs], 1.0, is_whole=is_whole)
    has_opening = bool((of.opening > 0).any())
    opened = model.add_columns(of.opening, 1.0, is_whole=is_whole) if has_opening else 0
    by_job = np.argsort(jobs, kind="stable")
    for job_columns in np.split(by_job, np.searchsorted(jobs[by_job], np.arange(1, of.costs.shape[1]))):
        model.add_row(job_columns, 1.0, lower=1.0, upper=1.0)
    for agent in range(of.costs.shape[0]):
        mine = columns[agents == agent]
        if not len(mine):
            continue
        if not has_opening:
            model.add_row(mine, of.uses[agent, jobs[mine]], upper=float(of.capacity[agent]))
            continue
        switch = opened + agent
        values = np.append(of.uses[agent, jobs[mine]], -of.capacity[agent])
        model.add_row(np.append(mine, switch), values, upper=0.0)
        for column in mine.tolist():
            model.add_row(np.array([column, switch]), np.array([1.0, -1.0]), upper=0.0)
    return model, (agents, jobs)


def _core(of: Assigning, values: Floats, pairs: tuple[Ints, Ints]) -> Flags:
    """Pairs worth branching on: those in the relaxation and, per job, the cheapest few by cost and by use."""
    agents, jobs = pairs
    kept = np.zeros(of.costs.shape, dtype=np.bool_)
    kept[agents, jobs] = values > 1e-9
    if of.costs.shape[0] <= _CORE_AGENTS * 2 or (of.opening > 0).any():
        # Which agents are open decides what is cheap, so opening costs leave no core.
        return np.isfinite(of.costs)
    order = np.argsort(of.costs, axis=0, kind="stable")[:_CORE_AGENTS]
    kept[order, np.arange(of.costs.shape[1])] = True
    return kept & np.isfinite(of.costs)
