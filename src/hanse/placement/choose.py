"""Choose a set of nodes for the replicas of one workload: cover the origins, spread, then cost least.

`Problem -> chosen positions`. Greedy over whole columns: what is kept first, then the cheapest node that leaves the
remaining origins coverable and shares the fewest failure domains, then single swaps until none improves. Compared in
the order (origins not covered, shared domains, score, node id); nothing random, so equal problems give equal answers.
Starting from what is kept and charging a move makes an unchanged world give an unchanged answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hanse.placement.cover import good_masks
from hanse.placement.demand import Spread

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_FAR = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Columns over the candidates of one workload, in node id order; all of one length."""

    score_microeur: Ints
    domains: tuple[Ints, ...]
    """Site, operator and country numbers, as far as the spread asks."""
    bill_microeur: Ints
    carbon_ug: Ints
    mask_of: Ints
    """Which of `masks` a candidate has."""
    masks: tuple[int, ...]
    """Distinct sets of origins served in time."""
    every_origin: int
    replicas: int
    most_bill_microeur: int | None
    most_carbon_ug: int | None
    kept: tuple[int, ...]
    """Positions that run the workload now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Positions chosen, ascending; origins nobody serves in time; pairs of replicas that share a domain."""

    positions: tuple[int, ...]
    uncovered: int
    shared: int
    strayed: bool = False
    """A new replica could not be given domains of its own when it was picked; swaps may have mended that since."""


def domains_for(spread: Spread, site: Ints, operator: Ints, country: Ints) -> tuple[Ints, ...]:
    """The columns in which replicas must differ for a spread."""
    return (site, operator, country)[: int(spread)]


def choose(problem: Problem) -> Choice:
    """Choose at most `problem.replicas` positions; fewer where nothing more fits or is affordable."""
    chosen: list[int] = []
    is_kept = np.zeros(len(problem.score_microeur), dtype=np.bool_)
    is_kept[list(problem.kept)] = True
    everyone = np.ones_like(is_kept)
    _fill(problem, chosen, among=is_kept)
    strayed = _fill(problem, chosen, among=everyone)
    _improve(problem, chosen)
    filled = -1
    while filled < len(chosen) < problem.replicas:
        # A swap may have left enough of a budget for one more.
        filled = len(chosen)
        strayed = _fill(problem, chosen, among=everyone) or strayed
        _improve(problem, chosen)
    positions = tuple(sorted(chosen))
    return Choice(
        positions=positions,
        uncovered=problem.every_origin & ~_covered(problem, positions),
        shared=_shared_pairs(problem, positions),
        strayed=strayed,
    )


def _fill(problem: Problem, chosen: list[int], *, among: Flags) -> bool:
    """Choose from some candidates while more are wanted; whether one shares a domain with who came before."""
    strayed = False
    while len(chosen) < problem.replicas:
        eligible = among & _affordable(problem, chosen, problem.replicas - len(chosen) - 1)
        if not eligible.any():
            return strayed
        eligible &= _leaves_coverable(problem, chosen, eligible)
        shared = _shared_with(problem, chosen)
        shared = np.where(eligible, shared, _FAR)
        least = shared.min()
        eligible &= shared == least
        strayed = strayed or bool(least)
        chosen.append(int(np.argmin(np.where(eligible, problem.score_microeur, _FAR))))
    return strayed


def _improve(problem: Problem, chosen: list[int]) -> None:
    """Swap one replica at a time while that is better; each swap lowers a bounded rank, so this ends."""
    if not chosen or _is_cheapest(problem, chosen):
        return
    improved = True
    while improved:
        improved = False
        for place in range(len(chosen)):
            others = chosen[:place] + chosen[place + 1 :]
            better = _best_with(problem, others, instead_of=chosen[place])
            if better is not None:
                chosen[place] = better
                improved = True


def _best_with(problem: Problem, others: list[int], *, instead_of: int) -> int | None:
    eligible = _affordable(problem, others, 0)
    eligible[instead_of] = True
    missing = problem.every_origin & ~_covered(problem, others)
    open_bits = np.array([(missing & ~mask).bit_count() for mask in problem.masks], dtype=np.int64)[problem.mask_of]
    shared = _shared_with(problem, others)
    rank = (int(open_bits[instead_of]), int(shared[instead_of]), int(problem.score_microeur[instead_of]))
    for column in (open_bits, shared, problem.score_microeur):
        least = np.where(eligible, column, _FAR).min()
        eligible &= column == least
    best = int(np.argmax(eligible))
    found = (int(open_bits[best]), int(shared[best]), int(problem.score_microeur[best]))
    return best if found < rank else None


def _is_cheapest(problem: Problem, chosen: list[int]) -> bool:
    """Tell whether the choice is clean and costs the sum of the cheapest, so that no swap can help."""
    if problem.every_origin & ~_covered(problem, chosen) or _shared_pairs(problem, chosen):
        return False
    cheapest = np.partition(problem.score_microeur, len(chosen) - 1)[: len(chosen)]
    return int(cheapest.sum()) == int(problem.score_microeur[chosen].sum())


def _leaves_coverable(problem: Problem, chosen: list[int], eligible: Flags) -> Flags:
    """Candidates after which the origins still open can be covered by the replicas still to come."""
    missing = problem.every_origin & ~_covered(problem, chosen)
    if not missing:
        return np.ones(len(problem.score_microeur), dtype=np.bool_)
    after = problem.replicas - len(chosen) - 1
    present = sorted(set(problem.mask_of[eligible].tolist()))
    good = good_masks(missing, tuple(sorted({problem.masks[index] for index in present})), after)
    return np.isin(problem.mask_of, [index for index in present if problem.masks[index] in good])


def _affordable(problem: Problem, chosen: list[int], to_come: int) -> Flags:
    """Candidates not chosen yet that leave enough of each budget for the replicas still to come, or for as many as it
    pays at all. Those to come count at the cheapest price.
    """
    is_open = np.ones(len(problem.score_microeur), dtype=np.bool_)
    is_open[chosen] = False
    budgets = [
        (column, most - int(column[chosen].sum()))
        for most, column in (
            (problem.most_bill_microeur, problem.bill_microeur),
            (problem.most_carbon_ug, problem.carbon_ug),
        )
        if most is not None
    ]
    for column, left in budgets:
        is_open &= column <= left
    if not budgets or not to_come:
        return is_open
    for count in range(min(to_come, int(is_open.sum()) - 1), 0, -1):
        fits = is_open.copy()
        for column, left in budgets:
            fits &= column <= left - _cheapest_sum(column[is_open], count)
        if fits.any():
            return fits
    return is_open


def _cheapest_sum(column: Ints, count: int) -> int:
    return int(np.partition(column, count - 1)[:count].sum())


def _shared_with(problem: Problem, chosen: list[int]) -> Ints:
    """For each candidate, how many (replica, domain) pairs it would share with those chosen."""
    shared = np.zeros(len(problem.score_microeur), dtype=np.int64)
    for column in problem.domains:
        for position in chosen:
            shared += column == column[position]
    return shared


def _shared_pairs(problem: Problem, positions: Sequence[int]) -> int:
    pairs = 0
    for column in problem.domains:
        values = column[list(positions)].tolist()
        pairs += sum(values[:index].count(value) for index, value in enumerate(values))
    return pairs


def _covered(problem: Problem, positions: Sequence[int]) -> int:
    covered = 0
    for position in positions:
        covered |= problem.masks[int(problem.mask_of[position])]
    return covered
