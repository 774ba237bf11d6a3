"""What policy answers: allowed or not, by which rules, on which facts, and what would change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hanse.core.ids import NodeId, WorkloadId

DENIED_BECAUSE = "verdict.denied-because"
"""Subject of the fact by which a denial says what changed when it turned: a fact, a rule, a date, the spec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRead:
    """One fact that a rule read: subject, value, how well founded (grade 0..4), until when it holds."""

    subject: str
    """For example ``operator/nimbus.control``."""
    value: str
    grade: int = 0
    until: str | None = None
    as_of: str | None = None
    """The day on which it was stated or last checked (YYYY-MM-DD), where that is known: its age."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One rule that decided: its id, the law or contract it comes from, a sentence for people."""

    rule: str
    """Stable policy id, for example ``gdpr.transfer-needs-basis``; ``default-deny`` where no rule permits."""
    cite: str
    message: str
    facts: tuple[FactRead, ...] = ()
    within_us: int | None = None
    """Within which time what this rule denies where it runs must be gone; None leaves it to the domain's limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A nearest change that would turn the answer: what to edit, where, and who may do it."""

    what: str
    """One imperative sentence."""
    target: str
    """``spec`` (the workload's owner), ``fact`` (the operator) or ``rule`` (the domain's guardrails)."""
    allows: tuple[NodeId, ...] = ()
    """Nodes that would become allowed."""
    by: tuple[str, ...] = ()
    """Who may make each of its edits, in their order: ``owner``, ``operator NAME``, ``legislator`` or ``domain``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer for one workload on one node."""

    workload: WorkloadId
    node: NodeId
    is_allowed: bool
    reasons: tuple[Reason, ...]
    """On a denial every rule that denies; on an allowance the rules that permit."""
    valid_until_us: int | None = None
    """Wall time at which a dated fact read here begins or ends, so the answer must be asked again."""


class Verdicts(Protocol):
    """Every verdict of one screening; workloads and nodes that are alike share one."""

    def of(self, workload: WorkloadId, node: NodeId) -> Verdict:
        """The verdict for one pair. Raises KeyError for a pair that was not screened."""
        ...

    def allowed(self, workload: WorkloadId) -> tuple[NodeId, ...]:
        """Nodes where the workload may run, in id order."""
        ...

    def changes(self, workload: WorkloadId) -> tuple[Change, ...]:
        """Nearest changes that would allow more nodes, nearest first; computed when asked."""
        ...
