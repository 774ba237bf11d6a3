"""From a step to a signed order: `step, what was ordered before -> Order`.

Orders of one instance carry growing generations, whoever leads: the next one is one above the newest known.
"""

from __future__ import annotations

from collections.abc import Mapping

from hanse.core.fabric import Fabric, Operator
from hanse.core.ids import OperatorId, PlanId
from hanse.core.time import WallTime
from hanse.core.work import Workload
from hanse.rollout import Start, Stop
from hanse.wire.messages import Order


def order_to_start(
    step: Start,
    workload: Workload,
    fabric: Fabric,
    plan: PlanId,
    last: Order | None,
    *,
    now: WallTime,
    lifetime_us: int,
) -> Order:
    """Order an instance to run, with the facts about its node that the decision rested on."""
    node = fabric.nodes[step.assignment.node]
    return Order(
        node=node.id,
        instance=step.assignment.instance,
        generation=1 if last is None else last.generation + 1,
        wanted=True,
        workload=workload,
        site=fabric.site_of(node),
        operators=operator_chain(fabric.operator_of(node), fabric.operators),
        ordinal=step.assignment.ordinal,
        plan=plan,
        reason=step.reason,
        issued_us=now,
        expires_us=WallTime(now + lifetime_us),
    )


def order_to_stop(step: Stop, last: Order, plan: PlanId, *, now: WallTime, lifetime_us: int) -> Order:
    """Order an instance to stop: the same work, no longer wanted."""
    return _reissued(last, plan=plan, wanted=False, reason=step.reason, now=now, lifetime_us=lifetime_us)


def order_renewed(last: Order, *, now: WallTime, lifetime_us: int) -> Order:
    """The same level again with a later expiry."""
    return _reissued(last, plan=last.plan, wanted=last.wanted, reason=last.reason, now=now, lifetime_us=lifetime_us)


def is_due_for_renewal(order: Order, *, now: WallTime, renew_us: int) -> bool:
    """Tell whether a running order's remaining life fell to `renew_us` or below."""
    return order.wanted and order.expires_us - now <= renew_us


def operator_chain(operator: Operator, operators: Mapping[OperatorId, Operator]) -> tuple[Operator, ...]:
    """An operator and its holders that are operators themselves, up the chain, each once, nearest first."""
    by_name = {known.name: known for known in operators.values()} | {
        str(key): known for key, known in operators.items()
    }
    chain = [operator]
    for one in chain:  # grows while it is walked: the walk ends where nobody new is found
        for parent in one.parents:
            holder = by_name.get(parent.name)
            if holder is not None and holder not in chain:
                chain.append(holder)
    return tuple(chain)


def _reissued(last: Order, *, plan: PlanId, wanted: bool, reason: str, now: WallTime, lifetime_us: int) -> Order:
    return Order(
        node=last.node,
        instance=last.instance,
        generation=last.generation + 1,
        wanted=wanted,
        workload=last.workload,
        site=last.site,
        operators=last.operators,
        ordinal=last.ordinal,
        plan=plan,
        reason=reason,
        issued_us=now,
        expires_us=WallTime(now + lifetime_us),
    )
