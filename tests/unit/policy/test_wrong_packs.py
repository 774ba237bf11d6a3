"""Proves: a wrong rule, row or pack is refused before it decides anything, with file, line and remedy."""

from __future__ import annotations

import re

import pytest

from hanse.adapters.package_data import read_packs
from hanse.policy import PolicyError, parse_packs
from hanse.policy.schema import SCHEMA_TEXT

PERMIT = 'permit (principal is Workload, action == Action::"place", resource is Node)'
NOTES = '@id("x.a")\n@cite("law")\n@message("m")\n'
META = """
name: x
scope: s
not_covered: n
as_of: 2026-11-21
assurance: verified
applies: named
basis: choice
sources: []
"""
FACTS = "facts/jurisdictions.yaml"


def refused(**files: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse_packs({**read_packs(), "x/pack.yaml": META, **{k.replace("__", "/"): v for k, v in files.items()}})
    assert caught.value.code == "policy.invalid"
    assert caught.value.hint
    assert not caught.value.retry
    return caught.value


def refused_cedar(text: str) -> PolicyError:
    error = refused(**{"x/a.cedar": text})
    assert error.context["file"] == "x/a.cedar"
    return error


def test_unknown_attribute_breaks_the_schema_and_names_the_line() -> None:
    error = refused_cedar(f'// note; with a semicolon\n\n{NOTES}{PERMIT}\nwhen {{ resource.colour == "red" }};')
    assert error.context["line"] == 3
    assert "attribute `colour` on entity type `Node` not found" in str(error)


def test_wrong_type_breaks_the_schema() -> None:
    assert "x.a breaks the schema" in str(refused_cedar(f'{NOTES}{PERMIT} when {{ resource.grade > "3" }};'))


def test_a_tag_read_without_asking_whether_it_is_there_could_error_and_is_refused() -> None:
    text = f'{NOTES}{PERMIT} when {{ principal.getTag("gdpr:general").contains(resource.location) }};'
    assert "x.a breaks the schema" in str(refused_cedar(text))


def test_parse_error_names_the_policy_that_is_at_fault() -> None:
    error = refused_cedar(f'{NOTES}{PERMIT};\n\n@id("x.b") permit (principal;\n')
    assert error.context["line"] == 6


@pytest.mark.parametrize("missing", ["id", "cite", "message"])
def test_missing_annotation(missing: str) -> None:
    notes = "\n".join(line for line in NOTES.splitlines() if not line.startswith(f"@{missing}"))
    error = refused_cedar(f"{notes}\n{PERMIT};")
    assert f"policy without @{missing}" in str(error)
    assert error.context["line"] == 1


def test_message_with_an_unknown_placeholder() -> None:
    assert "mentions ['weather']" in str(refused_cedar(NOTES.replace('"m"', '"{weather} in {country}"') + PERMIT + ";"))


def test_message_with_an_open_brace() -> None:
    assert "malformed" in str(refused_cedar(NOTES.replace('"m"', '"{country"') + PERMIT + ";"))


def test_templates_are_refused_because_they_cannot_be_proved() -> None:
    text = f'{NOTES}permit (principal == ?principal, action == Action::"place", resource);'
    assert "not one plain policy" in str(refused_cedar(text))


def test_an_id_used_twice_names_both_places() -> None:
    error = refused_cedar(f"{NOTES}{PERMIT};\n{NOTES}{PERMIT};")
    assert error.context["line"] == 5
    assert "x/a.cedar:1" in str(error)


def test_an_id_outside_its_pack() -> None:
    assert "begin it with `x.`" in refused_cedar(NOTES.replace("x.a", "gdpr.a") + PERMIT + ";").hint


def test_pack_without_its_own_name() -> None:
    assert "named 'y' in folder 'x'" in str(refused(**{"x/pack.yaml": META.replace("name: x", "name: y")}))


def test_pack_yaml_with_an_unknown_field() -> None:
    assert "unknown field `colour`" in str(refused(**{"x/pack.yaml": META + "colour: red\n"}))


def test_pack_yaml_that_is_missing() -> None:
    files = {**read_packs(), "y/a.cedar": f"{NOTES}{PERMIT};"}
    with pytest.raises(PolicyError, match=r"has no pack\.yaml"):
        parse_packs(files)


def test_a_file_that_belongs_to_no_pack() -> None:
    assert "belongs to no pack" in str(refused(**{"x/notes.yaml": "a: b"}))


def test_yaml_that_is_not_yaml_names_the_line() -> None:
    error = refused(**{"x/pack.yaml": "name: x\nscope: [a\n"})
    assert error.context == {"file": "x/pack.yaml", "line": 3}


def test_a_key_given_twice() -> None:
    error = refused(**{"x/pack.yaml": META + "scope: again\n"})
    assert "stands twice" in str(error)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"importers": "[QQ]"}, "unknown ['QQ']"),
        ({"from": None}, "has no `from`"),
        ({"id": "eea-ch"}, "share an id"),
        ({"from": "soon"}, "RFC3339"),
        ({"assurance": "sure"}, "sure"),
        ({"exporters": "[NO]"}, "Expected `str`"),
        ({"colour": "red"}, "unknown field `colour`"),
    ],
)
def test_wrong_rows_of_law(changed: dict[str, str | None], why: str) -> None:
    good = {
        "id": "a", "exporters": "[EEA]", "importers": "[IN]", "scope": "general", "from": "2026-01-01", "cite": "c",
        "assurance": "verified", "as_of": "2026-01-01",
    }  # fmt: skip
    row = ", ".join(f"{key}: {value}" for key, value in {**good, **changed}.items() if value is not None)
    error = refused(**{FACTS: read_packs()[FACTS] + f"  - {{{row}}}\n"})
    assert why.lower() in str(error).lower()
    assert error.context["file"] == FACTS


FORBID = 'forbid (principal is Workload, action == Action::"place", resource is Node) when'


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("resource.grade * 3 > 2", "arithmetic (mul) may overflow"),
        ("resource.grade + principal.grade > 2", "arithmetic (add) may overflow"),
        ("-resource.grade < 2", "a negation may overflow"),
        ('Operator::"x".seat == resource.location', "an attribute of Operator::'x', which may not be there"),
        ('(if resource.grade > 1 then Operator::"x" else resource.operator).grade > 1', "Operator::'x'"),
        ('datetime("2026-01-02").offset(duration("9d")) < datetime("2026-01-01")', "arithmetic (offset)"),
    ],
)
def test_a_rule_that_could_err_is_refused_before_it_can(condition: str, why: str) -> None:
    error = refused_cedar(f"\n{NOTES}{FORBID} {{ {condition} }};")
    assert "x.a could err" in str(error)
    assert why in str(error)
    assert error.context["line"] == 2


@pytest.mark.parametrize(
    "condition",
    ["principal.runs_on == resource", 'resource.running.contains("clinic.triage")', "context.current == resource",
     "resource.load > 80"],
)  # fmt: skip
def test_a_rule_about_where_work_runs_is_refused_for_two_such_would_move_it_for_ever(condition: str) -> None:
    error = refused_cedar(f"{NOTES}{FORBID} {{ {condition} }};")
    assert "the answer would change by being followed" in error.hint


def test_the_schema_of_placement_has_nothing_that_a_placement_changes() -> None:
    """A pair's verdict is a function of spec, place, operator, law and date. Whoever adds an attribute decides here
    whether following a verdict could change it; if it could, two rules can move work for ever."""
    attributes = {
        kind: set(re.findall(r"^  (\w+):", body, re.MULTILINE))
        for kind, body in re.findall(r"^entity (\w+)[^={]*= \{(.*?)\n?\}", SCHEMA_TEXT, re.MULTILINE | re.DOTALL)
    }
    assert attributes["Workload"] <= {
        "namespace", "regimes", "subjects", "seal", "control_exclude", "location_only", "grade",
        "cada", "reuses_instances", "isolation",
    }  # fmt: skip
    assert attributes["Node"] <= {"location", "operator", "tier", "grade", "attested", "measured"}
    assert re.search(r"action place.*context: \{\}", SCHEMA_TEXT)


@pytest.mark.parametrize(
    ("text", "why"),
    [("1h", "is no duration"), ("P31D", "over 30 days"), ("P", "is no duration"), ("", "is no duration")],
)
def test_a_bound_that_is_none(text: str, why: str) -> None:
    assert why in str(refused_cedar(f'{NOTES}@within("{text}")\n{FORBID} {{ resource.grade < 2 }};'))


def test_a_bound_belongs_to_a_forbid() -> None:
    files = {**read_packs(), "base/x.cedar": f'{NOTES.replace("x.a", "base.a")}@within("PT1H")\n{PERMIT};'}
    with pytest.raises(PolicyError, match="@within on a permit"):
        parse_packs(files)


def test_a_bound_is_read() -> None:
    files = {**read_packs(), "x/pack.yaml": META, "x/a.cedar": f'{NOTES}@within("P1DT2H3M4S")\n{FORBID} {{ true }};'}
    assert parse_packs(files).packs["x"].rules[0].within_us == 93_784_000_000


def test_a_pack_that_permits_is_refused_because_layers_only_narrow() -> None:
    error = refused_cedar(f"\n{NOTES}{PERMIT};")
    assert error.context["line"] == 2
    assert "permits, which would widen" in str(error)
