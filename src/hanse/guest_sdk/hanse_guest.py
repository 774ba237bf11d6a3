"""What a function written in Python sees: a request, a response, and `fetch` for calls that its manifest allows.

A function is a module with one function::

    from hanse_guest import Request, Response

    def handle(request: Request) -> Response:
        return Response.text("hello")

The module runs inside a WebAssembly component, and also in plain Python for its tests. Imports must stand at the top of
the module: they happen when the component is built, not when a request arrives.
"""

from __future__ import annotations

import json as _json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """One HTTP request. Header names are in lower case; `target` is path and query as received."""

    method: str
    target: str = "/"
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    authority: str = ""
    scheme: str = "http"

    @property
    def path(self) -> str:
        """The path without the query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def header(self, name: str, default: str = "") -> str:
        """The first header of this name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), default)

    def json(self) -> Any:
        """The body as JSON. Raises ValueError if it is none."""
        return _json.loads(self.body)


@dataclass(frozen=True)
class Response:
    """One HTTP response."""

    status: int = 200
    headers: Headers = field(default_factory=list)
    body: bytes = b""

    @classmethod
    def text(cls, text: str, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> Response:
        """A response of text."""
        return cls(status=status, headers=[("content-type", content_type)], body=text.encode())

    @classmethod
    def html(cls, text: str, status: int = 200) -> Response:
        """A page."""
        return cls.text(text, status, "text/html; charset=utf-8")

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Response:
        """A response of JSON."""
        return cls.text(_json.dumps(value), status, "application/json")

    def read_json(self) -> Any:
        """The body as JSON. Raises ValueError if it is none."""
        return _json.loads(self.body)


class FetchError(Exception):
    """A call that brought no response: refused by policy, unreachable, or broken off."""


_transport: Callable[[Request], Response] | None = None


def use_transport(transport: Callable[[Request], Response]) -> None:
    """Say how `fetch` reaches the network: the component does so when it is built, a test may do so."""
    global _transport  # noqa: PLW0603 - one transport per guest, set once before the first request
    _transport = transport


def fetch(url: str, method: str = "GET", headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Response:
    """Call a host that the manifest's `egress` names. Raises FetchError where no response came back."""
    if _transport is None:
        raise FetchError("no network here: call use_transport first")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise FetchError(f"not an http or https address: {url}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = Request(
        method=method.upper(),
        target=target,
        headers=list(headers),
        body=body,
        authority=parts.netloc,
        scheme=parts.scheme,
    )
    return _transport(request)
