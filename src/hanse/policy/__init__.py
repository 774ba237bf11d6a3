"""Policy: what may run where, by which law, on which facts. `specs, fabric, packs, now -> verdicts`.

files --parse_packs--> PackSet --screen--> Screening --of / allowed / changes--> verdicts, reasons, nearest changes
"""

from hanse.policy.cases import CaseResult, check_packs
from hanse.policy.control import control_reach
from hanse.policy.errors import PolicyError
from hanse.policy.order import parse_owner_policy, screen_order
from hanse.policy.packs import PackSet, parse_packs
from hanse.policy.screen import Screening, VerdictCache, screen

__all__ = [
    "CaseResult",
    "PackSet",
    "PolicyError",
    "Screening",
    "VerdictCache",
    "check_packs",
    "control_reach",
    "parse_owner_policy",
    "parse_packs",
    "screen",
    "screen_order",
]
