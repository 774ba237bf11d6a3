"""The domain's access file: providers, who holds which role, rules of its own, limits. `file -> Access`.

Given with `hanse up --access FILE` and read once, when a controller starts. Without one there is the administrators'
token and whatever named tokens it made.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hanse.adapters.oidc_keys import check_url
from hanse.core.errors import HanseError
from hanse.core.rate import Rate
from hanse.identity import Issuer, UserClaims
from hanse.identity.oidc import KEY_OF


class AccessFileError(HanseError):
    """Raised when an access file cannot be used; the message names the field."""

    code = "access.file_invalid"
    hint = "docs/security.md shows a whole one"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedProvider:
    """A provider, and how its keys and endpoints are reached."""

    issuer: Issuer
    jwks_url: str | None = None
    ca_file: str | None = None
    resource: str | None = None
    """Name of the API that users ask access tokens for (RFC 8707); None where ID tokens are shown."""

    def tls(self) -> ssl.SSLContext | None:
        """The authorities of its server, where not the system's."""
        return None if self.ca_file is None else ssl.create_default_context(cafile=self.ca_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Who holds a role, and where."""

    role: str
    namespaces: tuple[str, ...]
    users: tuple[str, ...] = ()
    """``issuer#subject``."""
    groups: tuple[str, ...] = ()
    issuer: str | None = None
    """Whose groups are meant; None only where one issuer is trusted."""


OF_PRINCIPAL = Rate(per_minute=30_000, burst=1_000)
OF_ADDRESS = Rate(per_minute=60_000, burst=2_000)
OF_FAILURES = Rate(per_minute=60, burst=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be asked for. The defaults are far above what a person or a pipeline asks, and far below what hurts:
    a controller answers some thousands of reads per second."""

    principal: Rate = OF_PRINCIPAL
    address: Rate = OF_ADDRESS
    failures: Rate = OF_FAILURES
    """Bad tokens from one address; beyond it nothing from there is even looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Everything that the file says."""

    providers: Mapping[str, TrustedProvider] = field(default_factory=dict)
    bindings: tuple[Binding, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    """The domain's own rules: file -> Cedar text."""
    limits: Limits = field(default_factory=Limits)

    def roles_of(self, user: UserClaims) -> dict[str, tuple[str, ...]]:
        """The roles of a user of a provider: role -> namespaces."""
        found: dict[str, set[str]] = {}
        for one in self.bindings:
            is_named = f"{user.issuer}#{user.subject}" in one.users
            in_group = one.issuer in (None, user.issuer) and not set(one.groups).isdisjoint(user.groups)
            if is_named or in_group:
                found.setdefault(one.role, set()).update(one.namespaces)
        return {role: tuple(sorted(places)) for role, places in sorted(found.items())}


NO_FILE = Access()
"""What holds without a file."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Provider(_Model):
    issuer: str
    client_id: str = Field(min_length=1, max_length=256)
    shows: Literal["id", "access"] = "id"
    resource: str | None = None
    algorithms: list[str] = Field(default=["RS256", "ES256"], min_length=1, max_length=8)
    groups_claim: str = "groups"
    scopes: list[str] = Field(default=["openid"], max_length=20)
    skew_s: int = Field(default=30, ge=0, le=300)
    jwks_url: str | None = None
    ca: str | None = None


class _Role(_Model):
    role: str
    namespaces: list[str] = Field(min_length=1)
    users: list[str] = []
    groups: list[str] = []
    issuer: str | None = None


class _Rate(_Model):
    per_minute: int = Field(ge=1, le=10_000_000)
    burst: int = Field(ge=1, le=1_000_000)


class _Limits(_Model):
    principal: _Rate | None = None
    address: _Rate | None = None
    failures: _Rate | None = None


class _File(_Model):
    oidc: list[_Provider] = []
    roles: list[_Role] = []
    rules: list[str] = []
    limits: _Limits = _Limits()


def read_access(path: Path) -> Access:
    """Read an access file and the rules that it names, relative to its folder. Raises AccessFileError."""
    try:
        given = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        rules = {name: (path.parent / name).read_text(encoding="utf-8") for name in given.rules}
    except ValidationError as error:
        first = error.errors()[0]
        raise AccessFileError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AccessFileError(f"{path}: {error}") from error
    providers = {one.issuer: _provider(path, one) for one in given.oidc}
    if len(providers) != len(given.oidc):
        raise AccessFileError(f"{path}: oidc: one issuer stands there twice")
    return Access(
        providers=providers,
        bindings=tuple(_binding(path, one, providers) for one in given.roles),
        rules=rules,
        limits=_limits(given.limits),
    )


def _provider(path: Path, given: _Provider) -> TrustedProvider:
    unknown = sorted(set(given.algorithms) - set(KEY_OF))
    if unknown:
        raise AccessFileError(f"{path}: algorithms {unknown}; one of {', '.join(KEY_OF)}")
    if (given.shows == "access") != (given.resource is not None):
        raise AccessFileError(f"{path}: `shows: access` and `resource` go together")
    for url in (given.issuer, given.jwks_url or given.issuer):
        check_url(url)
    ca = None if given.ca is None else str((path.parent / given.ca).resolve())
    issuer = Issuer(
        issuer=given.issuer, client_id=given.client_id, audience=given.resource or given.client_id,
        is_access_token=given.shows == "access", algorithms=tuple(given.algorithms),
        groups_claim=given.groups_claim, skew_us=given.skew_s * 1_000_000,
        scopes=tuple(dict.fromkeys(("openid", *given.scopes))),
    )  # fmt: skip
    return TrustedProvider(issuer=issuer, jwks_url=given.jwks_url, ca_file=ca, resource=given.resource)


def _binding(path: Path, given: _Role, providers: Mapping[str, TrustedProvider]) -> Binding:
    if given.groups and given.issuer is None and len(providers) > 1:
        raise AccessFileError(f"{path}: groups of {given.role}: several issuers are trusted; say whose with `issuer`")
    if given.issuer is not None and given.issuer not in providers:
        raise AccessFileError(f"{path}: no issuer {given.issuer} under `oidc`")
    if not given.users and not given.groups:
        raise AccessFileError(f"{path}: role {given.role} is given to nobody; name `users` or `groups`")
    return Binding(
        role=given.role, namespaces=tuple(given.namespaces), users=tuple(given.users), groups=tuple(given.groups),
        issuer=given.issuer,
    )  # fmt: skip


def _limits(given: _Limits) -> Limits:
    default = Limits()
    return Limits(
        principal=_rate(given.principal, default.principal),
        address=_rate(given.address, default.address),
        failures=_rate(given.failures, default.failures),
    )


def _rate(given: _Rate | None, default: Rate) -> Rate:
    return default if given is None else Rate(per_minute=given.per_minute, burst=given.burst)
