"""A node's credential against a real substrate: what it can do, and that it can do nothing else.

The server runs as in production: operator mode, memory resolver, TLS 1.3, JetStream. The attacks are those of
someone who holds everything that stands on one node's disk.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import random
import re
import secrets
import signal
import ssl
import subprocess
import sysconfig
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client, RawCredentials
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from hanse.adapters.domain_files import Domain, init_domain, issue_server
from hanse.adapters.nats_blobs import NatsBlobs
from hanse.adapters.nats_buckets import ensure_buckets
from hanse.adapters.nats_link import LinkConfig, NatsCredentials, NatsLink
from hanse.adapters.nats_store import NatsStore
from hanse.core.ids import NodeId
from hanse.core.rng import Rng
from hanse.core.time import US_PER_S, WallTime
from hanse.identity import (
    NODE_API,
    NODE_INGEST,
    ServerTls,
    deliver_prefix,
    inbox_prefix,
    nats_auth_config,
    nkey_from_secret,
    node_permissions,
)
from hanse.identity.nats_jwt import Nkey, user_jwt
from hanse.wire import subjects

pytestmark = pytest.mark.substrate

BERLIN, PARIS = NodeId("berlin-1"), NodeId("paris-1")
USERS = {BERLIN: nkey_from_secret("user", b"\x11" * 32), PARIS: nkey_from_secret("user", b"\x12" * 32)}
WAIT_S = 60
"""For a hang alone."""
SERVER = Path(sysconfig.get_path("scripts")) / "nats-server"


class OsEntropy:
    """The operating system's randomness."""

    def stream(self, *names: str | int) -> random.Random:
        return Rng(1).stream(*names)

    def secret(self, count: int) -> bytes:
        return os.urandom(count)


@dataclass
class Substrate:
    """A running server, its domain, and a folder for certificates."""

    domain: Domain
    folder: Path
    url: str = ""
    lines: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    follower: threading.Thread | None = None
    revoked: dict[str, WallTime] = field(default_factory=dict)

    def start(self) -> None:
        """Start and wait until the server says that it is ready."""
        self.issue("nats")
        self.configure()
        self.process = subprocess.Popen(
            [SERVER, "-c", self.folder / "nats.conf"], stderr=subprocess.PIPE, text=True, cwd=self.folder
        )
        ready = threading.Event()
        self.follower = threading.Thread(target=self._follow, args=(ready,), daemon=True)
        self.follower.start()
        assert ready.wait(WAIT_S), self.lines
        ports = [found for line in self.lines if (found := re.search(r"client connections on (\S+)", line))]
        self.url = f"tls://localhost:{ports[0][1].rpartition(':')[2]}"

    def stop(self) -> None:
        assert self.process is not None
        assert self.follower is not None
        self.process.terminate()
        self.process.wait(WAIT_S)
        self.follower.join(WAIT_S)

    def configure(self) -> None:
        """Write the configuration: what `hanse up` would, plus ports of the system's choice."""
        tls = ServerTls(**{part: str(self.folder / f"nats.{part}") for part in ("certificate", "key", "bundle")})
        auth = nats_auth_config(self.domain.nats_trust(self.revoked), tls)
        store = json.dumps(str(self.folder / "jetstream"))
        config = f"listen: 127.0.0.1:-1\njetstream {{ store_dir: {store} }}\n{auth}"
        (self.folder / "nats.conf").write_text(config)

    def issue(self, name: str) -> None:
        chain, key = issue_server(self.domain, name, now=now(), entropy=OsEntropy())
        for part, data in {"certificate": chain, "key": key, "bundle": self.domain.bundle_pem}.items():
            (self.folder / f"{name}.{part}").write_bytes(data)

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.domain.bundle_pem.decode())

    @asynccontextmanager
    async def client(self, creds: str, tls: ssl.SSLContext, inbox: str = "_INBOX") -> AsyncIterator[Session]:
        refusals: asyncio.Queue[str] = asyncio.Queue()

        async def note(error: Exception) -> None:
            refusals.put_nowait(str(error))

        connection = await nats.connect(
            self.url,
            tls=tls,
            tls_hostname="localhost",
            user_credentials=RawCredentials(creds),
            inbox_prefix=inbox.encode(),
            error_cb=note,
            allow_reconnect=False,
            connect_timeout=WAIT_S,
        )
        try:
            yield Session(connection, refusals)
        finally:
            await connection.close()

    def node(self, node: NodeId, inbox: str = "") -> AbstractAsyncContextManager[Session]:
        jwt = user_jwt(
            self.domain.authority.account, USERS[node].public, node, now(), permissions=node_permissions(node)
        )
        return self.client(credentials(jwt, USERS[node]), self.tls(), inbox or inbox_prefix(node))

    def controller(self) -> AbstractAsyncContextManager[Session]:
        return self.client(self.controller_credentials(), self.tls())

    def controller_credentials(self) -> str:
        return credentials(self.domain.controller_jwt, self.domain.controller_user)

    def _follow(self, ready: threading.Event) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.lines.append(line)
                if "Server is ready" in line:
                    ready.set()


@dataclass
class Session:
    """A connection and what the server complained about."""

    nc: Client
    refusals: asyncio.Queue[str]

    async def settle(self) -> None:
        """Wait until the server has taken all that was sent before: subscriptions too.

        The first ping overtakes what the client has gathered and not yet written; the second follows it.
        """
        for _ in range(2):
            await self.nc.flush(WAIT_S)

    async def refused(self, count: int) -> str:
        """Wait for `count` complaints and return all of them."""
        async with asyncio.timeout(WAIT_S):
            return " ".join([await self.refusals.get() for _ in range(count)])


def credentials(jwt: str, user: Nkey) -> str:
    """A credentials file as NATS clients read it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )


def now() -> WallTime:
    return WallTime(time.time_ns() // 1_000)


ARTIFACT = b"x" * 300_000


async def chunks_of(js: JetStreamContext, name: str) -> str:
    """Subject of an object's chunks, from its meta message (ADR-20)."""
    meta = f"$O.artifacts.M.{base64.urlsafe_b64encode(name.encode()).decode()}"
    found = await js.get_msg("OBJ_artifacts", subject=meta, direct=True)
    return f"$O.artifacts.C.{json.loads(found.data or b'')['nuid']}"


async def read_all(js: JetStreamContext, stream: str, keys: str, size: int) -> bytes:
    """Read `size` bytes through a named consumer with one filter, as the store and blob adapters do."""
    reading = await js.subscribe(
        keys, stream=stream, ordered_consumer=True, config=ConsumerConfig(name=secrets.token_hex(11))
    )
    data = b""
    while len(data) < size:
        data += (await reading.next_msg(WAIT_S)).data
    await reading.unsubscribe()
    return data


@pytest.fixture(scope="module")
def substrate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Substrate]:
    folder = tmp_path_factory.mktemp("substrate")
    started = Substrate(init_domain(folder, "hanse.local", now(), OsEntropy()), folder)
    started.start()
    try:
        asyncio.run(fill(started))
        yield started
    finally:
        started.stop()


async def fill(substrate: Substrate) -> None:
    """What a controller makes: all buckets, one value each, one artifact."""
    domain, tls = substrate.domain, substrate.tls
    config = LinkConfig(
        urls=(substrate.url,), name="controller", server_name="localhost", ingest=substrate.domain.ingest,
        connect_timeout_us=WAIT_S * US_PER_S, request_timeout_us=WAIT_S * US_PER_S,
    )  # fmt: skip
    known = NatsCredentials(jwt=domain.controller_jwt, seed=domain.controller_user.seed)
    async with NatsLink(config, rng=random.Random(1), credentials=lambda: known, tls=tls) as link:
        await link.wait_connected(WAIT_S * US_PER_S)
        await ensure_buckets(link, subjects.BUCKETS, artifacts=(subjects.ARTIFACTS,), replicas=1)
        await NatsBlobs(link).put(ARTIFACT)
        for bucket, key, value in (
            (subjects.ORDERS, f"{BERLIN}.clinic.triage.0.1", b"order of berlin"),
            (subjects.ORDERS, f"{PARIS}.clinic.triage.1.1", b"order of paris"),
            (subjects.REPORTS, f"{PARIS}.clinic.triage.1.1", b"report of paris"),
            (subjects.PRESENCE, PARIS, b"presence of paris"),
            (subjects.ROUTES, "clinic.triage", b"route"),
            (subjects.TRUST, "revocations", b"none"),
            (subjects.SPECS, "function.clinic.triage", b"spec"),
            (subjects.PLANS, "current", b"plan"),
            (subjects.LEASES, "controller", b"lease"),
        ):
            await NatsStore(link).put(bucket, key, value)


def test_a_node_does_its_own_work(substrate: Substrate) -> None:
    async def scenario() -> None:
        async with substrate.controller() as control, substrate.node(BERLIN) as node:
            heartbeats = await control.nc.subscribe(subjects.HEARTBEATS)
            asks = await control.nc.subscribe(subjects.ASKS)
            tells = await node.nc.subscribe(subjects.tell(BERLIN, "*"))
            await asyncio.gather(control.settle(), node.settle())

            await node.nc.publish(subjects.heartbeat(BERLIN), b"alive")
            assert (await heartbeats.next_msg(WAIT_S)).data == b"alive"

            renewing = asyncio.create_task(node.nc.request(subjects.ask(BERLIN, "renew"), b"csr", timeout=WAIT_S))
            await (await asks.next_msg(WAIT_S)).respond(b"svid")
            assert (await renewing).data == b"svid"

            asking = asyncio.create_task(control.nc.request(subjects.tell(BERLIN, "logs"), b"", timeout=WAIT_S))
            await (await tells.next_msg(WAIT_S)).respond(b"lines")
            assert (await asking).data == b"lines"

            for subject in (
                f"{NODE_INGEST}.KV.{subjects.REPORTS}.{BERLIN}.clinic.triage.0.1",
                f"{NODE_INGEST}.KV.{subjects.PRESENCE}.{BERLIN}",
            ):
                acknowledged = json.loads((await node.nc.request(subject, b"mine", timeout=WAIT_S)).data)
                assert "error" not in acknowledged
            assert node.refusals.empty()

    asyncio.run(scenario())


def test_a_node_reads_its_orders_and_what_is_shared(substrate: Substrate) -> None:
    async def scenario() -> None:
        async with substrate.node(BERLIN, deliver_prefix(BERLIN)) as node:
            js = node.nc.jetstream(prefix=NODE_API, timeout=WAIT_S)
            for bucket, key, value in (
                (subjects.ORDERS, f"{BERLIN}.clinic.triage.0.1", b"order of berlin"),
                (subjects.ROUTES, "clinic.triage", b"route"),
                (subjects.TRUST, "revocations", b"none"),
            ):
                read = await js.get_msg(f"KV_{bucket}", subject=f"$KV.{bucket}.{key}", direct=True)
                assert read.data == value
            for stream, keys, value in (
                ("KV_orders", f"$KV.orders.{BERLIN}.>", b"order of berlin"),
                ("KV_routes", "$KV.routes.>", b"route"),
                ("KV_trust", "$KV.trust.>", b"none"),
                ("OBJ_artifacts", await chunks_of(js, hashlib.sha256(ARTIFACT).hexdigest()), ARTIFACT),
            ):
                assert await read_all(js, stream, keys, len(value)) == value
            # A store lists a prefix as the key itself and what is below it.
            created = await js.add_consumer(
                "KV_orders", ConsumerConfig(name="c", filter_subject=f"$KV.orders.{BERLIN}")
            )
            await node.nc.request(f"{NODE_API}.CONSUMER.DELETE.KV_orders.{created.name}", b"", timeout=WAIT_S)
            await node.nc.publish("$JS.FC.KV_orders.c.1", b"")
            await node.settle()
            assert node.refusals.empty()

    asyncio.run(scenario())


CLOSED_BUCKETS = (
    subjects.SPECS,
    subjects.NODES,
    subjects.PRESENCE,
    subjects.REPORTS,
    subjects.PLANS,
    subjects.LEASES,
)
IN_ANY_ACCOUNT = (
    # forge others
    subjects.heartbeat(PARIS),
    subjects.ask(PARIS, "renew"),
    subjects.tell(PARIS, "logs"),
    f"$KV.{subjects.REPORTS}.{PARIS}.clinic.triage.1.1",
    f"$KV.{subjects.PRESENCE}.{PARIS}",
    f"_INBOX.{PARIS}.x",
    # forge the controller
    *(f"$KV.{bucket}.{BERLIN}.x" for bucket in subjects.BUCKETS),
    *(f"{NODE_INGEST}.KV.{bucket}.{BERLIN}.x" for bucket in subjects.BUCKETS if bucket != subjects.REPORTS),
    f"{NODE_INGEST}.KV.{subjects.REPORTS}.{PARIS}.clinic.triage.1.1",
    f"{NODE_INGEST}.KV.{subjects.PRESENCE}.{PARIS}",
    f"$KV.{subjects.LEASES}.controller",
    f"$KV.{subjects.ROUTES}.clinic.triage",
    f"$KV.{subjects.TRUST}.revocations",
    f"$O.{subjects.ARTIFACTS}.M.x",
    # read others
    f"$JS.API.DIRECT.GET.KV_orders.$KV.orders.{PARIS}.clinic.triage.1.1",
    "$JS.API.DIRECT.GET.KV_orders",
    "$JS.API.STREAM.MSG.GET.KV_orders",
    "$JS.API.STREAM.INFO.KV_orders",
    "$JS.API.CONSUMER.LIST.KV_orders",
    "$JS.API.CONSUMER.NAMES.KV_orders",
    f"$JS.API.CONSUMER.CREATE.KV_orders.c.$KV.orders.{PARIS}.>",
    "$JS.API.CONSUMER.CREATE.KV_orders.c.$KV.orders.>",
    "$JS.API.CONSUMER.CREATE.KV_orders.c",
    "$JS.API.CONSUMER.CREATE.KV_orders",
    "$JS.API.STREAM.NAMES",
    "$JS.API.CONSUMER.INFO.KV_orders.c",
    "$JS.API.CONSUMER.MSG.NEXT.KV_orders.c",
    "$JS.API.CONSUMER.CREATE.OBJ_artifacts",
    "$JS.API.CONSUMER.DURABLE.CREATE.KV_orders.c",
    *(
        f"$JS.API.DIRECT.GET.KV_{bucket}.$KV.{bucket}.>"
        for bucket in (
            subjects.SPECS,
            subjects.NODES,
            subjects.PRESENCE,
            subjects.REPORTS,
            subjects.PLANS,
            subjects.LEASES,
        )
    ),
    *(
        f"$JS.API.CONSUMER.CREATE.KV_{bucket}.c.$KV.{bucket}.>"
        for bucket in (
            subjects.SPECS,
            subjects.NODES,
            subjects.PRESENCE,
            subjects.REPORTS,
            subjects.PLANS,
            subjects.LEASES,
        )
    ),
    # change the substrate
    "$JS.API.STREAM.CREATE.KV_mine",
    "$JS.API.STREAM.UPDATE.KV_orders",
    "$JS.API.STREAM.DELETE.KV_orders",
    "$JS.API.STREAM.PURGE.KV_orders",
    "$JS.API.STREAM.MSG.DELETE.KV_orders",
    "$JS.API.STREAM.SNAPSHOT.KV_orders",
    "$JS.API.STREAM.LIST",
    "$JS.API.INFO",
    "$SYS.REQ.SERVER.PING",
    "anything",
)
FORBIDDEN_PUBLISHES = (
    *IN_ANY_ACCOUNT,
    # the same through the door to the other account, and past it
    *(one.replace("$JS.API", NODE_API) for one in IN_ANY_ACCOUNT if one.startswith("$JS.API")),
    f"$JS.API.DIRECT.GET.KV_orders.$KV.orders.{BERLIN}.clinic.triage.0.1",
    f"hanse.v1.deliver.{PARIS}.x",
    f"in.guess.KV.{subjects.REPORTS}.{BERLIN}.clinic.triage.0.1",
)


def test_a_stolen_credential_publishes_nothing_else(substrate: Substrate) -> None:
    async def scenario() -> None:
        async with substrate.node(BERLIN) as node:
            for subject in FORBIDDEN_PUBLISHES:
                await node.nc.publish(subject, b"forged", reply=f"{inbox_prefix(BERLIN)}.x")
            refused = await node.refused(len(FORBIDDEN_PUBLISHES))
            allowed = [subject for subject in FORBIDDEN_PUBLISHES if f'"{subject.lower()}"' not in refused]
            assert allowed == []

    asyncio.run(scenario())


def test_a_stolen_credential_hears_nothing_else(substrate: Substrate) -> None:
    listens = (
        ">",
        "_INBOX.>",
        f"_INBOX.{PARIS}.>",
        "hanse.v1.>",
        subjects.HEARTBEATS,
        subjects.ASKS,
        subjects.tell(PARIS, "*"),
        "hanse.v1.tell.*.*",
        f"$KV.orders.{PARIS}.>",
        f"$KV.orders.{BERLIN}.>",
        "in.>",
        "_R_.>",
        f"{deliver_prefix(PARIS)}.>",
        "hanse.v1.deliver.>",
        "$JS.EVENT.>",
        "$JS.API.>",
        "$SYS.>",
    )

    async def scenario() -> None:
        async with substrate.node(BERLIN) as node:
            for subject in listens:
                await node.nc.subscribe(subject)
            refused = await node.refused(len(listens))
            assert [subject for subject in listens if f'"{subject.lower()}"' not in refused] == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "config",
    [
        {"filter_subject": f"$KV.orders.{PARIS}.>"},
        {"filter_subject": "$KV.orders.>"},
        {"filter_subjects": [f"$KV.orders.{PARIS}.>"]},
        {"filter_subject": f"$KV.orders.{BERLIN}.>", "filter_subjects": [f"$KV.orders.{PARIS}.>"]},
        {},
    ],
)
def test_a_consumer_cannot_ask_for_more_than_its_subject_says(substrate: Substrate, config: dict[str, object]) -> None:
    async def scenario() -> None:
        async with substrate.node(BERLIN) as node:
            subject = f"{NODE_API}.CONSUMER.CREATE.KV_orders.sly.$KV.orders.{BERLIN}.>"
            body = {"stream_name": "KV_orders", "config": {"name": "sly", "ack_policy": "none", **config}}
            answer = json.loads((await node.nc.request(subject, json.dumps(body).encode(), timeout=WAIT_S)).data)
            assert answer["error"]["code"] == 400

    asyncio.run(scenario())


TARGETS = (
    f"$KV.{subjects.PLANS}.current",
    f"$KV.{subjects.ORDERS}.{PARIS}.clinic.triage.1.1",
    f"$KV.{subjects.ORDERS}.{BERLIN}.clinic.triage.0.1",
    f"$KV.{subjects.REPORTS}.{PARIS}.clinic.triage.1.1",
    f"$KV.{subjects.PRESENCE}.{PARIS}",
    f"{NODE_INGEST}.KV.{subjects.REPORTS}.{PARIS}.clinic.triage.1.1",
    f"{NODE_INGEST}.KV.{subjects.PRESENCE}.{PARIS}",
    f"{NODE_INGEST}.KV.{subjects.PLANS}.current",
    f"in.guess.KV.{subjects.PLANS}.current",
    f"$KV.{subjects.ROUTES}.clinic.triage",
    f"$O.{subjects.ARTIFACTS}.M.x",
    f"$JS.API.STREAM.PURGE.KV_{subjects.ORDERS}",
    f"$JS.API.STREAM.DELETE.KV_{subjects.PLANS}",
    f"{NODE_API}.CONSUMER.DELETE.KV_{subjects.ORDERS}.x",
)
"""Where a thief would have the server send something."""


async def everything(control: Session) -> dict[str, object]:
    """Each stream with the sequence of its last message, and each message that is kept, by subject."""
    found: dict[str, object] = {}
    answer = json.loads((await control.nc.request("$JS.API.STREAM.NAMES", b"", timeout=WAIT_S)).data)
    for name in answer["streams"]:
        asked = json.dumps({"subjects_filter": ">"}).encode()
        state = json.loads((await control.nc.request(f"$JS.API.STREAM.INFO.{name}", asked, timeout=WAIT_S)).data)
        found[name] = (state["state"]["last_seq"], state["state"].get("subjects"))
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_what_the_server_sends_for_a_thief_displaces_nothing(substrate: Substrate, target: str) -> None:
    """Answers and deliveries go wherever the asker says, unchecked: nothing that holds state may be reached so."""
    key = f"$KV.orders.{BERLIN}.clinic.triage.0.1"
    get, create = f"{NODE_API}.DIRECT.GET.KV_orders.{key}", f"{NODE_API}.CONSUMER.CREATE.KV_orders"

    async def scenario() -> None:
        async with substrate.controller() as control, substrate.node(BERLIN) as node:
            before = await everything(control)
            # Somebody in the other account listens there: only then does a consumer deliver at all.
            heard = await control.nc.subscribe(target)
            asked = await control.nc.subscribe(subjects.ASKS)
            await control.settle()
            await node.nc.publish(get, b"", reply=target)
            for where, reply in ((target, f"{inbox_prefix(BERLIN)}.x"), (f"{deliver_prefix(BERLIN)}.x", target)):
                name = secrets.token_hex(8)
                config = {"name": name, "deliver_subject": where, "filter_subject": f"$KV.orders.{BERLIN}.>"}
                body = {"stream_name": "KV_orders", "action": "create", "config": {**config, "ack_policy": "none"}}
                await node.nc.publish(f"{create}.{name}.$KV.orders.{BERLIN}.>", json.dumps(body).encode(), reply=reply)
            await node.nc.publish(subjects.ask(BERLIN, "renew"), b"first", reply=target)
            await node.nc.publish(subjects.ask(BERLIN, "renew"), b"last", reply=f"{inbox_prefix(BERLIN)}.y")
            # The server drops some of the first: where the answer would go into an import again.
            while True:
                question = await asked.next_msg(WAIT_S)
                await question.respond(b"sealed for berlin")
                if question.data == b"last":
                    break
            if not target.startswith("$JS.API"):
                # The delivery did take place: a test without it would prove nothing.
                assert (await heard.next_msg(WAIT_S)).data == b"order of berlin"
            await node.settle()
            await control.settle()
            assert await everything(control) == before

    asyncio.run(scenario())


def test_strangers_are_turned_away(substrate: Substrate) -> None:
    stranger = nkey_from_secret("account", b"\x66" * 32)
    user = nkey_from_secret("user", b"\x67" * 32)
    real = user_jwt(substrate.domain.authority.account, USERS[PARIS].public, PARIS, now(), permissions=None)
    made = {
        "signed by another account": credentials(user_jwt(stranger, user.public, "x", now(), permissions=None), user),
        "another's token, own key": credentials(real, user),
        "expired": credentials(
            user_jwt(
                substrate.domain.authority.account,
                user.public,
                "x",
                now(),
                permissions=None,
                expires=WallTime(now() - 1_000_000),
            ),
            user,
        ),
    }

    async def scenario(creds: str) -> None:
        with pytest.raises(Exception, match=r"(?i)authorization violation|authentication|EOF|lost"):
            async with substrate.client(creds, substrate.tls()):
                pass

    for creds in made.values():
        asyncio.run(scenario(creds))


def test_a_client_of_another_domain_does_not_take_this_server_for_its_own(substrate: Substrate, tmp_path: Path) -> None:
    other = init_domain(tmp_path, "other.example", now(), OsEntropy())
    trusting = ssl.create_default_context(cadata=other.bundle_pem.decode())

    async def scenario() -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            async with substrate.client(substrate.controller_credentials(), trusting):
                pass

    asyncio.run(scenario())


def test_nobody_is_known_without_credentials(substrate: Substrate) -> None:
    async def scenario() -> None:
        with pytest.raises(Exception, match=r"(?i)authorization violation|authentication|EOF|lost"):
            await nats.connect(
                substrate.url,
                tls=substrate.tls(),
                tls_hostname="localhost",
                allow_reconnect=False,
                error_cb=ignore,
                connect_timeout=WAIT_S,
            )

    asyncio.run(scenario())


async def ignore(_: Exception) -> None:
    """The connection's failure is what counts."""


def test_a_revoked_user_is_out_after_a_reload(tmp_path: Path) -> None:
    substrate = Substrate(init_domain(tmp_path, "hanse.local", now(), OsEntropy()), tmp_path)
    substrate.start()

    async def scenario() -> None:
        async with substrate.node(BERLIN) as node, substrate.node(PARIS) as other:
            gone = asyncio.Event()

            async def note() -> None:
                gone.set()

            node.nc._closed_cb = note
            substrate.revoked[USERS[BERLIN].public] = WallTime(now() + 1_000_000)
            substrate.configure()
            assert substrate.process is not None
            substrate.process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(WAIT_S):
                await gone.wait()
            with pytest.raises(Exception, match=r"(?i)authorization violation|EOF|lost|revoked"):
                async with substrate.node(BERLIN):
                    pass
            await other.settle()
            assert other.nc.is_connected

    try:
        asyncio.run(scenario())
    finally:
        substrate.stop()
