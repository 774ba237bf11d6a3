"""The public keys of an OpenID provider, fetched and kept: `issuer -> KeyRing`.

Keys are asked for when first needed, again after an hour, and at once for a key id that is not known (the provider
rotated) but never more often than every ten seconds: a stranger who invents key ids makes nobody ask. While the
provider does not answer, keys that were fetched within a day go on counting.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import structlog

from hanse.core.ports import Clock
from hanse.core.time import DAY_US, HOUR_US, US_PER_S, MonoTime
from hanse.identity.oidc import MAX_KEYS_BYTES, KeyRing, Provider, TokenRefused, parse_keys, parse_provider

log = structlog.get_logger("control")

FRESH_US = HOUR_US
STALE_US = DAY_US
AGAIN_US = 10 * US_PER_S
FETCH_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    ring: KeyRing
    at_us: MonoTime


class IssuerKeys:
    """Keys of one provider."""

    def __init__(
        self, issuer: str, clock: Clock, *, tls: ssl.SSLContext | None = None, jwks_url: str | None = None
    ) -> None:
        """`tls`: the authorities of its server, where not the system's. `jwks_url`: where discovery is not to say."""
        self._issuer = issuer
        self._clock = clock
        self._tls = tls
        self._jwks_url = jwks_url
        self._held: _Held | None = None
        self._tried_us: MonoTime | None = None
        self._lock = asyncio.Lock()

    async def ring(self, kid: str | None) -> KeyRing:
        """The keys, fetched anew where a token names one that is not among them.

        Raises TokenRefused ``token.provider`` where there are none that still count.
        """
        if self._is_good(kid):
            return self._kept()
        async with self._lock:
            if not self._is_good(kid) and self._may_try():
                await self._fetch()
        return self._kept()

    def _is_good(self, kid: str | None) -> bool:
        held = self._held
        is_fresh = held is not None and self._clock.monotonic() - held.at_us < FRESH_US
        return held is not None and is_fresh and bool(held.ring.named(kid))

    def _may_try(self) -> bool:
        return self._tried_us is None or self._clock.monotonic() - self._tried_us >= AGAIN_US

    def _kept(self) -> KeyRing:
        if self._held is None or self._clock.monotonic() - self._held.at_us >= STALE_US:
            raise TokenRefused(
                f"the keys of {self._issuer} cannot be had", code="token.provider", hint="is it reachable?", retry=True
            )
        return self._held.ring

    async def _fetch(self) -> None:
        self._tried_us = self._clock.monotonic()
        try:
            async with asyncio.timeout(FETCH_S), provider_client(self._tls) as http:
                url = self._jwks_url or (await discover(http, self._issuer)).jwks_uri
                ring = parse_keys(await bounded_get(http, url))
        except (httpx.HTTPError, TimeoutError, TokenRefused) as error:
            log.warning("oidc.keys_unavailable", issuer=self._issuer, why=str(error) or type(error).__name__)
            return
        self._held = _Held(ring=ring, at_us=self._clock.monotonic())


def provider_client(tls: ssl.SSLContext | None) -> httpx.AsyncClient:
    """A client for a provider's endpoints; it follows no redirects."""
    return httpx.AsyncClient(verify=True if tls is None else tls, timeout=FETCH_S, trust_env=False)


async def discover(http: httpx.AsyncClient, issuer: str) -> Provider:
    """What a provider publishes of itself (OpenID Connect Discovery 1.0 section 4). Raises TokenRefused, HTTPError."""
    return parse_provider(await bounded_get(http, issuer.rstrip("/") + "/.well-known/openid-configuration"), issuer)


async def bounded_get(http: httpx.AsyncClient, url: str) -> bytes:
    """Fetch a small document. Raises TokenRefused for an address that may not be asked, HTTPError."""
    check_url(url)
    body = bytearray()
    async with http.stream("GET", url, headers={"accept": "application/json"}) as answer:
        answer.raise_for_status()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > MAX_KEYS_BYTES:
                raise TokenRefused(f"{url} answers more than {MAX_KEYS_BYTES} bytes", code="token.provider")
    return bytes(body)


def check_url(url: str) -> str:
    """Return an address that may be asked: ``https``, or ``http`` on this machine (RFC 8252 section 8.3).

    Raises TokenRefused ``token.provider``.
    """
    parts = urlsplit(url)
    is_here = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1")
    if not parts.hostname or not (parts.scheme == "https" or is_here):
        raise TokenRefused(f"{url[:200]!r} is no https address", code="token.provider")
    return url
