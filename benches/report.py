"""What every benchmark states beside its figures: machine, date, command; and how samples become figures."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """The machine's facts, as far as Linux tells them."""
    return {
        "cpu": _line("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(int(_line("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def header(bench: str) -> dict[str, Any]:
    """Name, date, commit, command and machine of one run."""
    return {
        "bench": bench,
        "date": datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": _commit(),
        "command": f"python -m benches.{bench} {' '.join(sys.argv[1:])}".strip(),
        "machine": machine(),
    }


def spread(samples: Sequence[float], digits: int = 3) -> dict[str, float | int]:
    """Median, least, greatest and count of few samples."""
    return {
        "median": round(statistics.median(samples), digits),
        "min": round(min(samples), digits),
        "max": round(max(samples), digits),
        "n": len(samples),
    }


def percentiles(samples: Sequence[float], digits: int = 3) -> dict[str, float | int]:
    """p50, p90, p99 (nearest rank), mean deviation from the median, and count of many samples."""
    ranked = sorted(samples)
    median = statistics.median(ranked)
    return {
        "p50": round(median, digits),
        "p90": round(_rank(ranked, 90), digits),
        "p99": round(_rank(ranked, 99), digits),
        "deviation": round(statistics.fmean(abs(sample - median) for sample in ranked), digits),
        "n": len(ranked),
    }


def rss_mib(pid: int) -> float:
    """Resident memory of a process, MiB."""
    return round(int(_line(f"/proc/{pid}/status", "VmRSS").split()[0]) / 1024, 1)


def pss_mib(pid: int) -> float:
    """Proportional share of a process: pages that several processes share count once among them, MiB."""
    return round(int(_line(f"/proc/{pid}/smaps_rollup", "Pss").split()[0]) / 1024, 1)


def _rank(ranked: Sequence[float], percent: int) -> float:
    return ranked[min(len(ranked) - 1, len(ranked) * percent // 100)]


def _line(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip()
