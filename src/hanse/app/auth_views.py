"""What the API tells about users: records that server and client share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hanse.control.api_tokens import ApiTokenView


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoAmI:
    """Somebody as the API knows them."""

    kind: Literal["User", "Token"]
    id: str
    issuer: str
    subject: str
    roles: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MayI:
    """Whether the caller may, and by which rules."""

    action: str
    part: str
    is_allowed: bool
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """How to sign in at one provider: what the command line needs to know."""

    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    algorithms: tuple[str, ...]
    audience: str
    is_access_token: bool
    resource: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTokenMade:
    """A token and its text, which is shown once."""

    text: str
    token: ApiTokenView
