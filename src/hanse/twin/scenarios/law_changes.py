"""The law changes under running work: by a date that was written long before, and by a policy that is submitted.

In both stories what lost its ground goes within its bound, the rest stays, and the orders say which row or rule did it.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping
from dataclasses import replace

from hanse.core.ids import NodeId
from hanse.core.time import US_PER_S, WallTime, from_datetime
from hanse.policy import PolicyError
from hanse.twin.fabric import Settings
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import CART, TARIFF, TRIAGE, Stage, Work
from hanse.twin.world import Violation

FACTS = "facts/jurisdictions.yaml"
LEAVES = datetime.date(2027, 1, 1)
"""In the story France leaves the European Economic Area on this day."""
BEFORE_US = 150 * US_PER_S
"""The story begins so long before: time to come up, to deploy and to settle."""
WITHIN_S = 5


async def _date_passes(stage: Stage) -> None:
    await stage.open()
    at = set(_in(stage, TRIAGE, "FR"))
    if not at:
        raise Violation(f"the story needs fenced work in France; it runs on {stage.serving(TRIAGE)}")
    stays = (stage.serving(CART), stage.serving(TARIFF))
    midnight_us = _midnight() - stage.fabric.settings.start
    with stage.nothing_moves():
        await asyncio.sleep((midnight_us - stage.now_us) / US_PER_S - 2)
    stage.figures["moved_us"] = await stage.until(
        "no fenced work runs outside the area", lambda: not _in(stage, TRIAGE, "FR"), within_s=90
    )
    await stage.converge(within_s=40)
    _demand_told(stage, TRIAGE, at, "bloc/EEA: FR left")
    if (stage.serving(CART), stage.serving(TARIFF)) != stays:
        raise Violation("work that may stay was moved")
    with stage.nothing_moves():
        await asyncio.sleep(15)


async def _policy_narrows(stage: Stage) -> None:
    await stage.open()
    fabric = stage.view.fabric()
    node = stage.fabric.world.rng("narrowed").choice(stage.serving(CART))
    country = fabric.site_of(fabric.nodes[node]).country
    at = set(_in(stage, CART, country))
    try:
        await stage.fabric.deploy(_policy(country).replace("forbid", "permit"))
    except PolicyError as refused:
        if refused.context.get("line") != 8:
            raise Violation(f"the refusal names line {refused.context}") from refused
    else:
        raise Violation("a layer that permits was accepted")
    with stage.nothing_moves():
        await asyncio.sleep(5)
    await stage.fabric.deploy(_policy(country))
    stage.figures["moved_us"] = await stage.until(
        "nothing of the namespace runs there", lambda: not _in(stage, CART, country), within_s=WITHIN_S + 25
    )
    await stage.converge(within_s=40)
    _demand_told(stage, CART, at, "rule twin.house.not-there is added")
    with stage.nothing_moves():
        await asyncio.sleep(15)


def _in(stage: Stage, work: Work, country: str) -> tuple[NodeId, ...]:
    fabric = stage.view.fabric()
    return tuple(node for node in stage.serving(work) if fabric.site_of(fabric.nodes[node]).country == country)


def _demand_told(stage: Stage, work: Work, nodes: set[NodeId], cause: str) -> None:
    """The orders that ended it, and the plan that moved it, name what did it."""
    stops = [
        o for o in stage.view.last_orders.values() if o.workload.id == work.id and o.node in nodes and not o.wanted
    ]
    if not stops or not all(cause in order.reason for order in stops):
        raise Violation(f"the stops do not name {cause!r}: {[order.reason for order in stops]}")
    if not any(cause in trigger for trigger in stage.ledger.triggers):
        raise Violation(f"no decision in the ledger names {cause!r}: {stage.ledger.triggers}")
    if not any(cause in reason for reason in stage.ledger.reasons):
        raise Violation(f"no order in the ledger names {cause!r}")


def _midnight() -> WallTime:
    return from_datetime(datetime.datetime(LEAVES.year, LEAVES.month, LEAVES.day, tzinfo=datetime.UTC))


def _new_year(settings: Settings) -> Settings:
    return replace(settings, start=WallTime(_midnight() - BEFORE_US), packs=_without_france(settings.packs))


def _without_france(packs: Mapping[str, str]) -> Mapping[str, str]:
    """The packs with a row that ends a membership on a day to come."""
    text = packs[FACTS]
    line = next(row for row in text.splitlines() if "{bloc: EEA," in row and " FR," in row)
    leaves = (
        f"  - {{bloc: EEA, countries: [FR], from: 1994-01-01, until: {LEAVES}, cite: supposed, assurance: verified, "
        "as_of: 2026-11-21}"
    )
    return {**packs, FACTS: text.replace(line, line.replace(" FR,", "") + "\n" + leaves)}


def _policy(country: str) -> str:
    return f"""\
apiVersion: hanse.dev/v1
kind: Policy
metadata: {{name: house, namespace: twin}}
spec:
  about: The namespace stays away from one country.
  rules: |
    // A bound of seconds: what runs there must be gone by then.
    @id("house.not-there")
    @cite("house rule 1")
    @message("{{node}} stands in {{country}}")
    @within("PT{WITHIN_S}S")
    forbid (principal is Workload, action == Action::"place", resource is Node)
    when {{ resource.location == Jurisdiction::"{country}" }};
"""


DATE_PASSES = Scenario(
    name="date-passes",
    about="A row of law ends at midnight: fenced work leaves by itself, and the ledger names the row.",
    plot=_date_passes,
    prepare=_new_year,
)
POLICY_NARROWS = Scenario(
    name="policy-narrows",
    about="A namespace's policy forbids a country: its work leaves within the rule's bound; a permit is refused.",
    plot=_policy_narrows,
)
