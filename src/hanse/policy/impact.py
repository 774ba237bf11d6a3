"""What if a fact changed: `fact text -> suppositions`, `suppositions, world -> screening, diff`.

A supposition is one sentence of the form ``subject/ID.field=value``. It changes a copy of the fabric, the facts of law
or the date; nothing that runs hears of it. Conflicting suppositions are applied in order, the last one standing.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import msgspec

from hanse.core.fabric import Fabric, Grade, KeyHolder, Measured, Node, Offer, Operator, Parent
from hanse.core.ids import CountryCode, NodeId, OperatorId, SiteId, WorkloadId
from hanse.core.time import WallTime
from hanse.core.work import Workload
from hanse.policy.diff import Pair, PolicyDiff, diff
from hanse.policy.entities import split_certificate
from hanse.policy.errors import FactError
from hanse.policy.facts import Adequacy, Facts, at_midnight
from hanse.policy.packs import PackSet
from hanse.policy.schema import SEAL_OBJECTIVES
from hanse.policy.screen import VerdictCache, screen
from hanse.wire.canonical import digest_of

T = TypeVar("T")
FIELDS: Final = (
    "operator/ID.parent=COUNTRY|none", "operator/ID.seat=COUNTRY", "operator/ID.grade=0..4",
    "operator/ID.seal.OBJECTIVE=0..4", "operator/ID.cada=0..4", "operator/ID.certificate=NAME[@DATE]",
    "operator/ID.certificate=-NAME", "operator/ID.verified=NAME[@DATE]", "operator/ID.verified=-NAME",
    "operator/ID.keys=COUNTRY|none", "operator/ID.support=COUNTRY[,COUNTRY]|none",
    "operator/ID/SERVICE.seal.OBJECTIVE=0..4", "operator/ID/SERVICE.cada=0..4",
    "operator/ID/SERVICE.certificate=NAME[@DATE]", "operator/ID/SERVICE.certificate=-NAME",
    "node/ID.grade=0..4", "node/ID.measured=KILOMETRES|contradicted|none", "site/ID.country=COUNTRY",
    "adequacy/ROW.until=DATE", "adequacy/ROW.from=DATE", "date=DATE",
)  # fmt: skip
"""What may be supposed."""

_SHAPE = re.compile(r"(operator|node|site|adequacy)/([^=]+?)\.(seal\.[a-z]+|[a-z]+)=(.+)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a supposition may change."""

    fabric: Fabric
    facts: Facts
    now: WallTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposition:
    """One supposed fact: its text, and the change of the world it stands for. `apply` raises FactError."""

    text: str
    apply: Callable[[World], World]


def parse_supposition(text: str) -> Supposition:
    """Read one supposed fact. Raises FactError (``policy.fact``) on a form, a field or a value that is not known."""
    if text.startswith("date="):
        at = at_midnight(_date(text.removeprefix("date=")))
        return Supposition(text=text, apply=lambda world: replace(world, now=at))
    shape = _SHAPE.match(text)
    if shape is None:
        raise FactError(f"{text!r} is no fact", hint=f"one of {', '.join(FIELDS)}")
    kind, id_, field, value = shape.groups()
    match kind, field:
        case "operator", _ if "/" in id_:
            owner, _, service = id_.partition("/")
            change = _on_service(service, _service_change(text, field, value))
            return Supposition(text=text, apply=_on_operator(OperatorId(owner), change))
        case "operator", _:
            return Supposition(text=text, apply=_on_operator(OperatorId(id_), _operator_change(text, field, value)))
        case "node", "grade":
            return Supposition(text=text, apply=_on_node(NodeId(id_), _grade_change(value)))
        case "node", "measured":
            return Supposition(text=text, apply=_on_node(NodeId(id_), _measured_change(value)))
        case "site", "country":
            return Supposition(text=text, apply=_site_country(SiteId(id_), CountryCode(value)))
        case "adequacy", "until" | "from":
            return Supposition(text=text, apply=_row_date(id_, field, _date(value)))
        case _:
            raise FactError(f"{text!r}: a {kind} has no field {field}", hint=f"one of {', '.join(FIELDS)}")


def impact(
    workloads: Mapping[WorkloadId, Workload],
    world: World,
    packs: PackSet,
    suppositions: Sequence[Supposition],
    running: Sequence[Pair],
    *,
    guardrails: tuple[str, ...] = (),
    cache: VerdictCache | None = None,
) -> PolicyDiff:
    """Say what would have to move, and what would have no legal home, if these facts were so.

    `cache` of an earlier screening spares asking about what stays as it is. Raises FactError for a fact about an
    operator, node, site, row or country that is not known.
    """
    before = screen(workloads, world.fabric, packs, world.now, cache, guardrails=guardrails)
    supposed = world
    for supposition in suppositions:
        supposed = supposition.apply(supposed)
    changed = packs
    if supposed.facts != packs.facts:
        texts = [supposition.text for supposition in suppositions]
        changed = replace(packs, facts=supposed.facts, digest=digest_of([packs.digest, texts]))
    after = screen(workloads, supposed.fabric, changed, supposed.now, before.cache, guardrails=guardrails)
    found = diff(before, after, running)
    return replace(found, changes=(*(f"suppose {s.text}" for s in suppositions), *found.changes))


def _operator_change(text: str, field: str, value: str) -> Callable[[Operator, Facts], Operator]:
    match field.split("."):
        case ["parent"]:
            return lambda operator, facts: replace(operator, parents=_one(_holder, facts, value))
        case ["seat"]:
            return lambda operator, facts: replace(operator, seat=_known(facts, value))
        case ["grade"]:
            grade = Grade(_level(value))
            return lambda operator, _: replace(operator, grade=grade)
        case ["seal", objective] if objective in SEAL_OBJECTIVES:
            level = _level(value)
            return lambda operator, _: replace(operator, seal={**operator.seal, objective: level})
        case ["cada"]:
            cada = _level(value)
            return lambda operator, _: replace(operator, cada=cada)
        case ["certificate"]:
            return lambda operator, _: replace(operator, certificates=_with_or_without(operator.certificates, value))
        case ["verified"]:
            return lambda operator, _: replace(operator, verified=_with_or_without(operator.verified, value))
        case ["keys"]:
            return lambda operator, facts: replace(operator, key_holders=_one(_key_holder, facts, value))
        case ["support"]:
            countries = () if value == "none" else tuple(country.strip() for country in value.split(","))
            return lambda operator, facts: replace(operator, support=tuple(_known(facts, c) for c in countries))
        case _:
            raise FactError(f"{text!r}: an operator has no field {field}", hint=f"one of {', '.join(FIELDS)}")


def _service_change(text: str, field: str, value: str) -> Callable[[Offer], Offer]:
    match field.split("."):
        case ["seal", objective] if objective in SEAL_OBJECTIVES:
            level = _level(value)
            return lambda offer: replace(offer, seal={**offer.seal, objective: level})
        case ["cada"]:
            cada = _level(value)
            return lambda offer: replace(offer, cada=cada)
        case ["certificate"]:
            return lambda offer: replace(offer, certificates=_with_or_without(offer.certificates, value))
        case _:
            raise FactError(f"{text!r}: a service has no field {field}", hint=f"one of {', '.join(FIELDS)}")


def _on_service(name: str, change: Callable[[Offer], Offer]) -> Callable[[Operator, Facts], Operator]:
    def apply(operator: Operator, _: Facts) -> Operator:
        if name not in {offer.name for offer in operator.offers}:
            known = ", ".join(offer.name for offer in operator.offers) or "none: it names no services"
            raise FactError(f"operator {operator.id} has no service {name!r}", hint=f"one of {known}")
        return replace(operator, offers=tuple(change(o) if o.name == name else o for o in operator.offers))

    return apply


def _holder(country: CountryCode) -> Parent:
    return Parent(name=f"a holder in {country}", country=country)


def _key_holder(country: CountryCode) -> KeyHolder:
    return KeyHolder(name=f"a holder of keys in {country}", country=country)


def _on_operator(id_: OperatorId, change: Callable[[Operator, Facts], Operator]) -> Callable[[World], World]:
    def apply(world: World) -> World:
        operators = world.fabric.operators
        if id_ not in operators:
            raise FactError(f"there is no operator {id_}", hint=f"one of {', '.join(operators)}")
        changed = {**operators, id_: change(operators[id_], world.facts)}
        return replace(world, fabric=replace(world.fabric, operators=changed))

    return apply


def _one(make: Callable[[CountryCode], T], facts: Facts, value: str) -> tuple[T, ...]:
    """The one holder in a country, or nobody."""
    return () if value == "none" else (make(_known(facts, value)),)


def _with_or_without(certificates: tuple[str, ...], value: str) -> tuple[str, ...]:
    """One more, or all but those that ``-NAME`` names, whenever they end."""
    if not value.startswith("-"):
        return (*certificates, value)
    return tuple(c for c in certificates if split_certificate(c)[0] != value.removeprefix("-"))


def _grade_change(value: str) -> Callable[[Node], Node]:
    grade = Grade(_level(value))
    return lambda node: replace(node, grade=grade)


def _measured_change(value: str) -> Callable[[Node], Node]:
    """What landmarks would show, without an end: where a node is by physics, and not what it says."""
    if value == "none":
        return lambda node: replace(node, measured=None)
    is_contradicted = value == "contradicted"
    if not is_contradicted and not (value.isascii() and value.isdigit() and len(value) <= 5):
        raise FactError(f"{value!r} is no radius", hint="whole kilometres, `contradicted` or `none`")
    found = Measured(
        landmarks=("supposed",), radius_m=0 if is_contradicted else int(value) * 1_000,
        contradiction="it is supposed to be elsewhere" if is_contradicted else "", since_us=0, until_us=2**62,
    )  # fmt: skip
    return lambda node: replace(node, measured=found)


def _on_node(id_: NodeId, change: Callable[[Node], Node]) -> Callable[[World], World]:
    def apply(world: World) -> World:
        nodes = world.fabric.nodes
        if id_ not in nodes:
            raise FactError(f"there is no node {id_}", hint="see `hanse get nodes`")
        return replace(world, fabric=replace(world.fabric, nodes={**nodes, id_: change(nodes[id_])}))

    return apply


def _site_country(id_: SiteId, country: CountryCode) -> Callable[[World], World]:
    def apply(world: World) -> World:
        sites = world.fabric.sites
        if id_ not in sites:
            raise FactError(f"there is no site {id_}", hint="see `hanse get sites`")
        moved = replace(sites[id_], country=_known(world.facts, country))
        return replace(world, fabric=replace(world.fabric, sites={**sites, id_: moved}))

    return apply


def _row_date(id_: str, field: str, date: datetime.date) -> Callable[[World], World]:
    def apply(world: World) -> World:
        rows = world.facts.adequacy
        if id_ not in {row.id for row in rows}:
            raise FactError(f"no adequacy row {id_}", hint=f"one of {', '.join(row.id for row in rows)}")
        changed = tuple(_redated(row, field, date) if row.id == id_ else row for row in rows)
        return replace(world, facts=replace(world.facts, adequacy=changed))

    return apply


def _redated(row: Adequacy, field: str, date: datetime.date) -> Adequacy:
    if field == "from":
        return msgspec.structs.replace(row, since=date, dates=None)  # a supposed date is not in doubt
    return msgspec.structs.replace(row, until=date)


def _known(facts: Facts, country: str) -> CountryCode:
    if CountryCode(country) not in facts.countries:
        raise FactError(f"{country!r} is no country that the facts know", hint="give its ISO 3166-1 code, such as US")
    return CountryCode(country)


def _level(value: str) -> int:
    if value not in ("0", "1", "2", "3", "4"):
        raise FactError(f"{value!r} is no level", hint="0, 1, 2, 3 or 4")
    return int(value)


def _date(value: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(value)
    except ValueError:
        raise FactError(f"{value!r} is no date", hint="write YYYY-MM-DD") from None
