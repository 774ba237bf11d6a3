"""Policy: what may run where, by which law, on which facts. `specs, fabric, packs, now -> verdicts`.

files --parse_packs--> PackSet --screen--> Screening --of / allowed / changes--> verdicts, reasons, nearest changes
Screening, Screening --diff--> what would change; suppositions --impact--> what would have to move.
"""

from hanse.policy.cases import CaseResult, check_packs
from hanse.policy.control import control_reach
from hanse.policy.diff import PolicyDiff, Turn, Uprooted, diff
from hanse.policy.errors import FactError, PolicyError
from hanse.policy.impact import Supposition, World, impact, parse_supposition
from hanse.policy.invoke import check_access, invoke_policy_of
from hanse.policy.order import parse_owner_policy, screen_order
from hanse.policy.packs import PackSet, parse_packs
from hanse.policy.satisfiable import DeadEnd, countries_that_could_do, dead_ends
from hanse.policy.screen import Screening, VerdictCache, guardrails_for, screen

__all__ = [
    "CaseResult",
    "DeadEnd",
    "FactError",
    "PackSet",
    "PolicyDiff",
    "PolicyError",
    "Screening",
    "Supposition",
    "Turn",
    "Uprooted",
    "VerdictCache",
    "World",
    "check_access",
    "check_packs",
    "control_reach",
    "countries_that_could_do",
    "dead_ends",
    "diff",
    "guardrails_for",
    "impact",
    "invoke_policy_of",
    "parse_owner_policy",
    "parse_packs",
    "parse_supposition",
    "screen",
    "screen_order",
]
