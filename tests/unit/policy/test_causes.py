"""Proves: what lost its ground says which fact, date, rule or spec turned it, and keeps saying so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

from hanse.adapters.package_data import read_packs
from hanse.core.fabric import Fabric, Grade, Operator
from hanse.core.ids import CountryCode, NodeId, OperatorId, SiteId
from hanse.core.layer import Policy
from hanse.core.time import WallTime
from hanse.core.verdict import DENIED_BECAUSE
from hanse.core.work import Data, Workload
from hanse.policy import PackSet, Screening, causes, in_force, parse_packs, screen, turned

WithOperator = Callable[[Fabric, Operator], Fabric]
ZRH, STO = NodeId("zrh-1"), NodeId("sto-1")


def _screen(work: Workload, fabric: Fabric, packs: PackSet, now: WallTime, **more: object) -> Screening:
    return screen({work.id: work}, fabric, packs, now, **more)  # type: ignore[arg-type]


def test_an_operator_that_was_bought(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace, with_operator: WithOperator
) -> None:
    before = _screen(triage, fabric, packs, now)
    sold = replace(fabric.operators[OperatorId("polar")], parents=(make.us_parent,))
    after = _screen(triage, with_operator(fabric, sold), packs, now)
    assert causes(before, after, triage.id, STO) == ("operator/polar.parents changed",)
    lost = turned(before, after, [(triage.id, STO), (triage.id, NodeId("fra-1"))])
    assert lost == {(triage.id, STO): ("operator/polar.parents changed",)}
    told = replace(after, turned=lost).of(triage.id, STO)
    assert {f.value for r in told.reasons for f in r.facts if f.subject == DENIED_BECAUSE} == {*lost[triage.id, STO]}
    again = _screen(triage, after.fabric, packs, now)
    assert turned(replace(after, turned=lost), again, [(triage.id, STO)]) == lost, "kept while it is denied"
    back = _screen(triage, fabric, packs, now)
    assert turned(replace(after, turned=lost), back, [(triage.id, STO)]) == {}


def test_a_decision_that_ends_on_a_date_that_was_written_long_before(
    triage: Workload, fabric: Fabric, make: SimpleNamespace
) -> None:
    name = "facts/jurisdictions.yaml"
    text = read_packs()[name]
    row = next(line for line in text.splitlines() if "id: eea-ch," in line)
    dated = text.replace(row, row.replace("assurance:", "until: 2027-01-01, assurance:"))
    packs = parse_packs({**read_packs(), name: dated})
    before = _screen(triage, fabric, packs, WallTime(make.at("2027-01-01") - 1))
    after = _screen(triage, fabric, packs, make.at("2027-01-01"), cache=before.cache)
    assert before.next_change_us == after.facts.now
    assert before.allows(triage.id, ZRH)
    assert not after.allows(triage.id, ZRH)
    assert causes(before, after, triage.id, ZRH) == ("adequacy/eea-ch ended 2027-01-01",)


def test_a_certificate_that_expires(
    fabric: Fabric, packs: PackSet, make: SimpleNamespace, with_operator: WithOperator
) -> None:
    work = make.workload(packs=("c5",))
    held = replace(fabric.operators[OperatorId("polar")], certificates=("bsi-c5@2027-03-01",), grade=Grade.CERTIFIED)
    there = with_operator(fabric, held)
    before, after = (_screen(work, there, packs, make.at(day)) for day in ("2027-02-28", "2027-03-01"))
    assert before.allows(work.id, ZRH)
    assert causes(before, after, work.id, ZRH) == ("operator/polar.certificates: bsi-c5 expired 2027-03-01",)


def test_a_site_a_spec_and_a_policy(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    before = _screen(triage, fabric, packs, now)
    moved = replace(fabric.sites[SiteId("zrh")], country=CountryCode("IN"))
    abroad = _screen(triage, replace(fabric, sites={**fabric.sites, moved.id: moved}), packs, now)
    assert causes(before, abroad, triage.id, ZRH) == ("site/zrh.country = IN",)
    asked = replace(triage, data=Data(classes=("public",)), generation=2)
    assert causes(before, _screen(asked, fabric, packs, now), triage.id, ZRH) == (
        "spec clinic.triage.data in generation 2",
    )
    rule = (
        '@id("house.a") @cite("c") @message("m") forbid (principal is Workload, action == Action::"place", '
        'resource is Node) when { resource.location == Jurisdiction::"CH" };'
    )
    laid, bound = in_force(packs, [Policy(name="house", namespace="clinic", rules=rule)], ())
    ruled = _screen(triage, fabric, laid, now, guardrails=bound)
    assert causes(before, ruled, triage.id, ZRH) == (
        "rule clinic.house.a is added (policy/clinic.house:1)", "guardrail clinic.house binds clinic",
    )  # fmt: skip
