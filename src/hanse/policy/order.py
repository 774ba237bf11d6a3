"""The node's own check of one order: `workload, node, owner's policy -> verdict`.

The domain's rules are asked again, and then the rules of the node's owner. The owner's layer only narrows: what the
domain denies stays denied, whatever the owner permits. An owner who writes permits allows only what they match.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hanse.core.fabric import Node, Operator, Site
from hanse.core.ids import OperatorId
from hanse.core.time import WallTime
from hanse.core.verdict import Verdict
from hanse.core.work import Workload
from hanse.policy.entities import object_of, subject_of
from hanse.policy.evaluate import Cedar, ruleset
from hanse.policy.explain import Question, reasons_for
from hanse.policy.facts import facts_at
from hanse.policy.packs import PackSet, reads_of_rules
from hanse.policy.rules import Rule, parse_rules
from hanse.policy.screen import check_guardrails, guardrails_for, regimes_of, valid_until

OWNER_FILE = "owner.cedar"
_NO_OPERATORS: Mapping[OperatorId, Operator] = MappingProxyType({})
_UNLESS_FORBIDDEN = 'permit (principal is Workload, action == Action::"place", resource is Node);'


def screen_order(  # noqa: PLR0917 - the order every caller knows: what, where, whose, by which rules, when
    workload: Workload,
    node: Node,
    site: Site,
    operator: Operator,
    packs: PackSet,
    owner_policy: str | None,
    now: WallTime,
    *,
    operators: Mapping[OperatorId, Operator] = _NO_OPERATORS,
    guardrails: tuple[str, ...] = (),
) -> Verdict:
    """Decide whether this node takes this workload.

    `owner_policy` is Cedar text in the same schema, or None. Its policies may carry ``@id``, ``@cite`` and
    ``@message``; their ids come out as ``owner.<id>``. `operators` resolves holders that are operators themselves.
    Raises PolicyError if the owner's text is wrong, so that a node with a broken policy takes nothing; check it first
    with `parse_owner_policy`.
    """
    owner = parse_owner_policy(owner_policy, operator) if owner_policy is not None else ()
    check_guardrails(packs, guardrails)
    facts = facts_at(packs.facts, now)
    reads = packs.reads.plus(reads_of_rules(owner))
    subject = subject_of(workload, packs, facts, guardrails_for(guardrails, workload.namespace), reads)
    obj = object_of(node, site, operator, operators, facts=facts, reads=reads)
    cedar = Cedar(packs, facts)
    domain = cedar.ask([(subject, obj)])[0]
    question = Question(workload=workload, node=node, site=site, operator=operator, operators=operators, facts=facts)
    rules = {rule.id: rule for rule in (*packs.rules_of(tuple(packs.packs)), *owner)}
    reasons = reasons_for(domain, question, packs, rules, subject.packs)
    is_allowed = domain.is_allowed
    if owner:
        own = cedar.ask_rules(ruleset(owner), [(subject, obj)])[0]
        said = reasons_for(own, question, packs, rules, ())
        kept = [r for r in reasons if not is_allowed] + [r for r in said if not own.is_allowed]
        reasons = tuple(kept) or (*reasons, *said)
        is_allowed = is_allowed and own.is_allowed
    return Verdict(
        workload=workload.id, node=node.id, is_allowed=is_allowed, reasons=reasons,
        valid_until_us=valid_until(question, regimes_of(packs, subject.packs)),
    )  # fmt: skip


def parse_owner_policy(text: str, operator: Operator) -> tuple[Rule, ...]:
    """Check an owner's policy. With forbids only, what they do not forbid is permitted. Raises PolicyError."""
    rules = parse_rules(OWNER_FILE, text, owner=operator.name)
    if rules and all(rule.is_forbid for rule in rules):
        implied = f'@id("unless-forbidden") @message("{{operator}} forbids nothing here")\n{_UNLESS_FORBIDDEN}'
        return (*rules, *parse_rules(OWNER_FILE, implied, owner=operator.name))
    return rules
