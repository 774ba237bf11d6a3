"""The least of an example: `case, is it still one -> smaller case`.

A solver's model says much that does not matter. Each part of a workload and of an operator that can go, goes, in a
fixed order, as long as the case stays what it was; what is left is what the case is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from hanse.core.fabric import Grade, Node, Operator, Site
from hanse.core.work import Workload

T = TypeVar("T")
Case = tuple[Workload, Site, Operator, Node]


def shrink(case: Case, is_still: Callable[[Case], bool]) -> Case:
    """Drop parts one by one while `is_still` holds; again from the start after each, until nothing more can go."""
    smaller = next((one for one in _smaller(case) if is_still(one)), None)
    while smaller is not None:
        case = smaller
        smaller = next((one for one in _smaller(case) if is_still(one)), None)
    return case


def _smaller(case: Case) -> Iterator[Case]:
    """Every case with one part less, the biggest parts first."""
    work, site, op, node = case
    own = work.sovereignty
    if own.seal:
        yield replace(work, sovereignty=replace(own, seal={})), site, op, node
    if own.control_exclude:
        yield replace(work, sovereignty=replace(own, control_exclude=own.control_exclude[1:])), site, op, node
    if own.location_only:
        yield replace(work, sovereignty=replace(own, location_only=own.location_only[1:])), site, op, node
    if own.grade:
        yield replace(work, sovereignty=replace(own, grade=0)), site, op, node
    for at in range(len(work.data.classes)):
        fewer = replace(work.data, classes=_without(work.data.classes, at))
        yield replace(work, data=fewer), site, op, node
    if op.seal:
        yield work, site, replace(op, seal={}), node
    for at in range(len(op.parents)):
        yield work, site, replace(op, parents=_without(op.parents, at)), node
    for at in range(len(op.certificates)):
        yield work, site, replace(op, certificates=_without(op.certificates, at)), node
    for at in range(len(op.verified)):
        yield work, site, replace(op, verified=_without(op.verified, at)), node
    if op.grade > Grade.CLAIMED:
        yield work, site, replace(op, grade=Grade(op.grade - 1)), node
    if node.grade > Grade.CLAIMED:
        yield work, site, op, replace(node, grade=Grade(node.grade - 1))


def _without(parts: tuple[T, ...], at: int) -> tuple[T, ...]:
    return parts[:at] + parts[at + 1 :]
