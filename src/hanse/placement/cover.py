"""Covering origins: how many replicas it takes until each has one in time, and which first steps leave that possible.

`sets of origins as bits -> a count, or the sets that are good`. Knows neither nodes nor scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

_EXACT_ORIGINS = 12
"""Up to this many origins the least cover is exact (4,096 states); beyond it greedy, which never claims too few."""


def least_cover(wanted: int, masks: Sequence[int]) -> int:
    """Fewest of `masks` (sets as bits) whose union has every coverable bit of `wanted`; at least 1."""
    reachable = 0
    for mask in masks:
        reachable |= mask
    return max(1, _fewest(wanted & reachable, masks))


@lru_cache(maxsize=4_096)
def good_masks(missing: int, masks: tuple[int, ...], after: int) -> frozenset[int]:
    """Those of some sets of origins after which `after` more can cover what is missing; else those that leave least."""
    reachable = 0
    for mask in masks:
        reachable |= mask
    good = frozenset(mask for mask in masks if _fewest(missing & reachable & ~mask, masks) <= after)
    if good:
        return good
    left = {mask: (missing & ~mask).bit_count() for mask in masks}
    return frozenset(mask for mask in masks if left[mask] == min(left.values()))


def _fewest(wanted: int, masks: Sequence[int]) -> int:
    """Fewest masks whose union contains `wanted`, which must be coverable; exact up to `_EXACT_ORIGINS` bits."""
    useful = sorted({mask & wanted for mask in masks if mask & wanted})
    if wanted.bit_count() > _EXACT_ORIGINS:
        return _fewest_greedily(wanted, useful)
    count, reached = 0, {0}
    while wanted not in reached:
        count += 1
        reached = {have | mask for have in reached for mask in useful}
    return count


def _fewest_greedily(wanted: int, useful: Sequence[int]) -> int:
    count, missing = 0, wanted
    while missing:
        missing &= ~max(useful, key=lambda mask: ((mask & missing).bit_count(), mask))
        count += 1
    return count
