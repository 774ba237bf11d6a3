"""Placement: where every replica runs, why, and whether a finished plan holds.

`plan` decides at once, `optimise` decides globally and with a bound, `audit` checks a finished plan without sharing the
planner's code, `difference` compares two plans.
All pure: no clock, no network, no random source of their own.
"""

from hanse.placement.auditor import Finding, audit
from hanse.placement.compare import PlanDifference, WorkloadDifference, difference
from hanse.placement.optimise import optimise
from hanse.placement.planner import plan
from hanse.placement.settings import PlacementSettings

__all__ = [
    "Finding",
    "PlacementSettings",
    "PlanDifference",
    "WorkloadDifference",
    "audit",
    "difference",
    "optimise",
    "plan",
]
