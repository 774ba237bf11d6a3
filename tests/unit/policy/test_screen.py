"""Proves: screening is by class, exact about dates and control, layered, and reuses what it already knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from hanse.adapters.package_data import read_packs
from hanse.core.fabric import Fabric, Grade, Operator
from hanse.core.ids import Digest, NodeId, OperatorId, WorkloadId
from hanse.core.time import WallTime, rfc3339
from hanse.core.verdict import Verdicts
from hanse.core.work import Data, Workload
from hanse.policy import PackSet, PolicyError, Screening, parse_packs, screen

WithOperator = Callable[[Fabric, Operator], Fabric]


def _rules(screening: Screening, workload: Workload, node: str) -> list[str]:
    return [reason.rule for reason in screening.of(workload.id, NodeId(node)).reasons]


def test_the_design_example(triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime) -> None:
    screening = screen({triage.id: triage}, fabric, packs, now)
    verdicts: Verdicts = screening
    assert verdicts.allowed(triage.id) == ("fra-1", "par-1", "sto-1", "waw-1", "zrh-1")
    assert _rules(screening, triage, "dub-1") == [
        "control.excluded-operator", "gdpr.health-foreign-access", "seal.legal",
    ]  # fmt: skip
    assert _rules(screening, triage, "fra-1") == ["base.place"]


def test_one_changed_fact_puts_an_operator_under_foreign_control(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace, with_operator: WithOperator
) -> None:
    before = screen({triage.id: triage}, fabric, packs, now)
    sold = replace(fabric.operators[OperatorId("polar")], parents=(make.us_parent,))
    after = screen({triage.id: triage}, with_operator(fabric, sold), packs, now, before.cache)
    assert set(before.allowed(triage.id)) - set(after.allowed(triage.id)) == {"sto-1", "waw-1", "zrh-1"}
    assert after.allowed(triage.id) == ("fra-1", "par-1")
    assert _rules(after, triage, "sto-1") == ["control.excluded-operator", "gdpr.health-foreign-access"]
    assert after.digest != before.digest
    assert after.asked == 3, "only the three places of the operator that changed are asked again"


def test_equal_screenings_ask_nothing_and_have_equal_digests(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    first = screen({triage.id: triage}, fabric, packs, now)
    second = screen({triage.id: triage}, fabric, packs, WallTime(now + 1), first.cache)
    assert (second.asked, second.digest) == (0, first.digest)
    assert second.cache.answers == first.cache.answers
    assert second.allowed(triage.id) is first.allowed(triage.id)


def test_a_cache_of_another_epoch_or_of_other_rules_is_not_used(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    first = screen({triage.id: triage}, fabric, packs, now)
    later = screen({triage.id: triage}, fabric, packs, make.at("2031-12-27"), first.cache)
    assert later.asked == first.asked
    files = dict(read_packs())
    files["grade/grade.cedar"] = files["grade/grade.cedar"].replace("<", "<=")
    assert screen({triage.id: triage}, fabric, parse_packs(files), now, first.cache).asked == first.asked


def test_workloads_that_differ_where_no_rule_looks_are_one_class(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    twins = {WorkloadId(f"clinic.w{n}"): replace(triage, id=WorkloadId(f"clinic.w{n}"), name=f"w{n}") for n in range(9)}
    assert screen(twins, fabric, packs, now).asked == len(fabric.nodes)


def test_a_rule_that_names_a_node_tells_that_node_apart(triage: Workload, fabric: Fabric, now: WallTime) -> None:
    files = dict(read_packs())
    files["location/extra.cedar"] = (
        '@id("location.closed") @cite("house rule") @message("{node} is closed")\n'
        'forbid (principal, action == Action::"place", resource == Node::"fra-1");\n'
        '@id("location.site") @cite("house rule") @message("{site} is closed")\n'
        'forbid (principal, action == Action::"place", resource in Site::"par");'
    )
    screening = screen({triage.id: triage}, fabric, parse_packs(files), now)
    assert screening.allowed(triage.id) == ("sto-1", "waw-1", "zrh-1")
    assert _rules(screening, triage, "fra-1") == ["location.closed"]
    assert screening.of(triage.id, NodeId("par-1")).reasons[0].message == "par is closed"


def test_dates_act_by_themselves(fabric: Fabric, packs: PackSet, make: SimpleNamespace) -> None:
    work = make.workload(data=Data(classes=("personal",), subjects=("EEA",)), packs=("gdpr",))
    britain = replace(fabric, sites={**fabric.sites, "zrh": replace(fabric.sites["zrh"], country="GB")})  # type: ignore[dict-item, index, arg-type]
    last = screen({work.id: work}, britain, packs, WallTime(make.at("2031-12-27") - 1))
    assert "zrh-1" in last.allowed(work.id)
    assert rfc3339(last.of(work.id, NodeId("zrh-1")).valid_until_us or WallTime(0)) == "2031-12-27T00:00:00.000Z"
    assert last.next_change_us == make.at("2031-12-27")
    assert last.of(work.id, NodeId("fra-1")).valid_until_us is None, "no decision on Germany ends"
    ended = screen({work.id: work}, britain, packs, make.at("2031-12-27"), last.cache)
    assert "zrh-1" not in ended.allowed(work.id)
    assert ended.next_change_us is None
    reads = {f.subject: f.value for f in ended.of(work.id, NodeId("zrh-1")).reasons[0].facts}
    assert reads["adequacy/eea-gb-2025"].startswith("ended: ")


def test_an_expiring_certificate_bounds_the_verdict(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace, with_operator: WithOperator
) -> None:
    work = make.workload(data=Data(classes=("phi",)), packs=("hipaa",))
    certified = replace(fabric.operators[OperatorId("hafen")], certificates=("hipaa-baa@2027-03-01",))
    screening = screen({work.id: work}, with_operator(fabric, certified), packs, now)
    assert screening.allowed(work.id) == ("fra-1", "par-1")
    assert screening.of(work.id, NodeId("fra-1")).valid_until_us == make.at("2027-03-01")
    assert screening.next_change_us == make.at("2027-03-01")


def test_guardrails_bind_what_the_spec_does_not_name(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    data = Data(classes=("health",), subjects=("EEA",))
    works = {w.id: w for w in (make.workload("a", namespace=ns, data=data) for ns in ("clinic", "shop"))}

    def denied(*guardrails: str) -> list[str]:
        screening = screen(works, fabric, packs, now, guardrails=guardrails)
        return [w for w in works if "dub-1" not in screening.allowed(w)]

    assert denied() == []
    assert denied("clinic:gdpr") == ["clinic.a"]
    assert denied("gdpr") == ["clinic.a", "shop.a"]
    with pytest.raises(PolicyError, match="guardrail 'clinic:gdrp' names no pack"):
        denied("clinic:gdrp")


def test_a_misspelt_pack_denies_and_says_what_there_is(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload(packs=("gdrp",))
    reason = screen({work.id: work}, fabric, packs, now).of(work.id, NodeId("fra-1")).reasons[0]
    assert reason.rule == "policy.unknown-pack"
    assert "there are ai-act, " in reason.message


def test_without_a_permit_the_answer_is_no(triage: Workload, fabric: Fabric, now: WallTime) -> None:
    files = {path: text for path, text in read_packs().items() if path != "base/base.cedar"}
    screening = screen({triage.id: triage}, fabric, parse_packs(files), now)
    assert screening.allowed(triage.id) == ()
    assert _rules(screening, triage, "fra-1") == ["default-deny"]


def _with_rule_that_errs(packs: PackSet) -> PackSet:
    """A rule that no pack may hold, put past the reader: it overflows from grade 2 on."""
    grade = packs.packs["grade"]
    text = (
        'forbid (principal, action == Action::"place", resource)\n'
        "when { resource.grade * 9223372036854775807 > 9223372036854775806 && false };"
    )
    rule = replace(grade.rules[0], id="grade.overflow", text=text)
    reads = replace(grade.reads, is_opaque=True)
    more = replace(grade, rules=(*grade.rules, rule), digest=Digest("sha256:" + "1" * 64), reads=reads)
    return replace(packs, packs={**packs.packs, "grade": more}, digest=more.digest, reads=packs.reads.plus(reads))


def test_a_rule_that_errors_denies(fabric: Fabric, now: WallTime, make: SimpleNamespace) -> None:
    packs = _with_rule_that_errs(parse_packs(read_packs()))
    certified = {i: replace(n, grade=Grade.CERTIFIED) if i == "fra-1" else n for i, n in fabric.nodes.items()}
    work = make.workload()
    screening = screen({work.id: work}, replace(fabric, nodes=certified), packs, now)
    assert screening.allowed(work.id) == ("dub-1", "par-1", "sto-1", "waw-1", "zrh-1")
    verdict = screening.of(work.id, NodeId("fra-1"))
    assert [r.rule for r in verdict.reasons] == ["policy.error"]
    assert "integer overflow" in verdict.reasons[0].message


def test_a_pair_that_was_not_screened_is_no_answer(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    screening = screen({triage.id: triage}, fabric, packs, now)
    with pytest.raises(KeyError):
        screening.of(triage.id, NodeId("rom-1"))
    with pytest.raises(KeyError):
        screening.allows(WorkloadId("clinic.other"), NodeId("fra-1"))
