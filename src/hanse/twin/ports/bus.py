"""The `Bus` port in memory: at most once, in order per publisher and subject, no responders, a payload cap.

`publish -> link up -> switch -> links down -> queues`. The `Switch` is the server; each client has a `MemoryBus` on its
own link. A subscriber that does not keep up loses the oldest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from hanse.core.errors import BusError
from hanse.core.ports import BusMessage
from hanse.twin.ports.link import Link
from hanse.twin.trace import Trace

MAX_PAYLOAD_BYTES = 2**20
QUEUE_LIMIT = 1_024


class Switch:
    """The server's part: who listens to what, in order of subscription."""

    def __init__(self, trace: Trace | None = None) -> None:
        self._trace = trace
        self._interests: dict[int, tuple[Link, str, Callable[[BusMessage], None]]] = {}
        self._inboxes: dict[str, tuple[Link, asyncio.Future[bytes]]] = {}
        self._numbers = 0

    def route(self, sender: Link, message: BusMessage) -> None:
        """Hand a message to every listener's wire, or tell the asker that no one listens."""
        waiting = self._inboxes.get(message.subject)
        if waiting is not None:
            link, answer = waiting
            link.send_down(lambda: self._answer(link, message, answer))
            return
        tokens = message.subject.split(".")
        listeners = [one for one in self._interests.values() if matches(one[1], tokens)]
        for link, _, deliver in listeners:
            for _ in range(link.conditions.copies()):
                link.send_down(lambda link=link, deliver=deliver: self._deliver(link, message, deliver))  # type: ignore[misc]
        if not listeners and message.reply in self._inboxes:
            answer = self._inboxes[message.reply][1]
            sender.send_down(lambda: _fail(answer, message.subject))

    def listen(self, link: Link, pattern: str, deliver: Callable[[BusMessage], None]) -> int:
        """Register interest; returns its number."""
        self._numbers += 1
        self._interests[self._numbers] = (link, pattern, deliver)
        return self._numbers

    def forget(self, number: int) -> None:
        """Remove interest."""
        self._interests.pop(number, None)

    def open_inbox(self, link: Link, answer: asyncio.Future[bytes]) -> str:
        """Name a subject on which `answer` arrives."""
        self._numbers += 1
        inbox = f"_INBOX.{link.name}.{self._numbers}"
        self._inboxes[inbox] = (link, answer)
        return inbox

    def close_inbox(self, inbox: str) -> None:
        """Forget an inbox."""
        self._inboxes.pop(inbox, None)

    def _deliver(self, link: Link, message: BusMessage, deliver: Callable[[BusMessage], None]) -> None:
        if self._trace is not None:
            self._trace.note("deliver", link.name, message.subject, data=message.data)
        deliver(message)

    def _answer(self, link: Link, message: BusMessage, answer: asyncio.Future[bytes]) -> None:
        if self._trace is not None:
            self._trace.note("answer", link.name, message.subject, data=message.data)
        if not answer.done():
            answer.set_result(message.data)


class MemoryBus:
    """One client's messages over its link."""

    def __init__(self, switch: Switch, link: Link) -> None:
        self._switch = switch
        self._link = link

    async def publish(self, subject: str, data: bytes) -> None:
        """Send to whoever listens now; dropped while the link is down. Raises BusError if too large or closed."""
        self._send(BusMessage(subject=subject, data=data))

    async def subscribe(self, pattern: str) -> AsyncIterator[BusMessage]:
        """Listen from the first `anext` until closed, across cuts. Raises BusError once the link is closed."""
        queue: deque[BusMessage] = deque(maxlen=QUEUE_LIMIT)
        arrived = asyncio.Event()

        def deliver(message: BusMessage) -> None:
            queue.append(message)
            arrived.set()

        self._link.raise_if_closed()
        number = self._switch.listen(self._link, pattern, deliver)
        self._link.on_close(arrived.set)
        try:
            while True:
                while queue:
                    yield queue.popleft()
                self._link.raise_if_closed()
                arrived.clear()
                await arrived.wait()
        finally:
            self._link.forget_close(arrived.set)
            self._switch.forget(number)

    async def request(self, subject: str, data: bytes, timeout_us: int) -> bytes:
        """Ask one responder. Raises BusError on no responders, timeout or lost link."""
        if not self._link.is_closed and not self._link.is_connected():
            raise BusError("no link to the substrate", code="bus.disconnected")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        inbox = self._switch.open_inbox(self._link, answer)
        try:
            self._send(BusMessage(subject=subject, data=data, reply=inbox))
            return await self._link.answered(answer, timeout_us)
        finally:
            self._switch.close_inbox(inbox)

    def is_connected(self) -> bool:
        """Tell whether the link is up, as far as this side knows."""
        return self._link.is_connected()

    def _send(self, message: BusMessage) -> None:
        self._link.raise_if_closed()
        if len(message.data) > MAX_PAYLOAD_BYTES:
            raise BusError(
                f"a message of {len(message.data)} bytes for {message.subject} exceeds {MAX_PAYLOAD_BYTES}",
                code="bus.too_large",
                hint="put large values into the blob store and send their digest",
                retry=False,
            )
        for _ in range(self._link.conditions.copies()):
            self._link.send_up(lambda: self._switch.route(self._link, message))


def matches(pattern: str, tokens: list[str]) -> bool:
    """Tell whether a subject's tokens match: ``*`` one token, a final ``>`` one or more."""
    wanted = pattern.split(".")
    for at, part in enumerate(wanted):
        if part == ">":
            return len(tokens) > at
        if at >= len(tokens) or part not in ("*", tokens[at]):
            return False
    return len(tokens) == len(wanted)


def _fail(answer: asyncio.Future[bytes], subject: str) -> None:
    if not answer.done():
        answer.set_exception(BusError(f"nobody answers {subject}", code="bus.no_responders"))
