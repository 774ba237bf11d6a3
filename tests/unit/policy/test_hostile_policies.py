"""Proves: policies made to hurt are refused or only deny, in bounded time. The bench tries ten thousand of them."""

from __future__ import annotations

import pytest
from benches.hostile import try_all

from hanse.adapters.package_data import read_packs
from hanse.policy import PolicyError, parse_packs
from hanse.policy.rules import parse_rules


def test_hostile_policies_neither_crash_nor_allow_nor_take_long() -> None:
    found = try_all(300, seed=11)
    assert found.refused > 50, "some are wrong"
    assert found.asked > 50, "some are well-formed, so that they are asked"
    assert found.denied > 20, "and some of those bite"
    assert found.slowest_ms < 5_000


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 5_000 + "true" + ")" * 5_000, "if true then (" * 900 + "true" + ") else false" * 900,
        " || ".join(["true"] * 5_000), "resource" + ".operator" * 5_000, "!(" * 5_000 + "true" + ")" * 5_000,
        "[" * 5_000 + "]" * 5_000, " + ".join(["1"] * 5_000) + " > 2", "{a: " * 5_000 + "1" + "}" * 5_000,
    ],
)  # fmt: skip
def test_what_would_overflow_the_parsers_stack_is_refused_before_it_is_parsed(condition: str) -> None:
    text = f'@id("x.a") @cite("c") @message("m") forbid (principal, action, resource) when {{ {condition} }};'
    with pytest.raises(PolicyError, match="a policy of"):
        parse_rules("x.cedar", text)


@pytest.mark.parametrize(("within", "why"), [("[a]", "circle"), ("[b]", "circle"), ("[zz]", "unknown")])
def test_classes_of_data_in_a_circle_or_within_nothing_are_refused(within: str, why: str) -> None:
    name = "facts/jurisdictions.yaml"
    text = read_packs()[name].replace("  - {name: public}", f"  - {{name: public}}\n  - {{name: a, within: {within}}}\n"
                                      "  - {name: b, within: [a]}")  # fmt: skip
    with pytest.raises(PolicyError, match=why):
        parse_packs({**read_packs(), name: text})
