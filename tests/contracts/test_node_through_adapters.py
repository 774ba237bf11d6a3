"""A node's credential through the real adapters and a cuttable uplink: what the ports need is granted, no more.

Operator mode, memory resolver and TLS as in production; the certificate rotates under a running server.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from hanse.adapters.domain_files import Domain, init_domain, issue_server
from hanse.adapters.entropy import SystemEntropy
from hanse.adapters.nats_blobs import NatsBlobs
from hanse.adapters.nats_buckets import ensure_buckets
from hanse.adapters.nats_link import LinkConfig, NatsCredentials, NatsLink
from hanse.adapters.nats_server import NatsServer, server_config
from hanse.adapters.nats_store import NatsStore
from hanse.adapters.uplink import Uplink
from hanse.core.errors import StoreError
from hanse.core.ids import NodeId
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
from hanse.identity.nats_jwt import user_jwt
from hanse.wire import subjects

pytestmark = pytest.mark.substrate

BERLIN, PARIS = NodeId("berlin-1"), NodeId("paris-1")
WAIT_S = 60
"""For a hang alone."""


@dataclass(frozen=True)
class Fabric:
    """A server, a controller's link to it, a node's link through an uplink."""

    folder: Path
    domain: Domain
    server: NatsServer
    config: str
    uplink: Uplink
    control: NatsLink
    node: NatsLink


@asynccontextmanager
async def fabric(folder: Path) -> AsyncIterator[Fabric]:
    now = WallTime(time.time_ns() // 1_000)
    domain = init_domain(folder, "hanse.local", now, SystemEntropy())
    parts = issue(folder, domain, "nats")
    config = server_config(
        server_name="n1",
        host="127.0.0.1",
        port=0,
        store_dir=str(folder / "jetstream"),
        run_dir=str(folder / "run"),
        security=nats_auth_config(domain.nats_trust(), parts),
    )
    server = NatsServer(config=config, run_dir=folder / "run")
    await server.start()
    uplink = await Uplink.start(("127.0.0.1", server.port))
    user = nkey_from_secret("user", b"\x11" * 32)
    node_jwt = user_jwt(domain.authority.account, user.public, BERLIN, now, permissions=node_permissions(BERLIN))
    try:
        async with (
            link(
                "controller",
                server.port,
                domain.controller_jwt,
                domain.controller_user.seed,
                folder,
                ingest=domain.ingest,
            ) as control,
            link(
                BERLIN,
                uplink.address[1],
                node_jwt,
                user.seed,
                folder,
                inbox_prefix=inbox_prefix(BERLIN),
                api=NODE_API,
                ingest=NODE_INGEST,
                deliver_prefix=deliver_prefix(BERLIN),
            ) as node,
        ):
            await control.wait_connected(WAIT_S * US_PER_S)
            await ensure_buckets(control, subjects.BUCKETS, artifacts=[subjects.ARTIFACTS], replicas=1)
            await node.wait_connected(WAIT_S * US_PER_S)
            yield Fabric(folder, domain, server, config, uplink, control, node)
    finally:
        await uplink.close()
        await server.stop()


def issue(folder: Path, domain: Domain, name: str) -> ServerTls:
    chain, key = issue_server(domain, name, now=WallTime(time.time_ns() // 1_000), entropy=SystemEntropy())
    parts = {"certificate": chain, "key": key, "bundle": domain.bundle_pem}
    for part, data in parts.items():
        (folder / f"{name}.{part}").write_bytes(data)
    return ServerTls(**{part: str(folder / f"{name}.{part}") for part in parts})


def link(name: str, port: int, jwt: str, seed: str, folder: Path, **more: str) -> NatsLink:
    config = LinkConfig(
        urls=(f"nats://127.0.0.1:{port}",), name=name, server_name="localhost",
        connect_timeout_us=WAIT_S * US_PER_S, request_timeout_us=WAIT_S * US_PER_S, **more,  # type: ignore[arg-type]
    )  # fmt: skip
    credentials = NatsCredentials(jwt=jwt, seed=seed)
    return NatsLink(config, rng=random.Random(1), credentials=lambda: credentials, tls=lambda: trusting(folder))


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "nats.bundle"))


def run(folder: Path, scenario: Callable[[Fabric], object]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(3 * WAIT_S), fabric(folder) as made:
            await scenario(made)  # type: ignore[misc]

    asyncio.run(bounded())


async def code_of(doing: object) -> str:
    with pytest.raises(StoreError) as denied:
        await doing  # type: ignore[misc]
    return denied.value.code


def test_a_node_does_all_that_its_ports_ask_and_no_more(tmp_path: Path) -> None:
    async def scenario(fabric: Fabric) -> None:
        control, node = NatsStore(fabric.control), NatsStore(fabric.node)
        digest = await NatsBlobs(fabric.control).put(b"component" * 100_000)
        for who in (BERLIN, PARIS):
            await control.put(subjects.ORDERS, f"{who}.clinic.triage.0.1", who.encode())
        await control.put(subjects.ROUTES, "clinic.triage", b"route")

        assert [entry.key for entry in await node.entries(subjects.ORDERS, BERLIN)] == [f"{BERLIN}.clinic.triage.0.1"]
        assert [entry.value for entry in await node.entries(subjects.ROUTES)] == [b"route"]
        assert await node.entries(subjects.TRUST) == []
        assert len(await NatsBlobs(fabric.node).get(digest)) == 900_000
        await node.put(subjects.REPORTS, f"{BERLIN}.clinic.triage.0.1", b"report")
        await node.put(subjects.PRESENCE, BERLIN, b"presence")

        for bucket, prefix in (
            (subjects.ORDERS, PARIS),
            (subjects.ORDERS, ""),
            (subjects.REPORTS, ""),
            (subjects.PRESENCE, ""),
            (subjects.SPECS, ""),
            (subjects.NODES, ""),
            (subjects.PLANS, ""),
            (subjects.LEASES, ""),
        ):
            assert await code_of(node.entries(bucket, prefix)) == "store.denied", bucket
        for bucket, key in (
            (subjects.ORDERS, f"{BERLIN}.x"),
            (subjects.REPORTS, f"{PARIS}.x"),
            (subjects.PRESENCE, PARIS),
            (subjects.LEASES, "controller"),
            (subjects.ROUTES, "clinic.triage"),
        ):
            assert await code_of(node.put(bucket, key, b"forged")) == "store.denied", bucket
        assert await code_of(node.get(subjects.ORDERS, f"{PARIS}.clinic.triage.0.1")) == "store.denied"

    run(tmp_path, scenario)


def test_a_cut_uplink_is_felt_and_the_watch_catches_up_when_it_returns(tmp_path: Path) -> None:
    async def scenario(fabric: Fabric) -> None:
        control, watch = NatsStore(fabric.control), NatsStore(fabric.node).watch(subjects.ORDERS, BERLIN)
        assert await anext(watch) is None
        connection = fabric.node.current()
        fabric.uplink.cut()
        await connection.lost.wait()
        await control.put(subjects.ORDERS, f"{BERLIN}.while.cut.0.1", b"order")
        fabric.uplink.restore()
        seen = await anext(watch)
        assert seen is not None
        assert seen.key == f"{BERLIN}.while.cut.0.1"
        await watch.aclose()

    run(tmp_path, scenario)


def test_the_server_takes_a_renewed_certificate_without_a_restart(tmp_path: Path) -> None:
    async def scenario(fabric: Fabric) -> None:
        issue(fabric.folder, fabric.domain, "nats")
        renewed = x509.load_pem_x509_certificate((fabric.folder / "nats.certificate").read_bytes()).serial_number
        fabric.server.reload(fabric.config)
        while await served_serial(fabric) != renewed:
            pass  # each look waits for the server; the deadline is the scenario's
        assert fabric.control.is_connected()

    run(tmp_path, scenario)


async def served_serial(fabric: Fabric) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", fabric.server.port)
    await reader.readline()  # INFO comes in the clear, then TLS begins
    await writer.start_tls(trusting(fabric.folder), server_hostname="localhost")
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(der).serial_number
