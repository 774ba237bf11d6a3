"""The steps of a rollout and the limits it keeps: values that `decide` makes and the controller turns into orders."""

from __future__ import annotations

from dataclasses import dataclass

from hanse.core.ids import InstanceId, NodeId, PlanId, WorkloadId
from hanse.core.plan import Assignment
from hanse.core.time import HOUR_US, US_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutLimits:
    """How much one round may stop, and how long what must go may still wait."""

    stop_at_least: int = 5
    """Running replicas that one round may always stop, 0 or more: small fabrics must be able to delete work."""
    stop_share_permille: int = 300
    """Share of the running replicas that one round may stop, 0..1,000: a wrong fact must not empty the fabric.

    A round that would take away more than this stops nothing and asks; stops that are covered by replacements are
    spread over rounds of this size.
    """
    illegal_grace_us: int = 60 * US_PER_S
    """How long work that lost its legal ground may wait for its replacement: a cold start takes seconds."""
    failed_keep_us: int = HOUR_US
    """How long a failed instance stays on record, so that placement counts repeated failures; it serves nothing."""
    confirmed: PlanId | None = None
    """The plan whose stops a person has confirmed, however many they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Order a node to run one replica."""

    assignment: Assignment
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Order a node to stop one instance."""

    instance: InstanceId
    workload: WorkloadId
    node: NodeId
    ordinal: int
    spec_generation: int
    is_covered: bool
    """Whether as many replicas as wanted serve without it, or it serves nothing: stopping it takes nothing away."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Something that should happen but must wait, and for what. Not an order."""

    reason: str
    workload: WorkloadId | None = None
    instance: InstanceId | None = None
    node: NodeId | None = None


Step = Start | Stop | Hold
