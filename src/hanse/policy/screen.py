"""Screen every workload against every node, class by class: `workloads, fabric, packs, now -> verdicts`.

Cedar runs once per (workload class, node class), and not at all where a cache of an earlier screening has the answer.
What a verdict says is spelt out only when it is asked for. It reads no clock: `now` decides which dated facts hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hanse.core.fabric import Fabric
from hanse.core.ids import Digest, NodeId, WorkloadId
from hanse.core.time import WallTime
from hanse.core.verdict import Change, Verdict
from hanse.core.work import Workload
from hanse.policy.changes import nearest_changes
from hanse.policy.control import control_reach
from hanse.policy.entities import Object, Subject, kind_of_node, kind_of_work, object_of, split_certificate, subject_of
from hanse.policy.errors import PolicyError
from hanse.policy.evaluate import Answer, Cedar
from hanse.policy.explain import Question, reasons_for
from hanse.policy.facts import FactsNow, boundaries, facts_at
from hanse.policy.packs import PackSet
from hanse.policy.rules import Rule
from hanse.wire.canonical import digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictCache:
    """Answers of one screening, to spare the next one asking Cedar again.

    A value, not a store: it holds what its screening used. An answer follows from the two classes alone, whose keys
    cover rules, adequacy and control, and from `law`; so whatever else changed is not asked again.
    """

    law: Digest
    """`FactsNow.law`; a cache of other countries, blocs or classes of data answers nothing."""
    answers: Mapping[tuple[Digest, Digest], Answer]


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
    lists: Mapping[Digest, tuple[NodeId, ...]] = field(repr=False)
    """Nodes allowed per class of workloads, in id order: one tuple shared by all of the class."""

    def of(self, workload: WorkloadId, node: NodeId) -> Verdict:
        """The verdict for one pair, with reasons. Raises KeyError for a pair that was not screened."""
        found = self.fabric.nodes[node]
        answer = self._answer(workload, node)
        question = Question(
            workload=self.workloads[workload], node=found, site=self.fabric.site_of(found),
            operator=self.fabric.operator_of(found), operators=self.fabric.operators, facts=self.facts,
        )  # fmt: skip
        return Verdict(
            workload=workload, node=node, is_allowed=answer.is_allowed,
            reasons=reasons_for(answer, question, self.packs, self.rules, self.subjects[workload].packs),
            valid_until_us=valid_until(question, regimes_of(self.packs, self.subjects[workload].packs)),
        )  # fmt: skip

    def allows(self, workload: WorkloadId, node: NodeId) -> bool:
        """Tell whether a pair is allowed, not why. Raises KeyError for a pair that was not screened."""
        return self._answer(workload, node).is_allowed

    def allowed(self, workload: WorkloadId) -> tuple[NodeId, ...]:
        """Nodes where the workload may run, in id order."""
        return self.lists[self.subjects[workload].key]

    def changes(self, workload: WorkloadId) -> tuple[Change, ...]:
        """Nearest changes that would allow more nodes, fewest edits first; each was tried on Cedar."""
        denied = tuple(self.fabric.nodes[node] for node in self.objects if not self._answer(workload, node).is_allowed)
        bound = guardrails_for(self.guardrails, self.workloads[workload].namespace)
        return nearest_changes(
            self.workloads[workload], denied,
            fabric=self.fabric, packs=self.packs, facts=self.facts, guardrails=bound,
        )  # fmt: skip

    def _answer(self, workload: WorkloadId, node: NodeId) -> Answer:
        return self.cache.answers[self.subjects[workload].key, self.objects[node].key]


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
    facts = facts_at(packs.facts, now)
    subjects = _subjects(workloads, packs, facts, guardrails)
    objects = _objects(fabric, packs, facts)
    key = digest_of([packs.digest, facts.digest])
    known = cache.answers if cache is not None and cache.law == facts.law else {}
    answers, asked = _answers(subjects, objects, known, Cedar(packs, facts))
    return Screening(
        workloads=workloads, fabric=fabric, packs=packs, facts=facts, guardrails=guardrails,
        subjects=subjects, objects=objects, asked=asked,
        digest=digest_of([key, {i: s.key for i, s in subjects.items()}, {i: o.key for i, o in objects.items()}]),
        next_change_us=_next_change(facts, fabric),
        cache=VerdictCache(law=facts.law, answers=MappingProxyType(answers)),
        rules={rule.id: rule for rule in packs.rules_of(tuple(packs.packs))},
        lists=_allowed_lists({subject.key for subject in subjects.values()}, objects, answers),
    )  # fmt: skip


def _allowed_lists(
    classes: set[Digest], objects: Mapping[NodeId, Object], answers: Mapping[tuple[Digest, Digest], Answer]
) -> Mapping[Digest, tuple[NodeId, ...]]:
    lists: dict[Digest, tuple[NodeId, ...]] = {}
    for subject in sorted(classes):
        allowed = {key for key in {obj.key for obj in objects.values()} if answers[subject, key].is_allowed}
        lists[subject] = tuple(node for node, obj in objects.items() if obj.key in allowed)
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
    return min((at for at in (*ahead, *expiries) if at is not None and at > facts.now), default=None)


def _subjects(
    workloads: Mapping[WorkloadId, Workload], packs: PackSet, facts: FactsNow, guardrails: tuple[str, ...]
) -> dict[WorkloadId, Subject]:
    """Describe each workload; workloads with equal namespace, data and demands are described once."""
    alike: dict[tuple[object, ...], Subject] = {}
    found: dict[WorkloadId, Subject] = {}
    for id_, work in sorted(workloads.items()):
        kind = kind_of_work(work, packs.reads)
        if kind not in alike:
            bound = guardrails_for(guardrails, work.namespace)
            alike[kind] = subject_of(work, packs, facts, bound, packs.reads)
        found[id_] = alike[kind]
    return found


def _objects(fabric: Fabric, packs: PackSet, facts: FactsNow) -> dict[NodeId, Object]:
    """Describe each node; nodes with equal country, operator, tier and grade are described once."""
    alike: dict[tuple[object, ...], Object] = {}
    found: dict[NodeId, Object] = {}
    for id_, node in sorted(fabric.nodes.items()):
        site = fabric.site_of(node)
        kind = kind_of_node(node, site, packs.reads)
        if kind not in alike:
            alike[kind] = object_of(
                node, site, fabric.operator_of(node), fabric.operators, facts=facts, reads=packs.reads
            )
        found[id_] = alike[kind]
    return found


def _answers(
    subjects: Mapping[WorkloadId, Subject],
    objects: Mapping[NodeId, Object],
    known: Mapping[tuple[Digest, Digest], Answer],
    cedar: Cedar,
) -> tuple[dict[tuple[Digest, Digest], Answer], int]:
    one_of_each = {s.key: s for s in subjects.values()}, {o.key: o for o in objects.values()}
    pairs = [(s, o) for s in one_of_each[0].values() for o in one_of_each[1].values()]
    answers = {(s.key, o.key): known[s.key, o.key] for s, o in pairs if (s.key, o.key) in known}
    missing = [(s, o) for s, o in pairs if (s.key, o.key) not in answers]
    for (s, o), answer in zip(missing, cedar.ask(missing), strict=True):
        answers[s.key, o.key] = answer
    return answers, len(missing)


def _next_change(facts: FactsNow, fabric: Fabric) -> WallTime | None:
    expiries = [
        until
        for operator in fabric.operators.values()
        for until in (split_certificate(c)[1] for c in (*operator.certificates, *operator.verified))
        if until is not None and until > facts.now
    ]
    return min([*expiries, *([facts.next_us] if facts.next_us is not None else [])], default=None)
