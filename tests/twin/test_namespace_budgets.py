"""A namespace's budget in a whole fabric: warned from 80 %, then its owner's rule, through the verbs of the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from hanse.control import inspect
from hanse.control.views import NamespaceView
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.time import WallTime
from hanse.twin.generate import component_of
from hanse.twin.package import shipped_settings
from hanse.twin.run import play
from hanse.twin.scenarios import Scenario
from hanse.twin.stage import Stage

DECEMBER = WallTime(1_796_083_200_000_000)
"""2026-12-01: the whole month lies ahead, so that what is projected is about what a month costs."""
SETTINGS = replace(shipped_settings(), start=DECEMBER)
BOOKS, FRESH = WorkloadId("office.books"), WorkloadId("office.fresh")
NAMESPACE = """\
apiVersion: hanse.dev/v1
kind: Namespace
metadata: {name: office}
spec: {budget: {cost: %.6f EUR/month, rule: %s}}
"""
FUNCTION = """\
apiVersion: hanse.dev/v1
kind: Function
metadata: {name: %s, namespace: office}
spec:
  source: ./%s.py
  route: {path: /%s}
  resources: {memory: 64Mi, cpu: 50m}
  replicas: %d
  data: {classes: [public]}
  objective: {carbon: 5000 EUR/t}
"""


class Office:
    """One namespace, as its owner sees it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def deploy(self, workload: WorkloadId, replicas: int) -> None:
        name = workload.partition(".")[2]
        await self.stage.fabric.deploy(FUNCTION % (name, name, name, replicas), {workload: component_of(name)})

    async def budget(self, microeur: int, rule: str) -> None:
        await self.stage.fabric.deploy(NAMESPACE % (microeur / 10**6, rule))

    def view(self) -> NamespaceView:
        """What `GET /api/v1/namespaces` answers."""
        leader = self.stage.fabric.leader()
        assert leader is not None
        (view,) = inspect.namespaces(self.stage.fabric.controllers[leader])
        return view

    def nodes(self, workload: WorkloadId = BOOKS) -> tuple[NodeId, ...]:
        return tuple(sorted(node for node, loaded in self.stage.view.loaded if loaded == workload))

    async def until_state(self, state: str) -> None:
        await self.stage.until(f"the budget is {state}", lambda: self.view().spending.state == state, within_s=200)

    async def open(self, replicas: int) -> int:
        """Run the books under a budget that is ample; returns what they are projected to cost, in microeur."""
        await self.stage.open(())
        await self.budget(10**9, "refuse")
        await self.deploy(BOOKS, replicas)
        await self.stage.until("they run", lambda: len(self.nodes()) == replicas, within_s=60)
        await self.stage.until("they are in the book", lambda: self.view().spending.spent_microeur > 0, within_s=200)
        await self.until_state("ok")
        return self.view().spending.projected_microeur


async def _refuse(office: Office) -> None:
    projected = await office.open(3)
    before = office.nodes()
    await office.budget(projected * 10 // 9, "refuse")
    await office.until_state("warn")
    await office.budget(1, "refuse")
    await office.until_state("over")
    await office.deploy(FRESH, 1)
    await office.stage.until("the next minute is in the book", _ticks(office), within_s=200)
    assert (office.nodes(FRESH), office.nodes()) == ((), before), "nothing new starts, and what runs goes on"
    await office.budget(10**9, "refuse")
    await office.stage.until("there is money again", lambda: len(office.nodes(FRESH)) == 1, within_s=60)


async def _shrink(office: Office) -> None:
    projected = await office.open(3)
    await office.budget(projected * 10 // 9, "shrink")
    await office.until_state("warn")
    assert len(office.nodes()) == 3, "a warning takes nothing away"
    await office.budget(projected * 75 // 100, "shrink")
    await office.stage.until("one replica fewer runs", lambda: len(office.nodes()) == 2, within_s=90)
    await office.stage.until("the next minute is in the book", _ticks(office), within_s=200)
    assert len(office.nodes()) == 2
    await office.budget(1, "shrink")
    await office.stage.until("one is left", lambda: len(office.nodes()) == 1, within_s=90)


async def _move(office: Office) -> None:
    projected = await office.open(1)
    (before,) = office.nodes()
    await office.budget(projected * 10 // 9, "move")
    await office.until_state("warn")
    assert office.nodes() == (before,)
    await office.budget(projected * 95 // 100, "move")
    await office.stage.until("it runs where the rest lasts", lambda: before not in office.nodes() != (), within_s=90)
    await office.stage.until("it is within the budget", lambda: office.view().spending.state == "warn", within_s=200)
    assert office.view().spending.projected_microeur <= projected * 95 // 100


async def _stop(office: Office) -> None:
    projected = await office.open(2)
    await office.budget(projected * 10 // 9, "stop")
    await office.until_state("warn")
    assert len(office.nodes()) == 2
    await office.budget(office.view().spending.spent_microeur + 1, "stop")
    await office.stage.until("nothing runs", lambda: office.nodes() == (), within_s=200)
    assert office.view().rule == "stop"
    assert office.view().spending.spent_microeur >= office.view().cost_microeur_month


def _ticks(office: Office) -> Callable[[], bool]:
    spent = office.view().spending.spent_microeur
    return lambda: office.view().spending.spent_microeur > spent


@pytest.mark.parametrize("plot", [_refuse, _shrink, _move, _stop], ids=lambda plot: plot.__name__.strip("_"))
def test_a_namespace_is_warned_and_then_its_owners_rule_holds(plot: Callable[[Office], Awaitable[None]]) -> None:
    async def play_it(stage: Stage) -> None:
        await plot(Office(stage))

    play(Scenario(name="budgets", about="", plot=play_it), seed=1, settings=SETTINGS, nodes=6)
