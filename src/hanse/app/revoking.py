"""Shut revoked nodes out of the substrate: the controller's signed list becomes the server's configuration.

`trust/revocations -> Revocations -> revoked nkeys`. Run by whoever runs the server. The list is kept in a file beside
the server's own, so that a server that starts again knows it before any client can connect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from hanse.adapters.domain_files import Domain
from hanse.adapters.keys import write_private
from hanse.adapters.nats_link import LinkConfig, NatsCredentials, NatsLink
from hanse.adapters.nats_store import NatsStore
from hanse.adapters.tls import client_context
from hanse.core.errors import HanseError
from hanse.core.ports import Entropy
from hanse.core.time import WallTime
from hanse.wire import envelope
from hanse.wire.messages import Revocations
from hanse.wire.subjects import REVOCATIONS, TRUST

log = structlog.get_logger("substrate")

Apply = Callable[[Mapping[str, WallTime]], None]
"""Has the server refuse these public nkeys, each with the time from which on it is void."""


class RevocationFile:
    """The list as the supervisor last saw it, sealed."""

    def __init__(self, path: Path, domain: Domain) -> None:
        self._path = path
        self._trusted = {domain.controller_signer.key_id: domain.controller_signer.public_key}
        self._last = self._open(path.read_bytes()) if path.exists() else None

    @property
    def revoked(self) -> dict[str, WallTime]:
        """Public nkey -> time of revocation."""
        listed = () if self._last is None else self._last.nodes
        return {one.nats_public_key: one.since_us for one in listed if one.nats_public_key}

    def take(self, sealed: bytes) -> bool:
        """Keep a list if it is newer than what is kept; whether it was. Raises SignatureError, WireError."""
        listed = self._open(sealed)
        if self._last is not None and listed.generation <= self._last.generation:
            return False
        write_private(self._path, sealed)
        self._last = listed
        return True

    def _open(self, sealed: bytes) -> Revocations:
        return envelope.open_sealed(sealed, Revocations, self._trusted).message


async def follow_revocations(file: RevocationFile, domain: Domain, url: str, entropy: Entropy, apply: Apply) -> None:
    """Watch the list and apply each newer one, until cancelled.

    Raises StoreError if the bucket is not there: controllers make it.
    """
    link = NatsLink(
        LinkConfig(urls=(url,), name="supervisor", ingest=domain.ingest),
        rng=entropy.stream("link", "supervisor"),
        credentials=lambda: NatsCredentials(jwt=domain.controller_jwt, seed=domain.controller_user.seed),
        tls=lambda: client_context(domain.bundle_pem),
    )
    async with link:
        async for entry in NatsStore(link).watch(TRUST):
            if entry is None or entry.value is None or entry.key != REVOCATIONS:
                continue
            try:
                is_newer = file.take(entry.value)
            except HanseError as error:
                log.warning("revocations.refused", code=error.code, reason=error.message)
                continue
            if is_newer:
                apply(file.revoked)
                log.info("substrate.revoked", users=sorted(file.revoked))
