"""The leader's lease: taken, renewed, given up and inherited; two never lead at once, however they interleave."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from room_kit import CONTROLLER, STRANGER, HandClock

from hanse.control.lease import LeaseKeeper
from hanse.core.errors import StoreError
from hanse.core.ids import ControllerId
from hanse.core.ports import Entry
from hanse.core.time import US_PER_S
from hanse.twin.ports.store import KvServer
from hanse.wire import envelope
from hanse.wire.messages import Lease

TERM_US = 3 * US_PER_S
BUCKET, KEY = "leases", "controller"


@dataclass(slots=True)
class SlowStore:
    """A store whose answers a test holds back: what was asked has happened, and its sender does not know yet."""

    server: KvServer
    is_cut: bool = False
    gate: asyncio.Event | None = None
    holds: tuple[str, ...] = ("get", "put")

    async def get(self, bucket: str, key: str) -> Entry | None:
        self._refuse_if_cut()
        found = self.server.get(bucket, key)
        await self._hold("get")
        return found

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
        self._refuse_if_cut()
        revision = self.server.put(bucket, key, value, expected)
        await self._hold("put")
        return revision

    def _refuse_if_cut(self) -> None:
        if self.is_cut:
            raise StoreError("cut off")

    async def _hold(self, what: str) -> None:
        if self.gate is not None and what in self.holds:
            await self.gate.wait()
        self._refuse_if_cut()


class Contender:
    """One controller's keeper with its own clock and its own way to the store."""

    def __init__(self, name: str, server: KvServer) -> None:
        self.clock = HandClock()
        self.store = SlowStore(server)
        self.keeper = LeaseKeeper(
            self.store,  # type: ignore[arg-type] - the two methods that a lease uses
            self.clock,
            CONTROLLER,
            me=ControllerId(name),
            api=f"https://{name}",
            term_us=TERM_US,
        )

    def step(self) -> bool:
        return asyncio.run(self.keeper.step())


def pair() -> tuple[Contender, Contender, KvServer]:
    server = KvServer((BUCKET,))
    return Contender("one", server), Contender("two", server), server


def standing(server: KvServer) -> Lease:
    entry = server.get(BUCKET, KEY)
    assert entry is not None and entry.value is not None
    return envelope.peek(entry.value, Lease)


def pass_time(seconds: float, *contenders: Contender) -> None:
    for one in contenders:
        one.clock.mono_us += round(seconds * US_PER_S)


def test_the_first_to_ask_leads_and_the_other_waits():
    one, two, server = pair()
    assert one.step()
    assert not two.step()
    assert (one.keeper.is_leader(), two.keeper.is_leader()) == (True, False)
    assert standing(server) == Lease(holder=ControllerId("one"), term=1, renewals=0, api="https://one")
    assert two.keeper.holder == standing(server), "the standby knows whom to name"


def test_a_leader_that_renews_stays_and_the_standby_never_takes_over():
    one, two, server = pair()
    one.step()
    for _ in range(10):
        pass_time(1, one, two)
        assert one.step()
        assert not two.step()
    assert (standing(server).term, standing(server).renewals) == (1, 10)


def test_a_standby_takes_over_once_it_saw_no_renewal_for_a_whole_term():
    one, two, server = pair()
    one.step()
    two.step()
    pass_time(2.9, one, two)
    assert not two.step()
    pass_time(0.1, one, two)
    assert two.step()
    assert not one.keeper.is_leader(), "the old one knows by its own clock"
    assert (standing(server).holder, standing(server).term) == ("two", 2)
    assert not one.step()


def test_a_leader_that_resigns_is_followed_at_once():
    one, two, server = pair()
    one.step()
    two.step()
    asyncio.run(one.keeper.resign())
    assert not one.keeper.is_leader()
    assert two.step()
    assert standing(server).term == 2


def test_a_lease_that_no_controller_signed_counts_as_absent():
    one, _, server = pair()
    forged = Lease(holder=ControllerId("mallory"), term=9, renewals=0, api="https://mallory")
    server.put(BUCKET, KEY, envelope.seal(forged, STRANGER), None)
    assert one.step()
    assert standing(server).holder == "one"


def test_a_leader_without_the_store_stops_leading_after_a_term_by_its_own_clock():
    one, _, _ = pair()
    one.step()
    one.store.is_cut = True
    with pytest.raises(StoreError):
        one.step()
    pass_time(2.9, one)
    assert one.keeper.is_leader()
    pass_time(0.1, one)
    assert not one.keeper.is_leader()


def test_a_renewal_counts_from_when_it_was_asked_for_and_not_from_its_answer():
    """The answer may be late by more than a term: by then another may lead."""

    async def scenario() -> None:
        one, two, _ = pair()
        await one.keeper.step()
        await two.keeper.step()
        pass_time(1, one, two)
        one.store.gate, one.store.holds = asyncio.Event(), ("put",)
        renewing = asyncio.create_task(one.keeper.step())
        for _ in range(3):
            await asyncio.sleep(0)
        pass_time(3.5, one, two)
        one.store.gate.set()
        await renewing
        assert not one.keeper.is_leader()

    asyncio.run(scenario())


ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["step", "step", "step", "hold", "let go", "cut", "heal", "resign"]),
        st.integers(0, 2_000_000),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(ACTIONS)
def test_never_do_two_lead_at_once_however_steps_pauses_and_cuts_interleave(actions: list[tuple[int, str, int]]):
    """Three controllers on one real time; each may stall in the middle of a step for as long as it likes."""

    async def scenario() -> None:
        server = KvServer((BUCKET,))
        contenders = [Contender(f"c{number}", server) for number in range(3)]
        steps: dict[int, asyncio.Task[bool]] = {}
        terms: dict[int, str] = {}
        for number, action, passed_us in actions:
            one = contenders[number]
            busy = number in steps and not steps[number].done()
            match action:
                case "step" if not busy:
                    steps[number] = asyncio.create_task(one.keeper.step())
                case "hold" if one.store.gate is None:
                    one.store.gate = asyncio.Event()
                case "let go" if one.store.gate is not None:
                    one.store.gate.set()
                    one.store.gate = None
                case "cut" | "heal":
                    one.store.is_cut = action == "cut"
                case "resign" if not busy and one.store.gate is None and not one.store.is_cut:
                    await one.keeper.resign()
                case _:
                    pass
            for _ in range(6):
                await asyncio.sleep(0)
            for other in contenders:
                other.clock.mono_us += passed_us
            leaders = [str(c.keeper._me) for c in contenders if c.keeper.is_leader()]
            assert len(leaders) <= 1, leaders
            if leaders and server.get(BUCKET, KEY) is not None:
                lease = standing(server)
                assert terms.setdefault(lease.term, lease.holder) in (lease.holder, "")
        for one in contenders:
            if one.store.gate is not None:
                one.store.gate.set()
        await asyncio.gather(*steps.values(), return_exceptions=True)

    asyncio.run(scenario())
