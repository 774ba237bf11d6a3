"""May this order stand here? `sealed bytes, what is held, keys, facts, now -> Accepted | Rejected`.

Checks in order: signature, address, generation, expiry, then the owner's policy. The first *no* decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hanse.core.errors import SignatureError, WireError
from hanse.core.ids import InstanceId, NodeId
from hanse.core.time import WallTime
from hanse.wire import canonical, envelope
from hanse.wire.messages import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One order that this node verified and keeps."""

    order: Order
    sealed: bytes
    digest: str
    """Of the sealed bytes: what a report refers to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An order that does not stand, with a stable code; `order` is set where its signature held."""

    code: str
    reason: str
    order: Order | None = None


def judge(
    sealed: bytes,
    *,
    key: str,
    me: NodeId,
    held: Mapping[InstanceId, Held],
    trusted: Mapping[str, bytes],
    now: WallTime,
) -> Held | Rejected | None:
    """Judge one entry of the orders bucket; None means it is what is held already.

    `key` is ``<node>.<instance>`` as it stands in the bucket: an order moved to another key does not count.
    """
    try:
        order = envelope.open_sealed(sealed, Order, trusted).message
    except SignatureError as error:
        return Rejected(code="order.wrong_signature", reason=error.message)
    except WireError as error:
        return Rejected(code="order.malformed", reason=error.message)
    if order.node != me or key != f"{me}.{order.instance}":
        return Rejected(code="order.wrong_address", reason=f"order for {order.node}/{order.instance} stands at {key}")
    if not order.operators:
        return Rejected(code="order.malformed", reason="the order names no operator", order=order)
    mine = held.get(order.instance)
    if mine is not None:
        if order.generation == mine.order.generation and sealed == mine.sealed:
            return None
        if order.generation <= mine.order.generation:
            return Rejected(
                code="order.old_generation",
                reason=f"generation {order.generation} is not above {mine.order.generation}, which is held",
                order=order,
            )
    if order.wanted and order.expires_us <= now:
        return Rejected(code="order.expired", reason="the order's grant has expired", order=order)
    return Held(order=order, sealed=sealed, digest=canonical.digest_bytes(sealed))
