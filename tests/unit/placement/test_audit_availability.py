"""The auditor works availability out anew: it agrees with the planner on any set and finds what is not so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placement_worlds import fabrics

from hanse.core.ids import PlanId, WorkloadId
from hanse.core.plan import Shortfall
from hanse.core.snapshot import Snapshot
from hanse.core.work import Slo
from hanse.placement import PlacementSettings, audit
from hanse.placement import demand as planner_side
from hanse.placement.audit_availability import _domains, up_ppm
from hanse.placement.demand import set_availability_ppm
from hanse.placement.planner import plan_digest
from hanse.placement.rates import domains_of, rates_of
from hanse.placement.table import node_table

W = WorkloadId("clinic.w")
SETTINGS = PlacementSettings()
DOWN = st.one_of(st.none(), st.integers(0, 300_000))


def asks(eu, availability_ppm: int, **more):
    return eu.function("w", slo=Slo(availability_ppm=availability_ppm), **more)


def claimed(plan, **changes):
    """The plan with another word on availability, and the id of its contents."""
    story = plan.explanations[W]
    told = replace(story, availability=replace(story.availability, **changes) if changes else None)
    draft = replace(plan, id=PlanId(""), explanations={W: told})
    return replace(draft, id=PlanId(f"p{plan.generation}-{plan_digest(draft)[:16]}"))


def rules(eu, made, world) -> set[str]:
    return {finding.rule for finding in audit(made, world, eu.verdicts(world))}


@given(st.data(), fabrics())
@settings(max_examples=60, deadline=None)
def test_both_ways_to_count_agree_on_every_set(data, fabric) -> None:
    sites = {k: replace(s, down_ppm=data.draw(DOWN)) for k, s in fabric.sites.items()}
    operators = {k: replace(o, down_ppm=data.draw(DOWN)) for k, o in fabric.operators.items()}
    nodes = {k: replace(n, down_ppm=data.draw(DOWN)) for k, n in fabric.nodes.items()}
    fabric = replace(fabric, sites=sites, operators=operators, nodes=nodes)
    seen = {"country/DE": data.draw(st.integers(0, 100_000)), "node/n0": data.draw(st.integers(0, 10**6))}
    at = Snapshot(
        at_us=0, fabric=fabric, reach={}, workloads={}, running=(), intensity_g_per_kwh={}, observed_down_ppm=seen
    )
    table = node_table(at, unknown_zone_g_per_kwh=700, node_down_ppm=SETTINGS.node_down_ppm)
    rows = [table.row_of[n] for n in sorted(data.draw(st.sets(st.sampled_from(sorted(nodes)), min_size=1, max_size=6)))]
    there = domains_of(rates_of(at, table, SETTINGS), table, planner_rows(rows))
    each = [_domains(nodes[table.ids[row]], at, SETTINGS) for row in rows]
    assert abs(set_availability_ppm(there, SETTINGS) - up_ppm(each)) <= 1


def planner_rows(rows):
    import numpy as np

    return np.array(rows, dtype=np.int64)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"reached_ppm": 999_999}, "availability.claim"),
        ({"target_ppm": 1}, "availability.claim"),
        ({}, "availability.unstated"),
    ],
)
def test_a_plan_that_says_too_much_or_nothing_is_refused(eu, changes, rule) -> None:
    world = eu.snapshot(asks(eu, 999_500))
    made = eu.decide(world)
    assert rules(eu, made, world) == set()
    assert rules(eu, claimed(made, **changes), world) == {rule}


def test_a_plan_that_facts_overtook_is_refused_and_the_finding_names_what_carries_it(eu) -> None:
    world = eu.snapshot(asks(eu, 990_000))
    made = eu.decide(world)
    (node,) = eu.nodes_of(made, W)
    shaky = replace(world, observed_down_ppm={f"node/{node}": 50_000})
    (finding,) = [f for f in audit(made, shaky, eu.verdicts(shaky)) if f.rule == "availability.claim"]
    assert f"node/{node} is observed down 50000 ppm of the time" in finding.message


def test_what_falls_short_says_why_and_the_reason_is_checked(eu) -> None:
    world = eu.snapshot(asks(eu, 999_500, replicas=1))
    made = eu.decide(world)
    assert made.explanations[W].availability.shortfall is Shortfall.FIXED
    assert "short of 99.95%: the count is fixed by the spec" in made.explanations[W].replicas_why
    assert rules(eu, made, world) == set()
    for untrue in (None, Shortfall.ROOM, Shortfall.BUDGET, Shortfall.MOST, Shortfall.PLACES):
        assert rules(eu, claimed(made, shortfall=untrue), world) == {"availability.shortfall"}


def test_a_planner_that_counts_sites_as_if_they_never_failed_is_caught(eu, monkeypatch) -> None:
    """A bug planted in the planner's own counting: it forgets what replicas share."""
    honest = planner_side._all_sites_down

    def forgetful(standing):
        return honest([replace(one, site=i) for i, one in enumerate(standing)]) ** 2

    monkeypatch.setattr(planner_side, "_all_sites_down", forgetful)
    planner_side._pattern_availability_ppm.cache_clear()
    try:
        world = eu.snapshot(asks(eu, 999_500))
        assert "availability.claim" in rules(eu, eu.decide(world), world)
    finally:
        planner_side._pattern_availability_ppm.cache_clear()
