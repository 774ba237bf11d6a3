"""Proves: what a change of rules or facts would do is told before it is made, and is what then happens."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hanse.adapters.package_data import read_packs
from hanse.core.fabric import Fabric, Offer
from hanse.core.ids import CountryCode, NodeId, OperatorId
from hanse.core.time import WallTime
from hanse.core.work import Data, Workload
from hanse.policy import (
    FactError,
    PackSet,
    PolicyDiff,
    Screening,
    World,
    diff,
    impact,
    parse_packs,
    parse_supposition,
    screen,
)

FACTS = "facts/jurisdictions.yaml"


def _suppose(fabric: Fabric, packs: PackSet, now: WallTime, work: Workload, node: str, *facts: str) -> PolicyDiff:
    world = World(fabric=fabric, facts=packs.facts, now=now)
    return impact({work.id: work}, world, packs, [parse_supposition(f) for f in facts], [(work.id, NodeId(node))])


def test_a_bought_operator_moves_what_it_runs(fabric: Fabric, packs: PackSet, now: WallTime, triage: Workload) -> None:
    found = _suppose(fabric, packs, now, triage, "fra-1", "operator/hafen.parent=US")
    assert found.stops == ()
    assert [(one.node, one.homes) for one in found.moves] == [("fra-1", ("sto-1", "waw-1", "zrh-1"))]
    assert found.moves[0].reasons[0].message == (
        "the law of US reaches hafen, which runs fra-1, wherever the machine stands: "
        "Hafen <- a holder in US (US, 100 %)"
    )
    assert "suppose operator/hafen.parent=US" in found.changes


def test_with_every_operator_bought_there_is_no_legal_home(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload(control_exclude=(CountryCode("US"),))
    found = _suppose(fabric, packs, now, work, "fra-1", "operator/hafen.parent=US", "operator/polar.seat=US")
    assert found.moves == ()
    assert [one.node for one in found.stops] == ["fra-1"]
    assert [reason.rule for reason in found.stops[0].reasons] == ["control.excluded-operator"]
    assert found.homeless == (work.id,)
    assert found.housed == ()


def test_a_holder_that_leaves_opens_nodes(fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace) -> None:
    work = make.workload(control_exclude=(CountryCode("US"),))
    found = _suppose(fabric, packs, now, work, "fra-1", "operator/nimbus.parent=none")
    assert [(turn.nodes, turn.is_allowed) for turn in found.turns] == [(("dub-1",), True)]
    assert [reason.rule for reason in found.turns[0].reasons] == ["control.excluded-operator"], "what denied before"


def test_a_date_or_a_decision_that_falls_is_a_fact_too(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload(packs=("gdpr",), data=Data(classes=("personal",), subjects=("EEA",)))
    for fact in ("adequacy/eea-ch.until=2026-11-21", "adequacy/eea-ch.from=2027-01-01"):
        found = _suppose(fabric, packs, now, work, "zrh-1", fact)
        assert [one.node for one in found.moves] == ["zrh-1"]
        assert any(change.startswith("adequacy/eea-ch is changed") for change in found.changes)
    assert _suppose(fabric, packs, now, work, "zrh-1", "date=1999-01-01").moves[0].node == "zrh-1"


@pytest.mark.parametrize(
    ("fact", "turned"),
    [
        ("operator/hafen.grade=4", ()),
        ("operator/hafen.seal.legal=1", ("fra-1", "par-1")),
        ("node/sto-1.grade=0", ("sto-1",)),
        ("site/fra.country=US", ("fra-1",)),
        ("operator/hafen.certificate=us-dpf", ()),
        ("operator/hafen.certificate=-us-dpf", ()),
    ],
)
def test_each_kind_of_fact(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace, fact: str, turned: tuple[str, ...]
) -> None:
    work = make.workload(seal={"legal": 2}, grade=1, control_exclude=(CountryCode("US"),))
    found = _suppose(fabric, packs, now, work, "par-1", fact)
    assert tuple(sorted(node for turn in found.turns for node in turn.nodes)) == turned


@pytest.mark.parametrize(
    ("demands", "facts", "turned"),
    [
        ({"control_exclude": (CountryCode("US"),)}, ["operator/hafen.keys=US"], ("fra-1", "par-1")),
        ({"control_exclude": (CountryCode("US"),)}, ["operator/hafen.support=DE,US"], ("fra-1", "par-1")),
        ({"control_exclude": (CountryCode("US"),)},
         ["operator/hafen.keys=US", "operator/hafen.support=US", "operator/hafen.keys=none",
          "operator/hafen.support=none"], ()),
        ({"cada": 1}, ["operator/hafen.cada=1"], ("fra-1", "par-1")),
        ({"packs": ("c5",)}, ["operator/hafen.certificate=bsi-c5"], ()),
        ({"packs": ("c5",)}, ["operator/hafen.verified=bsi-c5@2027-01-01"], ("fra-1", "par-1")),
        ({"packs": ("c5",)}, ["operator/hafen.verified=bsi-c5@2026-11-21"], ()),
        ({"packs": ("c5",)}, ["operator/hafen.verified=bsi-c5", "operator/hafen.verified=-bsi-c5"], ()),
        ({"packs": ("measured",)}, ["node/sto-1.measured=400"], ("sto-1",)),
        ({"packs": ("measured",)}, ["node/sto-1.measured=600"], ()),
        ({"packs": ("measured",)}, ["node/sto-1.measured=400", "node/sto-1.measured=none"], ()),
        ({"packs": ("measured",)}, ["node/sto-1.measured=400", "node/sto-1.measured=contradicted"], ()),
    ],
)  # fmt: skip
def test_keys_staff_levels_credentials_and_measured_places_may_be_supposed(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace,
    demands: dict[str, object], facts: list[str], turned: tuple[str, ...],
) -> None:  # fmt: skip
    found = _suppose(fabric, packs, now, make.workload(**demands), "par-1", *facts)
    assert tuple(sorted(node for turn in found.turns for node in turn.nodes)) == turned


def test_a_service_is_supposed_apart_from_its_operator(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    hafen = replace(fabric.operators[OperatorId("hafen")], offers=(Offer(name="vault"),))
    served = replace(fabric.nodes[NodeId("fra-1")], service="vault")
    apart = replace(fabric, operators={**fabric.operators, hafen.id: hafen}, nodes={**fabric.nodes, served.id: served})
    asks = make.workload(seal={"legal": 4}, cada=1)
    facts = ["operator/hafen/vault.seal.legal=4", "operator/hafen/vault.cada=1"]
    for wanted, turned in ((facts, ("fra-1",)), (facts[:1], ()), (facts[1:], ())):
        found = _suppose(apart, packs, now, asks, "par-1", *wanted)
        assert tuple(node for turn in found.turns for node in turn.nodes) == turned
    with pytest.raises(FactError, match="no service 'vaul'"):
        _suppose(apart, packs, now, asks, "par-1", "operator/hafen/vaul.cada=1")


@pytest.mark.parametrize(
    "fact",
    ["hafen.parent=US", "operator/hafen.colour=red", "operator/hafen.seal.taste=2", "operator/hafen.grade=9",
     "operator/hafen.cada=5", "operator/hafen/vault.seat=DE", "node/sto-1.measured=far", "node/sto-1.measured=-3",
     "adequacy/eea-ch.until=soon", "node/sto-1.country=US", "date=tomorrow", ""],
)  # fmt: skip
def test_what_is_no_fact_is_refused_with_what_would_be(fact: str) -> None:
    with pytest.raises(FactError) as caught:
        parse_supposition(fact)
    assert caught.value.code == "policy.fact"
    assert caught.value.hint


@pytest.mark.parametrize(
    "fact",
    ["operator/hafen.keys=XX", "operator/hafen.support=DE,XX", "operator/hafen/vault.cada=4",
     "operator/nobody.parent=US", "operator/hafen.parent=XX", "operator/hafen.seat=Atlantis", "node/no-1.grade=1",
     "site/nowhere.country=DE", "site/fra.country=XX", "adequacy/none.until=2027-01-01"],
)  # fmt: skip
def test_a_fact_about_nothing_known_is_refused(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace, fact: str
) -> None:
    with pytest.raises(FactError):
        _suppose(fabric, packs, now, make.workload(), "fra-1", fact)


def test_an_impact_changes_nothing_that_it_was_given(
    fabric: Fabric, packs: PackSet, now: WallTime, triage: Workload
) -> None:
    before = screen({triage.id: triage}, fabric, packs, now)
    _suppose(fabric, packs, now, triage, "fra-1", "operator/hafen.parent=US", "adequacy/eea-ch.until=2026-11-21")
    assert screen({triage.id: triage}, fabric, packs, now).digest == before.digest


def test_a_diff_of_packs_names_rules_rows_and_who_is_affected(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    work = make.workload(packs=("gdpr",), data=Data(classes=("personal",), subjects=("EEA",)))
    files = dict(read_packs())
    files["location/location.cedar"] = files["location/location.cedar"].replace("stands in", "is in")
    row = next(line for line in files[FACTS].splitlines() if "id: eea-ch," in line)
    files[FACTS] = files[FACTS].replace(row, row.replace("from: 2000-07-26", "from: 2000-07-26, until: 2026-11-01"))
    after = parse_packs(files)
    found = diff(_screen(work, fabric, packs, now), _screen(work, fabric, after, now), [(work.id, NodeId("zrh-1"))])
    assert found.changes == (
        "rule location.contradicted is rewritten (location/location.cedar:8)",
        "rule location.outside is rewritten (location/location.cedar:1)",
        "adequacy/eea-ch is changed: from 2000-07-26 until 2026-11-01",
    )
    assert [(turn.nodes, turn.is_allowed) for turn in found.turns] == [(("zrh-1",), False)]
    assert [one.homes for one in found.moves] == [("dub-1", "fra-1", "par-1", "sto-1", "waw-1")]


def test_equal_packs_differ_in_nothing(fabric: Fabric, packs: PackSet, now: WallTime, triage: Workload) -> None:
    one = _screen(triage, fabric, packs, now)
    nothing = PolicyDiff(changes=(), moves=(), stops=(), homeless=(), housed=(), turns=())
    assert diff(one, one, [(triage.id, NodeId("fra-1"))]) == nothing


def test_workloads_and_nodes_that_only_one_side_knows_are_left_out(
    fabric: Fabric, packs: PackSet, now: WallTime, triage: Workload
) -> None:
    fewer = replace(fabric, nodes={k: v for k, v in fabric.nodes.items() if k != "fra-1"})
    found = diff(
        _screen(triage, fabric, packs, now), _screen(triage, fewer, packs, now), [(triage.id, NodeId("fra-1"))]
    )
    assert (found.moves, found.stops, found.turns) == ((), (), ())


def _screen(work: Workload, fabric: Fabric, packs: PackSet, now: WallTime) -> Screening:
    return screen({work.id: work}, fabric, packs, now)


def test_only_what_a_fallen_decision_touches_is_asked_again(
    fabric: Fabric, packs: PackSet, now: WallTime, make: SimpleNamespace
) -> None:
    data = Data(classes=("personal",), subjects=("EEA",))
    under_law = make.workload("a", packs=("gdpr",), data=data)
    elsewhere = make.workload("b", packs=("switzerland",), data=data)
    work = {w.id: w for w in (under_law, elsewhere)}
    files = dict(read_packs())
    row = next(line for line in files[FACTS].splitlines() if "id: eea-ch," in line)
    files[FACTS] = files[FACTS].replace(row, row.replace("from: 2000-07-26", "from: 2000-07-26, until: 2026-11-01"))
    before = screen(work, fabric, packs, now)
    after = screen(work, fabric, parse_packs(files), now, before.cache)
    assert after.asked == before.asked // 2, "the work that no rule of the Union's binds keeps its answers"
    fresh = screen(work, fabric, parse_packs(files), now)
    assert [fresh.allowed(w) for w in work] == [after.allowed(w) for w in work]
