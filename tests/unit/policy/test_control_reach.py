"""Proves: whose law reaches an operator follows majorities and vetoes up every chain, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hanse.core.fabric import Operator, Parent
from hanse.core.ids import CountryCode
from hanse.policy import control_reach


def _held(country: str, share: int = 1_000, *, name: str = "Holder", veto: bool = False) -> Parent:
    return Parent(name=name, country=CountryCode(country), share_permille=share, has_veto=veto)


@pytest.mark.parametrize(
    ("parents", "reached"),
    [
        ((), {"DE"}),
        ((_held("US"),), {"DE", "US"}),
        ((_held("US", 500),), {"DE"}),
        ((_held("US", 501),), {"DE", "US"}),
        ((_held("CN", 10, veto=True),), {"DE", "CN"}),
        ((_held("US", 499), _held("CN", 499)), {"DE"}),
        ((_held("DE"),), {"DE"}),
    ],
)
def test_majority_and_veto(parents: tuple[Parent, ...], reached: set[str], make: SimpleNamespace) -> None:
    operator = make.operator("hafen", "DE", *parents)
    assert {country for country, _ in control_reach(operator, {})} == reached


def test_a_chain_of_holders_is_followed_and_told(make: SimpleNamespace) -> None:
    middle: Operator = make.operator("elbe", "NL", _held("KY", 600, name="Reef Ltd"))
    operator = make.operator("hafen", "DE", _held("NL", name="Elbe"))
    assert control_reach(operator, {middle.id: middle, operator.id: operator}) == (
        ("DE", "Hafen: seat in DE"),
        ("KY", "Hafen <- Elbe (NL, 100 %) <- Reef Ltd (KY, 60 %)"),
        ("NL", "Hafen <- Elbe (NL, 100 %)"),
    )


def test_a_circle_of_holdings_ends(make: SimpleNamespace) -> None:
    a = make.operator("a", "DE", _held("FR", name="B"))
    b = make.operator("b", "FR", _held("DE", name="A"))
    assert [c for c, _ in control_reach(a, {a.id: a, b.id: b})] == ["DE", "FR"]
