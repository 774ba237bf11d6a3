"""A counterexample as a workload and a node: `model or cases -> instance`, screened as the product screens.

A solver's model is a set of Cedar entities. Here it becomes a spec, an operator and a node in the product's own words,
and is screened again from the facts: an instance is real if the product would really allow it. The same is done with
every combination of the packs' own cases, where there is no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from hanse.core.fabric import (
    Attested,
    Fabric,
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
from hanse.core.work import Data, Kind, Route, Sovereignty, Workload
from hanse.policy.cases import cases_of, place_of, workload_of
from hanse.policy.control import control_reach
from hanse.policy.entities import kind_of_node, kind_of_work, object_of, subject_of
from hanse.policy.evaluate import Cedar, ruleset
from hanse.policy.facts import FactsNow
from hanse.policy.location import EARTH_M
from hanse.policy.packs import PackSet, reads_of_rules
from hanse.policy.properties import Property
from hanse.policy.shrink import Case, shrink

_FAMILIAR = ("FR", "DE", "CH", "US")
_Place = tuple[Site, Operator, Node]
_Entities = Mapping[tuple[str, str], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One workload on one node, in the words of a manifest; what is empty or zero says nothing."""

    namespace: str
    data: tuple[str, ...]
    subjects: tuple[str, ...]
    packs: tuple[str, ...]
    exclude: tuple[str, ...]
    only: tuple[str, ...]
    min_seal: Mapping[str, int]
    min_grade: int
    node_country: str
    node_grade: int
    operator_seat: str
    operator_reach: tuple[str, ...]
    operator_seal: Mapping[str, int]
    operator_certificates: tuple[str, ...]
    operator_verified: tuple[str, ...]
    operator_grade: int
    operator_keys: tuple[str, ...]
    """Countries whose law reaches somebody else who holds its keys."""
    operator_support: tuple[str, ...]
    operator_cada: int
    min_cada: int
    node_attested: str
    """What evidence shows about the node, in a few words; empty for nothing."""
    node_measured: str
    """What landmarks found about its place; empty for nothing."""
    is_real: bool
    """Whether the product, screening this from the facts, allows it against the property."""

    @property
    def spelt(self) -> str:
        """In one sentence, for a refusal."""
        work = (
            f"data {', '.join(self.data) or 'of no class'} of subjects in {', '.join(self.subjects) or 'any country'}"
        )
        node = f"a node in {self.node_country} of an operator seated in {self.operator_seat}"
        reach = f"reached by the law of {', '.join(self.operator_reach) or 'nobody'}"
        shown = f", attested {self.node_attested}" if self.node_attested else ""
        return f"{work} on {node}, {reach}, facts of grade {self.node_grade} and {self.operator_grade}{shown}"


def from_model(
    wanted: Property, packs: PackSet, facts: FactsNow, entities: _Entities, *, principal: str, resource: str
) -> Instance:
    """Spell a model as a workload and a node, and screen it.

    A model's countries are made up, and what it says of law need not follow from its subjects. So it is tried with the
    countries that rules name, one of each bloc that they name and some familiar ones, and with subjects whom the
    model's regimes protect; what it says of data, demands, certificates and grades is kept.
    """
    work = entities["Workload", principal]
    node = entities["Node", resource]
    op = entities["Operator", node["attrs"]["operator"]["__entity"]["id"]]
    known = {c.name for c in facts.facts.classes}
    data = tuple(sorted(p["id"] for p in work["parents"] if p["type"] == "DataClass" and p["id"] in known))
    regimes = [r for r in facts.regimes if r.name in work["attrs"]["regimes"]]
    meant = tuple(sorted({e for regime in regimes for e in regime.exporters}))
    works = [_work(work, wanted.packs, data, subjects) for subjects in dict.fromkeys((meant, ()))]
    places = list(_places(op, node, _countries(wanted, packs, facts)))
    real, _ = _search(wanted, packs, facts, works, places)
    if real is not None:
        return real
    own = _work(work, wanted.packs, data, _ids(work["attrs"]["subjects"]))
    seen = _place(op, node, location=_id(node["attrs"]["location"]), seat=_id(op["attrs"]["seat"]))
    holders = tuple(_holder(c) for c in _ids(op["attrs"]["reach"]) if c != seen[1].seat)
    return _spell(wanted, (own, seen[0], replace(seen[1], parents=holders), seen[2]), is_real=False)


def real_case(wanted: Property, packs: PackSet, facts: FactsNow) -> tuple[Instance | None, int]:
    """Look for a breach among all combinations of the packs' cases; the breach, if any, and how many were tried."""
    return _search(wanted, packs, facts, *_pool(wanted, packs))


def fabric_case(
    wanted: Property, packs: PackSet, facts: FactsNow, workloads: Sequence[Workload], fabric: Fabric
) -> tuple[Instance | None, int]:
    """Look for a breach among the work and the nodes that there are; the breach, if any, and how many were tried.

    Each workload is tried as it is and with what the property names in force besides.
    """
    asked, stated = Cedar(packs, facts), ruleset([wanted.rule])
    reads = packs.reads.plus(wanted.rule.reads)
    kinds = {kind_of_node(n, fabric.site_of(n), reads, facts.now): n for n in reversed(tuple(fabric.nodes.values()))}
    places = [(fabric.site_of(n), fabric.operator_of(n), n) for n in reversed(kinds.values())]
    objects = [object_of(node, site, op, fabric.operators, facts=facts, reads=reads) for site, op, node in places]
    works = {kind_of_work(work, reads): work for work in reversed(workloads)}
    for work in reversed(works.values()):
        subject = subject_of(work, packs, facts, wanted.packs, reads)
        pairs = [(subject, obj) for obj in objects]
        for answer, allowed, place in zip(asked.ask_rules(stated, pairs), asked.ask(pairs), places, strict=True):
            if wanted.id in answer.rules and allowed.is_allowed:
                return _spell(wanted, (work, *place), is_real=True), len(works) * len(places)
    return None, len(works) * len(places)


def _search(
    wanted: Property, packs: PackSet, facts: FactsNow, works: Sequence[Workload], places: Sequence[_Place]
) -> tuple[Instance | None, int]:
    asked, stated = Cedar(packs, facts), ruleset([wanted.rule])
    reads = packs.reads.plus(wanted.rule.reads)
    objects = [object_of(node, site, op, {op.id: op}, facts=facts, reads=reads) for site, op, node in places]

    def still(case: Case) -> bool:
        return breaks(wanted, packs, facts, case)

    for work in works:
        subject = subject_of(work, packs, facts, wanted.packs, reads)
        pairs = [(subject, obj) for obj in objects]
        for answer, allowed, place in zip(asked.ask_rules(stated, pairs), asked.ask(pairs), places, strict=True):
            if wanted.id in answer.rules and allowed.is_allowed:
                return _spell(wanted, shrink((work, *place), still), is_real=True), len(works) * len(places)
    return None, len(works) * len(places)


def breaks(wanted: Property, packs: PackSet, facts: FactsNow, case: Case) -> bool:
    """Tell whether the product allows what the property forbids."""
    work, site, op, node = case
    reads = packs.reads.plus(wanted.rule.reads)
    subject = subject_of(work, packs, facts, wanted.packs, reads)
    obj = object_of(node, site, op, {op.id: op}, facts=facts, reads=reads)
    cedar = Cedar(packs, facts)
    is_meant = wanted.id in cedar.ask_rules(ruleset([wanted.rule]), [(subject, obj)])[0].rules
    return is_meant and cedar.ask([(subject, obj)])[0].is_allowed


def _pool(wanted: Property, packs: PackSet) -> tuple[list[Workload], list[_Place]]:
    """Every workload and every place of the cases, once each, in the order in which they are written."""
    works: dict[tuple[object, ...], Workload] = {}
    places: dict[tuple[object, ...], _Place] = {}
    for n, (_, case) in enumerate(cases_of(packs)):
        one = workload_of(case)
        own = replace(one.sovereignty, packs=wanted.packs)
        works.setdefault((one.data, repr(own), one.namespace), replace(one, sovereignty=own))
        site, op, node = place_of(case)
        named = replace(op, id=OperatorId(f"operator-{n}"))
        places.setdefault(
            (site.country, repr(op), node.grade, repr(node.attested), repr(node.measured)),
            (site, named, replace(node, operator=named.id)),
        )
    return list(works.values()), list(places.values())


def _countries(wanted: Property, packs: PackSet, facts: FactsNow) -> tuple[str, ...]:
    reads = reads_of_rules((*packs.rules_of(wanted.packs), wanted.rule))
    named = [id_ for kind, id_ in sorted(reads.entities) if kind == "Jurisdiction"]
    members = [country for bloc in named for country in facts.members.get(bloc, ())[:1]]
    return tuple(c for c in dict.fromkeys((*named, *members, *_FAMILIAR)) if c in facts.blocs)


def _places(op: Mapping[str, Any], node: Mapping[str, Any], countries: tuple[str, ...]) -> Iterator[_Place]:
    """The model's operator and node in each country, from each seat, free and with a holder in each."""
    for n, (location, seat, held) in enumerate(product(countries, countries, (None, *countries))):
        site, operator, made = _place(op, node, location=location, seat=seat)
        id_ = OperatorId(f"operator-{n}")
        yield (
            site,
            replace(operator, id=id_, parents=(_holder(held),) if held else ()),
            replace(made, id=NodeId(f"node-{n}"), operator=id_),
        )


def _holder(country: str) -> Parent:
    return Parent(name=f"a holder in {country}", country=CountryCode(country), share_permille=1_000)


def _work(
    entity: Mapping[str, Any], packs: tuple[str, ...], data: tuple[str, ...], subjects: tuple[str, ...]
) -> Workload:
    attrs = entity["attrs"]
    namespace = attrs["namespace"] or "any"
    own = Sovereignty(
        packs=packs, seal={k: v for k, v in sorted(attrs["seal"].items()) if v > 0}, grade=max(0, attrs["grade"]),
        control_exclude=tuple(CountryCode(c) for c in _ids(attrs["control_exclude"])),
        location_only=_ids(attrs["location_only"]), cada=_level(attrs["cada"]),
    )  # fmt: skip
    return Workload(
        id=workload_id(namespace, "work"), kind=Kind.FUNCTION, namespace=namespace, name="work",
        artifact=Digest("sha256:" + "0" * 64), artifact_bytes=1, route=Route(path="/"), resources=Resources(),
        data=Data(classes=data, subjects=subjects), sovereignty=own,
    )  # fmt: skip


def _place(op: Mapping[str, Any], entity: Mapping[str, Any], *, location: str, seat: str) -> _Place:
    node, attrs = entity["attrs"], op["attrs"]
    country = CountryCode(location)
    operator = Operator(
        id=OperatorId("operator"), name="operator", seat=CountryCode(seat), grade=_grade(attrs["grade"]),
        seal={k: v for k, v in sorted(attrs["seal"].items()) if v > 0},
        certificates=tuple(sorted(c for c in attrs["certificates"] if c)),
        verified=tuple(sorted(c for c in attrs["verified"] if c)), cada=_level(attrs["cada"]),
        key_holders=tuple(
            KeyHolder(name=f"a trustee in {c}", country=CountryCode(c)) for c in _ids(attrs["key_reach"])
        ),
        support=tuple(CountryCode(c) for c in _ids(attrs["support"])),
    )  # fmt: skip
    site = Site(
        id=SiteId("site"), country=country, grid_zone=country,
        place=Place(city="somewhere", latitude_deg=0.0, longitude_deg=0.0),
    )  # fmt: skip
    made = Node(
        id=NodeId("node"), site=site.id, operator=operator.id, tier=Tier.CORE, capacity=Resources(),
        price=Price(cpu_core_hour_microeur=0, memory_gib_hour_microeur=0), power=Power(idle_mw=0, per_core_mw=0),
        grade=_grade(node["grade"]), attested=_attested(node["attested"]), measured=_measured(node["measured"]),
    )  # fmt: skip
    return site, operator, made


def _spell(wanted: Property, case: Case, *, is_real: bool) -> Instance:
    work, site, op, node = case
    own = work.sovereignty
    return Instance(
        namespace=work.namespace, data=work.data.classes, subjects=work.data.subjects, packs=wanted.named,
        exclude=tuple(str(c) for c in own.control_exclude), only=own.location_only, min_seal=own.seal,
        min_grade=own.grade, node_country=str(site.country), node_grade=int(node.grade), operator_seat=str(op.seat),
        operator_reach=tuple(str(c) for c, _ in control_reach(op, {op.id: op})), operator_seal=op.seal,
        operator_keys=tuple(str(k.country) for k in op.key_holders), operator_cada=op.cada, min_cada=own.cada,
        operator_support=tuple(str(c) for c in op.support),
        node_attested="" if node.attested is None else _evidence_of(node.attested),
        node_measured="" if node.measured is None else node.measured.label,
        operator_certificates=op.certificates,
        operator_verified=op.verified, operator_grade=int(op.grade), is_real=is_real,
    )  # fmt: skip


def _attested(said: Mapping[str, Any]) -> Attested | None:
    """Evidence that shows what a model says; None where it says that nothing was shown."""
    kind = next((name for name in ("tpm", "tdx", "sgx", "snp") if said[name]), "tpm")
    vector = {
        "instance-identity": said["identity"], "configuration": said["configuration"],
        "executables": said["executables"], "hardware": said["hardware"],
    }  # fmt: skip
    origins, states = {one.value for one in Origin}, {one.value for one in Trust}
    if said["origin"] not in origins:
        return None
    return Attested(
        kind=kind, origin=Origin(said["origin"]), vector={k: min(max(v, -128), 127) for k, v in vector.items()},
        status=Trust(said["status"] if said["status"] in states else "none"), claims={},
        references=tuple(sorted(one for one in said["references"] if one)),
        advisories=tuple(sorted(one for one in said["advisories"] if one)), since_us=0, until_us=2**62,
    )  # fmt: skip


def _evidence_of(of: Attested) -> str:
    matched = f", as {', '.join(of.references)}" if of.references else ""
    vector = ", ".join(f"{name} {value}" for name, value in sorted(of.vector.items()) if value)
    return f"{of.label}{matched}" + (f" ({vector})" if vector else "")


def _measured(said: Mapping[str, Any]) -> Measured | None:
    if said["landmarks"] < 1:
        return None
    return Measured(
        landmarks=("a landmark",), radius_m=min(max(said["radius_km"], 0), EARTH_M // 1_000) * 1_000,
        contradiction="contradicted" if said["contradicted"] else "", since_us=0, until_us=2**62,
    )  # fmt: skip


def _level(value: int) -> int:
    return min(max(value, 0), 4)


def _grade(value: int) -> Grade:
    return Grade(min(max(value, 0), max(Grade)))


def _id(ref: Mapping[str, Any]) -> str:
    return str(ref["__entity"]["id"])


def _ids(refs: Iterator[Mapping[str, Any]] | list[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(sorted(_id(ref) for ref in refs))
