"""Measure the planner beside its references. Prints one JSON line on stdout, all else on stderr.

`python -m benches.placement --json [--only NAME ...] [--seeds N]`. Instances from public data read
`$HANSE_SHARED/data` (default `../shared`, relative to the repository) and are skipped with a reason where it is absent.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benches.placement import carbon, edge, fenced, openb, optimal, rate, scale, unseen
from benches.placement.lines import lines
from benches.placement.report import Row, Skipped
from benches.report import header

INSTANCES: Mapping[str, Callable[[Path, int], Row]] = {
    "rate-5000": lambda data, seeds: rate.measure(5_000),
    "rate-10000": lambda data, seeds: rate.measure(10_000),
    "scale": lambda data, seeds: scale.measure(100_000, 1_000_000, 100 * seeds),
    "events-10000": lambda data, seeds: scale.measure(10_000, 100_000, 50 * seeds),
    "edge": lambda data, seeds: edge.measure(data),
    "openb-default": lambda data, seeds: openb.measure(data, "default", seeds),
    "openb-gpuspec33": lambda data, seeds: openb.measure(data, "gpuspec33", seeds),
    "carbon": lambda data, seeds: carbon.measure(data),
    "gap": lambda data, seeds: optimal.gap(data, every=max(1, 10 // seeds)),
    "facility": lambda data, seeds: optimal.facility(data, every=max(1, 10 // seeds)),
    "fenced": lambda data, seeds: fenced.measure(seeds),
    "unseen": lambda data, seeds: unseen.measure(seeds),
    "cover": lambda data, seeds: optimal.cover(data),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benches.placement")
    parser.add_argument("--json", action="store_true", help="print the JSON line (always done; kept for `make bench`)")
    parser.add_argument("--only", action="append", choices=sorted(INSTANCES), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="one seed, every tenth instance, no scale")
    args = parser.parse_args()
    if args.quick:
        args.seeds = 1
    shared = Path(os.environ.get("HANSE_SHARED", Path(__file__).parents[2].parent / "shared"))
    results: dict[str, Row] = {}
    for name in args.only or [name for name in INSTANCES if not (args.quick and name == "scale")]:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            row = dict(INSTANCES[name](shared / "data", args.seeds))
        except Skipped as reason:
            row = {"skipped": str(reason)}
        row["total_wall_s"] = round(time.perf_counter() - wall, 2)
        row["total_cpu_s"] = round(time.process_time() - cpu, 2)
        print(name, json.dumps(row), file=sys.stderr)
        row["lines"] = lines(name, row)
        row["ran"] = {**_when(), "loop_ms": _loop_ms()}
        results[name] = row
    print(json.dumps({**header("placement"), "results": results}))


def _when() -> Row:
    about = header("placement")
    return {"date": about["date"], "commit": about["commit"], "load_1min": about["machine"]["load_1min"]}


def _loop_ms() -> float:
    """CPU time of a fixed loop, best of five: how fast this machine was, to read CPU times by."""

    def once() -> float:
        began = time.process_time()
        sum(range(1_000_000))
        return time.process_time() - began

    return round(1e3 * min(once() for _ in range(5)), 2)


if __name__ == "__main__":
    main()
