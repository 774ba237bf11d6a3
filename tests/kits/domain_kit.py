"""One domain's controller behind its real API, with stores in memory; nothing runs but what a test calls."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, cast

import httpx
from ledger_kit import NOW, DictStore, FixedClock

from hanse.adapters.package_data import read_packs
from hanse.app.access_file import NO_FILE, Access
from hanse.app.api import build_api
from hanse.control import ControlConfig, build_control
from hanse.control.controller import Controller
from hanse.control.ledger_writer import LedgerWriter
from hanse.core.ids import ControllerId
from hanse.core.ports import Clock, ControlPorts
from hanse.twin.domain import make_domain
from hanse.twin.ports.entropy import SeededEntropy

LIVES = itertools.count()
"""No two controllers draw alike, not even two of one domain."""


@dataclass
class Domain:
    """One domain's controller with its stores; nothing runs but what a test calls."""

    controller: Controller
    ports: ControlPorts
    writer: LedgerWriter
    api: httpx.AsyncClient

    async def grow(self, first: int, last: int, *, word: str = "entry") -> None:
        """Append entries under a checkpoint."""
        await self.writer.append([f"{word} {number}".encode() for number in range(first, last)])


def domain(
    seed: int, name: str, *, store: DictStore | None = None, clock: Clock | None = None, access: Access = NO_FILE
) -> Domain:
    keys = make_domain(seed, name, NOW)
    ports = ControlPorts(
        clock=clock or FixedClock(),
        entropy=SeededEntropy(seed, "domain", next(LIVES)),
        bus=cast(Any, None),
        store=store or DictStore(),
        blobs=cast(Any, None),
        ledger=DictStore(),
        signer=keys.controller,
        ledger_signers=keys.ledger,
        witness_signers=keys.witness,
        mirror_signers=keys.mirror,
    )
    config = ControlConfig(id=ControllerId("c1"), domain=name, api_url="", nats_urls=(), packs=read_packs())
    controller = build_control(ports, config, keys.authority)

    async def no_component(_: bytes) -> tuple[str, list[str]]:
        raise AssertionError

    app = build_api(controller, ports, token="secret", version="test", inspect_component=no_component, access=access)
    api = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        headers={"authorization": "Bearer secret"},
        base_url="https://south.test",
    )
    writer = LedgerWriter(ports.ledger, ports.ledger_signers, ports.clock, keys.origin)
    return Domain(controller=controller, ports=ports, writer=writer, api=api)
