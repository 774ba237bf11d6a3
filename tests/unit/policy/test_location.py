"""Proves: physics contradicts only what cannot be, a bound holds, and both decide while they last."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.core.fabric import Fabric, Grade, Measured
from hanse.core.geo import FIBRE_M_PER_US, Place, great_circle_m
from hanse.core.ids import NodeId
from hanse.core.time import WallTime
from hanse.core.work import Data
from hanse.policy import PackSet, RoundTrip, grade_at, locate, screen
from hanse.policy.location import GRADE_RADIUS_M, PLACE_M, circle_m

LIFE_US = 1_000_000
FRANKFURT = Place(city="Frankfurt", latitude_deg=50.11, longitude_deg=8.68)
DUBLIN = Place(city="Dublin", latitude_deg=53.35, longitude_deg=-6.26)
ASHBURN = Place(city="Ashburn", latitude_deg=39.04, longitude_deg=-77.49)
places = st.builds(
    lambda lat, lon: Place(city="x", latitude_deg=lat, longitude_deg=lon),
    st.floats(-89, 89, allow_nan=False), st.floats(-180, 180, allow_nan=False),
)  # fmt: skip


def trip(place: Place, rtt_us: int, *, name: str = "node/l", at_us: int = 0) -> RoundTrip:
    return RoundTrip(landmark=name, place=place, rtt_us=rtt_us, at_us=at_us)


def located(claim: Place, *trips: RoundTrip) -> Measured:
    found = locate(claim, trips, LIFE_US)
    assert found is not None
    return found


def test_a_claim_beside_the_landmark_is_measured() -> None:
    found = located(FRANKFURT, trip(FRANKFURT, 600))
    assert (found.contradiction, found.radius_m) == ("", 100_000)
    assert found.label == "within 100 km"


def test_a_machine_in_the_wrong_rack_is_told_from_one_in_dublin() -> None:
    found = located(DUBLIN, trip(FRANKFURT, 1_600, name="node/fra-1"))
    assert found.contradiction == (
        "it answered node/fra-1 in Frankfurt within 1.6 ms, so it is within 159 km of there, and Dublin is "
        "1,087 km away"
    )


def test_a_late_answer_contradicts_nothing_and_bounds_little() -> None:
    """A liar that waits is as far away as it likes: it gets no grade for that."""
    found = located(FRANKFURT, trip(FRANKFURT, 88_000))
    assert not found.contradiction
    assert found.radius_m > GRADE_RADIUS_M


def test_of_several_landmarks_the_nearest_bounds_and_any_contradicts() -> None:
    near, far = trip(FRANKFURT, 500, name="node/a"), trip(DUBLIN, 20_000, name="node/b")
    assert located(FRANKFURT, near, far).radius_m == 50_000
    beside_ashburn = trip(ASHBURN, 900, name="node/c", at_us=7)
    both = located(FRANKFURT, near, beside_ashburn)
    assert "Ashburn" in both.contradiction, "two landmarks that cannot both be right: the claim is not believed"
    assert (both.since_us, both.until_us) == (0, LIFE_US)


def test_without_a_round_trip_nothing_is_said() -> None:
    assert locate(FRANKFURT, (), LIFE_US) is None


@given(truth=places, landmark=places, delay_us=st.integers(0, 400_000))
def test_never_is_a_node_contradicted_that_is_where_it_says(truth: Place, landmark: Place, delay_us: int) -> None:
    rtt_us = int(2 * great_circle_m(truth, landmark) / FIBRE_M_PER_US) + 1 + delay_us
    found = located(truth, trip(landmark, rtt_us))
    assert not found.contradiction


@given(truth=places, claim=places, landmark=places, delay_us=st.integers(0, 400_000))
def test_never_is_a_node_farther_from_its_claim_than_its_bound(
    truth: Place, claim: Place, landmark: Place, delay_us: int
) -> None:
    rtt_us = int(2 * great_circle_m(truth, landmark) / FIBRE_M_PER_US) + 1 + delay_us
    assert great_circle_m(truth, claim) <= located(claim, trip(landmark, rtt_us)).radius_m + 2


@given(claim=places, landmark=places, rtt_us=st.integers(0, 400_000))
def test_a_contradiction_is_a_claim_outside_the_circle(claim: Place, landmark: Place, rtt_us: int) -> None:
    beyond = great_circle_m(claim, landmark) - circle_m(rtt_us) - PLACE_M
    if abs(beyond) > 2:
        assert bool(located(claim, trip(landmark, rtt_us)).contradiction) is (beyond > 0)


@pytest.mark.parametrize(
    ("measured", "stated", "grade"),
    [
        (None, Grade.SIGNED, Grade.SIGNED),
        (located(FRANKFURT, trip(FRANKFURT, 600)), Grade.SIGNED, Grade.MEASURED),
        (located(FRANKFURT, trip(FRANKFURT, 600)), Grade.ATTESTED, Grade.ATTESTED),
        (located(FRANKFURT, trip(FRANKFURT, 90_000)), Grade.SIGNED, Grade.SIGNED),
        (located(DUBLIN, trip(FRANKFURT, 600)), Grade.ATTESTED, Grade.CLAIMED),
    ],
)
def test_what_follows_for_the_grade(fabric: Fabric, measured: Measured | None, stated: Grade, grade: Grade) -> None:
    node = replace(fabric.nodes[NodeId("fra-1")], grade=stated, measured=measured)
    assert grade_at(node, WallTime(LIFE_US - 1)) is grade
    assert grade_at(node, WallTime(LIFE_US)) is stated, "it has ended"


def test_a_contradicted_place_serves_no_demand_on_places_until_it_ends(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    found = replace(located(DUBLIN, trip(FRANKFURT, 600)), since_us=now, until_us=now + LIFE_US)
    caught = replace(fabric.nodes[NodeId("fra-1")], measured=found)
    after = replace(fabric, nodes={**fabric.nodes, caught.id: caught})
    bound = make.workload("bound", data=Data(classes=("personal",), subjects=("EEA",)), location_only=("DE",))
    free = make.workload("free", data=Data(classes=("public",)))
    screening = screen({bound.id: bound, free.id: free}, after, packs, now)
    assert screening.allows(free.id, caught.id)
    verdict = screening.of(bound.id, caught.id)
    assert [reason.rule for reason in verdict.reasons] == ["location.contradicted"]
    assert verdict.reasons[0].message == (
        "fra-1 says that it stands in Germany (DE), and cannot: it answered node/l in Frankfurt within 0.6 ms, so it "
        "is within 59 km of there, and Dublin is 1,087 km away"
    )
    nearest = [change.what for change in screening.changes_on(bound.id, caught.id)]
    assert any(what.startswith("Have landmarks of the domain find hafen's nodes in DE") for what in nearest)
    assert screening.next_change_us == now + LIFE_US, "it is screened again when the measurement ends"
    later = screen({bound.id: bound}, after, packs, WallTime(now + LIFE_US), screening.cache)
    assert later.allows(bound.id, caught.id)


def test_a_measured_place_meets_a_demand_for_grade_3(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload("exact", grade=3)
    node = fabric.nodes[NodeId("fra-1")]
    vouched = replace(fabric.operators[node.operator], grade=Grade.MEASURED)
    found = replace(located(FRANKFURT, trip(FRANKFURT, 600)), since_us=now, until_us=now + LIFE_US)
    fabric = replace(fabric, operators={**fabric.operators, vouched.id: vouched})
    assert not screen({work.id: work}, fabric, packs, now).allows(work.id, node.id)
    seen = replace(fabric, nodes={**fabric.nodes, node.id: replace(node, measured=found)})
    assert screen({work.id: work}, seen, packs, now).allows(work.id, node.id)
