"""The controller's caches: only what is signed enters, older revisions are ignored, any order of arrival will do."""

from __future__ import annotations

import itertools

from room_kit import (
    CONTROLLER,
    INSTANCE,
    ME,
    NODE_SIGNER,
    OTHER,
    START,
    STRANGER,
    TRUSTED,
    WORKLOAD,
    entries,
    entry,
    heartbeat,
    node,
    node_record,
    order,
    report,
    sealed,
    state_of,
    workload,
)

from hanse.control.config import ControlConfig
from hanse.control.liveness import Liveness
from hanse.control.state import snapshot
from hanse.core.ids import ControllerId
from hanse.core.snapshot import Phase, Reach
from hanse.core.time import US_PER_S, MonoTime
from hanse.wire import envelope
from hanse.wire.messages import SpecRecord

KEY = f"{ME}.{INSTANCE}"


def test_what_is_signed_is_known():
    state = state_of(entries())
    assert state.workloads() == {WORKLOAD: workload()}
    assert state.orders() == {INSTANCE: order()}
    assert state.reports() == {INSTANCE: report()}
    assert state.fabric().nodes == {ME: node()}
    assert state.rejected == {}


def test_the_order_in_which_watches_deliver_does_not_matter():
    """A report may come before the key that it is signed with: buckets keep no common order."""
    expected = state_of(entries())
    for arrivals in itertools.permutations(entries()):
        state = state_of(list(arrivals))
        assert state.records == expected.records
        assert state.rejected == {}


def test_an_older_revision_and_the_same_one_again_change_nothing():
    state = state_of(entries())
    fresh = entry("orders", KEY, sealed(order(generation=2)), 5)
    assert state.apply(fresh)
    assert not state.apply(fresh)
    assert not state.apply(entry("orders", KEY, sealed(order()), 4))
    assert state.orders()[INSTANCE].generation == 2
    assert state.revision("orders", KEY) == 5


def test_a_deletion_takes_away_and_an_older_value_does_not_bring_back():
    state = state_of(entries())
    assert state.apply(entry("orders", KEY, None, 7))
    assert state.orders() == {}
    assert not state.apply(entry("orders", KEY, sealed(order()), 6))
    assert state.orders() == {}


def test_what_a_stranger_signed_never_enters_and_is_kept_aside_with_the_reason():
    state = state_of(entries())
    for bucket, key, message in (
        ("orders", KEY, order(generation=9)),
        ("specs", f"function.{WORKLOAD}", SpecRecord(accepted_us=START, accepted_by="m", workload=workload())),
        ("nodes", OTHER, node_record(OTHER)),
        ("reports", KEY, report(phase=Phase.FAILED)),
    ):
        assert not state.apply(entry(bucket, key, envelope.seal(message, STRANGER), 50))
        assert state.rejected[bucket, key].reason.startswith("wire.signature")
    assert state.orders()[INSTANCE].generation == 1
    assert state.reports()[INSTANCE].phase is Phase.RUNNING
    assert list(state.nodes()) == [ME]


def test_a_node_cannot_report_for_another_node():
    state = state_of(entries())
    assert not state.apply(
        entry("reports", f"{ME}.clinic.triage.9.9", envelope.seal(report(node=OTHER), NODE_SIGNER), 60)
    )
    assert "speaks for node par-1" in state.rejected["reports", f"{ME}.clinic.triage.9.9"].reason


def test_a_revoked_nodes_word_counts_no_more():
    state = state_of(entries())
    state.apply(entry("nodes", ME, sealed(node_record(is_revoked=True)), 70))
    assert state.node_key(ME) == {}
    assert not state.apply(entry("reports", KEY, envelope.seal(report(phase=Phase.FAILED), NODE_SIGNER), 71))


def test_a_node_whose_site_nobody_knows_is_not_part_of_the_fabric():
    state = state_of([one for one in entries() if one.key != "site.frankfurt"])
    assert state.fabric().nodes == {}


def test_the_snapshot_joins_orders_reports_and_reach():
    state = state_of(entries())
    liveness = Liveness(suspect_after_us=1_500_000, unreachable_after_us=3 * US_PER_S, return_grace_us=15 * US_PER_S)
    config = ControlConfig(id=ControllerId("c"), domain="d", api_url="", nats_urls=(), packs={})
    liveness.listening(True, MonoTime(0))
    liveness.heard(heartbeat(), MonoTime(1))
    seen = snapshot(state, liveness, config, now=START, mono=MonoTime(2))
    assert seen.reach == {ME: Reach.READY}
    (one,) = seen.running
    assert (one.instance, one.node, one.phase, one.is_wanted) == (INSTANCE, ME, Phase.RUNNING, True)

    state.apply(entry("nodes", ME, sealed(node_record(is_draining=True)), 80))
    assert snapshot(state, liveness, config, now=START, mono=MonoTime(2)).reach == {ME: Reach.DRAINING}
    late = MonoTime(10 * US_PER_S)
    assert snapshot(state, liveness, config, now=START, mono=late).reach == {ME: Reach.UNREACHABLE}
    state.apply(entry("nodes", ME, sealed(node_record(is_revoked=True)), 81))
    assert snapshot(state, liveness, config, now=START, mono=MonoTime(2)).reach == {ME: Reach.REVOKED}


def test_every_controller_of_the_domain_is_believed():
    assert envelope.open_sealed(sealed(order()), type(order()), TRUSTED).key_id == CONTROLLER.key_id
