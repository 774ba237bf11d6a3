"""Prove that rules deny all that a property forbids: `property, packs, facts at now, analyst -> proof`.

The question is put symbolically: is there a request, among all that the schema allows, which the rules allow and which
would be denied if the property were a rule too? The analyst (a compiler and a solver, somebody else's job) says no,
and then it is proved; or shows one. First nothing but the schema is assumed, then what the encoding guarantees on the
facts of `now` (`encoding`); the answer says which was needed.

A proof speaks of what Cedar sees, with the packs in force that the property names, or more. It does not say that facts
are true, that the code which computes reach and adequacy is right, or that a domain has these packs in force.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from hanse.core.fabric import Fabric
from hanse.core.time import WallTime, to_datetime
from hanse.core.work import Workload
from hanse.policy.encoding import assumptions
from hanse.policy.facts import FactsNow, facts_at
from hanse.policy.packs import PackSet, reads_of_rules
from hanse.policy.pool import Instance, fabric_case, from_model, real_case
from hanse.policy.properties import Property
from hanse.policy.rules import Rule

PERMIT_ALL = 'permit (principal is Workload, action == Action::"place", resource is Node);'


class Analysis(Protocol):
    """What an analyst found: `never`, `counterexample` (with a request and entities in Cedar's JSON) or `undecided`."""

    @property
    def outcome(self) -> str:
        """``never``, ``counterexample`` or ``undecided``."""
        ...

    @property
    def principal(self) -> str:
        """Id of the principal of the counterexample."""
        ...

    @property
    def resource(self) -> str:
        """Id of the resource of the counterexample."""
        ...

    @property
    def entities(self) -> str:
        """Its entities in Cedar's JSON form."""
        ...


class Analyst(Protocol):
    """Answers two questions about requests of the schema for the action ``place``."""

    def escapes(self, wide: str, narrow: str) -> Analysis:
        """Find a request that the first rules allow and the second deny."""
        ...

    def errs(self, policy: str) -> Analysis:
        """Find a request on which this one policy errs."""
        ...


class Outcome(StrEnum):
    """What came of a property."""

    PROVED = "proved"
    """For all requests that the schema allows, whatever the facts."""
    PROVED_ON_FACTS = "proved-on-facts"
    """For all requests that the schema and the dated facts allow."""
    COUNTEREXAMPLE = "counterexample"
    HOLLOW = "hollow"
    """Nothing that can be asked matches the property: it says nothing."""
    UNDECIDED = "undecided"
    CHECKED = "checked"
    """No counterexample among the classes tried. Not a proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The answer for one property."""

    id: str
    title: str
    packs: tuple[str, ...]
    file: str
    line: int
    outcome: Outcome
    why: str
    """One sentence: what the answer covers."""
    counterexample: Instance | None = None

    @property
    def is_held(self) -> bool:
        """Whether nothing speaks against the property."""
        return self.outcome in {Outcome.PROVED, Outcome.PROVED_ON_FACTS, Outcome.CHECKED}


def prove(wanted: Property, packs: PackSet, now: WallTime, analyst: Analyst) -> Proof:
    """Prove one property on the facts of `now`, or show what breaks it. Raises what the analyst raises."""
    rules = "\n".join(rule.text for rule in packs.rules_of(wanted.packs))
    stated = wanted.rule.text
    if analyst.errs(stated).outcome != "never":
        return _answer(wanted, Outcome.UNDECIDED, "the property itself can err, and would then match nothing: mend it")
    facts = facts_at(packs.facts, now)
    reads = reads_of_rules((*packs.rules_of(wanted.packs), wanted.rule))
    known = "\n".join(assumptions(facts, reads))
    if analyst.escapes(f"{PERMIT_ALL}\n{known}", f"{PERMIT_ALL}\n{known}\n{stated}").outcome == "never":
        why = "no request that the facts allow matches the property, so it says nothing: mend its conditions"
        return _answer(wanted, Outcome.HOLLOW, why)
    if analyst.escapes(rules, f"{rules}\n{stated}").outcome == "never":
        return _answer(wanted, Outcome.PROVED, "for every request that the schema allows, whatever the facts")
    found = analyst.escapes(f"{rules}\n{known}", f"{rules}\n{known}\n{stated}")
    match found.outcome:
        case "never":
            why = f"for every request that the schema and the facts of {_day(facts)} allow"
            return _answer(wanted, Outcome.PROVED_ON_FACTS, why)
        case "undecided":
            return _answer(wanted, Outcome.UNDECIDED, "the solver gave up within its limits")
        case _:
            return _refuted(wanted, packs, facts, found)


def check_classes(wanted: Property, packs: PackSet, now: WallTime, why_not: str) -> Proof:
    """Try every class that the packs' own cases make, where no solver can serve. This is not a proof.

    `why_not` says why there was none.
    """
    facts = facts_at(packs.facts, now)
    found, tried = real_case(wanted, packs, facts)
    if found is not None:
        return _answer(wanted, Outcome.COUNTEREXAMPLE, "found among the cases of the packs", found)
    why = f"NOT A PROOF ({why_not}): {tried:,} combinations of the packs' own cases hold no counterexample"
    return _answer(wanted, Outcome.CHECKED, why)


def check_fabric(
    wanted: Property, packs: PackSet, now: WallTime, at: tuple[Sequence[Workload], Fabric], why_not: str
) -> Proof:
    """Try every class of work and of nodes that there is, where no solver can serve. This is not a proof.

    `at` is the work and the fabric of now, `why_not` says why there was no proof.
    """
    found, tried = fabric_case(wanted, packs, facts_at(packs.facts, now), *at)
    if found is not None:
        return _answer(wanted, Outcome.COUNTEREXAMPLE, "this work and a node of the running fabric show it", found)
    why = f"NOT A PROOF ({why_not}): {tried:,} combinations of classes of the running fabric hold no counterexample"
    return _answer(wanted, Outcome.CHECKED, why)


def rules_that_can_err(rules: tuple[Rule, ...], analyst: Analyst) -> tuple[Rule, ...]:
    """Rules on which some request that the schema allows makes Cedar err, in order: each such request is denied."""
    return tuple(rule for rule in rules if analyst.errs(rule.text).outcome != "never")


def _refuted(wanted: Property, packs: PackSet, facts: FactsNow, found: Analysis) -> Proof:
    entities: Mapping[tuple[str, str], Mapping[str, Any]] = {
        (e["uid"]["type"], e["uid"]["id"]): e for e in json.loads(found.entities)
    }
    shown = from_model(wanted, packs, facts, entities, principal=found.principal, resource=found.resource)
    if shown.is_real:
        why = f"screened anew with the facts of {_day(facts)}: this workload is allowed on this node"
        return _answer(wanted, Outcome.COUNTEREXAMPLE, why, shown)
    real, _ = real_case(wanted, packs, facts)
    if real is not None:
        return _answer(wanted, Outcome.COUNTEREXAMPLE, "found among the cases of the packs, and screened anew", real)
    why = "the schema allows it; no workload and node that show it could be made from the facts of today"
    return _answer(wanted, Outcome.COUNTEREXAMPLE, why, shown)


def _answer(wanted: Property, outcome: Outcome, why: str, shown: Instance | None = None) -> Proof:
    return Proof(
        id=wanted.id, title=wanted.title, packs=wanted.packs, file=wanted.rule.file, line=wanted.rule.line,
        outcome=outcome, why=why, counterexample=shown,
    )  # fmt: skip


def _day(facts: FactsNow) -> str:
    return to_datetime(facts.now).date().isoformat()
