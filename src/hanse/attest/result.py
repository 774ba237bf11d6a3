"""What a verifier found, before reference values are held against it, and the trust vector of both.

`claims of one kind of evidence -> Finding -> AR4SI vector -> status`. Tiers and values after draft-ietf-rats-ar4si:
affirming 2..31, warning 32..95, contraindicated 96..127, 0 where nothing can be said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hanse.core.fabric import Trust
from hanse.core.time import WallTime

AFFIRMING, WARNING, CONTRAINDICATED = 2, 32, 96
CLAIMS = (
    "instance-identity", "configuration", "executables", "file-system", "hardware", "runtime-opaque",
    "storage-opaque", "sourced-data",
)  # fmt: skip
"""The eight claims of AR4SI; those about which evidence says nothing are 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Evidence that holds: its claims, and what it says by itself about each part of the vector."""

    kind: str
    anchor: str
    """Name of the anchor that the endorsements lead to."""
    claims: Mapping[str, str]
    levels: Mapping[str, int] = field(default_factory=dict)
    """Integers with an order: security versions. Reference values may set floors for them."""
    vector: Mapping[str, int]
    advisories: tuple[str, ...] = ()
    until_us: WallTime
    """When the first endorsement ends."""


def tier(value: int) -> Trust:
    """The tier of one value of a vector."""
    if value >= CONTRAINDICATED:
        return Trust.CONTRAINDICATED
    if value >= WARNING:
        return Trust.WARNING
    return Trust.AFFIRMING if value >= AFFIRMING else Trust.NONE


def status_of(vector: Mapping[str, int]) -> Trust:
    """The worst tier of a vector (EAR: `ear.status` is the worst claim); none if nothing is affirmed."""
    worst = max(vector.values(), default=0)
    return tier(worst)
