"""Proves: a secret is told only where its work, its owner's demands and the rules all agree, on what holds now."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanse.core.fabric import Attested, Fabric, Grade, Origin, Trust
from hanse.core.ids import CountryCode, NodeId, WorkloadId
from hanse.core.layer import Policy
from hanse.core.secret import Secret
from hanse.core.time import WallTime
from hanse.core.work import Data, Sovereignty, Workload
from hanse.policy import PackSet, PolicyError, ReadVerdict, check_secret, in_force, may_read

SECRET = Secret(namespace="clinic", name="key", about="opens letters")
ATTESTED_ONLY = 'forbid (principal, action == Action::"read", resource) unless { context.node.attested.tpm };'


def _asked(secret: Secret, work: Workload, fabric: Fabric, packs: PackSet, now: WallTime, node: str) -> ReadVerdict:
    at = fabric.nodes[NodeId(node)]
    site, operator = fabric.site_of(at), fabric.operator_of(at)
    return may_read(secret, work, at, site, operator, packs, now, operators=fabric.operators)


def _rules(verdict: ReadVerdict) -> list[str]:
    return [reason.rule for reason in verdict.reasons]


def test_the_answer_in_words(make: SimpleNamespace, fabric: Fabric, packs: PackSet, now: WallTime) -> None:
    fenced = replace(SECRET, sovereignty=Sovereignty(control_exclude=(CountryCode("US"),)), rules=ATTESTED_ONLY)
    verdict = _asked(fenced, make.workload(), fabric, packs, now, "dub-1")
    assert [f"{r.rule}: {r.message} ({r.cite})" for r in verdict.reasons] == [
        "control.excluded-operator: the law of US reaches nimbus, which runs dub-1, wherever the machine stands: "
        "Nimbus <- Nimbus Inc. (US, 100 %) (spec: sovereignty.control.exclude; 18 U.S.C. 2713)",
        "clinic.key.1: its owner forbids it (the owner of the secret)",
    ]


def test_the_namespace_is_the_border_unless_the_owner_names_readers(
    make: SimpleNamespace, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    mine, other = make.workload(), make.workload("till", namespace="shop")
    named = replace(SECRET, readers=(WorkloadId("shop.till"),))
    for secret, work, rules in (
        (SECRET, mine, ["base.read-own"]),
        (SECRET, other, ["default-deny"]),
        (named, mine, ["default-deny"]),
        (named, other, ["base.read-own"]),
    ):
        verdict = _asked(secret, work, fabric, packs, now, "fra-1")
        assert (verdict.is_allowed, _rules(verdict)) == (rules == ["base.read-own"], rules)


def test_what_it_opens_counts_where_the_work_says_nothing(
    make: SimpleNamespace, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    """The work handles public data; the key opens letters about patients."""
    work = make.workload(data=Data(classes=("public",)))
    health = replace(
        SECRET, data=Data(classes=("health",), subjects=("EEA",)), sovereignty=Sovereignty(packs=("eea-health",))
    )
    assert _asked(SECRET, work, fabric, packs, now, "dub-1").is_allowed
    refused = _asked(health, work, fabric, packs, now, "dub-1")
    assert not refused.is_allowed
    assert any(rule.startswith("eea-health.") for rule in _rules(refused))
    assert _asked(health, work, fabric, packs, now, "fra-1").is_allowed


def test_facts_are_those_of_the_moment(make: SimpleNamespace, fabric: Fabric, packs: PackSet, now: WallTime) -> None:
    guarded = replace(SECRET, rules=ATTESTED_ONLY)
    attested = Attested(
        kind="tpm", origin=Origin.HARDWARE, status=Trust.AFFIRMING, claims={}, vector={}, references=(),
        since_us=0, until_us=now + 10,
    )  # fmt: skip
    node = replace(fabric.nodes[NodeId("fra-1")], attested=attested)
    shown = replace(fabric, nodes={**fabric.nodes, node.id: node})
    work = make.workload()
    assert not _asked(guarded, work, fabric, packs, now, "fra-1").is_allowed
    fresh = _asked(guarded, work, shown, packs, now, "fra-1")
    assert fresh.is_allowed
    assert not _asked(guarded, work, shown, packs, WallTime(now + 10), "fra-1").is_allowed, "the evidence has ended"
    assert fresh.facts != _asked(guarded, work, fabric, packs, now, "fra-1").facts


def test_a_layer_of_the_domain_narrows_and_the_digest_says_so(
    make: SimpleNamespace, fabric: Fabric, packs: PackSet, now: WallTime
) -> None:
    rule = (
        '@id("only-de.stay") @cite("house") @message("stay") '
        'forbid (principal, action == Action::"place", resource) unless { resource.location == Jurisdiction::"DE" };'
    )
    laid, bound = in_force(packs, [Policy(name="only-de", rules=rule, as_of="2026-11-21")], ())
    work, paris = make.workload(), fabric.nodes[NodeId("par-1")]
    verdict = may_read(
        SECRET, work, paris, fabric.site_of(paris), fabric.operator_of(paris), laid, now,
        operators=fabric.operators, guardrails=bound,
    )  # fmt: skip
    assert (verdict.is_allowed, _rules(verdict)) == (False, ["only-de.stay"])
    assert verdict.policies != _asked(SECRET, work, fabric, packs, now, "par-1").policies


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('permit (principal, action == Action::"read", resource);', "which would widen"),
        ('forbid (principal, action == Action::"place", resource);', "is not about `read`"),
        ('forbid (principal, action == Action::"read", resource) when { resource.value == "x" };', "breaks the schema"),
        ("forbid (", "not Cedar"),
    ],
)
def test_rules_that_are_none_of_the_owners_are_refused(rules: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        check_secret(replace(SECRET, rules=rules))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    only=st.lists(st.sampled_from(["DE", "FR", "SE", "IE", "CH"]), max_size=2, unique=True),
    exclude=st.lists(st.sampled_from(["US", "DE"]), max_size=1),
    grade=st.integers(0, 2),
    mine=st.lists(st.sampled_from(["DE", "FR", "PL"]), max_size=2, unique=True),
    where=st.sampled_from(["dub-1", "fra-1", "par-1", "sto-1", "waw-1", "zrh-1"]),
)
def test_never_is_it_told_where_a_demand_of_either_does_not_hold(
    make: SimpleNamespace, fabric: Fabric, packs: PackSet, now: WallTime,
    only: list[str], exclude: list[str], grade: int, mine: list[str], where: str,
) -> None:  # fmt: skip
    own = Sovereignty(
        location_only=tuple(only), control_exclude=tuple(CountryCode(c) for c in exclude), grade=Grade(grade)
    )
    work = make.workload(location_only=tuple(mine))
    verdict = _asked(replace(SECRET, sovereignty=own), work, fabric, packs, now, where)
    node = fabric.nodes[NodeId(where)]
    country, operator = fabric.site_of(node).country, fabric.operator_of(node)
    reach = {operator.seat, *(parent.country for parent in operator.parents)}
    holds = (
        (not only or country in only) and (not mine or country in mine)
        and not reach & set(exclude) and min(node.grade, operator.grade) >= grade
    )  # fmt: skip
    assert verdict.is_allowed == holds
