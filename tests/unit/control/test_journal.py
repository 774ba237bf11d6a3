"""The ledger follows what happened: each act stands there once, in the order of causes, whoever leads and crashes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from room_kit import (
    INSTANCE,
    ME,
    NODE_SIGNER,
    WORKLOAD,
    Room,
    entries,
    entry,
    order,
    report,
    run,
    sealed,
    state_of,
)

from hanse.control.config import ControlConfig
from hanse.control.journal import Journal
from hanse.control.state import FabricState
from hanse.core.errors import HanseError
from hanse.core.ids import ControllerId
from hanse.core.snapshot import Phase
from hanse.ledger import EntryNotFound
from hanse.twin.ports.store import KvServer
from hanse.wire import envelope
from hanse.wire.messages import SpecRecord

CONFIG = ControlConfig(id=ControllerId("c"), domain="test.hanse", api_url="", nats_urls=(), packs={})
KEY = f"{ME}.{INSTANCE}"


def ledger() -> KvServer:
    """The domain's log on disk, which every leader in turn writes."""
    return KvServer(name="ledger", makes_buckets=True)


async def opened(room: Room, disk: KvServer) -> Journal:
    journal = Journal(room.control_ports(disk), CONFIG)
    await journal.open()
    return journal


async def lines(journal: Journal) -> list[tuple[str, str]]:
    """Kind and subject of every entry."""
    return [(row["kind"], row["subject"]) for row in await journal.entries(0, 1_000)]


def stopped() -> list[Any]:
    """The order to stop and its answer."""
    stop = entry("orders", KEY, sealed(order(generation=2, wanted=False)), 8)
    told = report(phase=Phase.STOPPED, generation=2)
    return [stop, entry("reports", KEY, envelope.seal(told, NODE_SIGNER), 9)]


def test_what_happened_stands_there_once_in_the_order_of_causes():
    async def scenario(room: Room) -> None:
        journal, state = await opened(room, ledger()), state_of(entries())
        for _ in range(3):
            await journal.record(state)
        kinds = [kind for kind, _ in await lines(journal)]
        assert sorted(kinds[:5]) == ["FactChange", "FactChange", "FactChange", "NodeJoined", "SpecChange"]
        assert kinds[5:] == ["OrderIssued", "ReceiptTaken"]
        for one in stopped():
            state.apply(one)
        await journal.record(state)
        assert [kind for kind, _ in await lines(journal)][7:] == ["OrderIssued", "ReceiptTaken"]

    run(scenario)


def test_a_new_leader_finds_everything_said_and_says_nothing_twice():
    async def scenario(room: Room) -> None:
        disk = ledger()
        old = await opened(room, disk)
        await old.record(state_of(entries()))
        before = await lines(old)
        new = await opened(room, disk)
        await new.record(state_of(entries()))
        assert await lines(new) == before

    run(scenario)


def test_an_old_leader_that_does_not_know_yet_cannot_fork_the_log():
    """The next leader has fenced it: its append fails and leaves no trace, and the new one goes on alone."""

    async def scenario(room: Room) -> None:
        disk = ledger()
        old = await opened(room, disk)
        state = state_of(entries())
        await old.record(state)
        new = await opened(room, disk)
        for one in stopped():
            state.apply(one)
        try:
            await old.record(state)
        except HanseError as error:
            assert error.retry
        await new.record(state)
        assert max(Counter(await lines(new)).values()) <= 2, "two orders and two answers about one instance"
        told = [row["predicate"] for row in await new.entries(0, 100) if row["kind"] == "OrderIssued"]
        assert [one["generation"] for one in told] == [1, 2]

    run(scenario)


def test_a_spec_that_comes_goes_and_comes_again_is_said_each_time():
    async def scenario(room: Room) -> None:
        journal, state = await opened(room, ledger()), state_of(entries())
        await journal.record(state)
        record = state.specs()[f"function.{WORKLOAD}"]
        for revision, is_deleted in ((11, True), (12, False)):
            changed: SpecRecord = msgspec.structs.replace(
                record, is_deleted=is_deleted, accepted_us=record.accepted_us + revision
            )
            state.apply(entry("specs", f"function.{WORKLOAD}", sealed(changed), revision))
            await journal.record(state)
        changes = [row["predicate"] for row in await journal.entries(0, 100) if row["kind"] == "SpecChange"]
        assert [one["after"] is None for one in changes] == [False, True, False]
        assert [one["before"] for one in changes] == [None, changes[0]["after"], None]

    run(scenario)


def test_before_the_first_act_there_is_no_checkpoint():
    async def scenario(room: Room) -> None:
        journal = Journal(room.control_ports(), CONFIG)
        assert await journal.entries(0, 10) == []
        for asking in (journal.checkpoint(), journal.receipt(INSTANCE, state_of([]))):
            with pytest.raises(EntryNotFound):
                await asking
        assert journal.size is None

    run(scenario)


ARRIVALS = [*entries(), *stopped()]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(ARRIVALS)), st.booleans()), min_size=1, max_size=6))
def test_never_is_an_act_lost_or_said_twice_however_often_the_leader_changes(rounds: list[tuple[int, bool]]):
    """In each round some of the news is known, and the leader may be another one than before; nobody closes."""

    async def scenario(room: Room) -> None:
        disk, known = ledger(), 0
        journals = [Journal(room.control_ports(disk), CONFIG) for _ in range(2)]
        leading = 0
        states = [FabricState(trusted=state_of([]).trusted) for _ in range(2)]
        for arrived, changes in [*rounds, (len(ARRIVALS), True)]:
            leading = 1 - leading if changes else leading
            known = max(known, arrived)
            for one in ARRIVALS[:known]:
                states[leading].apply(one)
            journal = journals[leading]
            if changes:
                await journal.close()
            await journal.open()
            await journal.record(states[leading])
        rows = await journals[leading].entries(0, 1_000)
        said = [(row["kind"], row["subject"], str(row["predicate"]) + str(row.get("report"))) for row in rows]
        assert len(set(said)) == len(said)
        assert {kind for kind, _, _ in said} == {
            "FactChange",
            "NodeJoined",
            "SpecChange",
            "OrderIssued",
            "ReceiptTaken",
        }
        assert ("OrderIssued", 2) in {(row["kind"], row["predicate"].get("generation")) for row in rows}

    run(scenario)
