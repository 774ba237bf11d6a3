"""How many replicas a workload needs, and how far apart: computed from failure domains, not guessed.

`spec, domains of the candidates -> Demand`. Nodes fail alone and together: a node, its site, its operator and its
jurisdiction each have a stated share of down time and fail independently of each other. The least count meets the
target with the least distance; a fixed count in the spec wins; origins that one place cannot reach ask for more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import product
from math import prod

from hanse.core.units import format_duration
from hanse.core.work import Workload
from hanse.placement.settings import PlacementSettings

_WHOLE_PPM = 1_000_000
MOST_EXACT = 6
"""Sets up to this size get their availability by full enumeration of shared failures (4^6 states at most)."""


class Spread(IntEnum):
    """The widest failure domain that no two replicas may share; each includes those before it."""

    NODE = 0
    SITE = 1
    OPERATOR = 2
    JURISDICTION = 3


_NAMES: Mapping[Spread, str] = {
    Spread.NODE: "nodes",
    Spread.SITE: "sites",
    Spread.OPERATOR: "operators",
    Spread.JURISDICTION: "jurisdictions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Replicas wanted, the spread asked of them, and the sentence that says why."""

    replicas: int
    spread: Spread
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Domains:
    """The failure domains of one node, as comparable keys."""

    node: int
    site: int
    operator: int
    country: int
    down_ppm: tuple[int, int, int, int] | None = None
    """Share of time that each of the four is down; None where the settings say it of all."""


def demand(workload: Workload, distinct: Mapping[Spread, int], least_cover: int, settings: PlacementSettings) -> Demand:
    """Work out count and spread.

    `distinct` counts the different nodes, sites, operators and jurisdictions among the candidates; `least_cover` is
    how many replicas it takes until every origin has one within its SLO (1 where nothing is asked).
    """
    if workload.replicas is not None:
        return _fixed(workload.replicas, least_cover)
    found = _asked(workload, distinct, least_cover, settings)
    most = workload.most_replicas
    if most is None or found.replicas <= most:
        return found
    why = f"{_count(most)}: its budget pays for no more; without it {found.why}"
    return Demand(replicas=most, spread=found.spread, why=why)


def _asked(workload: Workload, distinct: Mapping[Spread, int], least_cover: int, settings: PlacementSettings) -> Demand:
    found = _least(workload, distinct, settings)
    if least_cover <= found.replicas:
        return found
    target = workload.slo.latency_p99_us or 0
    cover = f"{least_cover} replicas: no fewer put one within {format_duration(target)} of each origin"
    return Demand(replicas=least_cover, spread=found.spread, why=f"{cover}; availability alone asks for less")


def spread_availability_ppm(count: int, spread: Spread, settings: PlacementSettings) -> int:
    """Availability of `count` replicas that share no domain up to `spread` and every domain beyond it."""
    down = _down(settings)
    alone = _up(down[level] for level in Spread if level <= spread)
    shared = _up(down[level] for level in Spread if level > spread)
    return _ppm(shared * (1 - (1 - alone) ** count))


def set_availability_ppm(replicas: Sequence[Domains], settings: PlacementSettings) -> int:
    """Availability of a concrete set: the chance that at least one replica is up. Sets beyond six count as six.

    Enumerates which of the operators and countries in use are down, then which sites; given those, nodes fail alone.
    """
    if not replicas:
        return 0
    # Only who shares what with whom matters, so sets are renumbered to hit the cache.
    columns = ([getattr(r, name) for r in replicas[:MOST_EXACT]] for name in ("node", "site", "operator", "country"))
    rates = tuple(r.down_ppm or tuple(_down_ppm(settings).values()) for r in replicas[:MOST_EXACT])
    return _pattern_availability_ppm(tuple(tuple(map(column.index, column)) for column in columns), rates)


def pattern_availability_ppm(columns: Sequence[Sequence[int]], down_ppm: tuple[int, int, int, int]) -> int:
    """The same for up to `MOST_EXACT` replicas, given as columns of nodes, sites, operators and countries; what each of
    the four is down, ppm, is the same for all."""
    if not columns[0]:
        return 0
    pattern = tuple(tuple(map(column.index, column)) for column in columns)
    return _pattern_availability_ppm(pattern, (down_ppm,) * len(columns[0]))


@lru_cache(maxsize=1_024)
def _pattern_availability_ppm(pattern: tuple[tuple[int, ...], ...], each: tuple[tuple[int, ...], ...]) -> int:
    counted = [
        Domains(node=n, site=s, operator=o, country=c, down_ppm=(down[0], down[1], down[2], down[3]))
        for n, s, o, c, down in zip(*pattern, each, strict=True)
    ]
    known = {(0, r.operator): _share(r, 2) for r in counted} | {(1, r.country): _share(r, 3) for r in counted}
    shared = sorted(known)
    rates = [known[domain] for domain in shared]
    all_down = 0.0
    for state in product((False, True), repeat=len(shared)):
        chance = 1.0
        for is_down, rate in zip(state, rates, strict=True):
            chance *= rate if is_down else 1 - rate
        failed = {domain for domain, is_down in zip(shared, state, strict=True) if is_down}
        standing = [r for r in counted if (0, r.operator) not in failed and (1, r.country) not in failed]
        all_down += chance * _all_sites_down(standing)
    return _ppm(1 - all_down)


def percent(ppm: int) -> str:
    """Write parts per million as a percentage for people: 999,500 as ``99.95%``."""
    return f"{ppm / 10_000:.4f}".rstrip("0").rstrip(".") + "%"


def _fixed(replicas: int, least_cover: int) -> Demand:
    why = f"{_count(replicas)}: fixed by the spec"
    if least_cover > replicas:
        why += f", though the origins need {least_cover} to be served within the latency SLO"
    return Demand(replicas=replicas, spread=Spread.SITE if replicas > 1 else Spread.NODE, why=why)


def _least(workload: Workload, distinct: Mapping[Spread, int], settings: PlacementSettings) -> Demand:
    target = workload.slo.availability_ppm
    if target is None:
        return Demand(replicas=1, spread=Spread.NODE, why="1 replica: the spec asks for no availability")
    offered = _meeting(target, settings, distinct)
    if offered is not None:
        count, spread = offered
        return Demand(replicas=count, spread=spread, why=_why_met(count, spread, target, settings))
    ideal = _meeting(target, settings, None)
    count, spread = ideal if ideal is not None else (settings.most_replicas, Spread.JURISDICTION)
    reached = spread_availability_ppm(count, _widest(count, distinct), settings)
    why = (
        f"{_count(count)} on different {_NAMES[spread]} would be the least for {percent(target)}; "
        f"the legal and reachable places do not lie that far apart, so {percent(reached)} is the most to expect"
    )
    if ideal is None:
        why = (
            f"{_count(count)}: {percent(target)} cannot be met by any number of replicas while a jurisdiction is "
            f"assumed down {settings.jurisdiction_down_ppm} ppm of the time; this is the most that may be asked for"
        )
    return Demand(replicas=count, spread=spread, why=why)


def _meeting(
    target_ppm: int, settings: PlacementSettings, distinct: Mapping[Spread, int] | None
) -> tuple[int, Spread] | None:
    for count in range(1, settings.most_replicas + 1):
        for spread in Spread:
            if distinct is not None and any(distinct[level] < count for level in Spread if level <= spread):
                break
            if spread_availability_ppm(count, spread, settings) >= target_ppm:
                return count, spread if count > 1 else Spread.NODE
    return None


def _widest(count: int, distinct: Mapping[Spread, int]) -> Spread:
    widest = Spread.NODE
    for spread in Spread:
        if any(distinct[level] < count for level in Spread if level <= spread):
            break
        widest = spread
    return widest


def _why_met(count: int, spread: Spread, target: int, settings: PlacementSettings) -> str:
    reached = percent(spread_availability_ppm(count, spread, settings))
    if count == 1:
        carries = f"a node is assumed down {settings.node_down_ppm} ppm of the time"
        return f"1 replica gives {reached}, which meets {percent(target)}, because {carries}"
    fewer = percent(spread_availability_ppm(count - 1, spread if count > 2 else Spread.NODE, settings))
    rates = _down_ppm(settings)
    met = (
        f"{count} replicas on different {_NAMES[spread]} give {reached} where {count - 1} would give {fewer} and "
        f"{percent(target)} is asked"
    )
    shared = [level for level in Spread if level > spread]
    if not shared:
        each = f"each assumed down {rates[Spread.JURISDICTION]} ppm of the time"
        return f"{met}; that jurisdictions fail independently of each other, {each}, carries this"
    # What limits the result is the likeliest failure that the replicas still share.
    carrier = max(shared, key=lambda level: rates[level])
    how = f"still shared and assumed down {rates[carrier]} ppm of the time"
    return f"{met}; the {carrier.name.lower()}, {how}, carries this"


def _all_sites_down(standing: Sequence[Domains]) -> float:
    per_site: dict[int, list[Domains]] = {}
    for replica in standing:
        per_site.setdefault(replica.site, []).append(replica)
    chance = 1.0
    for replicas in per_site.values():
        site = _share(replicas[0], 1)
        chance *= site + (1 - site) * prod(_share(replica, 0) for replica in replicas)
    return chance


def _share(replica: Domains, level: int) -> float:
    return 0.0 if replica.down_ppm is None else replica.down_ppm[level] / _WHOLE_PPM


def _down_ppm(settings: PlacementSettings) -> Mapping[Spread, int]:
    return {
        Spread.NODE: settings.node_down_ppm,
        Spread.SITE: settings.site_down_ppm,
        Spread.OPERATOR: settings.operator_down_ppm,
        Spread.JURISDICTION: settings.jurisdiction_down_ppm,
    }


def _down(settings: PlacementSettings) -> Mapping[Spread, float]:
    return {level: rate / _WHOLE_PPM for level, rate in _down_ppm(settings).items()}


def _up(rates: Iterable[float]) -> float:
    up = 1.0
    for rate in rates:
        up *= 1 - rate
    return up


def _ppm(share: float) -> int:
    # Rounded down, so that a target is never met by rounding; the epsilon undoes binary noise at whole values. Nothing
    # is up always, however many replicas there are.
    return min(int(share * _WHOLE_PPM + 1e-9), _WHOLE_PPM - 1)


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
