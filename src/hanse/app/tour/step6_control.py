"""Step 6: one fact changes, an operator comes under foreign control.

What may no longer be there moves, the rest stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from hanse.app.cli.waiting import until_running
from hanse.app.examples import fabric_file
from hanse.app.render import tables
from hanse.app.render.submission import submission as render
from hanse.app.tour.stage import PATIENCE_S, TRIAGE, Stage, TourFailed
from hanse.control.views import OperatorView, Submission, WorkloadChange

BUYER = {"name": "Atlantic Holdings Inc", "country": "US", "share": "100%"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Takeover:
    """A takeover whose consequences the fabric has worked out."""

    operator: OperatorView
    manifest: tuple[str, str]
    preview: Submission
    change: WorkloadChange


async def run(stage: Stage) -> None:
    """Submit the changed operator, watch the work move, show before and after."""
    stage.open(
        6,
        "A takeover",
        "Location is not control. When an operator is bought, its servers stand where they stood, but another "
        "law reaches them. "
        "Every running placement is screened again, because a fact it rests on has changed.",
    )
    before = {view.id: view for view in await stage.ask(stage.client.workloads)}
    takeover = await _find(stage)
    name, text = takeover.manifest
    stage.say(f"hanse deploy {name}  ({takeover.operator.name} now belongs to {BUYER['name']}, US)")
    submission = await stage.ask(stage.client.submit, [(name, text)], {})
    stage.show(render(submission))
    await stage.ask(until_running, stage.client, submission, timeout_s=PATIENCE_S, say=lambda _: None)
    after = {view.id: view for view in await stage.ask(stage.client.workloads)}
    operators = await stage.ask(stage.client.operators)
    stage.show(tables.operators(one for one in operators if one.id == takeover.operator.id))
    bought = set(takeover.operator.nodes)
    stage.say(f"{TRIAGE}: {', '.join(before[TRIAGE].nodes)} -> {', '.join(after[TRIAGE].nodes)}")
    stage.promise(
        not bought & set(after[TRIAGE].nodes), f"no replica of {TRIAGE} is left with {takeover.operator.name}"
    )
    kept = set(before[TRIAGE].nodes) - bought
    stage.promise(kept <= set(after[TRIAGE].nodes), f"what may stay stays: {', '.join(sorted(kept)) or 'nothing'}")
    others = [key for key in before if key != TRIAGE and before[key].nodes != after[key].nodes]
    stage.promise(not others, "work on public data is not moved: the change does not concern it")


async def _find(stage: Stage) -> _Takeover:
    """The operator with the most replicas of the function whose takeover would still leave them a legal home."""
    serving = set((await stage.ask(stage.workload, TRIAGE)).nodes)
    operators = await stage.ask(stage.client.operators)
    for operator in sorted(operators, key=lambda one: (-len(serving & set(one.nodes)), one.id)):
        if not serving & set(operator.nodes):
            continue
        manifest = (
            f"{operator.id}-bought.yaml",
            bought_manifest(fabric_file().read_text(encoding="utf-8"), operator.id),
        )
        preview = await stage.ask(stage.client.submit, [manifest], {}, is_dry_run=True)
        for change in preview.moved:
            if change.document.endswith(TRIAGE) and change.after and not set(change.after) & set(operator.nodes):
                return _Takeover(operator=operator, manifest=manifest, preview=preview, change=change)
    raise TourFailed(f"there is no operator whose takeover {TRIAGE} would survive elsewhere")


def bought_manifest(fabric_text: str, operator: str) -> str:
    """The operator's own manifest from the fabric's, with one changed fact: who owns it."""
    for document in yaml.safe_load_all(fabric_text):
        if document and document.get("kind") == "Operator" and document["metadata"]["name"] == operator:
            document["spec"]["parents"] = [dict(BUYER)]
            return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    raise TourFailed(f"the fabric's manifest holds no operator {operator}")
