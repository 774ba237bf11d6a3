"""Who controls an operator: every country whose law reaches it, each with the path that proves it.

`operator, operators -> ((country, path), ...)`. A country reaches an operator through its seat, through a holder with
more than half of capital or votes, or through a holder with a veto; and through whoever holds that holder likewise.
Where the machines stand plays no part: location is not control (18 U.S.C. 2713 reaches data "regardless of
location"). The test of control adds up no minority shares: two holders of 30 % from one country do not reach an
operator by it. Another rule set does, and stands beside it: SecNumCloud 3.2 section 19.6 (`holdings`, `secnumcloud`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hanse.core.fabric import Operator, Parent
from hanse.core.ids import CountryCode, OperatorId

MAJORITY_PERMILLE = 500
"""Control begins above this share: exactly one half decides nothing alone."""


SECNUMCLOUD = "secnumcloud-19.6"
"""Name of the rule set of SecNumCloud 3.2 section 19.6, as rules see it among the tests that an operator passes."""
SINGLE_PERMILLE, TOGETHER_PERMILLE = 240, 390
"""Its thresholds: capital or votes that one holder from outside, and all of them together, may have at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A share that somebody seated outside a bloc has, directly or through others."""

    name: str
    country: CountryCode
    permille: int
    has_veto: bool
    path: str


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
    """Tell whether this holder alone controls: more than half of capital or votes, or a veto."""
    return parent.weight_permille > MAJORITY_PERMILLE or parent.has_veto


def key_reach(
    operator: Operator, operators: Mapping[OperatorId, Operator], by_name: Mapping[str, Operator] | None = None
) -> tuple[tuple[CountryCode, str], ...]:
    """Find every country whose law reaches who else holds the operator's keys, in country order, each with its path.

    Nobody stated means that the operator alone holds them, whom `control_reach` speaks of.
    """
    if not operator.key_holders:
        return ()
    named = holders_by_name(operators) if by_name is None else by_name
    found: dict[CountryCode, str] = {}
    for holder in operator.key_holders:
        path = f"keys of {operator.name} with {holder.name} ({holder.country})"
        found.setdefault(holder.country, path)
        known = named.get(holder.name)
        for country, above in control_reach(known, operators, named) if known is not None else ():
            found.setdefault(country, f"{path}: {above}")
    return tuple(sorted(found.items()))


def holdings(
    operator: Operator,
    operators: Mapping[OperatorId, Operator],
    is_inside: Callable[[CountryCode], bool],
    by_name: Mapping[str, Operator] | None = None,
) -> tuple[Holding, ...]:
    """Find what holders outside have in an operator, directly or through others, largest first.

    A holder inside that somebody outside controls counts whole, as if it stood outside itself; one in which others
    outside have minorities passes on their share of its share, rounded up. Circular holdings end where they close.
    """
    if not operator.parents:
        return ()
    named = holders_by_name(operators) if by_name is None else by_name
    found = _holdings(operator, named, is_inside, operator.name, (operator.id,))
    return tuple(sorted(found, key=lambda one: (-one.permille, one.name, one.path)))


def secnumcloud(
    operator: Operator,
    operators: Mapping[OperatorId, Operator],
    is_inside: Callable[[CountryCode], bool],
    by_name: Mapping[str, Operator] | None = None,
) -> tuple[str, ...]:
    """Say what in an operator misses SecNumCloud 3.2 section 19.6, each with its path; empty where it passes.

    Seat, holders (24 % each, 39 % together, no veto), keys and support inside; `is_inside` tells what is in the Union.
    Holders that nobody stated are not seen. `by_name` as `control_reach` takes it.
    """
    missed: list[str] = []
    if not is_inside(operator.seat):
        missed.append(f"{operator.name}: seat in {operator.seat}")
    found = holdings(operator, operators, is_inside, by_name)
    for name in dict.fromkeys(one.name for one in found):
        mine = [one for one in found if one.name == name]
        share = sum(one.permille for one in mine)
        if share > SINGLE_PERMILLE:
            missed.append(f"{share / 10:g} % is more than 24 % for one holder: {mine[0].path}")
    missed += [f"a veto: {one.path}" for one in found if one.has_veto]
    together = sum(one.permille for one in found)
    if together > TOGETHER_PERMILLE:
        missed.append(f"{together / 10:g} % is more than 39 % together: {'; '.join(one.path for one in found)}")
    missed += [path for country, path in key_reach(operator, operators, by_name) if not is_inside(country)]
    missed += [f"support of {operator.name} from {c}" for c in sorted(operator.support) if not is_inside(c)]
    return tuple(missed)


def _holdings(
    held: Operator, by_name: Mapping[str, Operator], is_inside: Callable[[CountryCode], bool], path: str,
    seen: tuple[OperatorId, ...],
) -> list[Holding]:  # fmt: skip
    found: list[Holding] = []
    for parent in sorted(held.parents, key=lambda p: (p.country, p.name)):
        step = f"{path} <- {parent.name} ({parent.country}, {_why(parent)})"
        holder = by_name.get(parent.name)
        above = (
            [] if holder is None or holder.id in seen
            else _holdings(holder, by_name, is_inside, step, (*seen, holder.id))
        )  # fmt: skip
        from_outside = not is_inside(parent.country) or (holder is not None and not is_inside(holder.seat))
        if from_outside:
            found.append(_whole(parent, step))
            continue
        in_control = [one for one in above if one.permille > MAJORITY_PERMILLE or one.has_veto]
        if in_control:
            found.append(_whole(parent, in_control[0].path))
            continue
        for one in above:
            share = -(-one.permille * parent.weight_permille // 1_000)
            found.append(Holding(name=one.name, country=one.country, permille=share, has_veto=False, path=one.path))
    return found


def _whole(parent: Parent, path: str) -> Holding:
    return Holding(
        name=parent.name, country=parent.country, permille=parent.weight_permille, has_veto=parent.has_veto, path=path
    )


def _controlling(operator: Operator) -> list[Parent]:
    return sorted((p for p in operator.parents if has_control(p)), key=lambda p: (p.country, p.name))


def _why(parent: Parent) -> str:
    votes = parent.votes_permille
    share = f"{parent.share_permille / 10:g} %" + ("" if votes is None else f", votes {votes / 10:g} %")
    return f"{share} and a veto" if parent.has_veto and parent.weight_permille <= MAJORITY_PERMILLE else share
