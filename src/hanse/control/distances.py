"""How far sites are from one another: the leader has one node per site measure. `ready nodes -> SiteTrips per site`.

The first ready node of each site, in id order, dials one of each site after it, on the mesh: the way that requests
take. Lines are taken to be as long in one direction as in the other. What placement makes of it is decided in
`hanse.placement.distances`; this side asks, and keeps the answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from hanse.control.config import ControlConfig
from hanse.control.liveness import Liveness
from hanse.control.state import FabricState
from hanse.control.writing import write
from hanse.core.errors import HanseError
from hanse.core.ids import NodeId, SiteId
from hanse.core.ports import ControlPorts
from hanse.core.snapshot import Reach
from hanse.core.time import US_PER_S, WallTime
from hanse.placement import settle
from hanse.wire import envelope
from hanse.wire.messages import Presence
from hanse.wire.subjects import DISTANCES, PRESENCE, tell
from hanse.wire.survey_messages import Dialled, DialReply, DialRequest, DialTarget, SiteTrip, SiteTrips, TripSample

log = structlog.get_logger("control")

TARGETS_MAX = 64
"""Sites that one site measures in a round. In a larger fabric those come first that were measured the longest ago; what
lapses before its turn comes again is modelled."""
AT_ONCE = 8
"""Sites that measure at the same time."""
DEADLINE_US = 80_000_000
"""For one site's answer: 64 sites, four at a time, of which each may take four seconds not to answer."""


class Distances:
    """Has sites measure, and keeps what they say."""

    def __init__(self, ports: ControlPorts, config: ControlConfig, state: FabricState, liveness: Liveness) -> None:
        self._ports = ports
        self._config = config
        self._state = state
        self._liveness = liveness

    async def measure(self) -> None:
        """Have each site measure those after it. Raises ConflictError, StoreError."""
        speakers = self._speakers()
        sites = list(speakers)
        for first in range(0, len(sites), AT_ONCE):
            some = sites[first : first + AT_ONCE]
            answers = await asyncio.gather(*(self._by(site, speakers) for site in some))
            for site, dialled in zip(some, answers, strict=True):
                if dialled:
                    await self._keep(site, dialled)
        for key in sorted(set(self._state.distances()) - set(self._state.sites())):
            await self._ports.store.delete(DISTANCES, key)

    def _speakers(self) -> Mapping[SiteId, tuple[NodeId, str]]:
        """Per site, in id order, the node that speaks for it and where it listens to its peers."""
        mono, found = self._ports.clock.monotonic(), dict[SiteId, tuple[NodeId, str]]()
        nodes = self._state.fabric().nodes
        heard = self._state.messages(PRESENCE, Presence)
        for id_, record in self._state.nodes().items():
            is_fit = id_ in nodes and not record.is_revoked and self._liveness.reach(id_, mono) is Reach.READY
            if is_fit and id_ in heard:
                found.setdefault(record.node.site, (id_, heard[id_].mesh))
        return dict(sorted(found.items()))

    async def _by(self, site: SiteId, speakers: Mapping[SiteId, tuple[NodeId, str]]) -> tuple[Dialled, ...]:
        node = speakers[site][0]
        last = {trip.to: trip.samples[-1].at_us for trip in self._trips(site).values() if trip.samples}
        due = sorted((other for other in speakers if other > site), key=lambda one: (last.get(one, 0), one))
        targets = tuple(DialTarget(site=one, address=speakers[one][1]) for one in sorted(due[:TARGETS_MAX]))
        if not targets:
            return ()
        try:
            asked = envelope.seal(DialRequest(targets=targets, at_us=self._ports.clock.wall()), self._ports.signer)
            data = await self._ports.bus.request(tell(node, "dial"), asked, DEADLINE_US)
            reply = envelope.open_sealed(data, DialReply, self._state.node_key(node)).message
        except HanseError as error:
            # A node of an older version does not know the question.
            log.info("distances.unanswered", node=node, code=error.code, reason=error.message)
            return ()
        known = {target.site for target in targets}
        return tuple(one for one in reply.dialled if one.site in known)

    async def _keep(self, site: SiteId, dialled: tuple[Dialled, ...]) -> None:
        now, life_us = WallTime(self._ports.clock.wall()), self._config.dial_life_us
        places = {id_: one.place for id_, one in self._state.sites().items()}
        before = self._trips(site)
        said = {one.site: TripSample(now, one.rtt_us) for one in dialled}
        trips: list[SiteTrip] = []
        for to in sorted({*before, *said} & {*places}):
            trip = settle(
                before.get(to), to, said.get(to), a=places[site], b=places[to], now=now, life_us=life_us
            )  # fmt: skip
            was = 0 if to not in before else before[to].rtt_us
            if trip.rtt_us != was:
                log.info("distances.changed", site=site, to=to, before_us=was, after_us=trip.rtt_us)
            if trip.samples:
                trips.append(trip)
        value = envelope.seal(SiteTrips(site=site, trips=tuple(trips), life_us=life_us), self._ports.signer)
        await write(self._ports.store, self._state, DISTANCES, site, value)

    def _trips(self, site: SiteId) -> Mapping[SiteId, SiteTrip]:
        record = self._state.distances().get(site)
        return {} if record is None else {trip.to: trip for trip in record.trips}


async def measure_forever(distances: Distances, config: ControlConfig, *, is_leader: Callable[[], bool]) -> None:
    """Measure at intervals while this controller leads."""
    while config.dial_every_us:
        await asyncio.sleep(config.dial_every_us / US_PER_S)
        if not is_leader():
            continue
        try:
            await distances.measure()
        except HanseError as error:
            log.warning("distances.failed", code=error.code, reason=error.message)
