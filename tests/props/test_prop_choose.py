"""Choosing against brute force: covers whenever anything covers, never shares a domain needlessly, near the least."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.placement.choose import Problem, choose
from hanse.placement.cover import least_cover
from hanse.placement.few import choose_few


@st.composite
def problems(draw, *, with_budget: bool = False) -> Problem:
    size = draw(st.integers(1, 8))

    def column(low, high):
        return np.array(draw(st.lists(st.integers(low, high), min_size=size, max_size=size)), dtype=np.int64)

    origins = draw(st.integers(0, 4))
    masks = tuple(draw(st.lists(st.integers(0, 2**origins - 1), min_size=1, max_size=4)))
    return Problem(
        score_microeur=column(0, 100),
        domains=tuple(column(0, 3) for _ in range(draw(st.integers(0, 3)))),
        bill_microeur=column(0, 50),
        carbon_ug=column(0, 50),
        mask_of=column(0, len(masks) - 1),
        masks=masks,
        every_origin=2**origins - 1,
        replicas=draw(st.integers(1, 4)),
        most_bill_microeur=draw(st.integers(0, 120)) if with_budget else None,
        most_carbon_ug=draw(st.one_of(st.none(), st.integers(0, 120))) if with_budget else None,
        kept=tuple(sorted(draw(st.sets(st.integers(0, size - 1), max_size=3)))),
    )


def rank(problem: Problem, positions: tuple[int, ...]) -> tuple[int, int, int]:
    covered = 0
    for p in positions:
        covered |= problem.masks[problem.mask_of[p]]
    shared = sum(int(c[a] == c[b]) for c in problem.domains for a, b in combinations(positions, 2))
    missing = (problem.every_origin & ~covered).bit_count()
    return missing, shared, sum(int(problem.score_microeur[p]) for p in positions)


@given(problems())
@settings(max_examples=300, deadline=None)
def test_covers_every_origin_whenever_some_set_of_this_size_does(problem):
    count = min(problem.replicas, len(problem.score_microeur))
    best = min(rank(problem, s) for s in combinations(range(len(problem.score_microeur)), count))
    found = choose(problem)
    assert len(found.positions) == count
    if best[0] == 0:
        assert found.uncovered == 0


@given(problems())
@settings(max_examples=300, deadline=None)
def test_no_single_swap_improves_a_choice(problem):
    found = choose(problem).positions
    mine = rank(problem, found)
    for out in found:
        for into in set(range(len(problem.score_microeur))) - set(found):
            assert rank(problem, tuple(sorted({*found} - {out} | {into}))) >= mine


@given(problems())
@settings(max_examples=300, deadline=None)
def test_without_spread_and_origins_the_choice_is_the_cheapest(problem):
    plain = Problem(
        score_microeur=problem.score_microeur,
        domains=(),
        bill_microeur=problem.bill_microeur,
        carbon_ug=problem.carbon_ug,
        mask_of=np.zeros_like(problem.mask_of),
        masks=(0,),
        every_origin=0,
        replicas=problem.replicas,
        most_bill_microeur=None,
        most_carbon_ug=None,
        kept=problem.kept,
    )
    found = choose(plain).positions
    assert sum(plain.score_microeur[list(found)]) == sum(np.sort(plain.score_microeur)[: plain.replicas])


@given(problems(with_budget=True))
@settings(max_examples=300, deadline=None)
def test_no_choice_ever_costs_more_than_a_budget(problem):
    found = list(choose(problem).positions)
    if problem.most_bill_microeur is not None:
        assert sum(problem.bill_microeur[found]) <= problem.most_bill_microeur
    if problem.most_carbon_ug is not None:
        assert sum(problem.carbon_ug[found]) <= problem.most_carbon_ug


@given(st.integers(1, 14), st.lists(st.integers(0, 2**14 - 1), min_size=1, max_size=7))
@settings(max_examples=300, deadline=None)
def test_the_least_cover_is_a_cover_and_exact_for_few_origins(bits, masks):
    wanted = 2**bits - 1
    reachable = 0
    for mask in masks:
        reachable |= mask
    counts = range(1, len(masks) + 1)

    def covers(chosen):
        union = 0
        for mask in chosen:
            union |= mask
        return not wanted & reachable & ~union

    exact = next(k for k in counts if any(covers(c) for c in combinations(masks, k)))
    found = least_cover(wanted, masks)
    assert found == exact if bits <= 12 else exact <= found <= len(masks)


@given(problems())
@settings(max_examples=300, deadline=None)
def test_choosing_among_few_is_choosing_by_column(problem):
    assert choose_few(problem) == choose(problem)


@given(problems(with_budget=True))
@settings(max_examples=500, deadline=None)
def test_what_a_budget_still_pays_for_is_chosen(problem):
    found = choose(problem).positions
    if len(found) == problem.replicas:
        return
    for one in set(range(len(problem.score_microeur))) - set(found):
        wanted = [*found, one]
        over_money = problem.bill_microeur[wanted].sum() > problem.most_bill_microeur
        most_carbon = problem.most_carbon_ug
        assert over_money or (most_carbon is not None and problem.carbon_ug[wanted].sum() > most_carbon)
