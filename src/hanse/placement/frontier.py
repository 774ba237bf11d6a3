"""Money against carbon: the plans that no other plan beats in both, found by pricing carbon ever higher.

`snapshot, verdicts, parent, prices -> points`. A weighted sum finds the points on the convex hull of what is possible;
points inside it, if any, are not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hanse.core.plan import Plan
from hanse.core.rng import Rng
from hanse.core.snapshot import Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import Verdicts
from hanse.placement.planner import plan
from hanse.placement.settings import DEFAULT_SETTINGS, PlacementSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """One plan that no other of the frontier beats in both money and carbon."""

    carbon_microeur_per_t: int
    """The price of carbon that leads to it."""
    money_microeur: int
    """Bill per month."""
    carbon_ug: int
    """Emission per month."""
    missing: int
    """Replicas without a place."""
    plan: Plan


def frontier(
    snapshot: Snapshot,
    verdicts: Verdicts,
    parent: Plan | None,
    carbon_prices_microeur_per_t: Sequence[int],
    *,
    now: WallTime,
    rng: Rng,
    settings: PlacementSettings = DEFAULT_SETTINGS,
) -> tuple[FrontierPoint, ...]:
    """Plan once per price and keep what is not dominated, cheapest first."""
    points = [
        _point(snapshot, verdicts, parent, price, now=now, rng=rng, settings=settings)
        for price in sorted(set(carbon_prices_microeur_per_t))
    ]
    return tuple(_undominated(points))


def _point(
    snapshot: Snapshot,
    verdicts: Verdicts,
    parent: Plan | None,
    price: int,
    *,
    now: WallTime,
    rng: Rng,
    settings: PlacementSettings,
) -> FrontierPoint:
    workloads = {
        identity: replace(spec, objective=replace(spec.objective, carbon_microeur_per_t=price))
        for identity, spec in snapshot.workloads.items()
    }
    priced = replace(snapshot, workloads=workloads)
    made = plan(priced, verdicts, parent, now=now, rng=rng, trigger="frontier", settings=settings)
    scores = [c.score for e in made.explanations.values() for c in e.candidates if c.is_chosen and c.score is not None]
    return FrontierPoint(
        carbon_microeur_per_t=price,
        money_microeur=sum(score.bill_microeur for score in scores),
        carbon_ug=sum(score.carbon_ug for score in scores),
        missing=sum(entry.missing for entry in made.unplaced),
        plan=made,
    )


def _undominated(points: Sequence[FrontierPoint]) -> Iterator[FrontierPoint]:
    """Fewest missing first of all: a plan is not cheap because it leaves work out."""
    least = min((point.missing for point in points), default=0)
    cleanest: int | None = None
    for point in sorted(points, key=lambda p: (p.money_microeur, p.carbon_ug, p.carbon_microeur_per_t)):
        if point.missing == least and (cleanest is None or point.carbon_ug < cleanest):
            cleanest = point.carbon_ug
            yield point
