"""Signing in at an OpenID provider from a terminal. `sign-in method -> Credentials`.

With a browser: authorisation code with PKCE and a redirect to a port of this machine (RFC 6749, 7636, 8252, 9700).
Without one: the device flow (RFC 8628). The client is public and holds no secret.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import msgspec

from hanse.adapters.oidc_keys import bounded_get, check_url, discover
from hanse.app.auth_views import SignIn
from hanse.app.credentials import Credentials, LoginError, TokenAnswer, with_answer
from hanse.core.ports import Clock
from hanse.identity import Issuer, check_nonce, verify_token
from hanse.identity.oidc import Provider, parse_keys, pkce_challenge

T = TypeVar("T", bound=msgspec.Struct)

CALLBACK = "/callback"
WAIT_S = 300.0
"""A person finds their second factor within five minutes."""
HEAD_MAX = 16_384
PAGE = b"<!doctype html><meta charset=utf-8><title>hanse</title><p>%b You may close this window."


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One sign-in."""

    method: SignIn
    provider: Provider
    http: httpx.AsyncClient
    clock: Clock
    ca_file: str | None = None

    async def by_browser(self, show: Callable[[str], None], *, wait_s: float = WAIT_S) -> Credentials:
        """Have `show` open an address, and wait for the browser to come back to a port of this machine.

        Raises LoginError ``login.refused``, ``login.timeout``, ``login.failed``.
        """
        verifier, state, nonce = (secrets.token_urlsafe(48) for _ in range(3))
        async with _Callback(state, self.method.issuer) as callback:
            asked = self._with_resource({
                "response_type": "code", "client_id": self.method.client_id, "redirect_uri": callback.uri,
                "scope": " ".join(self.method.scopes), "state": state, "nonce": nonce,
                "code_challenge": pkce_challenge(verifier), "code_challenge_method": "S256", "prompt": "consent",
            })  # fmt: skip
            show(f"{check_url(self.provider.authorization_endpoint)}?{urlencode(asked)}")
            code = await callback.code(wait_s)
            answer = await self._token({
                "grant_type": "authorization_code", "code": code, "redirect_uri": callback.uri,
                "code_verifier": verifier,
            })  # fmt: skip
        return await self._credentials(answer, nonce)

    async def by_device(self, show: Callable[[str, str], None], *, wait_s: float = WAIT_S) -> Credentials:
        """Have `show` tell address and code for another device, and ask until somebody has entered it there.

        Raises LoginError ``login.refused``, ``login.timeout``, ``login.failed``.
        """
        if not self.provider.device_authorization_endpoint:
            raise LoginError(f"{self.method.issuer} has no device flow", code="login.failed", hint="use a browser")
        asked = self._with_resource({"client_id": self.method.client_id, "scope": " ".join(self.method.scopes)})
        answer = await self.http.post(check_url(self.provider.device_authorization_endpoint), data=asked)
        device = _decoded(answer, _Device)
        show(device.verification_uri_complete or device.verification_uri, device.user_code)
        pause_s = max(1, device.interval)
        try:
            async with asyncio.timeout(min(wait_s, device.expires_in)):
                while True:
                    await asyncio.sleep(pause_s)
                    found = await self._poll(device.device_code)
                    if isinstance(found, TokenAnswer):
                        return await self._credentials(found, None)
                    pause_s += found
        except TimeoutError:
            raise LoginError("nobody entered the code in time", code="login.timeout") from None

    async def _poll(self, device_code: str) -> TokenAnswer | int:
        """The tokens, or by how many seconds to slow down (RFC 8628 section 3.5)."""
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": device_code}
        try:
            return await self._token(form)
        except LoginError as error:
            match error.context.get("error"):
                case "authorization_pending":
                    return 0
                case "slow_down":
                    return 5
                case _:
                    raise

    async def _token(self, form: dict[str, str]) -> TokenAnswer:
        form = self._with_resource({**form, "client_id": self.method.client_id})
        answer = await self.http.post(check_url(self.provider.token_endpoint), data=form)
        return _decoded(answer, TokenAnswer)

    async def _credentials(self, answer: TokenAnswer, nonce: str | None) -> Credentials:
        """Hold the ID token against the provider's keys, and the nonce where there was one."""
        now = self.clock.wall()
        issuer = Issuer(
            issuer=self.method.issuer, client_id=self.method.client_id, audience=self.method.client_id,
            algorithms=self.method.algorithms, scopes=self.method.scopes,
        )  # fmt: skip
        ring = parse_keys(await bounded_get(self.http, self.provider.jwks_uri))
        user = verify_token(answer.id_token, issuer, ring, now)
        if nonce is not None:
            check_nonce(user, nonce)
        blank = Credentials(
            issuer=self.method.issuer, client_id=self.method.client_id, token_endpoint=self.provider.token_endpoint,
            revocation_endpoint=self.provider.revocation_endpoint, is_access_token=self.method.is_access_token,
            resource=self.method.resource, bearer="", expires_us=0, ca_file=self.ca_file,
        )  # fmt: skip
        made = with_answer(blank, answer, now)
        return made if made.is_access_token else msgspec.structs.replace(made, expires_us=user.expires_us)

    def _with_resource(self, form: dict[str, str]) -> dict[str, str]:
        return form if self.method.resource is None else {**form, "resource": self.method.resource}


async def begin(method: SignIn, http: httpx.AsyncClient, clock: Clock, *, ca_file: str | None = None) -> Flow:
    """Ask the provider where its endpoints are. Raises LoginError ``login.unavailable``, TokenRefused."""
    try:
        provider = await discover(http, method.issuer)
    except httpx.HTTPError as error:
        raise LoginError(
            f"{method.issuer} does not answer: {error}", code="login.unavailable", hint="is it reachable?", retry=True
        ) from error
    return Flow(method=method, provider=provider, http=http, clock=clock, ca_file=ca_file)


async def sign_out(credentials: Credentials, http: httpx.AsyncClient) -> bool:
    """Have the provider withdraw the refresh token (RFC 7009); False where it cannot be had to."""
    if not credentials.refresh_token or not credentials.revocation_endpoint:
        return False
    form = {"token": credentials.refresh_token, "token_type_hint": "refresh_token", "client_id": credentials.client_id}
    try:
        return (await http.post(check_url(credentials.revocation_endpoint), data=form)).is_success
    except httpx.HTTPError:
        return False


class _Device(msgspec.Struct, frozen=True):
    device_code: str
    user_code: str
    verification_uri: str
    expires_in: int
    verification_uri_complete: str = ""
    interval: int = 5


class _Refusal(msgspec.Struct, frozen=True):
    error: str
    error_description: str = ""


def _decoded(answer: httpx.Response, kind: type[T]) -> T:
    try:
        if answer.is_success:
            return msgspec.json.decode(answer.content, type=kind)
        refused = msgspec.json.decode(answer.content, type=_Refusal)
    except ValueError as error:
        raise LoginError(f"the provider answers {answer.status_code} with what cannot be read: {error}") from error
    raise LoginError(
        f"the provider refuses: {refused.error_description or refused.error}"[:500],
        code="login.refused",
        context={"error": refused.error[:100]},
    )


class _Callback:
    """One port of this machine that waits for a browser to bring the code (RFC 8252 section 7.3)."""

    def __init__(self, state: str, issuer: str) -> None:
        self._state = state
        self._issuer = issuer
        self._found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._outcome: str | LoginError | None = None
        """The code, or why there is none."""
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_MAX)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def uri(self) -> str:
        """Where the browser is to come back to."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{CALLBACK}"

    async def code(self, wait_s: float) -> str:
        """The code. Raises LoginError ``login.refused`` or ``login.timeout``."""
        try:
            async with asyncio.timeout(wait_s):
                return await asyncio.shield(self._found)
        except TimeoutError:
            raise LoginError("the browser did not come back in time", code="login.timeout") from None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                status, said = self._take(head.partition(b"\r\n")[0].decode("ascii", "replace"))
                page = PAGE % said.encode()
                writer.write(
                    f"HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {len(page)}\r\n"
                    "referrer-policy: no-referrer\r\nconnection: close\r\n\r\n".encode()
                    + page
                )
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()
            self._tell()

    def _tell(self) -> None:
        """Let the sign-in go on only now: the person has seen the page."""
        if self._outcome is None or self._found.done():
            return
        if isinstance(self._outcome, str):
            self._found.set_result(self._outcome)
        else:
            self._found.set_exception(self._outcome)

    def _take(self, line: str) -> tuple[str, str]:
        """Read one request. Whoever does not know the state says nothing that counts."""
        words = line.split(" ")
        where = urlsplit(words[1]) if len(words) == 3 and words[0] == "GET" else None
        if where is None or where.path != CALLBACK:
            return "404 Not Found", "Nothing is here."
        given = {name: values[0] for name, values in parse_qs(where.query).items() if len(values) == 1}
        if not secrets.compare_digest(given.get("state", "").encode(), self._state.encode()):
            return "400 Bad Request", "This answers another sign-in."
        if self._outcome is not None:
            return "400 Bad Request", "This sign-in is over."
        if given.get("iss", self._issuer) != self._issuer:  # RFC 9207
            self._outcome = LoginError("another provider answered", code="login.refused")
        elif "code" in given:
            self._outcome = given["code"]
            return "200 OK", "You are signed in."
        else:
            why = given.get("error_description") or given.get("error") or "no code"
            self._outcome = LoginError(f"the provider refuses: {why}"[:500], code="login.refused")
        return "200 OK", "Signing in was refused."
