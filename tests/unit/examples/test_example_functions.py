"""The example functions do what they say, in plain Python, and the code in their README runs."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def triage(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "src/hanse/guest_sdk"))
    monkeypatch.syspath_prepend(str(ROOT / "examples/functions/triage"))
    yield importlib.import_module("triage")
    for name in ("triage", "hanse_guest"):
        sys.modules.pop(name, None)


def ask(triage: ModuleType, method: str, body: bytes = b"") -> tuple[int, Any]:
    guest = importlib.import_module("hanse_guest")
    answer = triage.handle(guest.Request(method=method, target="/triage", body=body))
    return answer.status, answer.read_json() if ("content-type", "application/json") in answer.headers else answer.body


def test_a_healthy_person_scores_nothing(triage: ModuleType) -> None:
    body = b'{"respiration": 16, "oxygen": 98, "systolic": 120, "pulse": 70, "temperature": 36.8}'
    status, answer = ask(triage, "POST", body)
    assert (status, answer["score"], answer["priority"]) == (200, 0, "routine")


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [
        ("respiration", 8, 3), ("respiration", 9, 1), ("respiration", 12, 0), ("respiration", 24, 2),
        ("respiration", 25, 3), ("oxygen", 91, 3), ("oxygen", 93, 2), ("oxygen", 95, 1), ("oxygen", 96, 0),
        ("systolic", 90, 3), ("systolic", 100, 2), ("systolic", 110, 1), ("systolic", 219, 0), ("systolic", 220, 3),
        ("pulse", 40, 3), ("pulse", 50, 1), ("pulse", 90, 0), ("pulse", 110, 1), ("pulse", 130, 2), ("pulse", 131, 3),
        ("temperature", 35.0, 3), ("temperature", 36.0, 1), ("temperature", 38.0, 0), ("temperature", 39.0, 1),
        ("temperature", 39.1, 2),
    ],
)  # fmt: skip
def test_bands_are_those_of_news2(triage: ModuleType, name: str, value: float, points: int) -> None:
    vitals = {"respiration": 16, "oxygen": 98, "systolic": 120, "pulse": 70, "temperature": 36.8, name: value}
    assert triage.assess(vitals)["points"][name] == points


def test_one_extreme_value_alone_calls_for_urgent_review(triage: ModuleType) -> None:
    vitals = {"respiration": 16, "oxygen": 98, "systolic": 120, "pulse": 70, "temperature": 36.8, "alert": False}
    assert triage.assess(vitals)["priority"] == "ward-urgent"


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("PUT", b"", 405),
        ("POST", b"not json", 400),
        ("POST", b"[]", 422),
        ("POST", b'{"respiration": true}', 422),
        ("POST", b'{"respiration": 900}', 422),
    ],
)
def test_bad_requests_are_answered_with_the_reason(triage: ModuleType, method: str, body: bytes, status: int) -> None:
    found, answer = ask(triage, method, body)
    assert found == status
    assert answer["error"]


def test_a_browser_gets_a_page(triage: ModuleType) -> None:
    status, page = ask(triage, "GET")
    assert status == 200
    assert page.startswith(b"<!doctype html>")


def test_the_python_in_the_readme_runs(triage: ModuleType) -> None:
    text = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 1
    exec(compile(blocks[0], "examples/README.md", "exec"), {})


def test_the_sdk_says_so_where_there_is_no_network(triage: ModuleType) -> None:
    guest = importlib.import_module("hanse_guest")
    with pytest.raises(guest.FetchError, match="no network"):
        guest.fetch("https://example.org/")
    seen: list[Any] = []
    guest.use_transport(lambda request: seen.append(request) or guest.Response.json({"ok": True}, status=201))
    answer = guest.fetch("https://example.org/a?b=c", "post", [("x", "y")], b"z")
    assert (answer.status, answer.read_json()) == (201, {"ok": True})
    assert (seen[0].authority, seen[0].target, seen[0].method) == ("example.org", "/a?b=c", "POST")
    with pytest.raises(guest.FetchError, match="not an http"):
        guest.fetch("file:///etc/passwd")


def test_requests_read_headers_in_any_case_and_queries(triage: ModuleType) -> None:
    guest = importlib.import_module("hanse_guest")
    request = guest.Request(method="GET", target="/a?x=1&x=2&y=", headers=[("accept", "text/html")])
    assert (request.path, request.query, request.header("Accept")) == ("/a", {"x": "2", "y": ""}, "text/html")
    assert request.header("missing", "no") == "no"
