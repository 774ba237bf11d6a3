"""Who may do what with the API: roles and namespaces as Cedar. `asker, action, part -> answer with its rules`.

Roles are given outside (`hanse.app.access_file`, named tokens); what a role may do stands in the pack ``roles``, and a
domain adds rules of its own. Deny by default; an error of any rule is a denial. Who somebody is was found out before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import cedarpy
import msgspec

from hanse.policy.cases import CaseResult, spell_case
from hanse.policy.errors import PolicyError
from hanse.policy.evaluate import Answer, Ruleset, answer_of, decide, ruleset
from hanse.policy.lines import load_yaml, rows
from hanse.policy.packs import ROLES, PackSet
from hanse.policy.rules import AccessRule, parse_access_rules
from hanse.policy.schema import ACCESS_SCHEMA

EVERYWHERE: Final = "*"
"""In place of a namespace: the role holds in every one, and for what belongs to none."""
ACTIONS: Final = ("read", "deploy", "delete", "set-policy", "operate", "audit", "trust", "administer")
"""Every action that the API asks about; docs/security.md says what each covers."""
ROLE_NAMES: Final = ("viewer", "developer", "operator", "auditor", "admin")
"""Roles that the pack ``roles`` gives a meaning to; a domain's own rules may speak of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, as found out by authentication; `id` is what the ledger's pseudonym stands for."""

    kind: Literal["User", "Token"]
    id: str
    issuer: str = ""
    """Of a user; empty for tokens."""
    subject: str = ""
    """Of a user: the issuer's ``sub``. Of a token: its name."""
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Role -> namespaces in which it is held; ``*`` for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What is asked about: a workload, a node, the ledger. `namespace` is empty for what belongs to the domain."""

    kind: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        place = f"{self.namespace}.{self.name}" if self.namespace and self.name else self.namespace or self.name
        return f"{self.kind}/{place}" if place else self.kind


class AccessRules:
    """The rules in force, parsed once."""

    __slots__ = ("_ruleset", "rules")

    def __init__(self, rules: Sequence[AccessRule]) -> None:
        self.rules = tuple(rules)
        self._ruleset: Ruleset = ruleset(self.rules)

    def ask(self, asker: Asker, action: str, part: Part) -> Answer:
        """Whether `asker` may: every rule that decided, or ``default-deny``; errors deny as ``policy.error``."""
        request: dict[str, object] = {
            "principal": _uid(asker.kind, asker.id),
            "action": _uid("Action", action),
            "resource": _uid("Part", str(part)),
            "context": {},
        }
        try:
            entities = cedarpy.Entities.from_json_str(json.dumps(_entities(asker, part)), ACCESS_SCHEMA)
        except ValueError as error:
            return answer_of_error(str(error))
        (decided,) = decide([request], self._ruleset.handle, entities, ACCESS_SCHEMA)
        return answer_of(decided, self._ruleset)


def answer_of_error(why: str) -> Answer:
    """What could not be asked is denied."""
    return Answer(is_allowed=False, rules=("policy.error",), errors=(why,))


def access_rules(packs: PackSet, own: Mapping[str, str] | None = None) -> AccessRules:
    """The shipped roles and the domain's own rules (file -> text). Raises PolicyError with file and line.

    Without the pack ``roles`` nobody may do anything.
    """
    shipped = packs.packs[ROLES].access if ROLES in packs.packs else ()
    added = [rule for file, text in sorted((own or {}).items()) for rule in parse_access_rules(file, text)]
    seen = {rule.id: rule for rule in shipped}
    for rule in added:
        if rule.id in seen or rule.id.startswith(f"{ROLES}."):
            raise PolicyError.at(rule.file, rule.line, f"@id {rule.id!r} is taken", "give the rule an id of its own")
        seen[rule.id] = rule
    return AccessRules((*shipped, *added))


class AccessCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row under ``access:`` in a ``tests/*.yaml`` of the pack of roles."""

    name: str
    roles: dict[str, tuple[str, ...]]
    action: str
    kind: str
    verdict: str
    """``allow`` or ``deny``."""
    namespace: str = ""
    rules: tuple[str, ...] = ()
    """Every rule that must decide."""


def check_roles(packs: PackSet) -> tuple[CaseResult, ...]:
    """Run every access case that the packs carry. Raises PolicyError on a case that cannot be read."""
    rules = access_rules(packs)
    found: list[CaseResult] = []
    for file, text in packs.cases.items():
        for case in rows(file, load_yaml(file, text), "access", AccessCase):
            asker = Asker(kind="Token", id="case", subject="case", roles=case.roles)
            answer = rules.ask(asker, case.action, Part(kind=case.kind, namespace=case.namespace, name="case"))
            got = spell_case(answer.is_allowed, answer.rules)
            wanted = spell_case(case.verdict == "allow", case.rules)
            found.append(CaseResult(file=file, name=case.name, wanted=wanted, got=got, is_ok=got == wanted))
    return tuple(found)


def _entities(asker: Asker, part: Part) -> list[dict[str, object]]:
    tags = {role: sorted(namespaces) for role, namespaces in sorted(asker.roles.items())}
    attrs = {"subject": asker.subject} | ({"issuer": asker.issuer} if asker.kind == "User" else {})
    return [
        {"uid": _uid(asker.kind, asker.id), "attrs": attrs, "parents": [], "tags": tags},
        {
            "uid": _uid("Part", str(part)),
            "attrs": {"kind": part.kind, "namespace": part.namespace, "name": part.name},
            "parents": [],
        },
    ]


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}
