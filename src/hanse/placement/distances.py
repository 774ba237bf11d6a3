"""Round trips between sites as nodes measure them: `what stood, new samples -> what placement goes by`.

The model (great circles in fibre) holds until measurements disagree with it for good. Three things keep noise out of
plans: the median of the last few samples counts, never one alone; what stands is kept while the median is within a
fifth or two milliseconds of it; and what replaces it is a whole millisecond. A sample that light could not make between
the places that the sites claim is no measurement of that way and is not used. Asks nobody and keeps no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hanse.core.fabric import Site
from hanse.core.geo import FIBRE_M_PER_US, Place, great_circle_m, modelled_rtt_us
from hanse.core.ids import SiteId
from hanse.core.time import US_PER_MS, US_PER_S, WallTime
from hanse.wire.survey_messages import SiteTrip, SiteTrips, TripSample

KEPT = 5
"""Samples per pair: two odd ones among five do not move a median."""
LEAST = 2
"""Fresh samples before anything is taken: one alone may have met a full queue."""
BAND_PERCENT = 20
BAND_US = 2 * US_PER_MS
"""What stands is kept while the median differs by no more than the larger of the two."""
MOST_US = 10 * US_PER_S
"""Longer than any way on Earth, satellites included; what claims more is broken."""
NEAR_M = 25_000
"""Sites of one city are as near as this, whatever their coordinates say."""
SKEW_US = 300 * US_PER_S
"""How far ahead another leader's clock may have been."""


def floor_us(a: Place, b: Place) -> int:
    """Give the least round trip in microseconds between two places: light in fibre, straight, edges of cities apart."""
    return int(2 * max(0.0, great_circle_m(a, b) - NEAR_M) / FIBRE_M_PER_US)


def settle(
    before: SiteTrip | None, to: SiteId, sample: TripSample | None, *, a: Place, b: Place, now: WallTime, life_us: int
) -> SiteTrip:
    """Take one sample in (None: it was not answered) and say what placement goes by from now on."""
    held = () if before is None else before.samples
    if sample is not None:
        held = (*held, sample)
    least = floor_us(a, b)
    samples = tuple(s for s in held if _is_fresh(s, now, life_us) and least <= s.rtt_us <= MOST_US)[-KEPT:]
    # What lapsed is no longer what stands: whoever comes back after a silence is judged against the model.
    standing = before.rtt_us if before is not None and samples != (sample,) and least <= before.rtt_us else 0
    if len(samples) < LEAST:
        return SiteTrip(to=to, rtt_us=standing if samples else 0, samples=samples)
    middle = sorted(s.rtt_us for s in samples)[(len(samples) - 1) // 2]
    reference = standing or modelled_rtt_us(a, b)
    if abs(middle - reference) > max(BAND_US, reference * BAND_PERCENT // 100):
        # Up, so that it is never less than what light needs.
        standing = max(1, -(-middle // US_PER_MS)) * US_PER_MS
    return SiteTrip(to=to, rtt_us=standing, samples=samples)


def measured_trips(
    records: Iterable[SiteTrips],
    sites: Mapping[SiteId, Site],
    given: Mapping[tuple[SiteId, SiteId], int],
    *,
    now: WallTime,
) -> Mapping[tuple[SiteId, SiteId], int]:
    """Round trips by pair of sites: those `given` by the operator, and for other pairs what is measured and fresh.

    Pairs that are in neither are modelled. In order of the pair, the given ones first.
    """
    found = dict(given)
    for record in sorted(records, key=lambda one: one.site):
        for trip in sorted(record.trips, key=lambda one: one.to):
            pair = record.site, trip.to
            if (
                trip.rtt_us <= 0
                or pair in given
                or (trip.to, record.site) in given
                or record.site not in sites
                or trip.to not in sites
            ):
                continue
            is_alive = any(_is_fresh(sample, now, record.life_us) for sample in trip.samples)
            least = floor_us(sites[record.site].place, sites[trip.to].place)
            if is_alive and least <= trip.rtt_us <= MOST_US + US_PER_MS:
                found[pair] = trip.rtt_us
    return found


def _is_fresh(sample: TripSample, now: WallTime, life_us: int) -> bool:
    return -SKEW_US <= now - sample.at_us < life_us
