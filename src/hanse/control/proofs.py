"""Properties of submitted policies, proved again at each change: `policies that would stand -> proofs, or a refusal`.

What the shipped packs keep is not proved here: policies only add forbids, so it stands whatever they say, and the
product's own tests prove it. What a policy keeps speaks of everything that binds its namespace, and so may be broken by
changing or deleting another policy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hanse.core.errors import HanseError
from hanse.core.layer import Policy
from hanse.core.snapshot import Snapshot
from hanse.core.time import WallTime
from hanse.manifest.documents import PolicyDocument
from hanse.policy import PackSet, PolicyError, Proof, Property, check_fabric, in_force, properties_kept, property_file

PROPERTIES_MAX = 50
"""In all policies together: each may cost some seconds whenever one of them changes."""
Otherwise = Callable[[Property, str], Proof]
"""What answers where no solver can, and why it could not."""
Prove = Callable[[PackSet, Sequence[Property], WallTime, Otherwise], tuple[Proof, ...]]


class PropertyBroken(HanseError):
    """Raised when a change would leave a property that policies keep without ground."""

    code = "policy.property_broken"


def in_manifest(error: PolicyError, documents: Sequence[PolicyDocument]) -> PolicyError:
    """The error with the manifest's file and line, where it is about a property of one of these documents."""
    for document in documents:
        if error.context.get("file") == property_file(document.policy):
            return error.within(document.where.file, document.line_before_properties)
    return error


def try_only(packs: PackSet, properties: Sequence[Property], now: WallTime, otherwise: Otherwise) -> tuple[Proof, ...]:
    """Prove nothing: try the running fabric, and say that this is no proof."""
    del packs, now
    return tuple(otherwise(one, "this controller has no solver") for one in properties)


def proofs_of(
    policies: Sequence[Policy], packs: PackSet, guardrails: tuple[str, ...], at: Snapshot, prove: Prove
) -> tuple[Proof, ...]:
    """Prove what these policies keep, on the packs and guardrails without them, at one moment.

    Raises PolicyError for a property that is none, PropertyBroken where there are too many or one does not hold.
    """
    laid, bound = in_force(packs, policies, guardrails)
    kept = properties_kept(laid, policies, bound)
    if not kept:
        return ()
    if len(kept) > PROPERTIES_MAX:
        raise PropertyBroken(f"policies keep {len(kept)} properties", hint=f"at most {PROPERTIES_MAX} in all")
    there = tuple(at.workloads.values()), at.fabric
    found = prove(laid, kept, at.at_us, lambda one, why: check_fabric(one, laid, at.at_us, there, why))
    broken = next((proof for proof in found if not proof.is_held), None)
    if broken is not None:
        raise PropertyBroken(
            f"{broken.id} would not hold any more ({broken.outcome.value}): {broken.title}: {broken.why}"
            + (f"; for example {broken.counterexample.spelt}" if broken.counterexample is not None else ""),
            hint="change the rules so that they deny it, or the property with them",
        )
    return found
