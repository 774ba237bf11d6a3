"""Proves: a layer binds whom it says, lower ones only narrow, a wrong one is refused at its line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hanse.core.fabric import Fabric
from hanse.core.layer import Policy
from hanse.core.time import WallTime
from hanse.core.work import Workload
from hanse.manifest import load
from hanse.policy import PackSet, PolicyError, check_policy, in_force, screen

HEAD = '@id("house.{name}")\n@cite("house rule 1")\n@message("{{node}} stands in {{country}}")\n'
PLACE = '(principal is Workload, action == Action::"place", resource is Node)'


def _forbid(name: str, condition: str) -> str:
    return f"{HEAD.format(name=name)}forbid {PLACE}\nwhen {{ {condition} }};\n"


def _policy(rules: str = "", *, namespace: str = "", packs: tuple[str, ...] = ()) -> Policy:
    return Policy(name="house", namespace=namespace, about="house rules", rules=rules, packs=packs)


NO_FRANCE = _forbid("no-france", 'resource.location == Jurisdiction::"FR"')
NO_SWEDEN = _forbid("no-sweden", 'resource.location == Jurisdiction::"SE"')


def _allowed(
    works: tuple[Workload, ...], fabric: Fabric, packs: PackSet, now: WallTime, *policies: Policy
) -> list[set[str]]:
    laid, guardrails = in_force(packs, policies, ())
    screening = screen({work.id: work for work in works}, fabric, laid, now, guardrails=guardrails)
    return [set(screening.allowed(work.id)) for work in works]


def test_a_domains_policy_binds_every_namespace_and_a_namespaces_its_own(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    works = (make.workload(), make.workload("cart", namespace="shop"))
    everything = {"dub-1", "fra-1", "par-1", "sto-1", "waw-1", "zrh-1"}
    assert _allowed(works, fabric, packs, now) == [everything, everything]
    assert _allowed(works, fabric, packs, now, _policy(NO_FRANCE)) == [everything - {"par-1"}] * 2
    both = _policy(NO_FRANCE), _policy(NO_SWEDEN, namespace="clinic")
    assert _allowed(works, fabric, packs, now, *both) == [everything - {"par-1", "sto-1"}, everything - {"par-1"}]
    assert _allowed(works, fabric, packs, now, *reversed(both)) == _allowed(works, fabric, packs, now, *both)


def test_a_policy_may_bind_packs_that_the_specs_do_not_name(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload()
    bound = _policy(namespace="clinic", packs=("c5",))
    assert _allowed((work,), fabric, packs, now, bound) == [set()]
    laid, guardrails = in_force(packs, [bound], ("gdpr",))
    assert (laid.digest != packs.digest, guardrails) == (True, ("gdpr", "clinic:c5"))


def test_a_refusal_names_the_layer_its_rule_and_where_it_comes_from(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload()
    laid, guardrails = in_force(packs, [_policy(NO_FRANCE, namespace="clinic")], ())
    screening = screen({work.id: work}, fabric, laid, now, guardrails=guardrails)
    [reason] = screening.of(work.id, fabric.nodes["par-1"].id).reasons  # type: ignore[index]
    assert (reason.rule, reason.cite) == ("clinic.house.no-france", "house rule 1")
    assert reason.message == "par-1 stands in France (FR)"
    [change] = screening.changes(work.id)
    assert (change.by, change.target) == (("domain",), "rule")


@pytest.mark.parametrize(
    ("policy", "line", "why"),
    [
        (_policy(f"{NO_FRANCE}{HEAD.format(name='b')}permit {PLACE};"), 16, "which would widen"),
        (_policy(_forbid("a", 'resource.colour == "red"')), 11, "breaks the schema"),
        (_policy(_forbid("a", "resource.grade * 2 > 3")), 11, "could err"),
        (_policy("\n\n" + NO_FRANCE.replace("house.", "other.")), 13, "begin it with `house.`"),
        (_policy(NO_FRANCE + NO_FRANCE), 16, "stands twice"),
        (_policy(f"{HEAD.format(name='a')}forbid (principal"), 11, "not Cedar"),
        (_policy(packs=("gdrp",)), 10, "no pack gdrp"),
        (_policy(NO_FRANCE + _forbid("nowhere", "resource.grade < 5")), 16, "no node in any country could satisfy"),
        (_policy(_forbid("a", 'resource.operator.seat == resource.location') +
                 _forbid("b", 'resource.operator.seat != resource.location')), 11, "could satisfy"),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_refused_at_its_line(
    packs: PackSet, now: WallTime, policy: Policy, line: int, why: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        check_policy(policy, "house.yaml", 10, packs, now)
    assert why in f"{caught.value} {caught.value.hint}"
    assert caught.value.context == {"file": "house.yaml", "line": line}
    assert caught.value.hint


def test_the_example_of_a_policy_is_accepted_and_binds_its_namespace_only(packs: PackSet, now: WallTime) -> None:
    file = Path(__file__).parents[3] / "examples" / "policies" / "clinic.yaml"
    [document] = load([(file.name, file.read_text())]).policies
    check_policy(document.policy, file.name, document.line_before_rules, packs, now)
    laid, guardrails = in_force(packs, [document.policy], ())
    assert guardrails == ("clinic:gdpr", "clinic:clinic.house")
    [rule] = laid.packs["clinic.house"].rules
    assert (rule.id, rule.within_us) == ("clinic.house.no-edge", 3_600_000_000)


def test_the_line_of_a_wrong_rule_is_that_of_the_manifest(packs: PackSet, now: WallTime) -> None:
    file = Path(__file__).parents[3] / "examples" / "policies" / "clinic.yaml"
    text = file.read_text().replace("resource.tier", "resource.colour")
    [document] = load([(file.name, text)]).policies
    with pytest.raises(PolicyError) as caught:
        check_policy(document.policy, file.name, document.line_before_rules, packs, now)
    assert caught.value.context == {
        "file": "clinic.yaml",
        "line": text.splitlines().index('    @id("house.no-edge")') + 1,
    }


def test_a_policy_named_like_a_pack_is_refused(packs: PackSet, now: WallTime) -> None:
    with pytest.raises(PolicyError, match="already"):
        check_policy(Policy(name="gdpr", packs=("seal",)), "f.yaml", 1, packs, now)
