"""Plan again, from what the last plan worked out: nothing where nothing changed, an event where one happened, or all.

`Prepared, Snapshot, Verdicts, parent -> Plan, Prepared`. `plan` begins anew each time; this is the same planner for
whoever plans again and again. What it keeps is a value of the caller's: with none it begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hanse.core.ids import PlanId, WorkloadId
from hanse.core.plan import Candidate, Plan
from hanse.core.rng import Rng
from hanse.core.snapshot import Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Verdicts
from hanse.placement.changes import Changes, changes
from hanse.placement.explain import sample
from hanse.placement.inputs import input_digests
from hanse.placement.planner import assemble, place_all, plan_digest, prepare
from hanse.placement.prepared import Prepared, Response, prepared, respond
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings
from hanse.placement.unplaced import unplaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a caller keeps from one plan to the next."""

    plan: Plan
    """The plan whose assignments the rest describes."""
    state: Prepared
    planned_us: WallTime
    """When a whole plan was last made."""
    has_events: bool = False
    """Events were answered since, which moved nothing for gain."""

    def is_due(self, now: WallTime) -> bool:
        """Tell whether time alone asks for another look: a node left out may be tried again, or a whole plan is due."""
        due = self.state.due_us
        return (due is not None and due <= now) or self.is_stale(now)

    def is_stale(self, now: WallTime) -> bool:
        """Tell whether events were answered since the last whole plan, and that was long ago."""
        return self.has_events and now - self.planned_us >= self.state.world.settings.whole_plan_us

    def adopted(self, standing: Plan) -> Kept:
        """The same for an older plan that stands because it puts everything in the same places."""
        return replace(self, plan=standing)


def replan(
    kept: Kept | None,
    snapshot: Snapshot,
    verdicts: Verdicts,
    parent: Plan | None,
    *,
    now: WallTime,
    rng: Rng,
    trigger: str,
    settings: PlacementSettings = DEFAULT_SETTINGS,
) -> tuple[Plan, Kept]:
    """Decide where every replica runs, given what was kept of planning `parent`.

    Arguments as for `hanse.placement.plan`. Returns `parent` itself where nothing changed that a plan reads. A fabric
    of up to `full_explanation_nodes` is planned as a whole at every change, as is any fabric once `whole_plan_us` have
    passed since it last was, so that what got better elsewhere is not missed. `kept` is given away.
    """
    del rng
    if kept is not None and parent is not None and kept.plan is parent and kept.state.world.settings == settings:
        world = kept.state.world
        changed = changes(world.snapshot, snapshot, world.verdicts, verdicts)
        if changed.is_empty and not kept.is_due(now):
            return parent, kept
        if world.table.size > settings.full_explanation_nodes and not kept.is_stale(now):
            found = _after_event(kept, snapshot, verdicts, changed, parent, now=now, trigger=trigger)
            if found is not None:
                return found
    run = prepare(snapshot, verdicts, parent, now=now, settings=settings)
    outcomes = place_all(run)
    made = assemble(run, outcomes, trigger)
    return made, Kept(plan=made, state=prepared(run, outcomes, made), planned_us=now)


def _after_event(
    kept: Kept,
    snapshot: Snapshot,
    verdicts: Verdicts,
    changed: Changes,
    parent: Plan,
    *,
    now: WallTime,
    trigger: str,
) -> tuple[Plan, Kept] | None:
    kept.state.world = replace(kept.state.world, parent=parent)
    kept.state.generation = parent.generation
    answered = respond(kept.state, snapshot, verdicts, changed, now=now)
    if answered is None:
        return None
    response, state = answered
    lowest = min((placing.workload.priority for placing in state.placings.values()), default=0)
    if any(state.placings[entry.workload].workload.priority > lowest for entry in response.unplaced):
        return None  # It may take the place of work of lower priority, which only a whole plan weighs.
    made = plan_after(state, response, parent, trigger)
    return made, Kept(plan=made, state=state, planned_us=kept.planned_us, has_events=True)


def plan_after(state: Prepared, response: Response, parent: Plan, trigger: str) -> Plan:
    """The whole plan after an event: the parent's parts, with those that the response replaces."""
    world, touched = state.world, response.assignments
    for waiting in (state.placings[w] for w in sorted(state.short)):
        # Who found no room in what came free was not screened anew, but what is in its way is told as it is now.
        state.screening.again(waiting.feasibility, waiting.workload)
    stays = [a for a in parent.assignments if a.workload not in touched]
    fresh = [a for held in touched.values() for a in held]
    explanations = {w: told for w, told in parent.explanations.items() if w in state.placings}
    explanations.update(response.explanations)
    outcomes = state.outcomes.values()
    draft = Plan(
        id=PlanId(""),
        parent=parent.id,
        generation=response.generation,
        created_us=world.now,
        inputs=input_digests(world.snapshot, world.verdicts),
        assignments=tuple(sorted([*stays, *fresh], key=lambda a: a.instance)),
        unplaced=tuple(unplaced(state.placings[w], state.outcomes[w], world) for w in sorted(state.short)),
        explanations=explanations,
        objective_microeur=sum(int(outcome.totals_microeur.sum()) for outcome in outcomes),
        bound_microeur=sum(outcome.bound_microeur for outcome in outcomes),
        trigger=trigger,
        samples=_samples(state, response, parent),
    )
    return replace(draft, id=PlanId(f"p{draft.generation}-{plan_digest(draft)[:16]}"))


def _samples(state: Prepared, response: Response, parent: Plan) -> Mapping[WorkloadId, tuple[Candidate, ...]]:
    """The parent's, and one for each shape that no plan before has told of."""
    samples = dict(parent.samples)
    for workload, told in sorted(response.explanations.items()):
        placing = state.placings[workload]
        if told.alike is not None and told.alike not in samples and placing.feasibility.first == told.alike:
            samples[told.alike] = sample(placing, state.world)
    return samples
