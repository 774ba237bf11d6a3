"""Hostile policies, made from a seed: `seed, how many -> packs`, and what became of them.

Token soup, deep and wide conditions, chains of classes, huge sets of rules and of values, rules that overflow, text in
odd scripts. Each set either is refused with a `HanseError` before it decides anything, or is asked: then it may only
take away from what the same fabric allows without it, and what errs is not an allow. Anything else raises.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hanse.adapters.package_data import read_packs
from hanse.core.errors import HanseError, invariant
from hanse.core.fabric import Fabric, Grade, Node, Operator, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId
from hanse.core.time import WallTime
from hanse.core.work import Data, Kind, Route, Sovereignty, Workload
from hanse.policy import parse_packs, screen

NOW = WallTime(1_795_219_200_000_000)
_SHIPPED = read_packs()
_META = _SHIPPED["c5/pack.yaml"].replace("name: c5", "name: x")
_BASE = {path: text for path, text in _SHIPPED.items() if path.startswith("base/") and "/tests/" not in path}
_WORDS = (
    "principal", "resource.grade", "resource.operator.reach", "forbid", "permit", "(", ")", "{", "}", "&&", "||",
    "when", ";", '"', "@id", "99999999999999999999", "unless", "in", "==", "\u202e", "//", "\\", "if", "then", "else",
    "[", "]", "has", "like", "*", "+", "-9223372036854775808", "ip(\"::\")", "\x00",
    "é", "principal.getTag(\"a\")",
)  # fmt: skip
_HEAD = '@id("x.%s")\n@cite("c")\n@message("m")\nforbid (principal, action == Action::"place", resource) when { %s };\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the sets."""

    sets: int
    refused: int
    asked: int
    denied: int
    """Of those asked, how many denied the workload somewhere that was allowed without them."""
    seconds: float
    """CPU time of all of them."""
    slowest_ms: float
    """CPU time of the slowest one, from text to verdicts."""


def try_all(count: int, seed: int) -> Outcome:
    """Make `count` sets and try each. Raises InvariantBroken where one allows what was not allowed without it."""
    fabric, work = _fabric(), _workload()
    refused = denied = 0
    slowest, begun = 0.0, time.process_time()
    for files in _sets(count, random.Random(seed)):
        at = time.process_time()
        try:
            packs = parse_packs(files)
            screening = screen({work.id: work}, fabric, packs, NOW)
        except HanseError:
            refused += 1
        else:
            for node in fabric.nodes:
                errs = any(reason.rule == "policy.error" for reason in screening.of(work.id, node).reasons)
                invariant(not (errs and screening.allows(work.id, node)), "what errs is not allowed")
            denied += len(screening.allowed(work.id)) < len(fabric.nodes)
        slowest = max(slowest, time.process_time() - at)
    return Outcome(
        sets=count, refused=refused, asked=count - refused, denied=denied,
        seconds=round(time.process_time() - begun, 1), slowest_ms=round(slowest * 1_000, 1),
    )  # fmt: skip


def _sets(count: int, rng: random.Random) -> Iterator[Mapping[str, str]]:
    makers = (_soup, _deep, _wide, _headed_soup, _chain, _many_rules, _big_set, _overflow, _odd_text, _fields)
    for number in range(count):
        text, facts = makers[number % len(makers)](rng)
        yield {**_BASE, "facts/jurisdictions.yaml": facts, "x/pack.yaml": _META, "x/x.cedar": text}


_FACTS = "countries: {DE: Germany, FR: France, US: United States}\n"
_Made = tuple[str, str]


def _soup(rng: random.Random) -> _Made:
    return " ".join(rng.choices(_WORDS, k=rng.randrange(1, 80))), _FACTS


def _headed_soup(rng: random.Random) -> _Made:
    return _HEAD % ("a", " ".join(rng.choices(_WORDS, k=rng.randrange(1, 30)))), _FACTS


def _deep(rng: random.Random) -> _Made:
    depth = rng.randrange(1, 600)
    opened, closed = rng.choice([("(", ")"), ("!(", ")"), ("if true then (", ") else false"), ("[", "].isEmpty()")])
    return _HEAD % ("a", opened * depth + "resource.grade > 1" + closed * depth), _FACTS


def _wide(rng: random.Random) -> _Made:
    joint = rng.choice([" || ", " && "])
    return _HEAD % ("a", joint.join(["resource.grade > 1"] * rng.randrange(1, 500))), _FACTS


def _chain(rng: random.Random) -> _Made:
    """Classes of data within one another, now and then in a circle or within what nobody lists."""
    depth = rng.randrange(2, 300)
    last = rng.choice(["c0", "nowhere", None, None])
    rows = [f"  - {{name: c{n}, within: [c{n + 1}]}}" for n in range(depth - 1)]
    rows.append(f"  - {{name: c{depth - 1}{'' if last is None else f', within: [{last}]'}}}")
    return _HEAD % ("a", f'principal in DataClass::"c{depth - 1}"'), _FACTS + "classes:\n" + "\n".join(rows) + "\n"


def _many_rules(rng: random.Random) -> _Made:
    count = rng.randrange(1, 40)
    return "".join(_HEAD % (f"r{n}", f"resource.grade == {rng.randrange(-3, 9)}") for n in range(count)), _FACTS


def _big_set(rng: random.Random) -> _Made:
    names = ", ".join(f'"{rng.randrange(10**6)}"' for _ in range(rng.randrange(1, 3_000)))
    return _HEAD % ("a", f"resource.operator.certificates.containsAny([{names}])"), _FACTS


def _overflow(rng: random.Random) -> _Made:
    number = rng.choice([2**63 - 1, -(2**63), 0, 2**62])
    return _HEAD % ("a", f"resource.grade {rng.choice('+-*')} {number} > {rng.choice([0, number])}"), _FACTS


def _odd_text(rng: random.Random) -> _Made:
    text = "".join(chr(rng.choice([0, 9, 10, 34, 92, 0x202E, 0xFEFF, 0x1F600, 0x7F, 0xD7FF])) for _ in range(20))
    return _HEAD % ("a", f'resource.tier == "{text}"') + f'\n@id("{text}")', _FACTS


def _fields(rng: random.Random) -> _Made:
    path = ".".join(rng.choices(["principal", "resource", "operator", "seat", "seal", "legal", "reach"], k=4))
    return _HEAD % ("a", f"{path} {rng.choice(['==', 'in', '<'])} {path}"), _FACTS


def _fabric() -> Fabric:
    place = Place(city="x", latitude_deg=50.0, longitude_deg=8.0)
    sites = {
        SiteId(c): Site(id=SiteId(c), country=CountryCode(c), place=place, grid_zone=c) for c in ("DE", "FR", "US")
    }
    operator = Operator(id=OperatorId("op"), name="op", seat=CountryCode("DE"), certificates=("7", "a"))
    nodes = {
        NodeId(f"n{at}"): Node(
            id=NodeId(f"n{at}"), site=site, operator=operator.id, tier=Tier.CORE, capacity=Resources(),
            price=Price(cpu_core_hour_microeur=1, memory_gib_hour_microeur=1), power=Power(idle_mw=1, per_core_mw=1),
            grade=Grade(at + 1),
        )
        for at, site in enumerate(sites)
    }  # fmt: skip
    return Fabric(sites=sites, operators={operator.id: operator}, nodes=nodes)


def _workload() -> Workload:
    return Workload(
        id=WorkloadId("hostile.work"), kind=Kind.FUNCTION, namespace="hostile", name="work",
        artifact=Digest("sha256:" + "0" * 64), artifact_bytes=1, route=Route(path="/"), resources=Resources(),
        data=Data(classes=("c0",)), sovereignty=Sovereignty(packs=("x",)),
    )  # fmt: skip
