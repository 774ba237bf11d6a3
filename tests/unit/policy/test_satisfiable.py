"""Proves: demands that contradict each other are told apart from a fabric that has no such node."""

from __future__ import annotations

from types import SimpleNamespace

from hanse.adapters.package_data import read_packs
from hanse.core.ids import CountryCode
from hanse.core.time import WallTime
from hanse.core.work import Data
from hanse.policy import PackSet, countries_that_could_do, dead_ends, parse_packs

META = (
    "name: x\nscope: s\nnot_covered: n\nas_of: 2026-11-21\nassurance: verified\napplies: named\nbasis: choice\n"
    "sources: []\n"
)


def test_no_shipped_pack_is_a_dead_end(packs: PackSet, now: WallTime) -> None:
    assert dead_ends(packs, now) == ()


def test_a_rule_without_a_condition_is_found_with_its_line(now: WallTime) -> None:
    rule = (
        '\n@id("x.never")\n@cite("c")\n@message("m")\n'
        'forbid (principal is Workload, action == Action::"place", resource is Node);\n'
    )
    found = dead_ends(parse_packs({**read_packs(), "x/pack.yaml": META, "x/x.cedar": rule}), now)
    assert [(end.pack, end.file, end.line, end.rules) for end in found] == [("x", "x/x.cedar", 2, ("x.never",))]
    assert found[0].remedy


def test_a_place_that_is_demanded_and_excluded_is_nowhere(packs: PackSet, now: WallTime, make: SimpleNamespace) -> None:
    work = make.workload(location_only=("US",), control_exclude=(CountryCode("US"),))
    assert countries_that_could_do(work, packs, now) == ()


def test_a_demand_that_this_fabric_cannot_meet_can_be_met_elsewhere(
    packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload(location_only=("PT", "US"), control_exclude=(CountryCode("US"),), seal={"legal": 4}, grade=4)
    assert countries_that_could_do(work, packs, now) == ("PT",)


def test_a_guardrail_counts_as_much_as_a_pack_of_the_spec(packs: PackSet, now: WallTime, make: SimpleNamespace) -> None:
    work = make.workload(data=Data(classes=("payment",), subjects=("IN",)), location_only=("EEA",))
    assert "DE" in countries_that_could_do(work, packs, now)
    assert countries_that_could_do(work, packs, now, ("india",)) == ()
