"""What would change from one plan to the next, per workload, in places, money, carbon and latency.

`old plan, new plan -> PlanDifference`. Reads only the two plans, so it can be shown before anything is done.
"""

from __future__ import annotations

from dataclasses import dataclass

from hanse.core.ids import NodeId, PlanId, WorkloadId
from hanse.core.plan import Plan, Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the replicas of one workload cost per month together, and the worst round trip any of them serves."""

    money_microeur: int = 0
    carbon_ug: int = 0
    latency_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadDifference:
    """One workload before and after; nodes in id order."""

    workload: WorkloadId
    added: tuple[NodeId, ...]
    removed: tuple[NodeId, ...]
    kept: tuple[NodeId, ...]
    replaced: tuple[NodeId, ...]
    """Of those kept: nodes where another instance takes over, because the spec changed."""
    before: Totals
    after: Totals
    missing_before: int
    missing_after: int

    @property
    def is_changed(self) -> bool:
        """Tell whether anything would start or stop, or whether what is missing changes."""
        moves = bool(self.added or self.removed or self.replaced)
        return moves or self.missing_before != self.missing_after


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDifference:
    """Every workload of either plan, in id order."""

    old: PlanId | None
    new: PlanId
    workloads: tuple[WorkloadDifference, ...]

    @property
    def changed(self) -> tuple[WorkloadDifference, ...]:
        """Only the workloads that change."""
        return tuple(w for w in self.workloads if w.is_changed)

    @property
    def is_empty(self) -> bool:
        """Tell whether committing the new plan would change nothing."""
        return not self.changed


def difference(old: Plan | None, new: Plan) -> PlanDifference:
    """Compare `new` with `old` (None: nothing ran before)."""
    workloads = set(_workloads(new)) | (set(_workloads(old)) if old is not None else set())
    before, after = _by_workload(old), _by_workload(new)
    return PlanDifference(
        old=None if old is None else old.id,
        new=new.id,
        workloads=tuple(
            _compare(workload, old, new, before.get(workload, {}), after.get(workload, {}))
            for workload in sorted(workloads)
        ),
    )


def _compare(
    workload: WorkloadId, old: Plan | None, new: Plan, before: dict[NodeId, str], after: dict[NodeId, str]
) -> WorkloadDifference:
    kept = sorted(before.keys() & after.keys())
    return WorkloadDifference(
        workload=workload,
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        kept=tuple(kept),
        replaced=tuple(node for node in kept if before[node] != after[node]),
        before=Totals() if old is None else _totals(old, workload),
        after=_totals(new, workload),
        missing_before=0 if old is None else _missing(old, workload),
        missing_after=_missing(new, workload),
    )


def _workloads(plan: Plan) -> list[WorkloadId]:
    return [*plan.explanations, *(a.workload for a in plan.assignments), *(u.workload for u in plan.unplaced)]


def _by_workload(plan: Plan | None) -> dict[WorkloadId, dict[NodeId, str]]:
    found: dict[WorkloadId, dict[NodeId, str]] = {}
    for assignment in plan.assignments if plan is not None else ():
        found.setdefault(assignment.workload, {})[assignment.node] = assignment.instance
    return found


def _totals(plan: Plan, workload: WorkloadId) -> Totals:
    explanation = plan.explanations.get(workload)
    candidates = explanation.candidates if explanation is not None else ()
    scores: list[Score] = [c.score for c in candidates if c.is_chosen and c.score is not None]
    return Totals(
        money_microeur=sum(score.bill_microeur for score in scores),
        carbon_ug=sum(score.carbon_ug for score in scores),
        latency_us=max((score.latency_us for score in scores), default=0),
    )


def _missing(plan: Plan, workload: WorkloadId) -> int:
    return sum(u.missing for u in plan.unplaced if u.workload == workload)
