"""Who has been heard of, and for how long not: `heartbeats, monotonic now -> reach`.

Silence counts only while this side is listening: a controller that has just started, or whose own link is down, knows
nothing about anybody and says so by keeping the last answer. Whoever has not been heard since it began to listen may be
on the way back just as it is itself (a whole fabric starts, the substrate was restarted), and gets longer.
"""

from __future__ import annotations

from hanse.core.ids import NodeId
from hanse.core.snapshot import Reach
from hanse.core.time import MonoTime
from hanse.wire.messages import Heartbeat


class Liveness:
    """Last sign of life per node on the controller's own monotonic clock."""

    def __init__(self, *, suspect_after_us: int, unreachable_after_us: int, return_grace_us: int) -> None:
        self._suspect_after_us = suspect_after_us
        self._unreachable_after_us = unreachable_after_us
        self._return_grace_us = max(return_grace_us, unreachable_after_us)
        self._heard: dict[NodeId, MonoTime] = {}
        self._last: dict[NodeId, Heartbeat] = {}
        self._listening_since: MonoTime | None = None

    def listening(self, is_connected: bool, now: MonoTime) -> None:
        """Note whether the link is up; silence is measured from when it last came up."""
        if not is_connected:
            self._listening_since = None
        elif self._listening_since is None:
            self._listening_since = now

    def heard(self, heartbeat: Heartbeat, now: MonoTime) -> bool:
        """Note a heartbeat; an older incarnation or sequence is ignored, unless the node was given up.

        A node that lost its disk counts its incarnations from one again: what it says after a silence is news.
        Returns whether anything a plan reads changed.
        """
        last = self._last.get(heartbeat.node)
        was = self.reach(heartbeat.node, now)
        is_older = last is not None and (heartbeat.incarnation, heartbeat.sequence) <= (last.incarnation, last.sequence)
        if is_older and was is not Reach.UNREACHABLE:
            return False
        self._heard[heartbeat.node] = now
        self._last[heartbeat.node] = heartbeat
        is_new_start = last is None or last.incarnation != heartbeat.incarnation
        return is_new_start or was is not Reach.READY

    def reach(self, node: NodeId, now: MonoTime) -> Reach:
        """READY, SUSPECT or UNREACHABLE by the time since the last heartbeat, counted only while listening."""
        if self._listening_since is None:
            return Reach.SUSPECT
        heard = self._heard.get(node)
        if heard is None or heard < self._listening_since:
            is_given_up = now - self._listening_since >= self._return_grace_us
            return Reach.UNREACHABLE if is_given_up else Reach.SUSPECT
        silent_us = now - heard
        if silent_us >= self._unreachable_after_us:
            return Reach.UNREACHABLE
        return Reach.SUSPECT if silent_us >= self._suspect_after_us else Reach.READY

    def last(self, node: NodeId) -> Heartbeat | None:
        """The newest heartbeat of a node."""
        return self._last.get(node)

    def silence_us(self, node: NodeId, now: MonoTime) -> int | None:
        """Microseconds since the last heartbeat; None if there was none."""
        heard = self._heard.get(node)
        return None if heard is None else now - heard
