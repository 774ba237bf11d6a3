"""A revoked node is out: of the work, of the substrate, of the mesh, and of the names that may join again."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import nats
import pytest
from fabric_kit import EAST, NODES, NORTH, PATIENCE_S, WEST, Harness, Kit, Row
from nats.aio.client import Client, RawCredentials
from pace import Pace

from hanse.adapters.disk_store import DiskStore
from hanse.adapters.entropy import SystemEntropy
from hanse.adapters.memory_files import memory_store
from hanse.adapters.node_files import NodeFiles
from hanse.adapters.tls import client_context
from hanse.core.ids import NodeId
from hanse.identity import inbox_prefix
from hanse.node.svid import BUCKET, KEY, StoredSvid
from hanse.wire import canonical

pytestmark = pytest.mark.fabric

REACHES_WITHIN_S = 5.0
"""Promised from the command to every reachable node."""


@pytest.fixture(scope="module")
def harness(guests: Mapping[str, Path]) -> Iterator[Harness]:
    with Harness(guests) as running:
        yield running


def test_revocation_reaches_work_substrate_and_peers_within_five_seconds(harness: Harness):
    async def scenario(kit: Kit) -> None:
        await kit.deploy("vital", replicas=3)
        svid = await _stolen_svid(kit, WEST)
        assert await _is_let_in(kit, NORTH, svid)
        gone = asyncio.Event()
        with Pace() as pace:
            async with _stolen_credential(kit, WEST, gone):
                pace.mark()
                began = time.monotonic()
                await kit.send("POST", f"nodes/{WEST}/revoke")
                async with asyncio.timeout(PATIENCE_S):
                    await gone.wait()
            for peer in (NORTH, EAST):

                async def refuses(peer: NodeId = peer) -> bool:
                    return not await _is_let_in(kit, peer, svid)

                await kit.until(refuses, f"{peer} refusing the stolen SVID")
            await kit.until(lambda: _moved(kit, "vital"), "no replica being wanted or served on it")
            took_s = time.monotonic() - began
            assert took_s <= pace.stretched(REACHES_WITHIN_S)
        with pytest.raises(Exception, match=r"(?i)authorization violation|EOF|lost|revoked"):
            async with _stolen_credential(kit, WEST, asyncio.Event()):
                pass

        # It heard of itself, or was told to stop before it lost its link; either way it serves nothing any more.
        async def is_silent() -> bool:
            return (await kit.call(WEST, "/vital")).status_code != 200

        await kit.until(is_silent, "the revoked node having stopped its own work")
        record = await kit.until(lambda: _revocation_in_ledger(kit), "the revocation being in the ledger")
        assert record["predicate"]["node"] == WEST
        entries = await kit.ledger()
        actions = [row["predicate"] for row in entries if row["kind"] == "UserAction"]
        assert {"deploy": "function/test.vital", "revoke": f"node/{WEST}"}.items() <= {
            action["action"]: action["target"] for action in actions
        }.items()
        assert len({action["actor"] for action in actions}) == len(actions), "one salt for each action"
        assert "admin" not in str(entries)
        assert sorted(row["predicate"]["node"] for row in entries if row["kind"] == "NodeJoined") == sorted(NODES)
        health = await kit.until(lambda: _anchored(kit), "the state being anchored")
        assert (health["keys"] > 0, health["findings"]) == (True, [])
        assert await _join_code(kit, WEST) == "join.revoked"

    harness.run(scenario(harness.kit))


def test_a_peer_that_restarts_cut_off_still_refuses_the_revoked_node(harness: Harness):
    async def scenario(kit: Kit) -> None:
        svid = await _stolen_svid(kit, WEST)
        kit.fabric.cut(NORTH)
        await kit.fabric.kill(NORTH)
        await kit.fabric.restart(NORTH)
        own = await _stolen_svid(kit, EAST)

        async def is_serving() -> bool:
            return await _is_let_in(kit, NORTH, own)

        await kit.until(is_serving, "the mesh of the restarted node")
        assert not await _is_let_in(kit, NORTH, svid)
        kit.fabric.link(NORTH)

    harness.run(scenario(harness.kit))


async def _moved(kit: Kit, name: str) -> bool:
    wanted = {row["node"] for row in await kit.wanted(name)}
    return WEST not in wanted and WEST not in await kit.serving(name)


async def _anchored(kit: Kit) -> Row | None:
    health: Row = await kit.get("ledger/state")
    return health if health["anchored_us"] is not None else None


async def _revocation_in_ledger(kit: Kit) -> Row | None:
    return next((row for row in await kit.ledger() if row["kind"] == "NodeRevoked"), None)


async def _join_code(kit: Kit, node: NodeId) -> str:
    """What the API answers when the revoked node joins again with its own keys and a good token."""
    from hanse.identity import key_from_secret, make_csr
    from hanse.identity.authority import SECRET_BYTES
    from hanse.wire.trust_messages import JoinRequest

    process = kit.fabric.nodes[node]
    keys = NodeFiles(kit.fabric.layout.node(node) / "identity").keys(SystemEntropy())
    body = {"site": process.node.site, "operator": process.node.operator, "tier": process.node.tier.value}
    token = (await kit.send("POST", "tokens", json=body))["token"]
    request = JoinRequest(
        token=token,
        node=process.node,
        csr_pem=make_csr(key_from_secret(SystemEntropy().secret(SECRET_BYTES))),
        public_key=keys.signer.public_key,
        nats_public_key=keys.nats_user.public,
    )
    async with kit.fabric.client() as api:
        answer = await api.post("/api/v1/join", content=canonical.encode(request))
    return str(answer.json()["error"]["code"])


@contextlib.asynccontextmanager
async def _stolen_credential(kit: Kit, node: NodeId, gone: asyncio.Event) -> AsyncIterator[Client]:
    """A connection to the substrate with what lies on the node's disk."""
    files = NodeFiles(kit.fabric.layout.node(node) / "identity")
    keys, joined = files.keys(SystemEntropy()), files.enrolment()
    assert joined is not None
    assert kit.fabric.server is not None

    async def note() -> None:
        gone.set()

    async def ignore(_: Exception) -> None:
        return

    connection = await nats.connect(
        f"tls://localhost:{kit.fabric.server.port}",
        tls=client_context(kit.fabric.domain.bundle_pem),
        tls_hostname="localhost",
        user_credentials=RawCredentials(
            f"-----BEGIN NATS USER JWT-----\n{joined.nats_jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{keys.nats_user.seed}\n------END USER NKEY SEED------\n"
        ),
        inbox_prefix=inbox_prefix(node).encode(),
        closed_cb=note,
        error_cb=ignore,
        allow_reconnect=False,
        connect_timeout=60,
    )
    try:
        yield connection
    finally:
        await connection.close()


async def _stolen_svid(kit: Kit, node: NodeId) -> StoredSvid:
    assert node in NODES
    state = kit.fabric.layout.node(node)
    assert await DiskStore(state / "disk").get(BUCKET, KEY) is None, "no disk ever holds the key"
    memory = memory_store(state)
    assert memory is not None
    entry = await memory.get(BUCKET, KEY)
    assert entry is not None
    return canonical.decode(entry.value or b"", StoredSvid)


async def _is_let_in(kit: Kit, peer: NodeId, svid: StoredSvid) -> bool:
    """Whether a peer's mesh speaks HTTP/2 to the holder of this SVID: its settings are the first thing it sends."""
    context = client_context(svid.svid.bundle_pem)
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    with tempfile.NamedTemporaryFile() as pem:
        pem.write(svid.svid.certificate_chain_pem + svid.private_key_pem)
        pem.flush()
        context.load_cert_chain(pem.name)
    host, _, port = kit.fabric.nodes[peer].mesh.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    except (OSError, ssl.SSLError):
        return False
    try:
        return bool(await reader.read(1))
    except (OSError, ssl.SSLError):
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
