"""Proves: a refusal reads as an explanation: rules, law, path of control, graded and dated facts, what would help."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from hanse.core.fabric import Fabric
from hanse.core.ids import CountryCode, NodeId, SiteId
from hanse.core.time import WallTime, rfc3339
from hanse.core.verdict import Verdict
from hanse.core.work import Data, Workload
from hanse.policy import PackSet, Screening, screen


def _spell(screening: Screening, verdict: Verdict) -> str:
    lines = [f"{verdict.workload} on {verdict.node}: {'allowed' if verdict.is_allowed else 'denied'}"]
    for reason in verdict.reasons:
        lines += [f"{reason.rule} [{reason.cite}]", f"  {reason.message}"]
        lines += [
            f"  - {f.subject} = {f.value} (grade {f.grade}{f', until {f.until}' if f.until else ''})"
            for f in reason.facts
        ]
    if verdict.valid_until_us is not None:
        lines.append(f"ask again at {rfc3339(verdict.valid_until_us)}")
    lines += [f"or: {c.what} -> {', '.join(c.allows)}" for c in screening.changes(verdict.workload)]
    return "\n".join(lines)


def test_a_server_in_ireland_under_a_us_parent(triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime) -> None:
    screening = screen({triage.id: triage}, fabric, packs, now)
    assert _spell(screening, screening.of(triage.id, NodeId("dub-1"))) == DUBLIN


def test_a_node_in_switzerland_is_allowed_on_a_decision(
    triage: Workload, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    screening = screen({triage.id: triage}, fabric, packs, now)
    reason = screening.of(triage.id, NodeId("zrh-1")).reasons[0]
    assert [f"{f.subject} = {f.value}" for f in reason.facts] == [
        "adequacy/eea-ch = Decision 2000/518/EC",
        "adequacy/gdpr-territory = GDPR Art. 3, 44: within its own territory nothing is transferred",
        "node/zrh-1.site = zrh",
        "operator/polar.certificates = none",
        "operator/polar.control = SE",
        "operator/polar.grade = 1",
        "operator/polar.support = none",
        "site/zrh.country = CH",
    ]


def test_a_decision_that_covers_only_the_union(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    brazil = replace(fabric.sites[SiteId("zrh")], country=CountryCode("BR"))
    work = make.workload("intake", data=Data(classes=("personal",), subjects=("EEA",)), packs=("gdpr",))
    screening = screen({work.id: work}, replace(fabric, sites={**fabric.sites, SiteId("zrh"): brazil}), packs, now)
    assert _spell(screening, screening.of(work.id, NodeId("zrh-1"))) == BRAZIL


DUBLIN = (
    "clinic.triage on dub-1: denied\n"
    "control.excluded-operator [spec: sovereignty.control.exclude; 18 U.S.C. 2713]\n"
    "  the law of US reaches nimbus, which runs dub-1, wherever the machine stands: Nimbus <- Nimbus Inc. (US, "
    "100 %)\n"
    "  - operator/nimbus.control = IE, US (grade 1)\n"
    "gdpr.health-foreign-access [GDPR Art. 9, 32, 44, 48; EDPB Guidelines 05/2021]\n"
    "  nimbus, which runs dub-1 in Ireland (IE), answers to the law of US, from where access to clinic.triage's "
    "health data would be a transfer without adequacy: Nimbus <- Nimbus Inc. (US, 100 %)\n"
    "  - adequacy/gdpr-territory = GDPR Art. 3, 44: within its own territory nothing is transferred (grade 1)\n"
    "  - operator/nimbus.certificates = none (grade 1)\n"
    "  - operator/nimbus.control = IE, US (grade 1)\n"
    "  - operator/nimbus.grade = 1 (grade 1)\n"
    "seal.legal [EU Cloud Sovereignty Framework v1.2.1, SOV-2]\n"
    "  nimbus, which runs dub-1, has SEAL-1 for the legal objective; clinic.triage asks for SEAL-3\n"
    "  - operator/nimbus.seal.legal = 1 (grade 1)\n"
    "or: Lower sovereignty.seal.legal from 3 to 1 (spec); and have Nimbus Inc. (US) give up control of nimbus: no"
    " veto, at most half (fact) -> dub-1\n"
    "or: Have nimbus raise its SEAL level for legal from 1 to 3 (fact); and have Nimbus Inc. (US) give up control"
    " of nimbus: no veto, at most half (fact) -> dub-1\n"
    "or: Remove US from sovereignty.control.exclude (spec); and lower sovereignty.seal.legal from 3 to 1 (spec); "
    "and remove health from data.classes, if the workload can do without health data (spec) -> dub-1"
)

BRAZIL = (
    "clinic.intake on zrh-1: denied\n"
    "gdpr.transfer-needs-basis [GDPR Art. 44, 45, 46(2)(c)]\n"
    "  zrh-1 stands in Brazil (BR), where no adequacy decision in force covers clinic.intake's personal data of "
    "subjects in IS, LI, NO, and polar records no safeguard that covers it\n"
    "  - adequacy/efta-br = unverified, so never a basis: draft EEA Joint Committee decision of 2026-05-06 (grade"
    " 0)\n"
    "  - adequacy/eu-br = Implementing Decision (EU) 2026/179 (grade 2)\n"
    "  - node/zrh-1.site = zrh (grade 1)\n"
    "  - operator/polar.certificates = none (grade 1)\n"
    "  - operator/polar.grade = 1 (grade 1)\n"
    "  - site/zrh.country = BR (grade 1)\n"
    "or: Remove personal from data.classes, if the workload can do without personal data -> zrh-1\n"
    "or: State data.subjects EU instead of EEA, if no other people are concerned -> zrh-1\n"
    "or: Have polar obtain and record scc-tia -> zrh-1\n"
    "or: Wait for an adequacy decision under gdpr that covers BR -> zrh-1"
)
