"""Scenarios by name: what happens to a fabric, and what must come of it."""

from hanse.twin.scenarios.base import Scenario
from hanse.twin.scenarios.clock_step import CLOCK_STEP
from hanse.twin.scenarios.false_place import FALSE_PLACE
from hanse.twin.scenarios.island import ISLAND
from hanse.twin.scenarios.jobs import JOBS
from hanse.twin.scenarios.late_report import LATE_REPORT
from hanse.twin.scenarios.law_changes import DATE_PASSES, POLICY_NARROWS
from hanse.twin.scenarios.leader_crash import LEADER_CRASH
from hanse.twin.scenarios.node_crash import NODE_CRASH
from hanse.twin.scenarios.operator_takeover import OPERATOR_TAKEOVER
from hanse.twin.scenarios.slow_line import SLOW_LINE
from hanse.twin.scenarios.steady import STEADY
from hanse.twin.scenarios.substrate_outage import SUBSTRATE_OUTAGE
from hanse.twin.scenarios.swarm import SWARM
from hanse.twin.scenarios.tampered_store import TAMPERED_STORE
from hanse.twin.scenarios.traffic import TRAFFIC

SCENARIOS = {
    one.name: one
    for one in (
        STEADY,
        NODE_CRASH,
        ISLAND,
        LATE_REPORT,
        LEADER_CRASH,
        SUBSTRATE_OUTAGE,
        CLOCK_STEP,
        OPERATOR_TAKEOVER,
        FALSE_PLACE,
        DATE_PASSES,
        POLICY_NARROWS,
        TAMPERED_STORE,
        JOBS,
        SLOW_LINE,
        TRAFFIC,
        SWARM,
    )
}

__all__ = ["SCENARIOS", "Scenario"]
