"""A node claims a place that it is not at: a landmark finds out, and work that is bound to places leaves it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hanse.core.fabric import Fabric, Grade, Site
from hanse.core.geo import FIBRE_M_PER_US, great_circle_m
from hanse.core.ids import NodeId
from hanse.core.time import WallTime
from hanse.policy import grade_at
from hanse.twin.fabric import Settings
from hanse.twin.generate import SITES, place_of, site_text
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import CART, Stage, Work
from hanse.twin.world import Violation

LANDMARK = NodeId("n-0000")
"""In Frankfurt, where the substrate is, too."""
LIAR = NodeId("n-0002")
"""Says that it is in Dublin, and stands in the rack beside the landmark."""
BOUND = Work(name="bound", replicas=5, is_fenced=True)
"""Health data that stays in the EEA and out of reach of United States law: one replica on every node but nimbus's."""
DETOUR_PERCENT = 130
"""Cables are no great circles."""


def _delays(settings: Settings) -> Settings:
    """Every wire as long as the place that its node claims asks for; the liar's is that of the next rack."""
    here, far = place_of(SITES[0]), range(200)
    delays = {
        f"n-{number:04}": 300 + round(
            great_circle_m(here, place_of(SITES[number % len(SITES)])) / FIBRE_M_PER_US * DETOUR_PERCENT / 100
        )
        for number in far
    }  # fmt: skip
    return replace(settings, delay_us={**delays, LANDMARK: 300, LIAR: 400})


async def _plot(stage: Stage) -> None:
    await stage.open((CART, BOUND))
    if LIAR not in stage.serving(BOUND):
        raise Violation(f"nothing is at stake: {stage.serving(BOUND)}")
    fabric = stage.view.fabric()
    site = fabric.site_of(fabric.nodes[LANDMARK])
    await stage.fabric.deploy(site_text(replace(site, is_landmark=True)))
    stage.figures["found_us"] = await stage.until(
        "the false place is found out", lambda: _is_contradicted(stage, LIAR), within_s=60
    )
    await stage.until("no work bound to places is there", lambda: LIAR not in stage.serving(BOUND), within_s=90)
    await stage.until("all that may stay runs", lambda: len(stage.serving(BOUND)) == BOUND.replicas - 1, within_s=60)
    _judge(stage, site)
    await asyncio.sleep(20)
    if LIAR in stage.serving(BOUND):
        raise Violation("work came back to a place that physics contradicts")
    if len(stage.serving(CART)) != CART.replicas:
        raise Violation(f"work that is bound to no place went: {stage.serving(CART)}")


def _judge(stage: Stage, landmark: Site) -> None:
    """Honest nodes are believed, and those that are near enough are believed on evidence."""
    fabric = _known(stage)
    for id_, node in fabric.nodes.items():
        if id_ in {LIAR, LANDMARK} or node.measured is None:
            continue
        if node.measured.contradiction:
            raise Violation(f"{id_} tells the truth, and is not believed: {node.measured.contradiction}")
        at = WallTime(node.measured.since_us)
        if fabric.site_of(node).id == landmark.id and grade_at(node, at) < Grade.MEASURED:
            raise Violation(f"{id_} stands beside the landmark, and has grade {grade_at(node, at)}")


def _known(stage: Stage) -> Fabric:
    """The fabric as the leader sees it; nothing while nobody leads."""
    leader = stage.fabric.leader()
    known = None if leader is None else stage.fabric.controllers.get(leader)
    return Fabric(sites={}, operators={}, nodes={}) if known is None else known.state.fabric()


def _is_contradicted(stage: Stage, id_: NodeId) -> bool:
    node = _known(stage).nodes.get(id_)
    found = None if node is None else node.measured
    return found is not None and found.contradiction != ""


FALSE_PLACE = Scenario(
    name="false-place",
    about="A node says that it is elsewhere than it is: a landmark finds out, fenced work leaves it, others stay.",
    plot=_plot,
    prepare=_delays,
)
