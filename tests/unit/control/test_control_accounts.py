"""A controller takes a node's account once, on the node's own word, and into the ledger before it says so."""

from __future__ import annotations

import asyncio

from domain_kit import Domain, domain
from room_kit import START, WORKLOAD

from hanse.core.fabric import Node, Power, Price, Resources, Tier
from hanse.core.ids import NodeId, OperatorId, SiteId
from hanse.core.ports import BusMessage, Entry, Signer
from hanse.identity import nkey_from_secret
from hanse.twin.ports.signer import ed25519
from hanse.wire import envelope
from hanse.wire.messages import Account, AccountTaken, DecisionRow, NodeRecord, UsageRow
from hanse.wire.subjects import NODES, ask

NODE = NodeId("ber-1")
OWN, STRANGER = ed25519(b"\x07" * 32), ed25519(b"\x08" * 32)


def account(number: int) -> Account:
    usage = UsageRow(
        workload=WORKLOAD,
        requests=5,
        errors=1,
        cpu_us=900,
        peak_memory_bytes=100 * number,
        cold_starts=5,
        egress_bytes={"DE": 7},
    )
    decision = DecisionRow(
        workload=WORKLOAD, outcome="deny", policies=("nurses-only",), principal="user", count=2, sample_us=START
    )
    return Account(
        node=NODE,
        incarnation=1,
        number=number,
        from_us=START,
        until_us=START,
        usage=(usage,),
        decisions=(decision,),
    )


def message(told: Account, signer: Signer = OWN) -> BusMessage:
    return BusMessage(subject=ask(NODE, "account"), data=envelope.seal(told, signer), reply="inbox")


def enrol(one: Domain) -> None:
    node = Node(
        id=NODE,
        site=SiteId("berlin"),
        operator=OperatorId("hansa"),
        tier=Tier.REGIONAL,
        capacity=Resources(cpu_milli=1_000, memory_bytes=2**30),
        price=Price(cpu_core_hour_microeur=1, memory_gib_hour_microeur=1),
        power=Power(idle_mw=1, per_core_mw=1),
    )
    record = NodeRecord(
        node=node,
        public_key=OWN.public_key,
        enrolled_us=START,
        spiffe_id=f"spiffe://south/node/{NODE}",
        nats_public_key=nkey_from_secret("user", b"n" * 32).public,
    )
    sealed = envelope.seal(record, one.ports.signer)
    assert one.controller.state.apply(Entry(bucket=NODES, key=NODE, value=sealed, revision=1))


def test_an_account_is_an_entry_once_and_its_usage_is_summed_up_once() -> None:
    async def scenario() -> None:
        one = domain(3, "south.hanse")
        enrol(one)
        await one.controller.journal.open()
        for number in (1, 1, 2):
            answer = await one.controller.accounts.answer(message(account(number)))
            assert answer is not None
            keys = {one.ports.signer.key_id: one.ports.signer.public_key}
            taken = envelope.open_sealed(answer, AccountTaken, keys).message
            assert taken == AccountTaken(node=NODE, incarnation=1, number=number)
        rows = [row for row in await one.controller.journal.entries(0, 100) if row["kind"] == "AccountGiven"]
        assert [row["account"]["number"] for row in rows] == [1, 2]
        assert rows[0]["account"]["decisions"][0]["policies"] == ("nurses-only",)
        [view] = (await one.api.get("/api/v1/usage")).json()
        assert (view["workload"], view["requests"], view["cpu_us"], view["peak_memory_bytes"]) == (
            WORKLOAD,
            10,
            1_800,
            200,
        )
        assert view["egress_bytes"] == {"DE": 14}

    asyncio.run(scenario())


def test_nothing_is_taken_without_the_pen_or_on_another_word_than_the_nodes_own() -> None:
    async def scenario() -> None:
        one = domain(3, "south.hanse")
        enrol(one)
        assert await one.controller.accounts.answer(message(account(1))) is None
        await one.controller.journal.open()
        assert await one.controller.accounts.answer(message(account(1), STRANGER)) is None
        other = BusMessage(subject=ask(NodeId("ber-2"), "account"), data=message(account(1)).data, reply="inbox")
        assert await one.controller.accounts.answer(other) is None
        assert not one.controller.accounts.usage
        assert one.controller.journal.size == 0

    asyncio.run(scenario())
