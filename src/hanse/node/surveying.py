"""A landmark's question: how long does a signed answer take? `targets, bus, clock -> best round trips`.

`survey` asks over the substrate; `dial` measures the way that requests take from node to node. A node at a site that
the domain vouches for asks the first for the controller. The time that counts is from before the
question leaves until the answer is here; checking comes after. The least of a few counts: whatever waits in between
only makes a node seem farther.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from hanse.core.errors import BusError, HanseError
from hanse.core.ports import Bus, Clock, Dialer, Entropy
from hanse.wire import canonical, envelope
from hanse.wire.subjects import tell
from hanse.wire.survey_messages import Answered, Dialled, DialTarget, Ping, Pong, SurveyTarget

Target = TypeVar("Target")
TRIES = 4
"""Questions per node; more would only help where the line is loaded."""
DEADLINE_US = 1_000_000
"""For one answer: twice the way around the Earth takes less than half of that."""
AT_ONCE = 4
"""Nodes asked at the same time: waiting for one another would make all of them seem farther."""
NONCE_BYTES = 16


async def survey(targets: Sequence[SurveyTarget], bus: Bus, clock: Clock, entropy: Entropy) -> tuple[Answered, ...]:
    """Measure each of these nodes, in their order; one that gives no valid answer is left out."""
    found = await _each(targets, lambda target: _best(target, bus, clock, entropy))
    return tuple(Answered(target.node, trip) for target, trip in found)


async def dial(targets: Sequence[DialTarget], dialer: Dialer) -> tuple[Dialled, ...]:
    """Measure the way to each of these sites, in their order; one that does not answer is left out."""
    found = await _each(targets, lambda target: _nearest(target, dialer))
    return tuple(Dialled(target.site, trip) for target, trip in found)


async def _each(
    targets: Sequence[Target], measure: Callable[[Target], Awaitable[int | None]]
) -> Sequence[tuple[Target, int]]:
    """Measure some at a time; those that answered, in their order."""
    found: list[tuple[Target, int]] = []
    for first in range(0, len(targets), AT_ONCE):
        some = targets[first : first + AT_ONCE]
        trips = await asyncio.gather(*(measure(target) for target in some))
        found += [(target, trip) for target, trip in zip(some, trips, strict=True) if trip is not None]
    return found


async def _nearest(target: DialTarget, dialer: Dialer) -> int | None:
    """The least of a few; None after the first that is not answered."""
    best: int | None = None
    for _ in range(TRIES):
        took = await dialer.connect_us(target.address, DEADLINE_US)
        if took is None:
            return best
        best = took if best is None else min(best, took)
    return best


async def _best(target: SurveyTarget, bus: Bus, clock: Clock, entropy: Entropy) -> int | None:
    """The least of a few round trips in microseconds; None after the first question that is not answered."""
    trusted = {envelope.key_id_of(target.public_key): target.public_key}
    best: int | None = None
    for _ in range(TRIES):
        ping = Ping(nonce=entropy.secret(NONCE_BYTES))
        begun = clock.monotonic()
        try:
            data = await bus.request(tell(target.node, "ping"), canonical.encode(ping), DEADLINE_US)
        except BusError:
            return best
        took = clock.monotonic() - begun
        try:
            pong = envelope.open_sealed(data, Pong, trusted).message
        except HanseError:
            return None
        if (pong.node, pong.nonce) != (target.node, ping.nonce):
            return None
        best = took if best is None else min(best, took)
    return best
