"""A mixed-integer linear model, built row by row and solved by HiGHS.

`Model, Effort -> Solution`. Effort is counted in search nodes and not in seconds, so that equal models give equal
answers on any machine. Who must have an answer by a certain time passes a `Watch`, and gives that up. One thread, fixed
seed.

Source: Huangfu, Hall, "Parallelizing the dual revised simplex method", Mathematical Programming Computation 10 (2018);
HiGHS is MIT-licensed. Chosen over CP-SAT because the same engine gives the linear bound that continuous work
(transport, carbon) needs, and its LP rows are the natural form of capacities and budgets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hanse.core.errors import HanseError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class SolverFailed(HanseError):
    """Raised when HiGHS reports an error instead of an answer: a malformed model, a bug in hanse."""

    code = "placement.solver-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How hard to try."""

    search_nodes: int = 2_000
    """Branch-and-bound nodes per model, 0 or more; 0 solves the root only."""
    gap: float = 1e-6
    """Relative gap at which to stop, 0..1."""


DEFAULT_EFFORT = Effort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A caller's clock and the moment to stop at; what was found until then is the answer."""

    clock_us: Callable[[], int]
    """Monotonic microseconds."""
    until_us: int

    @property
    def left_us(self) -> int:
        """Time left, 0 or more."""
        return max(self.until_us - self.clock_us(), 0)


class Model:
    """Minimise costs @ x subject to lower <= row @ x <= upper; columns first, then rows."""

    def __init__(self) -> None:
        self.costs: list[float] = []
        self.most: list[float] = []
        self.is_whole: list[bool] = []
        self.starts: list[int] = [0]
        self.columns: list[Ints] = []
        self.values: list[Floats] = []
        self.lower: list[float] = []
        self.upper: list[float] = []

    def add_columns(self, costs: Sequence[float] | Floats, most: float | Floats, *, is_whole: bool = True) -> int:
        """Add variables from 0 to `most`; returns the number of the first."""
        first = len(self.costs)
        self.costs.extend(np.asarray(costs, dtype=np.float64).tolist())
        self.most.extend(np.broadcast_to(np.asarray(most, dtype=np.float64), (len(costs),)).tolist())
        self.is_whole.extend([is_whole] * len(costs))
        return first

    def add_row(
        self, columns: Ints, values: Floats | float, *, lower: float = -math.inf, upper: float = math.inf
    ) -> None:
        """Add one constraint over distinct columns."""
        self.columns.append(np.asarray(columns, dtype=np.int64))
        self.values.append(np.broadcast_to(np.asarray(values, dtype=np.float64), (len(columns),)))
        self.starts.append(self.starts[-1] + len(columns))
        self.lower.append(lower)
        self.upper.append(upper)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The best point found, if any, and what no point can undercut."""

    values: Floats | None
    objective: float
    """Infinite where no feasible point was found."""
    bound: float
    """Infinite where none exists."""
    reduced: Floats | None = None
    """Reduced costs of a model without whole columns: what raising a column by one costs at least beyond the bound."""


def solve(
    model: Model, effort: Effort = DEFAULT_EFFORT, start: Floats | None = None, watch: Watch | None = None
) -> Solution:
    """Solve a model; `start` is a feasible point to begin from. Raises SolverFailed."""
    import highspy

    if not model.costs:
        is_met = all(low <= 0 <= high for low, high in zip(model.lower, model.upper, strict=True))
        cost = 0.0 if is_met else math.inf
        return Solution(values=np.empty(0) if is_met else None, objective=cost, bound=cost)
    highs = highspy.Highs()
    options = {
        "output_flag": False,
        "threads": 1,
        "random_seed": 0,
        "mip_max_nodes": effort.search_nodes,
        "mip_rel_gap": effort.gap,
        "mip_abs_gap": 1e-9,
    }
    for name, value in options.items():
        highs.setOptionValue(name, value)
    if highs.passModel(_program(model)) == highspy.HighsStatus.kError:
        raise SolverFailed("HiGHS refused the model", hint="this is a bug in hanse; please report it")
    if start is not None:
        point = highspy.HighsSolution()
        point.col_value = start.tolist()
        highs.setSolution(point)
    if watch is not None:
        _stop_by(highs, watch)
    if highs.run() == highspy.HighsStatus.kError:
        raise SolverFailed("HiGHS failed", hint="this is a bug in hanse; please report it")
    return _solution(highs, model)


def _stop_by(highs: Any, watch: Watch) -> None:
    """Ask the caller's clock while solving: HiGHS's own limit knows wall time only, and a caller may count CPU time."""

    def check(event: Any) -> None:
        if not watch.left_us:
            event.interrupt()

    highs.cbMipInterrupt.subscribe(check)
    highs.cbSimplexInterrupt.subscribe(check)


def _solution(highs: Any, model: Model) -> Solution:
    import highspy

    info, is_mip, status = highs.getInfo(), any(model.is_whole), highs.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return Solution(values=None, objective=math.inf, bound=math.inf)
    has_point = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    point = highs.getSolution()
    values = np.array(point.col_value) if has_point else None
    objective = float(info.objective_function_value) if has_point else math.inf
    if is_mip:
        return Solution(values=values, objective=objective, bound=min(float(info.mip_dual_bound), objective))
    if status != highspy.HighsModelStatus.kOptimal:
        return Solution(values=values, objective=objective, bound=-math.inf)
    bound, reduced = _from_duals(model, np.array(point.row_dual))
    return Solution(values=values, objective=objective, bound=min(bound, objective), reduced=reduced)


def _from_duals(model: Model, duals: Floats) -> tuple[float, Floats]:
    """The bound that any row prices prove, in plain arithmetic, so that no tolerance of the solver enters it."""
    lower, upper = np.array(model.lower), np.array(model.upper)
    duals = np.asarray(duals, dtype=np.float64)
    duals = np.where((duals > 0) & np.isinf(lower) | (duals < 0) & np.isinf(upper), 0.0, duals)
    sides = np.where(duals > 0, lower, upper)
    rows = np.repeat(np.arange(len(lower)), np.diff(model.starts))
    columns = np.concatenate([np.empty(0, dtype=np.int64), *model.columns])
    values = np.concatenate([np.empty(0), *model.values])
    costs = np.array(model.costs)
    priced = np.bincount(columns, weights=values * duals[rows], minlength=len(costs))
    reduced: Floats = (costs - priced).astype(np.float64)
    bound = float((duals[duals != 0] * sides[duals != 0]).sum() + (np.minimum(reduced, 0) * np.array(model.most)).sum())
    return bound, reduced


def _program(model: Model) -> object:
    import highspy

    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = len(model.costs), len(model.lower)
    program.col_cost_ = np.array(model.costs)
    program.col_lower_ = np.zeros(len(model.costs))
    program.col_upper_ = np.array(model.most)
    program.row_lower_, program.row_upper_ = np.array(model.lower), np.array(model.upper)
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.array(model.starts, dtype=np.int32)
    program.a_matrix_.index_ = np.concatenate([np.empty(0, dtype=np.int64), *model.columns]).astype(np.int32)
    program.a_matrix_.value_ = np.concatenate([np.empty(0), *model.values])
    whole, free = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
    if any(model.is_whole):
        program.integrality_ = [whole if is_whole else free for is_whole in model.is_whole]
    return program
