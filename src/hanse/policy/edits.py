"""Single edits that might turn a denial: to the spec, to a fact, to a guardrail. `case -> edits`.

An edit is a sentence, who may make it, and a pure change of the case; whether it helps is for Cedar to say. Law is
not for the owner of a workload to waive: a pack that states law is never dropped from a spec, only the data that
brings it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from hanse.core.fabric import Attested, Grade, KeyHolder, Node, Operator, Parent, Site
from hanse.core.ids import OperatorId
from hanse.core.time import WallTime, to_datetime
from hanse.core.work import Isolation, Reuse, Sovereignty, Workload
from hanse.policy.control import MAJORITY_PERMILLE, has_control, secnumcloud
from hanse.policy.entities import BEST_MEASURED, best_evidence, certificates_at, in_union
from hanse.policy.explain import Question, uncovered, untrusted
from hanse.policy.facts import Adequacy, FactsNow
from hanse.policy.location import grade_at
from hanse.policy.packs import PackSet
from hanse.policy.rules import Rule
from hanse.policy.schema import SEAL_OBJECTIVES


class Who(IntEnum):
    """Who may make an edit, nearest first."""

    OWNER = 0
    OPERATOR = 1
    LEGISLATOR = 2
    DOMAIN = 3


_DATA = frozenset({"data"})

TARGETS = {Who.OWNER: "spec", Who.OPERATOR: "fact", Who.LEGISLATOR: "fact", Who.DOMAIN: "rule"}
"""How `hanse.core.verdict.Change.target` names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that an edit may change: one workload on one node, with the guardrails and extra decisions in force."""

    workload: Workload
    node: Node
    site: Site
    operator: Operator
    guardrails: tuple[str, ...]
    decisions: tuple[Adequacy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One edit: a unique imperative sentence, who may make it, and the change itself; no-op where it does not apply.

    Edits are made to be combined: whatever order two of them are applied in, the case is the same.
    """

    what: str
    who: Who
    touches: frozenset[str]
    """What it may change, so that no rule that reads nothing of it is asked again: paths as rules read them
    (``resource.operator.seal.legal``), ``pack:NAME``, ``data`` (classes and subjects) or ``decisions``."""
    apply: Callable[[Case], Case]
    operator: OperatorId | None = None
    """The operator whose facts it changes; None where it changes no operator's and no node's."""

    @property
    def by(self) -> str:
        """Who may make it, for people."""
        return f"operator {self.operator}" if self.who is Who.OPERATOR else self.who.name.lower()


def edits_for(case: Case, question: Question, denying: tuple[Rule, ...], packs: PackSet) -> Iterator[Edit]:
    """Every single edit worth trying against these denying rules."""
    paths = {path for rule in denying for path in rule.reads.paths}
    yield from _packs(case, packs)
    yield from _demands(case, paths, question.facts.now)
    if any(path.startswith("principal#") or path == "principal.subjects" for path in paths):
        yield from _data(case, question.facts)
        yield from _decisions(case, question, denying)
    yield from _operator(case, paths)
    yield from _keys_and_support(case, paths)
    yield from _tests(case, paths, question)
    yield from _grades(case, paths, question.facts.now)
    yield from _evidence(case, paths, packs)
    yield from _measurement(case, paths)
    yield from _certificates(case, denying, question.facts)


def _packs(case: Case, packs: PackSet) -> Iterator[Edit]:
    for pack in case.workload.sovereignty.packs:
        if pack not in packs.packs:
            what = f"remove the pack {pack} from sovereignty.packs: it does not exist"
            yield _spec(what, f"pack:{pack}", _without_pack(pack))
        elif packs.packs[pack].meta.basis == "choice" and pack not in case.guardrails:
            yield _spec(f"remove the pack {pack} from sovereignty.packs", f"pack:{pack}", _without_pack(pack))
    for pack in case.guardrails:
        law = ", which states law, so only on another legal basis" if packs.packs[pack].meta.basis == "law" else ""
        what = f"have the domain lift its guardrail {pack} for namespace {case.workload.namespace}{law}"
        touches = frozenset({f"pack:{pack}"})
        yield Edit(what=what, who=Who.DOMAIN, touches=touches, apply=_without_guardrail(pack))


def _demands(case: Case, paths: set[str], now: WallTime) -> Iterator[Edit]:
    own = case.workload.sovereignty
    if "principal.control_exclude" in paths:
        for country in sorted(own.control_exclude):
            what = f"remove {country} from sovereignty.control.exclude"
            yield _spec(what, "principal.control_exclude", _without_excluded(country))
    if "principal.location_only" in paths:
        country = case.site.country
        verb = f"add {country} to" if own.location_only else f"state {country} in"
        yield _spec(f"{verb} sovereignty.location.only", "principal.location_only", _with_location(country))
    for objective in SEAL_OBJECTIVES:
        least, level = own.seal.get(objective, 0), case.operator.seal.get(objective, 0)
        if f"principal.seal.{objective}" in paths and level < least:
            what = f"lower sovereignty.seal.{objective} from {least} to {level}"
            yield _spec(what, f"principal.seal.{objective}", _seal_minimum(objective, level))
            what = f"have {case.operator.id} raise its SEAL level for {objective} from {level} to {least}"
            yield _on_operator(case, what, {f"resource.operator.seal.{objective}"}, _seal_level(objective, least))
    if "principal.cada" in paths and case.operator.cada < own.cada:
        asked, held = own.cada, case.operator.cada
        what = f"lower sovereignty.cada from {asked} to {held}"
        yield _spec(what, "principal.cada", lambda own: replace(own, cada=min(own.cada, held)))
        what = f"have {case.operator.id} audited for CADA level {asked} (it has {held})"
        yield _on_operator(case, what, {"resource.operator.cada"}, _cada_level(asked))
    if "principal.reuses_instances" in paths and case.workload.reuse.count > 1:
        what = "set reuse.count to 1: a fresh instance for each request"
        touches = frozenset({"principal.reuses_instances"})
        yield Edit(what=what, who=Who.OWNER, touches=touches, apply=_without_reuse)
    if "principal.isolation" in paths and case.workload.isolation is not Isolation.PROCESS:
        what = "set isolation to process: a worker process of its own, behind Landlock and seccomp"
        yield Edit(what=what, who=Who.OWNER, touches=frozenset({"principal.isolation"}), apply=_in_process)
    reached = min(grade_at(case.node, now), case.operator.grade)
    if "principal.grade" in paths and reached < own.grade:
        what = f"lower sovereignty.grade from {own.grade} to {int(reached)}"
        yield _spec(what, "principal.grade", lambda own: replace(own, grade=min(own.grade, int(reached))))


def _data(case: Case, facts: FactsNow) -> Iterator[Edit]:
    data = case.workload.data
    for name in sorted(data.classes):
        what = f"remove {name} from data.classes, if the workload can do without {name} data"
        yield Edit(what=what, who=Who.OWNER, touches=_DATA, apply=_without_class(name))
    for name in sorted(data.subjects):
        members = set(facts.members.get(name, ()))
        for narrower, inside in facts.members.items():
            if inside and set(inside) < members:
                what = f"state data.subjects {narrower} instead of {name}, if no other people are concerned"
                yield Edit(what=what, who=Who.OWNER, touches=_DATA, apply=_narrower_subjects(name, narrower))
        if len(data.subjects) > 1:
            what = f"remove {name} from data.subjects, if none of them are concerned"
            yield Edit(what=what, who=Who.OWNER, touches=_DATA, apply=_without_subjects(name))


def _decisions(case: Case, question: Question, denying: tuple[Rule, ...]) -> Iterator[Edit]:
    about = frozenset(name for rule in denying for name in rule.reads.regimes)
    foreign = {str(case.site.country)} if uncovered(question, about) else set()
    for country in sorted(foreign | set(untrusted(question, about))):
        for regime in (r for r in question.facts.regimes if r.name in about):
            exporters = question.facts.exporters(regime, case.workload.data.subjects)
            if exporters:
                what = f"wait for an adequacy decision under {regime.name} that covers {country}"
                apply = _decision(regime.name, exporters, country, question.facts.now)
                yield Edit(what=what, who=Who.LEGISLATOR, touches=frozenset({"decisions"}), apply=apply)


def _operator(case: Case, paths: set[str]) -> Iterator[Edit]:
    if not {"resource.operator.reach", "resource.operator.controlled_within"} & paths:
        return
    for parent in case.operator.parents:
        if has_control(parent):
            what = f"have {parent.name} ({parent.country}) give up control of {case.operator.id}: no veto, at most half"
            touches = {"resource.operator.reach", "resource.operator.controlled_within", "resource.operator.passes"}
            yield _on_operator(case, what, touches, _without_control(parent))


def _keys_and_support(case: Case, paths: set[str]) -> Iterator[Edit]:
    if "resource.operator.key_reach" in paths:
        for holder in case.operator.key_holders:
            what = f"have {case.operator.id} take its keys from {holder.name} ({holder.country})"
            touches = {"resource.operator.key_reach", "resource.operator.passes"}
            yield _on_operator(case, what, touches, _without_key_holder(holder))
    if "resource.operator.support" in paths:
        for country in sorted(case.operator.support):
            what = f"have {case.operator.id} give up support from {country}"
            touches = {"resource.operator.support", "resource.operator.passes"}
            yield _on_operator(case, what, touches, _without_support(country))


def _tests(case: Case, paths: set[str], question: Question) -> Iterator[Edit]:
    """One edit for all that a rule set about control asks: its parts help only together."""
    is_inside = in_union(question.facts)
    if "resource.operator.passes" not in paths or not is_inside(case.operator.seat):
        return
    if secnumcloud(case.operator, question.operators, is_inside):
        what = (
            f"have {case.operator.id} meet SecNumCloud 3.2 section 19.6: holders from outside the Union at most 24 % "
            "each, 39 % together and without a veto, keys and support inside"
        )
        names = ("passes", "reach", "controlled_within", "key_reach", "support")
        yield _on_operator(case, what, {f"resource.operator.{name}" for name in names}, _inside_only)


def _measurement(case: Case, paths: set[str]) -> Iterator[Edit]:
    if any(path.startswith("resource.measured") for path in paths):
        where = f"{case.operator.id}'s nodes in {case.site.country}"
        what = f"have landmarks of the domain find {where} where they claim to be"
        touches, apply = frozenset({"resource.measured", "resource.grade"}), _measured(case)
        yield Edit(what=what, who=Who.OPERATOR, touches=touches, apply=apply, operator=case.operator.id)


def _grades(case: Case, paths: set[str], now: WallTime) -> Iterator[Edit]:
    wanted = case.workload.sovereignty.grade if "principal.grade" in paths else 0
    if "resource.grade" in paths and grade_at(case.node, now) < wanted:
        where = f"{case.operator.id}'s nodes in {case.site.country}"
        what = f"raise the grade of the facts about {where} from {int(grade_at(case.node, now))} to {wanted}"
        touches = frozenset({"resource.grade", "resource.measured"})
        apply = _node_grade(case, wanted, now)
        yield Edit(what=what, who=Who.OPERATOR, touches=touches, apply=apply, operator=case.operator.id)
    if "resource.operator.grade" in paths:
        counted = Grade.CERTIFIED if "resource.operator.certificates" in paths else Grade.CLAIMED
        least = max(wanted, int(counted))
        if case.operator.grade < least:
            what = f"raise the grade of {case.operator.id}'s facts from {int(case.operator.grade)} to {least}"
            yield _on_operator(case, what, {"resource.operator.grade"}, _operator_grade(least))


def _evidence(case: Case, paths: set[str], packs: PackSet) -> Iterator[Edit]:
    if any(path.startswith("resource.attested") for path in paths):
        where = f"{case.operator.id}'s nodes in {case.site.country}"
        what = f"have {where} attested by a hardware TPM 2.0 or a TEE, and matching a reference of the domain"
        touches, apply = frozenset({"resource.attested"}), _attested(case, best_evidence(packs.reads))
        yield Edit(what=what, who=Who.OPERATOR, touches=touches, apply=apply, operator=case.operator.id)


def _certificates(case: Case, denying: tuple[Rule, ...], facts: FactsNow) -> Iterator[Edit]:
    wanted = {
        name for rule in denying for path, name in rule.reads.contained if path == "resource.operator.certificates"
    }
    for name in sorted(wanted - set(certificates_at(case.operator, facts.now))):
        what = f"have {case.operator.id} obtain and record {name}"
        yield _on_operator(case, what, {"resource.operator.certificates"}, _certificate(name))


def _spec(what: str, touches: str, change: Callable[[Sovereignty], Sovereignty]) -> Edit:
    def apply(case: Case) -> Case:
        return replace(case, workload=replace(case.workload, sovereignty=change(case.workload.sovereignty)))

    return Edit(what=what, who=Who.OWNER, touches=frozenset({touches}), apply=apply)


def _on_operator(case: Case, what: str, touches: set[str], change: Callable[[Operator], Operator]) -> Edit:
    id_ = case.operator.id

    def apply(other: Case) -> Case:
        return replace(other, operator=change(other.operator)) if other.operator.id == id_ else other

    return Edit(what=what, who=Who.OPERATOR, touches=frozenset(touches), apply=apply, operator=id_)


def _with_location(country: str) -> Callable[[Sovereignty], Sovereignty]:
    return lambda own: replace(own, location_only=tuple(sorted({*own.location_only, country})))


def _without_pack(pack: str) -> Callable[[Sovereignty], Sovereignty]:
    return lambda own: replace(own, packs=tuple(p for p in own.packs if p != pack))


def _without_guardrail(pack: str) -> Callable[[Case], Case]:
    return lambda case: replace(case, guardrails=tuple(g for g in case.guardrails if g != pack))


def _without_reuse(case: Case) -> Case:
    return replace(case, workload=replace(case.workload, reuse=Reuse()))


def _in_process(case: Case) -> Case:
    return replace(case, workload=replace(case.workload, isolation=Isolation.PROCESS))


def _without_excluded(country: str) -> Callable[[Sovereignty], Sovereignty]:
    return lambda own: replace(own, control_exclude=tuple(c for c in own.control_exclude if c != country))


def _seal_minimum(objective: str, level: int) -> Callable[[Sovereignty], Sovereignty]:
    return lambda own: replace(own, seal={**own.seal, objective: min(level, own.seal.get(objective, 0))})


def _seal_level(objective: str, level: int) -> Callable[[Operator], Operator]:
    return lambda operator: replace(
        operator, seal={**operator.seal, objective: max(level, operator.seal.get(objective, 0))}
    )


def _certificate(name: str) -> Callable[[Operator], Operator]:
    return lambda operator: replace(operator, certificates=tuple(sorted({*operator.certificates, name})))


def _cada_level(level: int) -> Callable[[Operator], Operator]:
    return lambda operator: replace(operator, cada=max(level, operator.cada))


def _without_key_holder(holder: KeyHolder) -> Callable[[Operator], Operator]:
    return lambda operator: replace(operator, key_holders=tuple(one for one in operator.key_holders if one != holder))


def _without_support(country: str) -> Callable[[Operator], Operator]:
    return lambda operator: replace(operator, support=tuple(one for one in operator.support if one != country))


def _inside_only(operator: Operator) -> Operator:
    return replace(operator, parents=(), key_holders=(), support=())


def _without_control(parent: Parent) -> Callable[[Operator], Operator]:
    votes = None if parent.votes_permille is None else min(parent.votes_permille, MAJORITY_PERMILLE)
    share = min(parent.share_permille, MAJORITY_PERMILLE)
    minority = replace(parent, share_permille=share, has_veto=False, votes_permille=votes)
    return lambda operator: replace(operator, parents=tuple(minority if p == parent else p for p in operator.parents))


def _operator_grade(least: int) -> Callable[[Operator], Operator]:
    return lambda operator: replace(operator, grade=Grade(max(operator.grade, least)))


def _node_grade(like: Case, grade: int, now: WallTime) -> Callable[[Case], Case]:
    def apply(case: Case) -> Case:
        # By the grade that counts, as the edit says it: what a contradicted claim was stated with does not.
        is_meant = (case.operator.id, case.site.country, grade_at(case.node, now)) == (
            like.operator.id, like.site.country, grade_at(like.node, now),
        )  # fmt: skip
        if not is_meant:
            return case
        # A contradicted claim is of no grade whatever else is known: facts of that grade are other facts.
        found = None if case.node.measured is None or case.node.measured.contradiction else case.node.measured
        return replace(case, node=replace(case.node, grade=Grade(max(case.node.grade, grade)), measured=found))

    return apply


def _attested(like: Case, good: Attested) -> Callable[[Case], Case]:
    def apply(case: Case) -> Case:
        is_meant = (case.operator.id, case.site.country) == (like.operator.id, like.site.country)
        return replace(case, node=replace(case.node, attested=good)) if is_meant else case

    return apply


def _measured(like: Case) -> Callable[[Case], Case]:
    def apply(case: Case) -> Case:
        is_meant = (case.operator.id, case.site.country) == (like.operator.id, like.site.country)
        return replace(case, node=replace(case.node, measured=BEST_MEASURED)) if is_meant else case

    return apply


def _without_class(name: str) -> Callable[[Case], Case]:
    def apply(case: Case) -> Case:
        data = case.workload.data
        kept = replace(data, classes=tuple(c for c in data.classes if c != name))
        return replace(case, workload=replace(case.workload, data=kept))

    return apply


def _without_subjects(name: str) -> Callable[[Case], Case]:
    def apply(case: Case) -> Case:
        data = case.workload.data
        kept = tuple(s for s in data.subjects if s != name)
        # Nobody stated would mean everybody: the last one stays.
        return _with_subjects(case, kept or data.subjects)

    return apply


def _narrower_subjects(name: str, narrower: str) -> Callable[[Case], Case]:
    return lambda case: _with_subjects(case, tuple(narrower if s == name else s for s in case.workload.data.subjects))


def _with_subjects(case: Case, subjects: tuple[str, ...]) -> Case:
    return replace(case, workload=replace(case.workload, data=replace(case.workload.data, subjects=subjects)))


def _decision(regime: str, exporters: tuple[str, ...], country: str, now: WallTime) -> Callable[[Case], Case]:
    today = to_datetime(now).date()
    row = Adequacy(
        id=f"assumed-{regime}-{country}", exporters=exporters, importers=(country,), scope="general",
        cite="assumed", assurance="verified", as_of=today, since=today,
    )  # fmt: skip
    return lambda case: case if row in case.decisions else replace(case, decisions=(*case.decisions, row))
