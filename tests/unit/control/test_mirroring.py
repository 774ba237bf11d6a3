"""Two domains, one keeping a copy of the other's log, over the real API: upload, interruption, forgery, restart."""

from __future__ import annotations

import gzip
from typing import cast

import httpx
import pytest
from domain_kit import Domain, domain
from ledger_kit import DictStore, run

from hanse.app.mirroring import send_one
from hanse.control.known_logs import name_of
from hanse.control.ledger_check import fsck
from hanse.control.ledger_reader import LedgerReader
from hanse.control.mirror import bucket_of
from hanse.ledger.cosignature import verify_lines
from hanse.ledger.mirror import Package, Upload, parse_info
from hanse.ledger.note import parse

URL = "https://south.test/mirror"
ORIGIN = "north.test/ledger"


async def made_friends() -> tuple[Domain, Domain]:
    """South keeps a copy of north's log."""
    north, south = domain(1, "north.test"), domain(2, "south.test")
    await north.writer.open()
    policy = (await north.api.get("/api/v1/ledger/policy")).text
    assert (await south.api.put("/api/v1/mirror/logs", json={"policy": policy})).json() == {"origin": ORIGIN}
    keys = (await south.api.get("/api/v1/mirror/keys")).json()
    lines = [f"witness south-{number} {vkey} {URL}" for number, vkey in enumerate(keys)]
    text = "\n".join([*lines, "group south all south-0 south-1", "quorum south", ""])
    assert (await north.api.put("/api/v1/ledger/mirrors", json={"policy": text})).status_code == 202
    return north, south


async def send(north: Domain, south: Domain, client: httpx.AsyncClient | None = None) -> None:
    """What the leader does every few seconds."""
    for target in await north.controller.mirroring.cosigners.targets():
        await send_one(north.controller, client or south.api, target)


async def mirrored_size(south: Domain) -> int:
    (view,) = (await south.api.get("/api/v1/mirror/logs")).json()
    return int(view["size"])


def copy_of(north: Domain, south: Domain) -> LedgerReader:
    return LedgerReader(south.ports.ledger, ORIGIN, north.controller.journal.keys, bucket_of(ORIGIN))


def test_a_copy_is_whole_at_every_size_and_carries_the_mirrors_lines() -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        last = 0
        for size in (1, 5, 255, 256, 257, 300, 1000, 1024, 33_000, 66_000):
            await north.grow(last, size)
            await send(north, south)
            health = await fsck(copy_of(north, south))
            assert (health.size, health.findings) == (size, ())
            last = size
        assert (await north.api.get("/api/v1/ledger/mirrors")).json() == {
            "size": 66_000,
            "mirrors": [{"url": URL, "size": 66_000}],
        }
        open_reader = httpx.AsyncClient(transport=south.api._transport, base_url="https://south.test")
        prefix = f"/mirror/{name_of(ORIGIN)}"
        note = (await open_reader.get(f"{prefix}/checkpoint")).content
        keys = (*north.controller.journal.keys, *south.controller.mirror.keys)
        assert {line.key for line in verify_lines(parse(note), keys)} == set(keys)
        assert (await open_reader.get(f"{prefix}/tile/0/000")).status_code == 200
        assert (await open_reader.get(f"{prefix}/tile/9/999")).status_code == 404
        assert (await open_reader.get(f"{prefix}/../../etc/passwd")).status_code == 404

    run(scenario())


def test_superseded_partial_files_do_not_pile_up() -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        for size in range(1, 40):
            await north.grow(size - 1, size)
            await send(north, south)
        files = [key for bucket, key in cast(DictStore, south.ports.ledger).rows if bucket == bucket_of(ORIGIN)]
        assert sorted(files) == ["checkpoint", "tile.0.000.p.39", "tile.entries.000.p.39"]

    run(scenario())


class Cut(httpx.AsyncBaseTransport):
    """A line that breaks inside the bodies of uploads: after so many bytes of each."""

    def __init__(self, inner: httpx.AsyncBaseTransport, after: int) -> None:
        self._inner = inner
        self._after = after

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        if request.url.path.endswith("add-entries"):
            body = body[: self._after]
        cut = httpx.Request(request.method, request.url, headers={"authorization": "Bearer secret"}, content=body)
        return await self._inner.handle_async_request(cut)


@pytest.mark.parametrize("after", [10, 4_000, 9_000])
def test_an_upload_that_breaks_off_goes_on_where_it_broke(after: int) -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        await north.grow(0, 1_500)
        line = httpx.AsyncClient(transport=Cut(south.api._transport, after), base_url="https://south.test")
        await send(north, south, line)
        # Each body brings at least one package of 256 short entries, or none at all.
        assert await mirrored_size(south) == (0 if after < 4_000 else 1_500)
        await send(north, south)
        assert (await fsck(copy_of(north, south))).findings == ()
        assert await mirrored_size(south) == 1_500

    run(scenario())


def test_a_new_leader_and_a_new_mirror_process_go_on_from_what_lies_there() -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        await north.grow(0, 600)
        await send(north, south)
        north.controller.mirroring._held.clear()
        north.controller.mirroring.cosigners.sizes.clear()
        again = domain(2, "south.test", store=cast(DictStore, south.ports.store))
        cast(DictStore, again.ports.ledger).rows = cast(DictStore, south.ports.ledger).rows
        await north.grow(600, 900)
        await send(north, again)
        assert (await fsck(copy_of(north, again))).size == 900

    run(scenario())


def test_entries_that_are_not_the_logs_are_refused_and_nothing_of_them_stays() -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        await north.grow(0, 300)
        head = await north.controller.journal.head()
        assert head is not None
        await south.api.post("/mirror/add-checkpoint", content=b"old 0\n\n" + head.note)
        before = dict(cast(DictStore, south.ports.ledger).rows)
        proof = await north.controller.journal.subtree(0, 256, 300)
        forged = Package(entries=tuple(b"forged %d" % at for at in range(256)), proof=proof)
        body = Upload(origin=ORIGIN, start=0, end=300).encode() + forged.encode()
        assert (await south.api.post("/mirror/add-entries", content=body)).status_code == 422
        assert cast(DictStore, south.ports.ledger).rows == before
        assert await mirrored_size(south) == 0

    run(scenario())


def test_the_standards_answers() -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        await north.grow(0, 300)
        post = south.api.post
        nothing = await post("/mirror/add-entries", content=Upload(origin=ORIGIN, start=0, end=0).encode())
        assert (nothing.status_code, parse_info(nothing.content).size) == (409, 0)
        assert nothing.headers["content-type"].startswith("text/x.tlog.mirror-info")
        await send(north, south)
        unknown = await post("/mirror/add-entries", content=Upload(origin="east.test/ledger", start=0, end=1).encode())
        assert unknown.status_code == 404
        ahead = await post("/mirror/add-entries", content=Upload(origin=ORIGIN, start=301, end=400).encode())
        info = parse_info(ahead.content)
        assert (ahead.status_code, info.size, info.next_entry) == (409, 300, 300)
        assert (await post("/mirror/add-entries", content=b"")).status_code == 400
        assert (await post("/mirror/add-entries", content=b"\xff" * 100)).status_code == 400

    run(scenario())


def test_packed_bodies_are_taken_and_bombs_are_not_unpacked_whole() -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        await north.grow(0, 10)
        head = await north.controller.journal.head()
        assert head is not None
        await south.api.post("/mirror/add-checkpoint", content=b"old 0\n\n" + head.note)
        upload = Upload(origin=ORIGIN, start=0, end=10)
        body = b"".join([piece async for piece in north.controller.mirroring.body(upload)])
        packed = {"content-encoding": "gzip"}
        bomb = gzip.compress(upload.encode() + bytes(64 << 20))
        refused = await south.api.post("/mirror/add-entries", content=bomb, headers=packed)
        assert refused.status_code == 422
        damaged = gzip.compress(body)[:-20]
        assert (await south.api.post("/mirror/add-entries", content=damaged, headers=packed)).status_code in {200, 400}
        taken = await south.api.post("/mirror/add-entries", content=gzip.compress(body), headers=packed)
        assert taken.status_code == 200

    run(scenario())


def test_a_forked_log_raises_the_alarm_and_the_copy_stays_as_it_was() -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        await north.grow(0, 300)
        await send(north, south)
        other = domain(1, "north.test", store=cast(DictStore, north.ports.store))
        await other.writer.open()
        await other.grow(0, 500, word="rewritten")
        await send(other, south)
        alarms = (await other.api.get("/api/v1/ledger/witnesses")).json()["alarms"]
        assert [alarm["url"] for alarm in alarms] == [URL]
        (view,) = (await south.api.get("/api/v1/mirror/logs")).json()
        assert (view["size"], view["log"]["split_size"]) == (300, 500)
        assert (await fsck(copy_of(north, south))).findings == ()
        assert (await other.api.delete("/api/v1/ledger/alarms", params={"url": URL})).json() == {"settled": True}
        assert (await south.api.delete("/api/v1/witness/splits", params={"origin": ORIGIN})).json() == {"settled": True}
        assert (await other.api.get("/api/v1/ledger/witnesses")).json()["alarms"] == []

    run(scenario())
