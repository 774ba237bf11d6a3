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
    yield from ((one, site, op, node) for one in _smaller_work(work))
    yield from ((work, site, one, node) for one in _smaller_operator(op))
    yield from ((work, site, op, one) for one in _smaller_node(node))


def _smaller_work(work: Workload) -> Iterator[Workload]:
    own = work.sovereignty
    if own.seal:
        yield replace(work, sovereignty=replace(own, seal={}))
    if own.control_exclude:
        yield replace(work, sovereignty=replace(own, control_exclude=own.control_exclude[1:]))
    if own.location_only:
        yield replace(work, sovereignty=replace(own, location_only=own.location_only[1:]))
    if own.grade:
        yield replace(work, sovereignty=replace(own, grade=0))
    if own.cada:
        yield replace(work, sovereignty=replace(own, cada=0))
    for at in range(len(work.data.classes)):
        yield replace(work, data=replace(work.data, classes=_without(work.data.classes, at)))


def _smaller_operator(op: Operator) -> Iterator[Operator]:
    if op.seal:
        yield replace(op, seal={})
    if op.cada:
        yield replace(op, cada=0)
    yield from (replace(op, parents=_without(op.parents, at)) for at in range(len(op.parents)))
    yield from (replace(op, certificates=_without(op.certificates, at)) for at in range(len(op.certificates)))
    yield from (replace(op, verified=_without(op.verified, at)) for at in range(len(op.verified)))
    yield from (replace(op, key_holders=_without(op.key_holders, at)) for at in range(len(op.key_holders)))
    yield from (replace(op, support=_without(op.support, at)) for at in range(len(op.support)))
    if op.grade > Grade.CLAIMED:
        yield replace(op, grade=Grade(op.grade - 1))


def _smaller_node(node: Node) -> Iterator[Node]:
    if node.attested is not None:
        yield replace(node, attested=None)
    if node.measured is not None:
        yield replace(node, measured=None)
    if node.grade > Grade.CLAIMED:
        yield replace(node, grade=Grade(node.grade - 1))


def _without(parts: tuple[T, ...], at: int) -> tuple[T, ...]:
    return parts[:at] + parts[at + 1 :]
