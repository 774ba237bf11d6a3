"""Prove properties with the solver at hand, or say that there is none: `packs, properties -> proofs`."""

from __future__ import annotations

from collections.abc import Sequence

from hanse.adapters.prover import Prover, ProverError
from hanse.core.time import WallTime
from hanse.policy import PackSet, Proof, Property, Rule, check_classes, prove, rules_that_can_err
from hanse.policy.schema import SCHEMA_TEXT

_NO_PROOF = frozenset({"prove.no_solver", "prove.unsupported"})


def prove_properties(packs: PackSet, properties: Sequence[Property], now: WallTime) -> tuple[Proof, ...]:
    """Prove each property on the facts of `now`.

    Where no solver is installed, or a rule uses what cannot be put to one, the classes that the packs' own cases make
    are tried instead, and the answer says that it is no proof. Raises ProverError where a solver fails.
    """
    with Prover(SCHEMA_TEXT) as analyst:
        return tuple(_prove(one, packs, now, analyst) for one in properties)


def _prove(wanted: Property, packs: PackSet, now: WallTime, analyst: Prover) -> Proof:
    try:
        return prove(wanted, packs, now, analyst)
    except ProverError as error:
        if error.code not in _NO_PROOF:
            raise
        return check_classes(wanted, packs, now, error.message)


def erring_rules(packs: PackSet, names: Sequence[str]) -> tuple[Rule, ...]:
    """Rules of these packs on which Cedar can err; none where no solver can tell."""
    try:
        with Prover(SCHEMA_TEXT) as analyst:
            return rules_that_can_err(packs.rules_of(tuple(names)), analyst)
    except ProverError as error:
        if error.code not in _NO_PROOF:
            raise
        return ()
