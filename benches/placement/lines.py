"""Each instance's figures as lines of one table: what, ours, reference, bar, met.

`name, row -> lines`. `met` is None where a bar is about time and the machine was loaded, or where nothing was promised.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benches.placement.report import Row

Line = dict[str, Any]
_FULL_SCALE = 100_000
_SAMPLED = 0.2
"""Points by which a mean over every eleventh hour may lie off one over all."""


def lines(name: str, row: Row) -> list[Line]:
    """The lines of one instance; one that says why it was skipped."""
    if "skipped" in row:
        return [_line(name, f"skipped: {row['skipped']}", "", "", None)]
    return list(_OF[name.partition("-")[0]](row))


def _line(what: str, ours: str, reference: str, bar: str, met: bool | None) -> Line:
    return {"what": what, "ours": ours, "reference": reference, "bar": bar, "met": met}


def _rate(row: Row) -> Iterator[Line]:
    ours = f"{row['per_s_wall_best']}/s wall, {row['per_s_cpu_best']}/s of CPU time"
    reference = "kube-scheduler gate 810/s (180/s with devices), Nomad 3,750/s, Dirigent 2,500/s"
    bar = 20_000 if row["nodes"] <= 5_000 else 15_000
    met = row["per_s_wall_best"] >= bar
    yield _line(f"incremental, {row['nodes']} nodes", ours, reference, f"{bar}/s", met)


def _scale(row: Row) -> Iterator[Line]:
    bar, what = row["bar"], f"{row['nodes']} nodes, {row['placements']} replicas"
    if row["nodes"] < _FULL_SCALE:
        bar = dict.fromkeys(bar)  # The bars speak of the whole size.
    first = f"{row['first_plan_wall_s']} s wall, {row['first_plan_cpu_s']} s of CPU time"
    yield _line(f"{what}: first plan", first, "", *_at_most(row["first_plan_wall_s"], bar["first_plan_s"], "s"))
    wall, cpu = row["event_wall_ms"], row["event_cpu_ms"]
    event = f"p50 {cpu['p50']} ms, p99 {cpu['p99']} ms of CPU time; p99 {wall['p99']} ms wall ({row['events']} events)"
    yield _line(
        f"{what}: an event",
        event,
        "Karmada p99 32 ms per cluster decision",
        *_at_most(wall["p99"], bar["event_p99_ms"], "ms"),
    )
    memory = row["peak_memory_gib"]
    yield _line(f"{what}: peak memory", f"{memory} GiB", "", *_at_most(memory, bar["memory_gib"], "GiB"))


def _at_most(value: float, bar: float | None, unit: str) -> tuple[str, bool | None]:
    return ("", None) if bar is None else (f"{bar} {unit}", value <= bar)


def _openb(row: Row) -> Iterator[Line]:
    for share, key in ((100, "allocated_percent_at_100"), (130, "allocated_percent_at_130")):
        best = row["reference_at_100_130"]["FGD"][0 if share == 100 else 1]
        what = f"openb {row['workload']}, {share} % arrived, {row['seeds']} seeds"
        yield _line(what, f"{row[key]} % allocated", f"FGD {best} %", f"{best} %", row[key] > best)
    what = f"openb {row['workload']}, 130 % arrived, all of it placed anew"
    yield _line(what, f"{row['repacked_percent_at_130']} % allocated", "no published run repacks", "", None)


def _carbon(row: Row) -> Iterator[Line]:
    ours = f"worst gap {row['worst_gap_percent']} % in {len(row['cells'])} cells"
    met = row["worst_gap_percent"] <= row["bar_gap_percent"]
    yield _line("carbon, latency, capacity: 30 zones", ours, "LP optimum; greedy 8.3 % off", "0.1 %", met)


def _optimal(what: str, row: Row) -> Iterator[Line]:
    ours = (
        f"mean gap {row['mean_gap_percent']} %, worst {row['worst_gap_percent']} %, {row['at_optimum']} of "
        f"{row['instances']} at the optimum, {row['infeasible']} infeasible; "
        f"slowest {row['slowest_wall_s']} s"
    )
    met = row["mean_gap_percent"] <= row["bar_mean_gap_percent"] and not row["infeasible"]
    bar, most_s = f"mean {row['bar_mean_gap_percent']} %", row.get("bar_slowest_s")
    if most_s is not None:
        met, bar = met and row["slowest_wall_s"] <= most_s, f"{bar}, {most_s} s each"
    yield _line(what, ours, "known optima", bar, met)


def _gap(row: Row) -> Iterator[Line]:
    yield from _optimal(f"generalised assignment, {row['instances']} instances", row)


def _facility(row: Row) -> Iterator[Line]:
    yield from _optimal(f"facility location (Holmberg), {row['instances']} instances", row)


def _cover(row: Row) -> Iterator[Line]:
    ours = "equal" if row["equal_to_reference"] else str(row["fewest_sites_by_radius_m"])
    yield _line("edge users of Melbourne", ours, "exact solve", "equal", row["equal_to_reference"])


def _fenced(row: Row) -> Iterator[Line]:
    ours = f"mean gap {row['mean_gap_percent']} %, {row['bounds_above_a_known_plan']} bounds too high"
    met = row["mean_gap_percent"] <= row["bar_mean_gap_percent"] and not row["bounds_above_a_known_plan"]
    what = f"fenced fabrics up to 200 x 400, {row['fabrics']} of them"
    yield _line(what, ours, f"CP-SAT, {row['optima_proven']} optima proven", "mean 1 %", met)


def _edge(row: Row) -> Iterator[Line]:
    for idle, one in row["union_by_idle_percent"].items():
        what = f"edge, EU only, at most {row['extra_one_way_ms_at_most']} ms more one way, sites {idle} % idle"
        mean, most = one["one_way_ms_mean_most"]
        ours = f"{one['saved_percent']} % saved; one way {mean} ms on average, {most} at most"
        if "optimum_percent" in one:
            ours += (
                f"; the optimum by another solver is {one['optimum_percent']} %, "
                f"with no latency limit at all {one['without_latency_limit_percent']} %"
            )
        reference = "CarbonEdge 67.8 % in Europe with sites, traces and room of its own, which are not public"
        yield _line(what, ours, reference, "67.8 %", row["met"][idle])
    if "least_idle_percent_for_the_bar" in row:
        ours = f"{row['least_idle_percent_for_the_bar']} % idle"
        anyone = f"with no latency limit {row['least_idle_percent_without_latency_limit']} % idle"
        yield _line("the same: least room at which 67.8 % can be saved", ours, anyone, "", None)
    nations = row["one_country_50_percent_idle"].items()
    told = ", ".join(f"{country} {one['saved_percent']} %" for country, one in nations)
    is_zero = all(one["saved_percent"] == 0 for one in row["one_country_50_percent_idle"].values() if one["zones"] == 1)
    yield _line("the same inside one country, sites 50 % idle", told, "", "0 where a country is one zone", is_zero)
    for zone, saved in row["waiting_saved_percent"].items():
        bound = row["waiting_bound_percent"][zone]
        met = abs(saved - bound) <= 0.1
        yield _line(f"1 h of work that may wait 24 h, {zone}", f"{saved} % saved", f"bound {bound} %", "", met)
    for length, (whole, parts) in row["waiting_everywhere_percent"].items():
        bounds = row["waiting_published_percent"][length]
        met = abs(whole - bounds[0]) <= _SAMPLED and abs(parts - bounds[1]) <= _SAMPLED
        what = f"{length} h of work that may wait 24 h, 123 zones, in one piece and in pieces"
        yield _line(what, f"{whole} and {parts} % saved", f"published bound {bounds[0]} and {bounds[1]} %", "", met)


def _unseen(row: Row) -> Iterator[Line]:
    for kind, one in row.items():
        if not isinstance(one, dict):
            continue
        if kind == "gpus":
            ours = (
                f"{one['mean_of_the_most_percent']} % of the GPU share that can be placed, "
                f"worst {one['worst_of_the_most_percent']} %"
            )
            reference, bar, met = f"CP-SAT, {one['optima_proven']} of {one['instances']} proven", "", None
        else:
            most = _UNSEEN_BARS[kind.partition(" ")[0]]
            ours = (
                f"mean gap {one['mean_gap_percent']} %, worst {one['worst_gap_percent']} %; "
                f"{one['bounds_above_a_known_plan']} bounds too high, {one['infeasible']} without an answer"
            )
            if "missing_beyond_exact" in one:
                ours += (
                    f"; {one['missing_beyond_exact']} replicas unplaced that have a place, "
                    f"{one['incremental_missing_beyond_exact']} by the incremental solver alone"
                )
            gap = one["mean_gap_percent"]
            is_sound = not one["bounds_above_a_known_plan"] and not one["infeasible"]
            reference, bar = f"CP-SAT, {one['optima_proven']} of {one['instances']} proven", f"mean {most} %"
            met = gap is not None and gap <= most and is_sound and not one.get("missing_beyond_exact")
        yield _line(f"unseen instances: {kind}", ours, reference, bar, met)


_UNSEEN_BARS = {"gap": 0.3, "facility": 0.5, "fenced": 1.0}
_OF = {
    "rate": _rate, "scale": _scale, "events": _scale, "openb": _openb, "carbon": _carbon, "gap": _gap,
    "facility": _facility, "cover": _cover, "fenced": _fenced, "edge": _edge,
    "unseen": _unseen,
}  # fmt: skip
