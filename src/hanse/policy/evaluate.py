"""The one place that asks Cedar: `ruleset, subjects and objects -> answers`.

Cedar skips a policy that errors, so a forbid that errors would fail open. Here any error, and any request that Cedar
cannot decide, is a denial by the rule ``policy.error``. Requests are validated against the schema, which Cedar leaves
off by default.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cedarpy

from hanse.policy.entities import Entity, Object, Subject, law_entities
from hanse.policy.errors import PolicyError
from hanse.policy.facts import FactsNow
from hanse.policy.packs import PackSet
from hanse.policy.rules import AccessRule, Rule
from hanse.policy.schema import PLACE, SCHEMA

ERROR_RULE = "policy.error"
DEFAULT_DENY = "default-deny"
UNKNOWN_PACK = "policy.unknown-pack"
SUBJECTS_KEPT_MAX = 4_096
"""Classes of workloads kept parsed; beyond that they are parsed as they are asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What Cedar said of one class on another: every rule that decided, in id order, and errors, which deny."""

    is_allowed: bool
    rules: tuple[str, ...]
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What Cedar said of one request: which policies decided, by its own ids, and which errors made it a denial."""

    is_allowed: bool
    policies: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Parsed rules, ready to be asked; `ids` maps Cedar's positional policy ids to ours."""

    handle: cedarpy.PolicySet
    ids: tuple[str, ...]


class Cedar:
    """Asks about packs at one moment; parses each combination of packs once and the law once.

    Holds only what is derived from its arguments: equal arguments give equal answers, in whatever order they are asked.
    """

    __slots__ = ("_facts", "_law", "_packs", "_rulesets", "_subjects")

    def __init__(self, packs: PackSet, facts: FactsNow) -> None:
        self._packs = packs
        self._facts = facts
        self._law: cedarpy.Entities | None = None
        self._subjects: dict[tuple[str, str], Entity] = {}
        self._rulesets: dict[tuple[str, ...], Ruleset] = {}

    def ask(self, pairs: Sequence[tuple[Subject, Object]]) -> list[Answer]:
        """Answer each pair under the packs in force for its subject; a pack that nobody ships denies by itself."""
        answers = self.ask_each([(self._ruleset(subject.packs), subject, obj) for subject, obj in pairs])
        return [_with_unknown(answer, subject) for answer, (subject, _) in zip(answers, pairs, strict=True)]

    def ask_rules(self, rules: Ruleset, pairs: Sequence[tuple[Subject, Object]]) -> list[Answer]:
        """Answer each pair under one set of rules."""
        return self.ask_each([(rules, subject, obj) for subject, obj in pairs])

    def ask_each(self, asked: Sequence[tuple[Ruleset, Subject, Object]]) -> list[Answer]:
        """Answer each pair under its own set of rules. Entities are built once for all of them, not once per set."""
        answers: dict[int, Answer] = {}
        pairs = [(subject, obj) for _, subject, obj in asked]
        for places in _without_collisions(pairs):
            entities = self._entities([pairs[at] for at in places])
            by_rules: dict[int, list[int]] = {}
            for at in places:
                by_rules.setdefault(id(asked[at][0]), []).append(at)
            for some in by_rules.values():
                rules = asked[some[0]][0]
                decided = decide([_request(*pairs[at]) for at in some], rules.handle, entities, SCHEMA)
                answers.update((at, answer_of(d, rules)) for at, d in zip(some, decided, strict=True))
        return [answers[at] for at in range(len(asked))]

    def _entities(self, pairs: Sequence[tuple[Subject, Object]]) -> cedarpy.Entities:
        """The law, the workloads asked about, and these nodes with their operators.

        Workloads are the larger part, with all the countries that their data may flow to, and stay while operators
        change: they are parsed once. Where rules name workloads, two versions of one cannot stand side by side.
        """
        wanted = {_uid(subject.entity): subject.entity for subject, _ in pairs}
        if any(self._subjects.get(uid, entity) != entity for uid, entity in wanted.items()):
            self._law, self._subjects = None, {}
        if self._law is None or len(self._subjects) + len(wanted) > SUBJECTS_KEPT_MAX:
            self._law, self._subjects = _parsed_law(json.dumps(law_entities(self._facts))), {}
        fresh = {uid: entity for uid, entity in wanted.items() if uid not in self._subjects}
        if fresh:
            self._law = self._law.with_added_json_str(json.dumps(list(fresh.values())), SCHEMA)
            self._subjects.update(fresh)
        return self._law.with_added_json_str(json.dumps(_entities(pairs)), SCHEMA)

    def _ruleset(self, names: tuple[str, ...]) -> Ruleset:
        if names not in self._rulesets:
            self._rulesets[names] = ruleset(self._packs.rules_of(names))
        return self._rulesets[names]


def ruleset(rules: Sequence[Rule] | Sequence[AccessRule]) -> Ruleset:
    """Parse rules together. Cedar names policies by position, so the order of `rules` carries their ids."""
    handle = _parsed_rules(tuple(rule.text for rule in rules))
    if len(handle) != len(rules):
        raise PolicyError("rules fell together when joined", hint="end each policy with a semicolon")
    return Ruleset(handle, tuple(rule.id for rule in rules))


@lru_cache(maxsize=512)
def _parsed_rules(texts: tuple[str, ...]) -> cedarpy.PolicySet:
    """Equal texts are equal rules: parsed once, however many screenings ask them."""
    return cedarpy.PolicySet.from_str("\n".join(texts))


@lru_cache(maxsize=8)
def _parsed_law(text: str) -> cedarpy.Entities:
    """The law of one epoch: countries in their blocs, classes of data."""
    return cedarpy.Entities.from_json_str(text, SCHEMA)


def decide(
    requests: Sequence[dict[str, object]],
    policies: cedarpy.PolicySet,
    entities: cedarpy.Entities,
    schema: cedarpy.Schema | None,
) -> list[Decided]:
    """Ask Cedar a batch, closing what it leaves open: any error, and no decision at all, is a denial."""
    results = cedarpy.is_authorized_batch(list(requests), policies, entities, schema)
    return [_closed(result) for result in results]


def _with_unknown(answer: Answer, subject: Subject) -> Answer:
    if not subject.unknown:
        return answer
    denying = () if answer.is_allowed else answer.rules
    return Answer(is_allowed=False, rules=(*denying, UNKNOWN_PACK), errors=answer.errors)


def _closed(result: cedarpy.AuthzResult) -> Decided:
    errors = tuple(result.diagnostics.errors)
    if result.decision is cedarpy.Decision.NoDecision:
        return Decided(is_allowed=False, policies=(), errors=errors or ("Cedar gave no decision",))
    forbids_fired = not result.allowed
    policies = tuple(result.diagnostics.reasons) if forbids_fired or not errors else ()
    return Decided(is_allowed=result.allowed and not errors, policies=policies, errors=errors)


def answer_of(decided: Decided, rules: Ruleset) -> Answer:
    """Name the rules by their own ids; an error is a denial by ``policy.error``."""
    ids = tuple(sorted(rules.ids[int(policy.removeprefix("policy"))] for policy in decided.policies))
    if decided.errors:
        return Answer(is_allowed=False, rules=(*ids, ERROR_RULE), errors=decided.errors)
    return Answer(is_allowed=decided.is_allowed, rules=ids or (DEFAULT_DENY,))


def _request(subject: Subject, obj: Object) -> dict[str, object]:
    return {
        "principal": subject.entity["uid"],
        "action": {"type": "Action", "id": PLACE},
        "resource": obj.node["uid"],
        "context": "{}",
    }


def _entities(pairs: Sequence[tuple[Subject, Object]]) -> list[Entity]:
    unique = {_uid(e): e for _, obj in pairs for e in (obj.node, obj.operator)}
    sites = {("Site", p["id"]): p for _, obj in pairs for p in obj.node["parents"]}
    return [*unique.values(), *(_site(parent, pairs) for parent in sites.values())]


def _site(parent: Entity, pairs: Sequence[tuple[Subject, Object]]) -> Entity:
    country = next(obj.node["attrs"]["location"] for _, obj in pairs if parent in obj.node["parents"])
    return {"uid": parent, "attrs": {"country": country}, "parents": []}


def _without_collisions(pairs: Sequence[tuple[Subject, Object]]) -> list[list[int]]:
    """Split so that no part holds two versions of one entity: rules may name entities, and then ids are their own."""
    parts: list[tuple[dict[tuple[str, str], Entity], list[int]]] = []
    for at, (subject, obj) in enumerate(pairs):
        wanted = {_uid(e): e for e in (subject.entity, obj.node, obj.operator)}
        for known, places in parts:
            if all(known.get(uid, e) is e or known[uid] == e for uid, e in wanted.items()):
                known.update(wanted)
                places.append(at)
                break
        else:
            parts.append((wanted, [at]))
    return [places for _, places in parts]


def _uid(entity: Entity) -> tuple[str, str]:
    return entity["uid"]["type"], entity["uid"]["id"]
