"""The SPIFFE Workload API, asked by another project's client (py-spiffe): the program that listens gets its SVID.

The callers are processes of their own: what counts is which sockets the kernel says they hold.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from hanse.adapters.peer_process import PeerProcess
from hanse.adapters.workload_api import WorkloadApi, _Bytes, bundles_response
from hanse.core.errors import BusError
from hanse.core.ids import WorkloadId
from hanse.core.time import WallTime
from hanse.identity import issue_svid, key_from_secret, make_csr, workload_spiffe_id
from hanse.identity.authority import key_pem
from hanse.identity.workload import WorkloadIdentity, der_of
from hanse.twin.domain import make_domain

BOARD = WorkloadId("clinic.board")
NOW = WallTime(time.time_ns() // 1_000)
DOMAIN = make_domain(3, "test.hanse", NOW)

PROGRAM = """
import json, socket, sys
import grpc
from spiffe import WorkloadApiClient
from spiffe.errors import PySpiffeError
server = None
if sys.argv[2] != "0":
    server = socket.socket(fileno=int(sys.argv[2]))
client = WorkloadApiClient("unix://" + sys.argv[1])
try:
    svid = client.fetch_x509_svid()
    bundle = client.fetch_x509_bundles().get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    key = svid.private_key.public_key()
    said = {"id": str(svid.spiffe_id), "chain": len(svid.cert_chain), "authorities": len(bundle.x509_authorities),
            "fits": key == svid.leaf.public_key()}
except PySpiffeError as error:
    said = {"refused": str(error)}
print(json.dumps(said))
"""


@dataclass
class Node:
    """What a node would say: the board runs at one address, while it does."""

    address: str
    serial: int = 1
    is_running: bool = True
    is_cut: bool = False
    asked: list[WorkloadId] = field(default_factory=list)

    def behind(self, listening: Collection[str]) -> tuple[WorkloadId, ...]:
        return (BOARD,) if self.is_running and self.address in listening else ()

    async def get(self, workload: WorkloadId) -> WorkloadIdentity:
        if self.is_cut:
            raise BusError("cut", code="bus.disconnected")
        self.asked.append(workload)
        return identity(self.serial)


def identity(serial: int) -> WorkloadIdentity:
    authority, key = DOMAIN.authority, key_from_secret(b"\x05" * 48)
    name = workload_spiffe_id("test.hanse", "clinic", "board")
    chain = issue_svid(make_csr(key), name, ca_key=authority.ca_key, ca_cert=authority.ca_cert, now=NOW, serial=serial)
    return WorkloadIdentity(
        spiffe_id=name,
        certificate_chain_pem=chain,
        private_key_pem=key_pem(key),
        bundle_pem=authority.bundle_pem,
        not_after_us=WallTime(NOW + 3_600_000_000),
    )


async def call(path: Path, listening: socket.socket | None) -> dict[str, object]:
    """Run the program, which takes over the socket that listens (None: it has none) and asks for its SVID."""
    number = 0 if listening is None else listening.fileno()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", PROGRAM, str(path), str(number), stdout=asyncio.subprocess.PIPE,
        pass_fds=(number,) if number else (),
    )  # fmt: skip
    if listening is not None:
        listening.close()  # the program alone holds it now
    async with asyncio.timeout(120):
        told, _ = await child.communicate()
    answer: dict[str, object] = json.loads(told)
    return answer


def test_another_projects_client_gets_the_svid_of_the_program_that_listens(tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    node = Node(f"127.0.0.1:{listening.getsockname()[1]}")

    async def scenario() -> tuple[dict[str, object], dict[str, object]]:
        async with WorkloadApi(tmp_path / "w.sock", node):
            return await call(tmp_path / "w.sock", listening), await call(tmp_path / "w.sock", None)

    told, refused = asyncio.run(scenario())
    assert told == {"id": "spiffe://test.hanse/ns/clinic/board", "chain": 2, "authorities": 1, "fits": True}
    assert "PERMISSION_DENIED" in str(refused).upper() or "no identity issued" in str(refused)


async def stream(path: Path, *, header: str | None, count: int, node: Node | None = None) -> list[bytes]:
    """Ask from this very process, over the raw protocol; between two answers the node renews."""
    channel = Channel(path=str(path), codec=_Bytes())
    answers: list[bytes] = []
    metadata = {} if header is None else {"workload.spiffe.io": header}
    try:
        async with channel.request(
            "/SpiffeWorkloadAPI/FetchX509SVID", Cardinality.UNARY_STREAM, bytes, bytes, metadata=metadata
        ) as asked:
            await asked.send_message(b"", end=True)
            while len(answers) < count:
                message = await asked.recv_message()
                if message is None:
                    await asked.recv_trailing_metadata()
                    break
                answers.append(message)
                if node is not None:
                    node.serial += 1
            await asked.cancel()
    finally:
        channel.close()
    return answers


@pytest.mark.parametrize("header", [None, "false", "True"])
def test_without_the_security_header_nobody_is_answered(tmp_path: Path, header: str | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = Node(f"127.0.0.1:{server.getsockname()[1]}")

        async def scenario() -> None:
            async with WorkloadApi(tmp_path / "w.sock", node):
                await stream(tmp_path / "w.sock", header=header, count=1)

        with pytest.raises(GRPCError) as refused:
            asyncio.run(scenario())
    assert refused.value.status is Status.INVALID_ARGUMENT
    assert node.asked == []


def test_the_stream_goes_on_with_each_renewal_and_ends_with_the_workload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanse.adapters.workload_api.LOOK_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = Node(f"127.0.0.1:{server.getsockname()[1]}")

        async def scenario() -> list[bytes]:
            async with WorkloadApi(tmp_path / "w.sock", node):
                answers = await stream(tmp_path / "w.sock", header="true", count=3, node=node)
                node.is_running = False
                with pytest.raises(GRPCError) as ended:
                    await stream(tmp_path / "w.sock", header="true", count=1)
                assert ended.value.status is Status.PERMISSION_DENIED
                node.is_running, node.is_cut = True, True
                with pytest.raises(GRPCError) as cut:
                    await stream(tmp_path / "w.sock", header="true", count=1)
                assert cut.value.status is Status.UNAVAILABLE
                return answers

        answers = asyncio.run(scenario())
    assert len(set(answers)) == 3
    for serial, answer in enumerate(answers, start=1):
        assert identity(serial).chain_der() in answer


def test_a_process_is_known_by_the_sockets_it_holds_and_by_nobody_elses() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        mine, other = socket.socketpair(socket.AF_UNIX)
        with mine, other, PeerProcess.of(mine) as process:
            expected = {f"127.0.0.1:{four.getsockname()[1]}", f"[::1]:{six.getsockname()[1]}"}
            assert expected <= process.listening()
            four.close()
            assert expected & process.listening() == {f"[::1]:{six.getsockname()[1]}"}


def test_messages_are_spelled_as_protocol_buffers_ask() -> None:
    """Long fields take several length octets; the certificate of the bundle stands in it whole."""
    bundle = der_of(DOMAIN.authority.bundle_pem)
    answer = bundles_response([identity(1)])
    assert answer.startswith(b"\x12")
    assert b"\x0a\x13spiffe://test.hanse\x12" in answer
    assert answer.endswith(bundle)
    key = serialization.load_der_private_key(identity(1).key_der(), None)
    assert key.public_key() == key_from_secret(b"\x05" * 48).public_key()
