"""The SPIFFE Workload API on a Unix socket: `caller's process -> SVIDs of the services that it is`.

gRPC as `SPIFFE_Workload_API.md` says, for X.509-SVIDs and X.509 bundles; the JWT profile is answered with
``UNIMPLEMENTED``. A caller proves nothing: the kernel says which process it is. Every answer is a stream that goes on
with each renewal, and ends with ``PERMISSION_DENIED`` when the caller has no identity any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from hanse.adapters.peer_process import PeerProcess
from hanse.core.errors import HanseError
from hanse.core.ids import WorkloadId
from hanse.identity.workload import WorkloadIdentity, der_of

log = structlog.get_logger("node")

SERVICE: Final = "/SpiffeWorkloadAPI"
SECURITY_HEADER: Final = "workload.spiffe.io"
LOOK_S: Final = 2.0
"""How often an open stream asks whether its caller still is what it was."""
STREAMS_MAX: Final = 64
"""Open streams of all callers; more are refused."""
SOCKET_MODE: Final = 0o666
"""Who may connect is said by the folder; who gets something, by the kernel's word about the caller."""


class Workloads(Protocol):
    """What the node knows of its services."""

    def behind(self, listening: Collection[str]) -> tuple[WorkloadId, ...]:
        """Services that run at these addresses."""
        ...

    async def get(self, workload: WorkloadId) -> WorkloadIdentity:
        """The SVID of one. Raises HanseError."""
        ...


class WorkloadApi:
    """The server behind one socket."""

    def __init__(self, path: Path, workloads: Workloads) -> None:
        self._path = path
        self._workloads = workloads
        self._open = 0
        self._server = Server([self], codec=_Bytes())

    async def __aenter__(self) -> WorkloadApi:
        await self._server.start(path=str(self._path))
        self._path.chmod(SOCKET_MODE)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._server.wait_closed()

    def __mapping__(self) -> Mapping[str, Handler]:
        """The methods of the service, as grpclib asks for them."""
        methods = {"FetchX509SVID": self._svids, "FetchX509Bundles": self._bundles}
        return {
            f"{SERVICE}/{name}": Handler(method, Cardinality.UNARY_STREAM, bytes, bytes)
            for name, method in methods.items()
        }

    async def _svids(self, stream: Stream[bytes, bytes]) -> None:
        await self._serve(stream, svid_response)

    async def _bundles(self, stream: Stream[bytes, bytes]) -> None:
        await self._serve(stream, bundles_response)

    async def _serve(
        self, stream: Stream[bytes, bytes], response: Callable[[Collection[WorkloadIdentity]], bytes]
    ) -> None:
        # Against requests that a program was tricked into making (section 4.1 of the Workload Endpoint standard).
        told = stream.metadata
        if told is None or told.get(SECURITY_HEADER) != "true":
            raise GRPCError(Status.INVALID_ARGUMENT, f"security header missing: {SECURITY_HEADER}: true")
        await stream.recv_message()
        if self._open >= STREAMS_MAX:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "too many open streams")
        self._open += 1
        try:
            with PeerProcess.of(_socket_of(stream)) as process:
                async for identities in self._changes(process):
                    await stream.send_message(response(identities))
        except OSError as error:
            raise _denied() from error
        finally:
            self._open -= 1

    async def _changes(self, process: PeerProcess) -> AsyncIterator[list[WorkloadIdentity]]:
        told = b""
        while True:
            listening = await asyncio.to_thread(process.listening)
            workloads = self._workloads.behind(listening)
            if not workloads:
                log.info("workload.unknown", pid=process.pid, listening=sorted(listening))
                raise _denied()
            try:
                identities = [await self._workloads.get(workload) for workload in workloads]
            except HanseError as error:
                log.warning("workload.no_svid", pid=process.pid, workloads=workloads, code=error.code)
                raise GRPCError(Status.UNAVAILABLE, "no SVID can be had now; try again") from error
            now = hashlib.sha256(svid_response(identities)).digest()
            if now != told:
                told = now
                log.info("workload.svid", pid=process.pid, workloads=workloads)
                yield identities
            await asyncio.sleep(LOOK_S)


def svid_response(identities: Collection[WorkloadIdentity]) -> bytes:
    """``X509SVIDResponse``, the protocol's message as bytes."""
    return b"".join(
        _field(
            1,
            _field(1, str(one.spiffe_id).encode())
            + _field(2, one.chain_der())
            + _field(3, one.key_der())
            + _field(4, der_of(one.bundle_pem)),
        )
        for one in identities
    ) + _bundles(3, {name: pem for one in identities for name, pem in one.federated_pem.items()})


def bundles_response(identities: Collection[WorkloadIdentity]) -> bytes:
    """``X509BundlesResponse``: the bundle of each trust domain under its SPIFFE ID."""
    others = {name: pem for one in identities for name, pem in one.federated_pem.items()}
    return _bundles(2, others | {one.spiffe_id.domain: one.bundle_pem for one in identities})


def _bundles(number: int, bundles: Mapping[str, bytes]) -> bytes:
    """A map from trust domain to certificates: one entry each, in order."""
    return b"".join(
        _field(number, _field(1, f"spiffe://{domain}".encode()) + _field(2, der_of(bundles[domain])))
        for domain in sorted(bundles)
    )


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field (Protocol Buffers encoding, wire type 2): all fields that are sent here are of these."""
    length, octets = len(value), bytearray(((number << 3) | 2,))
    while length > 0x7F:
        octets.append(0x80 | (length & 0x7F))
        length >>= 7
    octets.append(length)
    return bytes(octets) + value


def _socket_of(stream: Stream[bytes, bytes]) -> Any:
    # grpclib names the address and the certificate of a peer; of a Unix socket only the socket itself tells something.
    return stream.peer._transport.get_extra_info("socket")


def _denied() -> GRPCError:
    return GRPCError(Status.PERMISSION_DENIED, "no identity issued")


class _Bytes(CodecBase):
    """Messages are bytes already: what is received is empty, what is sent is written above."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data
