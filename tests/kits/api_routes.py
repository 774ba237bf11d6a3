"""The command line against the real routes of the API: no socket, no process, a stand-in for the controller behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import msgspec
import pytest
from api_double import write_context

from hanse.adapters.clock import SystemClock
from hanse.app import client as client_module
from hanse.app.api import build_api
from hanse.app.cli import main
from hanse.control.controller import Controller
from hanse.core.ports import ControlPorts

Run = Callable[..., int]
BASE = "https://127.0.0.1:7001"


def run_against(controller: object, state: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run commands against the routes of `controller`: whatever of it the commands under test read."""
    ports = cast(ControlPorts, SimpleNamespace(clock=SystemClock()))
    app = build_api(
        cast(Controller, controller), ports, token="secret-token", version="0",
        inspect_component=_no_component,
    )  # fmt: skip
    write_context(state, BASE)
    monkeypatch.setenv("HANSE_STATE", str(state))
    monkeypatch.setenv("NO_COLOR", "1")
    made = client_module.Client

    def handle(request: httpx.Request) -> httpx.Response:
        answer = asyncio.run(_over_asgi(app, request))
        return httpx.Response(answer.status_code, content=answer.content)

    monkeypatch.setattr(client_module, "Client", lambda c: made(c, transport=httpx.MockTransport(handle)))
    return lambda *args: main(args)


def answer_of(capsys: pytest.CaptureFixture[str]) -> Any:
    """The one JSON document that a command printed."""
    return msgspec.json.decode(capsys.readouterr().out)


async def _over_asgi(app: Any, request: httpx.Request) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as client:
        return await client.request(
            request.method, request.url.path, content=request.content, headers=dict(request.headers)
        )


async def _no_component(_: bytes) -> tuple[str, list[str]]:
    raise AssertionError("no component is uploaded here")
