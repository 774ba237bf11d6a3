"""What the leader remembers of outages: charged to the widest domain that is down, and never to its own deafness."""

from __future__ import annotations

from dataclasses import replace

from placement_worlds import NOW

from hanse.control.history import down_now, observed_ppm, watched
from hanse.core.fabric import Fabric, Node, Operator, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, NodeId, OperatorId, SiteId
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.time import US_PER_S, WallTime
from hanse.placement import PlacementSettings

MINUTE_US = 60 * US_PER_S
PLACES = {"a1": ("a", "x"), "a2": ("a", "x"), "b1": ("b", "x"), "c1": ("c", "y")}
COUNTRIES = {"a": "DE", "b": "DE", "c": "FR"}


def world(*down: str, minute: int = 0) -> Snapshot:
    sites = {
        SiteId(s): Site(
            id=SiteId(s), country=CountryCode(c), grid_zone=c, place=Place(city=s, latitude_deg=0, longitude_deg=0)
        )
        for s, c in COUNTRIES.items()
    }
    operators = {OperatorId(o): Operator(id=OperatorId(o), name=o, seat=CountryCode("DE")) for o in "xy"}
    nodes = {
        NodeId(n): Node(
            id=NodeId(n), site=SiteId(s), operator=OperatorId(o), tier=Tier.CORE, capacity=Resources(),
            price=Price(cpu_core_hour_microeur=1, memory_gib_hour_microeur=1), power=Power(idle_mw=1, per_core_mw=1),
        )
        for n, (s, o) in PLACES.items()
    }  # fmt: skip
    return Snapshot(
        at_us=WallTime(NOW + minute * MINUTE_US),
        fabric=Fabric(sites=sites, operators=operators, nodes=nodes),
        reach={n: Reach.UNREACHABLE if n in down else Reach.READY for n in nodes},
        workloads={}, running=(), intensity_g_per_kwh={},
    )  # fmt: skip


def test_the_widest_domain_that_is_silent_is_charged_and_what_lies_in_it_is_not() -> None:
    assert list(down_now(world("a1"))) == ["node/a1"]
    assert list(down_now(world("a1", "a2"))) == ["site/a"]
    assert list(down_now(world("a1", "a2", "b1"))) == ["country/DE"]
    assert list(down_now(world("c1"))) == ["node/c1"], "one node alone says nothing of its site"


def test_time_adds_up_and_outages_are_counted_once() -> None:
    record = watched(None, world(), every_us=MINUTE_US)
    for minute, down in enumerate(("", "a1", "a1", "", "a1"), 1):
        record = watched(record, world(*([down] if down else []), minute=minute), every_us=MINUTE_US)
    assert record.watched_us == 5 * MINUTE_US
    assert record.outages["node/a1"].down_us == 3 * MINUTE_US
    assert record.outages["node/a1"].count == 2
    assert list(observed_ppm(record, world().fabric, PlacementSettings())) == ["node/a1"]


def test_nobody_is_charged_for_what_nobody_watched() -> None:
    record = watched(None, world(), every_us=MINUTE_US)
    assert watched(record, world("a1", minute=60), every_us=MINUTE_US).outages == {}
    deaf = replace(world(minute=1), reach=dict.fromkeys(world().reach, Reach.SUSPECT))
    assert watched(record, deaf, every_us=MINUTE_US).watched_us == 0


def test_a_domain_that_is_gone_has_no_share() -> None:
    record = watched(watched(None, world(), every_us=MINUTE_US), world("a1", minute=1), every_us=MINUTE_US)
    without = replace(world().fabric, nodes={k: v for k, v in world().fabric.nodes.items() if k != "a1"})
    assert observed_ppm(record, without, PlacementSettings()) == {}
