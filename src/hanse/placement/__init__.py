"""Placement: where every replica runs, why, and whether a finished plan holds.

`plan` decides at once, `replan` does so from what the last plan worked out, `optimise` decides globally and with a
bound, `audit` checks a finished plan without sharing the planner's code, `difference` compares two plans. `rehearse`
answers what an exit would mean, `headroom` what else fits, `frontier` what money buys in carbon.
All pure: no clock, no network, no random source of their own.
"""

from hanse.placement.auditor import Finding, audit
from hanse.placement.changes import Changes, changes, is_same
from hanse.placement.compare import PlanDifference, WorkloadDifference, difference
from hanse.placement.distances import measured_trips, settle
from hanse.placement.frontier import FrontierPoint, frontier
from hanse.placement.headroom import Capacity, Free, Headroom, capacity, headroom
from hanse.placement.jobs import Heard, advance, forecast_digest, is_due, next_turn_us, timed
from hanse.placement.obstacles import Obstacle, WhyNot, why_not
from hanse.placement.optimise import optimise
from hanse.placement.planner import plan, with_input
from hanse.placement.rates import posterior_ppm
from hanse.placement.rehearse import Homeless, Leaving, Rehearsal, rehearse
from hanse.placement.replan import Kept, replan
from hanse.placement.settings import PlacementSettings
from hanse.placement.shift import Shift, Waiting, mean_of, shift
from hanse.placement.spending import (
    Book,
    Outlook,
    Spent,
    accrued,
    outlook,
    pooled_outlook,
    restrained,
    restrained_together,
)
from hanse.placement.traffic import (
    entering_at,
    settle_demand,
    settle_site,
    with_measured_demand,
)

__all__ = [
    "Book",
    "Capacity",
    "Changes",
    "Finding",
    "Free",
    "FrontierPoint",
    "Headroom",
    "Heard",
    "Homeless",
    "Kept",
    "Leaving",
    "Obstacle",
    "Outlook",
    "PlacementSettings",
    "PlanDifference",
    "Rehearsal",
    "Shift",
    "Spent",
    "Waiting",
    "WhyNot",
    "WorkloadDifference",
    "accrued",
    "advance",
    "audit",
    "capacity",
    "changes",
    "difference",
    "entering_at",
    "forecast_digest",
    "frontier",
    "headroom",
    "is_due",
    "is_same",
    "mean_of",
    "measured_trips",
    "next_turn_us",
    "optimise",
    "outlook",
    "plan",
    "pooled_outlook",
    "posterior_ppm",
    "rehearse",
    "replan",
    "restrained",
    "restrained_together",
    "settle",
    "settle_demand",
    "settle_site",
    "shift",
    "timed",
    "why_not",
    "with_input",
    "with_measured_demand",
]
