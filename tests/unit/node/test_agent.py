"""The whole agent on memory ports: what is ordered runs, what is refused is told, and silence stops nothing."""

from __future__ import annotations

import asyncio

import pytest
from room_kit import (
    COMPONENT,
    INSTANCE,
    ME,
    NODE_SIGNER,
    START,
    STRANGER,
    WORKLOAD,
    Room,
    node_config,
    order,
    run,
    workload,
)  # fmt: skip

from hanse.core.ids import InstanceId
from hanse.core.layer import Policy
from hanse.core.ports import NodePorts
from hanse.core.snapshot import Phase
from hanse.core.time import US_PER_S, WallTime
from hanse.node import build_node
from hanse.node.surveying import survey
from hanse.twin.ports.runtime import MemoryRuntime
from hanse.wire import envelope
from hanse.wire.messages import Order, SurveyTarget

FENCE = """@id("fence.no-core")
@cite("house rule 2")
@message("{node} is in the core")
forbid (principal is Workload, action == Action::"place", resource is Node)
when { resource.tier == "core" };"""
SECOND = InstanceId("clinic.triage.0.2")
KEY = f"{ME}.{INSTANCE}"
GRANT_US = 120 * US_PER_S
"""Short, so that a test plays through it in little real time."""


class Life:
    """One process of the node."""

    def __init__(self, room: Room, *, owner_policy: str = "") -> None:
        self.ports: NodePorts = room.node_ports()
        self.agent = build_node(self.ports, node_config(owner_policy=owner_policy))
        self.task = asyncio.get_running_loop().create_task(self.agent.run())

    def running(self) -> tuple[str, ...]:
        assert isinstance(self.ports.runtime, MemoryRuntime)
        return tuple(self.ports.runtime.running())

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def serving(room: Room, given: Order | None = None) -> Life:
    """A node that runs an order and has told so."""
    room.artifacts.put(workload().artifact, COMPONENT)
    room.order(given or order())
    life = Life(room)
    await room.until(lambda: (told := room.told()) is not None and told.phase is Phase.RUNNING)
    assert life.running() == (WORKLOAD,)
    return life


def test_an_order_is_carried_out_and_answered():
    async def scenario(room: Room) -> None:
        await serving(room)
        told = room.told()
        assert told is not None
        assert (told.generation, told.code, told.artifact) == (1, "", workload().artifact)

    run(scenario)


def test_it_starts_all_its_work_from_its_own_disk_with_no_link():
    async def scenario(room: Room) -> None:
        await (await serving(room)).end()
        room.wire.cut()
        again = Life(room)
        await room.until(lambda: again.running() == (WORKLOAD,), within_s=5.0)
        assert again.agent.held[INSTANCE].order == order()

    run(scenario)


def test_a_vanished_order_stops_nothing_not_even_after_a_restart():
    async def scenario(room: Room) -> None:
        life = await serving(room)
        room.kv.delete("orders", KEY, None)
        await asyncio.sleep(120)
        assert life.running() == (WORKLOAD,)
        await life.end()
        again = Life(room)
        await room.until(lambda: again.running() == (WORKLOAD,))
        await asyncio.sleep(120)
        assert again.running() == (WORKLOAD,)

    run(scenario)


def test_a_node_nobody_hears_of_stops_its_work_when_the_grant_expires_and_not_before():
    async def scenario(room: Room) -> None:
        life = await serving(room, order(expires_us=WallTime(START + GRANT_US)))
        room.wire.cut()
        await asyncio.sleep(110)
        assert life.running() == (WORKLOAD,)
        await room.until(lambda: life.running() == (), within_s=30.0)
        room.wire.heal()
        await room.until(lambda: (told := room.told()) is not None and told.code == "order.expired")

    run(scenario)


def test_a_renewed_order_goes_on_without_a_restart_of_the_work():
    async def scenario(room: Room) -> None:
        life = await serving(room, order(expires_us=WallTime(START + GRANT_US)))
        room.order(order(generation=2, expires_us=WallTime(START + 3 * GRANT_US)))
        await asyncio.sleep(240)
        assert life.running() == (WORKLOAD,)
        loads = [line for line in await life.ports.runtime.logs(WORKLOAD, 0, 100) if line.text.startswith("loaded")]
        assert len(loads) == 1

    run(scenario)


REFUSED = {
    "signed by a stranger": (KEY, envelope.seal(order(generation=2, wanted=False), STRANGER)),
    "no message": (KEY, b"stop everything"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_work_goes_on_under_the_order_that_stands_when_another_one_is_refused(
    kind: str, capsys: pytest.CaptureFixture[str]
):
    async def scenario(room: Room) -> None:
        life = await serving(room)
        room.put(*REFUSED[kind])
        await asyncio.sleep(60)
        assert life.running() == (WORKLOAD,)
        told = room.told()
        assert told is not None
        assert told.phase is Phase.RUNNING, "the refusal does not hide that it runs"

    run(scenario)
    assert "order.refused" in capsys.readouterr().out


def test_an_older_generation_is_refused_and_the_work_goes_on(capsys: pytest.CaptureFixture[str]):
    async def scenario(room: Room) -> None:
        life = await serving(room, order(generation=5))
        room.order(order(generation=4, wanted=False))
        await asyncio.sleep(60)
        assert life.running() == (WORKLOAD,)

    run(scenario)
    assert "order.old_generation" in capsys.readouterr().out


def test_an_expired_order_is_refused_and_its_sender_told_why():
    async def scenario(room: Room) -> None:
        room.order(order(expires_us=WallTime(START - 1)))
        life = Life(room)
        await room.until(lambda: room.told() is not None)
        told = room.told()
        assert told is not None
        assert (told.phase, told.code) == (Phase.REFUSED, "order.expired")
        assert life.running() == ()

    run(scenario)


def test_the_owner_of_the_node_may_say_no():
    async def scenario(room: Room) -> None:
        room.artifacts.put(workload().artifact, COMPONENT)
        room.order(order())
        owner = (
            '@id("no-clinic")\n@cite("house rule 7")\n@message("not the clinic")\nforbid (principal, action, resource);'
        )
        life = Life(room, owner_policy=owner)
        await room.until(lambda: room.told() is not None)
        told = room.told()
        assert told is not None
        assert (told.phase, told.code) == (Phase.REFUSED, "policy.owner.no-clinic")
        assert told.reason == "not the clinic (house rule 7)"
        assert life.running() == ()

    run(scenario)


def test_a_stop_is_carried_out_told_and_forgotten():
    async def scenario(room: Room) -> None:
        life = await serving(room)
        room.order(order(generation=2, wanted=False, reason="the plan dropped it"))
        await room.until(lambda: (told := room.told()) is not None and told.phase is Phase.STOPPED)
        assert life.running() == ()
        await room.until(lambda: not life.agent.held)
        assert room.disk.get("orders", INSTANCE) is None

    run(scenario)


def test_an_update_swaps_the_work_without_a_gap():
    async def scenario(room: Room) -> None:
        life = await serving(room)
        fresh = workload(generation=2, component=b"edition two")
        room.artifacts.put(fresh.artifact, b"edition two")
        room.order(order(fresh, instance=SECOND))
        gaps = []

        def is_updated() -> bool:
            gaps.append(life.running() == ())
            return (told := room.told(SECOND)) is not None and told.phase is Phase.RUNNING

        await room.until(is_updated)
        room.order(order(generation=2, wanted=False))
        await room.until(lambda: (told := room.told()) is not None and told.phase is Phase.STOPPED)
        assert life.running() == (WORKLOAD,)
        assert not any(gaps)

    run(scenario)


def test_a_failure_is_told_tried_again_and_healed():
    async def scenario(room: Room) -> None:
        room.order(order())
        life = Life(room)
        await room.until(lambda: (told := room.told()) is not None and told.phase is Phase.FAILED)
        told = room.told()
        assert told is not None
        assert told.code == "blob.missing"
        await asyncio.sleep(60)
        room.artifacts.put(workload().artifact, COMPONENT)
        await room.until(lambda: life.running() == (WORKLOAD,), within_s=15.0)
        await room.until(lambda: (told := room.told()) is not None and told.phase is Phase.RUNNING)

    run(scenario)


def test_a_bad_record_on_the_disk_keeps_no_other_work_from_starting():
    async def scenario(room: Room) -> None:
        await (await serving(room)).end()
        for bucket, key in (
            ("orders", SECOND), ("reports", SECOND), ("routes", "clinic.other"), ("identity", "svid"),
            ("meta", "incarnation"),
        ):  # fmt: skip
            room.disk.put(bucket, key, b"\xff\x00 not a record", None)
        room.wire.cut()
        again = Life(room)
        await room.until(lambda: again.running() == (WORKLOAD,), within_s=5.0)
        assert not again.task.done()

    run(scenario)


def test_the_domains_policies_are_asked_on_the_node_again():
    """A controller that orders what a submitted policy forbids is refused, as by any rule."""

    async def scenario(room: Room) -> None:
        room.artifacts.put(workload().artifact, COMPONENT)
        fence = Policy(name="fence", about="a", rules=FENCE)
        room.order(order(policies=(fence,)))
        life = Life(room)
        await room.until(lambda: room.told() is not None)
        told = room.told()
        assert told is not None
        assert (told.phase, told.code) == (Phase.REFUSED, "policy.fence.no-core")
        assert life.running() == ()

    run(scenario)


def test_a_policy_that_this_node_cannot_read_is_a_no():
    async def scenario(room: Room) -> None:
        room.artifacts.put(workload().artifact, COMPONENT)
        room.order(order(policies=(Policy(name="later", about="a", packs=("pack-of-next-year",)),)))
        life = Life(room)
        await room.until(lambda: room.told() is not None)
        told = room.told()
        assert told is not None
        assert told.phase is Phase.REFUSED
        assert "pack-of-next-year" in told.reason
        assert life.running() == ()

    run(scenario)


def test_a_ping_is_answered_with_its_number_under_the_nodes_seal():
    async def scenario(room: Room) -> None:
        life = Life(room)
        asker = room.control_ports()
        targets = (SurveyTarget(node=ME, public_key=NODE_SIGNER.public_key),)
        await room.until(lambda: room.kv.get("presence", ME) is not None)
        assert life.running() == ()
        (found,) = await survey(targets, asker.bus, asker.clock, asker.entropy)
        assert found.node == ME
        assert found.rtt_us >= 2 * (500 + 1_000), "no answer outruns the wires"
        forged = (SurveyTarget(node=ME, public_key=b"\x09" * 32),)
        assert await survey(forged, asker.bus, asker.clock, asker.entropy) == ()

    run(scenario)
