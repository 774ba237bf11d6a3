"""NATS JWTs: claims the server reads, signatures that hold, a configuration block a person can read."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hanse.core.ids import NodeId
from hanse.core.time import HOUR_US, WallTime
from hanse.identity import IdentityError, NatsTrust, ServerTls, nats_auth_config, nkey_from_secret, node_permissions
from hanse.identity.nats_jwt import (
    account_jwt,
    nkey_from_seed,
    operator_jwt,
    public_bytes,
    user_jwt,
)

NOW = WallTime(1_795_000_000_000_000)
OPERATOR = nkey_from_secret("operator", b"\x01" * 32)
ACCOUNT = nkey_from_secret("account", b"\x02" * 32)
USER = nkey_from_secret("user", b"\x03" * 32)


def decode(token: str, issuer: str, kind: str) -> dict[str, Any]:
    """Check a token as the server does: three parts, header, issuer, signature."""
    header, body, signature = token.split(".")
    key = Ed25519PublicKey.from_public_bytes(public_bytes(issuer, kind))
    key.verify(base64.urlsafe_b64decode(signature + "=="), f"{header}.{body}".encode())
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "ed25519-nkey", "typ": "JWT"}
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert claims["iss"] == issuer
    return claims


def test_the_operator_vouches_for_itself_and_names_its_system_account() -> None:
    claims = decode(operator_jwt(OPERATOR, "hanse.local", ACCOUNT.public, NOW), OPERATOR.public, "operator")
    assert (claims["sub"], claims["nats"]["system_account"]) == (OPERATOR.public, ACCOUNT.public)


def test_a_token_identifies_its_claims() -> None:
    one, same, other = (operator_jwt(OPERATOR, name, ACCOUNT.public, NOW) for name in ("a", "a", "b"))
    assert one == same
    assert decode(one, OPERATOR.public, "operator")["jti"] != decode(other, OPERATOR.public, "operator")["jti"]


def test_keys_carry_their_kind() -> None:
    assert (OPERATOR.public[0], ACCOUNT.public[0], USER.public[0]) == ("O", "A", "U")
    assert nkey_from_seed(USER.seed) == USER
    assert len(public_bytes(USER.public, "user")) == 32
    assert USER.seed not in repr(USER)


@pytest.mark.parametrize("seed", ["", "S", "SUAA", USER.seed[:-1] + "A", USER.public, "ü" * 58, USER.seed.lower()])
def test_damaged_seeds_are_refused(seed: str) -> None:
    with pytest.raises(IdentityError) as refused:
        nkey_from_seed(seed)
    assert refused.value.code == "identity.bad_nkey"


def test_a_user_claim_lists_its_permissions() -> None:
    permissions = node_permissions(NodeId("berlin-1"))
    expires = WallTime(NOW + HOUR_US)
    token = user_jwt(ACCOUNT, USER.public, "berlin-1", NOW, permissions=permissions, expires=expires)
    claims = decode(token, ACCOUNT.public, "account")
    nats = claims["nats"]
    assert (claims["sub"], claims["iss"], claims["exp"]) == (USER.public, ACCOUNT.public, NOW // 10**6 + 3_600)
    assert nats["pub"] == {"allow": list(permissions.publish)}
    assert nats["sub"] == {"allow": ["_INBOX.berlin-1.>", "hanse.v1.deliver.berlin-1.>", "hanse.v1.tell.berlin-1.*"]}
    assert nats["resp"] == {"max": 1, "ttl": 30 * 10**9}
    assert (nats["type"], nats["version"]) == ("user", 2)


def test_only_user_keys_become_users() -> None:
    with pytest.raises(IdentityError) as refused:
        user_jwt(ACCOUNT, ACCOUNT.public, "x", NOW, permissions=None)
    assert refused.value.code == "identity.bad_nkey"


def test_an_account_names_its_revoked_users() -> None:
    token = account_jwt(OPERATOR, ACCOUNT.public, "fabric", NOW, has_jetstream=True, revoked={USER.public: NOW})
    nats = decode(token, OPERATOR.public, "operator")["nats"]
    assert nats["revocations"] == {USER.public: NOW // 10**6}
    assert nats["limits"]["disallow_bearer"] is True


def test_the_configuration_block_can_be_read() -> None:
    trust = NatsTrust(
        operator_jwt="o.p.s",
        account="AFABRIC",
        account_jwt="a.p.s",
        nodes="ANODES",
        nodes_jwt="n.p.s",
        system="ASYS",
        system_jwt="s.p.s",
    )
    tls = ServerTls(certificate="/d/server.pem", key="/d/server.key", bundle="/d/root.pem")
    assert nats_auth_config(trust, tls) == (
        "operator: o.p.s\n"
        "system_account: ASYS\n"
        "resolver: MEMORY\n"
        "resolver_preload: {\n"
        "  AFABRIC: a.p.s\n"
        "  ANODES: n.p.s\n"
        "  ASYS: s.p.s\n"
        "}\n"
        "tls: {\n"
        '  cert_file: "/d/server.pem"\n'
        '  key_file: "/d/server.key"\n'
        '  ca_file: "/d/root.pem"\n'
        '  min_version: "1.3"\n'
        "  timeout: 5\n"
        "}\n"
    )
