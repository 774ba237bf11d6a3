"""What `hanse login` leaves on this machine: one file beside the context, readable by its user alone.

`tokens -> credentials.json -> bearer`. A token that is about to expire is exchanged with the refresh token; the file is
locked meanwhile, for providers take a refresh token once (RFC 9700 section 4.14).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec

from hanse.adapters.keys import write_private
from hanse.core.errors import HanseError
from hanse.core.time import US_PER_S

CREDENTIALS = "credentials.json"
EARLY_US = 60 * US_PER_S
"""So long before its end a token is exchanged: longer than any request takes to be looked at."""
REFRESH_S = 10.0


class LoginError(HanseError):
    """Raised when signing in, or staying so, did not work; `code` is one of ``login.*``."""

    code = "login.failed"
    hint = "sign in again with `hanse login`"


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="credentials.v1", kw_only=True):
    """Somebody signed in."""

    issuer: str
    client_id: str
    token_endpoint: str
    revocation_endpoint: str
    is_access_token: bool
    resource: str | None
    bearer: str
    expires_us: int
    refresh_token: str = ""
    ca_file: str | None = None
    """Authorities of the provider's server, where not the system's."""


class TokenAnswer(msgspec.Struct, frozen=True):
    """What a token endpoint answers (RFC 6749 section 5.1)."""

    access_token: str
    expires_in: int = 300
    id_token: str = ""
    refresh_token: str = ""


def credentials_path(context_file: Path) -> Path:
    """Where they lie: beside the context that they are for."""
    return context_file.with_name(CREDENTIALS)


def read_credentials(path: Path) -> Credentials | None:
    """Read them; None where nobody signed in. Raises LoginError ``login.damaged`` or ``login.open_file``."""
    try:
        if path.stat().st_mode & 0o077:
            raise LoginError(
                f"{path} can be read by others", code="login.open_file", hint=f"chmod 600 {path}, and sign in again"
            )
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LoginError(f"{path} cannot be read: {error}", code="login.damaged") from error


def write_credentials(path: Path, credentials: Credentials) -> None:
    """Keep them, for this user alone (mode 0600)."""
    write_private(path, msgspec.json.encode(credentials))


def current_bearer(path: Path, now_us: int, *, transport: httpx.BaseTransport | None = None) -> str | None:
    """The token to show now, exchanged for a fresh one where it is about to expire; None where nobody signed in.

    Raises LoginError ``login.expired`` where the provider gives no other. `transport` replaces the network (tests).
    """
    found = read_credentials(path)
    if found is None or now_us < found.expires_us - EARLY_US:
        return None if found is None else found.bearer
    with _locked(path):
        found = read_credentials(path)
        if found is None:
            return None
        if now_us >= found.expires_us - EARLY_US:
            found = _refreshed(found, now_us, transport)
            write_credentials(path, found)
    return found.bearer


def with_answer(before: Credentials, answer: TokenAnswer, now_us: int) -> Credentials:
    """What to keep of a token endpoint's answer. Raises LoginError where the token that is shown is not in it."""
    bearer = answer.access_token if before.is_access_token else answer.id_token
    if not bearer:
        raise LoginError("the provider gave no ID token", code="login.expired")
    return msgspec.structs.replace(
        before, bearer=bearer, expires_us=now_us + answer.expires_in * US_PER_S,
        refresh_token=answer.refresh_token or before.refresh_token,
    )  # fmt: skip


def _refreshed(found: Credentials, now_us: int, transport: httpx.BaseTransport | None) -> Credentials:
    if not found.refresh_token:
        raise LoginError("you are signed in no longer: the token has expired", code="login.expired")
    form = {"grant_type": "refresh_token", "refresh_token": found.refresh_token, "client_id": found.client_id}
    if found.resource is not None:
        form["resource"] = found.resource
    try:
        with provider_http(found.ca_file, transport) as http:
            answer = http.post(found.token_endpoint, data=form)
    except httpx.HTTPError as error:
        raise LoginError(f"{found.issuer} does not answer: {error}", code="login.unavailable", retry=True) from error
    if answer.is_error:
        raise LoginError("you are signed in no longer: the provider gives no other token", code="login.expired")
    try:
        return with_answer(found, msgspec.json.decode(answer.content, type=TokenAnswer), now_us)
    except ValueError as error:
        raise LoginError(f"{found.issuer} answers what is no token: {error}") from error


def provider_http(ca_file: str | None, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client for a provider's endpoints; it follows no redirects."""
    import ssl

    verify = True if ca_file is None else ssl.create_default_context(cafile=ca_file)
    return httpx.Client(verify=verify, timeout=REFRESH_S, trust_env=False, transport=transport)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
