"""What a node keeps on its own disk: verified again at every start, and one bad record never hides the others."""

from __future__ import annotations

import pytest
from room_kit import CONTROLLER, INSTANCE, ME, START, STRANGER, TRUSTED, Room, order, report, run, sealed, workload

from hanse.core.ids import InstanceId
from hanse.core.time import WallTime
from hanse.node.disk import NodeDisk
from hanse.node.judge import Held
from hanse.wire import envelope
from hanse.wire.messages import RouteRecord


def route(name: str) -> RouteRecord:
    return RouteRecord(workload=workload(name).id, path=f"/{name}", host=None, replicas=(), generation=1)


def test_each_start_counts():
    async def scenario(room: Room) -> None:
        counts = [await NodeDisk(room.node_ports().disk).next_incarnation() for _ in range(3)]
        assert counts == [1, 2, 3]

    run(scenario)


def test_what_was_kept_is_there_after_a_restart():
    async def scenario(room: Room) -> None:
        data = sealed(order())
        before = NodeDisk(room.node_ports().disk)
        await before.keep_order(Held(order=order(), sealed=data, digest=""))
        await before.keep_report(report(), envelope.seal(report(), CONTROLLER))
        await before.keep_route(workload().id, sealed(route("triage")))
        after = NodeDisk(room.node_ports().disk)
        held = await after.load_orders(me=ME, trusted=TRUSTED, now=START)
        assert {one: held[one].order for one in held} == {INSTANCE: order()}
        assert {one: told for one, (told, _) in (await after.load_reports()).items()} == {INSTANCE: report()}
        assert await after.load_routes(TRUSTED) == {workload().id: route("triage")}
        await after.drop_order(INSTANCE)
        await after.drop_route(workload().id)
        assert await after.load_orders(me=ME, trusted=TRUSTED, now=START) == {}
        assert await after.load_reports() == {}
        assert await after.load_routes(TRUSTED) == {}

    run(scenario)


BAD_ORDERS = {
    "no message": b"\x00garbage",
    "of a stranger": envelope.seal(order(instance=InstanceId("clinic.triage.0.9")), STRANGER),
    "under another key": sealed(order()),
    "expired": sealed(order(instance=InstanceId("clinic.triage.0.9"), expires_us=WallTime(START - 1))),
}


@pytest.mark.parametrize("kind", BAD_ORDERS)
def test_a_bad_record_is_named_and_left_out_and_the_rest_is_read(kind: str, capsys: pytest.CaptureFixture[str]):
    async def scenario(room: Room) -> None:
        disk = NodeDisk(room.node_ports().disk)
        await disk.keep_order(Held(order=order(), sealed=sealed(order()), digest=""))
        await disk.keep_route(workload().id, sealed(route("triage")))
        await disk.keep_report(report(), envelope.seal(report(), CONTROLLER))
        for bucket in ("orders", "routes", "reports"):
            room.disk.put(bucket, "clinic.triage.0.9", BAD_ORDERS[kind], None)
        room.disk.put("meta", "incarnation", b"many", None)
        held = await disk.load_orders(me=ME, trusted=TRUSTED, now=START)
        assert set(held) == {INSTANCE}
        assert set(await disk.load_routes(TRUSTED)) == {workload().id}
        assert set(await disk.load_reports()) == {INSTANCE}
        assert await disk.next_incarnation() == 1
        assert room.disk.get("orders", "clinic.triage.0.9") is not None, "left where it lies, for a person to look at"

    run(scenario)
    said = capsys.readouterr().out
    for record in ("orders/clinic.triage.0.9", "routes/clinic.triage.0.9", "meta/incarnation"):
        assert record in said
