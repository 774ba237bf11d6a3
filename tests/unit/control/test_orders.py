"""From steps to orders: generations only grow, facts travel along, renewals keep the level."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from room_kit import INSTANCE, ME, OPERATOR, SITE, START, node, order, report, workload

from hanse.control.orders import is_due_for_renewal, operator_chain, order_renewed
from hanse.core.fabric import Operator, Parent
from hanse.core.ids import CountryCode, OperatorId
from hanse.core.time import DAY_US, HOUR_US, WallTime


def operator(name: str, *parents: str) -> Operator:
    return Operator(
        id=OperatorId(name),
        name=f"{name} Ltd",
        seat=CountryCode("DE"),
        parents=tuple(Parent(name=parent, country=CountryCode("DE")) for parent in parents),
    )


def test_a_renewed_order_is_the_same_level_with_a_later_end():
    last = order(generation=4)
    later = WallTime(START + HOUR_US)
    fresh = order_renewed(last, 4, now=later, lifetime_us=DAY_US)
    assert (fresh.generation, fresh.issued_us, fresh.expires_us) == (5, later, later + DAY_US)
    same = ("node", "instance", "wanted", "workload", "site", "operators", "ordinal", "plan", "reason")
    assert all(getattr(fresh, name) == getattr(last, name) for name in same)


def test_only_running_work_is_renewed_and_in_time():
    due = {"renew_us": 6 * HOUR_US}
    assert not is_due_for_renewal(order(), None, now=START, **due)
    assert is_due_for_renewal(order(), None, now=WallTime(order().expires_us - 6 * HOUR_US), **due)
    assert not is_due_for_renewal(order(wanted=False), None, now=order().expires_us, **due)
    assert is_due_for_renewal(order(), report(generation=2), now=START, **due), "its node holds a later one"


def test_the_chain_of_holders_goes_along_nearest_first_each_once():
    leaf, middle, top = operator("leaf", "middle Ltd", "a person"), operator("middle", "top"), operator("top", "leaf")
    known = {one.id: one for one in (leaf, middle, top)}
    assert operator_chain(leaf, known) == (leaf, middle, top), "a ring ends where it began"
    assert operator_chain(top, {top.id: top}) == (top,)


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4), min_size=1))
def test_never_is_a_holder_named_twice_or_an_unknown_one_at_all(holdings: dict[str, list[str]]):
    known = {OperatorId(name): operator(name, *parents) for name, parents in holdings.items()}
    for one in known.values():
        chain = operator_chain(one, known)
        assert chain[0] == one
        assert len({member.id for member in chain}) == len(chain)
        assert all(member.id in known for member in chain)


def test_the_records_of_this_kit_hang_together():
    assert (order().node, order().instance, order().site, order().operators) == (ME, INSTANCE, SITE, (OPERATOR,))
    assert order(replace(workload(), generation=2)).workload.generation == 2
    assert node().operator == OPERATOR.id
