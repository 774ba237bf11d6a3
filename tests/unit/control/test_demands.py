"""Proves: only what a node says of its own front counts, levels are added up per site, silence fades slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from room_kit import (
    CONTROLLER,
    ME,
    NODE_SIGNER,
    OTHER,
    SITE,
    WORKLOAD,
    Room,
    entries,
    entry,
    node_record,
    run,
    sealed,
    state_of,
)

from hanse.control.config import ControlConfig
from hanse.control.demands import FALL_LOOKS, RISE_LOOKS, WRITE_LOOKS, Demands
from hanse.core.errors import WireError
from hanse.core.ids import ControllerId, NodeId, WorkloadId
from hanse.core.ports import BusMessage, Signer
from hanse.core.traffic import LOOKS
from hanse.wire import canonical, envelope
from hanse.wire.account_messages import Account, UsageRow
from hanse.wire.demand_messages import Entering, Traffic
from hanse.wire.subjects import ask

COUNT_S = 30
CONFIG = ControlConfig(
    id=ControllerId("c1"), domain="test.hanse", api_url="https://c1", nats_urls=("nats://t",), packs={}
)  # fmt: skip


class Fronts:
    """A leader's demands, and nodes that tell."""

    def __init__(self, room: Room) -> None:
        self.state = state_of([*entries(), entry("nodes", OTHER, sealed(node_record(OTHER)), 9)])
        self.ports = room.control_ports()
        self.demands = Demands(self.ports, CONFIG, self.state)
        self.number = 0
        self.writes: list[int] = []

    def tell(
        self, rate_milli: int, *, by: NodeId = ME, says: NodeId | None = None, signer: Signer = NODE_SIGNER,
        workload: str = WORKLOAD, number: int | None = None,
    ) -> None:  # fmt: skip
        self.number += 1
        said = Traffic(
            node=says or by, incarnation=1, number=number or self.number, window_us=LOOKS * COUNT_S * 10**6,
            entering=(Entering(WorkloadId(workload), rate_milli),) if rate_milli else (),
        )  # fmt: skip
        self.demands.take(BusMessage(subject=ask(by, "traffic"), data=envelope.seal(said, signer)))

    async def look(self, times: int, rate_milli: int | None = None, **more) -> None:
        for _ in range(times):
            await asyncio.sleep(COUNT_S)
            if rate_milli is not None:
                self.tell(rate_milli, **more)
            await self.demands.look()
            self.writes.append(self.state.revision("demand", SITE.id))

    @property
    def stands(self) -> Mapping[str, int]:
        record = self.state.demand().get(SITE.id)
        return {} if record is None else {w: row.rate_milli for w, row in record.rows.items() if row.rate_milli}


def test_two_fronts_of_a_site_are_one_origin_and_its_record_is_written_rarely() -> None:
    async def scenario(room: Room) -> None:
        fronts = Fronts(room)
        for _ in range(RISE_LOOKS + 1):
            fronts.tell(400, by=OTHER)
            await fronts.look(1, 600)
        assert fronts.stands == {WORKLOAD: 1_000}
        for _ in range(30):
            fronts.tell(410, by=OTHER)
            await fronts.look(1, 650)
        assert fronts.stands == {WORKLOAD: 1_000}
        assert len(set(fronts.writes)) <= 3 + len(fronts.writes) // WRITE_LOOKS
        assert fronts.demands.rows()[SITE.id][WORKLOAD].measured_milli == 1_060

    run(scenario)


def test_who_is_silent_has_no_traffic_and_its_claim_fades() -> None:
    async def scenario(room: Room) -> None:
        fronts = Fronts(room)
        await fronts.look(RISE_LOOKS + 1, 900)
        assert fronts.stands == {WORKLOAD: 900}
        await fronts.look(LOOKS + FALL_LOOKS - 2)
        assert fronts.stands == {WORKLOAD: 900}
        await fronts.look(3)
        assert fronts.stands == {}

    run(scenario)


def test_the_next_leader_goes_on_from_what_stands() -> None:
    async def scenario(room: Room) -> None:
        fronts = Fronts(room)
        await fronts.look(RISE_LOOKS + 1, 900)
        fronts.demands = Demands(fronts.ports, CONFIG, fronts.state)
        assert fronts.demands.rows()[SITE.id][WORKLOAD].rate_milli == 900
        await fronts.look(FALL_LOOKS - 1)
        assert fronts.stands == {WORKLOAD: 900}, "it heard nobody yet, and that is no news for half an hour"

    run(scenario)


@pytest.mark.parametrize("lie", [{"signer": CONTROLLER}, {"says": OTHER}, {"number": 1}, {"workload": "clinic.nobody"}])
def test_what_is_forged_old_or_about_nobody_counts_for_nothing(lie) -> None:
    async def scenario(room: Room) -> None:
        fronts = Fronts(room)
        fronts.tell(0)
        await fronts.look(RISE_LOOKS + 1, 900, **lie)
        assert fronts.stands == {}

    run(scenario)


def test_a_revoked_node_and_a_site_that_is_gone_are_forgotten() -> None:
    async def scenario(room: Room) -> None:
        fronts = Fronts(room)
        await fronts.look(RISE_LOOKS + 1, 900)
        fronts.state.apply(entry("nodes", ME, sealed(node_record(is_revoked=True)), 20))
        await fronts.look(FALL_LOOKS + 1)
        assert fronts.stands == {}
        known = fronts.state.records["specs"].pop("site.frankfurt")
        assert known is not None
        await fronts.demands.look()
        assert await fronts.ports.store.get("demand", SITE.id) is None

    run(scenario)


def test_an_old_reader_of_usage_reads_on() -> None:
    """Usage has no new field, so that controllers of an older version take accounts: traffic has its own words."""
    assert set(UsageRow.__struct_fields__) == {
        "workload", "requests", "errors", "cpu_us", "peak_memory_bytes", "cold_starts", "egress_bytes",
    }  # fmt: skip
    told = canonical.encode(Traffic(node=ME, incarnation=1, number=1, window_us=1, entering=()))
    with pytest.raises(WireError):
        canonical.decode(told, Account)
