"""Measure the planner beside its references. Prints one JSON line on stdout, all else on stderr.

`python -m benches.placement --json [--only NAME ...] [--seeds N]`. Instances from public data read
`$HANSE_SHARED/data` (default `../shared`, relative to the repository) and are skipped with a reason where it is absent.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benches.placement import carbon, openb, optimal, rate
from benches.placement.report import Row, Skipped

INSTANCES: Mapping[str, Callable[[Path, int], Row]] = {
    "rate-5000": lambda data, seeds: rate.measure(5_000),
    "rate-10000": lambda data, seeds: rate.measure(10_000),
    "openb-default": lambda data, seeds: openb.measure(data, "default", seeds),
    "openb-gpuspec33": lambda data, seeds: openb.measure(data, "gpuspec33", seeds),
    "carbon": lambda data, seeds: carbon.measure(data),
    "gap": lambda data, seeds: optimal.gap(data, every=max(1, 10 // seeds)),
    "facility": lambda data, seeds: optimal.facility(data, every=max(1, 10 // seeds)),
    "cover": lambda data, seeds: optimal.cover(data),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benches.placement")
    parser.add_argument("--json", action="store_true", help="print the JSON line (always done; kept for `make bench`)")
    parser.add_argument("--only", action="append", choices=sorted(INSTANCES), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    shared = Path(os.environ.get("HANSE_SHARED", Path(__file__).parents[2].parent / "shared"))
    results: dict[str, Row] = {}
    for name in args.only or INSTANCES:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            row = dict(INSTANCES[name](shared / "data", args.seeds))
        except Skipped as reason:
            row = {"skipped": str(reason)}
        row["total_wall_s"] = round(time.perf_counter() - wall, 2)
        row["total_cpu_s"] = round(time.process_time() - cpu, 2)
        print(name, json.dumps(row), file=sys.stderr)
        results[name] = row
    machine = {"cpus": os.cpu_count(), "load_1m": round(os.getloadavg()[0], 2), "python": platform.python_version()}
    print(json.dumps({"bench": "placement", "machine": machine, "results": results}))


if __name__ == "__main__":
    main()
