"""Step 1: two functions, one in Python and one in JavaScript, become components and run."""

from __future__ import annotations

from pathlib import Path

from hanse.app.cli.session import progress_step
from hanse.app.cli.waiting import until_running
from hanse.app.deploying import Prepared, prepare, upload
from hanse.app.examples import function_dir
from hanse.app.render import tables
from hanse.app.render.fabric_map import fabric_map
from hanse.app.render.submission import submission as render
from hanse.app.tour.stage import Stage
from hanse.core.errors import HanseError

WITHOUT_NODE = ("build.node_missing", "build.install_failed")
DEPLOY_S = 120.0


async def run(stage: Stage) -> None:
    """Build, upload, submit, and wait until both run."""
    stage.open(
        1,
        "Deploy",
        "A developer writes a handler and declares what matters: latency, availability, whose data it is, a "
        "budget. Where it runs "
        "is the fabric's business.",
    )
    stage.show(fabric_map(await stage.ask(stage.client.nodes)))
    stage.say("hanse deploy examples/functions/triage examples/functions/tariff")
    prepared = [await _prepare(stage, function_dir("triage"))]
    try:
        prepared.append(await _prepare(stage, function_dir("tariff")))
    except HanseError as error:
        if error.code not in WITHOUT_NODE:
            raise
        stage.say(f"without the JavaScript example: {error.message} ({error.hint.splitlines()[0]})")
    for one in prepared:
        await _deploy(stage, one)
    views = [view for view in await stage.ask(stage.client.workloads) if view.id in stage.deployed]
    stage.show(tables.workloads(views))
    running = all(view.status == "running" and view.running == view.wanted for view in views)
    stage.promise(running, f"{len(views)} functions run with every replica they need")


async def _prepare(stage: Stage, folder: Path) -> Prepared:
    with progress_step(stage.console, f"building {folder.name}") as say:
        prepared = await stage.ask(prepare, [folder], cache=stage.cache, say=say)
    for name, built in prepared.components.items():
        how = "from the cache" if built.is_cached else f"in {built.seconds:.1f} s"
        stage.say(f"{name}: a wasi:http component of {built.size_bytes / 2**20:.1f} MiB, built {how}")
    return prepared


async def _deploy(stage: Stage, prepared: Prepared) -> None:
    artifacts = await stage.ask(upload, stage.client, prepared)
    submission = await stage.ask(stage.client.submit, prepared.files, artifacts)
    stage.show(render(submission))
    with progress_step(stage.console, "waiting until it runs") as say:
        views = await stage.ask(until_running, stage.client, submission, timeout_s=DEPLOY_S, say=say)
    stage.deployed |= {view.id for view in views}
