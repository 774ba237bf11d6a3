"""The wire between one client and the substrate: delay, order, loss, cuts, and when each side learns of them.

`conditions (data that faults change) + link (one incarnation of a client) -> deliveries in order`. Like the TCP
connection under NATS: bytes of one direction stay in order; a cut is noticed only after missed pings; what was in
flight is lost.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from hanse.core.errors import BusError
from hanse.core.time import US_PER_MS, US_PER_S

T = TypeVar("T")


class Wire(Enum):
    """What a client knows of its wire: carrying, cut but not noticed yet, or known to be down."""

    UP = "up"
    SILENT = "silent"
    DOWN = "down"


class Conditions:
    """The state of one client's wire; survives the client's crashes. Faults call `cut`, `heal` and set the fields."""

    def __init__(
        self,
        *,
        rng: random.Random,
        delay_us: int = 0,
        jitter_us: int = 0,
        detect_us: int = 4 * US_PER_S,
        reconnect_us: int = 200 * US_PER_MS,
        reconnect_jitter_us: int = 0,
    ) -> None:
        self._rng = rng
        self._cuts = 0
        self._listeners: list[Callable[[], None]] = []
        self.delay_us = delay_us
        self.jitter_us = jitter_us
        self.detect_us = detect_us
        self.reconnect_us = reconnect_us
        self.reconnect_jitter_us = reconnect_jitter_us
        self.drop_ppm = 0
        self.duplicate_ppm = 0
        self.wire = Wire.UP
        self.epoch = 0

    def cut(self) -> None:
        """Stop carrying; the client notices after `detect_us`. Cuts nest: each needs its `heal`."""
        self._cuts += 1
        if self._cuts == 1 and self.wire is Wire.UP:
            self._become(Wire.SILENT)
            asyncio.get_running_loop().call_later(self.detect_us / US_PER_S, self._notice, self.epoch)

    def heal(self) -> None:
        """Undo one cut; once none is left, the client is back after `reconnect_us` and up to `reconnect_jitter_us`."""
        self._cuts -= 1
        if self._cuts == 0:
            wait_us = self.reconnect_us
            if self.reconnect_jitter_us:
                wait_us += self._rng.randint(0, self.reconnect_jitter_us)
            asyncio.get_running_loop().call_later(wait_us / US_PER_S, self._return)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` at every change of the wire."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        """Undo `listen`."""
        self._listeners.remove(listener)

    def draw_delay_us(self) -> int:
        """One way's time for the next message."""
        return self.delay_us + (self._rng.randint(0, self.jitter_us) if self.jitter_us else 0)

    def copies(self) -> int:
        """How many of the next message arrive: 0 lost, 2 duplicated."""
        if self.drop_ppm and self._rng.randrange(1_000_000) < self.drop_ppm:
            return 0
        return 2 if self.duplicate_ppm and self._rng.randrange(1_000_000) < self.duplicate_ppm else 1

    def _notice(self, epoch: int) -> None:
        if self.wire is Wire.SILENT and self.epoch == epoch:
            self._become(Wire.DOWN)

    def _return(self) -> None:
        if self._cuts == 0 and self.wire is not Wire.UP:
            self.epoch += 1
            self._become(Wire.UP)

    def _become(self, wire: Wire) -> None:
        self.wire = wire
        for listener in tuple(self._listeners):
            listener()


class Link:
    """One incarnation of a client on its wire. Closed by a crash: then nothing of it passes, either way."""

    def __init__(self, name: str, conditions: Conditions, *, timeout_us: int = 2 * US_PER_S) -> None:
        self.name = name
        self.conditions = conditions
        self.timeout_us = timeout_us
        self.is_closed = False
        self._up_last_s = 0.0
        self._down_last_s = 0.0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._calls = 0
        self._on_close: list[Callable[[], None]] = []
        conditions.listen(self._wake_all)

    def close(self) -> None:
        """End this incarnation."""
        if self.is_closed:
            return
        self.is_closed = True
        self.conditions.forget(self._wake_all)
        self._wake_all()
        for listener in tuple(self._on_close):
            listener()

    def on_close(self, listener: Callable[[], None]) -> None:
        """Call `listener` when this incarnation ends."""
        self._on_close.append(listener)

    def forget_close(self, listener: Callable[[], None]) -> None:
        """Undo `on_close`."""
        self._on_close.remove(listener)

    def is_connected(self) -> bool:
        """Tell whether the wire is up as far as the client knows."""
        return not self.is_closed and self.conditions.wire is not Wire.DOWN

    async def wait_up(self) -> None:
        """Wait, without a deadline, until the wire carries. Raises BusError once closed."""
        while True:
            self.raise_if_closed()
            if self.conditions.wire is Wire.UP:
                return
            await self._next_change()

    def send_up(self, action: Callable[[], None]) -> None:
        """Carry to the substrate, in order; lost if the wire does not carry at either end of the way."""
        self._up_last_s = self._send(action, self._up_last_s, self.conditions.draw_delay_us())

    def send_down(self, action: Callable[[], None]) -> None:
        """Carry to the client, in order; lost likewise."""
        self._down_last_s = self._send(action, self._down_last_s, self.conditions.draw_delay_us())

    async def call(self, operation: Callable[[], T]) -> T:
        """Carry `operation` to the substrate and its result back.

        Raises what it raises, or BusError: then it may or may not have taken effect.
        """
        self.raise_if_closed()
        if self.conditions.wire is Wire.DOWN:
            raise BusError("no link to the substrate", code="bus.disconnected")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def at_substrate() -> None:
            try:
                result = operation()
            except Exception as error:
                failure = error
                self.send_down(lambda: _resolve(answer, error=failure))
            else:
                self.send_down(lambda: _resolve(answer, result=result))

        self.send_up(at_substrate)
        return await self.answered(answer, self.timeout_us)

    async def answered(self, answer: asyncio.Future[T], timeout_us: int) -> T:
        """Wait for an answer, the deadline, or the notice that the link broke. Raises BusError."""
        epoch = self.conditions.epoch

        def changed() -> None:
            broke = self.is_closed or self.conditions.wire is Wire.DOWN or self.conditions.epoch != epoch
            if broke and not answer.done():
                answer.set_exception(BusError("the link broke", code="bus.disconnected"))

        self.conditions.listen(changed)
        self.on_close(changed)
        try:
            async with asyncio.timeout(timeout_us / US_PER_S):
                return await answer
        except TimeoutError:
            raise BusError(f"no answer within {timeout_us} us", code="bus.timeout") from None
        finally:
            self.conditions.forget(changed)
            self.forget_close(changed)

    def raise_if_closed(self) -> None:
        """Raise BusError ``bus.closed`` after `close`."""
        if self.is_closed:
            raise BusError("the link is closed", code="bus.closed", retry=False)

    def _send(self, action: Callable[[], None], last_s: float, delay_us: int) -> float:
        if self.is_closed or self.conditions.wire is not Wire.UP:
            return last_s
        epoch = self.conditions.epoch
        loop = asyncio.get_running_loop()

        def arrive() -> None:
            if not self.is_closed and self.conditions.wire is Wire.UP and self.conditions.epoch == epoch:
                action()

        # Never before what was sent earlier: one direction of a connection keeps its order.
        when = max(loop.time() + delay_us / US_PER_S, math.nextafter(last_s, math.inf))
        loop.call_at(when, arrive)
        return when

    async def _next_change(self) -> None:
        self._calls += 1
        number = self._calls
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = changed
        try:
            await changed
        finally:
            del self._waiting[number]

    def _wake_all(self) -> None:
        for changed in self._waiting.values():
            if not changed.done():
                changed.set_result(None)


def _resolve(answer: asyncio.Future[T], *, result: T | None = None, error: Exception | None = None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)  # type: ignore[arg-type]
