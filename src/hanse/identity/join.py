"""Joining: one-time tokens, and whether a request to join is admitted.

`request + tokens + now -> Admitted | Refused`. A token says where the node will stand, who runs it and in which tier,
so that a stolen token cannot put a machine elsewhere. Only the token's hash is kept. What an admitted node receives is
issued elsewhere (`authority`, `nats_jwt`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hanse.core.errors import invariant
from hanse.core.fabric import Grade, Tier
from hanse.core.ids import NodeId, OperatorId, SiteId, is_label
from hanse.core.time import HOUR_US, WallTime, rfc3339
from hanse.identity.authority import requested_key
from hanse.identity.errors import IdentityError
from hanse.identity.nats_jwt import public_bytes
from hanse.wire import canonical
from hanse.wire.messages import JoinRequest

TOKEN_LIFETIME_US = HOUR_US
TOKEN_PREFIX = "hanse-join-"  # noqa: S105 - a label that secret scanners can look for
TOKEN_SECRET_BYTES = 32


class JoinToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="join-token.v1", kw_only=True):
    """What the domain keeps of one token. `used_by` is the digest of the node's id and lasting keys."""

    token_hash: str
    """Hex SHA-256 of the token; a 256-bit secret needs no slow hash."""
    site: SiteId
    operator: OperatorId
    tier: Tier
    grade: Grade = Grade.SIGNED
    """How well founded the node's facts may be said to be: the domain vouches for it, not the node."""
    created_us: WallTime
    expires_us: WallTime
    node: NodeId | None = None
    """The only node id it admits; None lets the node choose."""
    require: tuple[str, ...] = ()
    """Kinds of evidence (`hanse.attest.KINDS`) of which the node must bring one; empty if none is needed."""
    used_by: str | None = None
    service: str = ""
    """Which of the operator's services the node belongs to: its levels are not for the node to choose."""


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """The node may join. Store `token` in place of the one with the same hash before answering."""

    token: JoinToken


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The node may not join: a stable code (``join.*``) and a sentence for people."""

    code: str
    reason: str


def mint_token(
    secret: bytes,
    *,
    site: SiteId,
    operator: OperatorId,
    tier: Tier,
    now: WallTime,
    node: NodeId | None = None,
    grade: Grade = Grade.SIGNED,
    require: tuple[str, ...] = (),
    service: str = "",
    lifetime_us: int = TOKEN_LIFETIME_US,
) -> tuple[str, JoinToken]:
    """Make a token from 32 unpredictable bytes: its text, to be shown once, and what to keep."""
    invariant(len(secret) == TOKEN_SECRET_BYTES, f"a join token takes {TOKEN_SECRET_BYTES} secret bytes")
    text = TOKEN_PREFIX + base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    kept = JoinToken(
        token_hash=hash_token(text),
        site=site,
        operator=operator,
        tier=tier,
        grade=grade,
        created_us=now,
        expires_us=WallTime(now + lifetime_us),
        node=node,
        require=require,
        service=service,
    )
    return text, kept


def hash_token(text: str) -> str:
    """Hex SHA-256 of a token's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_join(
    request: JoinRequest, tokens: Sequence[JoinToken], enrolled: Mapping[NodeId, bytes], now: WallTime
) -> Admitted | Refused:
    """Decide whether a node may join. `enrolled` is the receipt key of every node that already has.

    A token admits one node, known by its keys: the same node may ask again (the answer was lost on the way), any other
    finds the token spent. Codes: ``join.unknown_token``, ``join.expired``, ``join.wrong_place``,
    ``join.wrong_grade``, ``join.wrong_node``, ``join.taken``, ``join.bad_key``, ``join.spent``,
    ``join.self_attested``, ``join.evidence_needed``. What the evidence is worth is for `hanse.attest`.
    """
    token = _find(request.token, tokens)
    if token is None:
        return Refused(code="join.unknown_token", reason="no such token; ask for one with `hanse node token`")
    refused = _refuse_token(request, token, now) or _refuse_node(request, token, enrolled)
    if refused is not None:
        return refused
    spender = canonical.digest_of((request.node.id, request.public_key, request.nats_public_key))
    if token.used_by not in {None, spender}:
        return Refused(code="join.spent", reason="the token has been used; each admits one node")
    return Admitted(token=msgspec.structs.replace(token, used_by=spender))


def _refuse_token(request: JoinRequest, token: JoinToken, now: WallTime) -> Refused | None:
    if now >= token.expires_us:
        return Refused(code="join.expired", reason=f"the token expired at {rfc3339(token.expires_us)}")
    asked, meant = _place(request), (token.site, token.operator, token.tier, token.service)
    if asked != meant:
        return Refused(code="join.wrong_place", reason=f"the token is for {_say(meant)}, the node says {_say(asked)}")
    if request.node.grade > token.grade:
        return Refused(
            code="join.wrong_grade",
            reason=f"the token vouches for grade {int(token.grade)}, the node claims {int(request.node.grade)}",
        )
    return None


def _refuse_node(request: JoinRequest, token: JoinToken, enrolled: Mapping[NodeId, bytes]) -> Refused | None:
    node = request.node.id
    if not is_label(node) or token.node not in {None, node}:
        wanted = token.node or "a lower-case label"
        return Refused(code="join.wrong_node", reason=f"node id {node[:80]!r}: the token admits {wanted}")
    if enrolled.get(node, request.public_key) != request.public_key:
        return Refused(code="join.taken", reason=f"another machine is enrolled as {node}")
    if request.node.attested is not None or request.node.measured is not None:
        return Refused(
            code="join.self_attested", reason="a node cannot say of itself what was attested or measured of it"
        )
    if token.require and (request.evidence is None or request.evidence.kind not in token.require):
        given = "none" if request.evidence is None else request.evidence.kind
        wanted = " or ".join(token.require)
        return Refused(
            code="join.evidence_needed", reason=f"the token asks for evidence of kind {wanted}, given: {given}"
        )
    flaw = _flaw_in_keys(request)
    return None if flaw is None else Refused(code="join.bad_key", reason=flaw)


def _find(text: str, tokens: Sequence[JoinToken]) -> JoinToken | None:
    wanted = hash_token(text)
    matches = [token for token in tokens if hmac.compare_digest(token.token_hash, wanted)]
    return matches[0] if matches else None


def _flaw_in_keys(request: JoinRequest) -> str | None:
    try:
        requested_key(request.csr_pem)
        public_bytes(request.nats_public_key, "user")
        Ed25519PublicKey.from_public_bytes(request.public_key)
    except (IdentityError, ValueError, UnsupportedAlgorithm) as error:
        return str(error)
    return None


def _place(request: JoinRequest) -> tuple[SiteId, OperatorId, Tier, str]:
    return request.node.site, request.node.operator, request.node.tier, request.node.service


def _say(place: tuple[SiteId, OperatorId, Tier, str]) -> str:
    site, operator, tier, service = place
    return f"site {site}, operator {operator}, tier {tier.value}" + (f", service {service}" if service else "")
