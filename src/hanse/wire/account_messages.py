"""Messages of what was used and spent: accounts of nodes, the book of spending, outages, forecasts."""

from __future__ import annotations

import msgspec

from hanse.core.ids import NodeId, WorkloadId
from hanse.core.snapshot import Series
from hanse.core.time import WallTime


class SpendRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What one workload cost since the period began, in millionths of a microeuro and of a microgram."""

    money: int
    carbon: int
    run_us: int


class SpendRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="spend.v1", kw_only=True):
    """What the workloads of one namespace cost this calendar month, up to a moment. Written by the leader."""

    period_start_us: WallTime
    until_us: WallTime
    workloads: dict[WorkloadId, SpendRow]


class Outages(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What was seen of one failure domain."""

    down_us: int
    count: int


class HistoryRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="history.v1", kw_only=True):
    """Outages that leaders saw, by ``node/x``, ``site/y``, ``operator/z``, ``country/DE``. Written by the leader."""

    until_us: WallTime
    watched_us: int
    """Time that was watched in all."""
    outages: dict[str, Outages]
    """Of domains that were ever down."""
    down: tuple[str, ...]
    """Those that were down at the last look."""


class CarbonFeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="carbon-feed.v1", kw_only=True):
    """A forecast of carbon intensity per grid zone, g/kWh, as somebody brought it in."""

    source: str
    error_permille: int
    """Mean relative error, as the source states it."""
    taken_us: WallTime
    zones: dict[str, Series]


class UsageRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one workload took on one node in a period."""

    workload: WorkloadId
    requests: int
    errors: int
    cpu_us: int
    """Processor time of its guests."""
    peak_memory_bytes: int
    """Largest memory of one instance since the node's engine started."""
    cold_starts: int
    egress_bytes: dict[str, int]
    """Jurisdiction -> body bytes sent there."""


class DecisionRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often one node decided in one way about who may invoke a workload. No personal data."""

    workload: WorkloadId
    outcome: str
    """``allow``, ``deny`` or ``error`` (which denies)."""
    policies: tuple[str, ...]
    """Ids of the policies that decided; none where nothing permitted it."""
    principal: str
    """Kind of principal, never which one."""
    count: int
    sample_us: WallTime
    """When one of them was decided."""
    sample_trace: str = ""


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="account.v1", kw_only=True):
    """What a node did for workloads in a period, and what it decided on the request path. Told until it is taken."""

    node: NodeId
    incarnation: int
    number: int
    """Counts the accounts of one incarnation, from 1."""
    from_us: WallTime
    until_us: WallTime
    usage: tuple[UsageRow, ...]
    decisions: tuple[DecisionRow, ...]


class AccountTaken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="account-taken.v1", kw_only=True):
    """The domain's ledger holds an account."""

    node: NodeId
    incarnation: int
    number: int
