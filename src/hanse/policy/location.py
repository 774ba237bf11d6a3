"""Where a node can be, by physics: `claimed place, round trips to landmarks -> Measured`, and the grade that follows.

Nothing outruns light in fibre, so an answer that came back within a round trip lies within half of it at two thirds of
the speed of light in vacuum (200 km per millisecond). A landmark of known place asks, and the node answers with its
signature over a number nobody could guess: it can answer later than it could, never sooner, and so can pretend to be
farther, never nearer. Two things follow. A place outside the circle of any landmark is not where the node is: a
contradiction. And it is no farther from the place it claims than its distance to a landmark and that landmark's circle
together: a bound, which gives the claim grade 3 where it is good enough.

What it cannot do: tell a node that answers late on purpose from one that is far, see a relay that holds the node's key
near the landmark (evidence of hardware binds keys, `hanse.attest`), or bound paths that are faster than fibre.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from hanse.core.fabric import Grade, Measured, Node
from hanse.core.geo import EARTH_RADIUS_M, FIBRE_M_PER_US, Place, great_circle_m
from hanse.core.time import WallTime

PLACE_M = 25_000
"""How far a site may be from the point that stands for it: a metropolitan area. A claim is contradicted beyond it."""
GRADE_RADIUS_M = 1_000_000
"""A claim counts as measured where the node is surely within this distance of it."""
STEPS_M = (50_000, 100_000, 200_000, 500_000, GRADE_RADIUS_M, 2_000_000, 5_000_000, 10_000_000)
"""Radii are rounded up to one of these, so that jitter makes no news."""
EARTH_M = round(EARTH_RADIUS_M * 3.141592653589793)
"""Half the circumference: everything on Earth is within it, so such a radius says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """One landmark's best round trip to a node."""

    landmark: str
    """For people: ``node/fra-1``, ``controller/control-0``."""
    place: Place
    rtt_us: int
    """The least of several; at least 0."""
    at_us: int
    """Wall time."""


def circle_m(rtt_us: int) -> int:
    """How far away an answer that took this long can have come from, in metres."""
    return round(rtt_us * FIBRE_M_PER_US / 2)


@lru_cache(maxsize=65_536)
def locate(claim: Place, trips: tuple[RoundTrip, ...], life_us: int) -> Measured | None:
    """Hold a claimed place against round trips, each good for `life_us`; None where there are none.

    The clearest contradiction is told where several landmarks contradict.
    """
    if not trips:
        return None
    away = {trip: great_circle_m(claim, trip.place) for trip in trips}
    beyond = [(round(away[t]) - circle_m(t.rtt_us) - PLACE_M, t.landmark, t) for t in trips]
    worst = max(beyond, key=lambda one: (one[0], one[1]))
    radius = min(round(away[t]) + circle_m(t.rtt_us) for t in trips)
    return Measured(
        landmarks=tuple(sorted({t.landmark for t in trips})), radius_m=_step(radius),
        contradiction="" if worst[0] <= 0 else _sentence(claim, worst[2], round(away[worst[2]])),
        since_us=min(t.at_us for t in trips), until_us=min(t.at_us for t in trips) + life_us,
    )  # fmt: skip


def measured_at(node: Node, now: WallTime) -> Measured | None:
    """What is measured of a node at `now`; what has ended says nothing."""
    found = node.measured
    return None if found is None or found.until_us <= now else found


def grade_at(node: Node, now: WallTime) -> Grade:
    """The grade of what a node says about its place, at `now`: measured, stated, or contradicted, a mere claim."""
    found = measured_at(node, now)
    if found is None:
        return node.grade
    if found.contradiction:
        return Grade.CLAIMED
    return max(node.grade, Grade.MEASURED) if found.radius_m <= GRADE_RADIUS_M else node.grade


def ends_of(nodes: Iterable[Node]) -> Iterable[WallTime]:
    """When what is measured of these nodes ends."""
    return (WallTime(node.measured.until_us) for node in nodes if node.measured is not None)


def _step(radius_m: int) -> int:
    return next((step for step in STEPS_M if radius_m <= step), EARTH_M)


def _sentence(claim: Place, trip: RoundTrip, away_m: int) -> str:
    return (
        f"it answered {trip.landmark} in {trip.place.city} within {trip.rtt_us / 1_000:.1f} ms, so it is within "
        f"{circle_m(trip.rtt_us) // 1_000:,} km of there, and {claim.city} is {away_m // 1_000:,} km away"
    )
