"""Choose among a few candidates, one by one: the same answer as `hanse.placement.choose`, at a fraction of its cost.

`Problem -> Choice`. A shortlist has some dozens of candidates, where the fixed cost of operations on columns is most of
their time. Candidates are walked in the order of their score, so that the first one that is clean is the best one.
No budgets: what is left of them is a sum over columns, which is for `choose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hanse.core.errors import invariant
from hanse.placement.choose import Choice, Problem
from hanse.placement.cover import good_masks

MANY = 320
"""From so many candidates on, columns are quicker."""


def choose_few(problem: Problem) -> Choice:
    """Choose at most `problem.replicas` positions; fewer where nothing more fits. Never for a problem with a budget."""
    invariant(problem.most_bill_microeur is None and problem.most_carbon_ug is None, "a budget is weighed by column")
    few = _candidates(problem)
    chosen: list[int] = []
    kept = set(problem.kept)
    _fill(few, chosen, [position for position in few.order if position in kept], problem.replicas)
    strayed = _fill(few, chosen, few.order, problem.replicas)
    _improve(few, chosen)
    return Choice(
        positions=tuple(sorted(chosen)),
        uncovered=few.missing(chosen),
        shared=sum(few.shared(position, chosen[:index]) for index, position in enumerate(chosen)),
        strayed=strayed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidates:
    """A problem as lists."""

    score: list[int]
    domains: tuple[list[int], ...]
    mask: list[int]
    """The origins that each candidate serves, one bit each."""
    every_origin: int
    order: list[int]
    """Positions by score, ties by position."""

    def missing(self, chosen: Sequence[int]) -> int:
        """The origins that nobody chosen serves."""
        missing = self.every_origin
        for position in chosen:
            missing &= ~self.mask[position]
        return missing

    def shared(self, position: int, others: Sequence[int]) -> int:
        """How many (replica, domain) pairs a candidate shares with others."""
        return sum([column[position] == column[other] for column in self.domains for other in others])


def _candidates(problem: Problem) -> _Candidates:
    masks = problem.masks
    return _Candidates(
        score=problem.score_microeur.tolist(),
        domains=tuple(column.tolist() for column in problem.domains),
        mask=[masks[index] for index in problem.mask_of.tolist()],
        every_origin=problem.every_origin,
        order=np.argsort(problem.score_microeur, kind="stable").tolist(),
    )


def _fill(few: _Candidates, chosen: list[int], among: Sequence[int], replicas: int) -> bool:
    """Choose from some candidates while more are wanted; whether one shares a domain with who came before."""
    strayed = False
    while len(chosen) < replicas:
        eligible = [position for position in among if position not in chosen]
        missing = few.missing(chosen)
        if missing:
            masks = tuple(sorted({few.mask[position] for position in eligible}))
            good = good_masks(missing, masks, replicas - len(chosen) - 1)
            eligible = [position for position in eligible if few.mask[position] in good]
        best, least = -1, -1
        for position in eligible:
            shared = few.shared(position, chosen)
            if best < 0 or shared < least:
                best, least = position, shared
            if not shared:
                break
        if best < 0:
            return strayed
        strayed = strayed or bool(least)
        chosen.append(best)
    return strayed


def _improve(few: _Candidates, chosen: list[int]) -> None:
    """Swap one replica at a time while that is better; each swap lowers a bounded rank, so this ends."""
    if not chosen or _is_cheapest(few, chosen):
        return
    improved = True
    while improved:
        improved = False
        for place in range(len(chosen)):
            better = _best_with(few, chosen[:place] + chosen[place + 1 :], instead_of=chosen[place])
            if better is not None:
                chosen[place] = better
                improved = True


def _is_cheapest(few: _Candidates, chosen: list[int]) -> bool:
    cheapest = sum([few.score[position] for position in few.order[: len(chosen)]])
    if cheapest != sum([few.score[position] for position in chosen]) or few.missing(chosen):
        return False
    return not any(few.shared(position, chosen[:index]) for index, position in enumerate(chosen))


def _best_with(few: _Candidates, others: list[int], *, instead_of: int) -> int | None:
    missing = few.missing(others)

    def rank(position: int) -> tuple[int, int, int]:
        is_open = (missing & ~few.mask[position]).bit_count() if missing else 0
        return is_open, few.shared(position, others), few.score[position]

    best, least = None, rank(instead_of)
    is_clean = least[:2] == (0, 0)
    for position in few.order:
        if is_clean and few.score[position] >= least[2]:
            break  # Whoever comes now costs as much or more.
        if position in others or position == instead_of:
            continue
        found = rank(position)
        if found < least:
            best, least = position, found
            is_clean = least[:2] == (0, 0)
    return best
