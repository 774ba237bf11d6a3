"""Who may invoke a workload: its owner's callers and the rules of packs, as Cedar. `workload, packs -> policy`.

The engine asks at each request, by the policies written here; it knows nothing of packs or manifests. Deny by default:
the one permit that is shipped (``base.invoke-open``) opens what its owner left open, the permits made from
``access.callers`` hold for that one workload, and every pack in force may forbid. Nothing here decides about a request
but `ask`, for previews.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import cedarpy

from hanse.core.ports import InvokePolicy
from hanse.core.time import WallTime
from hanse.core.work import Caller, Workload
from hanse.policy.entities import data_classes
from hanse.policy.errors import PolicyError
from hanse.policy.facts import FactsNow, facts_at
from hanse.policy.packs import PackSet
from hanse.policy.rules import InvokeRule, parse_invoke_rules
from hanse.policy.schema import INVOKE_SCHEMA
from hanse.policy.screen import guardrails_for

OWN: Final = "access"
"""What the ids of a workload's own policies begin with."""
ACCESS_FILE: Final = "access.rules"


def invoke_policy_of(workload: Workload, packs: PackSet, guardrails: tuple[str, ...], now: WallTime) -> InvokePolicy:
    """Collect what decides about requests to `workload`; `guardrails` as for `screen`.

    Raises PolicyError if the owner's own rules are wrong, or it names a pack that nobody ships: then it cannot run.
    """
    named = {*packs.always, *guardrails_for(guardrails, workload.namespace), *workload.sovereignty.packs}
    missing = sorted(named - set(packs.packs))
    if missing:
        raise PolicyError(f"nobody ships the packs {missing}", hint=f"one of {', '.join(packs.packs)}")
    rules = [rule.text for name in packs.packs if name in named for rule in packs.packs[name].invoke]
    own = check_access(workload)
    callers = [_permit(caller, number) for number, caller in enumerate(workload.access.callers)]
    return InvokePolicy(
        policies="\n".join([*rules, *callers, *(rule.text for rule in own)]) + "\n",
        entities=json.dumps(_entities(workload, facts_at(packs.facts, now)), sort_keys=True),
    )


def check_access(workload: Workload) -> tuple[InvokeRule, ...]:
    """Check the rules that an owner wrote for one workload. Raises PolicyError with the line within them."""
    return parse_invoke_rules(f"{workload.id}: {ACCESS_FILE}", workload.access.rules, is_pack=False)


def ask(policy: InvokePolicy, principal: Mapping[str, Any], workload: Workload, context: Mapping[str, str]) -> bool:
    """What the engine would answer to a request of `principal`, an entity in Cedar's JSON form."""
    entities = [*json.loads(policy.entities), principal]
    request = {
        "principal": principal["uid"],
        "action": {"type": "Action", "id": "invoke"},
        "resource": {"type": "Workload", "id": workload.id},
        "context": dict(context),
    }
    result = cedarpy.is_authorized(request, policy.policies, entities, schema=INVOKE_SCHEMA)
    return bool(result.allowed) and not result.diagnostics.errors


def _permit(caller: Caller, number: int) -> str:
    """One permit for one kind of caller."""
    scope, conditions = _scope(caller)
    when = f" when {{ {' && '.join(conditions)} }}" if conditions else ""
    return f'@id("{OWN}.callers-{number}")\npermit (principal is {scope}, action == Action::"invoke", resource){when};'


def _scope(caller: Caller) -> tuple[str, list[str]]:
    if caller.issuer:
        conditions = [f"principal.issuer == {_text(caller.issuer)}"]
        if caller.subject:
            conditions.append(f"principal.subject == {_text(caller.subject)}")
        conditions += [_claim(name, values) for name, values in sorted(caller.claims.items())]
        return "User", conditions
    if caller.certificate_name:
        return "Certificate", [f"principal.names.contains({_text(caller.certificate_name)})"]
    return "Workload", [f"principal == Workload::{_text(caller.workload)}"]


def _claim(name: str, values: Iterable[str]) -> str:
    held = f"principal.getTag({_text(name)}).containsAny([{', '.join(map(_text, values))}])"
    return f"principal.hasTag({_text(name)}) && {held}"


def _entities(workload: Workload, facts: FactsNow) -> list[dict[str, Any]]:
    namespace = _ref("Namespace", workload.namespace)
    classes = [_ref("DataClass", name) for name in data_classes(workload, facts)]
    attributes = {"namespace": workload.namespace, "name": workload.name, "access": _access(workload)}
    return [
        {"uid": namespace, "attrs": {}, "parents": []},
        {"uid": _ref("Workload", workload.id), "attrs": attributes, "parents": [namespace, *classes]},
        *(
            {"uid": _ref("DataClass", c.name), "attrs": {}, "parents": [_ref("DataClass", w) for w in c.within]}
            for c in facts.facts.classes
        ),
    ]


def _access(workload: Workload) -> str:
    return "restricted" if workload.access.callers or workload.access.rules.strip() else "open"


def _ref(kind: str, id_: str) -> dict[str, str]:
    return {"type": kind, "id": str(id_)}


def _text(value: str) -> str:
    """A Cedar string literal, with the escapes that Rust's `escape_debug` makes: entity names must be written so."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}
    shown = (escapes.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in value)
    return f'"{"".join(shown)}"'
