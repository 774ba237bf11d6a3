"""Proves: noise and lapsed or impossible samples change nothing that placement reads; a real change changes it once."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hanse.core.fabric import Site
from hanse.core.geo import Place, modelled_rtt_us
from hanse.core.ids import CountryCode, SiteId
from hanse.core.time import WallTime
from hanse.core.work import Slo
from hanse.placement import audit, measured_trips, settle
from hanse.placement.distances import LEAST, floor_us
from hanse.wire.survey_messages import SiteTrip, SiteTrips, TripSample

FRA, PAR = SiteId("fra"), SiteId("par")
FRANKFURT = Place(city="Frankfurt", latitude_deg=50.11, longitude_deg=8.68)
PARIS = Place(city="Paris", latitude_deg=48.86, longitude_deg=2.35)
SITES = {
    id_: Site(id=id_, country=CountryCode(c), place=place, grid_zone=c)
    for id_, c, place in ((FRA, "DE", FRANKFURT), (PAR, "FR", PARIS))
}
LIFE_US = 1_800_000_000
STEP_US = 300_000_000
MODEL_US = modelled_rtt_us(FRANKFURT, PARIS)


def told(*rtts_us: int | None, before: SiteTrip | None = None, start: int = 0) -> SiteTrip:
    """One sample after the other, five minutes apart; None was not answered."""
    trip = before
    for step, rtt_us in enumerate(rtts_us, start=start):
        now = WallTime(step * STEP_US)
        sample = None if rtt_us is None else TripSample(now, rtt_us)
        trip = settle(trip, PAR, sample, a=FRANKFURT, b=PARIS, now=now, life_us=LIFE_US)
    assert trip is not None
    return trip


def read(trip: SiteTrip, at_us: int, *, given=None):
    record = SiteTrips(site=FRA, trips=(trip,), life_us=LIFE_US)
    return measured_trips([record], SITES, given or {}, now=WallTime(at_us))


def test_a_slow_line_is_believed_from_the_second_sample_on() -> None:
    assert told(40_100).rtt_us == 0
    assert told(40_100, 40_700).rtt_us == 41_000
    assert read(told(40_100, 40_700), STEP_US) == {(FRA, PAR): 41_000}


def test_what_agrees_with_the_model_leaves_it_standing() -> None:
    assert told(MODEL_US + 1_900, MODEL_US + 100, MODEL_US + 1_000).rtt_us == 0
    assert read(told(MODEL_US, MODEL_US), STEP_US) == {}


def test_one_odd_sample_among_five_changes_nothing() -> None:
    assert told(40_000, 40_000, 40_000, 900_000, 40_300).rtt_us == 40_000


def test_a_line_that_is_mended_is_believed_again() -> None:
    trip = told(40_000, 40_000, 40_000, 40_000, 8_000, 8_000, 8_000)
    assert trip.rtt_us == 8_000


def test_what_no_light_could_do_is_no_measurement() -> None:
    assert 3_000 < floor_us(FRANKFURT, PARIS) < MODEL_US
    assert told(150, 150, 150).samples == ()
    assert told(-1, 0, 10**12).samples == ()


def test_what_lapsed_is_modelled_and_does_not_come_back_by_one_sample() -> None:
    trip = told(40_000, 40_000)
    last_us = STEP_US
    assert read(trip, last_us + LIFE_US - 1) == {(FRA, PAR): 40_000}
    assert read(trip, last_us + LIFE_US) == {}
    assert told(40_000, before=trip, start=20).rtt_us == 0


def test_what_the_operator_gives_comes_first_in_either_direction() -> None:
    trip = told(40_000, 40_000)
    for pair in ((FRA, PAR), (PAR, FRA)):
        assert read(trip, STEP_US, given={pair: 7_000}) == {pair: 7_000}


def test_a_site_that_is_gone_or_moved_away_takes_its_round_trips_along() -> None:
    record = SiteTrips(site=FRA, trips=(told(12_000, 12_000),), life_us=LIFE_US)
    assert measured_trips([record], {FRA: SITES[FRA]}, {}, now=WallTime(STEP_US)) == {}
    far = Site(
        id=PAR, country=CountryCode("SG"), place=Place(city="Singapore", latitude_deg=1.3, longitude_deg=103.8),
        grid_zone="SG",
    )  # fmt: skip
    assert measured_trips([record], {**SITES, PAR: far}, {}, now=WallTime(STEP_US)) == {}


@given(st.lists(st.one_of(st.none(), st.integers(-(10**15), 10**15)), min_size=1, max_size=20))
def test_never_less_than_light_needs_nor_more_than_ten_seconds(samples: list[int | None]) -> None:
    trip = told(*samples)
    at_us = (len(samples) - 1) * STEP_US
    for rtt_us in read(trip, at_us).values():
        assert isinstance(rtt_us, int)
        assert floor_us(FRANKFURT, PARIS) <= rtt_us <= 10_000_000
    assert len(trip.samples) <= 5
    assert read(trip, at_us + LIFE_US) == {}, "a stale value was used"


@given(st.integers(15_000, 2_000_000), st.lists(st.integers(-1_000, 1_000), min_size=LEAST, max_size=30))
def test_noise_within_the_band_never_changes_what_placement_reads(base_us: int, noise_us: list[int]) -> None:
    trip = told(base_us, base_us)
    first = trip.rtt_us
    for step, extra_us in enumerate(noise_us, start=2):
        trip = told(base_us + extra_us, before=trip, start=step)
        assert trip.rtt_us == first


def test_why_a_node_is_too_far_says_that_it_was_measured(eu) -> None:
    spec = eu.function(slo=Slo(latency_p99_us=25_000, origins=("Frankfurt",)))
    plain = eu.snapshot(spec)
    world = replace(plain, rtt_us={(SiteId("fra"), SiteId("par")): 41_000})
    made = eu.decide(world)
    assert audit(made, world, eu.verdicts(world)) == ()
    (told_of,) = [c for c in made.explain(spec.id).candidates if c.node == "par-1"]
    assert told_of.reasons[0].message == (
        "node par-1 is 41.0ms from Frankfurt, its nearest origin, as measured; "
        "with 2.0ms of service that is beyond 25.0ms"
    )
    (modelled,) = [c for c in eu.decide(plain).explain(spec.id).candidates if c.node == "par-1"]
    assert modelled.is_feasible
