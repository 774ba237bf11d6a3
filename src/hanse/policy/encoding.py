"""What is known of every request beyond the schema, as Cedar: `facts, what is read -> assumptions`.

The schema alone allows requests that no fabric can ask: a country in a bloc that it is not in, an operator not reached
by its own seat. Each assumption here is something that `entities` guarantees of every entity it builds, on the dated
facts given; where that code changes, these sentences do. They are forbids, so that they only leave requests out.

They say less than the truth where the truth cannot be said in Cedar, or would cost too much: decisions on adequacy are
bounded by what *some* exporter may do, and the world is not spelt out country by country. Leaving out less is the safe
side of a proof.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from hanse.policy.facts import FactsNow
from hanse.policy.reads import Reads
from hanse.policy.schema import SEAL_OBJECTIVES

_SCOPE = 'forbid (principal is Workload, action == Action::"place", resource is Node)'


def assumptions(facts: FactsNow, reads: Reads) -> tuple[str, ...]:
    """Policies that deny what no workload, node and operator can be on these facts, as far as `reads` looks at it.

    `reads` is of the rules and the property together: an assumption about anything else would only cost time. For the
    same reason countries are spelt out only where a rule names them: a solver's work grows with the square of the
    entities that are named.
    """
    return tuple(f"{_SCOPE}\nunless {{ {clause} }};" for clause in _clauses(facts, reads, _named(facts, reads)))


def _named(facts: FactsNow, reads: Reads) -> tuple[str, ...]:
    return tuple(id_ for kind, id_ in sorted(reads.entities) if kind == "Jurisdiction" and id_ in facts.blocs)


def _clauses(facts: FactsNow, reads: Reads, countries: tuple[str, ...]) -> Iterator[str]:
    named = sorted(id_ for kind, id_ in reads.entities if kind == "Jurisdiction")
    blocs = {bloc: members for bloc, members in facts.members.items() if bloc in named}
    yield from _places("resource.location", blocs, countries)
    if "resource.operator.seat" in reads.paths or "resource.operator.reach" in reads.paths:
        yield "resource.operator.reach.contains(resource.operator.seat)"
        yield from _places("resource.operator.seat", blocs, countries)
    if "resource.operator.controlled_within" in reads.paths:
        yield from _control(blocs, countries)
    yield from _levels(reads)
    yield from _classes(facts, reads)
    yield from _adequacy(facts, reads, countries)


def _places(term: str, blocs: Mapping[str, tuple[str, ...]], countries: Iterable[str]) -> Iterator[str]:
    """Who is inside of what: each of these countries in its blocs and in no others, and in no other country."""
    for country in countries:
        here = f"{term} == {_jurisdiction(country)}"
        yield f"({term} in {_jurisdiction(country)}) == ({here})"
        for bloc, members in blocs.items():
            inside = f"{term} in {_jurisdiction(bloc)}"
            yield f"!({here}) || {inside}" if country in members else f"!({here}) || !({inside})"


def _control(blocs: Mapping[str, tuple[str, ...]], countries: Iterable[str]) -> Iterator[str]:
    """Controlled within a bloc: the seat is in it, and no country outside of it reaches the operator."""
    for bloc, members in blocs.items():
        within = f"resource.operator.controlled_within.contains({_jurisdiction(bloc)})"
        yield f"!{within} || resource.operator.seat in {_jurisdiction(bloc)}"
        for country in countries:
            if country not in members:
                yield f"!({within} && resource.operator.reach.contains({_jurisdiction(country)}))"


def _levels(reads: Reads) -> Iterator[str]:
    grades = [path for path in ("resource.grade", "resource.operator.grade") if path in reads.paths]
    seals = [f"resource.operator.seal.{o}" for o in SEAL_OBJECTIVES if f"resource.operator.seal.{o}" in reads.paths]
    cada = [path for path in ("principal.cada", "resource.operator.cada") if path in reads.paths]
    for path in (*grades, *seals, *cada):
        yield f"{path} >= 0 && {path} <= 4"


def _classes(facts: FactsNow, reads: Reads) -> Iterator[str]:
    """Whoever is in a class is in the wider ones: `entities` gives Cedar the hierarchy, the schema does not."""
    named = {id_ for kind, id_ in reads.entities if kind == "DataClass"}
    wider = {c.name: c.within for c in facts.facts.classes}
    for name in sorted(named):
        for above in sorted(_above(name, wider) & named):
            yield f"!(principal in {_class(name)}) || principal in {_class(above)}"


def _above(name: str, wider: Mapping[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    ahead = [*wider.get(name, ())]
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead.extend(wider.get(one, ()))
    return found


def _adequacy(facts: FactsNow, reads: Reads, countries: Iterable[str]) -> Iterator[str]:
    """A tag is there where its regime is, and holds none of these countries that no exporter of it may export to."""
    for tag in sorted(path.removeprefix("principal#") for path in reads.paths if path.startswith("principal#")):
        name, _, scope = tag.partition(":")
        regime = next((r for r in facts.regimes if r.name == name), None)
        has, get = f"principal.hasTag({json.dumps(tag)})", f"principal.getTag({json.dumps(tag)})"
        if regime is None or not regime.exporters or scope not in facts.scopes:
            yield f"!{has}"
            continue
        exporters = facts.exporters(regime, ())
        most = {c for exporter in exporters for c in facts.covered.get((exporter, scope), {})}
        yield f"principal.regimes.contains({json.dumps(name)}) == {has}"
        for country in countries:
            if country not in most:
                yield f"!({has} && {get}.contains({_jurisdiction(country)}))"


def _set(codes: Iterable[str]) -> str:
    return f"[{', '.join(_jurisdiction(code) for code in codes)}]"


def _jurisdiction(id_: str) -> str:
    return f"Jurisdiction::{json.dumps(str(id_))}"


def _class(id_: str) -> str:
    return f"DataClass::{json.dumps(id_)}"
