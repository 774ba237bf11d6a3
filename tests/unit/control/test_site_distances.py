"""Proves: a ready node per site measures the sites after it, only what was asked is kept, old nodes are modelled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from room_kit import (
    CONTROLLER,
    ME,
    NODE_SIGNER,
    OPERATOR,
    OTHER,
    SITE,
    START,
    Room,
    entry,
    heartbeat,
    node,
    node_record,
    run,
    sealed,
    state_of,
)

from hanse.control.config import ControlConfig
from hanse.control.distances import Distances
from hanse.control.liveness import Liveness
from hanse.control.state import FabricState, snapshot
from hanse.core.errors import BusError
from hanse.core.geo import Place
from hanse.core.ids import ControllerId, SiteId
from hanse.core.ports import ControlPorts
from hanse.core.time import MonoTime, WallTime
from hanse.wire import envelope
from hanse.wire.messages import Presence, SpecRecord
from hanse.wire.subjects import tell
from hanse.wire.survey_messages import Dialled, DialReply, DialRequest

PARIS = replace(SITE, id=SiteId("paris"), place=Place(city="Paris", latitude_deg=48.86, longitude_deg=2.35))
CONFIG = ControlConfig(
    id=ControllerId("c1"), domain="test.hanse", api_url="https://c1", nats_urls=("nats://t",), packs={}
)  # fmt: skip


class ToldBus:
    """Answers for the nodes: what was asked is kept, and `says` is the answer."""

    def __init__(self, *says: Dialled) -> None:
        self.says = says
        self.asked: list[tuple[str, DialRequest]] = []
        self.signer = NODE_SIGNER
        self.is_old = False

    async def request(self, subject: str, data: bytes, timeout_us: int) -> bytes:
        trusted = {CONTROLLER.key_id: CONTROLLER.public_key}
        self.asked.append((subject, envelope.open_sealed(data, DialRequest, trusted).message))
        if self.is_old:
            raise BusError("no answer in time", code="bus.timeout")
        return envelope.seal(DialReply(node=ME, dialled=self.says), self.signer)


def fabric_of_two() -> FabricState:
    def spec(**of: Any) -> bytes:
        return sealed(SpecRecord(accepted_us=START, accepted_by="t", **of))

    away = msgspec.structs.replace(node_record(OTHER), node=replace(node(OTHER), site=PARIS.id))
    found = [
        entry("specs", "site.frankfurt", spec(site=SITE), 1),
        entry("specs", "site.paris", spec(site=PARIS), 2),
        entry("specs", "operator.hansa", spec(operator=OPERATOR), 3),
        entry("nodes", ME, sealed(node_record()), 1),
        entry("nodes", OTHER, sealed(away), 2),
    ]
    for number, id_ in enumerate((ME, OTHER), start=1):
        said = Presence(
            node=id_, incarnation=1, front=f"{id_}:80", mesh=f"{id_}:443", version="t", started_us=START
        )  # fmt: skip
        found.append(entry("presence", id_, envelope.seal(said, NODE_SIGNER), number))
    return state_of(found)


def play(bus: ToldBus, *, rounds: int = 1, is_heard: bool = True) -> dict[tuple[str, str], int]:
    """Have them measure so often; returns what a plan reads."""

    async def scenario(room: Room) -> dict[tuple[str, str], int]:
        ports: ControlPorts = replace(room.control_ports(), bus=bus)
        state = fabric_of_two()
        liveness = Liveness(suspect_after_us=10**9, unreachable_after_us=2 * 10**9, return_grace_us=2 * 10**9)
        liveness.listening(True, ports.clock.monotonic())
        if is_heard:
            for id_ in (ME, OTHER):
                liveness.heard(heartbeat(id_), ports.clock.monotonic())
        distances = Distances(ports, CONFIG, state, liveness)
        for _ in range(rounds):
            await distances.measure()
        now, mono = WallTime(ports.clock.wall()), MonoTime(ports.clock.monotonic())
        return dict(snapshot(state, liveness, CONFIG, now=now, mono=mono).rtt_us)

    return run(scenario)


def test_the_first_site_measures_the_second_and_plans_go_by_it() -> None:
    bus = ToldBus(Dialled(PARIS.id, 55_100))
    assert play(bus, rounds=2) == {(SITE.id, PARIS.id): 56_000}
    subject, asked = bus.asked[0]
    assert subject == tell(ME, "dial")
    assert [(one.site, one.address) for one in asked.targets] == [(PARIS.id, f"{OTHER}:443")]
    assert len(bus.asked) == 2, "the last site asks nobody"


def test_one_round_is_not_enough() -> None:
    assert play(ToldBus(Dialled(PARIS.id, 55_100))) == {}


def test_what_nobody_asked_for_is_not_kept() -> None:
    assert play(ToldBus(Dialled(SITE.id, 55_100), Dialled(SiteId("oslo"), 55_100)), rounds=3) == {}


def test_a_node_of_an_older_version_leaves_the_model() -> None:
    bus = ToldBus(Dialled(PARIS.id, 55_100))
    bus.is_old = True
    assert play(bus, rounds=3) == {}


def test_another_key_than_the_nodes_is_not_believed() -> None:
    bus = ToldBus(Dialled(PARIS.id, 55_100))
    bus.signer = CONTROLLER
    assert play(bus, rounds=3) == {}


def test_who_is_not_heard_neither_measures_nor_is_measured() -> None:
    bus = ToldBus(Dialled(PARIS.id, 55_100))
    assert play(bus, rounds=2, is_heard=False) == {}
    assert bus.asked == []
