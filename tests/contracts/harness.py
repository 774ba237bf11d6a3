"""The backends that every contract suite runs over: two clients on one state, and a wire that can be cut."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hanse.adapters.disk_blobs import DiskBlobs
from hanse.adapters.disk_store import DiskStore
from hanse.adapters.nats_blobs import NatsBlobs
from hanse.adapters.nats_buckets import ensure_buckets
from hanse.adapters.nats_bus import NatsBus
from hanse.adapters.nats_store import NatsStore
from hanse.core.ids import Digest
from hanse.core.ports import Blobs, Bus, Store
from hanse.core.time import US_PER_MS
from hanse.twin.ports.blobs import BlobServer, MemoryBlobs
from hanse.twin.ports.bus import MemoryBus, Switch
from hanse.twin.ports.link import Conditions, Link
from hanse.twin.ports.store import KvServer, MemoryStore
from substrate import NatsFixture, Wire, linked, unique


@dataclass(frozen=True, kw_only=True)
class Side:
    """One client's wire: cut and heal it, and close the client."""

    cut: Callable[[], Awaitable[None]]
    heal: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    is_connected: Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Stores:
    """`mine` is behind the wire of `side` (None: no wire to cut); `other` reads and writes the same state."""

    mine: Store
    other: Store
    bucket: str
    side: Side | None


@dataclass(frozen=True, kw_only=True)
class Buses:
    """`mine` is behind the wire of `side`; `other` is not. Subjects start with `root`."""

    mine: Bus
    other: Bus
    root: str
    side: Side


@dataclass(frozen=True, kw_only=True)
class BlobStores:
    """`damage` makes the stored bytes of a digest differ from what the digest says."""

    mine: Blobs
    other: Blobs
    damage: Callable[[Digest, Digest], Awaitable[None]]


def memory_link(name: str) -> Link:
    conditions = Conditions(rng=random.Random(name), detect_us=US_PER_MS, reconnect_us=US_PER_MS)
    return Link(name, conditions)


def memory_side(link: Link) -> Side:
    async def cut() -> None:
        link.conditions.cut()

    async def heal() -> None:
        link.conditions.heal()

    async def close() -> None:
        link.close()

    return Side(cut=cut, heal=heal, close=close, is_connected=link.is_connected)


@asynccontextmanager
async def memory_stores() -> AsyncIterator[Stores]:
    server, link = KvServer(["state"]), memory_link("mine")
    other = MemoryStore(server, memory_link("other"))
    yield Stores(mine=MemoryStore(server, link), other=other, bucket="state", side=memory_side(link))


@asynccontextmanager
async def disk_stores(root: Path) -> AsyncIterator[Stores]:
    store = DiskStore(root)
    yield Stores(mine=store, other=store, bucket="state", side=None)


@asynccontextmanager
async def nats_stores(nats: NatsFixture) -> AsyncIterator[Stores]:
    bucket = unique("state")
    async with Wire(nats.port) as wire, linked(wire.port, "mine") as link, linked(nats.port, "other") as other:
        await ensure_buckets(other, [bucket], artifacts=[], replicas=1)
        side = Side(cut=wire.cut, heal=wire.heal, close=link.stop, is_connected=link.is_connected)
        yield Stores(mine=NatsStore(link), other=NatsStore(other), bucket=bucket, side=side)


@asynccontextmanager
async def memory_buses() -> AsyncIterator[Buses]:
    switch, link = Switch(), memory_link("mine")
    other = MemoryBus(switch, memory_link("other"))
    yield Buses(mine=MemoryBus(switch, link), other=other, root="test", side=memory_side(link))


@asynccontextmanager
async def nats_buses(nats: NatsFixture) -> AsyncIterator[Buses]:
    async with Wire(nats.port) as wire, linked(wire.port, "mine") as link, linked(nats.port, "other") as other:
        side = Side(cut=wire.cut, heal=wire.heal, close=link.stop, is_connected=link.is_connected)
        yield Buses(mine=NatsBus(link), other=NatsBus(other), root=unique("test"), side=side)


@asynccontextmanager
async def memory_blobs() -> AsyncIterator[BlobStores]:
    server = BlobServer()

    async def damage(digest: Digest, _with: Digest) -> None:
        server.damage(digest)

    yield BlobStores(
        mine=MemoryBlobs(server, memory_link("mine")), other=MemoryBlobs(server, memory_link("other")), damage=damage
    )


@asynccontextmanager
async def disk_blobs(root: Path) -> AsyncIterator[BlobStores]:
    async def damage(digest: Digest, _with: Digest) -> None:
        name = digest.removeprefix("sha256:")
        path = root / name[:2] / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        await asyncio.to_thread(path.write_bytes, data)

    yield BlobStores(mine=DiskBlobs(root), other=DiskBlobs(root), damage=damage)


@asynccontextmanager
async def nats_blobs(nats: NatsFixture) -> AsyncIterator[BlobStores]:
    bucket = unique("artifacts")
    async with linked(nats.port, "mine") as link, linked(nats.port, "other") as other:
        await ensure_buckets(other, [], artifacts=[bucket], replicas=1)

        async def damage(digest: Digest, replacement: Digest) -> None:
            """Point the meta message of one blob to the chunks of another."""
            subject, other_subject = (
                f"$O.{bucket}.M.{base64.urlsafe_b64encode(one.removeprefix('sha256:').encode()).decode()}"
                for one in (digest, replacement)
            )
            meta = json.loads((await other.request(f"$JS.API.DIRECT.GET.OBJ_{bucket}.{other_subject}")).data)
            await other.request(subject, json.dumps(meta).encode(), headers={"Nats-Rollup": "sub"})

        yield BlobStores(mine=NatsBlobs(link, bucket=bucket), other=NatsBlobs(other, bucket=bucket), damage=damage)
