"""Who may take part: one token admits one node at one place; a lost answer is asked for again; revoked is revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from room_kit import (
    ME,
    NODE_SIGNER,
    OPERATOR,
    OTHER,
    SITE,
    STRANGER,
    Room,
    entries,
    entry,
    node,
    node_record,
    run,
    sealed,
    state_of,
)

from hanse.control.config import ControlConfig
from hanse.control.enrolment import Enrolment, JoinRefused
from hanse.control.state import FabricState
from hanse.core.fabric import Tier
from hanse.core.ids import ControllerId, NodeId, SiteId
from hanse.core.ports import BusMessage
from hanse.core.time import HOUR_US
from hanse.identity import key_from_secret, make_csr
from hanse.identity.authority import SECRET_BYTES
from hanse.twin.domain import make_domain, make_node_keys
from hanse.wire import envelope
from hanse.wire.messages import NodeRecord
from hanse.wire.trust_messages import JoinRequest, JoinResponse, RenewRequest, Svid

PLACES = [one for one in entries() if one.key in ("site.frankfurt", "operator.hansa")]


class Office:
    """One controller's enrolment on a room's store."""

    def __init__(self, room: Room, state: FabricState | None = None) -> None:
        ports = room.control_ports()
        self.state = state or state_of(PLACES)
        domain = make_domain(3, "test.hanse", ports.clock.wall())
        config = ControlConfig(
            id=ControllerId("c"), domain="test.hanse", api_url="", nats_urls=("nats://here",), packs={}
        )
        self.enrolment = Enrolment(ports, config, self.state, domain.authority)

    async def token(self, identity: NodeId | None = None) -> str:
        text, _ = await self.enrolment.mint(site=SITE.id, operator=OPERATOR.id, tier=Tier.CORE, node=identity)
        return text


def request(token: str, identity: NodeId = ME, *, seed: int = 1) -> JoinRequest:
    keys = make_node_keys(seed, identity)
    return JoinRequest(
        token=token,
        node=node(identity),
        csr_pem=make_csr(key_from_secret(bytes([seed]) * SECRET_BYTES)),
        public_key=keys.signer.public_key,
        nats_public_key=keys.user.public,
    )


async def refusal(joining: Awaitable[JoinResponse]) -> str:
    with pytest.raises(JoinRefused) as refused:
        await joining
    assert refused.value.hint
    return refused.value.code


def test_a_node_with_a_token_is_enrolled_and_told_all_it_needs():
    async def scenario(room: Room) -> None:
        office = Office(room)
        answer = await office.enrolment.join(request(await office.token(ME)))
        assert (answer.domain, answer.site, answer.operator) == ("test.hanse", SITE, OPERATOR)
        assert answer.nats_urls == ("nats://here",)
        stored = room.kv.get("nodes", ME)
        assert stored is not None and stored.value is not None
        record = envelope.open_sealed(stored.value, NodeRecord, office.state.trusted).message
        assert (record.node, record.spiffe_id) == (node(), "spiffe://test.hanse/node/fra-1")

    run(scenario)


def test_the_token_itself_is_not_kept():
    async def scenario(room: Room) -> None:
        text = await Office(room).token()
        held = [entry.value or b"" for entry in room.kv.entries("tokens", "")]
        assert held
        assert not any(text.encode() in value for value in held)

    run(scenario)


def test_a_lost_answer_is_asked_for_again_with_the_same_keys_and_nobody_else_gets_one():
    async def scenario(room: Room) -> None:
        office = Office(room)
        token = await office.token()
        await office.enrolment.join(request(token))
        before = room.kv.get("nodes", ME)
        await office.enrolment.join(request(token))
        assert room.kv.get("nodes", ME) == before
        assert await refusal(office.enrolment.join(request(token, OTHER, seed=2))) == "join.spent"

    run(scenario)


def test_two_nodes_that_use_one_token_at_once_do_not_both_get_in():
    async def scenario(room: Room) -> None:
        token = await Office(room).token()
        offices = [Office(room), Office(room)]
        joining = [
            office.enrolment.join(request(token, identity, seed=number))
            for number, (office, identity) in enumerate(zip(offices, (ME, OTHER), strict=True), start=1)
        ]
        answers = await asyncio.gather(*joining, return_exceptions=True)
        assert sum(isinstance(answer, JoinResponse) for answer in answers) == 1
        assert len(room.kv.entries("nodes", "")) == 1

    run(scenario)


def test_wrong_tokens_wrong_places_and_wrong_names_are_refused_by_code():
    async def scenario(room: Room) -> None:
        office = Office(room)
        assert await refusal(office.enrolment.join(request("hanse-join-guess"))) == "join.unknown_token"
        assert await refusal(office.enrolment.join(request(await office.token(OTHER)))) == "join.wrong_node"
        text, _ = await office.enrolment.mint(site=SiteId("paris"), operator=OPERATOR.id, tier=Tier.CORE)
        assert await refusal(office.enrolment.join(request(text))) == "join.wrong_place"
        late = await office.token()
        await asyncio.sleep(HOUR_US / 1e6)
        assert await refusal(office.enrolment.join(request(late))) == "join.expired"
        assert room.kv.entries("nodes", "") == ()

    run(scenario)


def test_a_place_that_the_domain_does_not_know_is_refused():
    async def scenario(room: Room) -> None:
        office = Office(room, state_of([]))
        assert await refusal(office.enrolment.join(request(await office.token()))) == "join.unknown_place"

    run(scenario)


def question(identity: NodeId = ME, *, signer: object = NODE_SIGNER, claims: NodeId | None = None) -> BusMessage:
    asked = RenewRequest(
        node=claims or identity,
        csr_pem=make_csr(key_from_secret(b"\x09" * SECRET_BYTES)),
        at_us=node_record().enrolled_us,
    )
    return BusMessage(
        subject=f"hanse.v1.ask.{identity}.renew",
        data=envelope.seal(asked, signer),
        reply="inbox",  # type: ignore[arg-type]
    )


def test_an_enrolled_node_gets_a_new_svid_and_nobody_else_does():
    async def scenario(room: Room) -> None:
        office = Office(room, state_of(entries()))
        answer = await office.enrolment.renew(question())
        assert answer is not None
        svid = envelope.open_sealed(answer, Svid, office.state.trusted).message
        assert svid.not_after_us > room.clock.wall()
        assert await office.enrolment.renew(question(signer=STRANGER)) is None
        assert await office.enrolment.renew(question(OTHER)) is None, "not enrolled"
        assert await office.enrolment.renew(question(claims=OTHER)) is None, "for somebody else"
        office.state.apply(entry("nodes", ME, sealed(node_record(is_revoked=True)), 9))
        assert await office.enrolment.renew(question()) is None, "revoked"

    run(scenario)
