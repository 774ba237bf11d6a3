"""Proves: holders from outside are added up along every chain, by capital and votes, and SecNumCloud's limits hold."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.core.fabric import KeyHolder, Operator, Parent
from hanse.core.ids import CountryCode
from hanse.policy import secnumcloud
from hanse.policy.control import SINGLE_PERMILLE, TOGETHER_PERMILLE, holdings, key_reach

UNION = frozenset({"DE", "FR", "NL"})


def inside(country: CountryCode) -> bool:
    return country in UNION


def held(country: str, share: int, *, name: str = "Holder", veto: bool = False, votes: int | None = None) -> Parent:
    return Parent(name=name, country=CountryCode(country), share_permille=share, has_veto=veto, votes_permille=votes)


def known(*operators: Operator) -> dict[object, Operator]:
    return {one.id: one for one in operators}


@pytest.mark.parametrize(
    ("parents", "misses"),
    [
        ((), 0),
        ((held("US", 240),), 0),
        ((held("US", 241),), 1),
        ((held("US", 10, votes=241),), 1),
        ((held("US", 241, votes=10),), 1),
        ((held("US", 200, name="a"), held("CN", 190, name="b")), 0),
        ((held("US", 200, name="a"), held("CN", 191, name="b")), 1),
        ((held("DE", 1_000),), 0),
        ((held("GB", 1, veto=True),), 1),
        ((held("DE", 1, veto=True),), 0),
        ((held("US", 900, veto=True),), 3),
    ],
)
def test_shares_and_vetoes(parents: tuple[Parent, ...], misses: int, make: SimpleNamespace) -> None:
    operator = make.operator("hafen", "DE", *parents)
    assert len(secnumcloud(operator, {}, inside)) == misses


def test_a_chain_passes_on_its_share_and_a_controlled_holder_counts_whole(make: SimpleNamespace) -> None:
    minority = make.operator("elbe", "NL", held("US", 400, name="Reef"))
    below = make.operator("hafen", "DE", held("NL", 500, name="Elbe"))
    (one,) = holdings(below, known(minority, below), inside)
    assert (one.permille, one.name) == (200, "Reef")
    assert one.path == "Hafen <- Elbe (NL, 50 %) <- Reef (US, 40 %)"
    controlled = make.operator("elbe", "NL", held("US", 510, name="Reef"))
    (whole,) = holdings(below, known(controlled, below), inside)
    assert (whole.permille, whole.name) == (500, "Elbe")
    assert secnumcloud(below, known(controlled, below), inside) == (
        "50 % is more than 24 % for one holder: Hafen <- Elbe (NL, 50 %) <- Reef (US, 51 %)",
        "50 % is more than 39 % together: Hafen <- Elbe (NL, 50 %) <- Reef (US, 51 %)",
    )


def test_one_holder_by_two_ways_is_one_holder(make: SimpleNamespace) -> None:
    left = make.operator("left", "NL", held("US", 400, name="Reef"))
    right = make.operator("right", "FR", held("US", 400, name="Reef"))
    both = make.operator("hafen", "DE", held("NL", 350, name="Left"), held("FR", 350, name="Right"))
    missed = secnumcloud(both, known(left, right, both), inside)
    assert missed[0].startswith("28 % is more than 24 % for one holder")


def test_holders_that_hold_each_other_end(make: SimpleNamespace) -> None:
    left = make.operator("left", "NL", held("FR", 600, name="Right"))
    right = make.operator("right", "FR", held("NL", 600, name="Left"))
    assert holdings(left, known(left, right), inside) == ()


def test_keys_support_and_seat_count(make: SimpleNamespace) -> None:
    trustee = make.operator("vault", "FR", held("US", 1_000, name="Vault Inc"))
    base: Operator = make.operator("hafen", "DE")
    keys = Operator(id=base.id, name=base.name, seat=base.seat, key_holders=(
        KeyHolder(name="Vault", country=CountryCode("FR")),))  # fmt: skip
    assert [country for country, _ in key_reach(keys, known(trustee, keys))] == ["FR", "US"]
    assert secnumcloud(keys, known(trustee, keys), inside) == (
        "keys of Hafen with Vault (FR): Vault <- Vault Inc (US, 100 %)",
    )
    helped = Operator(id=base.id, name=base.name, seat=base.seat, support=(CountryCode("DE"), CountryCode("IN")))
    assert secnumcloud(helped, {}, inside) == ("support of Hafen from IN",)
    assert secnumcloud(make.operator("alp", "CH"), {}, inside) == ("Alp: seat in CH",)


@given(shares=st.lists(st.tuples(st.sampled_from(["US", "CN", "DE"]), st.integers(0, 1_000)), max_size=5))
def test_never_passes_what_the_thresholds_forbid(shares: list[tuple[str, int]]) -> None:
    parents = tuple(held(country, share, name=f"h{n}") for n, (country, share) in enumerate(shares))
    operator = Operator(id="op", name="op", seat=CountryCode("DE"), parents=parents)  # type: ignore[arg-type]
    outside = [share for country, share in shares if country != "DE"]
    is_over = sum(outside) > TOGETHER_PERMILLE or any(share > SINGLE_PERMILLE for share in outside)
    assert bool(secnumcloud(operator, {}, inside)) is is_over
