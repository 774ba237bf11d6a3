"""Demand as fronts measure it: `what stood, what is counted now -> what placement goes by`, and work that asks for it.

The origins of such work are the sites where its requests enter the fabric. Three things keep noise out of plans: rates
are means over a window, by whoever counts; what stands is kept while the rate is within a factor of one and a half of
it (and beyond what chance alone does to so few requests); and a new rate is believed only once it lasted, a lower one
three times as long as a higher one, so that a site that falls silent keeps its claim for a while. A drift of a fifth
either way therefore never changes what stands. Counts nothing itself and keeps no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isqrt

from hanse.core.ids import SiteId, WorkloadId
from hanse.core.snapshot import Snapshot
from hanse.core.time import US_PER_S, WallTime, rfc3339
from hanse.core.traffic import MOST_MILLI, ROWS_MAX
from hanse.core.units import format_rate
from hanse.core.work import DemandSource, Slo, Workload
from hanse.wire.demand_messages import DemandRow, SiteDemand, Traffic

BAND = (3, 2)
"""What stands is kept while the rate is no more than so many times it, and no less than the inverse."""
SIGMAS = 4
"""How far chance may carry the count of a window before it counts as news: once in some 30,000 windows."""


def entering_at(heard: Iterable[Traffic]) -> Mapping[WorkloadId, int]:
    """Add up what the fronts of one site counted, in workload id order."""
    found: dict[WorkloadId, int] = {}
    for message in heard:
        for one in message.entering:
            found[one.workload] = found.get(one.workload, 0) + min(max(one.rate_milli, 0), MOST_MILLI)
    return {workload: found[workload] for workload in sorted(found)}


def settle_demand(
    before: DemandRow | None, measured_milli: int, *, now: WallTime, window_us: int, rise_us: int, fall_us: int
) -> DemandRow:
    """Take one look at a rate, and say what placement goes by from now on.

    `rise_us` and `fall_us`: how long a higher and a lower rate must last until it is believed.
    """
    stands = before or DemandRow(rate_milli=0, since_us=now, measured_milli=0, away_us=WallTime(0))
    side = _side(stands.rate_milli, measured_milli, window_us)
    was = _side(stands.rate_milli, stands.measured_milli, window_us) if stands.away_us else 0
    away_us = WallTime(0) if not side else stands.away_us if side == was else now
    if side and now - away_us >= (rise_us if side > 0 else fall_us):
        return DemandRow(rate_milli=measured_milli, since_us=now, measured_milli=measured_milli, away_us=WallTime(0))
    return DemandRow(
        rate_milli=stands.rate_milli, since_us=stands.since_us, measured_milli=measured_milli, away_us=away_us
    )


def settle_site(
    before: Mapping[WorkloadId, DemandRow],
    measured: Mapping[WorkloadId, int],
    *,
    now: WallTime,
    window_us: int,
    rise_us: int,
    fall_us: int,
) -> Mapping[WorkloadId, DemandRow]:
    """The same for all work of a site, in workload id order; what nobody asks for any more is forgotten."""
    found = {
        workload: settle_demand(
            before.get(workload), measured.get(workload, 0),
            now=now, window_us=window_us, rise_us=rise_us, fall_us=fall_us,
        )
        for workload in {**before, **measured}
    }  # fmt: skip
    lively = [(w, row) for w, row in found.items() if row.rate_milli or row.measured_milli]
    busiest = sorted(lively, key=lambda one: (-max(one[1].rate_milli, one[1].measured_milli), one[0]))
    return dict(sorted(busiest[:ROWS_MAX]))


def with_measured_demand(at: Snapshot, records: Mapping[SiteId, SiteDemand]) -> Snapshot:
    """Give all work that asks for measured demand what is known of it; where no site reaches its floor, it stays."""
    changed = {
        key: _measured(spec, at, records)
        for key, spec in at.workloads.items()
        if spec.slo.demand is DemandSource.MEASURED
    }
    return at if not changed else replace(at, workloads={k: changed.get(k, spec) for k, spec in at.workloads.items()})


def told(slo: Slo) -> str:
    """Say where the demand of such work comes from, since when, and its rates; nothing where its owner states it."""
    if slo.demand is DemandSource.STATED:
        return ""
    if slo.measured_us is None:
        return f"demand as stated, for no site measures {format_rate(slo.floor_milli)} yet"
    rates = ", ".join(
        f"{origin} {format_rate(rate)}" for origin, rate in zip(slo.origins, slo.rates_milli, strict=True)
    )
    given_up = [origin for origin in slo.origins if origin not in slo.demanding]
    beyond = f" (beyond p{slo.percentile}: {', '.join(given_up)})" if given_up else ""
    return f"demand as measured since {rfc3339(slo.measured_us)}: {rates}{beyond}"


def _side(stands_milli: int, measured_milli: int, window_us: int) -> int:
    """1 above the band around what stands, -1 below it, 0 within."""
    more, less = BAND
    by_chance = SIGMAS * isqrt(stands_milli * 1_000 * US_PER_S // max(window_us, 1))
    if measured_milli * less > stands_milli * more and measured_milli > stands_milli + by_chance:
        return 1
    return -(measured_milli * more < stands_milli * less and measured_milli < stands_milli - by_chance)


def _measured(spec: Workload, at: Snapshot, records: Mapping[SiteId, SiteDemand]) -> Workload:
    rows = [
        (site, record.rows[spec.id])
        for site, record in sorted(records.items())
        if site in at.fabric.sites and spec.id in record.rows and record.rows[spec.id].rate_milli > 0
    ]
    rows = [(site, row) for site, row in rows if row.rate_milli >= spec.slo.floor_milli]
    if not rows:
        return spec
    slo = replace(
        spec.slo,
        origins=tuple(site for site, _ in rows),
        rates_milli=tuple(row.rate_milli for _, row in rows),
        measured_us=max(row.since_us for _, row in rows),
    )
    return replace(spec, slo=slo)
