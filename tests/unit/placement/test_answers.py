"""Rehearsed exits, headroom and the frontier on the six-node Europe fabric."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from placement_worlds import NOW, worlds

from hanse.core.fabric import Resources
from hanse.core.ids import CountryCode, OperatorId, SiteId, WorkloadId
from hanse.core.rng import Rng
from hanse.placement import Leaving, audit, frontier, headroom, rehearse

TRIAGE = WorkloadId("clinic.triage")
GOLDEN = """\
without waw-1, sto-1 (2 nodes): 1 replica moves in 2.1 s and fetches 1048576 bytes; 0.4702 EUR, -2.0 kg a month
clinic.triage: from waw-1 to fra-1"""


def told(exit_):
    names = ", ".join(reversed(exit_.nodes))
    lines = [
        f"without {names} ({len(exit_.nodes)} nodes): {exit_.moves} replica moves in {exit_.duration_us / 1e6:.1f} s "
        f"and fetches {exit_.bytes_to_fetch} bytes; {exit_.money_microeur / 1e6:.4f} EUR, "
        f"{exit_.carbon_ug / 1e9:.1f} kg a month"
    ]
    for change in exit_.difference.changed:
        lines.append(f"{change.workload}: from {', '.join(change.removed)} to {', '.join(change.added)}")
    for one in exit_.homeless:
        legal = "legal but" if one.is_legal_anywhere else "no legal home:"
        lines.append(f"{one.workload} misses {one.missing}, {legal} {one.entry.reasons[0].message}")
    return "\n".join(lines)


def exit_of(eu, world, leaving, *denied):
    return rehearse(world, eu.verdicts(world, *denied), None, leaving, now=eu.now, rng=Rng(0))


def test_the_exit_from_an_operator_says_what_moves_where_how_long_and_at_what_cost(eu):
    world = eu.snapshot(eu.triage())
    assert told(exit_of(eu, world, Leaving(operators=(OperatorId("norrsken"),)))) == GOLDEN


def test_the_exit_tells_no_legal_home_from_no_free_home(eu):
    world = eu.snapshot(eu.function(), eu.function("big", resources=Resources(cpu_milli=12_000, memory_bytes=2**30)))
    gone = Leaving(sites=(SiteId("dub"),))
    (full,) = exit_of(eu, world, gone).homeless
    assert (full.workload, full.missing, full.is_legal_anywhere) == ("clinic.big", 1, True)
    others = ("fra-1", "par-1", "sto-1", "zrh-1", "waw-1")
    illegal = exit_of(eu, world, gone, *others).homeless
    assert [(one.workload, one.is_legal_anywhere) for one in illegal] == [
        ("clinic.big", False),
        ("clinic.triage", False),
    ]


@given(worlds(), st.sampled_from(("DE", "FR", "IE", "PL")))
@settings(max_examples=40, deadline=None)
def test_never_places_anything_with_who_leaves(world, country):
    snapshot, rules = world
    leaving = Leaving(countries=(CountryCode(country),))
    exit_ = rehearse(snapshot, rules, None, leaving, now=NOW, rng=Rng(0))
    assert not {a.node for a in exit_.after.assignments} & set(exit_.nodes)
    left = {n: f for n, f in snapshot.fabric.nodes.items() if n not in exit_.nodes}
    alone = replace(snapshot, fabric=replace(snapshot.fabric, nodes=left))
    assert audit(exit_.after, alone, rules) == ()


def test_headroom_counts_what_fits_beside_everything_and_names_what_is_scarce(eu):
    spec = eu.function(resources=Resources(cpu_milli=1_000, memory_bytes=2**30), node_selector={"site": "fra"})
    world = eu.snapshot(spec)
    room = headroom(world, eu.verdicts(world), None, TRIAGE, now=eu.now)
    assert (room.replicas, room.largest, room.scarce) == (7, "fra-1", "cpu")
    assert room.nodes_by_limit == {"selector": 5}


def test_the_frontier_trades_money_for_carbon_without_dominated_points(eu):
    world = eu.snapshot(eu.function())
    prices = (0, 60_000_000, 10**9, 2 * 10**10, 10**12)
    points = frontier(world, eu.verdicts(world), None, prices, now=eu.now, rng=Rng(0))
    assert [eu.nodes_of(point.plan) for point in points] == [["dub-1"], ["sto-1"]]
    assert points[0].money_microeur < points[-1].money_microeur
    assert points[0].carbon_ug > points[-1].carbon_ug
