"""Credentials of the substrate: NATS operator, account and user JWTs (nats-io/jwt v2 claims, ADR-14 / ADR-26).

`seeds + names + permissions -> signed JWTs -> server configuration text`. Keys are Ed25519 nkeys, because the server
takes no others; believing state for years does not rest on them (see `hanse.wire.envelope`). Which subjects a node may
use is in `permissions`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import nkeys

from hanse.core.errors import invariant
from hanse.core.time import US_PER_S, WallTime
from hanse.identity.errors import IdentityError
from hanse.identity.permissions import Permissions

SEED_BYTES = 32
NO_LIMIT = -1
RESPONSE_TTL_NS = 30 * 10**9
"""How long a node may answer a request it received."""

_PREFIXES = {
    "operator": nkeys.PREFIX_BYTE_OPERATOR,
    "account": nkeys.PREFIX_BYTE_ACCOUNT,
    "user": nkeys.PREFIX_BYTE_USER,
}
_HEADER = {"alg": "ed25519-nkey", "typ": "JWT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Nkey:
    """One nkey pair: its seed (secret, ``S...``) and its public key (``O...``, ``A...`` or ``U...``)."""

    seed: str = field(repr=False)
    public: str

    def sign(self, message: bytes) -> bytes:
        """Sign with the seed: 64 raw bytes."""
        signature: bytes = nkeys.from_seed(bytearray(self.seed.encode())).sign(message)
        return signature


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsTrust:
    """What a server needs to know users by: all of it public."""

    operator_jwt: str
    account: str
    account_jwt: str
    nodes: str
    nodes_jwt: str
    system: str
    system_jwt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """Paths of the server's PEM files: its SVID chain, that key, the bundle that clients must chain to."""

    certificate: str
    key: str
    bundle: str


def nkey_from_secret(kind: str, secret: bytes) -> Nkey:
    """Turn 32 unpredictable bytes into an nkey of `kind` (``operator``, ``account``, ``user``)."""
    invariant(len(secret) == SEED_BYTES, f"an nkey takes {SEED_BYTES} secret bytes")
    seed = nkeys.encode_seed(secret, _PREFIXES[kind])
    return Nkey(seed=seed.decode(), public=nkeys.from_seed(bytearray(seed)).public_key.decode())


def nkey_from_seed(seed: str) -> Nkey:
    """Read a stored seed. Raises IdentityError ``identity.bad_nkey``."""
    try:
        pair = nkeys.from_seed(bytearray(seed.encode("ascii")))
        again = nkeys.encode_seed(bytes(nkeys.decode_seed(bytearray(seed.encode()))[1]), _prefix_of(seed)).decode()
        public = pair.public_key.decode()
    except (nkeys.NkeysError, ValueError) as error:
        raise IdentityError(f"not an nkey seed: {error}", code="identity.bad_nkey") from error
    if again != seed:  # nkeys.decode_seed does not look at the checksum
        raise IdentityError("not an nkey seed: wrong checksum", code="identity.bad_nkey")
    return Nkey(seed=seed, public=public)


def public_bytes(public: str, kind: str) -> bytes:
    """The raw Ed25519 key behind a public nkey of `kind`. Raises IdentityError ``identity.bad_nkey``."""
    try:
        raw = base64.b32decode(public)
    except ValueError as error:
        raise IdentityError(f"not a public nkey: {error}", code="identity.bad_nkey") from error
    checksum = nkeys.crc16_checksum(bytearray(raw[:-2])) if len(raw) == 35 else b""
    if len(raw) != 35 or raw[0] != _PREFIXES[kind] or raw[-2:] != checksum:
        raise IdentityError(f"not a public nkey of a NATS {kind}", code="identity.bad_nkey")
    return raw[1:33]


def operator_jwt(operator: Nkey, name: str, system: str, now: WallTime) -> str:
    """The self-signed claim of an operator, naming its system account."""
    return _encode(operator, operator.public, name, now, {"type": "operator", "system_account": system})


def account_jwt(
    operator: Nkey,
    account: str,
    name: str,
    now: WallTime,
    *,
    has_jetstream: bool,
    revoked: Mapping[str, WallTime] | None = None,
    doors: Mapping[str, object] | None = None,
) -> str:
    """An account with no limit of its own; users in `revoked` (public nkey -> time) made before that time are out.

    `doors`: exports and imports (`nats_accounts`).
    """
    storage = NO_LIMIT if has_jetstream else 0
    limits = {
        **dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), NO_LIMIT),
        "wildcards": True,
        # A bearer user would need no proof of its key.
        "disallow_bearer": True,
        **dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), storage),
    }
    nats: dict[str, object] = {
        "type": "account",
        "limits": limits,
        "default_permissions": {"pub": {}, "sub": {}},
        **(doors or {}),
    }
    if revoked:
        nats["revocations"] = {public: at // US_PER_S for public, at in sorted(revoked.items())}
    return _encode(operator, account, name, now, nats)


def user_jwt(
    account: Nkey,
    user: str,
    name: str,
    now: WallTime,
    *,
    permissions: Permissions | None,
    expires: WallTime | None = None,
) -> str:
    """A user of `account` who holds the key `user`; `permissions` None gives the whole account (controllers only).

    Raises IdentityError ``identity.bad_nkey`` if `user` is not a user's public key.
    """
    public_bytes(user, "user")
    nats: dict[str, object] = {
        "type": "user",
        **dict.fromkeys(("subs", "data", "payload"), NO_LIMIT),
        "pub": {},
        "sub": {},
    }
    if permissions is not None:
        nats["pub"] = {"allow": list(permissions.publish)}
        nats["sub"] = {"allow": list(permissions.subscribe)}
        nats["resp"] = {"max": 1, "ttl": RESPONSE_TTL_NS}
    return _encode(account, user, name, now, nats, expires=expires)


def nats_auth_config(trust: NatsTrust, tls: ServerTls) -> str:
    """The security block of a nats-server configuration file: TLS, and who is known.

    The server proves itself by its certificate, every client by an nkey signature over the server's nonce and the
    account's JWT about that nkey. No client certificate is asked for: a node that was cut off for longer than its
    one-hour SVID lives must be able to come back and renew it (docs/decisions/0002).

    Goes at the top level beside ``listen`` and ``jetstream``. A changed block takes effect on SIGHUP.
    """
    return "\n".join(
        (
            f"operator: {trust.operator_jwt}",
            f"system_account: {trust.system}",
            "resolver: MEMORY",
            "resolver_preload: {",
            f"  {trust.account}: {trust.account_jwt}",
            f"  {trust.nodes}: {trust.nodes_jwt}",
            f"  {trust.system}: {trust.system_jwt}",
            "}",
            "tls: {",
            f"  cert_file: {json.dumps(tls.certificate)}",
            f"  key_file: {json.dumps(tls.key)}",
            f"  ca_file: {json.dumps(tls.bundle)}",
            '  min_version: "1.3"',
            "  timeout: 5",
            "}",
            "",
        )
    )


def _encode(
    issuer: Nkey,
    subject: str,
    name: str,
    now: WallTime,
    nats: Mapping[str, object],
    *,
    expires: WallTime | None = None,
) -> str:
    claims: dict[str, object] = {
        "iat": now // US_PER_S,
        "iss": issuer.public,
        "name": name,
        "nats": {**nats, "version": 2},
        "sub": subject,
    }
    if expires is not None:
        claims["exp"] = expires // US_PER_S
    claims["jti"] = base64.b32encode(hashlib.sha256(_json(claims)).digest()).rstrip(b"=").decode()
    signed = f"{_base64(_json(_HEADER))}.{_base64(_json(claims))}"
    return f"{signed}.{_base64(issuer.sign(signed.encode()))}"


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _prefix_of(seed: str) -> int:
    prefix: int = nkeys.decode_seed(bytearray(seed.encode()))[0]
    return prefix
