"""Reports on their way: each change once, kept on disk until it is delivered, the newest level at last."""

from __future__ import annotations

import asyncio

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from room_kit import INSTANCE, ME, NODE_SIGNER, Room, report, run

from hanse.core.ids import InstanceId
from hanse.core.snapshot import Phase
from hanse.node.disk import NodeDisk
from hanse.node.outbox import Outbox
from hanse.wire import envelope
from hanse.wire.messages import Report


async def started(room: Room) -> Outbox:
    ports = room.node_ports()
    outbox = Outbox(ports, NodeDisk(ports.disk), me=ME)
    await outbox.load()
    asyncio.get_running_loop().create_task(outbox.run())
    return outbox


def revision(room: Room, instance: InstanceId = INSTANCE) -> int:
    entry = room.kv.get("reports", f"{ME}.{instance}")
    return 0 if entry is None else entry.revision


def test_a_report_is_delivered_sealed_by_the_node():
    async def scenario(room: Room) -> None:
        outbox = await started(room)
        await outbox.put(report())
        await room.until(lambda: room.told() is not None)
        entry = room.kv.get("reports", f"{ME}.{INSTANCE}")
        assert entry is not None and entry.value is not None
        trusted = {NODE_SIGNER.key_id: NODE_SIGNER.public_key}
        assert envelope.open_sealed(entry.value, Report, trusted).message == report()

    run(scenario)


def test_the_same_news_again_is_no_news():
    async def scenario(room: Room) -> None:
        outbox = await started(room)
        await outbox.put(report())
        await room.until(lambda: room.told() is not None)
        before = revision(room)
        await outbox.put(msgspec.structs.replace(report(), since_us=report().since_us + 1, order_digest="other"))
        await asyncio.sleep(30)
        assert revision(room) == before

    run(scenario)


def test_what_was_told_in_the_dark_arrives_after_a_restart_when_the_link_returns():
    async def scenario(room: Room) -> None:
        room.wire.cut()
        outbox = await started(room)
        await outbox.put(report())
        await asyncio.sleep(60)
        assert room.told() is None
        await started(room)  # another life, from the same disk
        await asyncio.sleep(60)
        room.wire.heal()
        await room.until(lambda: room.told() == report(), within_s=6.0)

    run(scenario)


def test_only_once_delivered_is_an_instance_forgotten():
    async def scenario(room: Room) -> None:
        room.wire.cut()
        outbox = await started(room)
        forgotten: list[InstanceId] = []

        async def forget(instance: InstanceId) -> None:
            forgotten.append(instance)

        await outbox.put(report(phase=Phase.STOPPED))
        outbox.forget_when_delivered(INSTANCE, forget)
        await asyncio.sleep(60)
        assert forgotten == []
        room.wire.heal()
        await room.until(lambda: forgotten == [INSTANCE])
        assert room.told() == report(phase=Phase.STOPPED)

    run(scenario)


STEPS = st.lists(
    st.one_of(st.sampled_from(["cut", "heal", "restart"]), st.sampled_from([Phase.RUNNING, Phase.FAILED])), max_size=12
)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.integers(1, 5_000))
def test_never_does_an_older_level_end_up_in_the_store(steps: list[str | Phase], pause_ms: int):
    async def scenario(room: Room) -> None:
        outbox, last, cuts = await started(room), None, 0
        for number, step in enumerate(steps):
            if step == "cut":
                room.wire.cut()
                cuts += 1
            elif step == "heal" and cuts:
                room.wire.heal()
                cuts -= 1
            elif isinstance(step, Phase):
                last = report(phase=step, reason=f"change {number}")
                await outbox.put(last)
            await asyncio.sleep(pause_ms / 1_000)
        for _ in range(cuts):
            room.wire.heal()
        await asyncio.sleep(30)
        assert room.told() == last

    run(scenario)
