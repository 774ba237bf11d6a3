"""What each rule says by itself of a workload on a node, asked once per what it reads: `cases -> denying rules`.

Cedar judges every policy alone: a request is allowed if some permit holds, no forbid does and none errs. So an edit of
a case can only matter to rules that read what it touches, and a rule's answer is known wherever the values it reads
were seen before. Nothing is guessed: an answer that is not known is asked of Cedar, for that one rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from hanse.core.fabric import Node, Site
from hanse.core.time import WallTime
from hanse.policy.entities import Entity, Object, Subject, object_under
from hanse.policy.evaluate import DEFAULT_DENY, ERROR_RULE, UNKNOWN_PACK, Answer, Cedar, Ruleset, ruleset
from hanse.policy.packs import PackSet
from hanse.policy.reads import Reads
from hanse.policy.rules import Rule

Values = tuple[bytes, ...]
"""The values that one rule reads of a case, spelt."""
_HOLDS, _HOLDS_NOT, _ERRS = 1, 0, 2


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A workload as it is or as edited; one object per variant."""

    subject: Subject
    spelt: dict[int, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """An operator as it is or as edited."""

    entity: Entity
    spelt: dict[int, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A node as it is or as edited."""

    node: Node
    site: Site
    entity: Entity
    spelt: dict[int, bytes]


Case = tuple[Work, Run, Place]


class RuleByRule:
    """Answers rule by rule; everything it keeps is derived from what it was given."""

    def __init__(self, packs: PackSet, cedar: Cedar, names: tuple[str, ...], now: WallTime) -> None:
        """`names` are the packs that may be in force; edits only take packs away."""
        self._now = now
        self._reads = packs.reads
        self._cedar = cedar
        self._now = now
        self._rules = packs.rules_of(names)
        self._pack_of = {rule.id: name for name in names for rule in packs.packs[name].rules}
        self._ids = {rule.id: at for at, rule in enumerate(self._rules)}
        self._permits = [at for at, rule in enumerate(self._rules) if not rule.is_forbid]
        self._paths = [_paths(rule) for rule in self._rules]
        self._rulesets: dict[int, Ruleset] = {}
        self._known: dict[tuple[int, bytes, bytes, bytes], int] = {}
        self._touched: dict[frozenset[str], frozenset[int]] = {}
        self._objects: dict[tuple[Run, Place], Object] = {}

    def touched(self, touches: frozenset[str]) -> frozenset[int]:
        """Numbers of the rules that may read something of what an edit touches."""
        if touches not in self._touched:
            self._touched[touches] = frozenset(
                at for at, rule in enumerate(self._rules)
                if any(_may_read(rule.reads, self._pack_of[rule.id], one) for one in touches)
            )  # fmt: skip
        return self._touched[touches]

    def learn(self, case: Case, answer: Answer) -> None:
        """Take over what Cedar's answer to a whole case says of single forbids: on a denial all that hold are told."""
        if answer.is_allowed or answer.errors:
            return
        work, run, place = case
        in_force = set(work.subject.packs)
        for at, rule in enumerate(self._rules):
            if rule.is_forbid and self._pack_of[rule.id] in in_force:
                self._known[self._key(at, work, run, place)] = _HOLDS if rule.id in answer.rules else _HOLDS_NOT

    def ask(self, wanted: Iterable[tuple[Case, frozenset[int]]]) -> None:
        """Have Cedar answer these rules for these cases as far as they are not known, in one batch."""
        missing: dict[tuple[int, bytes, bytes, bytes], Case] = {}
        for (work, run, place), rules in wanted:
            for at in self._relevant(rules):
                key = self._key(at, work, run, place)
                if key not in self._known:
                    missing.setdefault(key, (work, run, place))
        asked = [(self._ruleset(key[0]), work.subject, self._object(run, place))
                 for key, (work, run, place) in missing.items()]  # fmt: skip
        for key, answer in zip(missing, self._cedar.ask_each(asked), strict=True):
            rule = self._rules[key[0]]
            self._known[key] = _ERRS if answer.errors else _HOLDS if rule.id in answer.rules else _HOLDS_NOT

    def denying(self, case: Case, rules: frozenset[int], otherwise: frozenset[int]) -> frozenset[int]:
        """Numbers of what denies a case: of these rules as they answer, of all others as `otherwise` says.

        A number of -1 stands for "no rule permits", -2 for a pack that does not exist. What is asked here must have
        been asked with `ask` before.
        """
        work, run, place = case
        in_force = set(work.subject.packs)
        found = {
            at for at in otherwise if at >= 0 and at not in rules and self._pack_of[self._rules[at].id] in in_force
        }
        for at in rules:
            rule = self._rules[at]
            if self._pack_of[rule.id] in in_force:
                said = self._known[self._key(at, work, run, place)]
                if said == _ERRS or (said == _HOLDS and rule.is_forbid):
                    found.add(at)
        if not any(
            self._pack_of[self._rules[at].id] in in_force and self._known[self._key(at, work, run, place)] == _HOLDS
            for at in self._permits
        ):
            found.add(-1)
        return frozenset(found | ({-2} if work.subject.unknown else set()))

    def at_first(self, case: Case, answer: Answer) -> frozenset[int]:
        """Numbers of what denies a case that was asked whole; every rule where the answer tells of an error."""
        if answer.errors:
            return self.denying(case, frozenset(range(len(self._rules))), frozenset())
        denying = {self._ids[id_] for id_ in answer.rules if id_ not in (DEFAULT_DENY, UNKNOWN_PACK, ERROR_RULE)}
        return self.denying(case, frozenset(), frozenset(denying))

    def needed_at_first(self, answer: Answer) -> frozenset[int]:
        """Which rules `at_first` must have had asked; permits are always."""
        return frozenset(range(len(self._rules))) if answer.errors else frozenset()

    def touching(self, number: int) -> frozenset[int]:
        """Rules whose answer may lift a denial with this number: itself, or every permit."""
        return frozenset(self._permits) if number == -1 else frozenset({number})

    def _relevant(self, rules: frozenset[int]) -> Iterable[int]:
        return sorted({*rules, *self._permits})

    def _key(self, at: int, work: Work, run: Run, place: Place) -> tuple[int, bytes, bytes, bytes]:
        own, operator, node = self._paths[at]
        if at not in work.spelt:
            work.spelt[at] = _spell(work.subject.entity, own, is_whole=self._rules[at].reads.is_opaque)
        if at not in run.spelt:
            run.spelt[at] = _spell(run.entity, operator, is_whole=self._rules[at].reads.is_opaque)
        if at not in place.spelt:
            place.spelt[at] = _spell(place.entity, node, is_whole=self._rules[at].reads.is_opaque)
        return at, work.spelt[at], run.spelt[at], place.spelt[at]

    def _ruleset(self, at: int) -> Ruleset:
        if at not in self._rulesets:
            self._rulesets[at] = ruleset((self._rules[at],))
        return self._rulesets[at]

    def _object(self, run: Run, place: Place) -> Object:
        """Described once for all rules that are asked about it."""
        known = self._objects.get((run, place))
        if known is None:
            known = object_under(place.node, place.site, run.entity, self._reads, self._now)
            self._objects[run, place] = known
        return known


def _paths(rule: Rule) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """What a rule reads of the workload, of the operator and of the node, each in order."""
    own = [
        leaf.removeprefix("principal").removeprefix(".") for leaf in rule.reads.leaves if leaf.startswith("principal")
    ]
    of = "resource.operator."
    operator = [leaf.removeprefix(of) for leaf in rule.reads.leaves if leaf.startswith(of)]
    rest = [leaf.removeprefix("resource.") for leaf in rule.reads.leaves if leaf.startswith("resource.")]
    node = [leaf for leaf in rest if not leaf.startswith("operator")]
    # Membership in a class of data or a site, and a name, are no paths: what decides is the place in a hierarchy.
    types = rule.reads.types
    own += ["^"] if "DataClass" in types else []
    own += ["@"] if "Workload" in types else []
    operator += ["@"] if "Operator" in types else []
    node += ["@", "^"] if types & {"Node", "Site"} else []
    return tuple(sorted(own)), tuple(sorted(operator)), tuple(sorted(node))


def _spell(entity: Entity, paths: Sequence[str], *, is_whole: bool) -> bytes:
    return msgspec.json.encode(entity if is_whole else [_value(entity, path) for path in paths])


def _value(entity: Entity, path: str) -> Any:
    if path == "@":
        return entity["uid"]
    if path == "^":
        return entity["parents"]
    if path.startswith("#"):
        return entity["tags"].get(path[1:])
    value: Any = entity["attrs"]
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def _may_read(reads: Reads, pack: str, touches: str) -> bool:
    if touches.startswith("pack:"):
        return pack == touches.removeprefix("pack:")
    if reads.is_opaque:
        return True
    has_tags = any(leaf.startswith("principal#") for leaf in reads.leaves)
    match touches:
        case "decisions":
            return has_tags
        case "data":
            return (
                has_tags
                or "DataClass" in reads.types
                or bool(reads.leaves & {"principal.regimes", "principal.subjects"})
            )
        case _:
            return any(
                f"{leaf}.".startswith(f"{touches}.") or f"{touches}.".startswith(f"{leaf}.") for leaf in reads.leaves
            )
