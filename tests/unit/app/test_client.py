"""The client: errors come back as they were raised, a silent controller is passed over, tokens are asked for once."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from api_double import Handler, answering, refusal, write_context
from view_samples import ACCEPTED, NODES, STATUS

from hanse.app.client import Client, Unreachable
from hanse.app.client_answers import ApiError, error_of
from hanse.app.context import ContextError, context_path, read_context

ONE, TWO = "https://127.0.0.1:7001", "https://127.0.0.1:7002"


def client_of(tmp_path: Path, handler: Handler, *urls: str) -> Client:
    return Client(read_context(write_context(tmp_path, *(urls or (ONE,)))), transport=httpx.MockTransport(handler))


def dead(*ports: int, alive: Handler) -> Handler:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.port in ports:
            raise httpx.ConnectError("connection refused")
        return alive(request)

    return handle


def test_views_come_back_whole(tmp_path: Path) -> None:
    asked: list[httpx.Request] = []
    handler = answering({"GET /api/v1/nodes": NODES, "GET /api/v1/status": STATUS}, asked)
    with client_of(tmp_path, handler) as client:
        assert client.nodes() == NODES
        assert client.status() == STATUS
    assert {request.headers["authorization"] for request in asked} == {"Bearer secret-token"}


def test_an_error_body_becomes_the_error_that_was_raised(tmp_path: Path) -> None:
    body = refusal(422, "spec.in_use", "still used by nodes fra-1", hint="move them", retry=True, context={"nodes": 1})
    client = client_of(tmp_path, answering({"DELETE /api/v1/operators/hansa": body}))
    with client, pytest.raises(ApiError) as caught:
        client.delete("operator", "hansa")
    error = caught.value
    assert (error.code, error.message, error.hint) == ("spec.in_use", "still used by nodes fra-1", "move them")
    assert (error.status, error.retry, error.context) == (422, True, {"nodes": 1})


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"[1]", b'{"error": 3}'])
def test_what_is_no_error_body_is_told_with_its_status(body: bytes) -> None:
    error = error_of(502, body)
    assert error.code == "api.failed"
    assert "502" in error.message
    assert error.retry


def test_the_next_controller_is_asked_and_stays_the_first_choice(tmp_path: Path) -> None:
    asked: list[httpx.Request] = []
    handler = dead(7001, alive=answering({"GET /api/v1/nodes": NODES}, asked))
    with client_of(tmp_path, handler, ONE, TWO) as client:
        client.nodes()
        client.nodes()
    assert [request.url.port for request in asked] == [7002, 7002]


def test_no_controller_left_is_unreachable(tmp_path: Path) -> None:
    client = client_of(tmp_path, dead(7001, 7002, alive=answering({})), ONE, TWO)
    with client, pytest.raises(Unreachable) as caught:
        client.nodes()
    assert caught.value.code == "api.unreachable"
    assert ONE in caught.value.message and TWO in caught.value.message


def test_a_token_is_never_asked_for_twice(tmp_path: Path) -> None:
    """A controller that goes away after it was asked may have acted: what must not happen twice is not repeated."""
    asked: list[int | None] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.port)
        raise httpx.ReadError("connection reset")

    with client_of(tmp_path, handle, ONE, TWO) as client:
        with pytest.raises(Unreachable, match="not known"):
            client.token_for(site="paris", operator="hansa", tier="edge")
        assert asked == [7001]
        with pytest.raises(Unreachable, match="no controller answers"):
            client.submit([("f.yaml", "text")], {})
        assert asked == [7001, 7001, 7002]


def test_a_submission_carries_files_artifacts_and_the_dry_run(tmp_path: Path) -> None:
    asked: list[httpx.Request] = []
    with client_of(tmp_path, answering({"POST /api/v1/submissions": ACCEPTED}, asked)) as client:
        assert client.submit([("a.yaml", "x: 1")], {"clinic.triage": "sha256:00"}, is_dry_run=True) == ACCEPTED
    expected = b'{"files":[{"name":"a.yaml","text":"x: 1"}],"artifacts":{"clinic.triage":"sha256:00"},"dry_run":true}'
    assert asked[0].content == expected


def test_an_unreadable_answer_names_the_versions(tmp_path: Path) -> None:
    client = client_of(tmp_path, answering({"GET /api/v1/nodes": [{"id": 3}]}))
    with client, pytest.raises(ApiError) as caught:
        client.nodes()
    assert caught.value.code == "api.unreadable"


def test_events_are_read_and_comments_are_not(tmp_path: Path) -> None:
    stream = b': still here\n\nevent: fabric\ndata: {"workloads": [],\ndata: "nodes": []}\n\n'
    response = httpx.Response(200, content=stream, headers={"content-type": "text/event-stream"})
    with client_of(tmp_path, answering({"GET /api/v1/watch": response})) as client:
        event = next(client.watch())
    assert (event.workloads, event.nodes) == ((), ())


def test_a_missing_context_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ContextError) as caught:
        read_context(context_path(tmp_path, None))
    assert caught.value.code == "context.missing"
    assert "hanse up" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", '{"type": "context.v2"}', '{"type": "context.v1", "domain": 3}'])
def test_a_damaged_context_is_named(tmp_path: Path, text: str) -> None:
    path = write_context(tmp_path, ONE)
    path.write_text(text)
    with pytest.raises(ContextError, match="cannot be read") as caught:
        read_context(path)
    assert caught.value.code == "context.damaged"


def test_the_token_is_not_in_the_representation(tmp_path: Path) -> None:
    assert "secret-token" not in repr(read_context(write_context(tmp_path, ONE)))
