"""Solvers behind the planner that know how near the optimum they are: mixed-integer models by HiGHS, and assignment.

They know numbers only, no nodes and no workloads; `hanse.placement.optimise` turns a plan into one of their models.
"""

from hanse.placement.solvers.assign import Assigned, assign
from hanse.placement.solvers.assigning import Assigning
from hanse.placement.solvers.mip import Effort, Model, Solution, Watch, solve

__all__ = ["Assigned", "Assigning", "Effort", "Model", "Solution", "Watch", "assign", "solve"]
