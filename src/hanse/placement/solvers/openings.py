"""Which agents to use at all, where using one costs: sets of agents that look better than those in use.

`Assigning, sets of agents -> estimates -> sets, most promising first`. A window of jobs cannot see that another set of
agents altogether would be cheaper; this looks at the set with one more agent, one less, or one exchanged for another,
and goes on from the best. An estimate shares the jobs out one by one, each to the cheapest agent with room, who has
most to lose first; all sets at once, so that thousands cost milliseconds. It promises nothing: what looks good is for
the solver to prove. Deterministic.

Source: Kuehn, Hamburger, "A heuristic program for locating warehouses", Management Science 9 (1963): add, drop, shift.
"""

from __future__ import annotations

import numpy as np

from hanse.placement.solvers.assigning import Assigning
from hanse.placement.solvers.mip import Flags, Floats, Ints

_MOST_CELLS = 2_000_000
"""Sets times agents looked at together: what stays within the processor's cache is quick."""
_MOST_STEPS = 12
"""Exchanges in a row."""


def promising(of: Assigning, used: Flags, most: int) -> tuple[Flags, ...]:
    """Up to `most` sets of agents near `used`, the cheapest by estimate first.

    `used` and each set: one flag per agent.
    """
    order, seen = _turn(of.costs, used), dict[bytes, tuple[float, Flags]]()
    here = used
    for _ in range(_MOST_STEPS):
        near = [one for one in _near(here) if one.tobytes() not in seen]
        if not near:
            break
        for one, cost in zip(near, _estimates(of, np.array(near), order), strict=True):
            seen[one.tobytes()] = (float(cost), one)
        least, best = min(((cost, one) for cost, one in seen.values()), key=lambda found: found[0])
        if not np.isfinite(least) or (best == here).all():
            break
        here = best
    ranked = sorted((cost, key) for key, (cost, _) in seen.items() if np.isfinite(cost))
    return tuple(seen[key][1] for _, key in ranked[:most])


def _turn(costs: Floats, used: Flags) -> Ints:
    """Jobs by what the second best agent in use costs them more than the best: who has most to lose comes first."""
    among = np.sort(np.where(np.isfinite(costs), costs, 1e15)[used], axis=0)
    lost = among[1] - among[0] if len(among) > 1 else among[0]
    return np.argsort(-lost, kind="stable")


def _near(here: Flags) -> list[Flags]:
    inside, outside = np.flatnonzero(here), np.flatnonzero(~here)
    changed = [(int(i),) for i in (*inside, *outside)] + [(int(i), int(o)) for i in inside for o in outside]
    near = []
    for agents in changed:
        one = here.copy()
        one[list(agents)] ^= True
        if one.any():
            near.append(one)
    return near


def _estimates(of: Assigning, sets: Flags, order: Ints) -> Floats:
    step = max(1, _MOST_CELLS // max(1, len(of.capacity)))
    parts = [_estimate(of, sets[first : first + step], order) for first in range(0, len(sets), step)]
    return np.concatenate(parts)


def _estimate(of: Assigning, sets: Flags, order: Ints) -> Floats:
    """What each set costs if its jobs choose in turn; infinite where one finds no room."""
    room = np.where(sets, of.capacity, -np.inf)
    total, every = sets @ of.opening, np.arange(len(sets))
    for job in order.tolist():
        offers = np.where(room >= of.uses[:, job], of.costs[:, job], np.inf)
        chosen = offers.argmin(axis=1)
        total += offers[every, chosen]
        room[every, chosen] -= of.uses[chosen, job]
    return np.asarray(total)
