"""One controller process: ports, the controller, its API.

Started by `hanse up` and by `hanse controller run`.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import structlog
import uvicorn

from hanse import __version__, _engine
from hanse.adapters.clock import SystemClock
from hanse.adapters.disk_store import DiskStore
from hanse.adapters.domain_files import FOLDER, RECORD, Domain, issue_server, load_domain
from hanse.adapters.entropy import SystemEntropy
from hanse.adapters.gazetteer import read_gazetteer
from hanse.adapters.intensity import read_intensities
from hanse.adapters.latency import read_latency_table
from hanse.adapters.nats_blobs import NatsBlobs
from hanse.adapters.nats_buckets import ensure_buckets
from hanse.adapters.nats_bus import NatsBus
from hanse.adapters.nats_link import LinkConfig, NatsCredentials, NatsLink
from hanse.adapters.nats_store import NatsStore
from hanse.adapters.package_data import read_packs
from hanse.adapters.tls import client_context, reload_chain, server_context
from hanse.app.access_file import NO_FILE, read_access
from hanse.app.api import build_api
from hanse.app.federating import keep_bundles
from hanse.app.layout import Layout
from hanse.app.mirroring import keep_mirrors
from hanse.app.options import ControllerOptions
from hanse.app.serving import bound_socket, run_until_signalled
from hanse.app.witnessing import ask_witnesses
from hanse.control import ControlConfig, build_control
from hanse.control.controller import Controller
from hanse.control.federation import Federation
from hanse.control.service import FabricService
from hanse.core.errors import HanseError
from hanse.core.ids import ControllerId
from hanse.core.ports import ControlPorts
from hanse.core.time import HOUR_US
from hanse.identity import controller_id
from hanse.ledger import path_of
from hanse.wire.subjects import ARTIFACTS, BUCKETS

log = structlog.get_logger("control")

SUBSTRATE_WAIT_US = 30_000_000
"""How long a starting controller waits for the substrate before it gives up and is started again."""

AUTHORITY_LOOK_S = 2.0


class ComponentRefused(HanseError):
    """Raised when uploaded bytes are not a component that hanse runs."""

    code = "component.refused"


async def run_controller(options: ControllerOptions) -> None:
    """Run one controller and its API until a signal comes."""
    layout = Layout(Path(options.state))
    domain = load_domain(layout.root)
    clock, entropy = SystemClock(), SystemEntropy()
    link = NatsLink(
        LinkConfig(urls=(options.substrate_url,), name=f"controller {options.id}", ingest=domain.ingest),
        rng=entropy.stream("link", options.id),
        credentials=lambda: NatsCredentials(jwt=domain.controller_jwt, seed=domain.controller_user.seed),
        tls=lambda: client_context(domain.bundle_pem),
    )
    await link.start()
    try:
        await link.wait_connected(SUBSTRATE_WAIT_US)
        await ensure_buckets(link, BUCKETS, artifacts=(ARTIFACTS,), replicas=1)
        ports = ControlPorts(
            clock=clock,
            entropy=entropy,
            bus=NatsBus(link),
            store=NatsStore(link),
            blobs=NatsBlobs(link),
            ledger=DiskStore(layout.ledger, path_of=lambda _, key: path_of(key), damaged=_name_damage),
            signer=domain.controller_signer,
            ledger_signers=domain.ledger_signers,
            witness_signers=domain.witness_signers,
            mirror_signers=domain.mirror_signers,
        )
        await _serve(options, domain, ports)
    finally:
        await link.stop()


async def _serve(options: ControllerOptions, domain: Domain, ports: ControlPorts) -> None:
    listening = bound_socket(options.api_host, options.api_port)
    url = f"https://{options.api_host}:{listening.getsockname()[1]}"
    controller = build_control(ports, _config(options, domain, url), domain.authority, think=asyncio.to_thread)
    access = NO_FILE if options.access is None else read_access(Path(options.access))
    api = build_api(
        controller, ports, token=domain.api_token, version=__version__, inspect_component=inspect_component,
        access=access,
    )  # fmt: skip
    context = server_context(*_certificate(options, domain, ports))
    server = uvicorn.Server(uvicorn.Config(api, log_config=None, access_log=False, lifespan="off"))
    server.config.load()
    server.config.ssl = context
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(controller.run(), name="controller")
        renewing = tasks.create_task(_renew_certificate(context, options, domain, ports), name="certificate")
        following = tasks.create_task(_follow_authority(options, controller), name="authority")
        witnessing = tasks.create_task(ask_witnesses(controller), name="witnesses")
        federation = Federation(controller, FabricService(controller, ports), ports)
        federating = tasks.create_task(keep_bundles(controller, federation), name="bundles")
        mirroring = tasks.create_task(keep_mirrors(controller), name="mirrors")
        serving = tasks.create_task(server.serve(sockets=[listening]), name="api")
        await run_until_signalled()
        server.should_exit = True
        await serving
        renewing.cancel()
        following.cancel()
        witnessing.cancel()
        mirroring.cancel()
        federating.cancel()
        running.cancel()


def _config(options: ControllerOptions, domain: Domain, url: str) -> ControlConfig:
    return ControlConfig(
        id=ControllerId(options.id),
        domain=domain.name,
        api_url=url,
        nats_urls=options.node_substrate_urls,
        packs=read_packs(),
        guardrails=options.guardrails,
        intensity_g_per_kwh=read_intensities(),
        gazetteer=read_gazetteer(),
        optimise_every_us=options.optimise_every_us,
        count_us=options.count_us,
        rtt_us={} if options.latency_table is None else read_latency_table(Path(options.latency_table)),
    )


def _certificate(options: ControllerOptions, domain: Domain, ports: ControlPorts) -> tuple[bytes, bytes]:
    return issue_server(
        domain,
        options.id,
        spiffe_id=controller_id(domain.name, ControllerId(options.id)),
        now=ports.clock.wall(),
        entropy=ports.entropy,
        ip_addresses=(options.api_host,),
    )


async def _renew_certificate(
    context: ssl.SSLContext, options: ControllerOptions, domain: Domain, ports: ControlPorts
) -> None:
    """Swap the API's certificate at half of its hour, for as long as this process lives."""
    while True:
        await asyncio.sleep(HOUR_US / 2 / 1e6)
        fresh = load_domain(Layout(Path(options.state)).root)
        reload_chain(context, *_certificate(options, fresh, ports))


async def _follow_authority(options: ControllerOptions, controller: Controller) -> None:
    """Take up a new issuing authority (`hanse ca rotate`) while this process lives."""
    root = Layout(Path(options.state)).root
    record = root / FOLDER / RECORD
    seen = record.stat().st_mtime_ns
    while True:
        await asyncio.sleep(AUTHORITY_LOOK_S)
        try:
            changed = record.stat().st_mtime_ns
            if changed == seen:
                continue
            controller.enrolment.use(load_domain(root).authority)
        except (HanseError, OSError) as error:
            # Until it can be read the one in use stays: a folder that is being written is whole a moment later.
            log.warning("authority.unreadable", reason=str(error))
            continue
        seen = changed
        log.info("authority.taken_up")


def _name_damage(path: Path, why: str) -> None:
    """A bad file of the ledger is set aside and named; the writer says what it lacks and stops writing."""
    log.error("ledger.damaged", file=str(path), why=why)


async def inspect_component(component: bytes) -> tuple[str, list[str]]:
    """Judge uploaded bytes: (world, imports). Raises ComponentRefused with the engine's code."""
    try:
        info = await asyncio.to_thread(_engine.inspect, component)
    except _engine.EngineError as error:
        raise ComponentRefused(error.message, code=error.code, hint=error.hint) from error
    return info.world, list(info.imports)
