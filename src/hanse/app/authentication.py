"""Who asks the API, and may they? `request -> Caller`, or 401, 403, 429.

Three ways to be somebody: the administrators' token of the domain, a named token, a token of an OpenID provider that
the access file trusts. What somebody may do, Cedar says (`hanse.policy.access`). Every route names its guard; an
application with a route that has none is not built.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from hanse.adapters.oidc_keys import IssuerKeys
from hanse.app.access_file import Access
from hanse.app.limits import Limiter
from hanse.control.api_tokens import ApiTokens
from hanse.core.errors import HanseError, invariant
from hanse.core.ports import Clock
from hanse.identity import TokenRefused, verify_token
from hanse.identity.oidc import issuer_of, key_id_of
from hanse.policy import AccessRules, Asker, Part
from hanse.policy.evaluate import Answer

log = structlog.get_logger("control")

BEARER = HTTPBearer(auto_error=False)
ADMIN = Asker(kind="Token", id="admin", subject="admin", roles={"admin": ("*",)})
"""Whoever holds the domain's folder."""
MAX_BEARER_BYTES = 16_384


class Unauthorised(HanseError):
    """Raised when a request carries no acceptable token; the context's ``why`` names the broken rule."""

    code = "api.unauthorised"
    hint = "run it where `hanse up` or `hanse init` ran, sign in with `hanse login`, or pass --context or --token"


class AccessDenied(HanseError):
    """Raised when somebody known may not do what they ask; the context names the rules that decided."""

    code = "access.denied"


class Gate:
    """Authentication, limits and access of one API."""

    def __init__(
        self, *, token: str, rules: AccessRules, access: Access, tokens: ApiTokens, clock: Clock, limiter: Limiter
    ) -> None:
        """`token` is the administrators'."""
        self.access = access
        self.limiter = limiter
        self._token = token.encode()
        self._rules = rules
        self._tokens = tokens
        self._clock = clock
        self._keys: Mapping[str, IssuerKeys] = {
            name: IssuerKeys(name, clock, tls=one.tls(), jwks_url=one.jwks_url)
            for name, one in access.providers.items()
        }

    async def admit(self, host: str, text: str | None) -> Caller:
        """Find out who shows this token, within the limits. Raises Unauthorised, RateLimited."""
        if text is None:
            raise Unauthorised("this API wants a bearer token")
        self.limiter.before_token(host)
        try:
            asker = await self._asker(text)
        except TokenRefused as error:
            if not error.retry:
                self.limiter.on_bad_token(host)
            raise Unauthorised(
                f"the token is not accepted: {error.message}", hint=error.hint or None, context={"why": error.code}
            ) from error
        self.limiter.on_principal(f"{asker.kind}:{asker.id}")
        return Caller(asker=asker, gate=self)

    def ask(self, asker: Asker, action: str, part: Part) -> Answer:
        """Whether somebody may, and by which rules."""
        return self._rules.ask(asker, action, part)

    async def _asker(self, text: str) -> Asker:
        if len(text) > MAX_BEARER_BYTES:
            raise TokenRefused("a token of more than 16 KiB", code="token.malformed")
        if hmac.compare_digest(text.encode(errors="replace"), self._token):
            return ADMIN
        kept = await self._tokens.find(text)
        if kept is not None:
            return Asker(kind="Token", id=f"token:{kept.name}", subject=kept.name, roles=kept.roles)
        return await self._user(text)

    async def _user(self, text: str) -> Asker:
        if text.count(".") != 2:
            raise TokenRefused("neither a token of this domain nor a signed JWT", code="token.unknown")
        provider = self.access.providers.get(issuer_of(text))
        if provider is None:
            raise TokenRefused("of an issuer that this domain does not trust", code="token.issuer")
        ring = await self._keys[provider.issuer.issuer].ring(key_id_of(text))
        user = verify_token(text, provider.issuer, ring, self._clock.wall())
        name = f"{user.issuer}#{user.subject}"
        roles = self.access.roles_of(user)
        return Asker(kind="User", id=name, issuer=user.issuer, subject=user.subject, roles=roles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody known, for one request."""

    asker: Asker
    gate: Gate = field(repr=False)

    @property
    def id(self) -> str:
        """What the ledger's pseudonym stands for: personal data, kept outside of it."""
        return self.asker.id

    def may(self, action: str, part: Part) -> bool:
        """Tell whether, not why."""
        return self.gate.ask(self.asker, action, part).is_allowed

    def sees(self, namespace: str, kind: str = "workload") -> bool:
        """Whether what is in a namespace may be shown."""
        return self.may("read", Part(kind=kind, namespace=namespace))

    def must(self, action: str, part: Part) -> None:
        """Raises AccessDenied with the rules that decided."""
        answer = self.gate.ask(self.asker, action, part)
        if answer.is_allowed:
            return
        if answer.errors:
            log.error("access.rule_failed", action=action, part=str(part), why="; ".join(answer.errors))
        rules = ", ".join(answer.rules)
        raise AccessDenied(
            f"you may not {action} {part}: denied by {rules}",
            hint=f"`hanse auth whoami` shows your roles; `hanse auth can {action} {part}` asks again",
            context={"action": action, "part": str(part), "rules": rules},
        )


Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]


def guard(action: str, kind: str) -> Any:
    """A dependency that admits whoever may do `action` to the `kind` of thing that the path names.

    Namespace and name are read from the path: ``namespace`` and ``name``, or the secret, the instance, the node.
    """

    async def admitted(request: Request, given: Credentials) -> Caller:
        by = await _admit(request, given)
        by.must(action, _part_of(kind, request.path_params))
        return by

    return Depends(_marked(admitted, f"{action} {kind}"))


def signed_in() -> Any:
    """A dependency that admits whoever is known; the route asks `Caller.must` for each thing that the body names."""

    async def admitted(request: Request, given: Credentials) -> Caller:
        return await _admit(request, given)

    return Depends(_marked(admitted, "each"))


def open_to_all() -> Any:
    """Say of a route that it needs nobody: what it takes is proved by what it carries, or it tells nothing."""

    async def admitted() -> None:
        return None

    return Depends(_marked(admitted, "open"))


def guards_of(app: FastAPI) -> Iterator[tuple[str, str, str | None]]:
    """Every route: method, path, and what its guard asks; None where it has none."""
    for route in _routes(app.routes):
        found = [mark for one in _calls(route) if (mark := getattr(one, "guards", None)) is not None]
        for method in sorted(getattr(route, "methods", None) or {"ANY"}):
            yield method, getattr(route, "path", str(route)), found[0] if found else None


def refuse_unguarded(app: FastAPI, documentation: frozenset[str]) -> None:
    """Fail unless every route names its guard; `documentation` are the paths that FastAPI adds itself."""
    bare = [f"{method} {path}" for method, path, found in guards_of(app) if found is None and path not in documentation]
    invariant(not bare, f"routes without a guard: {', '.join(bare)}")


def _routes(routes: Sequence[Any]) -> Iterator[Any]:
    """Routes in order, those of included routers in their place: FastAPI keeps these whole and asks them in turn."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from _routes(inner.routes)


def _calls(route: Any) -> Iterator[Any]:
    waiting = [route.dependant] if isinstance(route, APIRoute) else []
    while waiting:
        one = waiting.pop()
        yield one.call
        waiting.extend(one.dependencies)


def _marked(admitted: Callable[..., Any], what: str) -> Callable[..., Any]:
    admitted.guards = what  # type: ignore[attr-defined]
    return admitted


async def _admit(request: Request, given: HTTPAuthorizationCredentials | None) -> Caller:
    gate: Gate = request.app.state.gate
    host = request.client.host if request.client else ""
    return await gate.admit(host, None if given is None else given.credentials)


def _part_of(kind: str, path: Mapping[str, str]) -> Part:
    if "instance" in path:
        namespace, _, name = path["instance"].partition(".")
        return Part(kind=kind, namespace=namespace, name=name)
    if "secret" in path:
        namespace, _, name = path["secret"].rpartition(".")
        return Part(kind=kind, namespace=namespace, name=name)
    return Part(kind=kind, namespace=path.get("namespace", ""), name=path.get("name", path.get("node", "")))
