"""How much anybody may ask of the API: token buckets per address and per principal, bounded in number.

`address, principal, moment -> go on, or wait`. The arithmetic is `hanse.core.rate`; here are the levels, the least
recently used of which is forgotten beyond `KEPT`. One controller counts for itself.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from hanse.app.access_file import Limits
from hanse.app.answers import answer_of
from hanse.core.errors import HanseError
from hanse.core.ports import Clock
from hanse.core.rate import Level, Rate, filled, full, take
from hanse.core.time import US_PER_S

KEPT = 10_000
"""Levels per kind; one takes some 200 bytes."""


class RateLimited(HanseError):
    """Raised when somebody asks for more than the domain allows; `wait_us` says when to come back."""

    code = "api.rate_limited"
    hint = "wait as long as Retry-After says; the limits stand in the domain's access file"
    retry = True

    def __init__(self, message: str, *, wait_us: int) -> None:
        super().__init__(message, context={"wait_us": wait_us})
        self.wait_us = wait_us

    @property
    def retry_after_s(self) -> int:
        """Whole seconds, as the header wants them (RFC 9110 section 10.2.3)."""
        return max(1, -(-self.wait_us // US_PER_S))


class _Buckets:
    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._levels: OrderedDict[str, Level] = OrderedDict()

    def take(self, key: str) -> int:
        """Take one token of `key`: 0, or the microseconds until there is one."""
        now = self._clock.monotonic()
        held = self._levels.pop(key) if key in self._levels else full(self._rate, now)
        level, wait_us = take(held, self._rate, now)
        self._levels[key] = level
        if len(self._levels) > KEPT:
            self._levels.popitem(last=False)
        return wait_us

    def wait_us(self, key: str) -> int:
        """What `take` would say, taking nothing."""
        now = self._clock.monotonic()
        level = self._levels.get(key)
        return 0 if level is None else take(filled(level, self._rate, now), self._rate, now)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What was counted since the process began, by what it was limited for."""

    requests: int
    limited: Mapping[str, int]
    failures: int


class Limiter:
    """The levels of one controller."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._address = _Buckets(limits.address, clock)
        self._principal = _Buckets(limits.principal, clock)
        self._failures = _Buckets(limits.failures, clock)
        self._requests = 0
        self._failed = 0
        self._limited: Counter[str] = Counter(address=0, failures=0, principal=0)

    def on_request(self, host: str) -> None:
        """Count a request before anything of it is read. Raises RateLimited."""
        self._requests += 1
        self._refuse("address", self._address.take(address_key(host)))

    def before_token(self, host: str) -> None:
        """Look whether an address has shown too many bad tokens to be believed another look. Raises RateLimited."""
        self._refuse("failures", self._failures.wait_us(address_key(host)))

    def on_bad_token(self, host: str) -> None:
        """Count a token that was not believed."""
        self._failed += 1
        self._failures.take(address_key(host))

    def on_principal(self, principal: str) -> None:
        """Count a request of somebody known. Raises RateLimited."""
        self._refuse("principal", self._principal.take(principal))

    def counted(self) -> Counted:
        """Counters since the process began."""
        return Counted(requests=self._requests, limited=dict(sorted(self._limited.items())), failures=self._failed)

    def _refuse(self, what: str, wait_us: int) -> None:
        if wait_us:
            self._limited[what] += 1
            raise RateLimited(f"too many requests ({what})", wait_us=wait_us)


def address_key(host: str) -> str:
    """One household of addresses: an IPv4 address, or the /64 that one subscriber has of IPv6."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64))) if mapped is None else str(mapped)
    return str(found)


class AddressLimit:
    """ASGI middleware: the limit per address, before routes, bodies and tokens."""

    def __init__(self, app: ASGIApp, limiter: Limiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 429, or pass the request on."""
        if scope["type"] == "http":
            client = scope.get("client")
            try:
                self._limiter.on_request(client[0] if client else "")
            except RateLimited as error:
                await answer_of(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
