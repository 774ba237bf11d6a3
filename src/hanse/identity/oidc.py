"""Users of an OpenID provider: are these tokens its own, for us, now? `token + keys + issuer + now -> UserClaims`.

Signatures are joserfc's; what is decided here is which key and which algorithm may be tried at all (RFC 8725): the
algorithms are pinned by configuration and tied to the type of key, symmetric ones never count, and what a header
says about where keys are to be had is not read. Fetching keys is somebody else's job.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key
from joserfc.jws import deserialize_compact

from hanse.core.time import US_PER_S, WallTime
from hanse.identity.errors import IdentityError

KEY_OF: Final[Mapping[str, tuple[str, str | None]]] = {
    "RS256": ("RSA", None), "PS256": ("RSA", None), "RS512": ("RSA", None), "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "Ed25519": ("OKP", "Ed25519"),
}  # fmt: skip
"""Algorithm -> type of key and curve that it takes (RFC 7518, RFC 9864). What is not here is never verified:
no ``none``, no HMAC, no SHA-1."""
RSA_BITS_MIN = 2_048
MAX_TOKEN_BYTES = 16_384
MAX_KEYS = 64
MAX_KEYS_BYTES = 2**18
MAX_GROUPS = 500
TIME_MAX_US = 253_402_300_799 * US_PER_S
SKEW_US = 30 * US_PER_S
"""Clocks that are kept by NTP differ by less than a second; half a minute forgives a provider that is not."""


class TokenRefused(IdentityError):
    """Raised when a user's token is not believed; `code` (``token.*``) names the broken rule."""

    code = "token.refused"
    hint = "sign in again with `hanse login`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A provider that the domain trusts, and for what."""

    issuer: str
    """Its name, byte for byte as in ``iss``."""
    client_id: str
    """Of the command line: a public client (RFC 8252)."""
    audience: str
    """Whom tokens must be for: the client (ID tokens) or the API's own name (access tokens)."""
    is_access_token: bool = False
    """Whether users show access tokens (RFC 9068) and not ID tokens."""
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    """Pinned: what a token's header says only picks among these."""
    groups_claim: str = "groups"
    skew_us: int = SKEW_US
    scopes: tuple[str, ...] = ("openid",)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserClaims:
    """What a verified token says."""

    issuer: str
    subject: str
    groups: tuple[str, ...]
    expires_us: WallTime
    nonce: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """One public key; `algorithm` None: its owner did not tie it to one."""

    kid: str | None
    algorithm: str | None
    key: Key


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The public keys of a provider, in its order."""

    keys: tuple[VerificationKey, ...] = ()

    def named(self, kid: str | None) -> tuple[VerificationKey, ...]:
        """The keys that a token with this key id could be signed with; all of them where it names none."""
        return tuple(one for one in self.keys if kid in (None, one.kid))


class _Keys(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class Provider(msgspec.Struct, frozen=True):
    """What a provider publishes of itself (OpenID Connect Discovery 1.0, RFC 8414)."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    device_authorization_endpoint: str = ""
    revocation_endpoint: str = ""


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str | None = None
    typ: str | None = None
    crit: list[str] | None = None
    b64: bool = True


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    iat: int | float
    nbf: int | float | None = None
    azp: str | None = None
    nonce: str | None = None


def parse_provider(data: bytes, issuer: str) -> Provider:
    """Read a discovery document. Raises TokenRefused ``token.provider`` if it is not that issuer's."""
    try:
        found = msgspec.json.decode(data, type=Provider)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _provider(f"the discovery document of {issuer} cannot be read: {error}") from error
    if found.issuer != issuer:
        raise _provider(f"the document names the issuer {found.issuer!r}, not {issuer!r}")
    return found


def parse_keys(data: bytes) -> KeyRing:
    """Read a JWK Set (RFC 7517): public signature keys of known types. Others are passed over, as section 5 asks.

    Raises TokenRefused ``token.provider`` for what is no set, or a set beyond `MAX_KEYS`.
    """
    if len(data) > MAX_KEYS_BYTES:
        raise _provider(f"a key set of {len(data)} bytes")
    try:
        rows = msgspec.json.decode(data, type=_Keys).keys
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _provider(f"the key set cannot be read: {error}") from error
    if len(rows) > MAX_KEYS:
        raise _provider(f"{len(rows)} keys, at most {MAX_KEYS}")
    return KeyRing(tuple(made for row in rows if (made := _key(row)) is not None))


def issuer_of(token: str) -> str:
    """Read whose token it says it is, before anything of it is believed. Raises TokenRefused ``token.malformed``."""
    _, claims = _read(token)
    return claims.iss


def key_id_of(token: str) -> str | None:
    """Read which key it says it is signed with. Raises TokenRefused ``token.malformed``."""
    return _read(token)[0].kid


def verify_token(token: str, issuer: Issuer, ring: KeyRing, now: WallTime) -> UserClaims:
    """Verify an ID token (OpenID Connect Core 3.1.3.7) or an access token (RFC 9068 section 4).

    Raises TokenRefused: ``token.malformed``, ``token.algorithm``, ``token.unknown_key``, ``token.signature``,
    ``token.issuer``, ``token.audience``, ``token.expired``, ``token.not_yet``, ``token.kind``.
    """
    header, claims = _read(token)
    _verify_signature(token, header, issuer, ring)
    _check_kind(header, claims, issuer)
    expires_us = _check_times(claims, issuer.skew_us, now)
    return UserClaims(
        issuer=claims.iss, subject=claims.sub, groups=_groups(token, issuer.groups_claim), expires_us=expires_us,
        nonce=claims.nonce,
    )  # fmt: skip


def check_nonce(claims: UserClaims, nonce: str) -> None:
    """Hold the token against the nonce that the sign-in began with. Raises TokenRefused ``token.nonce``."""
    if claims.nonce is None or not hmac.compare_digest(claims.nonce.encode(), nonce.encode()):
        raise TokenRefused("the token answers another sign-in", code="token.nonce")


def pkce_challenge(verifier: str) -> str:
    """The challenge to a PKCE verifier by S256 (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode()


def _read(token: str) -> tuple[_Header, _Claims]:
    parts = token.split(".")
    if len(token) > MAX_TOKEN_BYTES or len(parts) != 3:
        raise _malformed("it is no signed JWT in compact form")
    try:
        header = msgspec.json.decode(_decoded(parts[0]), type=_Header)
        claims = msgspec.json.decode(_decoded(parts[1]), type=_Claims)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _malformed(str(error)) from error
    if header.crit is not None or not header.b64:
        raise _malformed("its header demands extensions (`crit`, `b64`)")
    return header, claims


def _decoded(part: str) -> bytes:
    try:
        found = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed(f"no base64url: {error}") from error
    # One spelling only: bits that decoding drops must be zero.
    if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != part:
        raise _malformed("no base64url: another spelling of the same bytes")
    return found


def _verify_signature(token: str, header: _Header, issuer: Issuer, ring: KeyRing) -> None:
    if header.alg not in issuer.algorithms or header.alg not in KEY_OF:
        allowed = ", ".join(issuer.algorithms)
        raise TokenRefused(f"algorithm {header.alg[:20]!r}; this issuer signs by {allowed}", code="token.algorithm")
    named = ring.named(header.kid)
    fitting = [one.key for one in named if _fits(one, header.alg)]
    if not named:
        raise TokenRefused("signed with a key that the issuer does not publish", code="token.unknown_key", retry=True)
    if not fitting:
        raise TokenRefused(f"no key of the issuer is for {header.alg}", code="token.algorithm")
    _decoded(token.rpartition(".")[2])
    for key in fitting:
        try:
            deserialize_compact(token.encode("ascii"), key, algorithms=[header.alg])
        except (JoseError, ValueError):
            continue
        return
    raise TokenRefused("its signature does not hold", code="token.signature")


def _check_kind(header: _Header, claims: _Claims, issuer: Issuer) -> None:
    if claims.iss != issuer.issuer:
        raise TokenRefused(f"issued by {claims.iss[:200]!r}", code="token.issuer")
    audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if issuer.audience not in audiences:
        raise TokenRefused(f"meant for {', '.join(audiences)[:200]!r}, not for this domain", code="token.audience")
    kind = (header.typ or "JWT").lower().removeprefix("application/")
    if issuer.is_access_token:
        if kind != "at+jwt":
            raise TokenRefused(f"a token of type {kind[:40]!r} is no access token", code="token.kind")
        return
    if kind != "jwt":
        raise TokenRefused(f"a token of type {kind[:40]!r} is no ID token", code="token.kind")
    if len(audiences) > 1 and claims.azp is None:
        raise TokenRefused("for several parties, and it does not say whose it is", code="token.audience")
    if claims.azp not in (None, issuer.client_id):
        raise TokenRefused(f"given to {str(claims.azp)[:200]!r}, not to this client", code="token.audience")


def _check_times(claims: _Claims, skew_us: int, now: WallTime) -> WallTime:
    try:
        expires, issued, begins = (round(t * US_PER_S) for t in (claims.exp, claims.iat, claims.nbf or claims.iat))
    except (OverflowError, ValueError) as error:
        raise _malformed(f"a time that is none: {error}") from error
    if not all(0 <= t <= TIME_MAX_US for t in (expires, issued, begins)):
        raise _malformed("a time before 1970 or after the year 9999")
    if now >= expires + skew_us:
        raise TokenRefused("it has expired", code="token.expired")
    if max(issued, begins) > now + skew_us:
        raise TokenRefused("it begins in the future: does a clock run ahead?", code="token.not_yet")
    return WallTime(expires)


def _groups(token: str, claim: str) -> tuple[str, ...]:
    payload: Any = msgspec.json.decode(_decoded(token.split(".")[1]))
    found = payload.get(claim, [])
    groups = [found] if isinstance(found, str) else found
    if not isinstance(groups, list) or len(groups) > MAX_GROUPS or not all(isinstance(g, str) for g in groups):
        raise _malformed(f"its claim {claim!r} is no list of at most {MAX_GROUPS} names")
    return tuple(groups)


def _key(row: Mapping[str, Any]) -> VerificationKey | None:
    kid, algorithm = row.get("kid"), row.get("alg")
    if row.get("use", "sig") != "sig" or row.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if not isinstance(kid, str | None) or not isinstance(algorithm, str | None):
        return None
    # Only what makes a public key is taken over: a set that leaks private parts lends us none.
    if row.get("kty") == "RSA" and not _is_long(row.get("n")):
        return None
    public = {name: row[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in row}
    try:
        key = JWKRegistry.import_key(public)
        key.public_key  # noqa: B018 - reading it checks that the numbers make a key
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return VerificationKey(kid=kid, algorithm=algorithm, key=key)


def _is_long(modulus: object) -> bool:
    """Whether a modulus has `RSA_BITS_MIN` bits; the library only warns of shorter ones."""
    try:
        return isinstance(modulus, str) and int.from_bytes(_decoded(modulus)).bit_length() >= RSA_BITS_MIN
    except TokenRefused:
        return False


def _fits(one: VerificationKey, algorithm: str) -> bool:
    kind, curve = KEY_OF[algorithm]
    if one.key.key_type != kind or one.algorithm not in (None, algorithm):
        return False
    if kind == "RSA":
        return True
    return bool(one.key.as_dict(private=False).get("crv") == curve)


def _malformed(why: str) -> TokenRefused:
    return TokenRefused(f"no token that can be read: {why}", code="token.malformed")


def _provider(why: str) -> TokenRefused:
    return TokenRefused(why, code="token.provider", hint="is the issuer's address right?", retry=True)
