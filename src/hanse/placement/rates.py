"""How often each failure domain is down: observed where it was seen to fail, else as stated, else as assumed.

`Snapshot, columns -> Rates`. Columns of shares of time in parts per million: nodes by row, sites, operators and
countries by their numbers. What is observed is weighed against what was stated or assumed before (`posterior_ppm`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hanse.core.snapshot import Snapshot
from hanse.placement.demand import (
    MOST_EXACT,
    Domains,
    Spread,
    pattern_availability_ppm,
    set_availability_ppm,
)
from hanse.placement.settings import PlacementSettings
from hanse.placement.table import Ints, NodeTable

_SOURCES = {True: "observed", False: "stated"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares of time that sites, operators and countries are down, ppm; those of nodes are a column of the table."""

    site: Ints
    operator: Ints
    country: Ints
    observed: frozenset[str]
    """Domains whose own history counts, as ``node/x``."""
    site_ids: Sequence[str]
    operator_ids: Sequence[str]
    countries: Sequence[str]
    is_assumed: bool
    """Whether nothing is known of any domain but what the settings assume of all."""

    def column(self, level: Spread, table: NodeTable, rows: Ints) -> Ints:
        """The share of each of some nodes' domain of one level."""
        match level:
            case Spread.NODE:
                return np.asarray(table.down_ppm[rows])
            case Spread.SITE:
                return np.asarray(self.site[table.site[rows]])
            case Spread.OPERATOR:
                return np.asarray(self.operator[table.operator[rows]])
            case Spread.JURISDICTION:
                return np.asarray(self.country[table.country[rows]])

    def name(self, level: Spread, table: NodeTable, row: int) -> str:
        """The domain of one node at one level, as ``site/paris``."""
        match level:
            case Spread.NODE:
                return f"node/{table.ids[row]}"
            case Spread.SITE:
                return f"site/{self.site_ids[int(table.site[row])]}"
            case Spread.OPERATOR:
                return f"operator/{self.operator_ids[int(table.operator[row])]}"
            case Spread.JURISDICTION:
                return f"country/{self.countries[int(table.country[row])]}"


def rates_of(snapshot: Snapshot, table: NodeTable, settings: PlacementSettings) -> Rates:
    """Read the shares of time that domains beyond single nodes are down."""
    fabric, seen = snapshot.fabric, snapshot.observed_down_ppm
    sites, operators, countries = table.site_ids, tuple(table.places.operators), tuple(table.places.countries)
    stated_sites = [fabric.sites[site].down_ppm for site in sites]
    stated_operators = [fabric.operators[operator].down_ppm for operator in operators]
    stated_countries = [
        None if (said := fabric.jurisdictions.get(country)) is None else said.down_ppm for country in countries
    ]
    is_known = any(said is not None for said in (*stated_sites, *stated_operators, *stated_countries))
    return Rates(
        is_assumed=not (seen or is_known or (table.down_ppm != settings.node_down_ppm).any()),
        site=_column("site", sites, stated_sites, seen, settings.site_down_ppm),
        operator=_column("operator", operators, stated_operators, seen, settings.operator_down_ppm),
        country=_column("country", countries, stated_countries, seen, settings.jurisdiction_down_ppm),
        observed=frozenset(seen),
        site_ids=sites,
        operator_ids=operators,
        countries=countries,
    )


def typical(rates: Rates, table: NodeTable, rows: Ints, settings: PlacementSettings) -> PlacementSettings:
    """The settings with what is typical (the median) of some nodes instead of what is assumed of any."""
    if rates.is_assumed or not len(rows):
        return settings
    middle = {level: int(np.median(rates.column(level, table, rows))) for level in Spread}
    assumed = (
        settings.node_down_ppm,
        settings.site_down_ppm,
        settings.operator_down_ppm,
        settings.jurisdiction_down_ppm,
    )
    if tuple(middle.values()) == assumed:
        return settings
    return settings.with_down_ppm(*middle.values())


def availability_ppm(rates: Rates, table: NodeTable, rows: Ints, settings: PlacementSettings) -> int:
    """The chance that at least one replica on some nodes is up: see `set_availability_ppm`."""
    if not rates.is_assumed:
        return set_availability_ppm(domains_of(rates, table, rows), settings)
    counted = rows[:MOST_EXACT]
    places = (table.site[counted].tolist(), table.operator[counted].tolist(), table.country[counted].tolist())
    return pattern_availability_ppm((counted.tolist(), *places), settings.down_ppm)


def domains_of(rates: Rates, table: NodeTable, rows: Ints) -> list[Domains]:
    """The failure domains of some nodes, with how often each is down."""
    columns = [rates.column(level, table, rows).tolist() for level in Spread]
    return [
        Domains(
            node=row,
            site=int(table.site[row]),
            operator=int(table.operator[row]),
            country=int(table.country[row]),
            down_ppm=down,
        )
        for row, down in zip(rows.tolist(), zip(*columns, strict=True), strict=True)
    ]


def worst_known(rates: Rates, table: NodeTable, rows: Ints, settings: PlacementSettings) -> str:
    """The domain among those of some nodes that is down most often beyond what is assumed, in words; empty: none."""
    if rates.is_assumed:
        return ""
    assumed = {
        Spread.NODE: settings.node_down_ppm,
        Spread.SITE: settings.site_down_ppm,
        Spread.OPERATOR: settings.operator_down_ppm,
        Spread.JURISDICTION: settings.jurisdiction_down_ppm,
    }
    found: list[tuple[int, str]] = []
    for level in Spread:
        for row, ppm in zip(rows.tolist(), rates.column(level, table, rows).tolist(), strict=True):
            if ppm != assumed[level]:
                found.append((ppm, rates.name(level, table, row)))
    if not found:
        return ""
    ppm, name = max(found)
    return f"{name} is down {ppm} ppm of the time, as {_SOURCES[name in rates.observed]}"


def posterior_ppm(prior_ppm: int, down_us: int, watched_us: int, settings: PlacementSettings) -> int:
    """Weigh what was seen against what was taken for granted before, as if that rested on `history_prior_us` of watch.

    Rounded to two digits: a plan is not to change because another quiet minute went by.
    """
    whole = settings.history_prior_us + watched_us
    exact = (prior_ppm * settings.history_prior_us + down_us * 10**6) // whole
    scale = 10 ** max(len(str(exact)) - 2, 0)
    rounded: int = (exact + scale // 2) // scale * scale
    return min(rounded, 10**6)


def _column(
    kind: str, names: Sequence[str], stated: Sequence[int | None], seen: Mapping[str, int], assumed: int
) -> Ints:
    values = [
        seen.get(f"{kind}/{name}", assumed if said is None else said) for name, said in zip(names, stated, strict=True)
    ]
    return np.array(values, dtype=np.int64)
