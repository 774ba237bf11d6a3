"""Step 4: what the law forbids is refused before it runs, with the way out."""

from __future__ import annotations

import msgspec

from hanse.app.client_answers import ApiError
from hanse.app.deploying import prepare, upload
from hanse.app.examples import function_dir
from hanse.app.render.submission import refused
from hanse.app.tour.stage import Stage
from hanse.control.views import Submission, WorkloadChange


async def run(stage: Stage) -> None:
    """Submit health data to where it may not go."""
    stage.open(
        4,
        "A useful no",
        "A deployment that no node may run is refused as a whole. The refusal names the rule, the law it comes "
        "from, the facts it "
        "read, and the nearest change that would be allowed.",
    )
    stage.say("hanse deploy examples/functions/refused")
    prepared = await stage.ask(prepare, [function_dir("refused")], cache=stage.cache)
    artifacts = await stage.ask(upload, stage.client, prepared)
    try:
        await stage.ask(stage.client.submit, prepared.files, artifacts)
    except ApiError as error:
        stage.promise(error.code == "spec.refused", f"refused: {error.code}")
        details = error.details
    else:
        stage.promise(False, "a deployment that no node may run is refused")
        return
    changes = _refusals(details)
    for change in changes:
        stage.show(refused(change))
    unplaced = [change.unplaced for change in changes if change.unplaced is not None]
    cited = [reason for one in unplaced for reason in one.reasons if reason.rule and reason.cite]
    stage.promise(bool(cited), "the refusal names the rule and where it comes from")
    stage.promise(any(one.changes for one in unplaced), "it says what would have to change, and whose it is to change")
    known = {view.id for view in await stage.ask(stage.client.workloads)}
    stage.promise(not known & set(prepared.components), "nothing of it was accepted")


def _refusals(details: object) -> list[WorkloadChange]:
    submission = msgspec.convert(details, Submission)
    return [change for change in submission.changes if change.action == "refuse"]
