"""A node accounts for what is new, completely and without saying who asked, and never in too large a piece."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from room_kit import CONTROLLER, START

from hanse.core.ids import NodeId, WorkloadId
from hanse.core.ports import DecisionCount, WorkloadStats
from hanse.ledger import statement
from hanse.ledger.tiles import MAX_ENTRY_BYTES
from hanse.node.accounting import NAME_MAX, NAMES_MAX, ROWS_MAX, batches
from hanse.twin.ports.signer import ed25519
from hanse.wire import envelope
from hanse.wire.messages import Account, DecisionRow, UsageRow

WARDS, TRIAGE = WorkloadId("clinic.wards"), WorkloadId("clinic.triage")


def decided(count: int, *, policies: tuple[str, ...] = (), is_allowed: bool = False) -> DecisionCount:
    return DecisionCount(
        is_allowed=is_allowed,
        is_error=False,
        policies=policies,
        principal="user",
        count=count,
        sample_us=START,
    )


def test_only_what_is_new_is_told() -> None:
    before = WorkloadStats(requests=10, errors=1, cpu_us=500, cold_starts=4, egress_bytes={"DE": 100})
    after = replace(before, requests=15, cpu_us=900, cold_starts=6, egress_bytes={"DE": 100, "FR": 7})
    [(usage, decisions)] = batches({WARDS: before, TRIAGE: before}, {WARDS: after, TRIAGE: before})
    assert usage == (
        UsageRow(
            workload=WARDS,
            requests=5,
            errors=0,
            cpu_us=400,
            peak_memory_bytes=0,
            cold_starts=2,
            egress_bytes={"FR": 7},
        ),
    )
    assert decisions == ()
    assert list(batches({WARDS: after}, {WARDS: after})) == []


def test_decisions_are_told_by_rule_and_as_differences() -> None:
    before = WorkloadStats(decisions=(decided(3, policies=("nurses-only",)),))
    after = WorkloadStats(decisions=(decided(5, policies=("nurses-only",)), decided(2, is_allowed=True)))
    [(_, rows)] = batches({WARDS: before}, {WARDS: after})
    assert [(row.outcome, row.policies, row.count) for row in rows] == [("deny", ("nurses-only",), 2), ("allow", (), 2)]


counts = st.integers(0, 1_000)
stats = st.builds(
    WorkloadStats,
    requests=counts,
    errors=counts,
    cpu_us=counts,
    decisions=st.lists(counts, max_size=5).map(
        lambda all_: tuple(decided(count, policies=(f"rule-{number}",)) for number, count in enumerate(all_))
    ),
)


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,6}\.[a-z]{1,6}\Z").map(WorkloadId), stats, max_size=80))
def test_nothing_is_left_out_and_no_account_is_too_large(now: Mapping[WorkloadId, WorkloadStats]) -> None:
    told = list(batches({}, now))
    assert sum(row.requests for usage, _ in told for row in usage) == sum(
        one.requests for one in now.values() if one.requests or one.cpu_us or one.errors
    )
    assert sum(row.count for _, rows in told for row in rows) == sum(
        row.count for one in now.values() for row in one.decisions
    )
    assert all(len(usage) + len(rows) <= ROWS_MAX for usage, rows in told)


def test_the_largest_account_fits_into_an_entry_of_the_ledger() -> None:
    name = "x" * NAME_MAX
    row = DecisionRow(
        workload=WorkloadId(f"{name}.{name}"),
        outcome="allow",
        policies=(name,) * NAMES_MAX,
        principal="certificate",
        count=2**40,
        sample_us=START,
        sample_trace="f" * 32,
    )
    account = Account(
        node=NodeId(name), incarnation=9, number=9, from_us=START, until_us=START, usage=(), decisions=(row,) * ROWS_MAX
    )
    signer = ed25519(b"\x05" * 32)
    entry = statement.account(envelope.seal(account, signer), signer.public_key, CONTROLLER)
    assert len(entry) <= MAX_ENTRY_BYTES


def test_an_account_has_no_field_for_a_person() -> None:
    fields = {field.name for kind in (Account, UsageRow, DecisionRow) for field in msgspec.structs.fields(kind)}
    assert not fields & {"subject", "user", "path", "host", "address", "claims", "fingerprint"}
