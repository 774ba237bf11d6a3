"""Proves: the nearest change is least, helps, names who may make it, and never asks an owner to waive the law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

from hanse.core.fabric import Fabric, Grade, Operator
from hanse.core.ids import CountryCode, OperatorId, SiteId
from hanse.core.time import WallTime
from hanse.core.verdict import Change
from hanse.core.work import Data, Workload
from hanse.policy import PackSet, screen

WithOperator = Callable[[Fabric, Operator], Fabric]
NIMBUS, POLAR = OperatorId("nimbus"), OperatorId("polar")


def _changes(work: Workload, fabric: Fabric, packs: PackSet, now: WallTime, *guardrails: str) -> tuple[Change, ...]:
    return screen({work.id: work}, fabric, packs, now, guardrails=guardrails).changes(work.id)


def _moved(fabric: Fabric, site: str, country: str) -> Fabric:
    id_ = SiteId(site)
    return replace(fabric, sites={**fabric.sites, id_: replace(fabric.sites[id_], country=CountryCode(country))})


def _whats(changes: tuple[Change, ...], target: str) -> list[str]:
    return [change.what for change in changes if change.target == target]


def test_one_edit_of_the_spec_or_one_fact(fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace) -> None:
    work = make.workload(control_exclude=(CountryCode("US"), CountryCode("CN")))
    assert _changes(work, fabric, packs, now) == (
        Change(
            what="Remove US from sovereignty.control.exclude", target="spec", allows=("dub-1",), by=("owner",)
        ),
        Change(
            what="Have Nimbus Inc. (US) give up control of nimbus: no veto, at most half", target="fact",
            allows=("dub-1",), by=("operator nimbus",),
        ),
    )  # fmt: skip


def test_every_reported_change_of_the_spec_really_allows(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload(seal={"legal": 2}, location_only=("DE", "IE"))
    told = {change.what: change.allows for change in _changes(work, fabric, packs, now) if change.target == "spec"}
    lowered = replace(work, sovereignty=replace(work.sovereignty, seal={"legal": 1}))
    widened = replace(work, sovereignty=replace(work.sovereignty, location_only=("DE", "IE", "CH")))
    assert "dub-1" in screen({work.id: lowered}, fabric, packs, now).allowed(work.id)
    assert "zrh-1" in screen({work.id: widened}, fabric, packs, now).allowed(work.id)
    assert told["Lower sovereignty.seal.legal from 2 to 1"] == ("dub-1",)
    assert told["Add CH to sovereignty.location.only"] == ("zrh-1",)


def test_two_rules_need_two_edits_each_marked_with_whose_it_is(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    changes = _changes(triage, fabric, packs, now)
    assert changes[0] == Change(
        what="Lower sovereignty.seal.legal from 3 to 1 (spec); and have Nimbus Inc. (US) give up control of nimbus: "
        "no veto, at most half (fact)",
        target="fact",
        allows=("dub-1",),
        by=("owner", "operator nimbus"),
    )


def test_a_condition_with_two_halves_is_found_though_neither_helps_alone(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace, with_operator: WithOperator
) -> None:
    work = make.workload(data=Data(classes=("health", "phi")), packs=("hipaa",))
    claimed = replace(fabric.operators[POLAR], grade=Grade.CLAIMED)
    changes = _changes(work, with_operator(fabric, claimed), packs, now)
    both = "Raise the grade of polar's facts from 0 to 2 (fact); and have polar obtain and record hipaa-baa (fact)"
    theirs = ("operator polar", "operator polar")
    assert Change(what=both, target="fact", allows=("sto-1", "waw-1", "zrh-1"), by=theirs) in changes
    assert "Have hafen obtain and record hipaa-baa" in _whats(changes, "fact")


def test_law_is_not_for_the_owner_to_drop_but_the_data_that_brings_it_is(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload(data=Data(classes=("health",), subjects=("EEA",)), packs=("gdpr", "us-dpf"))
    changes = _changes(work, fabric, packs, now)
    assert not [c for c in changes if "remove the pack gdpr" in c.what.lower()]
    assert "Remove health from data.classes, if the workload can do without health data" in _whats(changes, "spec")
    assert "Wait for an adequacy decision under gdpr that covers US" in _whats(changes, "fact")


def test_a_pack_of_choice_may_be_dropped_from_the_spec_but_not_from_under_a_guardrail(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    abroad = replace(
        fabric, sites={**fabric.sites, SiteId("dub"): replace(fabric.sites[SiteId("dub")], country=CountryCode("US"))}
    )
    certified = replace(fabric.operators[NIMBUS], certificates=("us-dpf",), grade=Grade.CERTIFIED)
    abroad = replace(abroad, operators={**abroad.operators, NIMBUS: certified})
    work = make.workload(data=Data(classes=("personal",), subjects=("EEA",)), packs=("gdpr", "us-dpf"))
    free = _changes(work, abroad, packs, now)
    assert (free[0].what, free[0].by) == ("Remove the pack us-dpf from sovereignty.packs", ("owner",))
    assert free[0].allows == ("dub-1",)
    bound = _changes(work, abroad, packs, now, "clinic:us-dpf")
    assert "Remove the pack us-dpf from sovereignty.packs" not in _whats(bound, "spec")


def test_a_guardrail_is_the_domains_to_lift(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload(data=Data(classes=("health",), subjects=("EEA",)))
    changes = _changes(work, fabric, packs, now, "gdpr")
    assert changes[-1] == Change(
        what="Have the domain lift its guardrail gdpr for namespace clinic, which states law, so only on another legal "
        "basis",
        target="rule", allows=("dub-1",), by=("domain",),
    )  # fmt: skip


def test_narrower_subjects_where_a_decision_covers_only_the_union(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    brazil = replace(
        fabric, sites={**fabric.sites, SiteId("zrh"): replace(fabric.sites[SiteId("zrh")], country=CountryCode("BR"))}
    )
    work = make.workload(data=Data(classes=("personal",), subjects=("EEA",)), packs=("gdpr",))
    told = _changes(work, brazil, packs, now)
    assert "State data.subjects EU instead of EEA, if no other people are concerned" in _whats(told, "spec")


def test_a_misspelt_pack_is_the_first_thing_to_mend(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload(packs=("gdrp",))
    changes = _changes(work, fabric, packs, now)
    assert changes[0].what == "Remove the pack gdrp from sovereignty.packs: it does not exist"
    assert len(changes[0].allows) == 6


def test_nothing_to_change_where_everything_is_allowed_or_nothing_helps(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload()
    assert _changes(work, fabric, packs, now) == ()
    assert _changes(work, _moved(fabric, "dub", "XX"), packs, now) == ()
