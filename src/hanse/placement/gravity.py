"""What data pulls: the money and the time that reading it from each site takes, and that moving state there takes.

`data sets or state, fabric -> Pull per site`. Sending is paid to who sends: at the lowest egress price among the nodes
of the source site, for the site or country that receives, else for the internet. A copy at the site itself is free
unless a price for that site says otherwise. Reading from elsewhere goes at the assumed rate of an uplink.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from hanse.core.fabric import Fabric, Node, Price, Site
from hanse.core.ids import SiteId
from hanse.core.units import PERIODS_US
from hanse.core.work import Workload
from hanse.placement.settings import PlacementSettings
from hanse.placement.table import Ints

_GIB = 2**30
_MONTH_US = PERIODS_US["month"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """What data costs a replica at one site: per month for reading, once for moving."""

    money_microeur: Fraction
    wait_us: Fraction
    """Time spent waiting for it."""


NO_PULL = Pull(money_microeur=Fraction(0), wait_us=Fraction(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gravity:
    """Egress prices between the sites of one fabric, looked up once per pair; made anew when the fabric changes."""

    fabric: Fabric
    settings: PlacementSettings
    site_ids: Sequence[SiteId]
    """Sites in the order of the columns."""
    prices: dict[SiteId, Counter[Price]] = field(default_factory=dict, compare=False)
    """What the nodes of each site ask, and how many do; read when first asked for, since most plans never do."""

    def renewed(self, fabric: Fabric, left: Iterable[Node], come: Iterable[Node]) -> Gravity:
        """The same for a fabric where some nodes are gone or as they were no more, and others new. Takes over."""
        if self.prices:
            for node in left:
                self.prices[node.site][node.price] -= 1
                self.prices[node.site] = +self.prices[node.site]
            for node in come:
                self.prices.setdefault(node.site, Counter())[node.price] += 1
        return replace(self, fabric=fabric)

    def is_swayed(self, left: Iterable[Node], come: Iterable[Node]) -> bool:
        """Tell whether such a change is one of what sending from a site costs: it then counts at every other site."""
        after: dict[SiteId, Counter[Price]] = {}
        for nodes, times in ((left, -1), (come, 1)):
            for node in nodes if self.prices else ():
                known = self.prices.get(node.site, Counter())
                after.setdefault(node.site, Counter(known))[node.price] += times
        return any(_tariffs(counts) != _tariffs(self.prices.get(site, {})) for site, counts in after.items())

    def of(self, workload: Workload, site: SiteId) -> Pull:
        """What reading its data sets costs a replica at a site per month."""
        return reading(workload, self.fabric.sites[site], self._sources(), self.settings)

    def columns(self, workload: Workload) -> tuple[Ints, Ints]:
        """Money (microeur per month) and priced waiting (microeur per month) per site."""
        pulls = [self.of(workload, site) for site in self.site_ids]
        waits = [waiting_microeur(pull, self.settings) for pull in pulls]
        return _ints(pull.money_microeur for pull in pulls), _ints(waits)

    def moves(self, state_bytes: int, sources: Iterable[SiteId]) -> tuple[Ints, Ints]:
        """Money (microeur) and time (us) of moving state to each site, once, from wherever of `sources` is cheapest."""
        held = tuple(sources)
        pulls = [_fetch(state_bytes, held, self.fabric.sites[s], self._sources(), self.settings) for s in self.site_ids]
        return _ints(pull.money_microeur for pull in pulls), _ints(pull.wait_us for pull in pulls)

    def _sources(self) -> Mapping[SiteId, Collection[Price]]:
        if not self.prices:
            self.prices.update(prices_at(self.fabric))
        return self.prices


def prices_at(fabric: Fabric) -> Mapping[SiteId, Counter[Price]]:
    """What the nodes of each site ask, each list once, and how many ask it."""
    found: dict[SiteId, Counter[Price]] = {}
    for node in fabric.nodes.values():
        found.setdefault(node.site, Counter())[node.price] += 1
    return found


def _tariffs(prices: Mapping[Price, int]) -> set[tuple[int, tuple[tuple[str, int], ...]]]:
    return {(price.egress_gib_microeur, price.egress_to) for price, count in prices.items() if count > 0}


def reading(
    workload: Workload, to: Site, prices: Mapping[SiteId, Collection[Price]], settings: PlacementSettings
) -> Pull:
    """What reading all its data sets costs a replica at one site per month."""
    amounts = {one.dataset: one.bytes_month for one in workload.data.reads}
    money, wait = Fraction(0), Fraction(0)
    for one in workload.data.sets:
        stated = amounts.get(one.id)
        amount = Fraction(one.size_bytes if stated is None else stated)
        if stated is None and workload.job is not None:
            # Once per run: as if such runs followed each other for a month, as all of a job's monthly figures are.
            amount = amount * _MONTH_US / workload.job.duration_us
        pull = _fetch(amount, one.sites, to, prices, settings)
        money, wait = money + pull.money_microeur, wait + pull.wait_us
    return Pull(money_microeur=money, wait_us=wait)


def waiting_microeur(pull: Pull, settings: PlacementSettings) -> Fraction:
    """The price of the time spent waiting for data."""
    return pull.wait_us * settings.transfer_microeur_per_hour / PERIODS_US["hour"]


def egress_gib_microeur(price: Price, source: SiteId, to: Site) -> int:
    """What a node asks per GiB sent from its site to another."""
    rows = dict(price.egress_to)
    if to.id in rows:
        return rows[to.id]
    if source == to.id:
        return 0
    return rows.get(to.country, price.egress_gib_microeur)


def _fetch(
    amount: Fraction | int,
    sources: Sequence[SiteId],
    to: Site,
    prices: Mapping[SiteId, Collection[Price]],
    settings: PlacementSettings,
) -> Pull:
    """From the copy that costs least; a local one needs no uplink."""
    if to.id in sources:
        local = min((egress_gib_microeur(price, to.id, to) for price in prices.get(to.id, ())), default=0)
        return Pull(money_microeur=amount * Fraction(local, _GIB), wait_us=Fraction(0))
    asked = (egress_gib_microeur(price, source, to) for source in sources for price in prices.get(source, ()))
    cheapest = min(asked, default=0)
    wait_us = Fraction(amount) * 10**6 / settings.fetch_bytes_per_s if sources else Fraction(0)
    return Pull(money_microeur=amount * Fraction(cheapest, _GIB), wait_us=wait_us)


def _ints(values: Iterable[Fraction]) -> Ints:
    return np.array([round(value) for value in values], dtype=np.int64)
