"""Step 2: where the replicas went and why, candidate by candidate."""

from __future__ import annotations

from hanse.app.render.explanation import explain
from hanse.app.tour.stage import TARIFF, TRIAGE, Stage, TourFailed


async def run(stage: Stage) -> None:
    """Explain each workload and check that the explanation is the truth."""
    stage.open(
        2,
        "Why there",
        "Every placement explains itself: what policy and limits ruled out, with the law behind it, and what the "
        "rest would cost in "
        "money, carbon and time.",
    )
    nodes = await stage.ask(stage.client.nodes)
    for name in (TRIAGE, TARIFF):
        if name not in stage.deployed:
            continue
        stage.say(f"hanse explain {name}")
        view = await stage.ask(stage.client.explain, *name.split("."))
        stage.show(explain(view, nodes))
        stage.console.print()
        if view.explanation is None:
            raise TourFailed(f"the plan does not explain {name}")
        candidates = view.explanation.candidates
        chosen = {c.node for c in candidates if c.is_chosen}
        serving = set((await stage.ask(stage.workload, name)).nodes)
        stage.promise(chosen == serving, f"{name} serves on exactly the chosen nodes: {', '.join(sorted(serving))}")
        mute = [c.node for c in candidates if not c.is_feasible and not c.limit]
        stage.promise(
            not mute, f"each of the {sum(not c.is_feasible for c in candidates)} nodes ruled out has its reason"
        )
