"""Which orders a node takes: every refusal has its code, and nothing unsigned or misplaced is ever held."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from room_kit import CONTROLLER, INSTANCE, ME, OTHER, START, STRANGER, TRUSTED, order, report, sealed

from hanse.core.ids import InstanceId
from hanse.core.time import WallTime
from hanse.node.judge import Held, Rejected, judge
from hanse.wire import envelope
from hanse.wire.canonical import digest_bytes
from hanse.wire.messages import Order

KEY = f"{ME}.{INSTANCE}"


def judged(data: bytes, *, key: str = KEY, held: dict[InstanceId, Held] | None = None, now: int = START) -> Any:
    return judge(data, key=key, me=ME, held=held or {}, trusted=TRUSTED, now=WallTime(now))


def holding(given: Order) -> dict[InstanceId, Held]:
    data = sealed(given)
    return {given.instance: Held(order=given, sealed=data, digest=digest_bytes(data))}


def test_a_good_order_is_held_with_the_digest_of_its_bytes():
    data = sealed(order())
    verdict = judged(data)
    assert verdict == Held(order=order(), sealed=data, digest=digest_bytes(data))


def test_the_order_that_is_held_already_is_no_news():
    assert judged(sealed(order()), held=holding(order())) is None


REFUSALS = {
    "signed by a stranger": (envelope.seal(order(), STRANGER), {}, "order.wrong_signature", False),
    "not a message at all": (b"{}", {}, "order.malformed", False),
    "another kind of message": (sealed(report()), {}, "order.wrong_signature|order.malformed", False),
    "for another node": (sealed(order(node=OTHER)), {}, "order.wrong_address", False),
    "under another key": (sealed(order()), {"key": f"{ME}.clinic.triage.1.1"}, "order.wrong_address", False),
    "without an operator": (sealed(order(operators=())), {}, "order.malformed", True),
    "of an older generation": (
        sealed(order(generation=2)), {"held": holding(order(generation=3))}, "order.old_generation", True,
    ),
    "another order of the same generation": (
        sealed(order(reason="else")), {"held": holding(order())}, "order.old_generation", True,
    ),
    "expired": (sealed(order()), {"now": order().expires_us}, "order.expired", True),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSALS)
def test_an_order_is_refused_with_its_code(what: str):
    data, circumstances, code, is_readable = REFUSALS[what]
    verdict = judged(data, **circumstances)
    assert isinstance(verdict, Rejected)
    assert verdict.code in code.split("|")
    assert verdict.reason
    assert (verdict.order is not None) == is_readable, "an order is read only where its signature held"


def test_an_expired_order_to_stop_still_stops():
    assert isinstance(judged(sealed(order(wanted=False, generation=2)), now=order().expires_us + 1), Held)


def test_a_flipped_bit_is_refused_wherever_it_is():
    data = sealed(order())
    for at in range(0, len(data), 17):
        flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        verdict = judged(flipped)
        assert isinstance(verdict, Rejected), at
        assert verdict.code in ("order.wrong_signature", "order.malformed")


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.booleans(), st.sampled_from([CONTROLLER, STRANGER]), st.sampled_from([0, 1])),
        max_size=12,
    )
)
def test_never_is_a_stranger_obeyed_or_a_generation_taken_back(arrivals: list[Any]):
    held: dict[InstanceId, Held] = {}
    for generation, wanted, signer, late in arrivals:
        one = order(generation=generation, wanted=wanted)
        before = held.get(INSTANCE)
        verdict = judged(envelope.seal(one, signer), held=held, now=START + late * 48 * 3_600_000_000)
        if not isinstance(verdict, Held):
            continue
        assert signer is CONTROLLER
        assert before is None or generation > before.order.generation
        assert not (wanted and late)
        held[INSTANCE] = verdict


def test_a_refusal_explains_itself():
    verdict = judged(sealed(order(generation=2)), held=holding(order(generation=3)))
    assert verdict.reason == "generation 2 is not above 3, which is held"
    verdict = judged(sealed(order(node=OTHER)))
    assert verdict.reason == "order for par-1/clinic.triage.0.1 stands at fra-1.clinic.triage.0.1"
