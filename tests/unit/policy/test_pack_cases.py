"""Proves: every case of law that the shipped packs carry comes out as written, rule by rule."""

from __future__ import annotations

import pytest

from hanse.adapters.package_data import read_packs
from hanse.policy import CaseResult, PackSet, check_packs, parse_packs

RESULTS = check_packs(parse_packs(read_packs()))


@pytest.mark.parametrize("result", RESULTS, ids=lambda r: f"{r.file.split('/')[0]}: {r.name}")
def test_case_of_law(result: CaseResult) -> None:
    assert result.got == result.wanted


def test_every_shipped_forbid_has_a_case_that_it_alone_or_with_others_denies(packs: PackSet) -> None:
    forbids = {rule.id for rule in packs.rules_of(tuple(packs.packs)) if rule.is_forbid}
    denied = {reason.rule for result in RESULTS if not result.verdict.is_allowed for reason in result.verdict.reasons}
    alike = {f"seal.{o}" for o in ("strategic", "data", "operational", "technology", "security")}
    assert forbids - denied <= alike, "one objective stands for the eight rules that differ in its name only"


def test_a_case_that_comes_out_otherwise_is_reported() -> None:
    files = dict(read_packs())
    files["seal/tests/seal.yaml"] = (
        "cases:\n  - {name: wrong, when: 2026-11-21, min_seal: {legal: 3}, node_in: DE, seat: DE, verdict: allow}\n"
    )
    wrong = [result for result in check_packs(parse_packs(files)) if not result.is_ok]
    assert [(r.name, r.wanted, r.got) for r in wrong] == [("wrong", "allow", "deny seal.legal")]
