"""Prove properties with the solver at hand, or say that there is none: `packs, properties -> proofs`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from hanse.adapters.prover import Prover, ProverError, SolverLimits
from hanse.control.proofs import Otherwise
from hanse.core.time import WallTime
from hanse.policy import Outcome, PackSet, Proof, Property, Rule, check_classes, prove, rules_that_can_err
from hanse.policy.schema import SCHEMA_TEXT

_NO_PROOF = frozenset({"prove.no_solver", "prove.unsupported"})


SUBMISSION_US = 60_000_000
"""What all proofs of one submission may take, wall time; what is left then is tried on the running fabric."""
SUBMISSION_LIMITS = SolverLimits(time_ms=5_000)
"""For one question at submission: somebody waits, and shipped properties need some hundred milliseconds."""


def prove_properties(packs: PackSet, properties: Sequence[Property], now: WallTime) -> tuple[Proof, ...]:
    """Prove each property on the facts of `now`.

    Where no solver is installed, or a rule uses what cannot be put to one, the classes that the packs' own cases make
    are tried instead, and the answer says that it is no proof. Raises ProverError where a solver fails.
    """
    with Prover(SCHEMA_TEXT) as analyst:
        return tuple(_prove(one, packs, now, analyst) for one in properties)


def prove_submitted(
    packs: PackSet, properties: Sequence[Property], now: WallTime, otherwise: Otherwise
) -> tuple[Proof, ...]:
    """Prove each property within a bound in all; `otherwise` answers for those where no solver could.

    The solver runs in a process of its own, which ends with the bound whatever it is at.
    """
    late = time.monotonic() + SUBMISSION_US / 1e6
    found = []
    with Prover(SCHEMA_TEXT, SUBMISSION_LIMITS) as analyst:
        for one in properties:
            if time.monotonic() >= late:
                found.append(otherwise(one, "the time for proofs was over"))
                continue
            try:
                proof = prove(one, packs, now, analyst)
            except ProverError as error:
                proof = otherwise(one, error.message)
            found.append(otherwise(one, proof.why) if proof.outcome is Outcome.UNDECIDED else proof)
    return tuple(found)


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
