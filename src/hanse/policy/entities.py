"""Workloads, nodes and law as Cedar entities, grouped into classes: `spec, fabric, facts -> subjects, objects`.

Two workloads whose attributes are equal wherever some rule reads them are one subject; likewise nodes are one object.
An attribute that no rule reads tells nothing apart, so a thousand nodes are a few dozen objects. What is computed
here is only membership and time (blocs, adequacy of all exporters, reach of law, expired certificates); what it means
is for the rules.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from hanse.core.fabric import Attested, Measured, Node, Operator, Origin, Site, Trust
from hanse.core.ids import CountryCode, Digest, OperatorId
from hanse.core.time import WallTime
from hanse.core.work import Workload
from hanse.policy.control import SECNUMCLOUD, control_reach, key_reach, secnumcloud
from hanse.policy.facts import UNCLASSIFIED_COUNTS_AS, FactsNow, at_midnight
from hanse.policy.location import EARTH_M, STEPS_M, grade_at, measured_at
from hanse.policy.packs import PackSet
from hanse.policy.reads import Reads
from hanse.policy.schema import SEAL_OBJECTIVES, WORLD
from hanse.wire.canonical import digest_of

Entity = Mapping[str, Any]
"""One entity in Cedar's JSON form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A class of workloads: equal in all that rules read."""

    key: Digest
    """Of the rules in force and of all that they may read of the workload, decisions of adequacy included."""
    packs: tuple[str, ...]
    """Packs in force, in order."""
    unknown: tuple[str, ...]
    """Packs that the spec names and nobody ships; a denial by itself."""
    entity: Entity


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """A class of nodes, with their operator."""

    key: Digest
    node: Entity
    operator: Entity


def subject_of(
    workload: Workload, packs: PackSet, facts: FactsNow, guardrails: tuple[str, ...], reads: Reads
) -> Subject:
    """Describe a workload to Cedar. `guardrails` are packs that the domain binds to its namespace."""
    named = {*packs.always, *guardrails, *workload.sovereignty.packs}
    in_force = tuple(name for name in packs.packs if name in named)
    unknown = tuple(sorted(named - set(packs.packs)))
    own = workload.sovereignty
    attrs: dict[str, Any] = {
        "namespace": workload.namespace,
        "regimes": [r.name for r in facts.regimes if not r.exporters or facts.exporters(r, workload.data.subjects)],
        "subjects": _countries(facts.expand(workload.data.subjects) or ()),
        "seal": _seal(own.seal),
        "control_exclude": _countries(sorted(own.control_exclude)),
        "location_only": _countries(sorted(own.location_only)),
        "grade": own.grade,
        "cada": own.cada,
        "reuses_instances": workload.reuse.count > 1,
        "isolation": workload.isolation.value,
    }
    parents = [_ref("DataClass", name) for name in data_classes(workload, facts)]
    tags = _tags(workload, facts, reads)
    # Only what the rules in force for it read tells a workload apart: a decision under another law changes nothing.
    mine = reduce(Reads.plus, (packs.packs[name].reads for name in in_force), Reads())
    read = _read(attrs, mine, "principal")
    identity = workload.id if reads.names_type("Workload") else ""
    rules = [packs.packs[name].digest for name in in_force]
    key = digest_of([identity, in_force, rules, unknown, read, parents, _tags(workload, facts, mine)])
    entity = {"uid": _ref("Workload", identity or key), "attrs": attrs, "parents": parents, "tags": tags}
    return Subject(key=key, packs=in_force, unknown=unknown, entity=entity)


def object_of(
    node: Node,
    site: Site,
    operator: Operator,
    operators: Mapping[OperatorId, Operator],
    *,
    facts: FactsNow,
    reads: Reads,
) -> Object:
    """Describe a node and its operator to Cedar."""
    return object_under(node, site, operator_entity(operator, operators, facts, reads), reads, facts.now)


def object_under(node: Node, site: Site, op: Entity, reads: Reads, now: WallTime) -> Object:
    """Describe a node to Cedar as it is at `now`, whose operator was described already."""
    attrs: dict[str, Any] = {
        "location": _ref("Jurisdiction", site.country),
        "operator": op["uid"],
        "tier": node.tier.value,
        "grade": int(grade_at(node, now)),
        "attested": _NOTHING_SHOWN if node.attested is None else attested_attrs(attested_at(node, now)),
        "measured": measured_attrs(measured_at(node, now)),
    }
    parents = [_ref("Site", site.id)] if reads.names_type("Site") else []
    read = _read(attrs, reads, "resource")
    identity = node.id if reads.names_type("Node") else ""
    key = digest_of([identity, op, read, parents])
    return Object(key=key, operator=op, node={"uid": _ref("Node", identity or key), "attrs": attrs, "parents": parents})


def operator_entity(
    operator: Operator,
    operators: Mapping[OperatorId, Operator],
    facts: FactsNow,
    reads: Reads,
    by_name: Mapping[str, Operator] | None = None,
) -> Entity:
    """Describe an operator to Cedar: who reaches it, and which of its certificates hold now.

    `by_name` as `control_reach` takes it.
    """
    reach = [country for country, _ in control_reach(operator, operators, by_name)]
    attrs: dict[str, Any] = {
        "seat": _ref("Jurisdiction", operator.seat),
        "reach": _countries(reach),
        "controlled_within": [
            _ref("Jurisdiction", bloc)
            for bloc in facts.members
            if all(bloc in facts.blocs.get(str(country), ()) for country in reach)
        ],
        "seal": _seal(operator.seal),
        "certificates": certificates_at(operator, facts.now),
        "verified": names_at(operator.verified, facts.now),
        "grade": int(operator.grade),
        "key_reach": _countries([country for country, _ in key_reach(operator, operators, by_name)]),
        "support": _countries(sorted(operator.support)),
        "passes": [] if secnumcloud(operator, operators, in_union(facts), by_name) else [SECNUMCLOUD],
        "cada": operator.cada,
    }
    identity = operator.id if reads.names_type("Operator") else digest_of(attrs)
    return {"uid": _ref("Operator", identity), "attrs": attrs, "parents": []}


def in_union(facts: FactsNow) -> Callable[[CountryCode], bool]:
    """Tell of a country whether it is in the European Union at the moment of these facts."""
    return lambda country: "EU" in facts.blocs.get(str(country), ())


def kind_of_work(work: Workload, reads: Reads) -> tuple[object, ...]:
    """Sort workloads into kinds that surely are one subject: cheaper than describing each."""
    own = work.sovereignty
    demands = own.packs, own.control_exclude, own.location_only, own.grade, own.cada, *sorted(own.seal.items())
    identity = work.id if reads.names_type("Workload") else ""
    return (
        identity,
        work.namespace,
        work.data.classes,
        work.data.subjects,
        work.reuse.count > 1,
        work.isolation,
        *demands,
    )


def attested_at(node: Node, now: WallTime) -> Attested | None:
    """What is attested of a node at `now`; what has ended says nothing."""
    found = node.attested
    return None if found is None or found.until_us <= now else found


def attested_attrs(of: Attested | None) -> dict[str, Any]:
    """An attestation as rules see it."""
    vector = {} if of is None else of.vector
    return {
        **{kind: of is not None and of.kind == kind for kind in ("tpm", "tdx", "sgx", "snp")},
        "origin": "none" if of is None else of.origin.value,
        "status": Trust.NONE.value if of is None else of.status.value,
        "identity": vector.get("instance-identity", 0),
        "configuration": vector.get("configuration", 0),
        "executables": vector.get("executables", 0),
        "hardware": vector.get("hardware", 0),
        "references": [] if of is None else list(of.references),
        "advisories": [] if of is None else list(of.advisories),
    }


_NOTHING_SHOWN = attested_attrs(None)
"""Made once: most nodes show nothing."""


def measured_attrs(of: Measured | None) -> dict[str, Any]:
    """A measured place as rules see it."""
    if of is None:
        return {"landmarks": 0, "radius_km": EARTH_M // 1_000, "contradicted": False}
    radius = EARTH_M if of.contradiction else of.radius_m
    return {
        "landmarks": len(of.landmarks), "radius_km": radius // 1_000, "contradicted": bool(of.contradiction),
    }  # fmt: skip


BEST_MEASURED = Measured(landmarks=("assumed",), radius_m=STEPS_M[0], since_us=0, until_us=2**62)
"""The best that landmarks could show: what edits and ideal nodes assume."""


def best_evidence(reads: Reads) -> Attested:
    """The best that evidence could show: what edits and ideal nodes assume. Of the kinds that rules name, the last."""
    named = [kind for kind in ("tpm", "sgx", "snp", "tdx") if f"resource.attested.{kind}" in reads.paths]
    wanted = sorted(name for path, name in reads.contained if path == "resource.attested.references")
    return Attested(
        kind=named[-1] if named else "tpm", origin=Origin.HARDWARE, status=Trust.AFFIRMING, claims={},
        vector=dict.fromkeys(("instance-identity", "configuration", "executables", "hardware"), 2),
        references=tuple(wanted) or ("assumed",), since_us=0, until_us=2**62,
    )  # fmt: skip


def kind_of_node(node: Node, site: Site, reads: Reads, now: WallTime) -> tuple[object, ...]:
    """Sort nodes into kinds that surely are one object, as long as each operator is one operator."""
    if reads.names_type("Node") or reads.names_type("Site"):
        return (node.id,)
    known = attested_at(node, now)
    shown = (
        ()
        if known is None
        else (known.kind, known.origin, known.status, known.references, known.advisories, *sorted(known.vector.items()))
    )
    where = tuple(measured_attrs(measured_at(node, now)).values())
    return site.country, node.operator, node.service, node.tier, node.grade, shown, where


def law_entities(facts: FactsNow) -> list[Entity]:
    """Every country within its blocs and the world, every bloc, every class of data: what holds for all requests."""
    world = {"uid": _ref("Jurisdiction", WORLD), "attrs": {}, "parents": []}
    blocs = [{"uid": _ref("Jurisdiction", bloc), "attrs": {}, "parents": []} for bloc in facts.members]
    countries = [
        {
            "uid": _ref("Jurisdiction", country), "attrs": {},
            "parents": [_ref("Jurisdiction", above) for above in (*facts.blocs[country], WORLD)],
        }
        for country in facts.facts.countries
    ]  # fmt: skip
    classes = [
        {"uid": _ref("DataClass", c.name), "attrs": {}, "parents": [_ref("DataClass", w) for w in c.within]}
        for c in facts.facts.classes
    ]
    return [world, *blocs, *countries, *classes]


def data_classes(workload: Workload, facts: FactsNow) -> tuple[str, ...]:
    """Classes of data as the rules see them, in order; one that the facts do not list counts as personal."""
    known = {c.name for c in facts.facts.classes}
    return tuple(sorted({name if name in known else UNCLASSIFIED_COUNTS_AS for name in workload.data.classes}))


def certificates_at(operator: Operator, now: WallTime) -> list[str]:
    """Names of the certificates that hold at `now`, in order, as rules spell them: ``ISO 27001`` is ``iso-27001``.

    ``name@YYYY-MM-DD`` holds until 00:00 UTC of that date; a date that cannot be read has passed.
    """
    return names_at(operator.certificates, now)


def names_at(certificates: tuple[str, ...], now: WallTime) -> list[str]:
    """Names, in order, of those of these certificates that hold at `now`."""
    return sorted(
        {
            "-".join(name.lower().split())
            for name, until in map(split_certificate, certificates)
            if until is None or now < until
        }
    )


def split_certificate(text: str) -> tuple[str, WallTime | None]:
    """Split ``name@YYYY-MM-DD`` into name and expiry; no date means no expiry, a bad date means long expired."""
    name, at, date = text.partition("@")
    if not at:
        return name, None
    try:
        return name, at_midnight(datetime.date.fromisoformat(date))
    except ValueError:
        return name, WallTime(0)


def _read(attrs: Mapping[str, Any], reads: Reads, variable: str) -> Mapping[str, Any]:
    """Keep the attributes that some rule reads."""
    tops = reads.tops(variable)
    return attrs if reads.is_opaque else {name: value for name, value in attrs.items() if name in tops}


def _tags(workload: Workload, facts: FactsNow, reads: Reads) -> dict[str, list[Entity]]:
    """Adequacy per regime and scope, as far as a rule reads it."""
    tags: dict[str, list[Entity]] = {}
    for regime in facts.regimes:
        exporters = facts.exporters(regime, workload.data.subjects)
        for scope in facts.scopes if exporters else ():
            tag = f"{regime.name}:{scope}"
            if reads.is_opaque or f"principal#{tag}" in reads.paths:
                tags[tag] = _countries(facts.adequate(exporters, scope))
    return tags


def _seal(levels: Mapping[str, int]) -> dict[str, int]:
    return {objective: int(levels.get(objective, 0)) for objective in SEAL_OBJECTIVES}


def _countries(codes: tuple[str, ...] | list[str] | list[CountryCode]) -> list[Entity]:
    return [_ref("Jurisdiction", code) for code in codes]


def _ref(kind: str, id_: str) -> Entity:
    return {"type": kind, "id": str(id_)}
