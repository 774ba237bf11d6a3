"""Places on the globe and the least time that light in fibre needs between them.

`Place, Place -> microseconds`. The latency model is used until measurements replace it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

EARTH_RADIUS_M = 6_371_000.0
FIBRE_M_PER_US = 299.792458 * 2 / 3
"""Light in glass travels at about two thirds of c: 200 m per microsecond."""
FLOOR_ONE_WAY_US = 250
"""What switching and the last mile add even within a city; half a millisecond round trip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A named point: WGS 84 degrees, latitude -90..90, longitude -180..180."""

    city: str
    latitude_deg: float
    longitude_deg: float


def great_circle_m(a: Place, b: Place) -> float:
    """Distance over the sphere in metres (haversine)."""
    phi_a, phi_b = math.radians(a.latitude_deg), math.radians(b.latitude_deg)
    d_phi, d_lambda = phi_b - phi_a, math.radians(b.longitude_deg - a.longitude_deg)
    h = math.sin(d_phi / 2) ** 2 + math.cos(phi_a) * math.cos(phi_b) * math.sin(d_lambda / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(h)))


def modelled_rtt_us(a: Place, b: Place) -> int:
    """Model the round trip in microseconds: great circle at 2/3 c both ways, plus a floor."""
    return round(2 * great_circle_m(a, b) / FIBRE_M_PER_US) + 2 * FLOOR_ONE_WAY_US
