"""The command line: the answer on stdout, all else on stderr, exit codes for scripts, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
from api_double import answering, refusal, write_context
from view_samples import ACCEPTED, EXPLAIN, NODES, REFUSED, STATUS, instance, workload

from hanse.app import client as client_module
from hanse.app.cli import main
from hanse.app.cli.names import target_name, workload_name

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command against an API that answers as told."""
    write_context(tmp_path, "https://127.0.0.1:7001")
    monkeypatch.setenv("HANSE_STATE", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    made = client_module.Client

    def run_command(*args: str, **answers: object) -> int:
        listed = answers.pop("answers", {})
        assert isinstance(listed, dict)
        transport = httpx.MockTransport(answering(listed))
        monkeypatch.setattr(client_module, "Client", lambda context: made(context, transport=transport))
        return main(args)

    return run_command


def test_a_table_goes_to_stdout(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("get", "nodes", answers={"GET /api/v1/nodes": NODES}) == 0
    said = capsys.readouterr()
    assert "fra-1  Frankfurt, DE" in said.out
    assert "\x1b" not in said.out


@pytest.mark.parametrize(
    ("args", "path", "view"),
    [
        (("get", "nodes"), "/api/v1/nodes", NODES),
        (("get", "instances"), "/api/v1/instances", (instance("clinic.triage.0.2", "fra-1"),)),
        (("get", "workloads"), "/api/v1/workloads", (workload(),)),
        (("status",), "/api/v1/status", STATUS),
        (("get", "sites"), "/api/v1/sites", ()),
    ],
)
def test_json_is_exactly_one_document(
    run: Run, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], path: str, view: object
) -> None:
    assert run(*args, "--output", "json", answers={f"GET {path}": view}) == 0
    assert msgspec.json.decode(capsys.readouterr().out) == msgspec.json.decode(msgspec.json.encode(view))


def test_explain_of_a_node_nobody_knows_is_not_found(run: Run) -> None:
    answers = {"GET /api/v1/workloads/clinic/triage/explain": EXPLAIN, "GET /api/v1/nodes": NODES}
    assert run("explain", "clinic.triage", answers=answers) == 0
    assert run("explain", "clinic.triage", "--node", "nowhere-1", answers=answers) == 3


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refusal(404, "not_found", "no workload clinic.triage"), 3),
        (refusal(422, "spec.in_use", "still used"), 1),
        (refusal(401, "api.unauthorised", "this API wants a bearer token"), 1),
        (refusal(503, "store.unavailable", "the disk is full", retry=True), 5),
        (refusal(422, "spec.refused", "it may run nowhere"), 4),
    ],
)
def test_exit_codes_follow_the_errors(
    run: Run, capsys: pytest.CaptureFixture[str], answer: httpx.Response, code: int
) -> None:
    assert run("get", "workloads", answers={"GET /api/v1/workloads": answer}) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("error: ") == 1
    assert "code: " in said.err
    assert "Traceback" not in said.err


def test_an_error_is_json_where_json_was_asked_for(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {"GET /api/v1/nodes": refusal(404, "not_found", "nothing here", hint="look elsewhere")}
    assert run("get", "nodes", "-o", "json", answers=answers) == 3
    said = capsys.readouterr()
    assert said.out == ""
    error = msgspec.json.decode(said.err.splitlines()[-1])["error"]
    assert (error["code"], error["hint"]) == ("not_found", "look elsewhere")


def test_no_fabric_is_unavailable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "nodes", "--state", str(tmp_path / "nothing")]) == 5
    assert "hanse up" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [("get", "bogus"), ("get",), ("explode",), ("explain", "Not A Name"), ("deploy",), ("invoke", "a.b", "-H", "bad")],
)
def test_a_wrong_command_line_is_a_usage_error(
    run: Run, capsys: pytest.CaptureFixture[str], args: tuple[str, ...]
) -> None:
    answers = {"GET /api/v1/workloads/a/b": None}
    assert run(*args, answers=answers) in (2, 3)
    assert "Traceback" not in capsys.readouterr().err


def test_an_unforeseen_failure_is_told_without_a_traceback(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object) -> None:
        raise RuntimeError("out of tune")

    monkeypatch.setattr(client_module.Client, "nodes", broken)
    assert run("get", "nodes") == 1
    said = capsys.readouterr().err
    assert "RuntimeError: out of tune" in said
    assert "HANSE_DEBUG=1" in said
    assert "Traceback" not in said


def test_debugging_shows_where_it_failed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSE_DEBUG", "1")
    with pytest.raises(client_module.ApiError):
        run("get", "nodes", answers={})


def operator_manifest(tmp_path: Path) -> Path:
    file = tmp_path / "hansa.yaml"
    file.write_text(
        "apiVersion: hanse.dev/v1\nkind: Operator\nmetadata: {name: hansa}\nspec: {name: Hansa eG, seat: DE}\n"
    )
    return file


def test_deploy_shows_what_changes(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = operator_manifest(tmp_path)
    assert run("deploy", str(file), "--no-wait", answers={"POST /api/v1/submissions": ACCEPTED}) == 0
    assert "fra-1 -dub-1 +sto-1" in capsys.readouterr().out


def test_a_refused_dry_run_exits_with_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = operator_manifest(tmp_path)
    assert run("deploy", str(file), "--dry-run", answers={"POST /api/v1/submissions": REFUSED}) == 4
    assert "control.excluded-operator" in capsys.readouterr().out


def test_a_refused_deployment_shows_its_reasons(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    details = msgspec.to_builtins(REFUSED)
    answer = refusal(422, "spec.refused", "Function clinic.triage may run nowhere", details=details)
    assert run("deploy", str(operator_manifest(tmp_path)), answers={"POST /api/v1/submissions": answer}) == 4
    said = capsys.readouterr()
    assert said.out == ""
    assert "read operator/nimbus.control = IE, US; grade 2, certified; until 2027-01-01" in said.err
    assert "Have Nimbus Inc (US) give up control of nimbus" in said.err


def test_a_bad_manifest_is_told_before_anything_is_sent(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("apiVersion: hanse.dev/v1\nkind: Operator\nmetadata: {name: hansa}\nspec: {sead: DE}\n")
    assert run("deploy", str(file), answers={}) == 1
    said = capsys.readouterr().err
    assert f"{file}:4:" in said
    assert "did you mean `seat`?" in said


def test_delete_understands_what_is_meant() -> None:
    assert target_name("clinic.triage") == ("function", "clinic.triage")
    assert target_name("clinic/triage") == ("function", "clinic.triage")
    assert target_name("function/clinic.triage") == ("function", "clinic.triage")
    assert target_name("operators/nimbus") == ("operator", "nimbus")
    assert workload_name("triage") == ("default", "triage")


def test_help_is_quick() -> None:
    """What it must not do is import half the product."""
    code = "import sys; from hanse.app.cli.root import app; print(sorted(m for m in sys.modules if m.count('.') < 1))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    heavy = [
        name for name in ("httpx", "cryptography", "pydantic", "fastapi", "numpy", "nats") if f"'{name}'" in loaded
    ]
    assert heavy == []


def test_python_m_hanse_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "hanse", "--help"], capture_output=True, check=True, text=True)
    assert "hanse" in done.stdout
