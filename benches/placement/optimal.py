"""Instances with known optima: generalised assignment, facility location, cover of edge users."""

from __future__ import annotations

import csv
import math
import time
import zipfile
from pathlib import Path

import numpy as np
from benches.placement.report import Row, existing, limit_of, progress

from hanse.placement.solvers import Assigning, Effort, Model, assign, solve

EARTH_M = 6_371_000
MOST_S = 50
"""CPU time per instance; what is proved sooner ends sooner."""


def gap(data: Path, every: int = 1) -> Row:
    """Generalised assignment, minimising: every `every`-th of the 87 instances of types a, b, c."""
    folder = existing(data / "optimal" / "gap")
    bounds = {}
    for line in (folder / "bounds.txt").read_text().splitlines():
        name, low, high = line.split()
        bounds[name] = (int(low), int(high))
    gaps, stated, slowest, cpu, infeasible, above = [], [], 0.0, 0.0, 0, 0
    for path in sorted(folder.glob("*.zip"))[::every]:
        with zipfile.ZipFile(path) as archive:
            numbers = [int(word) for word in archive.read(archive.namelist()[0]).split()]
        agents, jobs = numbers[:2]
        cells = agents * jobs
        of = Assigning(
            costs=np.array(numbers[2 : 2 + cells], dtype=np.float64).reshape(agents, jobs),
            uses=np.array(numbers[2 + cells : 2 + 2 * cells], dtype=np.float64).reshape(agents, jobs),
            capacity=np.array(numbers[2 + 2 * cells : 2 + 2 * cells + agents], dtype=np.float64),
            opening=np.zeros(agents),
        )
        began, began_cpu = time.perf_counter(), time.process_time()
        found = assign(of, Effort(search_nodes=200), limit_of(MOST_S))
        slowest = max(slowest, time.perf_counter() - began)
        cpu = max(cpu, time.process_time() - began_cpu)
        progress(f"{path.stem}: {found.objective:.0f}, {time.perf_counter() - began:.1f} s")
        best = bounds[f"{path.stem}_Min"][1]
        if found.agent_of is None or _overfull(of, found.agent_of):
            infeasible += 1
            continue
        gaps.append(found.objective / best - 1)
        stated.append(found.gap)
        above += found.bound > best + 1e-6
    return {
        "instances": len(gaps) + infeasible,
        "mean_gap_percent": round(100 * float(np.mean(gaps)), 4),
        "worst_gap_percent": round(100 * max(gaps), 4),
        "at_optimum": sum(g < 1e-9 for g in gaps),
        "mean_stated_gap_percent": round(100 * float(np.mean(stated)), 4),
        "bounds_above_optimum": above,
        "infeasible": infeasible,
        "slowest_wall_s": round(slowest, 2),
        "slowest_cpu_s": round(cpu, 2),
        "bar_mean_gap_percent": 0.3,
        "bar_slowest_s": 60,
    }


def facility(data: Path, every: int = 1) -> Row:
    """Single-source capacitated facility location: every `every`-th of Holmberg's 71 instances."""
    folder = existing(data / "optimal" / "flp" / "sscflp_holmberg")
    optima = [float(word) for word in (folder / "os").read_text().split()]
    gaps, stated, slowest, cpu, infeasible, above = [], [], 0.0, 0.0, 0, 0
    for number in range(1, len(optima) + 1, every):
        words = [float(word) for word in (folder / f"p{number}").read_text().split()]
        sites, customers = int(words[0]), int(words[1])
        heads = np.array(words[2 : 2 + 2 * sites]).reshape(sites, 2)
        demands = np.array(words[2 + 2 * sites : 2 + 2 * sites + customers])
        first = 2 + 2 * sites + customers
        of = Assigning(
            costs=np.array(words[first : first + sites * customers]).reshape(sites, customers),
            uses=np.tile(demands, (sites, 1)),
            capacity=heads[:, 0],
            opening=heads[:, 1],
        )
        began, began_cpu = time.perf_counter(), time.process_time()
        found = assign(of, Effort(search_nodes=200), limit_of(MOST_S))
        slowest = max(slowest, time.perf_counter() - began)
        cpu = max(cpu, time.process_time() - began_cpu)
        progress(f"p{number}: {found.objective:.1f} of {optima[number - 1]:.1f}, {time.perf_counter() - began:.1f} s")
        best = optima[number - 1]
        if found.agent_of is None or _overfull(of, found.agent_of):
            infeasible += 1
            continue
        gaps.append(found.objective / best - 1)
        stated.append(found.gap)
        above += found.bound > best + 1e-6
    return {
        "instances": len(gaps) + infeasible,
        "mean_gap_percent": round(100 * float(np.mean(gaps)), 4),
        "worst_gap_percent": round(100 * max(gaps), 4),
        "at_optimum": sum(g < 1e-9 for g in gaps),
        "mean_stated_gap_percent": round(100 * float(np.mean(stated)), 4),
        "bounds_above_optimum": above,
        "infeasible": infeasible,
        "slowest_wall_s": round(slowest, 2),
        "slowest_cpu_s": round(cpu, 2),
        "bar_mean_gap_percent": 0.5,
    }


def cover(data: Path) -> Row:
    """Fewest edge sites that cover the users of Melbourne, and most users with few sites, per radius."""
    folder = existing(data / "eua")
    sites = _points(folder / "site-optus-melbCBD.csv", "LATITUDE", "LONGITUDE")
    users = _points(folder / "users-melbcbd-generated.csv", "Latitude", "Longitude")
    distance_m = _haversine_m(sites, users)
    fewest, most = {}, {}
    for radius in (100, 150, 200, 250, 300):
        within = distance_m <= radius
        coverable = within.any(axis=0)
        model = Model()
        model.add_columns(np.ones(len(sites)), 1.0)
        for user in np.flatnonzero(coverable).tolist():
            model.add_row(np.flatnonzero(within[:, user]), 1.0, lower=1.0)
        fewest[radius] = round(solve(model).objective)
        most[radius] = [_most_covered(within, count) for count in (5, 10, 20)]
    expected = {100: 75, 150: 45, 200: 26, 250: 16, 300: 10}
    expected_most = {100: [110, 200, 354], 150: [209, 378, 620], 200: [335, 597, 798], 250: [495, 766, 816],
                     300: [620, 816, 816]}  # fmt: skip
    return {
        "fewest_sites_by_radius_m": fewest,
        "most_users_with_5_10_20_sites": most,
        "equal_to_reference": fewest == expected and most == expected_most,
    }


def _most_covered(within: np.ndarray[tuple[int, int], np.dtype[np.bool_]], count: int) -> int:
    sites = within.shape[0]
    patterns, weights = np.unique(within[:, within.any(axis=0)].T, axis=0, return_counts=True)
    model = Model()
    model.add_columns(np.zeros(sites), 1.0)
    served = model.add_columns(-weights.astype(np.float64), 1.0, is_whole=False)
    for index, pattern in enumerate(patterns):
        near = np.flatnonzero(pattern)
        model.add_row(np.append(near, served + index), np.append(np.ones(len(near)), -1.0), lower=0.0)
    model.add_row(np.arange(sites), 1.0, upper=float(count))
    return round(-solve(model).objective)


def _overfull(of: Assigning, agent_of: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bool:
    used = np.bincount(agent_of, weights=of.uses[agent_of, np.arange(len(agent_of))], minlength=len(of.capacity))
    return bool((used > of.capacity + 1e-9).any())


def _points(path: Path, latitude: str, longitude: str) -> list[tuple[float, float]]:
    with existing(path).open(encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        return [(float(row[latitude]), float(row[longitude])) for row in rows]


def _haversine_m(
    sites: list[tuple[float, float]], users: list[tuple[float, float]]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([[_metres(a, b) for b in users] for a in sites])


def _metres(a: tuple[float, float], b: tuple[float, float]) -> float:
    p, q = math.radians(a[0]), math.radians(b[0])
    step = math.sin((q - p) / 2) ** 2 + math.cos(p) * math.cos(q) * math.sin(math.radians(b[1] - a[1]) / 2) ** 2
    return 2 * EARTH_M * math.asin(math.sqrt(step))
