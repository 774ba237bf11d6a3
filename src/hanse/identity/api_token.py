"""Named tokens for the API: made, kept as a hash, checked. `secret + name + roles + now -> text, record`.

For scripts, and for domains without an OpenID provider. The text is shown once and carries the name under which its
record is found; the secret behind it has 256 bits, so that a plain hash keeps it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from hanse.core.errors import invariant
from hanse.core.ids import is_label
from hanse.core.time import DAY_US, WallTime, rfc3339
from hanse.identity.errors import IdentityError
from hanse.identity.oidc import TokenRefused

PREFIX = "hanse-api-"
"""A label that secret scanners can look for."""
SECRET_BYTES = 32
LIFETIME_MAX_US = 366 * DAY_US
"""Longer nobody knows any more who holds it."""


class ApiToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="api-token.v1", kw_only=True):
    """What the domain keeps of one token, sealed by the controller."""

    name: str
    token_hash: str
    """Hex SHA-256 of the text."""
    roles: dict[str, tuple[str, ...]]
    """Role -> namespaces; ``*`` for all."""
    created_us: WallTime
    expires_us: WallTime
    revoked_us: WallTime | None = None


def mint_api_token(
    secret: bytes, *, name: str, roles: dict[str, tuple[str, ...]], now: WallTime, lifetime_us: int
) -> tuple[str, ApiToken]:
    """Make a token from 32 unpredictable bytes: its text, to be shown once, and what to keep.

    Raises IdentityError ``identity.malformed_id`` for a name, a role or a namespace that is none, or a lifetime out of
    range (over `LIFETIME_MAX_US`).
    """
    invariant(len(secret) == SECRET_BYTES, f"an API token takes {SECRET_BYTES} secret bytes")
    places = [place for places in roles.values() for place in places]
    if not is_label(name) or not all(is_label(role) for role in roles) or not all(roles.values()):
        raise _wrong("a token has a name, and roles with namespaces: lower-case letters, digits and dashes")
    if not roles or not all(place == "*" or is_label(place) for place in places):
        raise _wrong("a role is held in a namespace, or in `*` for all of them")
    if not 0 < lifetime_us <= LIFETIME_MAX_US:
        raise _wrong("a token lives for a year at most")
    text = f"{PREFIX}{name}.{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"
    return text, ApiToken(
        name=name, token_hash=_hash(text), roles=roles, created_us=now, expires_us=WallTime(now + lifetime_us)
    )


def api_token_name(text: str) -> str | None:
    """The name under which a token's record is kept; None for a text that is no such token."""
    name, dot, secret = text.removeprefix(PREFIX).partition(".")
    return name if text.startswith(PREFIX) and dot and secret and is_label(name) else None


def check_api_token(text: str, kept: ApiToken | None, now: WallTime) -> ApiToken:
    """The record of a token that holds now.

    Raises TokenRefused ``token.unknown``, ``token.expired`` or ``token.revoked``; which of them is told only to whoever
    holds the whole token.
    """
    if kept is None or not hmac.compare_digest(_hash(text), kept.token_hash):
        raise TokenRefused("no such token", code="token.unknown", hint="ask an admin for one: `hanse token create`")
    if kept.revoked_us is not None:
        raise TokenRefused(f"revoked at {rfc3339(kept.revoked_us)}", code="token.revoked")
    if now >= kept.expires_us:
        raise TokenRefused(f"expired at {rfc3339(kept.expires_us)}", code="token.expired")
    return kept


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _wrong(why: str) -> IdentityError:
    return IdentityError(why, code="identity.malformed_id")
