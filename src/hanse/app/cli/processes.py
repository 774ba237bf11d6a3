"""Commands that become one process of a fabric: a node, a controller. They run until a signal comes."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanse.app.cli.fronts import AccessOption
from hanse.app.cli.session import DEFAULT_STATE, StateOption
from hanse.app.cli.sight import CountOption
from hanse.app.options import FrontOptions
from hanse.core.errors import HanseError

if TYPE_CHECKING:
    from hanse.app.options import TpmOptions

app = typer.Typer(help="Controllers.", no_args_is_help=True)


class NoSuchNode(HanseError):
    """Raised when a manifest holds no Node document of the name that was given."""

    code = "not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinArguments:
    """Where and with what a node joins."""

    api_urls: tuple[str, ...]
    ca: Path
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmArguments:
    """How a node reaches its TPM, and who endorses it."""

    tcti: str
    issuers: Path


@app.command("run")
def run_controller(
    *,
    name: Annotated[str, typer.Argument(help="Id of this controller, unique within the domain.")],
    substrate: Annotated[str, typer.Option(help="Address of the substrate (tls://host:port).")],
    node_substrate: Annotated[
        list[str] | None, typer.Option(help="Addresses that nodes are told; default the same.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address the API listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the API; 0 takes a free one.")] = 0,
    latency: Annotated[Path | None, typer.Option(help="Measured round trips between sites.")] = None,
    access: AccessOption = None,
    optimise_every: Annotated[
        float, typer.Option(min=0, max=86_400, help="Seconds between two runs of the global solver; 0: never.")
    ] = 600.0,
    count_every: CountOption = 30.0,
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Run one controller and its API in the foreground. The first to take the lease leads; the others stand by."""
    from hanse.app.controller_main import run_controller as serve
    from hanse.app.options import ControllerOptions

    options = ControllerOptions(
        state=str(state),
        id=name,
        api_host=host,
        api_port=port,
        substrate_url=substrate,
        node_substrate_urls=tuple(node_substrate or (substrate,)),
        optimise_every_us=round(optimise_every * 1e6),
        count_us=round(count_every * 1e6),
        latency_table=None if latency is None else str(latency),
        access=None if access is None else str(access),
    )
    _run(serve(options))


def run_node_process(
    *,
    name: str,
    manifest: Path,
    directory: Path,
    front: str,
    mesh: str,
    compiled: Path | None,
    substrate: str | None,
    owner_policy: Path | None,
    fronts: FrontOptions,
    joining: JoinArguments | None,
    takes_over: bool = False,
    resources: Sequence[str] = (),
    tpm: TpmArguments | None = None,
    workload_api: Path | None = None,
    is_tee: bool = False,
    tee_endorsements: Path | None = None,
) -> None:
    """Run one node in the foreground, joining first if it must.

    Raises ManifestError, JoinFailed, NoSuchNode, UnitError.
    """
    from hanse.app.node_main import run_node
    from hanse.app.options import JoinOptions, NodeOptions
    from hanse.manifest import load
    from hanse.manifest.offers import with_offers

    documents = load([(str(manifest), manifest.read_text(encoding="utf-8"))])
    node = next((one for one in documents.nodes if one.id == name), None)
    if node is None:
        known = ", ".join(one.id for one in documents.nodes) or "none"
        raise NoSuchNode(f"{manifest} holds no node {name}", hint=f"it holds: {known}")
    options = NodeOptions(
        state=str(directory),
        node=with_offers(node, resources),
        front=front,
        mesh=mesh,
        compiled=None if compiled is None else str(compiled),
        substrate_url=substrate,
        owner_policy="" if owner_policy is None else owner_policy.read_text(encoding="utf-8"),
        front_tls=fronts.tls(),
        issuers=fronts.issuers,
        upstreams=fronts.upstreams,
        sight=fronts.sight,
        tpm=None if tpm is None else _tpm_options(tpm),
        workload_api="" if workload_api is None else str(workload_api),
        is_tee=is_tee,
        tee_endorsements=None if tee_endorsements is None else str(tee_endorsements),
    )
    join = None
    if joining is not None:
        join = JoinOptions(api_urls=joining.api_urls, ca_pem=joining.ca.read_bytes(), token=joining.token)
    _run(run_node(options, join, takes_over=takes_over))


def _tpm_options(given: TpmArguments) -> TpmOptions:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from hanse.app.options import TpmOptions

    issuers = x509.load_pem_x509_certificates(given.issuers.read_bytes())
    return TpmOptions(tcti=given.tcti, issuers=tuple(one.public_bytes(Encoding.DER) for one in issuers))


def _run(process: Coroutine[Any, Any, None]) -> None:
    import asyncio

    from hanse.app.serving import log_to_stderr

    log_to_stderr("info")
    asyncio.run(process)
