"""Where nodes can be: the leader has nodes at landmarks measure all others. `nodes -> Survey per landmark`.

A landmark is a node at a site whose place the domain vouches for (``landmark: true``). It asks every other node for
signed answers and tells how soon they came; this side only keeps it. What round trips say about places is decided in
`hanse.policy.location`, each time facts are read: a site that moves in its manifest is judged anew at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from hanse.control.config import ControlConfig
from hanse.control.state import FabricState
from hanse.control.writing import write
from hanse.core.errors import HanseError
from hanse.core.ids import NodeId
from hanse.core.ports import ControlPorts
from hanse.core.time import US_PER_S, WallTime
from hanse.wire import envelope
from hanse.wire.subjects import MEASURED, tell
from hanse.wire.survey_messages import Answered, Survey, SurveyReply, SurveyRequest, SurveyTarget

log = structlog.get_logger("control")

TARGETS_MAX = 64
"""Nodes per question to a landmark, so that its answer comes well before the deadline."""
IsLeader = Callable[[], bool]
LOOK_US = 10 * US_PER_S
"""How often it looks whether there is anything new to measure."""
DEADLINE_US = 80_000_000
"""For one question: 64 nodes, four at a time, of which each may take four seconds not to answer."""


class Surveying:
    """Has landmarks measure, and keeps what they say."""

    def __init__(self, ports: ControlPorts, config: ControlConfig, state: FabricState) -> None:
        self._ports = ports
        self._config = config
        self._state = state

    @property
    def concerned(self) -> tuple[object, ...]:
        """Who measures and who is measured: where this changes, a survey is due."""
        nodes = tuple(node for node, record in sorted(self._state.nodes().items()) if not record.is_revoked)
        return self._state.landmarks(), nodes

    async def survey(self) -> None:
        """Have every landmark measure every other node, one landmark after the other. Raises ConflictError."""
        for landmark in self._state.landmarks():
            found = await self._by(landmark)
            if found:
                await self._keep(landmark, found)
        for key in sorted(set(self._state.surveys()) - set(self._state.landmarks())):
            await self._ports.store.delete(MEASURED, key)

    async def _by(self, landmark: NodeId) -> tuple[Answered, ...]:
        targets = [
            SurveyTarget(node=node, public_key=record.public_key)
            for node, record in sorted(self._state.nodes().items())
            if node != landmark and not record.is_revoked
        ]
        keys, found = self._state.node_key(landmark), []
        for first in range(0, len(targets), TARGETS_MAX):
            asked = SurveyRequest(targets=tuple(targets[first : first + TARGETS_MAX]), at_us=self._ports.clock.wall())
            try:
                sealed = envelope.seal(asked, self._ports.signer)
                data = await self._ports.bus.request(tell(landmark, "survey"), sealed, DEADLINE_US)
                reply = envelope.open_sealed(data, SurveyReply, keys).message
            except HanseError as error:
                log.info("survey.unanswered", landmark=landmark, code=error.code, reason=error.message)
                break
            known = {target.node for target in asked.targets}
            found += [one for one in reply.answered if one.node in known and one.rtt_us >= 0]
        return tuple(found)

    async def _keep(self, landmark: NodeId, found: tuple[Answered, ...]) -> None:
        now = WallTime(self._ports.clock.wall())
        record = Survey(landmark=landmark, answered=found, at_us=now, life_us=self._config.survey_life_us)
        value = envelope.seal(record, self._ports.signer)
        await write(self._ports.store, self._state, MEASURED, landmark, value)
        log.info("survey.taken", landmark=landmark, nodes=len(found))


async def survey_forever(surveying: Surveying, config: ControlConfig, *, is_leader: IsLeader) -> None:
    """Survey while this controller leads: at intervals, and soon after nodes or landmarks came or went."""
    last: object = None
    waited_us = 0
    while True:
        concerned = surveying.concerned
        is_due = waited_us >= config.survey_every_us or concerned != last
        if is_leader() and is_due:
            try:
                await surveying.survey()
                last, waited_us = concerned, 0
            except HanseError as error:
                log.warning("survey.failed", code=error.code, reason=error.message)
        look_us = min(config.survey_every_us, LOOK_US)
        await asyncio.sleep(look_us / 1e6)
        waited_us += look_us
