"""Step 3: every node is an ingress; who serves is another matter."""

from __future__ import annotations

from hanse.app.invoking import Invocation
from hanse.app.render import quantities as q
from hanse.app.render.style import table
from hanse.app.tour.stage import TARIFF, TRIAGE, VITALS, Stage


async def run(stage: Stage) -> None:
    """Call through a node that runs the function and through one that does not."""
    stage.open(
        3,
        "Call it anywhere",
        "There is no gateway to find or to lose: a request may enter at any node and is forwarded over mutual "
        "TLS to one that serves.",
    )
    view = await stage.ask(stage.workload, TRIAGE)
    others = sorted(set(await stage.ask(stage.nodes)) - set(view.nodes))
    through = [view.nodes[0], *others[:1]] if others else list(view.nodes[:2])
    answers = [await stage.ask(stage.call, node, view.path, VITALS) for node in through]
    if TARIFF in stage.deployed:
        tariff = await stage.ask(stage.workload, TARIFF)
        answers.append(await stage.ask(stage.call, through[-1], f"{tariff.path}?kwh=8&hours=3"))
    made = table("THROUGH", "SERVED BY", "STATUS", "TIME", "ANSWER", right=("STATUS", "TIME"))
    for one in answers:
        made.add_row(one.through, one.served_by, str(one.status), q.latency(one.took_us), _brief(one))
    stage.show(made)
    mine = answers[:2]
    stage.promise(all(one.status == 200 for one in answers), "every call is answered")
    stage.promise({one.served_by for one in mine} <= set(view.nodes), "only nodes that policy allows served it")
    stage.promise(len({one.body for one in mine}) == 1, "through whichever node, the answer is the same")
    stage.measured("call through a serving node", q.latency(mine[0].took_us))
    stage.measured("call through another node", q.latency(mine[1].took_us))


def _brief(one: Invocation) -> str:
    text = " ".join(one.body.decode(errors="replace").split())
    return text if len(text) <= 72 else text[:71] + "…"
