"""Proves: bursts and drifts change nothing that placement reads; what lasts does, and silence fades slowly."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hanse.core.ids import SiteId, WorkloadId
from hanse.core.time import WallTime
from hanse.core.traffic import ROWS_MAX, rate_milli
from hanse.core.work import DemandSource, Slo
from hanse.placement import (
    audit,
    entering_at,
    settle_demand,
    settle_site,
    with_measured_demand,
)
from hanse.placement.traffic import told
from hanse.wire.demand_messages import DemandRow, Entering, SiteDemand, Traffic

LOOK_US = 30_000_000
WINDOW_US, RISE_US, FALL_US = 10 * LOOK_US, 20 * LOOK_US, 60 * LOOK_US
TARIFF = WorkloadId("energy.tariff")


def looks(*rates_milli: int, before: DemandRow | None = None, start: int = 0) -> list[DemandRow]:
    """One look after the other, half a minute apart."""
    rows, row = [], before
    for step, measured in enumerate(rates_milli, start=start):
        now = WallTime((1 + step) * LOOK_US)
        row = settle_demand(row, measured, now=now, window_us=WINDOW_US, rise_us=RISE_US, fall_us=FALL_US)
        rows.append(row)
    return rows


def stood(rows: list[DemandRow]) -> set[int]:
    return {row.rate_milli for row in rows}


def test_a_rate_is_thousandths_of_a_request_a_second() -> None:
    assert rate_milli(300, 300_000_000) == 1_000
    assert rate_milli(1, 300_000_000) == 3
    assert rate_milli(-5, 300_000_000) == 0


def test_what_lasts_two_windows_is_believed_and_a_burst_is_not() -> None:
    burst = [0] * 5 + [40_000] * 10 + [0] * 5
    assert stood(looks(*burst)) == {0}
    lasting = looks(*[9_000] * 25)
    assert [row.rate_milli for row in lasting[19:22]] == [0, 9_000, 9_000]
    assert lasting[-1].since_us == 21 * LOOK_US


def test_a_site_that_falls_silent_keeps_its_claim_for_half_an_hour() -> None:
    rows = looks(*[9_000] * 25, *[0] * 61)
    assert {row.rate_milli for row in rows[25:85]} == {9_000}
    assert rows[85].rate_milli == 0


def test_whoever_comes_back_to_the_band_begins_anew() -> None:
    rows = looks(*[9_000] * 25, *[0] * 59, 9_500, *[0] * 59, 9_000)
    assert {row.rate_milli for row in rows[25:]} == {9_000}


def test_a_side_that_changes_begins_anew() -> None:
    rows = looks(*[9_000] * 25, *[0] * 50, *[20_000] * 19, *[0] * 50)
    assert {row.rate_milli for row in rows[25:]} == {9_000}


def test_few_requests_have_to_differ_by_more_than_chance() -> None:
    # Nine requests in five minutes stand; 20 are within four standard deviations, 40 are not.
    few = looks(*[30] * 25)[-1]
    assert stood(looks(*[66] * 200, before=few, start=25)) == {30}
    assert looks(*[133] * 30, before=few, start=25)[-1].rate_milli == 133


@example(base=100_000, drift=[-200] * 70 + [200] * 70 + [-200] * 70)
@given(base=st.integers(0, 10**9), drift=st.lists(st.integers(-200, 200), min_size=1, max_size=200))
def test_a_drift_of_a_fifth_never_changes_what_stands(base: int, drift: list[int]) -> None:
    rates = [base * (1_000 + permille) // 1_000 for permille in drift]
    believed = looks(*[rates[0]] * 21)[-1]
    assert believed.rate_milli == rates[0]
    assert stood(looks(*rates, before=believed, start=21)) == {believed.rate_milli}


@given(st.lists(st.integers(0, 10**6), max_size=300))
def test_what_stands_was_measured_and_never_changes_sooner_than_a_rise_takes(rates: list[int]) -> None:
    rows = looks(*rates)
    assert stood(rows) <= {0, *rates}
    turns = [i for i, (a, b) in enumerate(itertools.pairwise(rows), start=1) if a.rate_milli != b.rate_milli]
    assert all(after - before >= 20 for before, after in itertools.pairwise(turns))


def test_a_site_adds_its_fronts_up_and_keeps_the_busiest() -> None:
    heard = [
        Traffic(node="a", incarnation=1, number=1, window_us=WINDOW_US, entering=(Entering("x.y", 700),)),
        Traffic(node="b", incarnation=1, number=1, window_us=WINDOW_US, entering=(Entering("x.y", 500),)),
        Traffic(node="c", incarnation=1, number=1, window_us=WINDOW_US, entering=(Entering("x.z", -5),)),
    ]
    assert entering_at(heard) == {"x.y": 1_200, "x.z": 0}
    many = {WorkloadId(f"n.w{i}"): i for i in range(ROWS_MAX + 10)}
    rows = settle_site({}, many, now=WallTime(1), window_us=WINDOW_US, rise_us=RISE_US, fall_us=FALL_US)
    assert len(rows) == ROWS_MAX
    assert "n.w5" not in rows and list(rows) == sorted(rows)


def demand_at(**rates: int) -> dict[SiteId, SiteDemand]:
    now = WallTime(1_795_000_000_000_000)
    return {
        SiteId(site): SiteDemand(site=site, at_us=now, rows={TARIFF: DemandRow(rate, now, rate, 0)})
        for site, rate in rates.items()
    }


def asking(eu, **slo):
    """One replica that is to be within 8 ms of nine tenths of its demand, measured; its owner says Frankfurt."""
    wanted = Slo(latency_p99_us=8_000, percentile=90, origins=("Frankfurt",), demand=DemandSource.MEASURED, **slo)
    return eu.snapshot(replace(eu.function(slo=wanted, replicas=1), id=TARIFF))


def test_requests_that_enter_at_a_site_pull_the_work_there(eu) -> None:
    stated = asking(eu)
    before = eu.decide(stated)
    measured = with_measured_demand(stated, demand_at(sto=9_000, fra=900, par=99))
    slo = measured.workloads[TARIFF].slo
    assert (slo.origins, slo.rates_milli) == (("fra", "sto"), (900, 9_000)), "paris is below the floor"
    assert slo.demanding == ("sto",), "a tenth is what p90 leaves over"
    measured = replace(measured, running=eu.runs(before))
    after = eu.decide(measured, before)
    assert eu.nodes_of(before, TARIFF) == ["fra-1"]
    assert eu.nodes_of(after, TARIFF) == ["sto-1"]
    assert audit(after, measured, eu.verdicts(measured)) == ()
    assert after.explanations[TARIFF].replicas_why == (
        "1 replica: fixed by the spec; demand as measured since 2026-11-18T11:06:40.000Z: fra 0.9/s, sto 9/s "
        "(beyond p90: fra)"
    )


def test_a_plan_that_ignores_what_was_measured_is_caught(eu) -> None:
    stated = asking(eu)
    measured = with_measured_demand(stated, demand_at(sto=9_000))
    rules = [one.rule for one in audit(eu.decide(stated), measured, eu.verdicts(measured))]
    assert "latency.cover" in rules


def test_what_its_owner_states_holds_until_a_site_reaches_the_floor(eu) -> None:
    stated = asking(eu)
    unchanged = with_measured_demand(stated, demand_at(sto=99))
    assert unchanged.workloads == stated.workloads
    why = eu.decide(unchanged).explanations[TARIFF].replicas_why
    assert why == "1 replica: fixed by the spec; demand as stated, for no site measures 0.1/s yet"
    assert told(Slo(origins=("Frankfurt",))) == ""


def test_work_that_does_not_ask_and_sites_that_are_gone_are_left_alone(eu) -> None:
    plain = eu.snapshot(eu.triage())
    assert with_measured_demand(plain, demand_at(sto=9_000)) is plain
    asked = asking(eu)
    assert with_measured_demand(asked, demand_at(atlantis=9_000)).workloads == asked.workloads


@given(
    base=st.tuples(*[st.integers(0, 20_000)] * 3),
    drift=st.lists(st.tuples(*[st.integers(-200, 200)] * 3), min_size=1, max_size=25),
    percentile=st.sampled_from([50, 90, 95, 99]),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_random_drift_never_moves_work_that_follows_its_demand(eu, base, drift, percentile) -> None:
    """Whatever was believed first, demand that stays within a fifth of it makes no second plan."""
    sites, lasting = ("fra", "sto", "waw"), range(25)
    rows: dict[str, DemandRow | None] = dict.fromkeys(sites)
    stated = asking(eu)
    spec = stated.workloads[TARIFF]
    free = replace(spec, replicas=None, slo=replace(spec.slo, percentile=percentile))
    stated = replace(stated, workloads={TARIFF: free})
    steps = [(0, 0, 0) for _ in lasting] + [one for one in drift for _ in range(7)]
    made, plans = None, []
    for step, permille in enumerate(steps):
        now = WallTime((1 + step) * LOOK_US)
        for site, rate, by in zip(sites, base, permille, strict=True):
            measured = rate * (1_000 + by) // 1_000
            rows[site] = settle_demand(
                rows[site], measured, now=now, window_us=WINDOW_US, rise_us=RISE_US, fall_us=FALL_US
            )  # fmt: skip
        records = {
            SiteId(site): SiteDemand(site=site, at_us=now, rows={TARIFF: row})
            for site, row in rows.items() if row is not None
        }  # fmt: skip
        world = with_measured_demand(stated, records)
        if made is not None:
            world = replace(world, running=eu.runs(made))
        if step + 1 < len(lasting) or (plans and plans[-1][0] == world.workloads):
            continue
        made = eu.decide(world, made)
        plans.append((world.workloads, eu.nodes_of(made, TARIFF)))
    assert len({tuple(nodes) for _, nodes in plans}) == 1
