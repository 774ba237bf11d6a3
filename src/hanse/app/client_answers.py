"""How the API's answers come back to a client: errors as they were raised, events as their data. `bytes -> values`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec

from hanse.core.errors import HanseError


class ApiError(HanseError):
    """Raised when the API refuses: its own code, message, hint and details, as the controller gave them."""

    code = "api.failed"

    def __init__(self, message: str, *, status: int = 0, details: Any = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.status = status
        self.details = details


def checked(answer: httpx.Response) -> httpx.Response:
    """Turn an error body back into the error that the controller raised."""
    if answer.is_success:
        return answer
    raise error_of(answer.status_code, answer.content)


def error_of(status: int, body: bytes) -> ApiError:
    """Read an error body of the API; what is no such body becomes ``api.failed`` with the status."""
    try:
        error = msgspec.json.decode(body, type=_Envelope).error
    except ValueError:
        said = body[:200].decode(errors="replace").strip()
        return ApiError(f"the API answered {status}: {said or 'nothing'}", status=status, retry=status >= 500)
    return ApiError(
        error.message,
        status=status,
        details=error.details,
        code=error.code,
        hint=error.hint,
        retry=error.retry,
        context=error.context,
    )


class _ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str
    hint: str = ""
    retry: bool = False
    context: dict[str, str | int] = {}
    details: Any = None


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    error: _ErrorBody


def sse_data(lines: Iterator[str]) -> Iterator[str]:
    """The data of each event (WHATWG HTML, server-sent events): lines joined, comments and other fields left out."""
    data: list[str] = []
    for line in lines:
        if line == "":
            if data:
                yield "\n".join(data)
            data = []
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
