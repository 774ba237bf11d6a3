"""Measure proofs: the slowest of the shipped properties, wall and processor time of each; one JSON line.

`python -m benches.policy_prove --json`. Processor time counts the compiler in this process and the solver in its own:
on a busy machine it says more than the wall clock does.
"""

from __future__ import annotations

import argparse
import datetime
import json
import resource
import time
from typing import Any

from hanse.adapters.package_data import read_packs
from hanse.adapters.prover import Prover
from hanse.core.time import from_datetime
from hanse.policy import Outcome, parse_packs, parse_properties, prove
from hanse.policy.schema import SCHEMA_TEXT

NOW = from_datetime(datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC))
PROVED = (Outcome.PROVED, Outcome.PROVED_ON_FACTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON line (the default)")
    parser.parse_args()
    print(json.dumps({"bench": "policy_prove", **measure()}))


def measure() -> dict[str, Any]:
    """Prove every shipped property, each with a solver of its own, start of its process included."""
    packs = parse_packs(read_packs())
    properties = parse_properties(packs)
    slowest, slowest_cpu, name, proved = 0.0, 0.0, "", 0
    each: dict[str, dict[str, float | str]] = {}
    for wanted in properties:
        began, began_cpu = time.perf_counter(), _cpu()
        with Prover(SCHEMA_TEXT) as analyst:
            outcome = prove(wanted, packs, NOW, analyst).outcome
        took, cpu = time.perf_counter() - began, _cpu() - began_cpu
        each[wanted.id] = {"wall_s": round(took, 3), "cpu_s": round(cpu, 3), "outcome": outcome.value}
        proved += outcome in PROVED
        slowest_cpu = max(slowest_cpu, cpu)
        if took > slowest:
            slowest, name = took, wanted.id
    return {
        "properties": len(properties), "proved": proved, "prove_slowest_s": round(slowest, 3),
        "prove_slowest_cpu_s": round(slowest_cpu, 3), "prove_slowest": name, "prove_each": each,
    }  # fmt: skip


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
