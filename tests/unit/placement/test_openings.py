"""Sets of agents that look better than those in use: near, feasible by estimate, never a promise that does not hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.placement.solvers import Assigning, Effort, Watch, assign
from hanse.placement.solvers.openings import promising

pytest.importorskip("highspy", reason="the global solver needs highspy")


def facility(sites: int, customers: int, seed: int, spare: float = 3.0) -> Assigning:
    """Places in a square; serving costs by distance and demand, and each site costs to open."""
    draw = np.random.default_rng(seed)
    here, there = draw.uniform(0, 100, (sites, 2)), draw.uniform(0, 100, (customers, 2))
    demands = draw.integers(5, 30, customers).astype(np.float64)
    distance = np.sqrt(((here[:, None] - there[None]) ** 2).sum(axis=2))
    return Assigning(
        costs=np.floor(distance * demands / 5),
        uses=np.tile(demands, (sites, 1)),
        capacity=np.floor(draw.uniform(0.6, 1.4, sites) * spare * demands.sum() / sites),
        opening=draw.integers(100, 600, sites).astype(np.float64),
    )


def test_one_site_that_serves_all_is_preferred_to_two_that_need_not_both_open():
    costs = np.array([[1.0, 1.0, 9.0], [9.0, 9.0, 1.0], [2.0, 2.0, 2.0]])
    of = Assigning(costs=costs, uses=np.ones((3, 3)), capacity=np.full(3, 3.0), opening=np.array([10.0, 10.0, 10.0]))
    found = promising(of, np.array([True, True, False]), 3)
    assert found[0].tolist() == [False, False, True]
    assert assign(of).objective == 16.0


def test_a_set_without_room_for_all_is_not_promised():
    of = Assigning(costs=np.ones((2, 2)), uses=np.ones((2, 2)), capacity=np.ones(2), opening=np.ones(2))
    assert [one.tolist() for one in promising(of, np.array([True, False]), 5)] == [[True, True]]


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_a_promised_set_never_lacks_the_room_that_its_estimate_used(seed, sites, customers):
    of = facility(sites, customers, seed)
    used = np.random.default_rng(seed + 1).random(sites) < 0.5
    used[0] = True
    for agents in promising(of, used, 4):
        assert agents.any()
        assert of.capacity[agents].sum() >= of.uses[0].sum()


@pytest.mark.parametrize("seed", [3, 4])
def test_facilities_are_located_to_the_optimum_that_a_full_search_proves(seed):
    of = facility(8, 24, seed)
    quick, whole = assign(of, Effort(search_nodes=20)), assign(of, Effort(search_nodes=20_000))
    assert whole.gap <= 1e-6
    assert quick.bound <= whole.objective + 1e-6
    assert quick.objective == pytest.approx(whole.objective, rel=1e-3)


def test_equal_problems_get_equal_answers():
    of = facility(8, 30, 5)
    first, second = (assign(of, Effort(search_nodes=5)) for _ in range(2))
    assert first.agent_of is not None and second.agent_of is not None
    assert first.agent_of.tolist() == second.agent_of.tolist()
    assert (first.objective, first.bound) == (second.objective, second.bound)


def test_a_solver_stops_when_the_callers_clock_says_so_whatever_time_it_is():
    """The clock ticks when it is asked, so that this does not depend on the machine."""
    ticks = iter(range(10**9))
    of = facility(20, 80, 6, spare=2.0)
    found = assign(of, Effort(search_nodes=10**6), Watch(clock_us=lambda: next(ticks), until_us=200))
    assert next(ticks) > 200
    assert found.bound <= found.objective
