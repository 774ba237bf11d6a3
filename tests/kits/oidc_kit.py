"""Tokens of a pretended provider, right and wrong in one thing each: keys are real, so are signatures."""

from __future__ import annotations

import base64
import functools
import hmac
import json
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from hanse.core.time import WallTime
from hanse.identity import Issuer, KeyRing
from hanse.identity.oidc import parse_keys

NOW = WallTime(1_795_219_200_000_000)
NOW_S = NOW // 1_000_000
URL = "https://id.example.org"
CLIENT = "hanse-cli"
ISSUER = Issuer(issuer=URL, client_id=CLIENT, audience=CLIENT)


@functools.cache
def rsa_key(name: str = "r1", bits: int = 2_048) -> Key:
    """One RSA key per name."""
    return RSAKey.generate_key(bits, {"kid": name})


@functools.cache
def ec_key(name: str = "e1", curve: str = "P-256") -> Key:
    """One EC key per name."""
    return ECKey.generate_key(curve, {"kid": name})  # type: ignore[arg-type]


@functools.cache
def ed_key(name: str = "o1") -> Key:
    """One Ed25519 key per name."""
    return OKPKey.generate_key("Ed25519", {"kid": name})


def key_set(*keys: Key, **more: Any) -> bytes:
    """A JWK Set as a provider publishes it; `more` goes into each row."""
    return json.dumps({"keys": [{**key.as_dict(private=False), "use": "sig", **more} for key in keys]}).encode()


def ring(*keys: Key) -> KeyRing:
    """As the API holds it."""
    return parse_keys(key_set(*(keys or (rsa_key(), ec_key()))))


def claims(**more: Any) -> dict[str, Any]:
    """Claims of an ID token that is good for ten minutes; None leaves one out."""
    plain = {"iss": URL, "sub": "ada", "aud": CLIENT, "iat": NOW_S - 5, "exp": NOW_S + 600, "groups": ["clinic-devs"]}
    return {name: value for name, value in (plain | more).items() if value is not None}


def signed(body: Any, key: Key | None = None, alg: str = "RS256", **header: Any) -> str:
    """A signed JWT."""
    key = key or rsa_key()
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    head = {"alg": alg, "kid": key.kid, "typ": "JWT"} | header
    return jws.serialize_compact(
        {k: v for k, v in head.items() if v is not None}, json.dumps(body).encode(), key, registry=registry
    )


def unsigned(body: Any, signature: bytes = b"", **header: Any) -> str:
    """A JWT with any header and any bytes for a signature."""
    parts = [json.dumps({"alg": "none"} | header).encode(), json.dumps(body).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def confused(body: Any) -> str:
    """Signed by HMAC with the provider's *public* key as the secret: the classic confusion of keys (RFC 8725 2.1)."""
    key = rsa_key()
    head = unsigned(body, alg="HS256", kid=key.kid, typ="JWT").rpartition(".")[0]
    made = hmac.digest(key.as_pem(private=False), head.encode(), "sha256")
    return f"{head}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"
