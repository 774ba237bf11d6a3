"""Who controls an operator: every country whose law reaches it, each with the path that proves it.

`operator, operators -> ((country, path), ...)`. A country reaches an operator through its seat, through a holder with
more than half of capital or votes, or through a holder with a veto; and through whoever holds that holder likewise.
Where the machines stand plays no part: location is not control (18 U.S.C. 2713 reaches data "regardless of
location"). It adds up no minority shares: two holders of 30 % from one country do not reach an operator here.
"""

from __future__ import annotations

from collections.abc import Mapping

from hanse.core.fabric import Operator, Parent
from hanse.core.ids import CountryCode, OperatorId

MAJORITY_PERMILLE = 500
"""Control begins above this share: exactly one half decides nothing alone."""


def holders_by_name(operators: Mapping[OperatorId, Operator]) -> Mapping[str, Operator]:
    """Who a holder's name may mean: an operator by id, else by name. Made once for many calls of `control_reach`."""
    return {known.name: known for known in operators.values()} | {str(k): v for k, v in operators.items()}


def control_reach(
    operator: Operator, operators: Mapping[OperatorId, Operator], by_name: Mapping[str, Operator] | None = None
) -> tuple[tuple[CountryCode, str], ...]:
    """Find every country whose law reaches `operator`, in country order, each with its shortest path for people.

    `operators` resolves holders that are operators themselves, by id or by name, so that their holders count too;
    a holder that is not in it ends the chain with its seat. Circular holdings end where they close. `by_name` is
    ``holders_by_name(operators)`` where a caller asks about many of them.
    """
    if by_name is None:
        # Most operators have no controlling holder: then there is nothing to resolve.
        by_name = holders_by_name(operators) if any(map(has_control, operator.parents)) else {}
    found: dict[CountryCode, str] = {operator.seat: f"{operator.name}: seat in {operator.seat}"}
    seen = {operator.id}
    level = [(operator, operator.name)]
    while level:
        above: list[tuple[Operator, str]] = []
        for held, path in level:
            for parent in _controlling(held):
                step = f"{path} <- {parent.name} ({parent.country}, {_why(parent)})"
                found.setdefault(parent.country, step)
                holder = by_name.get(parent.name)
                if holder is not None and holder.id not in seen:
                    seen.add(holder.id)
                    found.setdefault(holder.seat, f"{step}: seat in {holder.seat}")
                    above.append((holder, step))
        level = above
    return tuple(sorted(found.items()))


def has_control(parent: Parent) -> bool:
    """Tell whether this holder alone controls: more than half, or a veto."""
    return parent.share_permille > MAJORITY_PERMILLE or parent.has_veto


def _controlling(operator: Operator) -> list[Parent]:
    return sorted((p for p in operator.parents if has_control(p)), key=lambda p: (p.country, p.name))


def _why(parent: Parent) -> str:
    if parent.share_permille > MAJORITY_PERMILLE:
        return f"{parent.share_permille / 10:g} %"
    return f"{parent.share_permille / 10:g} % and a veto"
