"""What placing one workload goes in with and comes out with, as rows; shared by the planner and its explanations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hanse.core.plan import Displaced, Plan
from hanse.core.snapshot import Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Verdicts
from hanse.core.work import Workload
from hanse.placement.feasible import Codes, Feasibility, Limit
from hanse.placement.gpu_order import GpuOrder
from hanse.placement.rates import Rates
from hanse.placement.score import moving_microeur
from hanse.placement.settings import PlacementSettings
from hanse.placement.standing import Standing
from hanse.placement.table import Ints, NodeTable, Room, among


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What one planning run reads, and the room it fills."""

    snapshot: Snapshot
    verdicts: Verdicts
    parent: Plan | None
    now: WallTime
    settings: PlacementSettings
    table: NodeTable
    room: Room
    rates: Rates
    """How often failure domains are down."""
    gpus: GpuOrder | None = None
    """Who goes first among nodes that cost a replica with GPUs the same; None where nothing asks for any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """One workload about to be placed."""

    workload: Workload
    feasibility: Feasibility
    standing: Standing
    settled: Ints
    """Rows where staying costs nothing, ascending."""
    kept: Ints
    """Rows that may keep a replica, ascending: those settled and those it was sent to."""
    present: Ints
    """Rows that run any instance of it, ascending."""
    excluded: Ints
    """Rows left out after failures, ascending."""
    uprooting_microeur: Ints | None = None
    """What starting on each row costs beyond what every move does: state to move, a cold start; None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Where one workload ended up."""

    wanted: int
    rows: Ints
    """Chosen rows, ascending."""
    totals_microeur: Ints
    """Score of each chosen row, moving included."""
    uncovered: int
    """Origins without a replica in time, one bit each."""
    bound_microeur: int
    limits: Codes | None = None
    """The limit per row at the moment of choosing; None for a large fabric, whose explanations are samples."""
    displaced: tuple[Displaced, ...] = ()
    """Replicas of it that gave way to higher priority."""

    @property
    def missing(self) -> int:
        """Replicas still wanted: those not placed, or one where all are placed and an origin is not served."""
        return max(self.wanted - len(self.rows), 1 if self.uncovered else 0)


def moving_costs(placing: Placing, rows: Ints, settings: PlacementSettings) -> Ints:
    """What starting on each row costs: nothing for a first placement and where it is settled already."""
    if not placing.standing.has_any:
        return np.zeros(len(rows), dtype=np.int64)
    costs = moving_microeur(placing.feasibility.scores.totals_microeur(rows), settings)
    if placing.uprooting_microeur is not None:
        costs = costs + placing.uprooting_microeur[rows]
    costs[among(rows, placing.kept)] = settings.moving_floor_microeur
    costs[among(rows, placing.settled)] = 0
    return costs


def totals_microeur(placing: Placing, rows: Ints, settings: PlacementSettings) -> Ints:
    """The scores that candidates are compared by, moving included."""
    return np.asarray(placing.feasibility.scores.totals_microeur(rows) + moving_costs(placing, rows, settings))


def limits_now(placing: Placing, room: Room) -> Codes:
    """The limit of every row for this workload, with its own failures and the room that is free now."""
    feasibility = placing.feasibility
    codes = feasibility.limit.copy()
    codes[placing.kept] = feasibility.limit_if_kept[placing.kept]
    failed = placing.excluded[(codes[placing.excluded] == Limit.NONE) | (codes[placing.excluded] > Limit.FAILURE)]
    codes[failed] = Limit.FAILURE
    # A shape that did not catch up since knows of no nodes that joined; nothing asks for it on those.
    is_full = ~room.may_all_take(placing.workload)[: len(codes)]
    codes[is_full & ((codes == Limit.NONE) | (codes > Limit.CAPACITY))] = Limit.CAPACITY
    return codes
