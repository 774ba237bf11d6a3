"""Who may invoke a workload, asked by the real engine: policies made from `access`, and swapped under load."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from room_kit import START, workload

from hanse import _engine
from hanse.adapters.package_data import read_packs
from hanse.core.work import Access, Caller
from hanse.policy import invoke_policy_of, parse_packs
from hanse.policy.schema import INVOKE_SCHEMA_TEXT

pytestmark = pytest.mark.engine

PACKS = parse_packs(read_packs())
WORK = workload()
USERS = Access(callers=(Caller(issuer="https://id.clinic.example", claims={"role": ("nurse",)}),))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[tuple[_engine.Engine, str]]:
    config = _engine.EngineConfig(
        node="a", trust_domain="t.example", front_bind="127.0.0.1:0", mesh_bind="127.0.0.1:0", cache_dir=str(tmp_path)
    )
    made = _engine.Engine(config)
    front = made.start().front
    made.set_routes([_engine.Route(workload=WORK.id, path_prefix="/", replicas=[])])
    yield made, f"http://{front}/x"
    made.stop(0)


def access(asked: Access) -> _engine.Access:
    policy = invoke_policy_of(replace(WORK, access=asked), PACKS, (), START)
    return _engine.Access(policies=policy.policies, entities=policy.entities)


def call(url: str) -> tuple[int, bytes, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read(), ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers["hanse-error"]


def load(engine: _engine.Engine, guests: Mapping[str, Path], rules: _engine.Access | None) -> None:
    engine.load(WORK.id, guests["hello"].read_bytes(), _engine.Limits(), [], {}, access=rules)


def test_the_schema_is_the_one_that_packs_are_checked_against():
    assert _engine.INVOKE_SCHEMA == INVOKE_SCHEMA_TEXT


def test_a_workload_that_is_left_open_answers_and_one_for_users_does_not(
    engine: tuple[_engine.Engine, str], guests: Mapping[str, Path]
):
    made, url = engine
    load(made, guests, access(Access()))
    assert call(url)[0] == 200
    load(made, guests, access(USERS))
    status, body, code = call(url)
    assert (status, code, json.loads(body)["message"]) == (403, "policy.denied", "no policy permits this request")
    stats = next(one for one in made.stats().workloads if one.workload == WORK.id)
    assert stats.errors["policy.denied"] == 1
    assert [line.text for line in made.logs(WORK.id) if line.stream == "policy"] == [
        "GET /x: anonymous  denied: no policy permits it"
    ]


def test_who_is_turned_away_is_told_the_rule_and_its_message(
    engine: tuple[_engine.Engine, str], guests: Mapping[str, Path]
):
    made, url = engine
    rules = (
        'permit (principal, action == Action::"invoke", resource);\n'
        '@id("closed") @message("closed on Sundays")\n'
        'forbid (principal, action, resource) when { context.path == "/x" };'
    )
    load(made, guests, access(Access(rules=rules)))
    assert json.loads(call(url)[1])["message"] == "closed: closed on Sundays"
    assert call(url.replace("/x", "/y"))[0] == 200


def test_an_error_in_a_policy_is_a_denial_that_tells_the_caller_nothing(
    engine: tuple[_engine.Engine, str], guests: Mapping[str, Path]
):
    made, url = engine
    overflow = 'permit (principal, action, resource);\n@id("deep") forbid (principal, action, resource) when { %s };'
    load(
        made,
        guests,
        _engine.Access(policies=overflow % "9223372036854775807 + 1 == 0", entities=access(USERS).entities),
    )
    status, body, code = call(url)
    assert (status, code) == (403, "policy.error")
    assert b"deep" not in body
    assert "error in deep" in next(line.text for line in made.logs(WORK.id) if line.stream == "policy")


def test_wrong_policies_are_refused_and_the_old_ones_stay(
    engine: tuple[_engine.Engine, str], guests: Mapping[str, Path]
):
    made, url = engine
    load(made, guests, access(USERS))
    for text in ("permit", "permit (principal is Nobody, action, resource);"):
        with pytest.raises(_engine.EngineError) as caught:
            load(made, guests, _engine.Access(policies=text, entities="[]"))
        assert caught.value.code == "policy.invalid"
    assert call(url)[0] == 403


def test_policies_are_swapped_while_traffic_flows_without_one_failed_request(
    engine: tuple[_engine.Engine, str], guests: Mapping[str, Path]
):
    made, url = engine
    path_is = 'permit (principal, action, resource) when {{ context.path == "/x" || context.path == "/{}" }};'
    load(made, guests, access(Access()))
    is_over = threading.Event()

    def ask() -> list[int]:
        answered: list[int] = []
        while not is_over.is_set() or len(answered) < 25:
            answered.append(call(url)[0])
        return answered

    with ThreadPoolExecutor() as threads:
        callers = [threads.submit(ask) for _ in range(2)]
        for number in range(30):
            load(made, guests, access(Access(rules=path_is.format(number))))
        is_over.set()
        assert {status for caller in callers for status in caller.result()} == {200}
