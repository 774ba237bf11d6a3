"""What a change of rules or facts would do, before anything is applied: `screening, screening, running -> diff`.

Only the verdicts are compared, class by class: two screenings of 5,000 workloads on 10,000 nodes are a few thousand
comparisons. A home is a node that the law allows; whether it has room, and what it costs, is for placement to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hanse.core.ids import Digest, NodeId, WorkloadId
from hanse.core.verdict import Reason
from hanse.policy.entities import Object, Subject
from hanse.policy.facts import Adequacy, Facts, Membership
from hanse.policy.packs import PackSet
from hanse.policy.screen import Screening

K = TypeVar("K")
Pair = tuple[WorkloadId, NodeId]
Classes = tuple[Digest, Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Workloads and nodes that are alike and whose verdict turns: each of these on each of those."""

    workloads: tuple[WorkloadId, ...]
    nodes: tuple[NodeId, ...]
    is_allowed: bool
    """The verdict after the change."""
    reasons: tuple[Reason, ...]
    """The rules that deny after the change, or that denied before it; worded for the first of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uprooted:
    """One workload that runs where it may not stay."""

    workload: WorkloadId
    node: NodeId
    homes: tuple[NodeId, ...]
    """Nodes that are allowed after the change, in id order; none means it would have to stop."""
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDiff:
    """Everything that changes, what runs first."""

    changes: tuple[str, ...]
    """Rules and facts that differ, one sentence each."""
    moves: tuple[Uprooted, ...]
    """What runs, and would have to move."""
    stops: tuple[Uprooted, ...]
    """What runs, and would have no legal home."""
    homeless: tuple[WorkloadId, ...]
    """Workloads, running or not, that had an allowed node and would have none."""
    housed: tuple[WorkloadId, ...]
    """Workloads that had none and would have one."""
    turns: tuple[Turn, ...]


def diff(before: Screening, after: Screening, running: Sequence[Pair]) -> PolicyDiff:
    """Compare two screenings of the same workloads and nodes. `running` are pairs of them that run now.

    Workloads or nodes that only one screening knows are left out: what appears or vanishes does not change verdict.
    """
    uprooted = [
        Uprooted(workload=work, node=node, homes=after.allowed(work), reasons=after.of(work, node).reasons)
        for work, node in sorted(set(running))
        if _knows(before, work, node) and _knows(after, work, node) and not after.allows(work, node)
    ]
    housed_before, housed_after = _housed(before), _housed(after)
    both = [work for work in before.subjects if work in after.subjects]
    return PolicyDiff(
        changes=(*rule_changes(before.packs, after.packs), *fact_changes(before.packs.facts, after.packs.facts)),
        moves=tuple(one for one in uprooted if one.homes),
        stops=tuple(one for one in uprooted if not one.homes),
        homeless=tuple(work for work in both if work in housed_before and work not in housed_after),
        housed=tuple(work for work in both if work not in housed_before and work in housed_after),
        turns=tuple(_turns(before, after)),
    )


def rule_changes(old: PackSet, new: PackSet) -> tuple[str, ...]:
    """Say which rules were added, removed or rewritten, in rule order."""
    was = {rule.id: rule for rule in old.rules_of(tuple(old.packs))}
    will = {rule.id: rule for rule in new.rules_of(tuple(new.packs))}
    said = []
    for id_ in sorted({*was, *will}):
        if id_ not in was:
            said.append(f"rule {id_} is added ({will[id_].file}:{will[id_].line})")
        elif id_ not in will:
            said.append(f"rule {id_} is removed (was {was[id_].file}:{was[id_].line})")
        elif was[id_].text != will[id_].text:
            said.append(f"rule {id_} is rewritten ({will[id_].file}:{will[id_].line})")
    return tuple(said)


def fact_changes(old: Facts, new: Facts) -> tuple[str, ...]:
    """Say which dated rows differ, in row order."""
    return tuple(
        [f"adequacy/{said}" for said in _rows({r.id: r for r in old.adequacy}, {r.id: r for r in new.adequacy})]
        + [f"bloc/{said}" for said in _rows(_named(old.memberships), _named(new.memberships))]
        + [f"country/{said}" for said in _rows(_texts(old), _texts(new))]
        + [f"regime/{said}" for said in _rows({r.name: r for r in old.regimes}, {r.name: r for r in new.regimes})]
        + [f"class/{said}" for said in _rows({c.name: c for c in old.classes}, {c.name: c for c in new.classes})]
    )


def _turns(before: Screening, after: Screening) -> Iterable[Turn]:
    subjects = _alike(before.subjects, after.subjects)
    objects = _alike(before.objects, after.objects)
    for (was_subject, is_subject), works in subjects.items():
        for (was_object, is_object), nodes in objects.items():
            was = before.cache.answers[was_subject][was_object].is_allowed
            will = after.cache.answers[is_subject][is_object].is_allowed
            if was != will:
                deny = before if will else after
                reasons = deny.of(works[0], nodes[0]).reasons
                yield Turn(workloads=tuple(works), nodes=tuple(nodes), is_allowed=will, reasons=reasons)


def _alike(before: Mapping[K, Subject | Object], after: Mapping[K, Subject | Object]) -> dict[Classes, list[K]]:
    """Group what both screenings know by the two classes it is in."""
    groups: dict[Classes, list[K]] = {}
    for id_, was in before.items():
        if id_ in after:
            groups.setdefault((was.key, after[id_].key), []).append(id_)
    return groups


def _housed(screening: Screening) -> frozenset[WorkloadId]:
    answers = screening.cache.answers
    open_ = {
        key
        for key in {subject.key for subject in screening.subjects.values()}
        if any(answer.is_allowed for answer in answers[key].values())
    }
    return frozenset(work for work, subject in screening.subjects.items() if subject.key in open_)


def _knows(screening: Screening, workload: WorkloadId, node: NodeId) -> bool:
    return workload in screening.subjects and node in screening.objects


def _named(rows: Sequence[Membership]) -> dict[str, Membership]:
    return {f"{row.bloc} ({', '.join(row.countries)})": row for row in rows}


def _texts(facts: Facts) -> dict[str, str]:
    return {str(code): name for code, name in facts.countries.items()}


def _rows(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    said = []
    for id_ in sorted({*old, *new}):
        if id_ not in old:
            said.append(f"{id_} is added{_dates(new[id_])}")
        elif id_ not in new:
            said.append(f"{id_} is removed")
        elif old[id_] != new[id_]:
            said.append(f"{id_} is changed{_dates(new[id_])}")
    return said


def _dates(row: object) -> str:
    if not isinstance(row, Adequacy | Membership) or row.since is None:
        return ""
    return f": from {row.since.isoformat()}" + (f" until {row.until.isoformat()}" if row.until else "")
