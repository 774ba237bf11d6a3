"""The node's X.509-SVID: kept, renewed at half of its life, handed to the runtime.

Its key is in memory only: in the process and, where the machine offers that, in files that are memory too, so that a
node which restarts while cut off can speak to its neighbours again. No disk ever holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import structlog
from cryptography.hazmat.primitives import serialization

from hanse.core.errors import HanseError, WireError
from hanse.core.ports import NodePorts
from hanse.core.time import US_PER_S, WallTime
from hanse.identity import SealingError, key_from_secret, make_csr, verify_svid
from hanse.identity.authority import SECRET_BYTES, key_pem
from hanse.identity.sealing import bind
from hanse.node.config import NodeConfig
from hanse.wire import canonical, envelope
from hanse.wire.subjects import ask
from hanse.wire.trust_messages import RenewRequest, Svid

log = structlog.get_logger("node")

BUCKET = "identity"
KEY = "svid"
LOOK_US_MAX = 30 * US_PER_S
"""Longest sleep before looking at the clock again: wall clocks step."""


class StoredSvid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="stored-svid.v1", kw_only=True):
    """An SVID with its private key, as a restarted process finds it."""

    svid: Svid
    private_key_pem: bytes


class SvidKeeper:
    """Owns the current SVID of one node."""

    def __init__(self, ports: NodePorts, config: NodeConfig) -> None:
        self._ports = ports
        self._config = config
        self._current: StoredSvid | None = None
        self._revoked: tuple[str, ...] = ()

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo of the current SVID's key; no bytes before there is one."""
        if self._current is None:
            return b""
        key = serialization.load_pem_private_key(self._current.private_key_pem, None).public_key()
        return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def bundle_pem(self) -> bytes:
        """The trust bundle that came with the current SVID; no bytes before there is one."""
        return b"" if self._current is None else self._current.svid.bundle_pem

    @property
    def chain_pem(self) -> bytes:
        """The current certificate chain; no bytes before the first one."""
        return b"" if self._current is None else self._current.svid.certificate_chain_pem

    def bind(self, sealing_public_key: bytes) -> bytes:
        """Sign a sealing key of this node with the SVID's. Raises SealingError without one."""
        if self._current is None:
            raise SealingError("this node has no SVID yet", code="secret.unbound_key", retry=True)
        return bind(self._current.private_key_pem, self._config.domain, self._config.node.id, sealing_public_key)

    async def load(self) -> None:
        """Take up the SVID of the process before, if it is still valid."""
        entry = None if self._ports.memory is None else await self._ports.memory.get(BUCKET, KEY)
        if entry is None or entry.value is None:
            return
        try:
            stored = canonical.decode(entry.value, StoredSvid)
        except WireError as error:
            log.warning("memory.left_out", record=f"{BUCKET}/{KEY}", code=error.code, reason=error.message)
            return
        self._current = stored
        if stored.svid.not_after_us <= self._ports.clock.wall():
            return
        try:
            await self._use(stored)
        except HanseError as error:
            log.warning("svid.unusable", code=error.code, reason=error.message)
            self._current = None

    async def refuse(self, spiffe_ids: Sequence[str]) -> None:
        """Have the runtime refuse these peers from now on, however long their certificates are valid."""
        self._revoked = tuple(spiffe_ids)
        if self._current is not None and self._current.svid.not_after_us > self._ports.clock.wall():
            await self._use(self._current)

    async def run(self) -> None:
        """Renew until cancelled. A failed renewal is tried again each heartbeat; two successful ones lie 30 s apart.

        Where clocks disagree by more than an SVID's life, every new one is due at once.
        """
        while True:
            wait_us = self._due_in_us()
            if wait_us > 0:
                await asyncio.sleep(min(wait_us, LOOK_US_MAX) / 1e6)
                continue
            try:
                await self._renew()
            except HanseError as error:
                log.debug("svid.renewal_postponed", code=error.code, reason=error.message)
                await asyncio.sleep(self._config.heartbeat_us / 1e6)
            else:
                await asyncio.sleep(LOOK_US_MAX / 1e6)

    def _due_in_us(self) -> int:
        if self._current is None:
            return 0
        return self._current.svid.not_after_us - self._config.svid_lifetime_us // 2 - self._ports.clock.wall()

    async def _renew(self) -> None:
        key = key_from_secret(self._ports.entropy.secret(SECRET_BYTES))
        request = RenewRequest(
            node=self._config.node.id, csr_pem=make_csr(key), at_us=WallTime(self._ports.clock.wall())
        )
        answer = await self._ports.bus.request(
            ask(self._config.node.id, "renew"),
            envelope.seal(request, self._ports.signer),
            self._config.renew_deadline_us,
        )
        svid = envelope.open_sealed(answer, Svid, self._config.controller_keys).message
        self._refuse_if_worse(svid)
        stored = StoredSvid(svid=svid, private_key_pem=key_pem(key))
        await self._use(stored)
        if self._ports.memory is not None:
            await self._ports.memory.put(BUCKET, KEY, canonical.encode(stored))
        self._current = stored
        log.info("svid.renewed", not_after_us=svid.not_after_us)

    def _refuse_if_worse(self, svid: Svid) -> None:
        """Keep a valid SVID rather than take one that is not valid now: the authority's clock may have stepped.

        Without a valid one anything is taken, for then the clock that is wrong may be this node's own. Raises
        IdentityError.
        """
        now = self._ports.clock.wall()
        if self._current is None or self._current.svid.not_after_us <= now:
            return
        verify_svid(svid.certificate_chain_pem, svid.bundle_pem, now, domain=self._config.domain)

    async def _use(self, stored: StoredSvid) -> None:
        await self._ports.runtime.set_identity(
            stored.svid.certificate_chain_pem, stored.private_key_pem, stored.svid.bundle_pem, self._revoked
        )
