"""Proves: every case of law that the shipped packs carry comes out as written, rule by rule."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from hanse.adapters.package_data import read_packs
from hanse.policy import CaseResult, PackSet, check_packs, parse_packs
from hanse.policy.cases import cases_of
from hanse.policy.facts import at_midnight, facts_at

RESULTS = check_packs(parse_packs(read_packs()))


@pytest.mark.parametrize("result", RESULTS, ids=lambda r: f"{r.file.split('/')[0]}: {r.name}")
def test_case_of_law(result: CaseResult) -> None:
    assert result.got == result.wanted


def test_every_shipped_forbid_has_a_case_that_it_alone_or_with_others_denies(packs: PackSet) -> None:
    forbids = {rule.id for rule in packs.rules_of(tuple(packs.packs)) if rule.is_forbid}
    denied = {reason.rule for result in RESULTS if not result.verdict.is_allowed for reason in result.verdict.reasons}
    alike = {f"seal.{o}" for o in ("strategic", "data", "operational", "technology", "security")}
    assert forbids - denied <= alike, "one objective stands for the eight rules that differ in its name only"


def test_there_are_enough_cases_and_packs_and_each_pack_is_in_the_docs(packs: PackSet) -> None:
    assert len(RESULTS) >= 120
    assert {"gdpr", "us-dpf", "cloud-act", "uk", "switzerland", "brazil", "china-pipl", "india", "russia", "saudi",
            "hipaa", "ccpa", "dora", "nis2", "data-act", "ai-act", "seal", "cada", "c5", "carbon-floor"} <= set(
        packs.packs
    )  # fmt: skip
    page = (Path(__file__).parents[3] / "docs" / "policy.md").read_text(encoding="utf-8")
    assert [name for name in packs.packs if f"| `{name}` |" not in page] == []


def test_every_date_on_which_a_decision_or_a_law_begins_or_ends_has_a_day_before_and_a_day_after(
    packs: PackSet,
) -> None:
    turns = {row.since for row in packs.facts.regimes if row.since is not None}
    # Of decisions: the days on which they begin to count (where their own dates are unverified the day of checking).
    decisions = {row.usable_from for row in packs.facts.adequacy if row.usable_from is not None}
    turns |= decisions | {row.until for row in packs.facts.adequacy if row.assurance != "unverified" and row.until}
    days = {case.when for _, case in cases_of(packs)}
    assert turns <= days
    assert {date - datetime.timedelta(days=1) for date in turns} <= days


def test_never_is_an_unverified_row_or_an_unverified_date_a_basis(packs: PackSet) -> None:
    """As the facts page grades them: the UK's list is unverified whole, most of the Union's dates are."""
    rows = {row.id: row for row in packs.facts.adequacy}
    assert {id_ for id_, row in rows.items() if id_.startswith("uk-") and row.assurance != "unverified"} == set()
    known = {id_ for id_, row in rows.items() if row.assurance != "unverified" and row.dates is None}
    assert known == {"eu-br", "br-eu", "ch-us-dpf"}
    for day in (datetime.date(2019, 1, 1), datetime.date(2026, 8, 4), datetime.date(2026, 11, 21)):
        now = facts_at(packs.facts, at_midnight(day))
        used = {row.id: row for by in now.covered.values() for row in by.values()}
        for id_, row in used.items():
            if not id_.endswith("-territory"):
                assert row.assurance != "unverified", id_
                assert row.dates != "unverified" or row.as_of <= day, id_


def test_never_does_an_unverified_pack_permit(packs: PackSet) -> None:
    for name, pack in packs.packs.items():
        if name != "base":
            assert all(rule.is_forbid for rule in pack.rules), name


def test_a_case_that_comes_out_otherwise_is_reported() -> None:
    files = dict(read_packs())
    files["seal/tests/seal.yaml"] = (
        "cases:\n  - {name: wrong, when: 2026-11-21, min_seal: {legal: 3}, node_in: DE, seat: DE, verdict: allow}\n"
    )
    wrong = [result for result in check_packs(parse_packs(files)) if not result.is_ok]
    assert [(r.name, r.wanted, r.got) for r in wrong] == [("wrong", "allow", "deny seal.legal")]
