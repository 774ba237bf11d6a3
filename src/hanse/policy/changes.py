"""The nearest changes that would turn a denial, each one tried on Cedar: `denied nodes -> changes, fewest edits first`.

For each class of denied nodes every single edit is asked; where none suffices, pairs and then triples whose single
effects together clear every denying rule. The single effects only choose what to try: what is reported was asked as a
whole. It looks no further than three edits, and tries at most a fixed number of sets per class, so that an answer is
quick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from itertools import combinations

from hanse.core.fabric import Fabric, Node
from hanse.core.ids import Digest, NodeId
from hanse.core.verdict import Change
from hanse.core.work import Workload
from hanse.policy.edits import TARGETS, Case, Edit, Who, edits_for
from hanse.policy.entities import Object, Subject, kind_of_node, kind_of_work, object_of, subject_of
from hanse.policy.evaluate import Answer, Cedar
from hanse.policy.explain import Question
from hanse.policy.facts import Adequacy, FactsNow, facts_at
from hanse.policy.packs import PackSet

EDITS_MAX = 3
"""More edits than this are no advice any more."""
SETS_PER_CLASS_MAX = 16
"""Sets of one size tried per class of nodes."""
CHANGES_MAX = 12
"""Changes reported; the nearest ones."""

EditSet = tuple[Edit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Denied:
    """One class of denied nodes: a representative, the nodes, what denies it, and what each edit alone leaves."""

    case: Case
    nodes: tuple[NodeId, ...]
    rules: frozenset[str]
    alone: tuple[tuple[Edit, Answer], ...]


class _World:
    """Asks about edited cases; everything it keeps is derived from its arguments."""

    def __init__(self, fabric: Fabric, packs: PackSet, facts: FactsNow) -> None:
        self.fabric, self.packs, self.facts = fabric, packs, facts
        self.rules = packs.rules_of(tuple(packs.packs))
        self._cedar = Cedar(packs, facts)
        self._known: dict[tuple[Digest, Digest], Answer] = {}
        self._subjects: dict[tuple[object, ...], Subject] = {}
        self._with: dict[tuple[Adequacy, ...], FactsNow] = {(): facts}

    def ask(self, cases: Sequence[Case]) -> list[Answer]:
        pairs = [self._classes(case) for case in cases]
        fresh = {(s.key, o.key): (s, o) for s, o in pairs if (s.key, o.key) not in self._known}
        self._known.update(zip(fresh, self._cedar.ask(list(fresh.values())), strict=True))
        return [self._known[s.key, o.key] for s, o in pairs]

    def question(self, case: Case) -> Question:
        return Question(
            workload=case.workload, node=case.node, site=case.site, operator=case.operator,
            operators=self.fabric.operators, facts=self.facts,
        )  # fmt: skip

    def _classes(self, case: Case) -> tuple[Subject, Object]:
        reads, facts = self.packs.reads, self._facts(case.decisions)
        kind = (kind_of_work(case.workload, reads), case.guardrails, case.decisions)
        if kind not in self._subjects:
            self._subjects[kind] = subject_of(case.workload, self.packs, facts, case.guardrails, reads)
        operators = {**self.fabric.operators, case.operator.id: case.operator}
        return self._subjects[kind], object_of(case.node, case.site, case.operator, operators, facts=facts, reads=reads)

    def _facts(self, decisions: tuple[Adequacy, ...]) -> FactsNow:
        if decisions not in self._with:
            rows = (*self.facts.facts.adequacy, *decisions)
            self._with[decisions] = facts_at(replace(self.facts.facts, adequacy=rows), self.facts.now)
        return self._with[decisions]


def nearest_changes(
    workload: Workload,
    denied: tuple[Node, ...],
    *,
    fabric: Fabric,
    packs: PackSet,
    facts: FactsNow,
    guardrails: tuple[str, ...],
) -> tuple[Change, ...]:
    """Find the least sets of edits after which some of these denied nodes are allowed.

    For each class of nodes both the least sets of all, and the least that the workload's owner can make alone.
    `guardrails` are the packs that the domain binds to the workload's namespace. In order: fewest edits; the workload's
    owner before the operator before the legislator before the domain; most nodes; wording.
    """
    world = _World(fabric, packs, facts)
    classes = _classes(workload, denied, world, guardrails)
    found: dict[tuple[str, ...], EditSet] = {}
    own = tuple(replace(c, alone=tuple((e, a) for e, a in c.alone if e.who is Who.OWNER)) for c in classes)
    for edits in (*_least_sets(classes, world), *_least_sets(own, world)):
        found.setdefault(tuple(sorted(e.what for e in edits)), edits)
    nearest = sorted(found.items(), key=lambda item: (len(item[1]), max(e.who for e in item[1]), item[0]))
    sets = [edits for _, edits in nearest[: 2 * CHANGES_MAX]]
    changes = _undominated(list(zip(sets, _allows(sets, classes, world), strict=True)))
    return tuple(_change(edits, nodes) for edits, nodes in changes[:CHANGES_MAX])


def _classes(
    workload: Workload, denied: tuple[Node, ...], world: _World, guardrails: tuple[str, ...]
) -> tuple[_Denied, ...]:
    alike: dict[tuple[object, ...], list[Node]] = {}
    for node in denied:
        kind = kind_of_node(node, world.fabric.site_of(node), world.packs.reads, world.facts.now)
        alike.setdefault(kind, []).append(node)
    cases = [
        Case(
            workload=workload, node=nodes[0], site=world.fabric.site_of(nodes[0]),
            operator=world.fabric.operator_of(nodes[0]), guardrails=guardrails,
        )
        for nodes in alike.values()
    ]  # fmt: skip
    answers = world.ask(cases)
    edits = [_edits(case, answer, world) for case, answer in zip(cases, answers, strict=True)]
    # One batch for all classes: Cedar's entities are then built once.
    tried = iter(world.ask([edit.apply(case) for case, some in zip(cases, edits, strict=True) for edit in some]))
    return tuple(
        _Denied(
            case=case, nodes=tuple(n.id for n in nodes), rules=frozenset(answer.rules),
            alone=tuple((edit, next(tried)) for edit in some),
        )
        for case, nodes, answer, some in zip(cases, alike.values(), answers, edits, strict=True)
    )  # fmt: skip


def _edits(case: Case, answer: Answer, world: _World) -> tuple[Edit, ...]:
    denying = tuple(rule for rule in world.rules if rule.id in answer.rules)
    return tuple({e.what: e for e in edits_for(case, world.question(case), denying, world.packs)}.values())


def _least_sets(classes: tuple[_Denied, ...], world: _World) -> list[EditSet]:
    """The least sets that help, class by class; all classes are asked together, one size after the other."""
    found: list[EditSet] = []
    # Every edit relaxes something, so a class that all of them together do not allow is beyond any few.
    whole = world.ask([_applied(tuple(edit for edit, _ in one.alone), one.case) for one in classes])
    open_ = tuple(one for one, answer in zip(classes, whole, strict=True) if answer.is_allowed)
    for size in range(1, EDITS_MAX + 1):
        tried = [(one, edits) for one in open_ for edits in _most_promising(one, size)]
        answers = world.ask([_applied(edits, one.case) for one, edits in tried])
        helped = [(one, edits) for (one, edits), answer in zip(tried, answers, strict=True) if answer.is_allowed]
        found += [edits for _, edits in helped]
        solved = {id(one) for one, _ in helped}
        open_ = tuple(one for one in open_ if id(one) not in solved)
    return found


def _most_promising(one: _Denied, size: int) -> list[EditSet]:
    if size == 1:
        return [(edit,) for edit, answer in one.alone if answer.is_allowed]
    cleared = {edit.what: one.rules - set(answer.rules) for edit, answer in one.alone}
    sets = combinations([edit for edit, _ in one.alone], size)
    return nsmallest(SETS_PER_CLASS_MAX, sets, key=lambda edits: _promise(edits, cleared))


def _promise(edits: EditSet, cleared: Mapping[str, frozenset[str]]) -> tuple[object, ...]:
    """Order sets by what their single effects add up to; a rule of two conditions clears only when both are met."""
    alone = [cleared[edit.what] for edit in edits]
    idle = sum(not some for some in alone)
    return -len(frozenset().union(*alone)), idle, _nearness(edits)


def _nearness(edits: EditSet) -> tuple[int, int, tuple[str, ...]]:
    return max(e.who for e in edits), sum(e.who for e in edits), tuple(e.what for e in edits)


def _allows(sets: Sequence[EditSet], classes: tuple[_Denied, ...], world: _World) -> list[tuple[NodeId, ...]]:
    answers = world.ask([_applied(edits, one.case) for edits in sets for one in classes])
    rows = [answers[at : at + len(classes)] for at in range(0, len(answers), max(1, len(classes)))]
    return [
        tuple(sorted(node for one, answer in zip(classes, row, strict=True) if answer.is_allowed for node in one.nodes))
        for row in rows
    ]


def _undominated(changes: list[tuple[EditSet, tuple[NodeId, ...]]]) -> list[tuple[EditSet, tuple[NodeId, ...]]]:
    """Drop a set that contains a smaller one and allows no more."""
    kept = [
        (edits, nodes)
        for edits, nodes in changes
        if not any(
            {e.what for e in other} < {e.what for e in edits} and set(nodes) <= set(others) for other, others in changes
        )
    ]
    return sorted(kept, key=lambda c: (len(c[0]), max(e.who for e in c[0]), -len(c[1]), _nearness(c[0])))


def _applied(edits: EditSet, case: Case) -> Case:
    for edit in edits:
        case = edit.apply(case)
    return case


def _change(edits: EditSet, nodes: tuple[NodeId, ...]) -> Change:
    """Word a set; where it has several edits each says whose it is, and `target` is the farthest of them."""
    marked = [f"{edit.what} ({TARGETS[edit.who]})" if len(edits) > 1 else edit.what for edit in edits]
    what = "; and ".join(marked)
    return Change(what=what[0].upper() + what[1:], target=TARGETS[max(e.who for e in edits)], allows=nodes)
