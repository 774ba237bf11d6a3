"""The examples end where their manifests say they do: policy and placement on the example fabric."""

from __future__ import annotations

from pathlib import Path

import pytest

from hanse.adapters.gazetteer import read_gazetteer
from hanse.adapters.intensity import read_intensities
from hanse.adapters.package_data import read_packs
from hanse.core.ids import Digest, NodeId, WorkloadId
from hanse.core.plan import Plan
from hanse.core.rng import Rng
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.time import WallTime
from hanse.manifest import load
from hanse.placement import audit, plan
from hanse.policy import Screening, parse_packs, screen

ROOT = Path(__file__).parents[3]
NOW = WallTime(1_795_262_400_000_000)  # 2026-11-21T12:00:00Z
TRIAGE, TARIFF, ABROAD = WorkloadId("clinic.triage"), WorkloadId("grid.tariff"), WorkloadId("clinic.abroad")


@pytest.fixture(scope="module")
def decided() -> tuple[Snapshot, Screening, Plan]:
    paths = [ROOT / "examples/fabric/europe.yaml", *sorted((ROOT / "examples/functions").glob("*/function.yaml"))]
    manifests = load([(str(path), path.read_text(encoding="utf-8")) for path in paths])
    fabric = manifests.fabric()
    digest = Digest("sha256:" + "0" * 64)
    at = Snapshot(
        at_us=NOW,
        fabric=fabric,
        reach=dict.fromkeys(fabric.nodes, Reach.READY),
        workloads={item.id: item.to_workload(digest, 18 * 2**20, 1) for item in manifests.functions},
        running=(),
        intensity_g_per_kwh=read_intensities(),
        gazetteer=read_gazetteer(),
    )
    verdicts = screen(at.workloads, fabric, parse_packs(read_packs()), NOW)
    return at, verdicts, plan(at, verdicts, None, now=NOW, rng=Rng(0).stream("placement"), trigger="test")


def nodes_of(plan: Plan, workload: WorkloadId) -> set[NodeId]:
    return {item.node for item in plan.assignments if item.workload == workload}


def test_the_plan_for_the_examples_has_no_findings(decided: tuple[Snapshot, Screening, Plan]) -> None:
    at, verdicts, planned = decided
    assert audit(planned, at, verdicts) == ()


def test_health_data_stays_away_from_the_operator_under_us_control(decided: tuple[Snapshot, Screening, Plan]) -> None:
    _, verdicts, planned = decided
    assert NodeId("dub-1") not in verdicts.allowed(TRIAGE)
    assert len(verdicts.allowed(TRIAGE)) >= 3
    assert len(nodes_of(planned, TRIAGE)) >= 2
    assert {reason.rule for reason in verdicts.of(TRIAGE, NodeId("dub-1")).reasons}


def test_public_data_may_run_anywhere(decided: tuple[Snapshot, Screening, Plan]) -> None:
    at, verdicts, planned = decided
    assert set(verdicts.allowed(TARIFF)) == set(at.fabric.nodes)
    assert nodes_of(planned, TARIFF)


def test_what_no_node_may_run_is_refused_with_rule_citation_and_change(
    decided: tuple[Snapshot, Screening, Plan],
) -> None:
    at, verdicts, planned = decided
    assert verdicts.allowed(ABROAD) == ()
    assert nodes_of(planned, ABROAD) == set()
    (unplaced,) = [item for item in planned.unplaced if item.workload == ABROAD]
    assert unplaced.missing >= 1
    reasons = [reason for node in at.fabric.nodes for reason in verdicts.of(ABROAD, node).reasons]
    assert all(reason.cite and reason.message for reason in reasons)
    assert verdicts.changes(ABROAD)
