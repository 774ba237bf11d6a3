"""When work that may wait runs: clean hours before the deadline, pauses, retries, and reasons a person can read."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanse.core.ids import InstanceId
from hanse.core.jobs import JobState
from hanse.core.snapshot import Phase, Reach, Series
from hanse.core.time import HOUR_US, WallTime
from hanse.core.work import Job, Objective
from hanse.placement import Heard, PlacementSettings, advance, is_due, timed

SETTINGS = PlacementSettings()
WHOLE = Job(duration_us=2 * HOUR_US, within_us=12 * HOUR_US)
PIECES = replace(WHOLE, is_interruptible=True)


def forecast(eu, *values: int) -> Series:
    return Series(start_us=eu.now, step_us=HOUR_US, values=values)


def world(eu, work, zones, *, hours: float = 0, **reach: Reach):
    at = eu.snapshot(work, **reach)
    return replace(at, at_us=WallTime(eu.now + int(hours * HOUR_US)), forecast=zones)


def step(eu, work, zones, last=None, heard=(), *, hours: float = 0, homes=("fra-1",), **reach: Reach):
    at = world(eu, work, zones, hours=hours, **reach)
    return advance(work, last, heard, at, lambda: homes, planned_from="f1", settings=SETTINGS)


def said(phase: Phase, at: int, *, number: int = 0, reason: str = "", checkpoint: bytes = b"") -> Heard:
    return Heard(
        instance=InstanceId(f"clinic.w.0.{number}"), spec_generation=1, phase=phase, since_us=WallTime(at),
        reason=reason, checkpoint=checkpoint,
    )  # fmt: skip


def hours_of(eu, has) -> list[tuple[int, int]]:
    return [((start - eu.now) // HOUR_US, (end - eu.now) // HOUR_US) for start, end in has.runs]


def test_it_waits_for_the_clean_hours_and_says_why(eu) -> None:
    work = eu.function("w", job=WHOLE)
    has = step(eu, work, {"DE": forecast(eu, 400, 400, 300, 100, 120, 400, 400, 400, 400, 400, 400, 400)})
    assert hours_of(eu, has) == [(3, 5)]
    assert (has.state, has.site, has.zone, has.late) == (JobState.WAITING, "fra", "DE", "")
    assert (
        has.why == "it waits: 72.5 % less than at once, the forecast errs by 0 %; 110 g/kWh in DE, 400 if it began now"
    )


def test_money_and_priced_carbon_choose_the_place_together(eu) -> None:
    zones = {"DE": forecast(eu, *[400] * 12), "PL": forecast(eu, *[700] * 5, 500, 500, *[700] * 5)}
    cheap = step(eu, eu.function("w", job=WHOLE), zones, homes=("fra-1", "waw-1"))
    assert (cheap.zone, hours_of(eu, cheap)) == ("PL", [(5, 7)]), "nobody asked for carbon to cost anything"
    priced = eu.function("w", job=WHOLE, objective=Objective(carbon_microeur_per_t=10**9))
    assert step(eu, priced, zones, homes=("fra-1", "waw-1")).zone == "DE"


def test_no_room_to_wait_no_forecast_and_no_home_each_have_their_sentence(eu) -> None:
    work = eu.function("w", job=replace(WHOLE, within_us=2 * HOUR_US))
    tight = step(eu, work, {"DE": forecast(eu, *[400, 1] * 6)})
    assert (hours_of(eu, tight), tight.why) == ([(0, 2)], "it starts at once: its deadline leaves no room to wait")
    blind = step(eu, eu.function("w", job=WHOLE), {})
    assert (hours_of(eu, blind), blind.why) == ([(0, 2)], "it starts at once: no forecast reaches as far as it needs")
    homeless = step(eu, eu.function("w", job=WHOLE), {}, homes=())
    assert (homeless.runs, homeless.why) == ((), "it waits: no node that is ready may take it")
    unready = step(eu, eu.function("w", job=WHOLE), {}, fra_1=Reach.UNREACHABLE)
    assert unready.runs == ()


def test_pieces_are_paused_between_their_hours_and_a_whole_job_never_is(eu) -> None:
    zones = {"DE": forecast(eu, 400, 100, 400, 400, 90, 400, 400, 400, 400, 400, 400, 400)}
    pieces = step(eu, eu.function("w", job=PIECES), zones)
    assert hours_of(eu, pieces) == [(1, 2), (4, 5)]
    due = [is_due(PIECES, pieces, WallTime(eu.now + h * HOUR_US + 1)) for h in (0, 1, 2, 3, 4, 5, 9)]
    assert due == [False, True, False, False, True, True, True], "the last piece runs until it is done"
    assert is_due(WHOLE, pieces, WallTime(eu.now + 2 * HOUR_US))


def test_a_piece_hands_on_and_what_it_ran_is_not_lost(eu) -> None:
    work, zones = eu.function("w", job=PIECES), {"DE": forecast(eu, 400, 100, 400, 400, 90, *[400] * 7)}
    has = step(eu, work, zones)
    began = eu.now + HOUR_US
    has = step(eu, work, zones, has, [said(Phase.RUNNING, began, checkpoint=b"half")], hours=1.5)
    assert (has.state, has.checkpoint) == (JobState.RUNNING, b"half")
    has = step(eu, work, zones, has, [said(Phase.STOPPED, began + HOUR_US, checkpoint=b"half")], hours=2)
    assert (has.state, has.ran_us, has.checkpoint) == (JobState.PAUSED, HOUR_US, b"half")
    has = step(eu, work, zones, has, [said(Phase.SUCCEEDED, began + 4 * HOUR_US)], hours=5)
    assert (has.state, has.late, has.has_ended) == (JobState.SUCCEEDED, "", True)


def test_it_is_retried_as_often_as_it_may_and_then_says_what_failed(eu) -> None:
    work = eu.function("w", job=replace(WHOLE, retries=1))
    has = step(eu, work, {})
    first = said(Phase.FAILED, eu.now + 1, number=1, reason="out of memory")
    has = step(eu, work, {}, has, [first], hours=1)
    assert (has.has_ended, len(has.failed), is_due(WHOLE, has, WallTime(eu.now + HOUR_US))) == (False, 1, True)
    assert step(eu, work, {}, has, [first], hours=1) == has, "one failure counts once"
    has = step(
        eu, work, {}, has, [first, said(Phase.REFUSED, eu.now + 2, number=2, reason="the owner says no")], hours=2
    )
    assert (has.state, has.reason) == (JobState.FAILED, "it failed 2 times, last: the owner says no")
    assert has.late == "its deadline cannot be met: it failed 2 times, last: the owner says no"


def test_a_missed_deadline_has_a_reason(eu) -> None:
    work = eu.function("w", job=WHOLE)
    has = step(eu, work, {}, homes=())
    has = step(eu, work, {}, has, homes=(), hours=13)
    assert has.late == "it missed its deadline: it found no place to run in time"
    done = step(eu, work, {}, has, [said(Phase.SUCCEEDED, eu.now + 14 * HOUR_US)], hours=14)
    assert done.late == "it ended 7200.0s after its deadline: it found no place to run in time"


def test_a_changed_spec_is_a_new_job_and_an_ended_one_stays_ended(eu) -> None:
    work = eu.function("w", job=WHOLE)
    has = step(eu, work, {}, step(eu, work, {}), [said(Phase.SUCCEEDED, eu.now)], hours=1)
    assert step(eu, work, {}, has, [], hours=99) == has
    again = step(eu, replace(work, generation=2), {}, has, [said(Phase.SUCCEEDED, eu.now)], hours=1)
    assert (again.state, again.generation) == (JobState.WAITING, 2)


def test_only_what_is_due_is_planned(eu) -> None:
    work = eu.function("w", job=WHOLE)
    zones = {"DE": forecast(eu, 400, 400, 300, 100, 120, *[400] * 7)}
    has = step(eu, work, zones)
    asked = [timed(world(eu, work, zones, hours=h), {work.id: has}).workloads[work.id] for h in (0, 3, 3.5)]
    assert [(w.replicas, dict(w.node_selector)) for w in asked] == [(0, {}), (1, {"site": "fra"}), (1, {})]
    assert timed(world(eu, work, zones), {}).workloads[work.id].replicas == 0, "nothing runs before it has hours"


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60, deadline=None
)
@given(
    st.lists(st.integers(0, 900), min_size=1, max_size=40), st.integers(1, 9), st.integers(1, 30), st.booleans(),
    st.integers(0, 500),
)  # fmt: skip
def test_hours_never_end_after_a_deadline_that_can_be_met(eu, values, takes, within, is_interruptible, error) -> None:
    job = Job(duration_us=takes * HOUR_US, within_us=within * HOUR_US, is_interruptible=is_interruptible)
    work = eu.function("w", job=job)
    at = replace(world(eu, work, {"DE": forecast(eu, *values)}), forecast_error_permille=error)
    has = advance(work, None, (), at, lambda: ("fra-1",), planned_from="", settings=SETTINGS)
    assert has.runs
    assert sum(end - start for start, end in has.runs) == job.duration_us
    assert all(start >= eu.now for start, _ in has.runs)
    if takes <= within:
        assert has.runs[-1][1] <= has.deadline_us
        assert has.late == ""
    else:
        assert "will miss its deadline" in has.late
