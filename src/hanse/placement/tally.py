"""In how many different failure domains a workload could stand, kept up to date as single nodes come and go.

`columns, rows -> Tally`. Counting all nodes again at each event would cost as much as the fabric is large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hanse.placement.demand import Spread
from hanse.placement.table import Ints, NodeTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many of the nodes that may keep a replica lie in each domain and serve each set of origins, by number."""

    site: Ints
    operator: Ints
    country: Ints
    mask: Ints

    @property
    def distinct(self) -> Mapping[Spread, int]:
        """How many different domains there are of each kind."""
        return {
            Spread.NODE: int(self.site.sum()),
            Spread.SITE: int(np.count_nonzero(self.site)),
            Spread.OPERATOR: int(np.count_nonzero(self.operator)),
            Spread.JURISDICTION: int(np.count_nonzero(self.country)),
        }


def tally_of(table: NodeTable, rows: Ints, masks: Ints) -> Tally:
    """Count some nodes; `masks` are the numbers of the sets of origins that each serves."""
    return Tally(
        site=np.bincount(table.site[rows]),
        operator=np.bincount(table.operator[rows]),
        country=np.bincount(table.country[rows]),
        mask=np.bincount(masks),
    )


def with_tally(all_of: Tally, some: Tally, times: int) -> Tally:
    """A tally with another added to it, or taken from it with -1."""
    columns = (_summed(getattr(all_of, name), getattr(some, name) * times) for name in Tally.__slots__)
    return Tally(**dict(zip(Tally.__slots__, columns, strict=True)))


def _summed(one: Ints, other: Ints) -> Ints:
    found = np.zeros(max(len(one), len(other)), dtype=np.int64)
    found[: len(one)] += one
    found[: len(other)] += other
    return found
