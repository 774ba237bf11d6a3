"""`hanse plan`, `hanse capacity`, `hanse explain --why-not` against the real routes over the example fabric."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from api_routes import Run, answer_of, run_against

from hanse.adapters.gazetteer import read_gazetteer
from hanse.adapters.intensity import read_intensities
from hanse.adapters.package_data import read_packs
from hanse.control.config import ControlConfig
from hanse.core.ids import ControllerId, Digest
from hanse.core.rng import Rng
from hanse.core.snapshot import Reach, Series, Snapshot
from hanse.core.time import HOUR_US, WallTime
from hanse.manifest import load
from hanse.placement import plan
from hanse.placement.solvers import Watch
from hanse.policy import parse_packs, screen

NOW = WallTime(1_795_262_400_000_000)
EXAMPLES = Path(__file__).parents[3] / "examples"
ALERT = """
apiVersion: hanse.dev/v1
kind: Function
metadata: {name: alert, namespace: clinic}
spec:
  source: ./alert.py
  route: {path: /alert}
  resources: {cpu: 500m, memory: 512Mi}
  objective: {cost: 1.0}
"""


def _snapshot() -> Snapshot:
    fabric = load([("f", (EXAMPLES / "fabric" / "europe.yaml").read_text())]).fabric()
    (document,) = load([("t", (EXAMPLES / "functions" / "triage" / "function.yaml").read_text())]).functions
    triage = document.to_workload(Digest("sha256:" + "1" * 64), 18 * 2**20, 1)
    return Snapshot(
        at_us=NOW, fabric=fabric, workloads={triage.id: triage}, reach=dict.fromkeys(fabric.nodes, Reach.READY),
        running=(), intensity_g_per_kwh=read_intensities(), gazetteer=read_gazetteer(),
        forecast={"DE": Series(start_us=NOW, step_us=HOUR_US, values=(300, 300, 200, 150, 150, 280))},
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    files = read_packs()
    packs, at = parse_packs(files), _snapshot()
    verdicts = screen(at.workloads, at.fabric, packs, NOW, None, guardrails=("gdpr",))
    stands = plan(at, verdicts, None, now=NOW, rng=Rng(0), trigger="test")

    async def current_plan() -> Any:
        return stands

    config = ControlConfig(
        id=ControllerId("c"), domain="test.hanse", api_url="", nats_urls=(), packs=files, guardrails=("gdpr",)
    )
    ticks = itertools.count(0, 250_000)
    pipeline = SimpleNamespace(
        packs=packs, cache=None, snapshot=lambda: at, current_plan=current_plan, rules=lambda _: (packs, ("gdpr",)),
        watch=lambda: Watch(clock_us=lambda: next(ticks), until_us=10**12), with_data=lambda at, _: at,
    )  # fmt: skip
    state = SimpleNamespace(datasets=dict, workloads=lambda: at.workloads)
    controller = SimpleNamespace(config=config, pipeline=pipeline, state=state)
    return run_against(controller, tmp_path, monkeypatch)


def test_a_manifest_that_is_not_deployed_is_planned_without_being_built(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "alert.yaml").write_text(ALERT)
    assert run("plan", "-f", str(tmp_path / "alert.yaml"), "-o", "json") == 0
    said = answer_of(capsys)
    (change,) = said["changes"]
    assert (change["workload"], change["action"], change["money_microeur_month_before"]) == ("clinic.alert", "new", 0)
    assert change["money_microeur_month_after"] > 0
    assert len(change["added"]) == 1
    assert said["bound_microeur"] <= said["objective_microeur"]
    assert said["solved_us"] >= 250_000
    assert run("plan", "-f", str(tmp_path / "alert.yaml")) == 0
    out = capsys.readouterr().out
    assert "1 replica: the spec asks for no availability" in out
    assert "above the best legal plan there is, known after" in out


def test_nothing_changes_where_the_plan_is_the_best_there_is(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "-o", "json") == 0
    assert [c["workload"] for c in answer_of(capsys)["changes"]] in ([], ["clinic.triage"])


def test_the_exit_from_a_country_tells_what_moves_and_what_it_costs(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", "--without", "country=FR", "-o", "json") == 0
    said = answer_of(capsys)
    assert said["nodes"] == ["par-1"]
    assert run("plan", "--without", "operator=helvetia", "--without", "operator=hansa") == 0
    out = capsys.readouterr().out
    assert "without operator=helvetia, operator=hansa" in out
    assert "without a home" in out
    assert run("plan", "--without", "operator=nobody") == 3
    assert "the fabric has no operator nobody" in capsys.readouterr().err


def test_the_frontier_is_a_table_a_plot_and_a_file(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "front.svg"
    assert run("plan", "--frontier", "cost,carbon", "--svg", str(picture)) == 0
    out = capsys.readouterr().out
    assert "EUR/t" in out
    assert "+----" in out
    assert ET.fromstring(picture.read_text()).tag.endswith("svg")
    assert run("plan", "--frontier", "cost,carbon", "--prices", "0,1000", "-o", "json") == 0
    points = answer_of(capsys)["points"]
    assert all(p["money_microeur_month"] < q["money_microeur_month"] for p, q in itertools.pairwise(points))
    assert all(p["carbon_ug_month"] > q["carbon_ug_month"] for p, q in itertools.pairwise(points))


def test_capacity_says_how_many_more_fit_and_what_runs_out(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("capacity", "-o", "json") == 0
    said = answer_of(capsys)
    (more,) = said["headrooms"]
    assert more["replicas"] > 10
    assert more["scarce"] == "cpu"
    assert [f["resource"] for f in said["free"]] == ["cpu", "memory"]
    assert run("capacity") == 0
    assert "RUNS OUT FIRST" in capsys.readouterr().out


def test_why_not_there_names_every_limit_nearest_first(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "clinic.triage", "--why-not", "dub-1", "-o", "json") == 0
    obstacles = [o["limit"] for o in answer_of(capsys)["obstacles"]]
    assert obstacles[-1] == "policy"
    assert run("explain", "clinic.triage", "--why-not", "dub-1") == 0
    assert "Between clinic.triage and node dub-1, nearest first" in capsys.readouterr().out
    assert run("explain", "clinic.triage", "--why-not", "nowhere-1") == 3


def test_the_cleanest_hours_are_told_per_legal_node(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("carbon", "when", "clinic.triage", "--for", "2h", "--within", "6h")
    assert run(*asked, "-o", "json") == 0
    said = answer_of(capsys)
    assert [(one["zone"], one["g_per_kwh"]) for one in said] == [("DE", 150)]
    assert said[0]["saved_permille"] == 500
    assert run(*asked) == 0
    assert "it waits: 50.0 % less than at once" in capsys.readouterr().out
    assert run("carbon", "when", "clinic.nobody", "--for", "2h") == 3


def test_what_contradicts_itself_is_a_usage_error(run: Run) -> None:
    assert run("plan", "--without", "country=FR", "--frontier", "cost,carbon") == 2
    assert run("plan", "--without", "FR") == 2
    assert run("plan", "--svg", "x.svg") == 2
