"""What nodes say they did: `sealed account -> entry of the ledger, what workloads took -> sealed answer`.

A node tells an account until it is taken, so that a lost answer costs nothing: the same account is the same entry. What
was taken is kept per node for the views; what a controller that starts anew has not heard yet is in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from hanse.control.journal import Journal
from hanse.control.state import FabricState
from hanse.core.errors import HanseError
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.ports import BusMessage, ControlPorts
from hanse.wire import envelope
from hanse.wire.messages import Account, AccountTaken, UsageRow

log = structlog.get_logger("control")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one workload took, as far as this controller has heard of it."""

    requests: int = 0
    errors: int = 0
    cpu_us: int = 0
    peak_memory_bytes: int = 0
    cold_starts: int = 0
    egress_bytes: Mapping[str, int]
    """Jurisdiction -> body bytes sent there."""


NOTHING = Usage(egress_bytes={})


class Accounts:
    """Takes in what nodes account for."""

    def __init__(self, ports: ControlPorts, state: FabricState, journal: Journal) -> None:
        self._ports = ports
        self._state = state
        self._journal = journal
        self._heard: dict[NodeId, tuple[int, int]] = {}
        self._usage: dict[WorkloadId, Usage] = {}

    @property
    def usage(self) -> Mapping[WorkloadId, Usage]:
        """What workloads took on all nodes since this controller leads, in id order."""
        return dict(sorted(self._usage.items()))

    async def answer(self, message: BusMessage) -> bytes | None:
        """Take one account; None where it is not believed, or cannot be written now: the node tells it again."""
        node = NodeId(message.subject.split(".")[3])
        keys = self._state.node_key(node)
        try:
            told = envelope.open_sealed(message.data, Account, keys).message
            if told.node != node or not await self._journal.take_account(message.data, next(iter(keys.values()))):
                return None
        except HanseError as error:
            log.warning("account.refused", node=node, code=error.code, reason=error.message)
            return None
        self._add(told)
        taken = AccountTaken(node=node, incarnation=told.incarnation, number=told.number)
        return envelope.seal(taken, self._ports.signer)

    def _add(self, told: Account) -> None:
        place = (told.incarnation, told.number)
        if self._heard.get(told.node, (0, 0)) >= place:
            return  # its answer was lost: it is counted already
        self._heard[told.node] = place
        for row in told.usage:
            self._usage[row.workload] = _sum(self._usage.get(row.workload, NOTHING), row)


def _sum(before: Usage, row: UsageRow) -> Usage:
    names = sorted({*before.egress_bytes, *row.egress_bytes})
    return Usage(
        requests=before.requests + row.requests,
        errors=before.errors + row.errors,
        cpu_us=before.cpu_us + row.cpu_us,
        peak_memory_bytes=max(before.peak_memory_bytes, row.peak_memory_bytes),
        cold_starts=before.cold_starts + row.cold_starts,
        egress_bytes={name: before.egress_bytes.get(name, 0) + row.egress_bytes.get(name, 0) for name in names},
    )
