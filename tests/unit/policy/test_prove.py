"""Properties of the shipped packs are proved; a rule that is widened is shown by a workload and a node."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import cedarpy
import pytest

from hanse.adapters.package_data import read_packs
from hanse.adapters.prover import Prover, ProverError, SolverLimits
from hanse.app.proving import prove_properties
from hanse.app.render.proving import instance
from hanse.core.errors import HanseError
from hanse.core.time import from_datetime
from hanse.policy import (
    Outcome,
    check_classes,
    find_property,
    parse_packs,
    parse_properties,
    parse_property_file,
    prove,
    rules_that_can_err,
)
from hanse.policy.cases import cases_of, place_of, workload_of
from hanse.policy.encoding import assumptions
from hanse.policy.entities import object_of, subject_of
from hanse.policy.evaluate import Cedar, Ruleset
from hanse.policy.facts import at_midnight, facts_at
from hanse.policy.prove import PERMIT_ALL
from hanse.policy.schema import SCHEMA_TEXT

NOW = from_datetime(datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC))
PACKS = parse_packs(read_packs())
PROPERTIES = parse_properties(PACKS)
SCOPE = 'forbid (principal is Workload, action == Action::"place", resource is Node)'


def proof_of(title: str, packs=PACKS):
    wanted = find_property(parse_properties(packs), title)
    with Prover(SCHEMA_TEXT) as analyst:
        return prove(wanted, packs, NOW, analyst)


@pytest.mark.parametrize("wanted", PROPERTIES, ids=lambda p: p.id)
def test_each_shipped_property_is_proved(wanted):
    with Prover(SCHEMA_TEXT) as analyst:
        proof = prove(wanted, PACKS, NOW, analyst)
    assert proof.outcome in {Outcome.PROVED, Outcome.PROVED_ON_FACTS}, proof


def test_at_least_eight_properties_are_shipped_over_several_packs():
    assert len(PROPERTIES) >= 8
    assert len({pack for one in PROPERTIES for pack in one.named}) >= 5


def test_a_widened_rule_is_refuted_by_a_workload_and_a_node_that_the_product_would_allow():
    files = dict(read_packs())
    rule = 'unless { resource.operator.controlled_within.contains(Jurisdiction::"EEA") };'
    assert rule in files["eea-health/eea-health.cedar"]
    files["eea-health/eea-health.cedar"] = files["eea-health/eea-health.cedar"].replace(
        rule, rule.replace("};", '|| resource.operator.certificates.contains("letter-of-comfort") };')
    )
    proof = proof_of("health data of EEA subjects is never placed under non-EEA control", parse_packs(files))
    assert proof.outcome is Outcome.COUNTEREXAMPLE
    found = proof.counterexample
    assert found is not None
    assert found.is_real
    assert found.operator_certificates == ("letter-of-comfort",)
    assert set(found.data) & {"health", "phi", "genetic"}
    told = instance(found)
    assert "packs eea-health" in told[0]
    assert "certificates letter-of-comfort" in told[2]


def test_a_rule_that_is_left_out_is_refuted_too():
    files = dict(read_packs())
    files["hipaa/hipaa.cedar"] = files["hipaa/hipaa.cedar"].replace("resource.operator.grade >= 1", "true")
    proof = proof_of("hipaa.p.agreement", parse_packs(files))
    assert proof.outcome is Outcome.COUNTEREXAMPLE
    assert proof.counterexample is not None
    assert proof.counterexample.operator_grade == 0


def test_a_property_that_matches_nothing_says_nothing():
    text = f'@id("x.p.a")\n@title("t")\n@cite("c")\n@message("m")\n{SCOPE} when {{ resource.grade > 4 }};'
    (wanted,) = parse_property_file("x.cedar", text, PACKS)
    with Prover(SCHEMA_TEXT) as analyst:
        assert prove(wanted, PACKS, NOW, analyst).outcome is Outcome.HOLLOW


def test_a_rule_whose_arithmetic_can_overflow_is_told():
    """Loading refuses arithmetic by its look already; this asks the solver, and believes no look."""
    good = PACKS.packs["grade"].rules[0]
    bad = replace(good, id="x.a", text=f"{SCOPE} when {{ resource.grade + 9223372036854775807 > 3 }};")
    with Prover(SCHEMA_TEXT) as analyst:
        assert [rule.id for rule in rules_that_can_err((good, bad), analyst)] == ["x.a"]


def test_no_rule_that_is_shipped_can_err():
    with Prover(SCHEMA_TEXT) as analyst:
        assert not rules_that_can_err(PACKS.rules_of(tuple(PACKS.packs)), analyst)


def test_what_is_assumed_holds_of_every_workload_and_node_that_the_cases_make():
    """Never assumes what is false: an assumption that left out a real request would prove what is not so."""
    by_date: dict[datetime.date, list] = {}
    for _, case in cases_of(PACKS):
        by_date.setdefault(case.when, []).append(case)
    for date, cases in by_date.items():
        facts = facts_at(PACKS.facts, at_midnight(date))
        known = assumptions(facts, PACKS.reads)
        assert known
        handle = Ruleset(cedarpy.PolicySet.from_str("\n".join([PERMIT_ALL, *known])), ("permit", *known))
        pairs = []
        for case in cases:
            site, operator, node = place_of(case)
            subject = subject_of(workload_of(case), PACKS, facts, (), PACKS.reads)
            obj = object_of(node, site, operator, {operator.id: operator}, facts=facts, reads=PACKS.reads)
            pairs.append((subject, obj))
        for case, answer in zip(cases, Cedar(PACKS, facts).ask_rules(handle, pairs), strict=True):
            assert answer.is_allowed, (case.name, answer.rules)


def test_without_a_solver_the_classes_are_tried_and_it_says_that_this_is_no_proof():
    wanted = find_property(PROPERTIES, "hipaa.p.agreement")
    checked = check_classes(wanted, PACKS, NOW, "no solver is installed")
    assert checked.outcome is Outcome.CHECKED
    assert checked.why.startswith("NOT A PROOF (no solver is installed)")
    (belief,) = parse_property_file(
        "x.cedar",
        f'@id("x.p.a")\n@title("t")\n@packs("gdpr")\n@cite("c")\n@message("m")\n{SCOPE}\n'
        'when { principal in DataClass::"personal" && principal.regimes.contains("gdpr") }\n'
        'unless { resource.location in Jurisdiction::"EEA" };',
        PACKS,
    )
    found = check_classes(belief, PACKS, NOW, "no solver is installed")
    assert found.outcome is Outcome.COUNTEREXAMPLE
    assert found.counterexample is not None
    assert found.counterexample.is_real


def test_a_missing_solver_falls_back(monkeypatch):
    def absent(self, script):
        raise ProverError("no solver is installed", code="prove.no_solver")

    monkeypatch.setattr(Prover, "_solve", absent)
    (proof,) = prove_properties(PACKS, [find_property(PROPERTIES, "grade.p.hardware")], NOW)
    assert proof.outcome is Outcome.CHECKED


def test_a_solver_that_is_late_is_undecided_and_the_next_question_is_answered():
    wanted = find_property(PROPERTIES, "base.p.known-country")
    with Prover(SCHEMA_TEXT, SolverLimits(time_ms=1, grace_ms=0)) as analyst:
        assert prove(wanted, PACKS, NOW, analyst).outcome in {Outcome.UNDECIDED, Outcome.COUNTEREXAMPLE}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'@id("x")\n@cite("c")\n@message("m")\n{SCOPE};', "has no @title"),
        (f'@id("x")\n@title("t")\n@cite("c")\n@message("m")\n{SCOPE.replace("forbid", "permit")};', "permits"),
        (f'@id("x")\n@title("t")\n@packs("nowhere")\n@cite("c")\n@message("m")\n{SCOPE};', "nowhere"),
        (f'@title("t")\n@cite("c")\n@message("m")\n{SCOPE};', "@id"),
    ],
)
def test_a_wrong_property_is_refused_with_file_and_line(text, says):
    with pytest.raises(HanseError) as raised:
        parse_property_file("x/properties/x.cedar", text, PACKS)
    assert says in str(raised.value)
    assert "x/properties/x.cedar:1" in str(raised.value)


def test_a_property_is_found_by_title_and_a_near_miss_is_told():
    title = "Health data of EEA subjects is never placed under non-EEA control."
    assert find_property(PROPERTIES, title).id == "eea-health.p.control"
    with pytest.raises(HanseError) as raised:
        find_property(PROPERTIES, "health data is never placed under non-EEA control")
    assert "health data of eea subjects" in raised.value.hint


def test_properties_decide_nothing():
    without = {path: text for path, text in read_packs().items() if "/properties/" not in path}
    assert parse_packs(without).digest == PACKS.digest


def test_the_command_answers_in_json(capsys):
    from hanse.app.cli import main

    assert main(["policy", "prove", "grade.p.hardware", "--output", "json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["outcome"] == "proved"
    assert main(["policy", "prove", "--list", "--output", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(PROPERTIES)
