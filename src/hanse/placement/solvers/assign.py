"""Assign each job to one agent under capacities, with a fixed cost per agent in use: near the optimum, with a bound.

`Assigning, Effort -> Assigned`. Generalised assignment, and with fixed costs single-source facility location, in five
steps. The linear relaxation, strengthened per agent and job where opening costs, gives a bound and reduced costs. A
kernel of the pairs that look best by them is solved first: small, and near the optimum nearly always. Then some agents
at a time give up their jobs and share them out anew, with agents that are closed, until no such window improves. Where
opening costs, sets of agents near the one in use are tried as a whole: a window sees too few jobs to change the set.
The answer then rules out for good every pair and agent whose reduced cost lies above the gap; what is left is solved.

What the relaxation rules out can be in no better answer, so the last step's bound holds for the whole problem.

Source: Martello, Toth, "Knapsack Problems" (1990), ch. 7; Guastaroba, Speranza, "A heuristic for BILP problems: the
single source capacitated facility location problem", European Journal of Operational Research 238 (2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hanse.placement.solvers.assigning import Assigning
from hanse.placement.solvers.mip import DEFAULT_EFFORT, Effort, Flags, Floats, Ints, Model, Watch, solve
from hanse.placement.solvers.openings import promising

_KERNEL_AGENTS = (3, 6, 12)
"""Agents kept per job in the kernel, besides those the relaxation uses; the next where the one before has no answer."""
_SMALL_SHARE = 0.1
"""Part of the search nodes that the kernel and each window may use."""
_WINDOW_JOBS = 50
"""Jobs that a window shares out anew: as many as are solved to the end in well under a second."""


_SETS = 3
"""Sets of agents solved before the search for a better one ends: estimates err by less than the third best does."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Relaxed:
    """The linear relaxation: its bound, and per agent and job what using the pair costs beyond it."""

    bound: float
    uses: Flags
    reduced: Floats
    """Infinite for forbidden pairs."""
    opening: Floats
    """The same per agent; zeros where opening costs nothing."""


def assign(of: Assigning, effort: Effort = DEFAULT_EFFORT, watch: Watch | None = None) -> Assigned:
    """Find an assignment of least cost."""
    relaxed = _relaxation(of, watch)
    if relaxed is None:
        return Assigned(agent_of=None, objective=math.inf, bound=math.inf)
    small = replace(effort, search_nodes=math.ceil(effort.search_nodes * _SMALL_SHARE))
    best = _kernel_answer(of, relaxed, small, watch)
    if best is not None:
        best = _by_windows(of, relaxed, best, small, watch)
        best = _by_openings(of, relaxed, best, small, watch)
    gap = math.inf if best is None else _objective(of, best) - relaxed.bound
    if best is not None and gap <= effort.gap * abs(relaxed.bound):
        return Assigned(agent_of=best, objective=_objective(of, best), bound=relaxed.bound)
    # A hair above the gap, so that rounding rules out nothing that is as good.
    most = gap + 1e-6 * max(abs(relaxed.bound), 1.0)
    left = np.isfinite(of.costs) & (relaxed.reduced <= most) & (relaxed.opening <= most)[:, None]
    found, bound = _whole(of, left, effort, best, watch)
    if found is not None and (best is None or _objective(of, found) < _objective(of, best)):
        best = found
    objective = math.inf if best is None else _objective(of, best)
    return Assigned(agent_of=best, objective=objective, bound=min(max(relaxed.bound, bound), objective))


def _kernel_answer(of: Assigning, relaxed: _Relaxed, small: Effort, watch: Watch | None) -> Ints | None:
    for agents in _KERNEL_AGENTS:
        if agents >= of.costs.shape[0]:
            return None
        found, _ = _whole(of, _kernel(of, relaxed, agents), small, None, watch)
        if found is not None:
            return found
    return None


def _kernel(of: Assigning, relaxed: _Relaxed, agents: int) -> Flags:
    """Pairs of the relaxation and, per job, the few that cost least beyond it, the price of opening included."""
    opening = np.where(relaxed.uses.any(axis=1), 0.0, np.maximum(relaxed.opening, 0.0))
    kept = relaxed.uses.copy()
    order = np.argsort(relaxed.reduced + opening[:, None], axis=0, kind="stable")[:agents]
    kept[order, np.arange(of.costs.shape[1])] = True
    return kept & np.isfinite(of.costs)


def _by_windows(of: Assigning, relaxed: _Relaxed, best: Ints, small: Effort, watch: Watch | None) -> Ints:
    """Large-neighbourhood search: each agent in use once with those that could take its jobs most cheaply."""
    seeds, least = list(np.unique(best).tolist()), _objective(of, best)
    for seed in seeds:
        gap = least - relaxed.bound
        if gap <= small.gap * abs(relaxed.bound) or (watch is not None and not watch.left_us):
            break
        is_free = _window(relaxed, best, seed)
        allowed = is_free & (relaxed.reduced <= gap) & (relaxed.opening <= gap)[:, None]
        allowed[best, np.arange(len(best))] = True
        found, _ = _whole(of, allowed, small, best, watch)
        if found is not None and _objective(of, found) < least:
            best, least = found, _objective(of, found)
    return best


def _by_openings(of: Assigning, relaxed: _Relaxed, best: Ints, small: Effort, watch: Watch | None) -> Ints:
    """Solve with the most promising other set of agents, and go on from there while that pays."""
    tried: set[bytes] = set()
    is_done = not (of.opening > 0).any()
    while not is_done:
        is_done, least = True, _objective(of, best)
        used = np.isin(np.arange(len(of.opening)), best)
        tried.add(used.tobytes())
        found = promising(of, used, _SETS + len(tried))
        for agents in [one for one in found if one.tobytes() not in tried][:_SETS]:
            gap = least - relaxed.bound
            if gap <= small.gap * abs(relaxed.bound) or (watch is not None and not watch.left_us):
                return best
            tried.add(agents.tobytes())
            allowed = np.isfinite(of.costs) & (relaxed.reduced <= gap) & agents[:, None]
            if not allowed.any(axis=0).all():
                continue
            other, _ = _whole(of, allowed, small, None, watch)
            if other is not None and _objective(of, other) < least:
                best, is_done = _by_windows(of, relaxed, other, small, watch), False
                break
    return best


def _window(relaxed: _Relaxed, best: Ints, seed: int) -> Flags:
    """The jobs of one agent in use and of those that would serve its jobs most cheaply."""
    opened, mine = np.unique(best), best == seed
    dearness = np.where(np.isfinite(relaxed.reduced), relaxed.reduced, 1e12)[np.ix_(opened, mine)].mean(axis=1)
    is_free = np.asarray(mine)
    for agent in [seed, *opened[np.argsort(dearness, kind="stable")].tolist()]:
        is_free = is_free | (best == agent)
        if is_free.sum() >= _WINDOW_JOBS:
            break
    return is_free


def _whole(
    of: Assigning, allowed: Flags, effort: Effort, start: Ints | None, watch: Watch | None
) -> tuple[Ints | None, float]:
    """The best assignment over some pairs, and what none over them can undercut."""
    model, (agents, jobs) = _model(of, allowed, is_whole=True)
    point = None
    if start is not None:
        point = np.zeros(len(model.costs))
        point[: len(agents)] = start[jobs] == agents
        if len(model.costs) > len(agents):
            point[len(agents) + np.unique(start)] = 1.0
    found = solve(model, effort, point, watch)
    if found.values is None:
        return None, found.bound
    chosen = found.values[: len(agents)] > 0.5
    agent_of = np.empty(of.costs.shape[1], dtype=np.int64)
    agent_of[jobs[chosen]] = agents[chosen]
    return (agent_of, found.bound) if _is_within(of, agent_of) else (None, found.bound)


def _is_within(of: Assigning, agent_of: Ints) -> bool:
    """Tell whether no agent is overfull: the solver's tolerance is not ours."""
    used = np.bincount(agent_of, weights=of.uses[agent_of, np.arange(len(agent_of))], minlength=len(of.capacity))
    return bool((used <= of.capacity * (1 + 1e-12) + 1e-9).all())


def _objective(of: Assigning, agent_of: Ints) -> float:
    opened = np.unique(agent_of)
    return float(of.costs[agent_of, np.arange(len(agent_of))].sum() + of.opening[opened].sum())


def _relaxation(of: Assigning, watch: Watch | None) -> _Relaxed | None:
    """The linear relaxation; None where even that has no answer, or none was found in time."""
    model, (agents, jobs) = _model(of, np.isfinite(of.costs), is_whole=False)
    solution = solve(model, watch=watch)
    if solution.values is None or solution.reduced is None:
        return None
    uses, reduced = np.zeros(of.costs.shape, dtype=np.bool_), np.full(of.costs.shape, np.inf)
    uses[agents, jobs] = solution.values[: len(agents)] > 1e-9
    reduced[agents, jobs] = solution.reduced[: len(agents)]
    opening = solution.reduced[len(agents) :] if len(solution.reduced) > len(agents) else np.zeros(len(of.costs))
    return _Relaxed(bound=solution.bound, uses=uses, reduced=reduced, opening=opening)


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
    if has_opening:
        # Implied by the rows above, but as a row of its own it lets the solver see how many agents must open at all.
        least = np.where(allowed, of.uses, np.inf).min(axis=0).sum()
        if np.isfinite(least):
            model.add_row(opened + np.arange(len(of.opening)), of.capacity, lower=float(least))
    return model, (agents, jobs)
