"""Replica counts follow from failure domains: the least count and spread that meet the target, with the reason."""

from __future__ import annotations

from itertools import product

import pytest

from hanse.core.work import Slo
from hanse.placement import PlacementSettings
from hanse.placement.demand import Domains, Spread, demand, set_availability_ppm, spread_availability_ppm

RATES = PlacementSettings()
ANYWHERE = dict.fromkeys(Spread, 100)


@pytest.mark.parametrize(
    ("target", "replicas", "spread"),
    [
        (None, 1, Spread.NODE),
        (990_000, 1, Spread.NODE),
        (997_441, 1, Spread.NODE),
        (999_400, 2, Spread.NODE),
        (999_500, 2, Spread.SITE),
        (999_940, 2, Spread.OPERATOR),
        (999_990, 2, Spread.JURISDICTION),
        (999_999, 3, Spread.JURISDICTION),
    ],
)
def test_the_least_count_and_spread_that_meet_the_target(eu, target, replicas, spread):
    found = demand(eu.function(slo=Slo(availability_ppm=target)), ANYWHERE, 1, RATES)
    assert (found.replicas, found.spread) == (replicas, spread)


def test_the_sentence_names_the_assumption_that_carries_the_count(eu):
    found = demand(eu.function(slo=Slo(availability_ppm=999_940)), ANYWHERE, 1, RATES)
    assert found.why == (
        "2 replicas on different operators give 99.9983% where 1 would give 99.7441% and 99.994% is asked; the "
        "jurisdiction, still shared and assumed down 10 ppm of the time, carries this"
    )


def test_replicas_that_share_nothing_rest_on_independence(eu):
    found = demand(eu.function(slo=Slo(availability_ppm=999_990)), ANYWHERE, 1, RATES)
    assert found.why.endswith(
        "; that jurisdictions fail independently of each other, each assumed down 10 ppm of the time, carries this"
    )


def test_places_too_close_together_say_what_they_can_give(eu):
    one_site = {Spread.NODE: 5, Spread.SITE: 1, Spread.OPERATOR: 1, Spread.JURISDICTION: 1}
    found = demand(eu.function(slo=Slo(availability_ppm=999_500)), one_site, 1, RATES)
    assert found.replicas == 2
    assert found.why == (
        "2 replicas on different sites would be the least for 99.95%; the legal and reachable places do not lie that "
        "far apart, so 99.9436% is the most to expect"
    )


def test_a_target_nobody_can_meet_is_said_to_be_one(eu):
    found = demand(eu.function(slo=Slo(availability_ppm=1_000_000)), ANYWHERE, 1, RATES)
    assert found.replicas == RATES.most_replicas
    assert "cannot be met by any number of replicas" in found.why


def test_other_rates_give_other_counts(eu):
    spec = eu.function(slo=Slo(availability_ppm=999_500))
    assert demand(spec, ANYWHERE, 1, PlacementSettings(node_down_ppm=100, site_down_ppm=100)).replicas == 1
    assert demand(spec, ANYWHERE, 1, PlacementSettings(node_down_ppm=100_000)).replicas == 4


def test_availability_of_a_set_agrees_with_enumerating_every_failure():
    replicas = (
        Domains(node=0, site=0, operator=0, country=0),
        Domains(node=1, site=0, operator=1, country=0),
        Domains(node=2, site=1, operator=0, country=1),
    )
    rates = PlacementSettings(
        node_down_ppm=50_000, site_down_ppm=30_000, operator_down_ppm=20_000, jurisdiction_down_ppm=10_000
    )
    parts = [(kind, i) for kind, size in (("n", 3), ("s", 2), ("o", 2), ("c", 2)) for i in range(size)]
    rate = {"n": 0.05, "s": 0.03, "o": 0.02, "c": 0.01}
    up = 0.0
    for state in product((False, True), repeat=len(parts)):
        failed = {part for part, down in zip(parts, state, strict=True) if down}
        chance = 1.0
        for part, down in zip(parts, state, strict=True):
            chance *= rate[part[0]] if down else 1 - rate[part[0]]
        if any(not failed & {("n", r.node), ("s", r.site), ("o", r.operator), ("c", r.country)} for r in replicas):
            up += chance
    assert abs(set_availability_ppm(replicas, rates) - up * 1_000_000) <= 1


@pytest.mark.parametrize("spread", Spread)
def test_a_set_as_spread_as_assumed_is_as_available_as_assumed(spread):
    column = {level: [0, 1, 2] if level <= spread else [0, 0, 0] for level in Spread}
    replicas = [
        Domains(
            node=column[Spread.NODE][i],
            site=column[Spread.SITE][i],
            operator=column[Spread.OPERATOR][i],
            country=column[Spread.JURISDICTION][i],
        )
        for i in range(3)
    ]
    assert set_availability_ppm(replicas, RATES) == spread_availability_ppm(3, spread, RATES)
