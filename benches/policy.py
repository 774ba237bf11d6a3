"""Measure policy: screening anew after a change, explaining with the nearest change, hostile rules; one JSON line.

`python -m benches.policy --json [--workloads N] [--nodes N] [--hostile N]`. The fabric is made up: 60 operators in
29 countries, workloads of mixed data and demands, so that there are some hundred classes on either side.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from benches import policy_prove
from hanse.adapters.package_data import read_packs
from hanse.core.errors import HanseError
from hanse.core.fabric import Fabric, Grade, Node, Operator, Parent, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId
from hanse.core.time import from_datetime
from hanse.core.work import Data, Kind, Route, Sovereignty, Workload
from hanse.policy import PackSet, World, impact, parse_packs, parse_supposition, screen

T = TypeVar("T")
NOW = from_datetime(datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC))
COUNTRIES = tuple(
    code
    for code in [
        "AT",
        "BE",
        "BG",
        "CZ",
        "DE",
        "DK",
        "EE",
        "ES",
        "FI",
        "FR",
        "GR",
        "HU",
        "IE",
        "IT",
        "LT",
        "LU",
        "LV",
        "NL",
        "PL",
        "PT",
        "RO",
        "SE",
        "SI",
        "SK",
        "CH",
        "GB",
        "NO",
        "US",
        "CN",
        "BR",
    ]
)
OPERATORS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON line (the default)")
    parser.add_argument("--workloads", type=int, default=5_000)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--hostile", type=int, default=10_000)
    options = parser.parse_args()
    print(json.dumps(_measure(options.workloads, options.nodes, options.hostile)))


def _measure(workloads: int, nodes: int, hostile: int) -> dict[str, int | float | str]:
    rng = random.Random(7)
    packs = parse_packs(read_packs())
    fabric, work = _fabric(nodes, rng), _workloads(workloads, rng)
    first, first_s = _timed(lambda: screen(work, fabric, packs, NOW))
    bought = _bought(fabric)
    again, operator_s = _timed(lambda: screen(work, bought, packs, NOW, first.cache))
    dpf = _fallen(packs, "eea-us-dpf")
    _, row_s = _timed(lambda: screen(work, fabric, dpf, NOW, first.cache))
    fallen = _fallen(packs, "eea-ch")
    _, law_s = _timed(lambda: screen(work, fabric, fallen, NOW, first.cache))
    world = World(fabric=fabric, facts=packs.facts, now=NOW)
    running = [(w, first.allowed(w)[0]) for w in list(work)[:200] if first.allowed(w)]
    fact = [parse_supposition("operator/op07.parent=US")]
    _, impact_s = _timed(lambda: impact(work, world, packs, fact, running, cache=first.cache))
    id_ = next(w for w in work if len(first.allowed(w)) < nodes // 2)
    _, explain_s = _timed(lambda: first.changes(id_))
    refused, hostile_s, slowest_s = _hostile(hostile, rng)
    return {
        "bench": "policy", "workloads": workloads, "nodes": nodes,
        "classes": len({s.key for s in first.subjects.values()}) * len({o.key for o in first.objects.values()}),
        "screen_first_s": round(first_s, 3),
        "rescreen_operator_s": round(operator_s, 3), "asked_operator": again.asked,
        "rescreen_decision_s": round(max(row_s, law_s), 3), "impact_s": round(impact_s, 3),
        "explain_changes_s": round(explain_s, 3),
        "hostile_sets": hostile, "hostile_refused": refused, "hostile_s": round(hostile_s, 3),
        "hostile_slowest_ms": round(slowest_s * 1_000, 1), **policy_prove.measure(),
    }  # fmt: skip


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    value = call()
    return value, time.perf_counter() - started


def _fabric(count: int, rng: random.Random) -> Fabric:
    operators = {}
    for n in range(OPERATORS):
        seat = COUNTRIES[n % len(COUNTRIES)]
        held = (Parent(name=f"holder {n}", country=CountryCode(rng.choice(COUNTRIES))),) if n % 3 == 0 else ()
        operators[OperatorId(f"op{n:02}")] = Operator(
            id=OperatorId(f"op{n:02}"), name=f"op{n:02}", seat=CountryCode(seat), parents=held, grade=Grade(n % 4),
            seal={"legal": n % 5, "data": (n // 2) % 5}, certificates=("scc-tia",) if n % 4 == 0 else (),
        )  # fmt: skip
    place = Place(city="x", latitude_deg=50.0, longitude_deg=8.0)
    sites = {
        SiteId(f"s-{c}"): Site(id=SiteId(f"s-{c}"), country=CountryCode(c), place=place, grid_zone=c) for c in COUNTRIES
    }
    nodes = {}
    for n in range(count):
        operator = n % OPERATORS
        country = COUNTRIES[(operator + n // OPERATORS % 4) % len(COUNTRIES)]
        nodes[NodeId(f"n{n:05}")] = Node(
            id=NodeId(f"n{n:05}"), site=SiteId(f"s-{country}"), operator=OperatorId(f"op{operator:02}"), tier=Tier.CORE,
            capacity=Resources(), price=Price(cpu_core_hour_microeur=1, memory_gib_hour_microeur=1),
            power=Power(idle_mw=1, per_core_mw=1),
        )  # fmt: skip
    return Fabric(sites=sites, operators=operators, nodes=nodes)


def _workloads(count: int, rng: random.Random) -> dict[WorkloadId, Workload]:
    kinds = [
        (
            Data(classes=(rng.choice(["personal", "health", "public"]),), subjects=(rng.choice(["EEA", "DE", "GB"]),)),
            Sovereignty(
                packs=rng.choice([(), ("gdpr",), ("gdpr", "uk"), ("gdpr", "us-dpf"), ("nis2",)]),
                seal={"legal": rng.randrange(4)}, location_only=rng.choice([(), ("EEA",), ("EU",)]),
                control_exclude=rng.choice([(), (CountryCode("US"),), (CountryCode("US"), CountryCode("CN"))]),
            ),
        )
        for _ in range(60)
    ]  # fmt: skip
    work = {}
    for n in range(count):
        id_ = WorkloadId(f"bench.w{n:05}")
        data, own = kinds[n % len(kinds)]
        work[id_] = Workload(
            id=id_, kind=Kind.FUNCTION, namespace="bench", name=f"w{n:05}", artifact=Digest("sha256:" + "0" * 64),
            artifact_bytes=1, route=Route(path=f"/{n}"), resources=Resources(), data=data, sovereignty=own,
        )  # fmt: skip
    return work


def _bought(fabric: Fabric) -> Fabric:
    id_ = OperatorId("op07")
    held = replace(fabric.operators[id_], parents=(Parent(name="buyer", country=CountryCode("US")),))
    return replace(fabric, operators={**fabric.operators, id_: held})


def _fallen(packs: PackSet, row: str) -> PackSet:
    """The packs as they are read once a decision has fallen."""
    files = dict(read_packs())
    name = "facts/jurisdictions.yaml"
    old = next(line for line in files[name].splitlines() if f"id: {row}," in line)
    files[name] = files[name].replace(old, old.replace("assurance:", "until: 2026-11-01, assurance:"))
    return parse_packs(files)


def _hostile(count: int, rng: random.Random) -> tuple[int, float, float]:
    """Parse broken and bloated rules; whatever is not a PolicyError fails the run."""
    words = ["principal", "resource.grade", "forbid", "permit", "(", ")", "{", "}", "&&", "||", "when", ";", '"', "@id",
             "99999999999999999999", "unless", "in", "==", "\u202e", "//", "\\", "if", "then", "else", "["]  # fmt: skip
    meta = read_packs()["c5/pack.yaml"].replace("name: c5", "name: x")
    facts = {"facts/jurisdictions.yaml": read_packs()["facts/jurisdictions.yaml"], "x/pack.yaml": meta}
    head = '@id("x.a")\n@cite("c")\n@message("m")\nforbid (principal, action, resource) when { %s };'
    refused, slowest = 0, 0.0
    small = {"facts/jurisdictions.yaml": _SMALL, "x/pack.yaml": meta}
    started = time.perf_counter()
    for n in range(count):
        match n % 4:
            case 0:
                text = " ".join(rng.choices(words, k=rng.randrange(1, 60)))
            case 1:
                text = head % ("(" * (n % 400) + "true" + ")" * (n % 400))
            case 2:
                text = head % " || ".join(["resource.grade > 1"] * (n % 300 + 1))
            case _:
                text = head % " ".join(rng.choices(words, k=rng.randrange(1, 30)))
        at = time.perf_counter()
        try:
            parse_packs({**small, "x/x.cedar": text})
        except HanseError:
            refused += 1
        slowest = max(slowest, time.perf_counter() - at)
    took = time.perf_counter() - started
    parse_packs(facts)
    return refused, took, slowest


_SMALL = "countries: {DE: Germany}\n"


if __name__ == "__main__":
    main()
