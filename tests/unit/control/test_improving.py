"""The global solver's proposals: taken where they pay, dropped where the world moved on, and never to and fro."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from placement_worlds import NOW, carried_out, worlds

from hanse.control.improving import pays
from hanse.core.rng import Rng
from hanse.placement import optimise, plan
from hanse.placement.settings import DEFAULT_SETTINGS


def _ask(solver, world, parent):
    snapshot, verdicts = world
    return solver(snapshot, verdicts, parent, now=NOW, rng=Rng(0), trigger="test")


@given(worlds())
@settings(max_examples=40, deadline=None)
def test_a_plan_that_was_adopted_is_not_undone_by_the_next(world) -> None:
    first = _ask(plan, world, None)
    at = (replace(world[0], running=carried_out(first)), world[1])
    deep, fresh = _ask(optimise, at, first), _ask(plan, at, first)
    if not pays(deep, fresh, DEFAULT_SETTINGS):
        return
    after = (replace(world[0], running=carried_out(deep)), world[1])
    next_fresh, next_deep = _ask(plan, after, deep), _ask(optimise, after, deep)
    places = {(a.workload, a.node) for a in deep.assignments}
    assert {(a.workload, a.node) for a in next_fresh.assignments} == places
    assert not pays(next_deep, next_fresh, DEFAULT_SETTINGS)


@given(worlds(), st.integers(1, 60))
@settings(max_examples=15, deadline=None)
def test_a_proposal_for_another_world_is_dropped(world, more: int) -> None:
    first = _ask(plan, world, None)
    deep = _ask(optimise, world, first)
    other = (replace(world[0], intensity_g_per_kwh={"DE": 380 + more}), world[1])
    assert not pays(deep, _ask(plan, other, first), DEFAULT_SETTINGS)
