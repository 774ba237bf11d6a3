"""Properties that policies keep are proved again at each change, or tried on the running fabric where nothing can."""

from __future__ import annotations

import pytest
from room_kit import OPERATOR, PACKS, SITE, START, node, workload

from hanse.app.proving import prove_submitted
from hanse.control.proofs import PropertyBroken, in_manifest, proofs_of, try_only
from hanse.core.fabric import Fabric
from hanse.core.layer import Policy
from hanse.core.snapshot import Snapshot
from hanse.manifest import load
from hanse.policy import Outcome, PolicyError, parse_packs

RULES = parse_packs(PACKS)
WORK, NODE = workload(), node()
AT = Snapshot(
    at_us=START, fabric=Fabric(sites={SITE.id: SITE}, operators={OPERATOR.id: OPERATOR}, nodes={NODE.id: NODE}),
    reach={}, workloads={WORK.id: WORK}, running=(), intensity_g_per_kwh={}, rtt_us={}, gazetteer={},
)  # fmt: skip
CORE = '@id("house.no-core")\n@cite("c")\n@message("m")\nforbid (principal is Workload, action == Action::"place", resource is Node)\nwhen { resource.tier == "core" };'  # noqa: E501
NEVER_CORE = CORE.replace("house.no-core", "house.p.core").replace("@cite", '@title("nothing runs in the core")\n@cite')
NEVER_EDGE = NEVER_CORE.replace('"core"', '"edge"').replace("p.core", "p.edge").replace("in the core", "at the edge")


def house(rules: str, properties: str, *, name: str = "house") -> Policy:
    return Policy(name=name, namespace=str(WORK.namespace), about="a", rules=rules, properties=properties)


@pytest.mark.parametrize("prove", [try_only, prove_submitted])
def test_what_the_rules_deny_holds_and_says_whether_it_is_a_proof(prove) -> None:
    (proof,) = proofs_of([house(CORE, NEVER_CORE)], RULES, (), AT, prove)
    assert proof.is_held
    if prove is try_only:
        assert proof.outcome is Outcome.CHECKED
        assert proof.why == (
            "NOT A PROOF (this controller has no solver): 1 combinations of classes of the running fabric hold no "
            "counterexample"
        )
    else:
        assert proof.outcome in {Outcome.PROVED, Outcome.PROVED_ON_FACTS, Outcome.CHECKED}


@pytest.mark.parametrize("prove", [try_only, prove_submitted])
def test_what_they_do_not_deny_is_refused_with_an_example(prove) -> None:
    with pytest.raises(PropertyBroken) as refused:
        proofs_of([house("", NEVER_CORE)], RULES, (), AT, prove)
    assert refused.value.message.startswith(
        "house.p.core would not hold any more (counterexample): nothing runs in the"
    )
    assert "for example data" in refused.value.message


def test_a_property_rests_on_other_policies_and_falls_with_them() -> None:
    keeps, denies = house("", NEVER_CORE), Policy(name="fence", about="a", rules=CORE.replace("house.", "fence."))
    assert proofs_of([keeps, denies], RULES, (), AT, try_only)[0].is_held
    with pytest.raises(PropertyBroken):
        proofs_of([keeps], RULES, (), AT, try_only)


def test_classes_that_are_not_there_say_nothing_to_a_trial_and_everything_to_a_proof() -> None:
    """There is no node at the edge: a trial finds nothing, and says how little that means."""
    assert proofs_of([house("", NEVER_EDGE)], RULES, (), AT, try_only)[0].outcome is Outcome.CHECKED
    proof_or_trial = None
    try:
        (proof_or_trial,) = proofs_of([house("", NEVER_EDGE)], RULES, (), AT, prove_submitted)
    except PropertyBroken as refused:
        assert "house.p.edge" in refused.message
    assert proof_or_trial is None or proof_or_trial.outcome is Outcome.CHECKED


MANIFEST = """apiVersion: hanse.dev/v1
kind: Policy
metadata: {name: house, namespace: clinic}
spec:
  about: nothing at the core
  packs: [gdpr]
  properties: |
    // what it is for
    @id("house.p.core")
    @title("t")
    @cite("c")
    @message("m")
    forbid (principal is Workload, action == Action::"place", resource is Node)
    when { resource.tier == "core" };
"""


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        (CORE, "has no @title"), (NEVER_CORE.replace("house.p", "other.p"), "begin it with"),
        (NEVER_CORE.replace("forbid", "permit"), "permits"), (NEVER_CORE.replace("tier", "rank"), "policy/"),
    ],
)  # fmt: skip
def test_what_is_no_property_is_refused(properties: str, why: str) -> None:
    with pytest.raises(PolicyError) as refused:
        proofs_of([house(CORE, properties)], RULES, (), AT, try_only)
    assert why in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize(("wrong", "why"), [("resource.tier", "resource.tire"), ('@title("t")', "")])
def test_the_line_of_a_wrong_property_is_that_of_the_manifest(wrong: str, why: str) -> None:
    text = MANIFEST.replace(wrong, why)
    documents = load([("house.yaml", text)]).policies
    with pytest.raises(PolicyError) as refused:
        proofs_of([document.policy for document in documents], RULES, (), AT, try_only)
    moved = in_manifest(refused.value, documents)
    line = text.splitlines().index('    @id("house.p.core")') + 1
    assert moved.context == {"file": "house.yaml", "line": line}
    assert moved.message.startswith(f"house.yaml:{line}: ")
    assert "policy/" not in moved.message
    assert in_manifest(refused.value, []) is refused.value
