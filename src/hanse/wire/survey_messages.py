"""Messages about round trips: landmarks that measure where nodes are, and sites that measure one another."""

from __future__ import annotations

import msgspec

from hanse.core.ids import NodeId, SiteId
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


class DialTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another site, and where one of its nodes listens to its peers (``host:port``)."""

    site: SiteId
    address: str


class DialRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="dial-request.v1", kw_only=True):
    """A controller asks a node how far it is from other sites on the way that requests take."""

    targets: tuple[DialTarget, ...]
    at_us: WallTime


class Dialled(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """The best round trip to one site."""

    site: SiteId
    rtt_us: int


class DialReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="dial-reply.v1", kw_only=True):
    """What it measured; a site that did not answer is left out."""

    node: NodeId
    dialled: tuple[Dialled, ...]


class TripSample(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One measured round trip, as the leader took it in."""

    at_us: WallTime
    rtt_us: int


class SiteTrip(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of the round trip to one other site."""

    to: SiteId
    rtt_us: int
    """What placement goes by, in whole milliseconds; 0 while the modelled figure is good enough."""
    samples: tuple[TripSample, ...]
    """The last few, oldest first."""


class SiteTrips(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="site-trips.v1", kw_only=True):
    """Round trips from one site to those after it in id order. `hanse.placement.distances` judges them."""

    site: SiteId
    trips: tuple[SiteTrip, ...]
    life_us: int
    """How long a sample counts."""
