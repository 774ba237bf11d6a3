"""Assignment against brute force: never overfull, never below the optimum, never a bound above it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.placement.solvers import Assigning, Model, assign, solve

pytest.importorskip("highspy", reason="the global solver needs highspy")


@st.composite
def instances(draw) -> Assigning:
    agents, jobs = draw(st.integers(1, 3)), draw(st.integers(1, 5))

    def table(low, high, *shape):
        size = int(np.prod(shape))
        return np.array(draw(st.lists(st.integers(low, high), min_size=size, max_size=size)), dtype=float).reshape(
            shape
        )

    costs = table(0, 30, agents, jobs)
    costs[table(0, 5, agents, jobs) == 0] = np.inf
    return Assigning(
        costs=costs,
        uses=table(1, 9, agents, jobs),
        capacity=table(0, 25, agents),
        opening=table(0, 20, agents) if draw(st.booleans()) else np.zeros(agents),
    )


def best_of(of: Assigning) -> float:
    agents, jobs = of.costs.shape
    best = np.inf
    for chosen in product(range(agents), repeat=jobs):
        rows = list(chosen)
        used = np.bincount(rows, weights=of.uses[rows, range(jobs)], minlength=agents)
        if (used <= of.capacity).all():
            best = min(best, of.costs[rows, range(jobs)].sum() + of.opening[sorted(set(rows))].sum())
    return float(best)


@given(instances())
@settings(max_examples=100, deadline=None)
def test_small_assignments_are_solved_to_the_optimum(of):
    found, best = assign(of), best_of(of)
    if found.agent_of is None:
        assert best == np.inf
        return
    assert found.objective == pytest.approx(best)
    assert found.bound <= best + 1e-6
    assert found.gap == pytest.approx(0.0, abs=1e-6)


def test_an_empty_model_costs_nothing_and_a_contradiction_has_no_point():
    assert solve(Model()).objective == 0.0
    model = Model()
    model.add_columns([1.0], 1.0)
    model.add_row(np.array([0]), 1.0, lower=2.0)
    assert solve(model).values is None
