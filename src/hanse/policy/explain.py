"""Why: the rules that decided, as sentences with citations and the facts they read. `answer, spec, node -> reasons`.

The facts shown are those that the deciding rule reads, found in its syntax tree; the values in a sentence are of this
workload and this node, not of their class.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hanse.core.fabric import Grade, Node, Operator, Site
from hanse.core.ids import OperatorId
from hanse.core.time import WallTime, rfc3339
from hanse.core.verdict import FactRead, Reason
from hanse.core.work import Workload
from hanse.policy import evaluate
from hanse.policy.control import SECNUMCLOUD, control_reach, key_reach, secnumcloud
from hanse.policy.entities import attested_at, certificates_at, data_classes, in_union, split_certificate
from hanse.policy.facts import ASSURANCE_GRADE, Adequacy, FactsNow, Regime, at_midnight
from hanse.policy.location import grade_at, measured_at
from hanse.policy.packs import PackSet
from hanse.policy.rules import Rule
from hanse.policy.schema import SEAL_OBJECTIVES


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One workload on one node, with all that an explanation may mention."""

    workload: Workload
    node: Node
    site: Site
    operator: Operator
    operators: Mapping[OperatorId, Operator]
    facts: FactsNow


def reasons_for(
    answer: evaluate.Answer, question: Question, packs: PackSet, rules: Mapping[str, Rule], in_force: tuple[str, ...]
) -> tuple[Reason, ...]:
    """Spell out every rule that decided, in the answer's order.

    `rules` maps ids to rules; `in_force` names the packs asked. An allowance also shows the facts that the packs
    named by the spec or the domain read and found in order, because it rests on them.
    """
    about = {
        regimes: _values(question, regimes) for regimes in (rules[i].reads.regimes for i in answer.rules if i in rules)
    }
    reasons = tuple(
        _of_rule(rules[id_], question, about[rules[id_].reads.regimes])
        if id_ in rules
        else _of_wrapper(id_, answer, question, packs)
        for id_ in answer.rules
    )
    if not answer.is_allowed:
        return reasons
    named = tuple(name for name in in_force if name not in packs.always)
    rested = {fact for rule in packs.rules_of(named) for fact in facts_read(rule, question)}
    return tuple(replace(r, facts=_in_order(rested | set(r.facts))) for r in reasons)


def _of_rule(rule: Rule, question: Question, values: Mapping[str, str]) -> Reason:
    message = rule.message.format_map(values)
    facts = facts_read(rule, question)
    return Reason(rule=rule.id, cite=rule.cite, message=message, facts=facts, within_us=rule.within_us)


def _of_wrapper(id_: str, answer: evaluate.Answer, question: Question, packs: PackSet) -> Reason:
    """Word the denials that no written rule gives."""
    workload, node = question.workload, question.node
    match id_:
        case evaluate.DEFAULT_DENY:
            message = f"no rule permits {workload.id} on {node.id}, and what is not permitted is denied"
            return Reason(rule=id_, cite="hanse: deny by default", message=message)
        case evaluate.UNKNOWN_PACK:
            wrong = ", ".join(p for p in workload.sovereignty.packs if p not in packs.packs)
            message = f"{workload.id} names the pack {wrong}, which does not exist; there are {', '.join(packs.packs)}"
            return Reason(rule=id_, cite="spec: sovereignty.packs", message=message)
        case _:
            message = f"a rule could not be evaluated, which denies: {'; '.join(answer.errors)}"
            return Reason(rule=evaluate.ERROR_RULE, cite="hanse: an evaluation error is a denial", message=message)


def facts_read(rule: Rule, question: Question) -> tuple[FactRead, ...]:
    """Show the facts that a rule reads, for this node and this workload, in order of subject."""
    facts: list[FactRead] = []
    for path in sorted(rule.reads.paths):
        if path in _READERS:
            facts.extend(_READERS[path](question))
        elif path.startswith("resource.attested"):
            facts.append(_attested_fact(question))
        elif path.startswith("resource.measured"):
            facts.append(_measured_fact(question))
        elif path.startswith("resource.operator.seal."):
            facts.append(_seal_fact(question, path.rsplit(".", 1)[1]))
        elif path.startswith("principal#"):
            facts.extend(_adequacy_facts(question, path.removeprefix("principal#"), _countries_read(rule, question)))
    return _in_order(set(facts))


def _in_order(facts: set[FactRead]) -> tuple[FactRead, ...]:
    return tuple(sorted(facts, key=lambda fact: (fact.subject, fact.value, fact.until or "")))


def uncovered(question: Question, regimes: frozenset[str]) -> tuple[str, ...]:
    """Exporting countries of the workload's subjects from which no general decision covers the node's country."""
    missing = {
        exporter
        for regime in _of_names(question, regimes)
        for exporter in question.facts.exporters(regime, question.workload.data.subjects)
        if question.site.country not in question.facts.covered.get((exporter, "general"), {})
    }
    return tuple(sorted(missing))


def untrusted(question: Question, regimes: frozenset[str]) -> tuple[str, ...]:
    """Countries whose law reaches the operator and to which the workload's data may not flow freely."""
    free: set[str] | None = None
    for regime in _of_names(question, regimes):
        exporters = question.facts.exporters(regime, question.workload.data.subjects)
        if exporters:
            adequate = set(question.facts.adequate(exporters, "general"))
            free = adequate if free is None else free & adequate
    reach = [country for country, _ in control_reach(question.operator, question.operators)]
    return () if free is None else tuple(c for c in reach if c not in free)


def _of_names(question: Question, regimes: frozenset[str]) -> tuple[Regime, ...]:
    return tuple(regime for regime in question.facts.regimes if regime.name in regimes)


def _values(q: Question, regimes: frozenset[str]) -> dict[str, str]:
    reach = control_reach(q.operator, q.operators)
    own = q.workload.sovereignty
    excluded = sorted({str(c) for c in own.control_exclude} & {*(str(c) for c, _ in reach), str(q.site.country)})
    missed = untrusted(q, regimes)
    missing = _list(_blocs_first(q, uncovered(q, regimes)))
    named = {*excluded, *missed}
    paths = [path for country, path in reach if country in named] or [path for _, path in reach]
    values = {
        "workload": str(q.workload.id), "node": str(q.node.id), "site": str(q.site.id), "operator": str(q.operator.id),
        "country": _country(q, q.site.country), "seat": _country(q, q.operator.seat),
        "blocs": _list(q.facts.blocs.get(q.site.country, ())),
        "reach": _list([country for country, _ in reach]), "reach_paths": "; ".join(paths),
        "excluded": _list(excluded), "untrusted": _list(missed), "uncovered": missing,
        "location_only": _list(sorted(own.location_only)),
        "data": _list(data_classes(q.workload, q.facts)), "subjects": _list(sorted(q.workload.data.subjects)),
        "certificates": _list(certificates_at(q.operator, q.facts.now)),
        "attested": _attested_fact(q).value,
        "grade": str(own.grade), "operator_grade": str(int(q.operator.grade)),
        "node_grade": str(int(grade_at(q.node, q.facts.now))), "measured": _measured_fact(q).value,
        "min_cada": str(own.cada), "has_cada": str(q.operator.cada),
        "support": _list(sorted(q.operator.support)), "key_paths": _key_paths(q),
        "excludes": _list(sorted(str(c) for c in own.control_exclude)),
        "excluded_keys": _list([c for c, _ in key_reach(q.operator, q.operators) if c in own.control_exclude]),
        "secnumcloud": "; ".join(_missed(q)) or "nothing",
    }  # fmt: skip
    for objective in SEAL_OBJECTIVES:
        values[f"has_{objective}"] = str(q.operator.seal.get(objective, 0))
        values[f"min_{objective}"] = str(own.seal.get(objective, 0))
    return values


def _missed(q: Question) -> tuple[str, ...]:
    return secnumcloud(q.operator, q.operators, in_union(q.facts))


def _key_paths(q: Question) -> str:
    keys = key_reach(q.operator, q.operators)
    excluded = {str(c) for c in q.workload.sovereignty.control_exclude}
    return "; ".join([path for country, path in keys if country in excluded] or [path for _, path in keys]) or "none"


def _country(q: Question, code: str) -> str:
    name = {str(c): n for c, n in q.facts.facts.countries.items()}.get(code)
    return f"{name} ({code})" if name else code


def _blocs_first(q: Question, countries: tuple[str, ...]) -> tuple[str, ...]:
    """Say ``EEA`` instead of thirty countries, where a bloc is meant whole."""
    for bloc, members in sorted(q.facts.members.items(), key=lambda item: (-len(item[1]), item[0])):
        if members and set(members) <= set(countries):
            return (bloc, *(c for c in countries if c not in members))
    return countries


def _list(names: tuple[str, ...] | list[str] | list[str]) -> str:
    return ", ".join(names) if names else "none"


def _countries_read(rule: Rule, q: Question) -> tuple[str, ...]:
    reach = [str(country) for country, _ in control_reach(q.operator, q.operators)]
    location = [str(q.site.country)] if "resource.location" in rule.reads.paths else []
    return (*location, *(reach if "resource.operator.reach" in rule.reads.paths else []))


def _place_facts(q: Question) -> list[FactRead]:
    """Where the node says it is, as well founded as that is, and what landmarks found about it."""
    grade = int(grade_at(q.node, q.facts.now))
    return [
        FactRead(subject=f"node/{q.node.id}.site", value=str(q.site.id), grade=grade),
        FactRead(subject=f"site/{q.site.id}.country", value=str(q.site.country), grade=grade),
        *([] if measured_at(q.node, q.facts.now) is None else [_measured_fact(q)]),
    ]


def _control_facts(q: Question) -> list[FactRead]:
    reach = _list([country for country, _ in control_reach(q.operator, q.operators)])
    return [FactRead(subject=f"operator/{q.operator.id}.control", value=reach, grade=int(q.operator.grade))]


def _certificate_facts(q: Question) -> list[FactRead]:
    subject = f"operator/{q.operator.id}.certificates"
    dated = [(name, c) for c in sorted(q.operator.certificates) for name, _ in [split_certificate(c)]]
    if not dated:
        return [FactRead(subject=subject, value="none", grade=int(q.operator.grade))]
    return [
        FactRead(subject=subject, value=name, grade=int(q.operator.grade), until=text.partition("@")[2] or None)
        for name, text in dated
    ]


def _verified_facts(q: Question) -> list[FactRead]:
    """A credential is of grade 2 by itself: a third party signed it."""
    dated = [(split_certificate(c)[0], c.partition("@")[2] or None) for c in sorted(q.operator.verified)]
    subject = f"operator/{q.operator.id}.verified"
    return [FactRead(subject=subject, value=name, grade=2, until=until) for name, until in dated]


def _attested_fact(q: Question) -> FactRead:
    """What evidence shows now, with the mark of simulated evidence, and until when."""
    subject, found = f"node/{q.node.id}.attested", attested_at(q.node, q.facts.now)
    if found is None:
        ended = "" if q.node.attested is None else f" since {rfc3339(WallTime(q.node.attested.until_us))}"
        return FactRead(subject=subject, value=f"nothing{ended}", grade=int(Grade.CLAIMED))
    matched = f", as {_list(found.references)}" if found.references else ""
    advisories = f", open: {_list(found.advisories)}" if found.advisories else ""
    why = f", {found.reason}" if found.reason else ""
    # Results are renewed every few minutes: their end is in the record of the node, not in a reason to place work.
    return FactRead(subject=subject, value=f"{found.label}{matched}{advisories}{why}", grade=int(Grade.ATTESTED))


def _measured_fact(q: Question) -> FactRead:
    """What landmarks found about the place it claims. Like an attestation it is renewed too often to show its end."""
    subject, found = f"node/{q.node.id}.measured", measured_at(q.node, q.facts.now)
    if found is None:
        return FactRead(subject=subject, value="by no landmark", grade=int(Grade.CLAIMED))
    value = found.contradiction or f"{found.label} of {q.site.place.city}, by {_list(found.landmarks)}"
    return FactRead(subject=subject, value=value, grade=int(Grade.MEASURED))


def _key_facts(q: Question) -> list[FactRead]:
    held = _list([f"{one.name} ({one.country})" for one in q.operator.key_holders])
    return [FactRead(subject=f"operator/{q.operator.id}.keys", value=held, grade=int(q.operator.grade))]


def _support_facts(q: Question) -> list[FactRead]:
    value = _list(sorted(q.operator.support))
    return [FactRead(subject=f"operator/{q.operator.id}.support", value=value, grade=int(q.operator.grade))]


def _tests_facts(q: Question) -> list[FactRead]:
    missed = _missed(q)
    subject, grade = f"operator/{q.operator.id}.{SECNUMCLOUD}", int(q.operator.grade)
    return [FactRead(subject=subject, value=one, grade=grade) for one in missed or ("passed",)]


def _cada_facts(q: Question) -> list[FactRead]:
    subject = f"operator/{q.operator.id}.cada"
    return [FactRead(subject=subject, value=str(q.operator.cada), grade=int(q.operator.grade))]


def _seal_fact(q: Question, objective: str) -> FactRead:
    level = str(q.operator.seal.get(objective, 0))
    return FactRead(subject=f"operator/{q.operator.id}.seal.{objective}", value=level, grade=int(q.operator.grade))


def _adequacy_facts(q: Question, tag: str, countries: tuple[str, ...]) -> list[FactRead]:
    """The rows behind a tag: those in force for these countries, and those known but not usable now."""
    name, _, scope = tag.partition(":")
    exporters = {e for r in _of_names(q, frozenset((name,))) for e in q.facts.exporters(r, q.workload.data.subjects)}
    used = {
        row.id: row
        for exporter in sorted(exporters)
        for country in countries
        if (row := q.facts.covered.get((exporter, scope), {}).get(country)) is not None
    }
    territory = {e for r in _of_names(q, frozenset((name,))) for e in q.facts.expand(r.exporters) or ()}
    about = [
        row
        for row in q.facts.facts.adequacy
        if row.scope == scope
        and set(countries) & set(row.importers)
        and territory & set(q.facts.expand(row.exporters) or ())
    ]
    return [_row_fact(row, row.cite) for row in used.values()] + [
        _row_fact(row, _why_not(row, q.facts)) for row in about if row.id not in used
    ]


def _row_fact(row: Adequacy, value: str) -> FactRead:
    until = None if row.until is None else row.until.isoformat()
    return FactRead(
        subject=f"adequacy/{row.id}",
        value=value,
        grade=ASSURANCE_GRADE[row.assurance],
        until=until,
        as_of=row.as_of.isoformat() if row.as_of > datetime.date.min else None,
    )


def _why_not(row: Adequacy, facts: FactsNow) -> str:
    if row.assurance == "unverified":
        return f"unverified, so never a basis: {row.cite}"
    if row.usable_from is not None and facts.now < at_midnight(row.usable_from):
        why = "" if row.usable_from == row.since else " (since when it holds is unverified)"
        return f"not before {row.usable_from.isoformat()}{why}: {row.cite}"
    if row.until is not None and facts.now >= at_midnight(row.until):
        return f"ended: {row.cite}"
    return f"not for these subjects: {row.cite}"


_READERS: Mapping[str, Callable[[Question], list[FactRead]]] = {
    "resource.location": _place_facts,
    "resource.grade": lambda q: [
        FactRead(
            subject=f"node/{q.node.id}.grade",
            value=str(int(grade_at(q.node, q.facts.now))),
            grade=int(grade_at(q.node, q.facts.now)),
        ),
        *([] if measured_at(q.node, q.facts.now) is None else [_measured_fact(q)]),
    ],
    "resource.operator.key_reach": _key_facts,
    "resource.operator.support": _support_facts,
    "resource.operator.passes": _tests_facts,
    "resource.operator.cada": _cada_facts,
    "resource.operator.reach": _control_facts,
    "resource.operator.controlled_within": _control_facts,
    "resource.operator.seat": lambda q: [
        FactRead(subject=f"operator/{q.operator.id}.seat", value=str(q.operator.seat), grade=int(q.operator.grade))
    ],
    "resource.operator.grade": lambda q: [
        FactRead(
            subject=f"operator/{q.operator.id}.grade", value=str(int(q.operator.grade)), grade=int(q.operator.grade)
        )
    ],
    "resource.operator.certificates": _certificate_facts,
    "resource.operator.verified": _verified_facts,
}
