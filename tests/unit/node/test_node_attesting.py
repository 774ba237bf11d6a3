"""A node attests when it starts and at its interval, tries again when nobody answers, and is silent without a TPM."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from evidence_kit import tpm
from room_kit import CONTROLLER, ME, NODE_SIGNER, Room, entries, node_config, node_record, run, sealed

from hanse.attest import AppraisalRecord
from hanse.control.attesting import Attesting
from hanse.control.config import ControlConfig
from hanse.control.state import FabricState
from hanse.core.fabric import Trust
from hanse.core.ids import ControllerId
from hanse.core.ports import Entry
from hanse.node.attesting import AttestationKeeper
from hanse.node.svid import SvidKeeper
from hanse.wire.subjects import ASKS, NODES


class Verifier:
    """A controller's verifier at the other end of the room's bus."""

    def __init__(self, room: Room) -> None:
        self.ports = room.control_ports()
        self.state = FabricState(trusted={CONTROLLER.key_id: CONTROLLER.public_key})
        for one in entries():
            self.state.apply(one)
        record = node_record(ME)
        self.state.apply(Entry(bucket=NODES, key=ME, value=sealed(record), revision=99))
        config = ControlConfig(id=ControllerId("c"), domain="test.hanse", api_url="", nats_urls=(), packs={})
        self.attesting = Attesting(self.ports, config, self.state)
        self.answered: list[int] = []
        self.is_deaf = False

    async def listen(self) -> None:
        async for message in self.ports.bus.subscribe(ASKS):
            answer = None if self.is_deaf else await self.attesting.answer(message)
            if answer is not None:
                self.answered.append(self.ports.clock.wall())
                await self.ports.bus.publish(message.reply, answer)


def test_a_node_attests_at_its_start_and_at_its_interval_and_finds_its_way_back():
    async def scenario(room: Room) -> None:
        maker, chip = tpm()
        there = Verifier(room)
        now = there.ports.clock.wall()
        await there.attesting.put(f"anchor.{maker.anchor.name}", AppraisalRecord(anchor=maker.anchor, changed_us=now))
        ports = replace(room.node_ports(), attestor=chip)
        config = node_config(attest_us=600_000_000)
        keeper = AttestationKeeper(ports, config, SvidKeeper(ports, config))
        there.is_deaf = True
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(there.listen()), tasks.create_task(keeper.run())]
            await asyncio.sleep(60)  # virtual time: nobody answers for a minute
            assert keeper.last is None
            there.is_deaf = False
            await room.until(lambda: keeper.last is not None)
            assert keeper.last is not None
            assert keeper.last.attested.status is Trust.AFFIRMING
            count = len(there.answered)
            chip.extend(b"\1" * 32)
            await room.until(lambda: len(there.answered) > count + 1, within_s=700.0)
            await room.until(lambda: keeper.last is not None and bool(keeper.last.attested.code))
            assert keeper.last.attested.code == "attest.log_mismatch"
            for task in running:
                task.cancel()

    run(scenario)


def test_a_platform_without_evidence_asks_for_nothing():
    async def scenario(room: Room) -> None:
        there = Verifier(room)
        ports, config = room.node_ports(), node_config()
        assert ports.signer is NODE_SIGNER
        await AttestationKeeper(ports, config, SvidKeeper(ports, config)).run()
        assert there.answered == []

    run(scenario)
