"""May this work, here, be told this secret? `secret, workload, node, facts, packs, now -> verdict`.

Two questions, and both must hold. As work that handles what the secret opens, may it be on this node (`place`, by every
rule in force, and the secret's demands beside its own)? And may it read the secret there (`read`, by the packs' rules
and the secret's owner's)? Deny by default; an error is a denial. It decides and releases nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import cedarpy

from hanse.core.fabric import Node, Operator, Site
from hanse.core.ids import Digest, OperatorId
from hanse.core.secret import Secret
from hanse.core.time import WallTime
from hanse.core.verdict import Reason
from hanse.core.work import Data, Workload
from hanse.policy.entities import data_classes, law_entities, object_of, subject_of
from hanse.policy.errors import PolicyError
from hanse.policy.evaluate import DEFAULT_DENY, ERROR_RULE, decide
from hanse.policy.facts import FactsNow, facts_at
from hanse.policy.order import screen_order
from hanse.policy.packs import PackSet
from hanse.policy.reads import Reads
from hanse.policy.rules import ReadRule, parse_read_rules
from hanse.policy.schema import SCHEMA
from hanse.policy.screen import guardrails_for
from hanse.wire.canonical import digest_of

READ: Final = "read"
RULES_FILE: Final = "rules"
_EVERYTHING: Final = Reads(is_opaque=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadVerdict:
    """The answer for one workload, node and secret, with digests of all that it was decided on."""

    is_allowed: bool
    reasons: tuple[Reason, ...]
    policies: Digest
    """Of packs and layers in force."""
    facts: Digest
    """Of the node, its site and the operators, attestation included, as they were known."""


def may_read(  # noqa: PLR0917 - the order every caller knows: what, who, where, whose, by which rules, when
    secret: Secret,
    workload: Workload,
    node: Node,
    site: Site,
    operator: Operator,
    packs: PackSet,
    now: WallTime,
    *,
    operators: Mapping[OperatorId, Operator],
    guardrails: tuple[str, ...] = (),
) -> ReadVerdict:
    """Decide whether this workload on this node is told the secret. Arguments as `screen_order` takes them.

    Raises PolicyError if the secret's own rules are wrong; check them first with `check_secret`.
    """
    as_reader = _as_reader(workload, secret)
    places = [
        screen_order(asked, node, site, operator, packs, None, now, operators=operators, guardrails=guardrails)
        for asked in (workload, as_reader)
    ]
    denied = tuple(dict.fromkeys(reason for place in places if not place.is_allowed for reason in place.reasons))
    names = {*packs.always, *guardrails_for(guardrails, workload.namespace), *as_reader.sovereignty.packs}
    rules = [rule for name in packs.packs if name in names for rule in packs.packs[name].read]
    own = [replace(rule, id=f"{secret.id}.{rule.id}") for rule in check_secret(secret)]
    facts = facts_at(packs.facts, now)
    subject = subject_of(as_reader, packs, facts, guardrails_for(guardrails, workload.namespace), _EVERYTHING)
    obj = object_of(node, site, operator, operators, facts=facts, reads=_EVERYTHING)
    site_entity = {
        "uid": _ref("Site", site.id),
        "attrs": {"country": _ref("Jurisdiction", site.country)},
        "parents": [],
    }
    entities = [
        *law_entities(facts), subject.entity, obj.node, obj.operator, site_entity,
        *_secret_entities(secret, workload, facts),
    ]  # fmt: skip
    said = _ask([*rules, *own], entities, _request(secret, workload, node))
    is_allowed, reasons = said
    return ReadVerdict(
        is_allowed=is_allowed and not denied,
        reasons=(*denied, *(() if is_allowed and denied else reasons)),
        policies=digest_of([packs.digest, list(guardrails), [rule.text for rule in own]]),
        facts=digest_of([node, site, operator, [operators[key] for key in sorted(operators)]]),
    )


def check_secret(secret: Secret) -> tuple[ReadRule, ...]:
    """Check the rules that an owner wrote for one secret: they can only narrow. Raises PolicyError."""
    file = f"{secret.id}: {RULES_FILE}"
    rules = parse_read_rules(file, secret.rules, is_pack=False)
    for rule in rules:
        if not rule.is_forbid:
            remedy = "name who may in `readers`, and write what they must not do as a forbid"
            raise PolicyError.at(file, rule.line, f"the rules of secret {secret.id} permit, which would widen", remedy)
    return rules


def _as_reader(workload: Workload, secret: Secret) -> Workload:
    """The workload as rules about places must see it where it holds what the secret opens, under the secret's demands.

    Its own demands are asked beside these, not mixed with them: of two fences no third one is made.
    """
    data = Data(
        classes=tuple(dict.fromkeys((*workload.data.classes, *secret.data.classes))),
        subjects=tuple(dict.fromkeys((*workload.data.subjects, *secret.data.subjects))),
    )
    packs = tuple(dict.fromkeys((*workload.sovereignty.packs, *secret.sovereignty.packs)))
    return replace(workload, data=data, sovereignty=replace(secret.sovereignty, packs=packs))


def _ask(
    rules: list[ReadRule], entities: list[Mapping[str, Any]], request: dict[str, object]
) -> tuple[bool, tuple[Reason, ...]]:
    policies = cedarpy.PolicySet.from_str("\n".join(rule.text for rule in rules))
    if len(policies) != len(rules):
        raise PolicyError("rules fell together when joined", hint="end each policy with a semicolon")
    (decided,) = decide([request], policies, cedarpy.Entities.from_json_str(json.dumps(entities), SCHEMA), SCHEMA)
    reasons = tuple(
        Reason(
            rule=rule.id, cite=rule.cite or "the owner of the secret", message=rule.message or "its owner forbids it"
        )
        for rule in (rules[int(id_.removeprefix("policy"))] for id_ in sorted(decided.policies))
    )
    if decided.errors:
        wrong = f"a rule could not be evaluated, which denies: {'; '.join(decided.errors)}"
        return False, (*reasons, Reason(rule=ERROR_RULE, cite="hanse: an error is a denial", message=wrong))
    if not reasons:
        message = "no rule permits it: name the workload in `readers` of the secret, or keep both in one namespace"
        return False, (Reason(rule=DEFAULT_DENY, cite="hanse: deny by default", message=message),)
    return decided.is_allowed, reasons


def _request(secret: Secret, workload: Workload, node: Node) -> dict[str, object]:
    return {
        "principal": _ref("Workload", workload.id),
        "action": {"type": "Action", "id": READ},
        "resource": _ref("Secret", secret.id),
        "context": json.dumps({"node": {"__entity": _ref("Node", node.id)}}),
    }


def _secret_entities(secret: Secret, workload: Workload, facts: FactsNow) -> list[Mapping[str, Any]]:
    """The secret with the classes of what it opens; classes that the facts do not list count as personal."""
    of_secret = replace(workload, data=secret.data)
    attrs = {
        "namespace": secret.namespace,
        "name": secret.name,
        "readers": [_ref("Workload", reader) for reader in secret.readers],
    }
    parents = [_ref("DataClass", name) for name in data_classes(of_secret, facts)]
    return [{"uid": _ref("Secret", secret.id), "attrs": attrs, "parents": parents}]


def _ref(kind: str, id_: str) -> dict[str, str]:
    return {"type": kind, "id": str(id_)}
