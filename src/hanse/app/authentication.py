"""Who asks the API: a bearer token, compared in constant time. `request -> user`."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from hanse.core.errors import HanseError

BEARER = HTTPBearer(auto_error=False)


class Unauthorised(HanseError):
    """Raised when a request carries no acceptable token."""

    code = "api.unauthorised"
    hint = "run it where `hanse up` or `hanse init` ran, or pass --context"


def authenticated(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> str:
    """Name the user behind a request. Raises Unauthorised."""
    expected = str(request.app.state.token).encode()
    if given is None or not hmac.compare_digest(given.credentials.encode(), expected):
        raise Unauthorised("this API wants a bearer token")
    return "admin"


User = Annotated[str, Depends(authenticated)]
