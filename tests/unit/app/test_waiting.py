"""When a workload counts as settled, and what waiting says when it is late."""

from __future__ import annotations

import pytest
from view_samples import instance, workload

from hanse.app.cli.exits import Exit, exit_code_of
from hanse.app.cli.waiting import WaitTimeout, is_settled, until
from hanse.app.tour.stage import doubled
from hanse.app.tour.step6_control import bought_manifest
from hanse.control.views import InstanceView
from hanse.manifest import load

RUNNING = (instance("clinic.triage.0.2", "fra-1"), instance("clinic.triage.1.2", "sto-1"))


def test_two_running_replicas_of_two_are_settled() -> None:
    assert is_settled(workload(), RUNNING)


@pytest.mark.parametrize(
    "instances",
    [
        RUNNING[:1],
        (RUNNING[0], instance("clinic.triage.1.2", "sto-1", phase="loading")),
        (RUNNING[0], instance("clinic.triage.1.2", "sto-1", spec_generation=0)),
        (*RUNNING, instance("clinic.triage.2.3", "par-1", wanted=False)),
        (*RUNNING, instance("clinic.triage.2.3", "par-1")),
    ],
    ids=["one missing", "still loading", "old spec", "one still leaving", "one too many"],
)
def test_anything_else_is_not(instances: tuple[InstanceView, ...]) -> None:
    assert not is_settled(workload(), instances)


def test_a_stopped_one_does_not_disturb() -> None:
    gone = instance("clinic.triage.2.3", "par-1", wanted=False, phase="stopped")
    assert is_settled(workload(), (*RUNNING, gone))


def test_a_route_that_still_names_a_stopped_replica_is_not_settled() -> None:
    assert not is_settled(workload(running=3), RUNNING)


def test_late_says_what_is_missing_and_exits_unavailable() -> None:
    with pytest.raises(WaitTimeout, match="not done after 0 s: two of three") as caught:
        until(lambda: None, timeout_s=0, late=lambda: "two of three")
    assert exit_code_of(caught.value) is Exit.UNAVAILABLE


def test_the_same_replica_twice_is_seen() -> None:
    again = instance("clinic.triage.1.5", "par-1")
    assert doubled(RUNNING) == []
    assert doubled((*RUNNING, again)) == ["clinic.triage.1.2 and clinic.triage.1.5"]
    assert doubled((*RUNNING, instance("clinic.triage.1.5", "par-1", wanted=False))) == []


def test_a_takeover_changes_one_fact_of_one_operator() -> None:
    from hanse.app.examples import fabric_file

    text = fabric_file().read_text()
    before = {one.id: one for one in load([("fabric.yaml", text)]).operators}
    bought = load([("bought.yaml", bought_manifest(text, "hansa"))]).operators
    assert [one.id for one in bought] == ["hansa"]
    assert [parent.country for parent in bought[0].parents] == ["US"]
    was = before[bought[0].id]
    assert (bought[0].seat, bought[0].seal, bought[0].certificates) == (was.seat, was.seal, was.certificates)
