"""Proves: a node's owner can only narrow what the domain allows, and a broken policy of theirs takes nothing."""

from __future__ import annotations

import pytest

from hanse.core.fabric import Fabric
from hanse.core.ids import NodeId
from hanse.core.time import WallTime
from hanse.core.verdict import Verdict
from hanse.core.work import Workload
from hanse.policy import PackSet, PolicyError, parse_owner_policy, screen, screen_order

PLACE = 'principal, action == Action::"place", resource'


def _order(work: Workload, fabric: Fabric, packs: PackSet, policy: str | None, now: WallTime, node: str) -> Verdict:
    at = fabric.nodes[NodeId(node)]
    return screen_order(work, at, fabric.site_of(at), fabric.operator_of(at), packs, policy, now)


def test_without_a_policy_the_node_agrees_with_the_controller(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    screening = screen({triage.id: triage}, fabric, packs, now)
    for node in fabric.nodes:
        assert _order(triage, fabric, packs, None, now, node) == screening.of(triage.id, node)


def test_an_owners_forbid_narrows(triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime) -> None:
    policy = f'@id("no-health") @cite("house rules 4") forbid ({PLACE}) when {{ principal in DataClass::"health" }};'
    verdict = _order(triage, fabric, packs, policy, now, "fra-1")
    assert not verdict.is_allowed
    assert [(r.rule, r.cite) for r in verdict.reasons] == [("owner.no-health", "house rules 4")]
    assert verdict.reasons[0].message == "hafen, who owns fra-1, does not take clinic.triage"


def test_an_owners_permit_does_not_widen(triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime) -> None:
    verdict = _order(triage, fabric, packs, f"permit ({PLACE});", now, "dub-1")
    assert not verdict.is_allowed
    assert "control.excluded-operator" in [r.rule for r in verdict.reasons]


def test_an_owner_who_writes_permits_takes_only_what_they_match(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    taken = f'permit ({PLACE}) when {{ principal.namespace == "clinic" }};'
    other = f'permit ({PLACE}) when {{ principal.namespace == "shop" }};'
    assert _order(triage, fabric, packs, taken, now, "fra-1").is_allowed
    refused = _order(triage, fabric, packs, other, now, "fra-1")
    assert [r.rule for r in refused.reasons] == ["default-deny"]


def test_an_owners_policy_may_name_workloads_and_nodes(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    policy = f'forbid ({PLACE}) when {{ principal == Workload::"clinic.triage" && resource == Node::"fra-1" }};'
    assert not _order(triage, fabric, packs, policy, now, "fra-1").is_allowed
    assert _order(triage, fabric, packs, policy, now, "par-1").is_allowed


def test_an_owners_policy_that_could_err_is_refused(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    policy = f"forbid ({PLACE}) when {{ resource.grade * 9223372036854775807 + 9223372036854775807 < 0 }};"
    with pytest.raises(PolicyError, match="could err"):
        _order(triage, fabric, packs, policy, now, "fra-1")


def test_a_broken_policy_is_refused_before_any_order(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    operator = fabric.operator_of(fabric.nodes[NodeId("fra-1")])
    with pytest.raises(PolicyError) as caught:
        parse_owner_policy(f"\nforbid ({PLACE}) when {{ resource.colour }};", operator)
    assert caught.value.context == {"file": "owner.cedar", "line": 2}
    with pytest.raises(PolicyError):
        _order(triage, fabric, packs, "forbid (", now, "fra-1")


def test_guardrails_hold_at_the_node_too(triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime) -> None:
    at = fabric.nodes[NodeId("fra-1")]
    parts = triage, at, fabric.site_of(at), fabric.operator_of(at), packs, None, now
    assert screen_order(*parts, guardrails=("shop:us-dpf",)).is_allowed
    with pytest.raises(PolicyError, match="names no pack"):
        screen_order(*parts, guardrails=("us-dfp",))
