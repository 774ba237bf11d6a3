"""The nearest changes that would turn a denial, each one tried on Cedar: `denied nodes -> changes, fewest edits first`.

The search is exact. For each class of denied nodes it grows sets of edits one edit at a time, and only by edits that
touch what one of the rules still denying reads: any set that helps must contain one of those, so none is missed, and
sets of one edit are all tried before sets of two. It looks no further than three edits. Among sets of equal size those
of the workload's owner come before the operators', the legislator's and the domain's; the search ends as soon as
enough were found that nothing later could be reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hanse.core.errors import invariant
from hanse.core.fabric import Fabric
from hanse.core.ids import NodeId, OperatorId
from hanse.core.verdict import Change
from hanse.core.work import Workload
from hanse.policy.control import holders_by_name
from hanse.policy.edits import TARGETS, Case, Edit, Who, edits_for
from hanse.policy.entities import Entity, Object, Subject, object_under, operator_entity, subject_of
from hanse.policy.evaluate import Answer, Cedar
from hanse.policy.explain import Question
from hanse.policy.facts import Adequacy, FactsNow, with_decisions
from hanse.policy.packs import PackSet
from hanse.policy.partial import Case as Spelt
from hanse.policy.partial import Place, RuleByRule, Run, Work

EDITS_MAX = 3
"""More edits than this are no advice any more."""
CHANGES_MAX = 12
"""Changes reported; the nearest ones."""
SETS_MAX = 2 * CHANGES_MAX
"""Sets of edits weighed against each other; the nearest ones."""

EditSet = tuple[Edit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeniedKind:
    """Nodes that surely are one class, and what Cedar said of them."""

    nodes: tuple[NodeId, ...]
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Denied:
    """One class of denied nodes: a representative, the nodes, what denies it, and every edit that might help."""

    case: Case
    nodes: tuple[NodeId, ...]
    denying: frozenset[int]
    edits: EditSet
    """In the order in which they are applied and written."""
    helping: dict[int, tuple[int, ...]]
    """Per number of a denial the places in `edits` of those that touch what it reads."""


@dataclass(slots=True)
class _Seen:
    """What was found so far for one class."""

    sets: list[tuple[int, ...]] = field(default_factory=list)
    own: list[tuple[int, ...]] = field(default_factory=list)
    """Of the workload's owner alone."""


_Standing = tuple[int, tuple[int, ...], frozenset[int]]
"""Place of a class, places of the edits made so far, and what still denies it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """How far one search goes: sets of so many edits, the farthest of them being of `who`."""

    size: int
    who: Who


class _World:
    """Makes variants of workloads, operators and nodes, each once; all it keeps is derived from its arguments."""

    def __init__(
        self, workload: Workload, fabric: Fabric, packs: PackSet, facts: FactsNow, guardrails: tuple[str, ...]
    ) -> None:
        self.fabric, self.packs, self.facts = fabric, packs, facts
        self.by_name = holders_by_name(fabric.operators)
        subject = subject_of(workload, packs, facts, guardrails, packs.reads)
        self.cedar = Cedar(packs, facts)
        self.rules = RuleByRule(packs, self.cedar, subject.packs, facts.now)
        self.in_force = packs.rules_of(subject.packs)
        self._works: dict[tuple[str, ...], Work] = {(): Work(subject, {})}
        self._runs: dict[tuple[OperatorId, str, tuple[str, ...]], Run] = {}
        self._places: dict[tuple[NodeId, tuple[str, ...]], Place] = {}
        self._with: dict[tuple[Adequacy, ...], FactsNow] = {(): facts}

    def spelt(self, case: Case, edits: EditSet) -> Spelt:
        """A case after these edits; each of its parts is described once for all sets that leave it alike."""
        own = tuple(e.what for e in edits if e.operator is None)
        theirs = tuple(e.what for e in edits if e.operator == case.operator.id)
        served = case.operator.id, case.node.service, theirs
        work, run = self._works.get(own), self._runs.get(served)
        place = self._places.get((case.node.id, theirs))
        if work is not None and run is not None and place is not None:
            return work, run, place
        edited = _applied(edits, case)
        if work is None:
            work = self._works[own] = Work(self.subject(edited), {})
        if run is None:
            run = self._runs[served] = Run(self.operator(edited), {})
        if place is None:
            node = object_under(edited.node, edited.site, run.entity, self.packs.reads, self.facts.now).node
            place = self._places[case.node.id, theirs] = Place(edited.node, edited.site, node, {})
        return work, run, place

    def subject(self, case: Case) -> Subject:
        """The workload of a case, to Cedar."""
        facts = self._facts(case.decisions)
        return subject_of(case.workload, self.packs, facts, case.guardrails, self.packs.reads)

    def whole(self, case: Case) -> tuple[Subject, Object]:
        """A case as Cedar is asked it whole."""
        operator = self.operator(case)
        return self.subject(case), object_under(case.node, case.site, operator, self.packs.reads, self.facts.now)

    def operator(self, case: Case) -> Entity:
        """The operator of a case, to Cedar. Its holders are those of the fabric: an edit changes one operator only."""
        return operator_entity(case.operator, self.fabric.operators, self.facts, self.packs.reads, self.by_name)

    def question(self, case: Case) -> Question:
        return Question(
            workload=case.workload, node=case.node, site=case.site, operator=case.operator,
            operators=self.fabric.operators, facts=self.facts,
        )  # fmt: skip

    def _facts(self, decisions: tuple[Adequacy, ...]) -> FactsNow:
        if decisions not in self._with:
            self._with[decisions] = with_decisions(self.facts, decisions)
        return self._with[decisions]


def nearest_changes(
    workload: Workload,
    denied: Sequence[DeniedKind],
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
    world = _World(workload, fabric, packs, facts, guardrails)
    classes = _classes(workload, denied, world, guardrails)
    found = _least_sets(classes, world)
    nearest = sorted(found.items(), key=lambda item: (len(item[1]), max(e.who for e in item[1]), item[0]))
    sets = [edits for _, edits in nearest[:SETS_MAX]]
    changes = _undominated(list(zip(sets, _allows(sets, classes, world), strict=True)))[:CHANGES_MAX]
    _confirm([edits for edits, _ in changes], [nodes[0] for _, nodes in changes], classes, world)
    return tuple(_change(edits, nodes) for edits, nodes in changes)


def _classes(
    workload: Workload, denied: Sequence[DeniedKind], world: _World, guardrails: tuple[str, ...]
) -> tuple[_Denied, ...]:
    cases = []
    for one in denied:
        node = world.fabric.nodes[one.nodes[0]]
        site, operator = world.fabric.site_of(node), world.fabric.operator_of(node)
        cases.append(Case(workload=workload, node=node, site=site, operator=operator, guardrails=guardrails))
    spelt = [world.spelt(case, ()) for case in cases]
    for at, one in zip(spelt, denied, strict=True):
        world.rules.learn(at, one.answer)
    world.rules.ask((case, world.rules.needed_at_first(one.answer)) for case, one in zip(spelt, denied, strict=True))
    found = []
    for case, at, one in zip(cases, spelt, denied, strict=True):
        denying = tuple(rule for rule in world.in_force if rule.id in one.answer.rules)
        edits = {e.what: e for e in edits_for(case, world.question(case), denying, world.packs)}
        rules = world.rules.at_first(at, one.answer)
        found.append(_Denied(case=case, nodes=one.nodes, denying=rules, edits=tuple(edits.values()), helping={}))
    return tuple(found)


def _least_sets(classes: tuple[_Denied, ...], world: _World) -> dict[tuple[str, ...], EditSet]:
    """The least sets that help, class by class; all classes are asked together, one size after the other."""
    found: dict[tuple[str, ...], EditSet] = {}
    seen = [_Seen() for _ in classes]
    for size in range(1, EDITS_MAX + 1):
        for who in Who:
            # A class that has its least sets is done, but for what its owner can do alone.
            open_ = [
                at for at, one in enumerate(seen)
                if not any(len(s) < size for s in (one.own if who is Who.OWNER else one.sets))
            ]  # fmt: skip
            for at, places in _helping_sets(open_, classes, seen, _Reach(size=size, who=who), world):
                one = classes[at]
                (seen[at].own if who is Who.OWNER else seen[at].sets).append(places)
                if who is Who.OWNER:
                    seen[at].sets.append(places)
                edits = tuple(one.edits[place] for place in places)
                found.setdefault(tuple(sorted(e.what for e in edits)), edits)
            if len(found) >= SETS_MAX:
                return found
    return found


def _helping_sets(
    open_: Sequence[int], classes: tuple[_Denied, ...], seen: Sequence[_Seen], reach: _Reach, world: _World
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Every set as far as `reach` that helps one of the open classes, with the place of the class."""
    standing: list[_Standing] = [(at, (), classes[at].denying) for at in open_]
    for left in range(reach.size, 0, -1):
        grown: dict[tuple[int, tuple[int, ...]], None] = {}
        for one in standing:
            at, places, _ = one
            known = seen[at].sets
            for place in _next(classes[at], one, left, reach.who, world):
                larger = tuple(sorted((*places, place)))
                if not any(set(less) <= set(larger) for less in known):
                    grown[at, larger] = None
        tried = []
        for at, places in grown:
            edits = tuple(classes[at].edits[place] for place in places)
            tried.append((at, places, world.spelt(classes[at].case, edits), _touched(edits, world)))
        world.rules.ask((case, rules) for _, _, case, rules in tried)
        standing = [
            (at, places, world.rules.denying(case, rules, classes[at].denying)) for at, places, case, rules in tried
        ]
        if left == 1:
            for at, places, denying in standing:
                if not denying and max(classes[at].edits[place].who for place in places) is reach.who:
                    yield at, places
        standing = [one for one in standing if one[2]]


def _next(one: _Denied, standing: _Standing, left: int, who: Who, world: _World) -> tuple[int, ...]:
    """Edits one of which any helping set that contains these must contain; none if `left` more cannot suffice."""
    _, places, denying = standing
    choices = []
    for number in sorted(denying):
        if number not in one.helping:
            rules = world.rules.touching(number)
            one.helping[number] = tuple(
                at for at, edit in enumerate(one.edits)
                if rules & world.rules.touched(edit.touches) or (number == -2 and _drops_unknown(edit, world))
            )  # fmt: skip
        choices.append([at for at in one.helping[number] if at not in places and one.edits[at].who <= who])
    choices.sort(key=len)
    # Denials that share no edit need one each.
    apart: set[int] = set()
    needed = 0
    for some in choices:
        if not some:
            return ()
        if apart.isdisjoint(some):
            apart.update(some)
            needed += 1
    return tuple(choices[0]) if needed <= left else ()


def _drops_unknown(edit: Edit, world: _World) -> bool:
    return any(t.startswith("pack:") and t.removeprefix("pack:") not in world.packs.packs for t in edit.touches)


def _touched(edits: EditSet, world: _World) -> frozenset[int]:
    return frozenset().union(*(world.rules.touched(edit.touches) for edit in edits))


def _allows(sets: Sequence[EditSet], classes: tuple[_Denied, ...], world: _World) -> list[tuple[NodeId, ...]]:
    """The nodes that each set would allow, of all classes."""
    tried = []
    for number, edits in enumerate(sets):
        for one in classes:
            mine = tuple(e for e in edits if e.operator in (None, one.case.operator.id))
            if mine:
                tried.append((number, one, world.spelt(one.case, mine), _touched(mine, world)))
    world.rules.ask((case, rules) for _, _, case, rules in tried)
    allowed: list[list[NodeId]] = [[] for _ in sets]
    for number, one, case, rules in tried:
        if not world.rules.denying(case, rules, one.denying):
            allowed[number] += one.nodes
    return [tuple(sorted(nodes)) for nodes in allowed]


def _confirm(sets: Sequence[EditSet], nodes: Sequence[NodeId], classes: tuple[_Denied, ...], world: _World) -> None:
    """Ask Cedar whole what is going to be reported: what was put together rule by rule must be what all rules say."""
    home = {node: one.case for one in classes for node in one.nodes}
    cases = [_applied(edits, home[node]) for edits, node in zip(sets, nodes, strict=True)]
    for edits, answer in zip(sets, world.cedar.ask([world.whole(case) for case in cases]), strict=True):
        invariant(answer.is_allowed, f"a reported change must help: {[e.what for e in edits]}")


def _nearness(edits: EditSet) -> tuple[int, int, tuple[str, ...]]:
    return max(e.who for e in edits), sum(e.who for e in edits), tuple(e.what for e in edits)


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
    return Change(
        what=what[0].upper() + what[1:],
        target=TARGETS[max(e.who for e in edits)],
        allows=nodes,
        by=tuple(e.by for e in edits),
    )
