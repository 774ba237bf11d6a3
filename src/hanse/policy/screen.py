"""Screen every workload against every node, class by class: `workloads, fabric, packs, now -> verdicts`.

Cedar runs once per (workload class, node class), and not at all where a cache of an earlier screening has the answer.
What a verdict says is spelt out only when it is asked for. It reads no clock: `now` decides which dated facts hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hanse.core.fabric import Fabric, Operator
from hanse.core.ids import Digest, NodeId, OperatorId, WorkloadId
from hanse.core.time import WallTime
from hanse.core.verdict import DENIED_BECAUSE, Change, FactRead, Verdict
from hanse.core.work import Workload
from hanse.policy.changes import DeniedKind, nearest_changes
from hanse.policy.classes import NodeKinds, WorkKinds, node_kinds, work_kinds
from hanse.policy.control import control_reach, holders_by_name
from hanse.policy.entities import (
    Entity,
    Object,
    Subject,
    object_under,
    operator_entity,
    split_certificate,
    subject_of,
)
from hanse.policy.errors import PolicyError
from hanse.policy.evaluate import Answer, Cedar
from hanse.policy.explain import Question, reasons_for
from hanse.policy.facts import FactsNow, boundaries, facts_at
from hanse.policy.location import ends_of
from hanse.policy.packs import PackSet
from hanse.policy.rules import Rule
from hanse.wire.canonical import digest_of

Rows = Mapping[Digest, Mapping[Digest, Answer]]
"""Answers by class of workloads, then by class of nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictCache:
    """What one screening found, to spare the next one sorting, describing and asking Cedar again.

    A value, not a store: it holds what its screening used. An answer follows from the two classes alone, whose keys
    cover rules, adequacy and control, and from the law; so whatever else changed is not asked again.
    """

    facts: FactsNow
    """Of other countries, blocs or classes of data (`FactsNow.law`) a cache answers nothing."""
    answers: Rows
    cedar: Cedar = field(repr=False, compare=False)
    """With what it parsed; derived from the rules and the law alone."""
    rules: Digest
    """Of the packs and guardrails that the subjects were described under."""
    works: WorkKinds
    subjects: tuple[Subject, ...]
    """Per kind of workloads."""
    nodes: NodeKinds
    lists: Mapping[Digest, AllowedList]
    """Nodes allowed, per class of workloads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedList:
    """Nodes allowed for one class of workloads, and the verdict per kind of nodes that it was made of."""

    by_kind: bytes
    nodes: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """Every verdict of one screening; implements `hanse.core.verdict.Verdicts`."""

    workloads: Mapping[WorkloadId, Workload]
    fabric: Fabric
    packs: PackSet
    facts: FactsNow
    guardrails: tuple[str, ...]
    digest: Digest
    """Of everything that decided: rules, guardrails, dated facts in force, and the classes of workloads and nodes."""
    next_change_us: WallTime | None
    """The next wall time at which a dated fact or certificate begins or ends; None if nothing is dated."""
    cache: VerdictCache
    """Pass it to the next `screen` call."""
    asked: int
    """How many answers came from Cedar and not from the cache given."""
    subjects: Mapping[WorkloadId, Subject] = field(repr=False)
    objects: Mapping[NodeId, Object] = field(repr=False)
    rules: Mapping[str, Rule] = field(repr=False)
    turned: Mapping[tuple[WorkloadId, NodeId], tuple[str, ...]] = field(default_factory=dict)
    """Of running pairs that lost their ground: what changed when they did (`hanse.policy.causes`)."""

    def of(self, workload: WorkloadId, node: NodeId) -> Verdict:
        """The verdict for one pair, with reasons. Raises KeyError for a pair that was not screened."""
        found = self.fabric.nodes[node]
        answer = self._answer(workload, node)
        question = Question(
            workload=self.workloads[workload], node=found, site=self.fabric.site_of(found),
            operator=self.fabric.operator_of(found), operators=self.fabric.operators, facts=self.facts,
        )  # fmt: skip
        reasons = reasons_for(answer, question, self.packs, self.rules, self.subjects[workload].packs)
        because = tuple(FactRead(subject=DENIED_BECAUSE, value=one) for one in self.turned.get((workload, node), ()))
        if because and not answer.is_allowed:
            reasons = tuple(replace(reason, facts=(*reason.facts, *because)) for reason in reasons)
        return Verdict(
            workload=workload, node=node, is_allowed=answer.is_allowed, reasons=reasons,
            valid_until_us=valid_until(question, regimes_of(self.packs, self.subjects[workload].packs)),
        )  # fmt: skip

    def allows(self, workload: WorkloadId, node: NodeId) -> bool:
        """Tell whether a pair is allowed, not why. Raises KeyError for a pair that was not screened."""
        return self._answer(workload, node).is_allowed

    def allowed(self, workload: WorkloadId) -> tuple[NodeId, ...]:
        """Nodes where the workload may run, in id order: one tuple shared by all workloads of a class."""
        return self.cache.lists[self.subjects[workload].key].nodes

    def changes(self, workload: WorkloadId) -> tuple[Change, ...]:
        """Nearest changes that would allow more nodes, fewest edits first; each was tried on Cedar."""
        return self._changes(workload, self.cache.nodes.kinds.by_kind)

    def changes_on(self, workload: WorkloadId, node: NodeId) -> tuple[Change, ...]:
        """Nearest changes that would allow this one node; none if it is allowed. Raises KeyError as `of` does."""
        return self._changes(workload, ((self.fabric.nodes[node].id,),))

    def _changes(self, workload: WorkloadId, groups: Sequence[tuple[NodeId, ...]]) -> tuple[Change, ...]:
        denied = [
            DeniedKind(nodes=nodes, answer=answer)
            for nodes in groups
            if not (answer := self._answer(workload, nodes[0])).is_allowed
        ]
        return nearest_changes(
            self.workloads[workload], denied, fabric=self.fabric, packs=self.packs, facts=self.facts,
            guardrails=guardrails_for(self.guardrails, self.workloads[workload].namespace),
        )  # fmt: skip

    def _answer(self, workload: WorkloadId, node: NodeId) -> Answer:
        return self.cache.answers[self.subjects[workload].key][self.objects[node].key]


def screen(
    workloads: Mapping[WorkloadId, Workload],
    fabric: Fabric,
    packs: PackSet,
    now: WallTime,
    cache: VerdictCache | None = None,
    *,
    guardrails: tuple[str, ...] = (),
) -> Screening:
    """Screen each workload against each node.

    `guardrails` are packs that the domain binds whatever the specs say: ``gdpr`` for every namespace, ``clinic:gdpr``
    for one. They and the specs' own packs add up; rules only narrow, so no spec escapes a guardrail. Raises
    PolicyError if a guardrail names no pack; a spec that does is denied everywhere with ``policy.unknown-pack``.
    """
    check_guardrails(packs, guardrails)
    facts = _facts(packs, now, cache)
    works = work_kinds(workloads, packs.reads, None if cache is None else cache.works)
    nodes = node_kinds(fabric, packs.reads, now, None if cache is None else cache.nodes)
    rules = digest_of([packs.digest, guardrails])
    is_known = cache is not None and (cache.rules, cache.facts.digest) == (rules, facts.digest) and cache.works is works
    subjects = cache.subjects if cache is not None and is_known else _subjects(works, packs, facts, guardrails)
    objects = _objects(nodes, fabric, packs, facts)
    known: Rows = cache.answers if cache is not None and cache.facts.law == facts.law else {}
    cedar = cache.cedar if cache is not None and is_known else Cedar(packs, facts)
    answers, asked = _answers(subjects, objects, known, cedar)
    subject_keys, object_keys = tuple(s.key for s in subjects), tuple(o.key for o in objects)
    lists = _allowed_lists(subject_keys, object_keys, answers, nodes, cache)
    classes = works.kinds.digest_of_classes(subject_keys), nodes.kinds.digest_of_classes(object_keys)
    return Screening(
        workloads=workloads, fabric=fabric, packs=packs, facts=facts, guardrails=guardrails, asked=asked,
        subjects=dict(zip(works.kinds.ids, map(subjects.__getitem__, works.kinds.kind_of), strict=True)),
        objects=dict(zip(nodes.kinds.ids, map(objects.__getitem__, nodes.kinds.kind_of), strict=True)),
        digest=digest_of([packs.digest, facts.digest, *classes]),
        next_change_us=_next_change(facts, fabric, nodes.next_us),
        cache=VerdictCache(
            facts=facts, answers=MappingProxyType(answers), cedar=cedar, rules=rules, works=works, subjects=subjects,
            nodes=nodes, lists=MappingProxyType(lists),
        ),
        rules={rule.id: rule for rule in packs.rules_of(tuple(packs.packs))},
    )  # fmt: skip


def _facts(packs: PackSet, now: WallTime, cache: VerdictCache | None) -> FactsNow:
    """The facts at `now`; between two dates they are those of the last screening."""
    last = None if cache is None else cache.facts
    if last is None or last.facts is not packs.facts or now < last.now:
        return facts_at(packs.facts, now)
    return facts_at(packs.facts, now) if last.next_us is not None and now >= last.next_us else replace(last, now=now)


def _allowed_lists(
    subjects: tuple[Digest, ...],
    objects: tuple[Digest, ...],
    answers: Rows,
    nodes: NodeKinds,
    last: VerdictCache | None,
) -> dict[Digest, AllowedList]:
    """One list per class of workloads; the last one where its nodes and every verdict are the same."""
    before = last.lists if last is not None and last.nodes is nodes else {}
    lists: dict[Digest, AllowedList] = {}
    for subject in sorted(set(subjects)):
        row = answers[subject]
        by_kind = bytes(row[key].is_allowed for key in objects)
        known = before.get(subject)
        if known is not None and known.by_kind == by_kind:
            lists[subject] = known
        else:
            lists[subject] = AllowedList(by_kind=by_kind, nodes=nodes.kinds.members(by_kind))
    return lists


def guardrails_for(guardrails: tuple[str, ...], namespace: str) -> tuple[str, ...]:
    """Packs that the domain binds to one namespace, in the order given."""
    split = [(g.rpartition(":")[0], g.rpartition(":")[2]) for g in guardrails]
    return tuple(pack for bound, pack in split if bound in ("", namespace))


def check_guardrails(packs: PackSet, guardrails: tuple[str, ...]) -> None:
    """Raise PolicyError if a guardrail names a pack that is not there: a misspelt fence is no fence."""
    for guardrail in guardrails:
        if guardrail.rpartition(":")[2] not in packs.packs:
            raise PolicyError(f"guardrail {guardrail!r} names no pack", hint=f"one of {', '.join(packs.packs)}")


def regimes_of(packs: PackSet, in_force: tuple[str, ...]) -> frozenset[str]:
    """Names of the regimes that the rules of these packs are about."""
    return frozenset(name for rule in packs.rules_of(in_force) for name in rule.reads.regimes)


def valid_until(question: Question, regimes: frozenset[str]) -> WallTime | None:
    """The next date that may change this one verdict.

    Of one of these regimes, of a decision under them on the node's country or on one whose law reaches its operator, of
    any membership of a bloc, or of one of the operator's certificates.
    """
    facts = question.facts
    concerned = [regime for regime in facts.facts.regimes if regime.name in regimes]
    territory = {country for regime in concerned for country in facts.expand(regime.exporters) or ()}
    about = {str(c) for c, _ in control_reach(question.operator, question.operators)} | {str(question.site.country)}
    decisions = [
        row
        for row in facts.facts.adequacy
        if about & set(facts.expand(row.importers) or ()) and territory & set(facts.expand(row.exporters) or ())
    ]
    ahead = boundaries((*facts.facts.memberships, *decisions, *concerned))
    held = (*question.operator.certificates, *question.operator.verified)
    expiries = [split_certificate(c)[1] for c in held]
    evidence = None if question.node.attested is None else WallTime(question.node.attested.until_us)
    ends = (*ahead, *expiries, evidence, *ends_of((question.node,)))
    return min((at for at in ends if at is not None and at > facts.now), default=None)


def _subjects(works: WorkKinds, packs: PackSet, facts: FactsNow, guardrails: tuple[str, ...]) -> tuple[Subject, ...]:
    """Describe one workload of each kind."""
    first = (works.workloads[id_] for id_ in works.kinds.first)
    return tuple(
        subject_of(work, packs, facts, guardrails_for(guardrails, work.namespace), packs.reads) for work in first
    )


def _objects(nodes: NodeKinds, fabric: Fabric, packs: PackSet, facts: FactsNow) -> tuple[Object, ...]:
    """Describe one node of each kind; an operator is described once for all nodes of one of its services."""
    by_name = holders_by_name(fabric.operators)
    described: dict[tuple[OperatorId, str], Entity] = {}
    found: list[Object] = []
    for id_ in nodes.kinds.first:
        node = fabric.nodes[id_]
        served = node.operator, node.service
        if served not in described:
            operator = fabric.operator_of(node)
            described[served] = operator_entity(operator, fabric.operators, facts, packs.reads, by_name)
        found.append(object_under(node, fabric.site_of(node), described[served], packs.reads, facts.now))
    return tuple(found)


def _answers(
    subjects: tuple[Subject, ...], objects: tuple[Object, ...], known: Rows, cedar: Cedar
) -> tuple[dict[Digest, Mapping[Digest, Answer]], int]:
    """A row per class of workloads, from what is known and, asked in one batch, from Cedar."""
    one_of_each = {s.key: s for s in subjects}, {o.key: o for o in objects}
    rows: dict[Digest, dict[Digest, Answer]] = {}
    missing: list[tuple[Subject, Object]] = []
    for key, subject in one_of_each[0].items():
        row = known.get(key, {})
        rows[key] = {obj: row[obj] for obj in one_of_each[1] if obj in row}
        if len(rows[key]) < len(one_of_each[1]):
            missing += [(subject, obj) for other, obj in one_of_each[1].items() if other not in row]
    for (subject, obj), answer in zip(missing, cedar.ask(missing), strict=True):
        rows[subject.key][obj.key] = answer
    return dict(rows), len(missing)


def held_by(operator: Operator) -> tuple[str, ...]:
    """Every certificate of an operator and of its services, as it is written."""
    return (*operator.certificates, *operator.verified, *(c for offer in operator.offers for c in offer.certificates))


def _next_change(facts: FactsNow, fabric: Fabric, evidence_us: WallTime | None) -> WallTime | None:
    expiries = [
        until
        for operator in fabric.operators.values()
        for until in (split_certificate(c)[1] for c in held_by(operator))
        if until is not None and until > facts.now
    ]
    return min((at for at in (*expiries, facts.next_us, evidence_us) if at is not None), default=None)
