"""A plan: which replica of which workload runs where, with the reasons. Immutable once committed.

The controller carries a plan out; it takes no decisions of its own doing so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from hanse.core.ids import InstanceId, NodeId, PlanId, WorkloadId
from hanse.core.time import WallTime
from hanse.core.verdict import Change, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One replica placed on one node."""

    instance: InstanceId
    workload: WorkloadId
    ordinal: int
    node: NodeId
    spec_generation: int
    devices: tuple[int, ...] = ()
    """GPUs of the node that it holds, from 0, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The parts of a candidate's score, all in microeur per month so that they add up; less is better."""

    money_microeur: int
    """Money as weighed by the workload's objective."""
    bill_microeur: int = 0
    """The money itself, as billed."""
    carbon_microeur: int
    """Carbon priced by the workload's objective."""
    carbon_ug: int
    """The carbon itself, micrograms per month."""
    latency_microeur: int
    """Penalty for latency beyond the target; 0 within it."""
    latency_us: int
    """Round trip from the worst origin that this node would serve."""
    moving_microeur: int = 0
    data_microeur: int = 0
    """Priced waiting for data that lies elsewhere; what sending it costs is part of the bill."""

    @property
    def total_microeur(self) -> int:
        """The sum that candidates are compared by."""
        parts = self.money_microeur, self.carbon_microeur, self.latency_microeur, self.data_microeur
        return sum(parts) + self.moving_microeur


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One node considered for one workload: what decided, and its score where it was feasible."""

    node: NodeId
    is_feasible: bool
    limit: str
    """What ruled it out: ``selector``, ``reachability``, ``drain``, ``failure`` (this workload failed there of late),
    ``policy``, ``capacity``, ``latency`` or ``budget``; empty if feasible."""
    reasons: tuple[Reason, ...]
    score: Score | None
    is_chosen: bool


class Shortfall(StrEnum):
    """Why a plan does not meet an availability that is asked for."""

    FIXED = "fixed"
    """Its owner fixed the count."""
    ROOM = "room"
    """Replicas miss a place."""
    BUDGET = "budget"
    """Its budget pays for no more."""
    MOST = "most"
    """More may not be asked for by an availability alone."""
    PLACES = "places"
    """The legal and reachable places do not lie far enough apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailabilityClaim:
    """What a plan says that a workload's places give; the auditor works it out anew."""

    target_ppm: int
    reached_ppm: int
    """The chance that at least one of them is up; the first six by node id are counted."""
    shortfall: Shortfall | None = None
    """Why that is less than asked for; None where it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why the replicas of one workload are where they are."""

    workload: WorkloadId
    replicas_wanted: int
    replicas_why: str
    """The assumption that carries the count, in one sentence."""
    candidates: tuple[Candidate, ...]
    """In node id order. In a large fabric only the nodes that concern this workload alone: chosen, running, failed."""
    alike: WorkloadId | None = None
    """Key into `Plan.samples` of what it shares with all workloads that ask for the same; None in a small fabric."""
    availability: AvailabilityClaim | None = None
    """None where none is asked for, or nothing is placed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """Replicas that could not be placed: the binding limit and what would free a place."""

    workload: WorkloadId
    missing: int
    reasons: tuple[Reason, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Displaced:
    """The harm of one preemption: whose replica gave way on a node, to whom, and what it loses."""

    workload: WorkloadId
    priority: int
    node: NodeId
    by: WorkloadId
    by_priority: int
    to: NodeId | None
    """Where it goes instead; None where it has no place and one replica is missing."""
    loses: str
    """What that means for it, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An immutable answer to `where does everything run`, with its ancestry."""

    id: PlanId
    parent: PlanId | None
    generation: int
    created_us: WallTime
    inputs: Mapping[str, str]
    """Digests of what was read: policies, facts, prices, intensities, specs."""
    assignments: tuple[Assignment, ...]
    """In instance id order."""
    unplaced: tuple[Unplaced, ...]
    explanations: Mapping[WorkloadId, Explanation]
    objective_microeur: int
    bound_microeur: int | None
    """A lower bound on the objective of any legal plan; None where the solver gives none."""
    trigger: str
    """What made this plan necessary, for people and for the ledger."""
    samples: Mapping[WorkloadId, tuple[Candidate, ...]] = field(default_factory=dict)
    """Large fabrics: the nodes next in line and the best few per limit, once for all workloads that ask for the same,
    under the first of them; as they stood when everything was placed."""
    displaced: tuple[Displaced, ...] = ()
    """Replicas that gave way to work of higher priority, in (workload, node) order."""

    def explain(self, workload: WorkloadId) -> Explanation | None:
        """The explanation of one workload with what it shares spelled out; None if the plan does not know it."""
        own = self.explanations.get(workload)
        if own is None or own.alike is None:
            return own
        told = {c.node: c for c in (*self.samples.get(own.alike, ()), *own.candidates)}
        return replace(own, candidates=tuple(told[node] for node in sorted(told)))
