"""What would change if rules or facts were others: `packs or suppositions, caches -> diff`. Nothing is applied.

Pure reading of one controller's caches; any controller may be asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hanse.control.controller import Controller
from hanse.control.pipeline import running_pairs
from hanse.policy import PackSet, PolicyDiff, World, diff, impact, in_force, parse_packs, parse_supposition, screen


@dataclass(frozen=True, slots=True, kw_only=True)
class PackView:
    """One pack in force: what it is for, what it leaves out, how far its sources were checked."""

    name: str
    scope: str
    not_covered: str
    as_of: str
    assurance: str
    applies: str
    basis: str
    rules: tuple[str, ...]


def packs_in_force(packs: PackSet) -> tuple[PackView, ...]:
    """Every pack, in name order."""
    return tuple(
        PackView(
            name=name, scope=pack.meta.scope, not_covered=pack.meta.not_covered, as_of=pack.meta.as_of.isoformat(),
            assurance=pack.meta.assurance, applies=pack.meta.applies, basis=pack.meta.basis,
            rules=(*(rule.id for rule in pack.rules), *(rule.id for rule in pack.access)),
        )
        for name, pack in packs.packs.items()
    )  # fmt: skip


def diff_of_packs(controller: Controller, old: Mapping[str, str] | None, new: Mapping[str, str]) -> PolicyDiff:
    """Compare the verdicts of two sets of packs on what is there now.

    `old` is None for the packs in force. Files (path -> text) that hold no ``facts/jurisdictions.yaml`` of their own,
    or hold nothing else, are laid over the packs in force. Raises PolicyError if either is wrong.
    """
    base = controller.config.packs
    at = controller.pipeline.snapshot()
    bound = controller.config.guardrails
    before, guardrails = in_force(
        controller.pipeline.packs if old is None else parse_packs(laid_over(base, old)), at.policies, bound
    )
    after, _ = in_force(parse_packs(laid_over(base, new)), at.policies, bound)
    cache = controller.pipeline.cache
    was = screen(at.workloads, at.fabric, before, at.at_us, cache, guardrails=guardrails)
    will = screen(at.workloads, at.fabric, after, at.at_us, was.cache, guardrails=guardrails)
    return diff(was, will, running_pairs(at))


def impact_of_facts(controller: Controller, texts: Sequence[str]) -> PolicyDiff:
    """Say what these supposed facts would do to what is there now. Raises FactError."""
    suppositions = [parse_supposition(text) for text in texts]
    at = controller.pipeline.snapshot()
    packs, guardrails = controller.pipeline.rules(at)
    world = World(fabric=at.fabric, facts=packs.facts, now=at.at_us)
    return impact(
        at.workloads, world, packs, suppositions, running_pairs(at),
        guardrails=guardrails, cache=controller.pipeline.cache,
    )  # fmt: skip


def laid_over(base: Mapping[str, str], files: Mapping[str, str]) -> Mapping[str, str]:
    """Files by themselves where they are a whole set of packs; else the base with these packs or facts replaced."""
    folders = {path.split("/")[0] for path in files}
    if "facts" in folders and len(folders) > 1:
        return files
    kept = {path: text for path, text in base.items() if path.split("/")[0] not in folders}
    return {**kept, **files}
