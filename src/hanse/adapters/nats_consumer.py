"""Reading a stream in order: the last message per subject, then every change, with each loss noticed.

`Connection, stream, filter -> messages | broken`. An ordered push consumer (ADR-17) of our own: named, with one filter
in its create subject, so that a node's permissions can name the keys it may read, and thrown away on any doubt (a
gap, missed heartbeats, a lost link) instead of repaired, because its reader treats entries as levels.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from hanse.adapters.nats_api import parse, store_error
from hanse.adapters.nats_link import Connection, unsubscribe
from hanse.core.errors import BusError
from hanse.core.time import US_PER_S

_NS_PER_US = 1_000
_MISSED_HEARTBEATS = 3


class Consumer:
    """One ordered consumer on one connection. `take(subject, message, sequence)` must not block.

    `is_caught_up` turns true once everything that was there at the start was taken; `broken` once anything is in doubt.
    `wake` is set at each message and each change of these.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        stream: str,
        filter_subject: str,
        take: Callable[[Msg, int], None],
        wake: asyncio.Event,
        deliver_policy: str,
        heartbeat_us: int,
        timeout_us: int,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._filter = filter_subject
        self._take = take
        self._wake = wake
        self._policy = deliver_policy
        self._heartbeat_us = heartbeat_us
        self._timeout_us = timeout_us
        self._name = secrets.token_hex(11)
        self._subscription: Subscription | None = None
        self._sequence = 0
        self._target: int | None = None
        self._heard_at = 0.0
        self._replies: set[asyncio.Task[None]] = set()
        self.is_caught_up = False
        self.broken = ""

    async def start(self) -> None:
        """Subscribe and create the consumer. Raises StoreError; then nothing is left behind here."""
        inbox = self._connection.new_inbox()
        self._heard_at = asyncio.get_running_loop().time()
        try:
            self._subscription = await self._connection.subscribe(inbox, self._arrived)
            answer = await self._connection.request(
                f"{self._connection.api}.CONSUMER.CREATE.{self._stream}.{self._name}.{self._filter}",
                json.dumps(self._request(inbox)).encode(),
                None,
                self._timeout_us,
            )
            info = parse(answer, what=f"read {self._filter}")
        except BusError as error:
            await self.stop()
            raise store_error(error) from error
        except nats.errors.Error as error:
            await self.stop()
            raise store_error(BusError("the link broke", code="bus.disconnected")) from error
        except BaseException:
            await self.stop()
            raise
        self._target = int(info["num_pending"]) + int(info["delivered"]["consumer_seq"])
        self._check_caught_up(pending=None)

    async def stop(self) -> None:
        """Drop the subscription and ask the server to remove the consumer; it would itself after a while."""
        for reply in self._replies:
            reply.cancel()
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        await unsubscribe(subscription)
        if not self._connection.lost.is_set():
            try:
                await self._connection.publish(
                    f"{self._connection.api}.CONSUMER.DELETE.{self._stream}.{self._name}", b""
                )
            except (nats.errors.Error, OSError):
                return

    def silence_left_s(self) -> float:
        """Seconds until missed heartbeats make this consumer broken; at most 0 when they have."""
        allowed = _MISSED_HEARTBEATS * self._heartbeat_us / US_PER_S
        return self._heard_at + allowed - asyncio.get_running_loop().time()

    def _request(self, inbox: str) -> dict[str, Any]:
        return {
            "stream_name": self._stream,
            "action": "create",
            "config": {
                "name": self._name,
                "deliver_subject": inbox,
                "deliver_policy": self._policy,
                "ack_policy": "none",
                "max_deliver": 1,
                "filter_subject": self._filter,
                "replay_policy": "instant",
                "flow_control": True,
                "idle_heartbeat": self._heartbeat_us * _NS_PER_US,
                "inactive_threshold": _MISSED_HEARTBEATS * self._heartbeat_us * _NS_PER_US,
                "mem_storage": True,
                "num_replicas": 1,
            },
        }

    def _arrived(self, message: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        status = (message.headers or {}).get("Status") if not message.data else None
        if status == "100":
            self._control(message)
        elif status is not None:
            self._break(f"the server ended the consumer with status {status}")
        else:
            self._data(message)
        self._wake.set()

    def _data(self, message: Msg) -> None:
        stream_sequence, sequence, pending = _metadata(message.reply)
        if sequence != self._sequence + 1:
            self._break(f"messages {self._sequence + 1} to {sequence - 1} are missing")
            return
        self._sequence = sequence
        self._take(message, stream_sequence)
        self._check_caught_up(pending)

    def _control(self, message: Msg) -> None:
        headers = message.headers or {}
        answer_to = message.reply or headers.get("Nats-Consumer-Stalled", "")
        if answer_to:
            task = asyncio.create_task(self._answer(answer_to))
            self._replies.add(task)
            task.add_done_callback(self._replies.discard)
        last = headers.get("Nats-Last-Consumer")
        if last is None:
            return
        if int(last) > self._sequence:
            self._break(f"messages {self._sequence + 1} to {last} are missing")
        else:
            # An idle heartbeat: the server has nothing more to send.
            self._check_caught_up(pending=0)

    async def _answer(self, subject: str) -> None:
        try:
            await self._connection.publish(subject, b"")
        except (nats.errors.Error, OSError):
            self._break("the link broke")

    def _check_caught_up(self, pending: int | None) -> None:
        if pending == 0 or (self._target is not None and self._sequence >= self._target):
            self.is_caught_up = True
            self._wake.set()

    def _break(self, why: str) -> None:
        self.broken = self.broken or why
        self._wake.set()


def _metadata(reply: str) -> tuple[int, int, int]:
    """Read (stream sequence, consumer sequence, pending) from an acknowledgement subject, version 1 or 2 (ADR-15)."""
    tokens = reply.split(".")
    # v1: $JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>; v2 adds domain and account in front.
    at = 5 if len(tokens) == 9 else 7
    return int(tokens[at]), int(tokens[at + 1]), int(tokens[at + 3])
