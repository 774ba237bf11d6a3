"""Step 7: a node loses its uplink, is killed and restarted in the dark, serves its own work, and comes home."""

from __future__ import annotations

from hanse.app.render import quantities as q
from hanse.app.render import tables
from hanse.app.tour.stage import TRIAGE, Stage, TourFailed, doubled
from hanse.control.views import InstanceView, WorkloadView
from hanse.core.ids import NodeId


async def run(stage: Stage) -> None:
    """Cut, kill, restart, call, link; then compare what there is with what there was."""
    stage.open(
        7,
        "An island",
        "A factory, a ward, a substation must work when its uplink does not. A node keeps its signed orders and "
        "components on its own "
        "disk and needs nobody to start them again.",
    )
    view = await stage.ask(stage.workload, TRIAGE)
    node = NodeId(view.nodes[0])
    mine = await _instance_on(stage, node)
    ledger_before = await stage.ask(lambda: stage.client.status().ledger_size or 0)
    stage.say(
        f"cutting the uplink of {node}, then kill -9 {stage.fabric.nodes[node].child.pid}, then starting it again"
    )
    stage.fabric.cut(node)
    await stage.fabric.kill(node)
    await stage.fabric.restart(node)
    answer = await stage.until(lambda: _own_answer(stage, node, view.path), f"{node} serving its own work in the dark")
    stage.say(f"{node}, still cut off, answers {answer[0]} on its own front in {q.latency(answer[1])}")
    stage.promise(answer[0] == 200, "cut off and restarted, the node serves its own work again")
    await stage.until(
        lambda: stage.nodes()[node].reach == "unreachable" or None, f"the silence of {node} being noticed"
    )
    meanwhile = await stage.until(lambda: _without(stage, node), f"{node} being taken off the routes")
    stage.say(
        f"the fabric holds {node} for unreachable: {TRIAGE} is {meanwhile.status}, "
        f"{meanwhile.running} of {meanwhile.wanted} as seen from the controller. Now the uplink comes back"
    )
    stage.fabric.link(node)
    await stage.until(lambda: stage.nodes()[node].reach == "ready" or None, f"{node} being heard again")
    settled = await stage.until(lambda: stage.settled(TRIAGE), "the fabric settling")
    instances = [one for one in await stage.ask(stage.client.instances) if one.workload == TRIAGE]
    stage.show(tables.instances(instances))
    stage.promise(
        settled.running == settled.wanted, f"nothing is lost: {settled.running} of {settled.wanted} replicas run"
    )
    stage.promise(not doubled(instances), "nothing is doubled: one order to run per replica")
    await _judge_own(stage, mine, instances)
    ledger_after = await stage.ask(lambda: stage.client.status().ledger_size or 0)
    stage.say(f"the ledger grew from {ledger_before} to {ledger_after} entries meanwhile")


def _without(stage: Stage, node: str) -> WorkloadView | None:
    view = stage.workload(TRIAGE)
    return None if node in view.nodes else view


def _own_answer(stage: Stage, node: str, path: str) -> tuple[int, int] | None:
    answer = stage.direct(node, path)
    if answer is None or answer.served_by != node:
        return None
    return answer.status, answer.took_us


async def _instance_on(stage: Stage, node: str) -> InstanceView:
    for one in await stage.ask(stage.client.instances):
        if one.node == node and one.workload == TRIAGE and one.wanted:
            return one
    raise TourFailed(f"no order for {TRIAGE} stands on {node}")


async def _judge_own(stage: Stage, before: InstanceView, instances: list[InstanceView]) -> None:
    """The node's own instance: still the same one under the same order, not started as another."""
    after = next((one for one in instances if one.id == before.id), None)
    is_same = after is not None and after.wanted and after.phase == "running"
    stage.promise(is_same, f"nothing is deleted: {before.id} on {before.node} still runs")
    is_first = after is not None and after.order_generation == before.order_generation
    stage.promise(is_first, f"nothing is re-run: it runs under the order it had, number {before.order_generation}")
