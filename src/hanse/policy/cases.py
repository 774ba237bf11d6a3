"""The tests that packs carry: `packs -> results`.

Each is a case of law: who, what data, from where, to whom and where, when.

A pack whose cases fail is wrong, or the law's facts are: either way it should not be used.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from hanse.core.fabric import (
    Attested,
    Grade,
    KeyHolder,
    Measured,
    Node,
    Operator,
    Origin,
    Parent,
    Power,
    Price,
    Resources,
    Site,
    Tier,
    Trust,
)
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, workload_id
from hanse.core.verdict import Verdict
from hanse.core.work import Data, Isolation, Kind, Reuse, Route, Sovereignty, Workload
from hanse.policy.facts import at_midnight
from hanse.policy.lines import load_yaml, rows
from hanse.policy.order import screen_order
from hanse.policy.packs import PackSet


class CaseHolder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A holder of the operator in a case."""

    country: str
    share_permille: int = 1_000
    veto: bool = False
    votes_permille: int | None = None


class CaseKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who else holds the operator's keys in a case."""

    name: str = "trustee"
    country: str


class CaseMeasured(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What landmarks found about the node in a case."""

    radius_km: int = 50
    contradicted: bool = False
    until: datetime.date = datetime.date.max


class CaseAttested(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is attested of the node in a case."""

    kind: str
    origin: Origin = Origin.HARDWARE
    executables: int = 0
    hardware: int = 2
    references: tuple[str, ...] = ("case",)
    advisories: tuple[str, ...] = ()
    until: datetime.date = datetime.date.max


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of a ``tests/*.yaml``: a workload, a place, an operator, a date, and what must come out."""

    name: str
    when: datetime.date
    node_in: str
    seat: str
    verdict: str
    """``allow`` or ``deny``."""
    rules: tuple[str, ...] = ()
    """Every rule that must deny, and no other; empty for ``allow``."""
    packs: tuple[str, ...] = ()
    namespace: str = "case"
    data: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    min_seal: dict[str, int] = {}
    min_grade: int = 0
    reuse: int = 1
    isolation: Isolation = Isolation.SHARED
    holders: tuple[CaseHolder, ...] = ()
    seal: dict[str, int] = {}
    certificates: tuple[str, ...] = ()
    verified: tuple[str, ...] = ()
    operator_grade: int = 1
    node_grade: int = 1
    attested: CaseAttested | None = None
    measured: CaseMeasured | None = None
    keys: tuple[CaseKeys, ...] = ()
    support: tuple[str, ...] = ()
    min_cada: int = 0
    cada: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """How one case came out."""

    file: str
    name: str
    wanted: str
    got: str
    is_ok: bool
    verdict: Verdict | None = None
    """None for cases about users, who are given no verdict on a place."""


def check_packs(packs: PackSet) -> tuple[CaseResult, ...]:
    """Run every case that the packs carry, in file order. Raises PolicyError on a case that cannot be read."""
    return tuple(_run(packs, file, case) for file, case in cases_of(packs))


def cases_of(packs: PackSet) -> Iterator[tuple[str, Case]]:
    """Read every case that the packs carry, with its file. Raises PolicyError on one that cannot be read."""
    for file, text in packs.cases.items():
        for case in rows(file, load_yaml(file, text), "cases", Case):
            yield file, case


def _run(packs: PackSet, file: str, case: Case) -> CaseResult:
    site, operator, node = place_of(case)
    verdict = screen_order(workload_of(case), node, site, operator, packs, None, at_midnight(case.when))
    got = spell_case(verdict.is_allowed, () if verdict.is_allowed else tuple(r.rule for r in verdict.reasons))
    wanted = spell_case(case.verdict == "allow", case.rules)
    return CaseResult(file=file, name=case.name, wanted=wanted, got=got, is_ok=wanted == got, verdict=verdict)


def spell_case(is_allowed: bool, rules: tuple[str, ...]) -> str:
    """An outcome on one line; of what is allowed no rule is told."""
    return "allow" if is_allowed else "deny " + " ".join(sorted(rules))


def workload_of(case: Case) -> Workload:
    """The workload that a case is about."""
    return Workload(
        id=workload_id(case.namespace, "work"), kind=Kind.FUNCTION, namespace=case.namespace, name="work",
        artifact=Digest("sha256:" + "0" * 64), artifact_bytes=1, route=Route(path="/case"), resources=Resources(),
        data=Data(classes=case.data, subjects=case.subjects), reuse=Reuse(count=case.reuse),
        isolation=case.isolation,
        sovereignty=Sovereignty(
            packs=case.packs, seal=case.min_seal, grade=case.min_grade, location_only=case.only, cada=case.min_cada,
            control_exclude=tuple(CountryCode(c) for c in case.exclude),
        ),
    )  # fmt: skip


def place_of(case: Case) -> tuple[Site, Operator, Node]:
    """The site, operator and node that a case is about."""
    place = Place(city="case", latitude_deg=0.0, longitude_deg=0.0)
    site = Site(id=SiteId("case"), country=CountryCode(case.node_in), place=place, grid_zone=case.node_in)
    holders = tuple(
        Parent(
            name=f"holder-{n}",
            country=CountryCode(h.country),
            share_permille=h.share_permille,
            has_veto=h.veto,
            votes_permille=h.votes_permille,
        )
        for n, h in enumerate(case.holders, 1)
    )
    operator = Operator(
        id=OperatorId("operator"), name="operator", seat=CountryCode(case.seat), parents=holders, seal=case.seal,
        certificates=case.certificates, verified=case.verified, grade=Grade(case.operator_grade), cada=case.cada,
        key_holders=tuple(KeyHolder(name=k.name, country=CountryCode(k.country)) for k in case.keys),
        support=tuple(CountryCode(c) for c in case.support),
    )  # fmt: skip
    node = Node(
        id=NodeId("node"), site=site.id, operator=operator.id, tier=Tier.CORE, capacity=Resources(),
        price=Price(cpu_core_hour_microeur=0, memory_gib_hour_microeur=0), power=Power(idle_mw=0, per_core_mw=0),
        grade=Grade(case.node_grade), attested=None if case.attested is None else _attested(case.attested),
        measured=None if case.measured is None else _measured(case.measured),
    )  # fmt: skip
    return site, operator, node


def _measured(given: CaseMeasured) -> Measured:
    return Measured(
        landmarks=("case",), radius_m=given.radius_km * 1_000,
        contradiction="it answered a landmark too soon for that" if given.contradicted else "",
        since_us=0, until_us=at_midnight(given.until),
    )  # fmt: skip


def _attested(given: CaseAttested) -> Attested:
    worst = max(given.executables, given.hardware)
    status = Trust.CONTRAINDICATED if worst >= 96 else Trust.WARNING if worst >= 32 else Trust.AFFIRMING
    vector = {"instance-identity": 2, "configuration": 2, "executables": given.executables, "hardware": given.hardware}
    return Attested(
        kind=given.kind, origin=given.origin, status=status, vector=vector, claims={}, references=given.references,
        advisories=given.advisories, since_us=0, until_us=at_midnight(given.until),
    )  # fmt: skip
