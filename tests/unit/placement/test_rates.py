"""How often domains are down: stated, observed, assumed; what that makes of counts, places and their reasons."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hanse.core.ids import NodeId, OperatorId, SiteId
from hanse.core.time import DAY_US, HOUR_US
from hanse.core.work import Slo
from hanse.placement import PlacementSettings, posterior_ppm
from hanse.placement.demand import Domains, set_availability_ppm

SETTINGS = PlacementSettings()
ASKED = Slo(availability_ppm=999_000)


def test_what_was_seen_is_weighed_against_what_was_assumed_as_a_month_of_watch() -> None:
    assert posterior_ppm(2_000, 0, 0, SETTINGS) == 2_000
    # 7.2 hours in 30 days are 10,000 ppm; with as much watch behind the assumption the middle of both.
    assert posterior_ppm(2_000, 7 * HOUR_US + HOUR_US // 5, 30 * DAY_US, SETTINGS) == 6_000
    assert posterior_ppm(2_000, 0, 300 * DAY_US, SETTINGS) == 180


@given(st.integers(0, 10**6), st.integers(0, DAY_US), st.integers(0, 400 * DAY_US))
def test_a_share_never_leaves_its_range_nor_falls_by_an_outage(prior: int, down_us: int, watched_us: int) -> None:
    watched_us += down_us
    found = posterior_ppm(prior, down_us, watched_us, SETTINGS)
    assert 0 <= found <= 10**6
    assert found >= posterior_ppm(prior, 0, watched_us, SETTINGS)


def test_a_set_is_as_available_as_its_own_domains_make_it() -> None:
    good, bad = (2_000, 500, 50, 10), (500_000, 500, 50, 10)
    one = [Domains(node=0, site=0, operator=0, country=0, down_ppm=bad)]
    assert set_availability_ppm(one, SETTINGS) == int(0.5 * 0.9995 * 0.99995 * 0.99999 * 10**6)
    plain = [Domains(node=0, site=0, operator=0, country=0), Domains(node=1, site=1, operator=1, country=1)]
    known = [replace(one, down_ppm=good) for one in plain]
    assert set_availability_ppm(plain, SETTINGS) == set_availability_ppm(known, SETTINGS)


def test_a_place_that_is_down_often_gets_company_and_the_plan_says_why(eu) -> None:
    fabric = eu.fabric()
    work = eu.function("w", slo=Slo(availability_ppm=997_000))
    plain = eu.decide(eu.snapshot(work, fabric=fabric))
    assert eu.nodes_of(plain, "clinic.w") == ["dub-1"], "one is enough where all are assumed alike"
    bad = replace(fabric.nodes[NodeId("dub-1")], down_ppm=300_000)
    made = eu.decide(eu.snapshot(work, fabric=replace(fabric, nodes={**fabric.nodes, bad.id: bad})))
    assert len(eu.nodes_of(made, "clinic.w")) == 2
    assert made.explain(work.id).replicas_why == (
        "2 replicas: fewer of these places would not last, for node/dub-1 is down 300000 ppm of the time, as stated; "
        "else 1 replica gives 99.7441%, which meets 99.7%, because a node is assumed down 2000 ppm of the time; "
        "the places chosen give 99.9231%, for node/dub-1 is down 300000 ppm of the time, as stated"
    )


def test_what_was_observed_goes_before_what_was_stated(eu) -> None:
    fabric, work = eu.fabric(), eu.function("w", slo=Slo(availability_ppm=997_000))
    stated = replace(fabric.sites[SiteId("dub")], down_ppm=100)
    world = eu.snapshot(work, fabric=replace(fabric, sites={**fabric.sites, stated.id: stated}))
    seen = replace(world, observed_down_ppm={"site/dub": 200_000})
    assert len(eu.nodes_of(eu.decide(world), "clinic.w")) == 1
    made = eu.decide(seen)
    assert len(eu.nodes_of(made, "clinic.w")) == 2
    assert "site/dub is down 200000 ppm of the time, as observed" in made.explain(work.id).replicas_why


def test_an_operator_that_fails_as_a_whole_is_not_trusted_with_all_replicas(eu) -> None:
    fabric = eu.fabric()
    weak = replace(fabric.operators[OperatorId("hansa")], down_ppm=100_000)
    fabric = replace(fabric, operators={**fabric.operators, weak.id: weak})
    work = eu.function("w", slo=ASKED)
    made = eu.decide(eu.snapshot(work, fabric=fabric), denied=("dub-1",))
    operators = {fabric.nodes[NodeId(node)].operator for node in eu.nodes_of(made, "clinic.w")}
    assert len(operators) > 1 or "hansa" not in operators
