"""A controller's API over a transport of httpx: answers by path, and a context on disk that leads to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

Answer = Any
Handler = Callable[[httpx.Request], httpx.Response]


def answering(answers: Mapping[str, Answer], asked: list[httpx.Request] | None = None) -> Handler:
    """Answer `METHOD path` with a value as JSON, or with a response as it is; 404 for what is not listed."""

    def handle(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request)
        answer = answers.get(f"{request.method} {request.url.path}")
        if isinstance(answer, httpx.Response):
            return answer
        if answer is None:
            return refusal(404, "not_found", f"nothing at {request.url.path}")
        return httpx.Response(200, content=msgspec.json.encode(answer))

    return handle


def refusal(status: int, code: str, message: str, **more: Any) -> httpx.Response:
    """An error body as the API writes it."""
    body = {"code": code, "message": message, "hint": "", "retry": False, "context": {}, "details": None, **more}
    return httpx.Response(status, content=msgspec.json.encode({"error": body}))


def write_context(state: Path, *urls: str) -> Path:
    """Lay out the three files that a client needs."""
    folder = state / "domain"
    folder.mkdir(parents=True, exist_ok=True)
    record = {"type": "context.v1", "domain": "test.hanse", "api_urls": urls, "ca": "root.pem", "token": "api.token"}
    (folder / "context.json").write_bytes(msgspec.json.encode(record))
    (folder / "root.pem").write_text("")
    (folder / "api.token").write_text("secret-token\n")
    return folder / "context.json"
