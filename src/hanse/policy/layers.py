"""The layers of a domain's rules: `packs, Policy manifests -> packs in force, what binds which namespace`.

Domain guardrails bind every namespace, a namespace's policies bind its workloads, a spec binds itself. Each layer adds
forbids and packs of forbids to those above it, so a lower one can only narrow: there is nothing in it that could widen,
and what could is refused when it is submitted. The node owner's layer is asked on the node (`order`).
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from hanse.core.layer import Policy
from hanse.core.time import WallTime
from hanse.policy.errors import PolicyError
from hanse.policy.packs import Pack, PackMeta, PackSet, reads_of_rules
from hanse.policy.rules import Rule, parse_rules
from hanse.policy.satisfiable import dead_ends
from hanse.wire.canonical import digest_of


def in_force(
    packs: PackSet, policies: Sequence[Policy], guardrails: tuple[str, ...]
) -> tuple[PackSet, tuple[str, ...]]:
    """Lay accepted policies over packs and guardrails; returns both as `screen` takes them.

    Equal policies in whatever order give equal results. Raises PolicyError as `check_policy` does.
    """
    if not policies:
        return packs, guardrails
    ordered = tuple(sorted(policies, key=lambda policy: policy.id))
    own = {policy.id: _pack_of(policy) for policy in ordered if policy.rules.strip()}
    bound = (f"{policy.namespace}:{name}" for policy in ordered for name in _bound_by(policy, own))
    laid = replace(
        packs,
        packs=dict(sorted({**packs.packs, **own}.items())),
        digest=digest_of([packs.digest, [[id_, pack.digest] for id_, pack in own.items()]]),
        reads=packs.reads.plus(reads_of_rules(rule for pack in own.values() for rule in pack.rules)),
    )
    return laid, tuple(dict.fromkeys((*guardrails, *bound)))


def check_policy(policy: Policy, file: str, line: int, packs: PackSet, now: WallTime) -> None:
    """Refuse a policy before it decides anything. `line` is the one before its rules' first, in `file`.

    Raises PolicyError with file, line and remedy: rules that do not parse, break the schema or could err; a rule that
    permits, which would widen; an id outside the policy or used twice; a pack that does not exist or has its name;
    rules that no node in any country could satisfy.
    """
    if policy.id in packs.packs:
        raise PolicyError.at(file, line, f"there is a pack named {policy.id!r} already", "give the policy another name")
    unknown = [name for name in policy.packs if name not in packs.packs]
    if unknown:
        raise PolicyError.at(file, line, f"no pack {', '.join(unknown)}", f"there are {', '.join(packs.packs)}")
    try:
        rules = _rules_of(policy, file)
    except PolicyError as error:
        raise error.within(file, line) from None
    laid, bound = in_force(packs, [policy], ())
    for end in dead_ends(laid, now, tuple(pack.rpartition(":")[2] for pack in bound)):
        at = next((rule.line + line for rule in rules if rule.id in end.rules), line)
        what = f"no node in any country could satisfy policy {policy.id} ({', '.join(end.rules)})"
        raise PolicyError.at(file, at, what, end.remedy)


def _bound_by(policy: Policy, own: dict[str, Pack]) -> tuple[str, ...]:
    return (*policy.packs, *([policy.id] if policy.id in own else []))


@lru_cache(maxsize=1_024)
def _pack_of(policy: Policy) -> Pack:
    rules = _rules_of(policy, f"policy/{policy.id}")
    meta = PackMeta(
        name=policy.id, scope=policy.about, not_covered="whatever its rules do not forbid",
        as_of=datetime.date.fromisoformat(policy.as_of or "1970-01-01"), assurance="verified", applies="named",
        basis="choice", sources=(),
    )  # fmt: skip
    digest = digest_of([[rule.id, rule.text, rule.within_us] for rule in rules])
    return Pack(meta=meta, rules=rules, digest=digest, reads=reads_of_rules(rules))


def _rules_of(policy: Policy, file: str) -> tuple[Rule, ...]:
    rules = parse_rules(file, policy.rules)
    seen: set[str] = set()
    for rule in rules:
        if not rule.is_forbid:
            remedy = "write what it must not do as a forbid: a layer can only narrow what the layers above allow"
            raise PolicyError.at(file, rule.line, f"policy {policy.id} permits ({rule.id}), which would widen", remedy)
        if not rule.id.startswith(f"{policy.name}."):
            remedy = f"begin it with `{policy.name}.`"
            raise PolicyError.at(file, rule.line, f"@id {rule.id!r} of policy {policy.id!r}", remedy)
        if rule.id in seen:
            raise PolicyError.at(file, rule.line, f"@id {rule.id!r} stands twice", "give it its own id")
        seen.add(rule.id)
    before = f"{policy.namespace}." if policy.namespace else ""
    return tuple(replace(rule, id=f"{before}{rule.id}") for rule in rules)
