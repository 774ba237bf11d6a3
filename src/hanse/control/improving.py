"""The global solver at intervals: what it found is offered to the next round, which takes it only if it pays.

`Snapshot, parent -> proposal -> Decision`. It thinks aside (a thread in the app, at once in the twin) on a frozen
snapshot; a round whose inputs are others by then drops the proposal. A proposal pays if it beats the incremental plan
of the same moment by more than the moving floor per replica that starts anew: moving costs are part of both objectives
already, so a plan that the next one would undo is not made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hanse.control.config import ControlConfig
from hanse.core.plan import Plan
from hanse.core.rng import Rng
from hanse.core.snapshot import Snapshot
from hanse.placement import PlacementSettings, optimise
from hanse.placement.solvers import Watch
from hanse.policy import PackSet, VerdictCache, in_force, screen

Think = Callable[[Callable[[], Plan]], Awaitable[Plan]]


async def think_at_once(work: Callable[[], Plan]) -> Plan:
    """Think on the spot: for the twin, whose time stands still meanwhile."""
    return work()


def look_for_better(
    at: Snapshot, parent: Plan, packs: PackSet, cache: VerdictCache | None, config: ControlConfig, *, watch: Watch
) -> Plan:
    """Run the global solver on one snapshot, until it is done or the watch says so."""
    laid, guardrails = in_force(packs, at.policies, config.guardrails)
    verdicts = screen(at.workloads, at.fabric, laid, at.at_us, cache, guardrails=guardrails)
    return optimise(
        at, verdicts, parent, now=at.at_us, rng=Rng(config.seed), trigger="the global solver at its interval",
        settings=config.placement, watch=watch,
    )  # fmt: skip


def pays(proposal: Plan, fresh: Plan, settings: PlacementSettings) -> bool:
    """Tell whether a proposal should stand instead of the incremental plan of the same inputs."""
    if proposal.parent != fresh.parent or dict(proposal.inputs) != dict(fresh.inputs):
        return False  # The world moved on meanwhile.
    if _missing(proposal) != _missing(fresh):
        return _missing(proposal) < _missing(fresh)
    held = {(a.workload, a.node) for a in fresh.assignments}
    moves = sum((a.workload, a.node) not in held for a in proposal.assignments)
    gain = fresh.objective_microeur - proposal.objective_microeur
    return moves > 0 and gain > moves * settings.moving_floor_microeur


def _missing(plan: Plan) -> int:
    return sum(entry.missing for entry in plan.unplaced)
