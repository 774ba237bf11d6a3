"""Properties: what the rules must deny, whoever asks. `files of packs -> properties`.

A property is one Cedar policy that forbids, in a pack's ``properties/*.cedar``: every request that it matches must be
denied already by the rules it is about. It never decides anything itself. Its title is how people name it, its
``@packs`` are the packs it is about; those that always apply are in force beside them. Because packs only narrow, what
is proved for these packs holds with any more in force.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import cedarpy

from hanse.core.layer import Policy
from hanse.policy.errors import PolicyError
from hanse.policy.packs import PackSet
from hanse.policy.rules import Rule, parse_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property with the packs it is about."""

    rule: Rule
    """Its policy; `rule.message` says what went wrong where it does not hold."""
    title: str
    named: tuple[str, ...]
    """Packs that it names, in the order given."""
    packs: tuple[str, ...]
    """Packs in force when it is asked, those that always apply included, in name order."""

    @property
    def id(self) -> str:
        """Its ``@id``."""
        return self.rule.id


def parse_properties(packs: PackSet) -> tuple[Property, ...]:
    """Read every property that the packs carry, in file order.

    Raises PolicyError, with file, line and remedy, on one that permits, lacks a title, or names a pack that is not
    there; and on two of one id or title.
    """
    found = [one for file, text in packs.properties.items() for one in parse_property_file(file, text, packs)]
    for what in ("id", "title"):
        seen: dict[str, Property] = {}
        for one in found:
            first = seen.setdefault(getattr(one, what), one)
            if first is not one:
                where = f"{first.rule.file}:{first.rule.line}"
                raise PolicyError.at(
                    one.rule.file, one.rule.line, f"this {what} stands at {where} too", f"give it its own {what}"
                )
    return tuple(found)


def properties_kept(packs: PackSet, policies: Sequence[Policy], guardrails: tuple[str, ...]) -> tuple[Property, ...]:
    """Every property that submitted policies carry, each with all in force that binds its policy's namespace.

    `packs` and `guardrails` are what these policies make of them (`layers.in_force`). Raises PolicyError, with the line
    within the properties of one policy.
    """
    found = []
    for policy in sorted(policies, key=lambda one: one.id):
        bound = {pack for where, _, pack in (g.rpartition(":") for g in guardrails) if where in {"", policy.namespace}}
        for one in parse_property_file(property_file(policy), policy.properties, packs):
            if not one.id.startswith(f"{policy.name}."):
                remedy = f"begin it with `{policy.name}.`"
                raise PolicyError.at(one.rule.file, one.rule.line, f"@id {one.id!r} of policy {policy.id!r}", remedy)
            in_force = {*one.packs, *bound}
            found.append(replace(one, packs=tuple(name for name in packs.packs if name in in_force)))
    return tuple(found)


def property_file(policy: Policy) -> str:
    """What stands for a file in errors about the properties of a submitted policy, whose manifest is not at hand."""
    return f"policy/{policy.id} properties"


def parse_property_file(file: str, text: str, packs: PackSet) -> tuple[Property, ...]:
    """Read the properties of one file, in order. Raises PolicyError."""
    return tuple(_property(rule, packs) for rule in parse_rules(file, text))


def find_property(properties: tuple[Property, ...], name: str) -> Property:
    """Find one by its id or its title, whatever the case. Raises PolicyError naming the nearest."""
    wanted = _plain(name)
    for one in properties:
        if wanted in (_plain(one.id), _plain(one.title)):
            return one
    near = get_close_matches(wanted, [_plain(p.title) for p in properties], n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise PolicyError(f"no property is named {name!r}", hint=f"{hint}`hanse policy prove --list` shows all of them")


def _property(rule: Rule, packs: PackSet) -> Property:
    if not rule.is_forbid:
        raise PolicyError.at(rule.file, rule.line, f"{rule.id} permits", "state what must be denied, as a forbid")
    given = next(iter(cedarpy.PolicySet.from_str(rule.text).to_pst().static_policies.values())).annotations
    title = given.get("title")
    if not title:
        remedy = 'add @title("…"): one sentence that says what never happens'
        raise PolicyError.at(rule.file, rule.line, f"{rule.id} has no @title", remedy)
    named = tuple((given.get("packs") or "").replace(",", " ").split())
    unknown = sorted(set(named) - set(packs.packs))
    if unknown:
        raise PolicyError.at(
            rule.file, rule.line, f"{rule.id} is about {', '.join(unknown)}, which is no pack",
            f"one of {', '.join(packs.packs)}",
        )  # fmt: skip
    in_force = {*packs.always, *named}
    return Property(rule=rule, title=title, named=named, packs=tuple(name for name in packs.packs if name in in_force))


def _plain(text: str) -> str:
    return " ".join(text.lower().rstrip(".").split())
