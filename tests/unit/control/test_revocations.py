"""The list of revoked nodes: grows, never forgets, and is published only when it says something new."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.adapters.domain_files import init_domain
from hanse.adapters.entropy import SystemEntropy
from hanse.app.revoking import RevocationFile
from hanse.control.revocations import wanted_revocations
from hanse.core.errors import SignatureError
from hanse.core.fabric import Node, Power, Price, Resources, Tier
from hanse.core.ids import NodeId, OperatorId, SiteId
from hanse.core.time import WallTime
from hanse.identity import nkey_from_secret
from hanse.wire import envelope
from hanse.wire.messages import NodeRecord
from hanse.wire.trust_messages import Revocations, Revoked

NOW = WallTime(1_795_000_000_000_000)


def record(name: str, *, is_revoked: bool = False) -> NodeRecord:
    node = Node(
        id=NodeId(name),
        site=SiteId("hamburg"),
        operator=OperatorId("hansa"),
        tier=Tier.REGIONAL,
        capacity=Resources(cpu_milli=1_000, memory_bytes=2**30),
        price=Price(cpu_core_hour_microeur=1, memory_gib_hour_microeur=1),
        power=Power(idle_mw=1, per_core_mw=1),
    )
    return NodeRecord(
        node=node,
        public_key=name.encode().ljust(32, b"k"),
        enrolled_us=WallTime(NOW - 5),
        spiffe_id=f"spiffe://test.hanse/node/{name}",
        nats_public_key=nkey_from_secret("user", name.encode().ljust(32, b"n")).public,
        is_revoked=is_revoked,
        revoked_us=NOW if is_revoked else None,
    )


def test_nothing_is_published_before_the_first_revocation() -> None:
    assert wanted_revocations({NodeId("a"): record("a")}, None) is None


def test_a_revoked_node_is_listed_under_every_name_it_is_known_by() -> None:
    listed = wanted_revocations({NodeId("a"): record("a", is_revoked=True), NodeId("b"): record("b")}, None)
    assert listed == Revocations(
        generation=1,
        nodes=(
            Revoked(
                node=NodeId("a"),
                spiffe_id="spiffe://test.hanse/node/a",
                nats_public_key=record("a").nats_public_key,
                since_us=NOW,
            ),
        ),
    )
    assert wanted_revocations({NodeId("a"): record("a", is_revoked=True)}, listed) is None


@given(st.lists(st.sets(st.sampled_from("abcdef")), max_size=8))
def test_a_name_in_the_list_never_leaves_it_and_generations_only_grow(rounds: list[set[str]]) -> None:
    standing: Revocations | None = None
    seen: set[str] = set()
    for revoked in rounds:
        nodes = {NodeId(name): record(name, is_revoked=name in revoked) for name in "abcdef"}
        wanted = wanted_revocations(nodes, standing)
        assert (wanted is None) == (revoked <= seen)
        if wanted is not None:
            assert wanted.generation == (0 if standing is None else standing.generation) + 1
            standing = wanted
        seen |= revoked
        assert {str(one.node) for one in standing.nodes} == seen if standing is not None else not seen


def test_the_supervisor_keeps_the_newest_list_and_takes_none_that_is_older_or_not_the_controllers(
    tmp_path: Path,
) -> None:
    domain = init_domain(tmp_path, "test.hanse", NOW, SystemEntropy())
    nodes = {NodeId("a"): record("a", is_revoked=True)}
    first = wanted_revocations(nodes, None)
    assert first is not None
    second = wanted_revocations({**nodes, NodeId("b"): record("b", is_revoked=True)}, first)
    assert second is not None
    path = tmp_path / "revocations.json"
    file = RevocationFile(path, domain)
    assert file.revoked == {}
    assert file.take(envelope.seal(second, domain.controller_signer))
    assert not file.take(envelope.seal(first, domain.controller_signer))
    forged = msgspec.structs.replace(second, generation=9, nodes=())
    with pytest.raises(SignatureError):
        file.take(envelope.seal(forged, domain.ledger_signers[0]))
    again = RevocationFile(path, domain)
    assert again.revoked == {record(name).nats_public_key: NOW for name in "ab"}
