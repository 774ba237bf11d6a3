"""The policy commands and their API: answers are what the pure functions say, and nothing is applied."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from api_routes import Run, answer_of, run_against

from hanse.adapters.package_data import read_packs
from hanse.core.fabric import Fabric, Node, Operator, Parent, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, InstanceId, NodeId, OperatorId, SiteId, WorkloadId
from hanse.core.snapshot import Phase, Reach, Running, Snapshot
from hanse.core.time import WallTime
from hanse.core.work import Data, Kind, Route, Sovereignty, Workload
from hanse.policy import parse_packs

NOW = WallTime(1_795_219_200_000_000)


def _snapshot() -> Snapshot:
    """Two nodes of one operator each, and one workload that runs on the first and must not be under US law."""
    place = Place(city="x", latitude_deg=50.0, longitude_deg=8.0)
    work = Workload(
        id=WorkloadId("clinic.triage"), kind=Kind.FUNCTION, namespace="clinic", name="triage", artifact_bytes=1,
        artifact=Digest("sha256:" + "0" * 64), route=Route(path="/t"), resources=Resources(), data=Data(),
        sovereignty=Sovereignty(control_exclude=(CountryCode("US"),)),
    )  # fmt: skip
    names = ("hafen", "nimbus")
    nodes = {
        NodeId(f"{n}-1"): Node(
            id=NodeId(f"{n}-1"), site=SiteId("fra"), operator=OperatorId(n), tier=Tier.CORE, capacity=Resources(),
            price=Price(cpu_core_hour_microeur=0, memory_gib_hour_microeur=0), power=Power(idle_mw=0, per_core_mw=0),
        )
        for n in names
    }  # fmt: skip
    held = (Parent(name="Nimbus Inc.", country=CountryCode("US")),)
    operators = {
        OperatorId(n): Operator(id=OperatorId(n), name=n, seat=CountryCode("DE"), parents=held if n == "nimbus" else ())
        for n in names
    }
    sites = {SiteId("fra"): Site(id=SiteId("fra"), country=CountryCode("DE"), place=place, grid_zone="DE")}
    runs = Running(
        instance=InstanceId("clinic.triage.0.1"), workload=work.id, node=NodeId("hafen-1"), ordinal=0,
        spec_generation=1, phase=Phase.RUNNING, since_us=NOW, is_wanted=True,
    )  # fmt: skip
    return Snapshot(
        at_us=NOW, fabric=Fabric(sites=sites, operators=operators, nodes=nodes), workloads={work.id: work},
        reach=dict.fromkeys(nodes, Reach.READY), running=(runs,), intensity_g_per_kwh={},
    )  # fmt: skip


async def _no_plan() -> None:
    return None


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command against the real routes over a fabric of two nodes."""
    files = read_packs()
    packs = parse_packs(files)
    pipeline = SimpleNamespace(
        packs=packs, cache=None, snapshot=_snapshot, current_plan=_no_plan, rules=lambda _: (packs, ())
    )
    accepted = SimpleNamespace(accepted_us=NOW - 9 * 86_400_000_000)
    state = SimpleNamespace(specs=lambda: {"operator.nimbus": accepted}, nodes=dict)
    controller = SimpleNamespace(config=SimpleNamespace(packs=files, guardrails=()), pipeline=pipeline, state=state)
    return run_against(controller, tmp_path, monkeypatch)


def test_the_shipped_packs_pass_their_own_cases(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "test", "-o", "json") == 0
    said = answer_of(capsys)
    assert said["wrong"] == 0
    assert said["cases"] == len(said["results"]) > 50


def test_the_example_of_a_pack_passes_its_cases(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "test", str(Path(__file__).parents[3] / "examples" / "packs" / "house"), "-o", "json") == 0
    files = {row["file"] for row in answer_of(capsys)["results"]}
    assert "house/tests/house.yaml" in files


def test_a_wrong_case_is_shown_and_fails(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = tmp_path / "house"
    (pack / "tests").mkdir(parents=True)
    (pack / "pack.yaml").write_text(
        "name: house\nscope: s\nnot_covered: n\nas_of: 2026-11-21\nassurance: verified\napplies: named\n"
        "basis: choice\nsources: []\n"
    )
    (pack / "house.cedar").write_text(
        '@id("house.nothing-in-france")\n@cite("house rule 1")\n@message("{node} stands in {country}")\n'
        'forbid (principal is Workload, action == Action::"place", resource is Node)\n'
        'when { resource.location == Jurisdiction::"FR" };\n'
    )
    row = "{name: France, when: 2026-11-21, packs: [house], node_in: FR, seat: FR, verdict: %s}\n"
    cases = pack / "tests" / "house.yaml"
    cases.write_text("cases:\n  - " + row % "allow")
    assert run("policy", "test", str(pack)) == 1
    out = capsys.readouterr().out
    assert "house/tests/house.yaml: France" in out
    assert "came out: deny house.nothing-in-france" in out
    cases.write_text("cases:\n  - " + row % "deny, rules: [house.nothing-in-france]")
    assert run("policy", "test", str(pack)) == 0


def test_impact_tells_what_would_have_no_legal_home(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "impact", "--fact", "operator/hafen.parent=US") == 0
    out = capsys.readouterr().out
    assert "Would have no legal home" in out
    assert "clinic.triage on hafen-1; no node is allowed" in out
    assert run("policy", "impact", "--fact", "operator/hafen.grade=2", "-o", "json") == 0
    assert answer_of(capsys)["turns"] == []


def test_explain_of_one_node_tells_verdict_rule_facts_with_age_and_the_nearest_change(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("explain", "clinic.triage", "--node", "nimbus-1") == 0
    assert capsys.readouterr().out == NIMBUS
    assert run("explain", "clinic.triage", "--node", "nimbus-1", "-o", "json") == 0
    said = answer_of(capsys)
    assert said["is_allowed"] is False
    assert [change["by"] for change in said["changes"]] == [["owner"], ["operator nimbus"]]
    assert [(f["subject"], f["grade"], f["as_of"]) for f in said["reasons"][0]["facts"]] == [
        ("operator/nimbus.control", 0, "2026-11-12")
    ]
    assert run("explain", "clinic.triage", "--node", "hafen-1", "-o", "json") == 0
    said = answer_of(capsys)
    assert (said["is_allowed"], said["changes"]) == (True, [])
    assert run("explain", "clinic.triage", "--node", "nowhere-1") == 3
    assert run("explain", "clinic.other", "--node", "hafen-1") == 3


NIMBUS = """\
clinic.triage on nimbus-1: denied

  the law of US reaches nimbus, which runs nimbus-1, wherever the machine stands: nimbus <- Nimbus Inc. (US, 100 %)
    rule control.excluded-operator (spec: sovereignty.control.exclude; 18 U.S.C. 2713)
    read operator/nimbus.control = DE, US; grade 0, claimed; stated 2026-11-12, 9 days ago

What would allow it
  1. Remove US from sovereignty.control.exclude -> allows nimbus-1
     spec: whose to make: owner
  2. Have Nimbus Inc. (US) give up control of nimbus: no veto, at most half -> allows nimbus-1
     fact: whose to make: operator nimbus
"""


def test_a_fact_that_is_none_is_an_error_with_its_code(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "impact", "--fact", "operator/nobody.parent=US") == 1
    said = capsys.readouterr().err
    assert "there is no operator nobody" in said
    assert "policy.fact" in said
    assert run("policy", "test", "/nowhere/at/all") == 1
    assert "policy.files" in capsys.readouterr().err


def test_a_diff_against_one_pack_lays_it_over_what_is_in_force(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "control"
    for path, text in read_packs().items():
        if path.startswith("control/"):
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("principal.control_exclude.containsAny(resource.operator.reach)", "false"))
    assert run("policy", "diff", "current", str(base), "-o", "json") == 0
    said = answer_of(capsys)
    assert said["changes"] == ["rule control.excluded-operator is rewritten (control/control.cedar:1)"]
    assert [(t["nodes"], t["is_allowed"]) for t in said["turns"]] == [(["nimbus-1"], True)]
    assert run("policy", "diff", str(base), "current") == 1, "`current` is no folder on the new side"


def test_packs_are_listed_with_what_they_do_not_cover(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "packs", "-o", "json") == 0
    said = {row["name"]: row for row in answer_of(capsys)}
    assert said["hipaa"]["assurance"] == "unverified"
    assert all(row["not_covered"] for row in said.values())
