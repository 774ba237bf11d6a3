"""From a step to a signed order: `step, what was ordered before -> Order`.

Orders of one instance carry growing generations, whoever leads: the next one is one above the newest known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from hanse.core.fabric import Fabric, Operator
from hanse.core.ids import OperatorId, PlanId
from hanse.core.layer import Policy
from hanse.core.time import WallTime
from hanse.core.work import Workload
from hanse.rollout import Start, Stop
from hanse.wire.messages import Order, Report


def order_to_start(
    step: Start,
    workload: Workload,
    fabric: Fabric,
    plan: PlanId,
    above: int,
    *,
    now: WallTime,
    lifetime_us: int,
    policies: tuple[Policy, ...] = (),
) -> Order:
    """Order an instance to run, with the facts about its node that the decision rested on.

    `above` is the last generation known of the instance (`last_generation`); `policies` are all that were submitted.
    """
    node = fabric.nodes[step.assignment.node]
    return Order(
        node=node.id,
        instance=step.assignment.instance,
        generation=above + 1,
        wanted=True,
        workload=workload,
        site=fabric.site_of(node),
        operators=operator_chain(fabric.operator_of(node), fabric.operators),
        ordinal=step.assignment.ordinal,
        plan=plan,
        reason=step.reason,
        issued_us=now,
        expires_us=WallTime(now + lifetime_us),
        attested=node.attested,
        measured=node.measured,
        policies=policies_for(policies, workload.namespace),
    )


def policies_for(policies: tuple[Policy, ...], namespace: str) -> tuple[Policy, ...]:
    """Those of the submitted policies that bind work of one namespace, in id order."""
    bound = (replace(p, properties="") for p in policies if p.namespace in {"", namespace})
    return tuple(sorted(bound, key=lambda policy: policy.id))


def order_to_stop(step: Stop, last: Order, above: int, plan: PlanId, *, now: WallTime, lifetime_us: int) -> Order:
    """Order an instance to stop: the same work, no longer wanted."""
    return _reissued(last, above, plan=plan, wanted=False, reason=step.reason, now=now, lifetime_us=lifetime_us)


def order_renewed(
    last: Order, above: int, *, now: WallTime, lifetime_us: int, policies: tuple[Policy, ...] | None = None
) -> Order:
    """The same level again with a later expiry, and with these policies that bind it now; None: those it had."""
    again = _reissued(
        last, above, plan=last.plan, wanted=last.wanted, reason=last.reason, now=now, lifetime_us=lifetime_us
    )
    return again if policies is None else msgspec.structs.replace(again, policies=policies)


def last_generation(order: Order | None, report: Report | None) -> int:
    """The newest generation known of an instance, 0 if none: an order may be lost, what a node holds is not."""
    return max(0 if order is None else order.generation, 0 if report is None else report.generation)


def is_due_for_renewal(order: Order, report: Report | None, *, now: WallTime, renew_us: int) -> bool:
    """Tell whether a running order's remaining life fell to `renew_us` or below, or its node holds a later one.

    A node refuses what is older than it holds: an order below that says nothing to it until it is issued anew.
    """
    is_overtaken = report is not None and report.generation > order.generation
    return is_overtaken or (order.wanted and order.expires_us - now <= renew_us)


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


def _reissued(
    last: Order, above: int, *, plan: PlanId, wanted: bool, reason: str, now: WallTime, lifetime_us: int
) -> Order:
    return Order(
        node=last.node,
        instance=last.instance,
        generation=above + 1,
        wanted=wanted,
        workload=last.workload,
        site=last.site,
        operators=last.operators,
        ordinal=last.ordinal,
        plan=plan,
        reason=reason,
        issued_us=now,
        expires_us=WallTime(now + lifetime_us),
        attested=last.attested,
        measured=last.measured,
        policies=last.policies,
    )
