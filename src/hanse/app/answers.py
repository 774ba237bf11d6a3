"""Errors as the API answers them. `HanseError -> response`.

``{"error": {"code", "message", "hint", "retry", "context", "details"}}`` with a status that fits.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Response

from hanse.app.bodies import TooLarge
from hanse.control.planning import UnknownPart
from hanse.control.service import NotFound, SpecRefused
from hanse.core.errors import ConflictError, HanseError, StoreError, WireError
from hanse.manifest import ManifestError
from hanse.policy import FactError, PolicyError

STATUS_OF: dict[type[HanseError], int] = {
    NotFound: 404, ManifestError: 422, SpecRefused: 422, ConflictError: 409, TooLarge: 413,
    StoreError: 503, WireError: 400, PolicyError: 422, FactError: 422, UnknownPart: 404,
}  # fmt: skip
STATUS_OF_CODE = {"api.unauthorised": 401, "access.denied": 403, "api.rate_limited": 429}


def answer_of(error: HanseError) -> Response:
    """The response to an error; what has no status of its own is 503 where trying again is sane, else 422."""
    status = STATUS_OF_CODE.get(error.code) or next(
        (code for kind, code in STATUS_OF.items() if isinstance(error, kind)), 503 if error.retry else 422
    )
    body = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "retry": error.retry,
        "context": error.context,
        "details": _details(error),
    }
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    if status == 429:
        headers["retry-after"] = str(getattr(error, "retry_after_s", 1))
    return Response(msgspec.json.encode({"error": body}), status, headers=headers, media_type="application/json")


def _details(error: HanseError) -> Any:
    match error:
        case ManifestError():
            return error.problems
        case SpecRefused():
            return error.submission
        case _:
            return None
