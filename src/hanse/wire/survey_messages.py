"""Messages of landmarks that measure where nodes are."""

from __future__ import annotations

import msgspec

from hanse.core.ids import NodeId
from hanse.core.time import WallTime


class Ping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="ping.v1", kw_only=True):
    """A landmark asks a node for a sign of life that nobody could have made before."""

    nonce: bytes


class Pong(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pong.v1", kw_only=True):
    """The node's answer, under its seal."""

    node: NodeId
    nonce: bytes


class SurveyTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One node to measure, with the key that its answers must be sealed by."""

    node: NodeId
    public_key: bytes


class SurveyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="survey-request.v1", kw_only=True):
    """A controller asks a node at a landmark to measure others."""

    targets: tuple[SurveyTarget, ...]
    at_us: WallTime


class Answered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One node's best round trip."""

    node: NodeId
    rtt_us: int


class SurveyReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="survey-reply.v1", kw_only=True):
    """What it measured; whoever did not answer is left out."""

    node: NodeId
    answered: tuple[Answered, ...]


class Survey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="survey.v1", kw_only=True):
    """Round trips from one landmark, as the leader took them in. What follows from them is for `hanse.policy`."""

    landmark: NodeId
    """Counts only while the domain vouches for its site."""
    answered: tuple[Answered, ...]
    at_us: WallTime
    life_us: int
    """How long they count."""
