"""Which replicas answer: running, wanted, heard; a table that did not change is not written again."""

from __future__ import annotations

import pytest
from room_kit import (
    INSTANCE,
    ME,
    NODE_SIGNER,
    START,
    WORKLOAD,
    entries,
    entry,
    heartbeat,
    node_record,
    order,
    report,
    sealed,
    state_of,
)

from hanse.control.config import ControlConfig
from hanse.control.liveness import Liveness
from hanse.control.routes import wanted_routes
from hanse.control.state import FabricState, snapshot
from hanse.core.ids import ControllerId
from hanse.core.snapshot import Phase
from hanse.core.time import US_PER_S, MonoTime
from hanse.wire import envelope
from hanse.wire.messages import RouteRecord

KEY = f"{ME}.{INSTANCE}"
CONFIG = ControlConfig(id=ControllerId("c"), domain="d", api_url="", nats_urls=(), packs={})


def heard(at_s: float = 1) -> Liveness:
    liveness = Liveness(suspect_after_us=1_500_000, unreachable_after_us=3 * US_PER_S, return_grace_us=15 * US_PER_S)
    liveness.listening(True, MonoTime(0))
    liveness.heard(heartbeat(), MonoTime(round(at_s * US_PER_S)))
    return liveness


def table(state: FabricState, liveness: Liveness, *, now_s: float = 2) -> RouteRecord:
    seen = snapshot(state, liveness, CONFIG, now=START, mono=MonoTime(round(now_s * US_PER_S)))
    return wanted_routes(state, seen, liveness)[WORKLOAD]


def test_a_running_replica_is_in_the_table_under_its_mesh_address_and_identity():
    record = table(state_of(entries()), heard())
    (replica,) = record.replicas
    assert (replica.node, replica.address, replica.spiffe_id) == (ME, "127.0.0.1:2", "spiffe://test/node/fra-1")
    assert record.path == "/triage"
    assert record.generation >= START // US_PER_S, "above whatever a node that was cut off may still hold"


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.RUNNING])
def test_a_replica_that_does_not_run_is_not_in_the_table(phase: Phase):
    state = state_of(entries())
    state.apply(entry("reports", KEY, envelope.seal(report(phase=phase), NODE_SIGNER), 9))
    assert table(state, heard()).replicas == ()


def test_a_replica_that_is_to_stop_gets_no_more_requests():
    state = state_of(entries())
    state.apply(entry("orders", KEY, sealed(order(generation=2, wanted=False)), 9))
    assert table(state, heard()).replicas == ()


def test_a_silent_node_leaves_the_table_and_a_suspect_or_draining_one_stays():
    state = state_of(entries())
    assert len(table(state, heard(), now_s=3.5).replicas) == 1, "suspect"
    assert table(state, heard(), now_s=60).replicas == (), "unreachable"
    state.apply(entry("nodes", ME, sealed(node_record(is_draining=True)), 9))
    assert len(table(state, heard()).replicas) == 1, "draining"
    state.apply(entry("nodes", ME, sealed(node_record(is_revoked=True)), 10))
    assert table(state, heard()).replicas == (), "revoked"


def test_a_table_that_stands_is_left_as_it_is_and_a_change_raises_its_generation():
    state = state_of(entries())
    first = table(state, heard())
    state.apply(entry("routes", WORKLOAD, sealed(first), 1))
    assert table(state, heard()) == first
    state.apply(entry("orders", KEY, sealed(order(generation=2, wanted=False)), 9))
    assert table(state, heard()).generation == first.generation + 1
