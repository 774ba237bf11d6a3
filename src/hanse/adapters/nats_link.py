"""One connection to the substrate that never gives up: what the NATS bus, store and blobs stand on.

`configuration, credentials -> requests with deadlines`. The client library's own reconnect is switched off: it buffers
messages while the link is down (the bus promises to drop them), closes for good on an expired credential, and keeps the
TLS context it was given at first. Here every attempt is a fresh client with fresh credentials, and whatever was in
flight when a link broke fails at once instead of waiting for its deadline.

It does not interpret payloads: JetStream's answers are read in `nats_api`.
"""

from __future__ import annotations

import asyncio
import base64
import random
import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import nats.errors
import nkeys
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from hanse.core.errors import BusError, invariant
from hanse.core.time import US_PER_MS, US_PER_S

MAX_PAYLOAD_BYTES = 2**20
"""What the `Bus` port promises to carry."""
_BACKPRESSURE_BYTES = 2**20
"""Unsent bytes from which a publisher waits for the socket; the library itself would buffer without bound."""
_NO_RESPONDERS = "503"
_CANCEL_AGAIN_S = 0.2

Deliver = Callable[[Msg], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConfig:
    """Where to connect and how long to wait. Durations in microseconds, all above 0."""

    urls: tuple[str, ...]
    """``nats://host:port`` of every server, tried in turn."""
    name: str
    """Shown in the server's connection list."""
    inbox_prefix: str = "_INBOX"
    """Where answers arrive; a user limited to its own subjects needs its own."""
    api: str = "$JS.API"
    """Prefix of the JetStream API: another one where it is imported from another account."""
    deliver_prefix: str = ""
    """Where consumers deliver; empty: to the inbox. Set where the streams are in another account."""
    ingest: str = ""
    """Prefix under which buckets take values (`hanse.identity.nats_accounts`); empty where they have none."""
    server_name: str | None = None
    """Name to expect in the server's certificate, where it differs from the URL's host."""
    connect_timeout_us: int = 2 * US_PER_S
    request_timeout_us: int = 2 * US_PER_S
    """Deadline of each operation: a few round trips between continents plus a slow fsync."""
    backoff_min_us: int = 50 * US_PER_MS
    backoff_max_us: int = 2 * US_PER_S
    """Upper bound between attempts: a returned uplink is used within about this time."""
    ping_interval_us: int = 2 * US_PER_S
    """A link that swallows bytes is declared lost after three of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsCredentials:
    """A user JWT and the nkey seed that proves it."""

    jwt: str
    seed: str = field(repr=False)


class Connection:
    """One live client: requests in flight, and whether it was lost. Lives inside `NatsLink`."""

    def __init__(self, client: Client, inbox: str, *, api: str, deliver_prefix: str) -> None:
        self._client = client
        self._inbox = inbox
        self._deliver_prefix = deliver_prefix or inbox.rpartition(".")[0]
        self.api = api
        """Prefix of the JetStream API for this user."""
        self._pending: dict[str, tuple[str, asyncio.Future[Msg]]] = {}
        self._next_token = 0
        self._woken: list[asyncio.Event] = []
        self.lost = asyncio.Event()

    async def open_inbox(self) -> None:
        """Subscribe to the answers to this connection's requests."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._answered)

    def new_inbox(self) -> str:
        """Name an unguessable subject for a consumer to deliver to, to which no one listens yet."""
        return f"{self._deliver_prefix}.{secrets.token_hex(11)}"

    async def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Hand over to the socket, waiting when too much is unsent. Raises `nats.errors.Error` when lost."""
        await self._client.publish(subject, data, reply=reply)
        if self._client.pending_data_size > _BACKPRESSURE_BYTES:
            # In a task of its own: the library (through wait_for of Python 3.11) can swallow its caller's cancellation.
            flush = asyncio.ensure_future(self._client.flush())
            flush.add_done_callback(_retrieve)
            await asyncio.wait((flush,))

    async def request(self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout_us: int) -> Msg:
        """Send and wait for one answer. Raises BusError: disconnected, timeout, no_responders, denied."""
        self._next_token += 1
        token = str(self._next_token)
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._pending[token] = (subject, answer)
        try:
            async with asyncio.timeout(timeout_us / US_PER_S):
                await self._client.publish(
                    subject, data, reply=f"{self._inbox}.{token}", headers=dict(headers) if headers else None
                )
                message = await answer
        except TimeoutError:
            raise BusError(
                f"no answer on {subject} within {timeout_us} us", code="bus.timeout", context={"subject": subject}
            ) from None
        except nats.errors.Error as error:
            raise _disconnected(subject) from error
        finally:
            del self._pending[token]
        if not message.data and (message.headers or {}).get("Status") == _NO_RESPONDERS:
            raise BusError(f"nobody answers {subject}", code="bus.no_responders", context={"subject": subject})
        return message

    async def subscribe(self, pattern: str, deliver: Deliver) -> Subscription:
        """Listen until the connection is lost; `deliver` must not block."""

        async def arrived(message: Msg) -> None:
            deliver(message)

        return await self._client.subscribe(pattern, cb=arrived)

    @property
    def max_payload_bytes(self) -> int:
        """The server's limit on headers and data together."""
        return self._client.max_payload

    def wake_when_lost(self, event: asyncio.Event) -> None:
        """Have `event` set when the connection is lost (it may already be)."""
        self._woken.append(event)
        if self.lost.is_set():
            event.set()

    def forget(self, event: asyncio.Event) -> None:
        """Undo `wake_when_lost`."""
        self._woken = [other for other in self._woken if other is not event]

    def give_up(self) -> None:
        """Declare the connection lost: everything in flight fails now."""
        self.lost.set()
        for event in self._woken:
            event.set()
        for subject, answer in self._pending.values():
            if not answer.done():
                answer.set_exception(_disconnected(subject))

    def denied(self, complaint: str) -> None:
        """Fail the requests that the server's permission error names, instead of letting them time out."""
        for subject, answer in self._pending.values():
            # The library lower-cases what the server says.
            if not answer.done() and f'publish to "{subject.lower()}"' in complaint:
                answer.set_exception(
                    BusError(
                        f"the substrate denies this user to publish to {subject}",
                        code="bus.denied",
                        hint="the user's permissions do not list this subject",
                        retry=False,
                        context={"subject": subject},
                    )
                )

    async def close(self, timeout_us: int) -> None:
        """Close the socket; a peer that does not read cannot delay this beyond `timeout_us`."""
        self.give_up()
        try:
            async with asyncio.timeout(timeout_us / US_PER_S):
                await self._client.close()
        except (TimeoutError, OSError, nats.errors.Error):
            return

    async def _answered(self, message: Msg) -> None:
        waiting = self._pending.get(message.subject.rpartition(".")[2])
        if waiting is not None and not waiting[1].done():
            waiting[1].set_result(message)


class Interest:
    """A standing subscription: made again on every new connection until closed."""

    def __init__(self, pattern: str, deliver: Deliver, wake: asyncio.Event) -> None:
        self.pattern = pattern
        self.wake = wake
        self._deliver = deliver
        self._subscription: Subscription | None = None

    async def attach(self, connection: Connection) -> None:
        """Subscribe on a new connection."""
        self._subscription = await connection.subscribe(self.pattern, self._deliver)

    async def detach(self) -> None:
        """Unsubscribe where there still is a connection."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await unsubscribe(subscription)


class NatsLink:
    """Keeps one connection up. `start` returns at once: a node must come up with no uplink too.

    `tls` and `credentials` are asked for at every attempt, as both are rotated. `rng` draws the jitter only.
    `on_change` hears of every gained and lost connection with a sentence for the log.
    """

    def __init__(
        self,
        config: LinkConfig,
        *,
        rng: random.Random,
        credentials: Callable[[], NatsCredentials] | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        on_change: Callable[[bool, str], None] | None = None,
    ) -> None:
        self.config = config
        self._rng = rng
        self._credentials = credentials
        self._tls = tls
        self._on_change = on_change
        self._connection: Connection | None = None
        self._up = asyncio.Event()
        self._interests: dict[int, Interest] = {}
        self._next_interest = 0
        self._keeper: asyncio.Task[None] | None = None
        self._is_closed = False
        self._last_error = "not connected yet"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin connecting, in the background."""
        invariant(self._keeper is None, "a link starts once")
        self._keeper = asyncio.create_task(self._keep(), name=f"nats-link {self.config.name}")

    async def stop(self) -> None:
        """Close for good: everything in flight and everything asked later raises BusError ``bus.closed``."""
        self._is_closed = True
        while self._keeper is not None and not self._keeper.done():
            # Again and again: the library (through wait_for of Python 3.11) can swallow a cancellation.
            self._keeper.cancel()
            await asyncio.wait((self._keeper,), timeout=_CANCEL_AGAIN_S)
        self._release()
        if self._keeper is not None and not self._keeper.cancelled():
            self._keeper.result()

    def is_connected(self) -> bool:
        """Tell whether the link is up, as far as this side knows."""
        return self._connection is not None

    async def wait_connected(self, timeout_us: int) -> None:
        """Wait for the link. Raises BusError ``bus.unavailable`` with the last reason after `timeout_us`."""
        try:
            async with asyncio.timeout(timeout_us / US_PER_S):
                await self.connection()
        except TimeoutError:
            raise BusError(
                f"no link to the substrate at {', '.join(self.config.urls)}: {self._last_error}",
                hint="is the fabric up (`hanse up`), and are the address and the credentials those of this domain?",
            ) from None

    async def connection(self) -> Connection:
        """Wait, without a deadline, for a live connection. Raises BusError once the link is closed."""
        while True:
            self.refuse_if_closed()
            if self._connection is not None:
                return self._connection
            await self._up.wait()

    def current(self) -> Connection:
        """The live connection. Raises BusError ``bus.disconnected`` at once if there is none."""
        self.refuse_if_closed()
        if self._connection is None:
            raise BusError(f"no link to the substrate: {self._last_error}", code="bus.disconnected")
        return self._connection

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_us: int | None = None,
    ) -> Msg:
        """Ask on the live connection. Raises BusError, at once when the link is down or breaks meanwhile."""
        connection = self.current()
        header_bytes = sum(len(name) + len(value) + 4 for name, value in (headers or {}).items()) + 16 if headers else 0
        _refuse_large(subject, len(data), min(MAX_PAYLOAD_BYTES, connection.max_payload_bytes - header_bytes))
        return await connection.request(subject, data, headers, timeout_us or self.config.request_timeout_us)

    async def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Send, or drop if the link is down. Raises BusError if too large or closed."""
        self.refuse_if_closed()
        _refuse_large(subject, len(data), MAX_PAYLOAD_BYTES)
        if self._connection is None:
            return
        try:
            async with asyncio.timeout(self.config.request_timeout_us / US_PER_S):
                await self._connection.publish(subject, data, reply=reply)
        except (nats.errors.Error, OSError, TimeoutError):
            return  # the link broke under the message, which the bus's contract calls lost

    async def listen(self, pattern: str, deliver: Deliver, wake: asyncio.Event) -> Callable[[], Awaitable[None]]:
        """Subscribe now and after every reconnect; returns what ends it. `wake` is set when the link is closed."""
        self.refuse_if_closed()
        interest = Interest(pattern, deliver, wake)
        self._next_interest += 1
        number = self._next_interest
        self._interests[number] = interest
        if self._connection is not None:
            await self._attach(interest, self._connection)

        async def end() -> None:
            self._interests.pop(number, None)
            await interest.detach()

        return end

    async def _attach(self, interest: Interest, connection: Connection) -> None:
        try:
            await interest.attach(connection)
        except (nats.errors.Error, OSError):
            connection.give_up()

    async def _keep(self) -> None:
        failures = 0
        try:
            while not self._is_closed:
                try:
                    connection = await self._open()
                except Exception as error:
                    # Whatever it is (refused, bad certificate, unreadable credentials), the next attempt may do.
                    failures += 1
                    self._changed(False, f"{type(error).__name__}: {error}")
                    await asyncio.sleep(self._backoff_us(failures) / US_PER_S)
                    continue
                try:
                    for number in list(self._interests):
                        if number in self._interests:
                            await self._attach(self._interests[number], connection)
                    self._connection = connection
                    self._up.set()
                    self._changed(True, f"connected to {', '.join(self.config.urls)}")
                    up_since = asyncio.get_running_loop().time()
                    await connection.lost.wait()
                finally:
                    self._connection = None
                    self._up.clear()
                    await connection.close(self.config.connect_timeout_us)
                lived_us = (asyncio.get_running_loop().time() - up_since) * US_PER_S
                # A server that accepts and hangs up at once must not be hammered.
                failures = 1 if lived_us > self.config.backoff_max_us else failures + 1
                self._changed(False, "the connection broke")
                await asyncio.sleep(self._backoff_us(failures) / US_PER_S)
        finally:
            self._is_closed = True
            self._release()

    def _release(self) -> None:
        """Wake everyone who waits for this link, to learn that it is closed."""
        self._up.set()
        for interest in self._interests.values():
            interest.wake.set()

    async def _open(self) -> Connection:
        config = self.config
        client = _SecureClient()
        inbox = f"{config.inbox_prefix}.{secrets.token_hex(11)}"
        connection = Connection(client, inbox, api=config.api, deliver_prefix=config.deliver_prefix)

        async def closed() -> None:
            connection.give_up()

        async def complained(error: Exception) -> None:
            self._last_error = str(error) or type(error).__name__
            connection.denied(str(error))

        options: dict[str, Any] = {}
        if self._tls is not None:
            options |= {"tls": self._tls(), "tls_hostname": config.server_name}
        if self._credentials is not None:
            credentials = self._credentials()
            options |= {
                "user_jwt_cb": lambda: bytearray(credentials.jwt.encode()),
                "signature_cb": lambda nonce: _signed(credentials.seed, nonce),
            }
        try:
            async with asyncio.timeout(config.connect_timeout_us / US_PER_S * 2):
                await client.connect(
                    servers=list(config.urls),
                    name=config.name,
                    inbox_prefix=config.inbox_prefix,
                    error_cb=complained,
                    closed_cb=closed,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=config.connect_timeout_us / US_PER_S,  # type: ignore[arg-type]
                    ping_interval=config.ping_interval_us / US_PER_S,  # type: ignore[arg-type]
                    max_outstanding_pings=2,
                    pending_size=0,  # no buffering while down, no unbounded wait while up
                    **options,
                )
                await connection.open_inbox()
        except BaseException:
            await connection.close(config.connect_timeout_us)
            raise
        return connection

    def _backoff_us(self, failures: int) -> int:
        """Double from the least to the most, then draw between half and all of it (so that nodes do not march)."""
        ceiling = min(self.config.backoff_max_us, self.config.backoff_min_us << min(failures - 1, 20))
        return self._rng.randint(ceiling // 2, ceiling)

    def _changed(self, is_up: bool, why: str) -> None:
        if not is_up:
            self._last_error = why
        if self._on_change is not None:
            self._on_change(is_up, why)

    def refuse_if_closed(self) -> None:
        """Raise BusError ``bus.closed`` after `stop`."""
        if self._is_closed:
            raise BusError("the link is closed", code="bus.closed", retry=False)


async def unsubscribe(subscription: Subscription) -> None:
    """End a subscription, whatever became of its connection."""
    try:
        await subscription.unsubscribe()
    except nats.errors.Error:
        return  # the connection is gone, and the interest with it


def _retrieve(task: asyncio.Future[None]) -> None:
    """Take note of a flush's failure: that the link broke is told by the connection itself."""
    if not task.cancelled():
        task.exception()


class _SecureClient(Client):
    """Refuses to send credentials in the clear: the library would, if the server (or a man between) offers no TLS."""

    def _connect_command(self) -> bytes:
        if "tls" in self.options and not self._server_info.get("tls_required"):
            raise nats.errors.Error("the server offers no TLS")
        command: bytes = super()._connect_command()  # type: ignore[no-untyped-call,unused-ignore]
        return command


def _signed(seed: str, nonce: str) -> bytes:
    signature: bytes = nkeys.from_seed(bytearray(seed.encode())).sign(nonce.encode())
    return base64.b64encode(signature)


def _refuse_large(subject: str, size: int, limit: int) -> None:
    if size > limit:
        raise BusError(
            f"a message of {size} bytes for {subject} exceeds {limit}",
            code="bus.too_large",
            hint="put large values into the blob store and send their digest",
            retry=False,
            context={"subject": subject, "bytes": size},
        )


def _disconnected(subject: str) -> BusError:
    return BusError(f"the link broke while asking {subject}", code="bus.disconnected", context={"subject": subject})
