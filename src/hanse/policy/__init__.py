"""Policy: what may run where, by which law, on which facts. `specs, fabric, packs, now -> verdicts`.

files --parse_packs--> PackSet --screen--> Screening --of / allowed / changes--> verdicts, reasons, nearest changes
properties, packs --prove--> proofs or counterexamples.
Screening, Screening --diff--> what would change; suppositions --impact--> what would have to move.
"""

from hanse.policy.access import ACTIONS, AccessRules, Asker, Part, access_rules, check_roles
from hanse.policy.cases import CaseResult, check_packs
from hanse.policy.causes import causes, turned
from hanse.policy.control import control_reach, key_reach, secnumcloud
from hanse.policy.diff import PolicyDiff, Turn, Uprooted, diff
from hanse.policy.entities import attested_at, in_union
from hanse.policy.errors import FactError, PolicyError
from hanse.policy.facts import facts_at
from hanse.policy.impact import Supposition, World, impact, parse_supposition
from hanse.policy.invoke import check_access, invoke_policy_of
from hanse.policy.layers import check_policy, in_force
from hanse.policy.location import RoundTrip, grade_at, locate, measured_at
from hanse.policy.order import parse_owner_policy, screen_order
from hanse.policy.packs import PackSet, parse_packs
from hanse.policy.pool import Instance
from hanse.policy.properties import (
    Property,
    find_property,
    parse_properties,
    parse_property_file,
    properties_kept,
    property_file,
)
from hanse.policy.prove import Outcome, Proof, check_classes, check_fabric, prove, rules_that_can_err
from hanse.policy.read import ReadVerdict, check_secret, may_read
from hanse.policy.rules import Rule
from hanse.policy.satisfiable import DeadEnd, countries_that_could_do, dead_ends
from hanse.policy.screen import Screening, VerdictCache, guardrails_for, screen

__all__ = [
    "ACTIONS",
    "AccessRules",
    "Asker",
    "CaseResult",
    "DeadEnd",
    "FactError",
    "Instance",
    "Outcome",
    "PackSet",
    "Part",
    "PolicyDiff",
    "PolicyError",
    "Proof",
    "Property",
    "ReadVerdict",
    "RoundTrip",
    "Rule",
    "Screening",
    "Supposition",
    "Turn",
    "Uprooted",
    "VerdictCache",
    "World",
    "access_rules",
    "attested_at",
    "causes",
    "check_access",
    "check_classes",
    "check_fabric",
    "check_packs",
    "check_policy",
    "check_roles",
    "check_secret",
    "control_reach",
    "countries_that_could_do",
    "dead_ends",
    "diff",
    "facts_at",
    "find_property",
    "grade_at",
    "guardrails_for",
    "impact",
    "in_force",
    "in_union",
    "invoke_policy_of",
    "key_reach",
    "locate",
    "may_read",
    "measured_at",
    "parse_owner_policy",
    "parse_packs",
    "parse_properties",
    "parse_property_file",
    "parse_supposition",
    "properties_kept",
    "property_file",
    "prove",
    "rules_that_can_err",
    "screen",
    "screen_order",
    "secnumcloud",
    "turned",
]
