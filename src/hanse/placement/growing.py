"""Columns that change by a row at a time: what an event adds or removes costs a shift in memory, not a new column.

`column, a row more or less -> the column`. Whoever hands a column in gives it away: the answer may lie in the same
memory, with spare room behind it. Nothing here knows what a column means.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]
_SPARE_PERMILLE = 20
_SPARE_LEAST = 64
"""Room left behind a column that is laid out anew, so that the next rows find it."""


def with_behind(column: Column, more: Column) -> Column:
    """A column with entries behind its own, along the first axis. Takes over `column`."""
    size = len(column) + len(more)
    whole = _whole(column)
    if len(whole) < size:
        spare = max(_SPARE_LEAST, size * _SPARE_PERMILLE // 1_000)
        whole = np.empty((size + spare, *column.shape[1:]), dtype=column.dtype)
        whole[: len(column)] = column
    whole[len(column) : size] = more
    return whole[:size]


def without_entry(column: Column, position: int) -> Column:
    """A column of one axis without one entry. Takes over `column`."""
    column[position:-1] = column[position + 1 :]
    return column[:-1]


def with_entry(column: Column, position: int, value: int) -> Column:
    """A column of one axis with one entry more, before what is at `position`. Takes over `column`."""
    longer = with_behind(column, np.array([value], dtype=column.dtype))
    longer[position + 1 :] = longer[position:-1]
    longer[position] = value
    return longer


def _whole(column: Column) -> Column:
    """The memory that a column lies at the beginning of, where that is known to be its own; else the column."""
    whole = column.base
    if not isinstance(whole, np.ndarray) or whole.dtype != column.dtype or whole.shape[1:] != column.shape[1:]:
        return column
    is_its_beginning = whole.ctypes.data == column.ctypes.data and whole.strides == column.strides
    return whole if is_its_beginning and whole.flags.c_contiguous and whole.flags.writeable else column
