"""The rehearsed exit: what would move where, for how long and at what cost, if an operator, site or country were gone.

`snapshot, verdicts, parent, Leaving -> Rehearsal`. Plans the fabric without those nodes by the planner in force and
compares; nothing is changed. A replica without a home is told apart: no legal node is left, or the legal ones are full,
too far or too dear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hanse.core.fabric import Fabric, Node
from hanse.core.ids import CountryCode, NodeId, OperatorId, SiteId, WorkloadId
from hanse.core.plan import Plan, Unplaced
from hanse.core.rng import Rng
from hanse.core.snapshot import Snapshot
from hanse.core.time import US_PER_S, WallTime
from hanse.core.verdict import Verdicts
from hanse.placement.compare import PlanDifference, difference
from hanse.placement.planner import plan
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Who is taken out; a node leaves if any of its operator, site or country is named."""

    operators: tuple[OperatorId, ...] = ()
    sites: tuple[SiteId, ...] = ()
    countries: tuple[CountryCode, ...] = ()

    def takes(self, node: Node, fabric: Fabric) -> bool:
        """Tell whether a node would be gone."""
        country = fabric.site_of(node).country
        return node.operator in self.operators or node.site in self.sites or country in self.countries


@dataclass(frozen=True, slots=True, kw_only=True)
class Homeless:
    """A workload that would miss replicas that it has now."""

    workload: WorkloadId
    missing: int
    is_legal_anywhere: bool
    """Whether policy allows it on any node that is left."""
    entry: Unplaced
    """The limits in the way and the nearest changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What an exit would mean."""

    nodes: tuple[NodeId, ...]
    """Nodes that would be gone, in id order."""
    difference: PlanDifference
    after: Plan
    """The plan without them, as it would be made now."""
    moves: int
    """Replicas that would start elsewhere."""
    bytes_to_fetch: int
    """Artifacts that their new nodes would fetch; a node fetches each artifact once."""
    duration_us: int
    """Until the last replica serves: nodes fetch side by side, each one artifact after the other."""
    money_microeur: int
    """Change of the monthly bill; negative is cheaper."""
    carbon_ug: int
    """Change of the monthly emission."""
    homeless: tuple[Homeless, ...]
    """In workload id order."""


def rehearse(
    snapshot: Snapshot,
    verdicts: Verdicts,
    parent: Plan | None,
    leaving: Leaving,
    *,
    now: WallTime,
    rng: Rng,
    settings: PlacementSettings = DEFAULT_SETTINGS,
) -> Rehearsal:
    """Plan without those who leave, and compare with what stands (a fresh plan where `parent` is None)."""
    before = parent or plan(snapshot, verdicts, None, now=now, rng=rng, trigger="before the exit", settings=settings)
    fabric = snapshot.fabric
    gone = tuple(sorted(node for node, facts in fabric.nodes.items() if leaving.takes(facts, fabric)))
    left = _without(snapshot, frozenset(gone))
    after = plan(left, verdicts, before, now=now, rng=rng, trigger="rehearsed exit", settings=settings)
    found = difference(before, after)
    bytes_to_fetch, duration_us, moves = _effort(found, snapshot, settings)
    return Rehearsal(
        nodes=gone,
        difference=found,
        after=after,
        moves=moves,
        bytes_to_fetch=bytes_to_fetch,
        duration_us=duration_us,
        money_microeur=sum(w.after.money_microeur - w.before.money_microeur for w in found.workloads),
        carbon_ug=sum(w.after.carbon_ug - w.before.carbon_ug for w in found.workloads),
        homeless=_homeless(found, after, left, verdicts),
    )


def _without(snapshot: Snapshot, gone: frozenset[NodeId]) -> Snapshot:
    fabric = snapshot.fabric
    return replace(
        snapshot,
        fabric=replace(fabric, nodes={node: facts for node, facts in fabric.nodes.items() if node not in gone}),
        reach={node: reach for node, reach in snapshot.reach.items() if node not in gone},
        running=tuple(record for record in snapshot.running if record.node not in gone),
    )


def _effort(found: PlanDifference, snapshot: Snapshot, settings: PlacementSettings) -> tuple[int, int, int]:
    """Bytes to fetch in all, time until the last replica serves, and how many start."""
    per_node: dict[NodeId, dict[str, int]] = {}
    moves = 0
    for change in found.workloads:
        spec = snapshot.workloads.get(change.workload)
        for node in change.added if spec is not None else ():
            moves += 1
            if spec is not None:
                per_node.setdefault(node, {})[spec.artifact] = spec.artifact_bytes
    sums = [sum(artifacts.values()) for artifacts in per_node.values()]
    if not sums:
        return 0, 0, 0
    slowest_us = -(-max(sums) * US_PER_S // settings.fetch_bytes_per_s)
    return sum(sums), slowest_us + settings.start_us, moves


def _homeless(found: PlanDifference, after: Plan, left: Snapshot, verdicts: Verdicts) -> tuple[Homeless, ...]:
    more = {change.workload: change.missing_after - change.missing_before for change in found.workloads}
    return tuple(
        Homeless(
            workload=entry.workload,
            missing=more[entry.workload],
            is_legal_anywhere=any(node in left.fabric.nodes for node in verdicts.allowed(entry.workload)),
            entry=entry,
        )
        for entry in sorted(after.unplaced, key=lambda entry: entry.workload)
        if more.get(entry.workload, 0) > 0
    )
