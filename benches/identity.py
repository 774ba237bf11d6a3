"""Measure the domain's certificate authority: SVIDs per second, and a storm in which every node renews at once.

`python -m benches.identity --json [--nodes N] [--svids N]`. One process, one core. The storm is the controller's own
path: a sealed request is opened against the node's key, an SVID issued, the answer sealed; each answer is then opened
and its chain verified as a node would, outside the measured time. It must be over within a quarter of an SVID's life.

Attestation is measured on the shared evidence samples (`HANSE_SHARED`): the whole appraisal of a TDX quote with its
collateral, and of an SEV-SNP report with its chain; null where the samples are absent. CPU time, one
core, with the wall time beside it: on a busy machine the two differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benches import attestation
from benches.report import header
from hanse.adapters.clock import SystemClock
from hanse.adapters.entropy import SystemEntropy
from hanse.adapters.keys import KeySigner
from hanse.adapters.package_data import read_packs
from hanse.control import ControlConfig
from hanse.control.enrolment import Enrolment
from hanse.control.state import FabricState
from hanse.core.fabric import Node, Power, Price, Resources, Tier
from hanse.core.ids import ControllerId, NodeId, OperatorId, SiteId
from hanse.core.ports import BusMessage, ControlPorts, Entry
from hanse.core.time import HOUR_US, US_PER_S
from hanse.identity import (
    key_from_secret,
    make_csr,
    make_issuing,
    make_root,
    nkey_from_secret,
    node_id,
    serial_from_secret,
    verify_svid,
)
from hanse.identity.authority import SECRET_BYTES
from hanse.identity.enrol import Authority, renew_svid
from hanse.identity.sealing import SEALING_SECRET_BYTES, sealing_key
from hanse.wire import envelope
from hanse.wire.messages import NodeRecord
from hanse.wire.subjects import NODES, ask
from hanse.wire.trust_messages import RenewRequest, Svid

DOMAIN = "bench.hanse"
STORM_LIMIT_S = HOUR_US // 4 // US_PER_S


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON line (the default)")
    parser.add_argument("--svids", type=int, default=2_000, help="SVIDs issued one after the other")
    parser.add_argument("--nodes", type=int, default=10_000, help="nodes of the storm")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(_measure(options.svids, options.nodes))))


async def _measure(svids: int, nodes: int) -> dict[str, Any]:
    entropy, clock = SystemEntropy(), SystemClock()
    root_key, ca_key = (key_from_secret(entropy.secret(SECRET_BYTES)) for _ in range(2))
    root = make_root(root_key, DOMAIN, clock.wall(), serial_from_secret(entropy.secret(16)))
    serial = serial_from_secret(entropy.secret(16))
    ca_cert = make_issuing(root_key, root, ca_key.public_key(), DOMAIN, clock.wall(), serial)
    account = nkey_from_secret("account", entropy.secret(32))
    authority = Authority(
        domain=DOMAIN,
        ca_key=ca_key,
        ca_cert=ca_cert,
        root_cert=root,
        account=account,
        sealing=sealing_key(entropy.secret(SEALING_SECRET_BYTES)),
    )
    request = make_csr(key_from_secret(entropy.secret(SECRET_BYTES)))
    issued_us = [_issue(authority, request, entropy, clock) for _ in range(svids)]
    storm_s, failures = await _storm(authority, nodes, entropy, clock)
    return {
        **header("identity"),
        "svids_per_s": round(1e6 * svids / sum(issued_us)),
        "issue_us_p50": round(statistics.median(issued_us)),
        "issue_us_p99": sorted(issued_us)[svids * 99 // 100],
        "storm_nodes": nodes,
        "storm_s": round(storm_s, 2),
        "storm_limit_s": STORM_LIMIT_S,
        "storm_renewals_per_s": round(nodes / storm_s),
        "storm_failures": failures,
        **attestation.measure(),
    }


def _issue(authority: Authority, request: bytes, entropy: SystemEntropy, clock: SystemClock) -> int:
    at = time.perf_counter_ns()
    renew_svid(authority, node_id(DOMAIN, NodeId("n-1")), request, clock.wall(), serial_from_secret(entropy.secret(16)))
    return (time.perf_counter_ns() - at) // 1_000


async def _storm(authority: Authority, count: int, entropy: SystemEntropy, clock: SystemClock) -> tuple[float, int]:
    """Every node asks at the same moment; returns the seconds until the last answer and how many were wrong."""
    controller = KeySigner(Ed25519PrivateKey.generate())
    ports = ControlPorts(
        clock=clock,
        entropy=entropy,
        bus=cast(Any, None),
        store=cast(Any, None),
        blobs=cast(Any, None),
        ledger=cast(Any, None),
        signer=controller,
        ledger_signers=(),
        witness_signers=(),
        mirror_signers=(),
    )
    config = ControlConfig(id=ControllerId("c"), domain=DOMAIN, api_url="", nats_urls=(), packs=read_packs())
    state = FabricState(trusted={controller.key_id: controller.public_key})
    enrolment = Enrolment(ports, config, state, authority)
    # Keys of nodes repeat: making 10,000 of them is the nodes' work, not the authority's.
    keys = [KeySigner(Ed25519PrivateKey.generate()) for _ in range(100)]
    requests = [make_csr(key_from_secret(entropy.secret(SECRET_BYTES))) for _ in range(100)]
    asked: list[BusMessage] = []
    for number in range(count):
        node, signer = NodeId(f"n-{number}"), keys[number % 100]
        sealed = envelope.seal(_record(node, signer), controller)
        state.apply(Entry(bucket=NODES, key=node, value=sealed, revision=number + 1))
        renewal = RenewRequest(node=node, csr_pem=requests[number % 100], at_us=clock.wall())
        asked.append(BusMessage(subject=ask(node, "renew"), data=envelope.seal(renewal, signer), reply="inbox"))
    random.Random(1).shuffle(asked)
    began = time.perf_counter()
    answers = [await enrolment.renew(message) for message in asked]
    took = time.perf_counter() - began
    trusted = {controller.key_id: controller.public_key}
    return took, sum(
        not _holds(answer, NodeId(message.subject.split(".")[3]), authority, trusted, clock)
        for message, answer in zip(asked, answers, strict=True)
    )


def _holds(
    answer: bytes | None, node: NodeId, authority: Authority, trusted: dict[str, bytes], clock: SystemClock
) -> bool:
    if answer is None:
        return False
    svid = envelope.open_sealed(answer, Svid, trusted).message
    shown = verify_svid(svid.certificate_chain_pem, authority.bundle_pem, clock.wall(), domain=DOMAIN)
    return shown == node_id(DOMAIN, node)


def _record(node: NodeId, signer: KeySigner) -> NodeRecord:
    fact = Node(
        id=node,
        site=SiteId("bench"),
        operator=OperatorId("bench"),
        tier=Tier.EDGE,
        capacity=Resources(cpu_milli=1_000, memory_bytes=2**30),
        price=Price(cpu_core_hour_microeur=1, memory_gib_hour_microeur=1),
        power=Power(idle_mw=1, per_core_mw=1),
    )
    return NodeRecord(
        node=fact, public_key=signer.public_key, enrolled_us=SystemClock().wall(), spiffe_id=str(node_id(DOMAIN, node))
    )


if __name__ == "__main__":
    main()
