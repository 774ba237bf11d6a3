"""The API about users: who am I, may I, how to sign in, named tokens, what was limited.

`Gate, ApiTokens -> APIRouter`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hanse.app.auth_views import ApiTokenMade, MayI, SignIn, WhoAmI
from hanse.app.authentication import Caller, Gate, guard, open_to_all, signed_in
from hanse.control.api_tokens import ApiTokens, ApiTokenView
from hanse.core.time import DAY_US
from hanse.policy import ACTIONS, Part


class CanBody(BaseModel):
    """A question about the caller."""

    model_config = ConfigDict(extra="forbid")
    action: str = Field(max_length=40)
    kind: str = Field(min_length=1, max_length=40)
    namespace: str = Field(default="", max_length=253)
    name: str = Field(default="", max_length=253)


class ApiTokenBody(BaseModel):
    """A token that is wanted."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=63)
    roles: dict[str, list[str]] = Field(min_length=1, max_length=20)
    lifetime_us: int = Field(default=30 * DAY_US, ge=1)


def auth_router(gate: Gate, tokens: ApiTokens) -> APIRouter:
    """Build the routes around one API's gate."""
    router = APIRouter(prefix="/api/v1/auth")

    @router.get("/methods", dependencies=[open_to_all()])
    async def methods() -> list[SignIn]:
        """Providers that the domain trusts: public, for whoever signs in has no token yet."""
        return [
            SignIn(
                issuer=one.issuer.issuer, client_id=one.issuer.client_id, scopes=one.issuer.scopes,
                algorithms=one.issuer.algorithms, audience=one.issuer.audience,
                is_access_token=one.issuer.is_access_token, resource=one.resource,
            )
            for one in gate.access.providers.values()
        ]  # fmt: skip

    @router.get("/whoami")
    async def whoami(by: Annotated[Caller, signed_in()]) -> WhoAmI:
        """Who the token says the caller is, and which roles they hold."""
        asker = by.asker
        return WhoAmI(kind=asker.kind, id=asker.id, issuer=asker.issuer, subject=asker.subject, roles=asker.roles)

    @router.post("/can")
    async def can(body: CanBody, by: Annotated[Caller, signed_in()]) -> MayI:
        """Whether the caller may do something, and which rules say so. Changes nothing."""
        part = Part(kind=body.kind, namespace=body.namespace, name=body.name)
        if body.action not in ACTIONS:
            return MayI(action=body.action, part=str(part), is_allowed=False, rules=("default-deny",))
        answer = gate.ask(by.asker, body.action, part)
        return MayI(action=body.action, part=str(part), is_allowed=answer.is_allowed, rules=answer.rules)

    @router.get("/tokens", dependencies=[guard("administer", "token")])
    async def list_tokens() -> tuple[ApiTokenView, ...]:
        """Named tokens; their secrets are kept nowhere."""
        return await tokens.listed()

    @router.post("/tokens")
    async def create_token(body: ApiTokenBody, by: Annotated[Caller, guard("administer", "token")]) -> ApiTokenMade:
        """Make a named token."""
        text, made = await tokens.create(body.name, body.roles, lifetime_us=body.lifetime_us, user=by.id)
        return ApiTokenMade(text=text, token=made)

    @router.delete("/tokens/{name}", status_code=202)
    async def revoke_token(name: str, by: Annotated[Caller, guard("administer", "token")]) -> dict[str, str]:
        """Withdraw a named token, at once and for good."""
        await tokens.revoke(name, user=by.id)
        return {"status": "revoked"}

    return router


def metrics_router(gate: Gate) -> APIRouter:
    """Build the route of counters."""
    router = APIRouter()

    @router.get("/api/v1/metrics", dependencies=[guard("read", "fabric")])
    async def metrics(_: Request) -> Response:
        """Counters of this controller's API, in the text format of Prometheus 0.0.4."""
        counted = gate.limiter.counted()
        lines = [
            "# HELP hanse_api_requests_total Requests that reached the API.",
            "# TYPE hanse_api_requests_total counter",
            f"hanse_api_requests_total {counted.requests}",
            "# HELP hanse_api_limited_total Requests answered 429, by the limit that was reached.",
            "# TYPE hanse_api_limited_total counter",
            *(f'hanse_api_limited_total{{limit="{name}"}} {count}' for name, count in counted.limited.items()),
            "# HELP hanse_api_bad_tokens_total Tokens that were not believed.",
            "# TYPE hanse_api_bad_tokens_total counter",
            f"hanse_api_bad_tokens_total {counted.failures}",
        ]
        return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")

    return router
