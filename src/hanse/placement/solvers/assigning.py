"""The assignment problem as numbers: who may do what at which cost, and with how much room."""

from __future__ import annotations

from dataclasses import dataclass

from hanse.placement.solvers.mip import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigning:
    """Costs and uses per agent and job; an infinite cost forbids a pair."""

    costs: Floats
    uses: Floats
    capacity: Floats
    opening: Floats
    """Cost of using an agent at all; zeros where there is none."""
