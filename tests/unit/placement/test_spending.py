"""The book of spending: what ran is charged once, whoever leads; budgets warn, project and bind by rule."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanse.core.fabric import Resources
from hanse.core.ids import Digest, WorkloadId
from hanse.core.time import DAY_US, HOUR_US, US_PER_S, WallTime, rfc3339
from hanse.core.work import Budget, BudgetRule, Kind, Route, Workload
from hanse.placement import (
    Book,
    Outlook,
    PlacementSettings,
    Spent,
    accrued,
    outlook,
    pooled_outlook,
    restrained,
    restrained_together,
)
from hanse.placement.spending import FINE, period_of


def at(world, us: int):
    return replace(world, at_us=WallTime(us))


def serving(eu, spec=None):
    spec = spec or eu.function(node_selector={"node": "zrh-1"})
    made = eu.decide(eu.snapshot(spec))
    return eu.snapshot(spec, running=eu.runs(made)), spec


def test_an_hour_costs_an_hour_of_the_price(eu) -> None:
    world, spec = serving(eu)
    book = accrued(None, world, settings=PlacementSettings())
    assert book.spent[spec.id].money == 0
    book = accrued(book, at(world, eu.now + HOUR_US), settings=PlacementSettings())
    # 0.1 cores at 45,000 and 1/16 GiB at 6,000 microeur an hour.
    assert abs(book.spent[spec.id].money / FINE - 4_875) < 0.01
    assert book.spent[spec.id].run_us == HOUR_US


@given(cuts=st.lists(st.integers(1, 21_599), max_size=6, unique=True))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_how_often_it_is_brought_up_never_changes_the_sum(eu, cuts: list[int]) -> None:
    world, spec = serving(eu)
    start = accrued(None, world, settings=PlacementSettings())
    once = accrued(start, at(world, eu.now + DAY_US // 4), settings=PlacementSettings())
    often = start
    for cut in [*sorted(cuts), 21_600]:
        often = accrued(often, at(world, eu.now + cut * US_PER_S), settings=PlacementSettings())
    assert abs(once.spent[spec.id].money - often.spent[spec.id].money) <= 10
    assert once.spent[spec.id].run_us == often.spent[spec.id].run_us


def test_a_new_month_begins_a_new_book_and_a_clock_that_falls_back_charges_nothing_twice(eu) -> None:
    world, spec = serving(eu)
    book = accrued(None, world, settings=PlacementSettings())
    book = accrued(book, at(world, eu.now + HOUR_US), settings=PlacementSettings())
    assert accrued(book, at(world, eu.now), settings=PlacementSettings()) == book
    start, end = period_of(eu.now)
    assert (rfc3339(start)[:10], rfc3339(end)[:10]) == ("2026-11-01", "2026-12-01")
    later = accrued(book, at(world, end + 60 * US_PER_S), settings=PlacementSettings())
    assert later.period_start_us == end
    assert later.spent[spec.id].run_us == 60 * US_PER_S


def test_the_outlook_warns_at_80_percent_and_says_over(eu) -> None:
    world, spec = serving(eu)
    _, end = period_of(eu.now)
    monthly = 4_875 * 730.485
    left = (end - eu.now) / (2_629_746 * 10**6)
    for budget, state in ((None, "free"), (2.0, "ok"), (1.2, "warn"), (0.9, "over")):
        most = None if budget is None else int(monthly * left * budget)
        bound = replace(spec, budget=Budget(cost_microeur_month=most))
        assert outlook(None, bound, world, settings=PlacementSettings()).state == state


def test_each_rule_does_what_it_says_and_nothing_before_the_budget_is_reached(eu) -> None:
    world, spec = serving(eu)
    start, _ = period_of(eu.now)
    book = accrued(None, world, settings=PlacementSettings())
    book = accrued(book, at(world, eu.now + HOUR_US), settings=PlacementSettings())
    world = at(world, eu.now + HOUR_US)
    for rule in BudgetRule:
        roomy = replace(spec, budget=Budget(cost_microeur_month=10**9, rule=rule))
        seen = outlook(book, roomy, world, settings=PlacementSettings())
        assert restrained(roomy, seen, world.at_us) == roomy
        spent = replace(spec, budget=Budget(cost_microeur_month=4_000, rule=rule))
        seen = outlook(book, spent, world, settings=PlacementSettings())
        bound = restrained(spent, seen, world.at_us)
        if rule is BudgetRule.STOP:
            assert bound.replicas == 0
        elif rule in (BudgetRule.REFUSE, BudgetRule.SHRINK):
            assert (bound.replicas, bound.most_replicas) == (None, 1)
        else:
            assert bound.budget.cost_microeur_month == 0
    assert start < book.until_us


def test_shrink_runs_as_many_as_the_rest_pays_for(eu) -> None:
    spec = eu.function(replicas=3, budget=Budget(cost_microeur_month=10**9, rule=BudgetRule.SHRINK))
    made = eu.decide(eu.snapshot(spec))
    world = eu.snapshot(spec, running=eu.runs(made))
    free = replace(spec, budget=Budget(cost_microeur_month=10**9))
    each = (outlook(None, free, world, settings=PlacementSettings()).projected_microeur) // 3
    bound = replace(spec, budget=replace(spec.budget, cost_microeur_month=each * 2 + 5))
    assert restrained(bound, outlook(None, bound, world, settings=PlacementSettings()), world.at_us).replicas == 2


def test_a_stopped_workload_is_planned_with_no_replica_and_the_plan_passes_the_audit(eu) -> None:
    from hanse.placement import audit

    world, spec = serving(eu)
    stopped = replace(world, workloads={spec.id: replace(spec, replicas=0)})
    made = eu.decide(stopped)
    assert made.assignments == ()
    assert made.unplaced == ()
    assert audit(made, stopped, eu.verdicts(stopped)) == ()


def namespace_of(eu, count: int, budget: Budget):
    """`count` functions of two replicas each that run, with the outlooks of each and of all."""
    specs = [eu.function(f"w{i}", replicas=2) for i in range(count)]
    made = eu.decide(eu.snapshot(*specs))
    world = eu.snapshot(*specs, running=eu.runs(made))
    each = [(spec, outlook(None, spec, world, settings=PlacementSettings())) for spec in specs]
    return world, each, pooled_outlook(None, "clinic", budget, [one for _, one in each], world.at_us)


def test_a_namespace_is_projected_as_a_whole_and_warned_at_80_percent(eu) -> None:
    _, each, pooled = namespace_of(eu, 3, Budget())
    whole = sum(one.projected_microeur for _, one in each)
    assert (pooled.projected_microeur, pooled.running, pooled.state) == (whole, 6, "free")
    for permille, state in ((1_251, "ok"), (1_249, "warn"), (999, "over")):
        budget = Budget(cost_microeur_month=whole * permille // 1_000)
        assert namespace_of(eu, 3, budget)[2].state == state


def test_what_was_deleted_still_counts_against_its_namespace(eu) -> None:
    world, each, _ = namespace_of(eu, 1, Budget())
    start, _ = period_of(eu.now)
    book = Book(
        period_start_us=start, until_us=eu.now, spent={WorkloadId("clinic.gone"): Spent(money=7_000_000 * FINE)}
    )
    pooled = pooled_outlook(book, "clinic", Budget(cost_microeur_month=1), [one for _, one in each], world.at_us)
    assert pooled.spent_microeur == 7_000_000
    assert pooled_outlook(book, "other", Budget(), [], world.at_us).spent_microeur == 0


def test_the_four_rules_bind_a_namespace_as_a_whole(eu) -> None:
    for rule in BudgetRule:
        world, each, pooled = namespace_of(eu, 3, Budget())
        used_up = replace(pooled, spent_microeur=10**9, projected_microeur=10**9 + pooled.projected_microeur)
        bound = restrained_together(Budget(cost_microeur_month=10**9, rule=rule), used_up, each, world.at_us).values()
        match rule:
            case BudgetRule.STOP:
                assert {w.replicas for w in bound} == {0}
            case BudgetRule.REFUSE:
                assert {w.replicas for w in bound} == {2}
                fresh = [(eu.function("new"), replace(each[0][1], running=0))]
                new = restrained_together(Budget(cost_microeur_month=10**9, rule=rule), used_up, fresh, world.at_us)
                assert new["clinic.new"].most_replicas == 0
            case BudgetRule.SHRINK:
                assert {w.replicas for w in bound} == {1}
            case BudgetRule.MOVE:
                assert {w.budget.cost_microeur_month for w in bound} == {0}
        roomy = Budget(cost_microeur_month=10**12, rule=rule)
        assert [*restrained_together(roomy, pooled, each, world.at_us).values()] == [spec for spec, _ in each]


def test_the_stricter_of_two_budgets_binds(eu) -> None:
    world, each, pooled = namespace_of(eu, 2, Budget())
    own = [(replace(spec, budget=Budget(cost_microeur_month=5)), one) for spec, one in each]
    tight = Budget(cost_microeur_month=pooled.projected_microeur - 1, rule=BudgetRule.MOVE)
    bound = restrained_together(tight, replace(pooled, state="over"), own, world.at_us)
    assert {w.budget.cost_microeur_month for w in bound.values()} == {5}


@given(st.integers(1, 9), st.integers(1, 60), st.lists(st.integers(960, 1_040), min_size=8, max_size=8))
def test_a_count_that_shrank_does_not_swing_with_a_drift(wanted: int, affordable_tenths: int, drift: list[int]) -> None:
    """Prices drift by four percent either way; the count comes down, twice at most, and never goes up."""
    spec = Workload(
        id=WorkloadId("t.w"), kind=Kind.FUNCTION, namespace="t", name="w", artifact=Digest("sha256:" + "0" * 64),
        artifact_bytes=1, route=Route(path="/"), resources=Resources(cpu_milli=1), replicas=wanted,
        budget=Budget(cost_microeur_month=10**5 * affordable_tenths, rule=BudgetRule.SHRINK),
    )  # fmt: skip
    running, counts = wanted, []
    for permille in drift:
        projected = 10**6 * running * permille // 1_000
        at = Outlook(
            spent_microeur=0, spent_ug=0, projected_microeur=projected, projected_ug=0, left_permille=500,
            running=running, state=("over" if projected > spec.budget.cost_microeur_month else "ok"),
        )  # fmt: skip
        running = restrained(spec, at, WallTime(1_795_262_400_000_000)).replicas
        counts.append(running)
    changes = [now - was for was, now in zip([wanted, *counts], counts, strict=False)]
    assert all(change <= 0 for change in changes), counts
    assert sum(change != 0 for change in changes) <= 2
