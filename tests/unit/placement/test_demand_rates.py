"""Demand with rates: the bound holds for the share of demand that the percentile names, and no origin less."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hanse.core.work import Slo
from hanse.manifest import ManifestError, load
from hanse.placement import audit

FUNCTION = """
apiVersion: hanse.dev/v1
kind: Function
metadata: {name: f}
spec:
  source: ./f.py
  route: {path: /f}
  slo: {latency: {%s}}
"""


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8), st.sampled_from([50, 90, 95, 99, 100]))
def test_never_gives_up_more_demand_than_the_percentile_leaves_over(rates: list[int], percentile: int) -> None:
    names = tuple(f"o{i}" for i in range(len(rates)))
    slo = Slo(latency_p99_us=1, origins=names, rates_milli=tuple(rates), percentile=percentile)
    held = sum(rate for name, rate in zip(names, rates, strict=True) if name in slo.demanding)
    assert held * 100 >= sum(rates) * percentile
    least = min((rates[names.index(n)] for n in slo.demanding), default=0)
    assert (held - least) * 100 < sum(rates) * percentile


def test_a_few_requests_from_afar_do_not_ask_for_a_replica_of_their_own(eu) -> None:
    origins = ("Berlin", "Lisbon")
    slo = Slo(latency_p99_us=15_000, origins=origins, percentile=95, rates_milli=(99_000, 1_000))
    spec = eu.function(slo=slo)
    world = eu.snapshot(spec)
    made = eu.decide(world)
    assert len(made.assignments) == 1
    assert made.unplaced == ()
    assert audit(made, world, eu.verdicts(world)) == ()
    alike = replace(spec, slo=replace(slo, rates_milli=()))
    assert eu.decide(eu.snapshot(alike)).unplaced[0].reasons[0].rule == "placement.cover"


def test_the_auditor_finds_demand_that_is_late(eu) -> None:
    slo = Slo(latency_p99_us=15_000, origins=("Berlin", "Lisbon"), percentile=95, rates_milli=(99_000, 1_000))
    made = eu.decide(eu.snapshot(eu.function(slo=slo)))
    other = eu.snapshot(eu.function(slo=replace(slo, rates_milli=(99_000, 9_000))))
    assert "latency.cover" in {f.rule for f in audit(made, other, eu.verdicts(other))}


def test_a_manifest_gives_one_percentile_and_a_rate_for_each_origin_or_none() -> None:
    text = "p95: 40ms, from: [Berlin, Lyon], rates: {Berlin: 20/s, Lyon: 30/m}"
    slo = load([("f", FUNCTION % text)]).functions[0].slo
    assert (slo.percentile, slo.latency_p99_us, slo.rates_milli) == (95, 40_000, (20_000, 500))
    for wrong in (
        "from: [Berlin]",
        "p99: 1ms, p95: 1ms, from: [Berlin]",
        "p99: 1ms, from: [Berlin], rates: {Lyon: 1/s}",
    ):
        try:
            load([("f", FUNCTION % wrong)])
        except ManifestError:
            continue
        raise AssertionError(wrong)
