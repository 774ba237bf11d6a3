"""SVIDs of services: a node gets those of what it was ordered to run, renews them at half life, and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from room_kit import (
    CONTROLLER,
    INSTANCE,
    ME,
    NODE_SIGNER,
    START,
    STRANGER,
    Room,
    entries,
    entry,
    node_config,
    order,
    run,
    sealed,
    state_of,
    workload,
)

from hanse.control.config import ControlConfig
from hanse.control.enrolment import Enrolment
from hanse.core.errors import BusError
from hanse.core.ids import ControllerId, NodeId, WorkloadId
from hanse.core.ports import BusMessage
from hanse.core.time import HOUR_US, WallTime
from hanse.core.work import Kind
from hanse.identity import key_from_secret, make_csr, verify_svid
from hanse.node.judge import Held
from hanse.node.workload_svids import WorkloadSvids
from hanse.twin.domain import make_domain
from hanse.wire import envelope
from hanse.wire.messages import Order
from hanse.wire.subjects import ask
from hanse.wire.trust_messages import Svid, WorkloadSvidRequest

BOARD = WorkloadId("clinic.board")
SERVICE = msgspec.structs.replace(
    order(), workload=replace(workload("board"), kind=Kind.SERVICE, upstream="127.0.0.1:9000")
)


class Domain:
    """A controller's office at the other end of the node's bus."""

    def __init__(self, room: Room, ordered: Order) -> None:
        ports = room.control_ports()
        kept = [one for one in entries() if not one.key.startswith(f"{ME}.")]
        self.state = state_of([*kept, entry("orders", f"{ME}.{INSTANCE}", sealed(ordered), 1)])
        domain = make_domain(3, "test.hanse", ports.clock.wall())
        config = ControlConfig(id=ControllerId("c"), domain="test.hanse", api_url="", nats_urls=(), packs={})
        self.enrolment = Enrolment(ports, config, self.state, domain.authority)
        self.asked = 0
        self.is_cut = False

    async def request(self, subject: str, data: bytes, timeout_us: int) -> bytes:
        self.asked += 1
        answer = None
        if not self.is_cut:
            answer = await self.enrolment.workload_svid(BusMessage(subject=subject, data=data, reply="r"))
        if answer is None:
            raise BusError("no answer", code="bus.timeout")
        return answer


def keeper(room: Room, domain: Domain, ordered: Order) -> WorkloadSvids:
    held = {INSTANCE: Held(order=ordered, sealed=b"", digest="d")}
    ports = replace(room.node_ports(), bus=domain, signer=NODE_SIGNER)
    return WorkloadSvids(ports, node_config(), lambda: held)


def test_a_service_gets_its_svid_and_a_new_one_at_half_of_its_life() -> None:
    async def scenario(room: Room) -> None:
        domain = Domain(room, SERVICE)
        svids = keeper(room, domain, SERVICE)
        first = await svids.get(BOARD)
        assert str(first.spiffe_id) == "spiffe://test.hanse/ns/clinic/board"
        name = verify_svid(first.certificate_chain_pem, first.bundle_pem, room.clock.wall(), domain="test.hanse")
        assert name == first.spiffe_id
        assert first.private_key_pem.decode() not in repr(first)
        assert await svids.get(BOARD) == first
        await room.until(lambda: svids.due_in_us(BOARD) <= 0, within_s=3_600)
        assert room.clock.wall() - START <= HOUR_US // 2 + 60_000_000
        second = await svids.get(BOARD)
        assert second.certificate_chain_pem != first.certificate_chain_pem
        assert second.private_key_pem != first.private_key_pem
        domain.is_cut = True
        await room.until(lambda: svids.due_in_us(BOARD) <= 0, within_s=3_600)
        assert await svids.get(BOARD) == second
        await room.until(lambda: second.not_after_us <= room.clock.wall(), within_s=3_600)
        with pytest.raises(BusError):
            await svids.get(BOARD)

    run(scenario)


@pytest.mark.parametrize(
    "listening",
    [{"127.0.0.1:9000"}, {"0.0.0.0:9000"}, {"[::]:9000", "127.0.0.1:1"}],
)
def test_who_listens_at_the_upstream_is_the_service(listening: set[str]) -> None:
    async def scenario(room: Room) -> None:
        assert keeper(room, Domain(room, SERVICE), SERVICE).behind(listening) == (BOARD,)

    run(scenario)


def test_who_is_called_by_a_name_is_nobody_here() -> None:
    async def scenario(room: Room) -> None:
        for upstream, found in (("https://127.0.0.1:9000", (BOARD,)), ("https://board.example.org:9000", ())):
            service = msgspec.structs.replace(SERVICE, workload=replace(SERVICE.workload, upstream=upstream))
            assert keeper(room, Domain(room, service), service).behind({"0.0.0.0:9000"}) == found

    run(scenario)


def test_nobody_else_is_and_no_function_and_nothing_that_was_stopped_or_has_ended() -> None:
    async def scenario(room: Room) -> None:
        there = {"127.0.0.1:9000"}
        domain = Domain(room, SERVICE)
        for elsewhere in (set[str](), {"127.0.0.1:9001"}, {"10.0.0.1:9000"}, {"127.0.0.1:90000"}):
            assert keeper(room, domain, SERVICE).behind(elsewhere) == ()
        for changed in (
            msgspec.structs.replace(SERVICE, wanted=False),
            msgspec.structs.replace(SERVICE, expires_us=START),
            msgspec.structs.replace(SERVICE, workload=replace(SERVICE.workload, kind=Kind.FUNCTION)),
        ):
            assert keeper(room, domain, changed).behind(there) == ()

    run(scenario)


def test_a_node_never_gets_the_svid_of_what_it_was_not_ordered_to_run() -> None:
    async def scenario(room: Room) -> None:
        domain = Domain(room, SERVICE)

        async def asks(workload_: str, *, node: str = ME, subject: str = ME, signer: Any = NODE_SIGNER) -> Svid | None:
            csr = make_csr(key_from_secret(b"\x06" * 48))
            request = WorkloadSvidRequest(node=NodeId(node), workload=WorkloadId(workload_), csr_pem=csr, at_us=START)
            message = BusMessage(
                subject=ask(NodeId(subject), "workload-svid"), data=envelope.seal(request, signer), reply="r"
            )
            answer = await domain.enrolment.workload_svid(message)
            trusted = {CONTROLLER.key_id: CONTROLLER.public_key}
            return None if answer is None else envelope.open_sealed(answer, Svid, trusted).message

        assert await asks("clinic.board") is not None
        assert await asks("clinic.other") is None
        assert await asks("clinic.board", signer=STRANGER) is None
        assert await asks("clinic.board", subject="par-1") is None
        assert await asks("clinic.board", node="par-1") is None

    run(scenario)


def test_a_stopped_order_ends_the_right() -> None:
    async def scenario(room: Room) -> None:
        for over in (
            msgspec.structs.replace(SERVICE, wanted=False),
            msgspec.structs.replace(SERVICE, expires_us=WallTime(START - 1)),
        ):
            with pytest.raises(BusError):
                await keeper(room, Domain(room, over), SERVICE).get(BOARD)

    run(scenario)
