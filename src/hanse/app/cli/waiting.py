"""Wait until the fabric is as it was asked to be, with progress and a deadline. Polling: levels, not events, decide."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from hanse.app.client import Client
from hanse.control.views import InstanceView, Submission, WorkloadView
from hanse.core.errors import HanseError

T = TypeVar("T")

INTERVAL_S = 0.2
_OVER = ("stopped", "failed", "refused")


class WaitTimeout(HanseError):
    """Raised when the fabric is not yet as it was asked to be; it goes on trying."""

    code = "wait.timeout"
    retry = True


def until(ask: Callable[[], T | None], *, timeout_s: float, late: Callable[[], str], hint: str = "") -> T:
    """Ask again until the answer is not None. Raises WaitTimeout with what `late` says."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if answer is not None:
            return answer
        if time.monotonic() >= deadline:
            raise WaitTimeout(f"not done after {timeout_s:g} s: {late()}", hint=hint)
        time.sleep(INTERVAL_S)


def until_running(
    client: Client, submission: Submission, *, timeout_s: float, say: Callable[[str], None]
) -> tuple[WorkloadView, ...]:
    """Wait until everything a submission created, changed or moved runs as wanted. Raises WaitTimeout."""
    work = ("Function ", "Service ", "Job ")
    wanted = {_workload_of(c.document): c.before for c in submission.changes if c.document.startswith(work)}
    moved = {_workload_of(c.document): c.before for c in submission.moved}
    missing: list[str] = []

    def ask() -> tuple[WorkloadView, ...] | None:
        views = {view.id: view for view in client.workloads()}
        instances = client.instances()
        missing[:] = [
            _state(name, views.get(name), instances)
            for name in sorted({*wanted, *moved})
            if not is_settled(views.get(name), instances) or (name in moved and views[name].nodes == moved[name])
        ]
        say("; ".join(missing) or "running")
        return None if missing else tuple(views[name] for name in sorted({*wanted, *moved}))

    return until(
        ask,
        timeout_s=timeout_s,
        late=lambda: "; ".join(missing),
        hint="the fabric goes on trying; see `hanse describe workload NAME` and `hanse explain NAME`",
    )


def is_settled(view: WorkloadView | None, instances: Sequence[InstanceView]) -> bool:
    """Whether a workload runs at its newest spec, everywhere it should and nowhere else."""
    if view is not None and view.job is not None:
        return True  # When it runs is the fabric's choice; that it is taken on is what can be waited for.
    if view is None or view.kind == "Job" or view.status != "running" or view.running != view.wanted:
        return False
    mine = [one for one in instances if one.workload == view.id]
    current = [one for one in mine if one.wanted and one.phase == "running" and one.spec_generation == view.generation]
    leaving = [one for one in mine if not one.wanted and one.phase not in _OVER]
    return len(current) == view.wanted == sum(one.wanted for one in mine) and not leaving


def _workload_of(document: str) -> str:
    return document.partition(" ")[2]


def _state(name: str, view: WorkloadView | None, instances: Sequence[InstanceView]) -> str:
    if view is None:
        return f"{name}: accepted"
    troubles = [f"{i.node}: {i.code or i.phase}" for i in instances if i.workload == name and i.wanted and i.code]
    trouble = f" ({', '.join(troubles)})" if troubles else ""
    return f"{name}: {view.status}, {view.running} of {view.wanted}{trouble}"
