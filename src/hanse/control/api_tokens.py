"""Named tokens of users: made, listed, withdrawn, found again. `verbs over the store`.

Every use reads the store, so that a token withdrawn at one controller counts at none. What the store says is believed
under the controller's seal only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from hanse.control.controller import Controller
from hanse.control.service import FabricService, NotFound
from hanse.core.errors import ConflictError, present
from hanse.core.ports import ControlPorts, Entry
from hanse.identity import ApiToken, api_token_name, check_api_token, mint_api_token
from hanse.identity.api_token import SECRET_BYTES
from hanse.wire import envelope
from hanse.wire.subjects import API_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTokenView:
    """One token as it is shown: everything but what would let somebody use it."""

    name: str
    roles: Mapping[str, tuple[str, ...]]
    created_us: int
    expires_us: int
    revoked_us: int | None
    is_good: bool


class ApiTokens:
    """The verbs."""

    def __init__(self, controller: Controller, service: FabricService, ports: ControlPorts) -> None:
        self._controller = controller
        self._service = service
        self._ports = ports

    async def create(
        self, name: str, roles: Mapping[str, Sequence[str]], *, lifetime_us: int, user: str
    ) -> tuple[str, ApiTokenView]:
        """Make a token: its text, to be shown once. A name is free again once its token is revoked or has expired.

        Raises IdentityError, ConflictError ``token.name_taken``.
        """
        now = self._ports.clock.wall()
        given = {role: tuple(sorted(places)) for role, places in sorted(roles.items())}
        secret = self._ports.entropy.secret(SECRET_BYTES)
        text, made = mint_api_token(secret, name=name, roles=given, now=now, lifetime_us=lifetime_us)
        entry = await self._ports.store.get(API_TOKENS, name)
        if entry is not None and self._view(self._open(entry)).is_good:
            raise ConflictError(
                f"a token {name} is in use", code="token.name_taken", hint="revoke it first, or choose another name"
            )
        await self._service.note("create", f"token/{name}", user=user)
        await self._put(made, 0 if entry is None else entry.revision)
        return text, self._view(made)

    async def listed(self) -> tuple[ApiTokenView, ...]:
        """Every token, by name."""
        return tuple(self._view(self._open(entry)) for entry in await self._ports.store.entries(API_TOKENS))

    async def revoke(self, name: str, *, user: str) -> None:
        """Withdraw a token, for good and at once. Raises NotFound."""
        entry = await self._ports.store.get(API_TOKENS, name)
        if entry is None:
            raise NotFound(f"no token {name}", hint="see `hanse token list`")
        kept = self._open(entry)
        await self._service.note("revoke", f"token/{name}", user=user)
        if kept.revoked_us is None:
            now = self._ports.clock.wall()
            await self._put(msgspec.structs.replace(kept, revoked_us=now), entry.revision)

    async def find(self, text: str) -> ApiToken | None:
        """The record of a token that holds now; None for a text that is no named token. Raises TokenRefused."""
        name = api_token_name(text)
        if name is None:
            return None
        entry = await self._ports.store.get(API_TOKENS, name)
        return check_api_token(text, None if entry is None else self._open(entry), self._ports.clock.wall())

    async def _put(self, token: ApiToken, expected: int) -> None:
        await self._ports.store.put(API_TOKENS, token.name, envelope.seal(token, self._ports.signer), expected)

    def _open(self, entry: Entry) -> ApiToken:
        sealed = present(entry.value, "what the store gives by key or lists is there")
        found = envelope.open_sealed(sealed, ApiToken, self._controller.state.trusted).message
        if found.name != entry.key:
            raise NotFound(f"what stands under {entry.key} is another token")
        return found

    def _view(self, token: ApiToken) -> ApiTokenView:
        is_good = token.revoked_us is None and self._ports.clock.wall() < token.expires_us
        return ApiTokenView(
            name=token.name, roles=token.roles, created_us=token.created_us, expires_us=token.expires_us,
            revoked_us=token.revoked_us, is_good=is_good,
        )  # fmt: skip
