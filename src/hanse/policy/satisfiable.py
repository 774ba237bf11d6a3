"""Whether rules can be satisfied at all: `packs, workload, date -> countries where an ideal node would be allowed`.

An ideal node stands in a country that the facts know, has the best grade, and is run by an operator of that country, or
of one that a rule names, with the best levels, no holders and every certificate that a rule looks for. If even that is
denied everywhere, no node will ever do. It is no proof the other way: that an ideal node is allowed does not mean that
one exists. A rule that asks for two operators' countries at once, or that punishes a certificate, may be called
unsatisfiable wrongly; no shipped rule does either.

What cannot happen here needs no check: no rule can read where work runs now, so no two rules can move it for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from hanse.core.fabric import Grade, Node, Operator, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId
from hanse.core.time import WallTime
from hanse.core.work import Isolation, Kind, Route, Sovereignty, Workload
from hanse.policy.entities import BEST_MEASURED, Object, best_evidence, object_of, subject_of
from hanse.policy.evaluate import Answer, Cedar
from hanse.policy.facts import FactsNow, facts_at
from hanse.policy.packs import PackSet
from hanse.policy.schema import SEAL_OBJECTIVES


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadEnd:
    """A pack that denies every node there could be, and the rules that do it."""

    pack: str
    file: str
    line: int
    rules: tuple[str, ...]
    remedy: str


def countries_that_could_do(
    workload: Workload, packs: PackSet, now: WallTime, guardrails: tuple[str, ...] = ()
) -> tuple[CountryCode, ...]:
    """Countries in which an ideal node would be allowed, in order; empty means that the demands contradict each other.

    `guardrails` are packs that the domain binds to the workload's namespace.
    """
    facts = facts_at(packs.facts, now)
    subject = subject_of(workload, packs, facts, guardrails, packs.reads)
    cedar = Cedar(packs, facts)
    for seats in ((), _named_countries(packs, facts)):
        ideal = [
            (country, _ideal(country, seat, packs, facts))
            for country in facts.facts.countries
            for seat in seats or (country,)
        ]
        answers = cedar.ask([(subject, obj) for _, obj in ideal])
        able = {country for (country, _), answer in zip(ideal, answers, strict=True) if answer.is_allowed}
        if able:
            return tuple(sorted(able))
    return ()


def dead_ends(packs: PackSet, now: WallTime, together: tuple[str, ...] = ()) -> tuple[DeadEnd, ...]:
    """Find packs under which a spec with no data and no demand but its location could run nowhere, in pack order.

    With `together` only these packs are looked at, all in force at once.
    """
    facts = facts_at(packs.facts, now)
    cedar = Cedar(packs, facts)
    found = []
    for name, pack in packs.packs.items():
        if together and name != together[-1]:
            continue
        everywhere = _denied_everywhere(together or (name,), packs, facts, cedar)
        if pack.rules and everywhere:
            always = frozenset.intersection(*(frozenset(answer.rules) for answer in everywhere))
            to_blame = [rule for rule in pack.rules if rule.id in always] or list(pack.rules)
            found.append(
                DeadEnd(
                    pack=name, file=to_blame[0].file, line=to_blame[0].line, rules=tuple(r.id for r in to_blame),
                    remedy="give the rule a condition, or an exception that some node can meet",
                )
            )  # fmt: skip
    return tuple(found)


def _denied_everywhere(names: tuple[str, ...], packs: PackSet, facts: FactsNow, cedar: Cedar) -> tuple[Answer, ...]:
    """Every answer of packs that deny every ideal node; empty as soon as one is allowed."""
    denied: list[Answer] = []
    for seats in ((), _named_countries(packs, facts)):
        for country in facts.facts.countries:
            subject = subject_of(_spec(names, country), packs, facts, (), packs.reads)
            answers = cedar.ask([(subject, _ideal(country, seat, packs, facts)) for seat in seats or (country,)])
            if any(answer.is_allowed for answer in answers):
                return ()
            denied += answers
    return tuple(denied)


def _named_countries(packs: PackSet, facts: FactsNow) -> tuple[CountryCode, ...]:
    named = {CountryCode(id_) for kind, id_ in packs.reads.entities if kind == "Jurisdiction"}
    return tuple(sorted(named & set(facts.facts.countries)))


def _ideal(country: CountryCode, seat: CountryCode, packs: PackSet, facts: FactsNow) -> Object:
    certificates = tuple(sorted({c for path, c in packs.reads.contained if path.endswith(".certificates")}))
    operator = Operator(
        id=OperatorId(f"ideal-{seat}"), name="ideal", seat=seat, certificates=certificates,
        seal=dict.fromkeys(SEAL_OBJECTIVES, 4), grade=Grade.ATTESTED, cada=4,
    )  # fmt: skip
    place = Place(city="ideal", latitude_deg=0.0, longitude_deg=0.0)
    site = Site(id=SiteId(f"ideal-{country}"), country=country, place=place, grid_zone=country)
    node = Node(
        id=NodeId(f"ideal-{country}-{seat}"), site=site.id, operator=operator.id, tier=Tier.CORE,
        capacity=Resources(), price=Price(cpu_core_hour_microeur=0, memory_gib_hour_microeur=0),
        power=Power(idle_mw=0, per_core_mw=0), grade=Grade.ATTESTED,
        attested=best_evidence(packs.reads), measured=BEST_MEASURED,
    )  # fmt: skip
    return object_of(node, site, operator, {operator.id: operator}, facts=facts, reads=packs.reads)


def _spec(names: tuple[str, ...], country: CountryCode) -> Workload:
    return Workload(
        id=WorkloadId("ideal.work"), kind=Kind.FUNCTION, namespace="ideal", name="work",
        artifact=Digest("sha256:" + "0" * 64), artifact_bytes=1, route=Route(path="/"), resources=Resources(),
        sovereignty=Sovereignty(packs=names, location_only=(country,)), isolation=Isolation.PROCESS,
    )  # fmt: skip
