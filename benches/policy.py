"""Measure policy: screening anew after a change, explaining with the nearest change, hostile rules; one JSON line.

`python -m benches.policy --json [--workloads N] [--nodes N] [--hostile N] [--corpus]`. The fabric is made up: 60
operators in 30 countries, workloads of mixed data and demands, so that there are some hundred classes on either side.
Each figure is the best of three runs, as wall time and as CPU time: on a busy machine only the latter says much.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any, TypeVar

from benches import policy_prove
from benches.cedar_corpus import compare
from benches.hostile import try_all
from benches.report import header, spread
from hanse.adapters.package_data import read_packs
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
    parser.add_argument("--skip-prove", action="store_true", help="where no solver or no native engine is at hand")
    parser.add_argument("--corpus", action="store_true", help="the whole Cedar corpus, if HANSE_SHARED leads to it")
    options = parser.parse_args()
    figures = _measure(options.workloads, options.nodes)
    if not options.skip_prove:
        figures |= policy_prove.measure()
    figures["hostile"] = asdict(try_all(options.hostile, seed=7))
    if options.corpus:
        found = compare()
        figures["corpus"] = {"sets": found.sets, "requests": found.requests, "errors": found.errors,
                             "different": len(found.wrong)}  # fmt: skip
    print(json.dumps({**header("policy"), **figures}))


def _measure(workloads: int, nodes: int) -> dict[str, Any]:
    rng = random.Random(7)
    packs = parse_packs(read_packs())
    fabric, work = _fabric(nodes, rng), _workloads(workloads, rng)
    first, first_s = _best(lambda: screen(work, fabric, packs, NOW))
    bought = _bought(fabric)
    again, operator_s = _best(lambda: screen(work, bought, packs, NOW, first.cache))
    fallen = [_fallen(packs, row) for row in ("eea-us-dpf", "eea-ch")]
    decisions = [_best(partial(screen, work, fabric, less, NOW, first.cache))[1] for less in fallen]
    world = World(fabric=fabric, facts=packs.facts, now=NOW)
    running = [(w, first.allowed(w)[0]) for w in list(work)[:200] if first.allowed(w)]
    fact = [parse_supposition("operator/op07.parent=US")]
    _, impact_s = _best(lambda: impact(work, world, packs, fact, running, cache=first.cache))
    classes = {first.subjects[w].key: w for w in work if len(first.allowed(w)) < nodes // 2}
    explained = [_best(partial(first.changes, w))[1] for w in classes.values()]
    return {
        "workloads": workloads, "nodes": nodes, "operators": OPERATORS,
        "classes": len(first.cache.answers) * len({o.key for o in first.objects.values()}),
        "screen_first": first_s, "rescreen_operator": {**operator_s, "asked": again.asked},
        "rescreen_decision": max(decisions, key=lambda one: one["cpu_s"]), "impact": impact_s,
        "explain_changes": {
            "wall_s": spread([one["wall_s"] for one in explained]), "cpu_s": spread([one["cpu_s"] for one in explained])
        },
    }  # fmt: skip


def _best(call: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """The value, and the best of three runs."""
    wall, cpu, found = [], [], []
    for _ in range(3):
        begun = time.perf_counter(), time.process_time()
        found.append(call())
        wall.append(time.perf_counter() - begun[0])
        cpu.append(time.process_time() - begun[1])
    return found[0], {"wall_s": round(min(wall), 4), "cpu_s": round(min(cpu), 4)}


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


if __name__ == "__main__":
    main()
