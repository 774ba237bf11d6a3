"""What this node did, told to the domain: `counters now, counters told before -> accounts -> the ledger`.

An account holds counts: what each workload took, and how often who may invoke it was decided in which way. Each is told
until the domain has it. What a process counted after its last account goes with it when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import structlog

from hanse.core.errors import HanseError
from hanse.core.ids import WorkloadId
from hanse.core.ports import DecisionCount, NodePorts, WorkloadStats
from hanse.core.time import WallTime
from hanse.node.config import NodeConfig
from hanse.wire import envelope
from hanse.wire.messages import Account, AccountTaken, DecisionRow, UsageRow
from hanse.wire.subjects import ask

log = structlog.get_logger("node")

ROWS_MAX = 50
"""Rows of one account: it has to fit into one entry of the ledger, sealed twice."""
NAME_MAX = 64
"""Letters of a policy's name that are told: names come from manifests."""
NAMES_MAX = 4
"""Policies named in one row."""

Counters = Mapping[WorkloadId, WorkloadStats]


class Accounts:
    """Tells what is new in the runtime's counters."""

    def __init__(self, ports: NodePorts, config: NodeConfig) -> None:
        self._ports = ports
        self._config = config
        self._told: Counters = {}
        self._from_us = WallTime(0)
        self._number = 0

    async def run(self, incarnation: int) -> None:
        """Account at every interval until cancelled."""
        self._from_us = WallTime(self._ports.clock.wall())
        while True:
            await asyncio.sleep(self._config.account_us / 1e6)
            now, counters = WallTime(self._ports.clock.wall()), await self._ports.runtime.stats()
            for usage, decisions in batches(self._told, counters):
                self._number += 1
                account = Account(
                    node=self._config.node.id,
                    incarnation=incarnation,
                    number=self._number,
                    from_us=self._from_us,
                    until_us=now,
                    usage=usage,
                    decisions=decisions,
                )
                await self._tell(account)
            self._told, self._from_us = counters, now

    async def _tell(self, account: Account) -> None:
        """Tell one account until the domain has it; the link may be down for days."""
        sealed = envelope.seal(account, self._ports.signer)
        wait_us = self._config.settle_us
        while True:
            try:
                answer = await self._ports.bus.request(
                    ask(account.node, "account"), sealed, self._config.renew_deadline_us
                )
                taken = envelope.open_sealed(answer, AccountTaken, self._config.controller_keys).message
            except HanseError as error:
                log.debug("account.postponed", number=account.number, code=error.code)
            else:
                if (taken.node, taken.incarnation, taken.number) == (account.node, account.incarnation, account.number):
                    return
            await asyncio.sleep(wait_us / 1e6)
            wait_us = min(wait_us * 2, self._config.account_us)


def batches(told: Counters, now: Counters) -> Iterator[tuple[tuple[UsageRow, ...], tuple[DecisionRow, ...]]]:
    """What is new since `told`, in workload order and in pieces of at most `ROWS_MAX` rows; nothing if nothing is."""
    usage: list[UsageRow] = []
    decisions: list[DecisionRow] = []
    for workload in sorted(now):
        before = told.get(workload, WorkloadStats())
        new_usage = _usage(workload, before, now[workload])
        new_decisions = list(_decisions(workload, before.decisions, now[workload].decisions))
        if new_usage is None and not new_decisions:
            continue
        for row in (new_usage, *new_decisions):
            if len(usage) + len(decisions) >= ROWS_MAX:
                yield tuple(usage), tuple(decisions)
                usage, decisions = [], []
            if isinstance(row, UsageRow):
                usage.append(row)
            elif row is not None:
                decisions.append(row)
    if usage or decisions:
        yield tuple(usage), tuple(decisions)


def _usage(workload: WorkloadId, before: WorkloadStats, now: WorkloadStats) -> UsageRow | None:
    if now.requests == before.requests and now.cpu_us == before.cpu_us and now.errors == before.errors:
        return None
    sent = {name: count - before.egress_bytes.get(name, 0) for name, count in sorted(now.egress_bytes.items())}
    return UsageRow(
        workload=workload,
        requests=now.requests - before.requests,
        errors=now.errors - before.errors,
        cpu_us=now.cpu_us - before.cpu_us,
        peak_memory_bytes=now.peak_memory_bytes,
        cold_starts=now.cold_starts - before.cold_starts,
        egress_bytes={name: count for name, count in sent.items() if count},
    )


def _decisions(
    workload: WorkloadId, before: tuple[DecisionCount, ...], now: tuple[DecisionCount, ...]
) -> Iterator[DecisionRow]:
    known = {_kind(row): row.count for row in before}
    for row in now:
        count = row.count - known.get(_kind(row), 0)
        if count > 0:
            yield DecisionRow(
                workload=workload,
                outcome="error" if row.is_error else "allow" if row.is_allowed else "deny",
                policies=tuple(name[:NAME_MAX] for name in row.policies[:NAMES_MAX]),
                principal=row.principal,
                count=count,
                sample_us=row.sample_us,
                sample_trace=row.sample_trace,
            )


def _kind(row: DecisionCount) -> tuple[bool, bool, tuple[str, ...], str]:
    return row.is_allowed, row.is_error, row.policies, row.principal
