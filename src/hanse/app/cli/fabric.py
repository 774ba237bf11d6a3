"""Commands about a whole fabric: make it, start it, show it, look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hanse.app.cli.fronts import (
    CertOption,
    ClientAuthOption,
    ClientCaOption,
    IssuerOption,
    KeyOption,
    UpstreamOption,
    front_options,
)
from hanse.app.cli.session import (
    DEFAULT_STATE,
    ContextOption,
    Output,
    OutputOption,
    Session,
    StateOption,
)

FabricOption = Annotated[
    Path | None,
    typer.Option(
        "--fabric", "-f", help="Manifest of the sites, operators and nodes to start.", exists=True, dir_okay=False
    ),
]


def init(
    *,
    domain: Annotated[
        str, typer.Option(help="Name of the domain: it becomes the SPIFFE trust domain.")
    ] = "hanse.local",
    state: StateOption = DEFAULT_STATE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a domain: its root key, its certificate authority, its ledger keys. Harmless where it exists already."""
    from hanse.adapters.clock import SystemClock
    from hanse.adapters.domain_files import init_domain
    from hanse.adapters.entropy import SystemEntropy
    from hanse.app.render.style import pairs

    session = Session(state=state, output=output)
    made = init_domain(state, domain, SystemClock().wall(), SystemEntropy())
    said = {"domain": made.name, "state": str(state), "folder": str(made.folder)}
    session.answer(said, lambda: pairs(*said.items()))
    session.note("keep a copy of that folder: it is the domain; start it with `hanse up`")


def up(
    *,
    fabric: FabricOption = None,
    controllers: Annotated[int, typer.Option(min=1, max=3, help="Controllers to start; the others stand by.")] = 1,
    latency: Annotated[
        Path | None,
        typer.Option(
            help="Measured round trips between sites; missing pairs are modelled.", exists=True, dir_okay=False
        ),
    ] = None,
    front_tls: Annotated[
        bool,
        typer.Option(
            "--front-tls", help="Fronts speak TLS, with certificates of the domain's own authority if none is given."
        ),
    ] = False,
    front_cert: CertOption = None,
    front_key: KeyOption = None,
    client_auth: ClientAuthOption = "none",
    client_ca: ClientCaOption = None,
    issuer: IssuerOption = None,
    allow_upstream: UpstreamOption = None,
    tpm: Annotated[
        bool, typer.Option("--tpm", help="Give every node a software TPM (swtpm); all it attests is marked simulated.")
    ] = False,
    attest_every: Annotated[float, typer.Option(min=2.0, help="Seconds between attestations of a node.")] = 600.0,
    optimise_every: Annotated[
        float, typer.Option(min=0, max=86_400, help="Seconds between two runs of the global solver; 0: never.")
    ] = 600.0,
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Start a fabric in the foreground and keep it running; Ctrl-C stops all of it.

    What ran before runs again: all state lives in the state directory.
    """
    from hanse.app.examples import fabric_file
    from hanse.app.up import up as run_fabric

    front = front_options(
        is_tls=front_tls,
        certs=front_cert,
        keys=front_key,
        client_auth=client_auth,
        client_ca=client_ca,
        issuers=issuer,
        upstreams=allow_upstream,
    )
    raise typer.Exit(
        run_fabric(
            state,
            fabric or fabric_file(),
            controllers,
            latency,
            front=front,
            has_tpms=tpm,
            attest_us=round(attest_every * 1e6),
            optimise_us=round(optimise_every * 1e6),
        )
    )


def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the fabric running afterwards, until Ctrl-C.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Wait for Enter after each step.")] = False,
    step: Annotated[list[int] | None, typer.Option("--step", min=1, max=8, help="Only these steps, and 1.")] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="State directory; a fresh one, removed at the end, if not given.")
    ] = None,
) -> None:
    """Take the tour: a fabric of six nodes starts, is put under load, killed, cut, audited, and stops."""
    from hanse.app.tour import run_tour

    raise typer.Exit(run_tour(state=state, keep=keep, pause=pause, only=tuple(step or ())))


def status(
    *, state: StateOption = DEFAULT_STATE, context: ContextOption = None, output: OutputOption = Output.TABLE
) -> None:
    """The fabric at a glance: who leads, what is heard of, what runs, and a map."""
    from hanse.app.render.overview import overview

    session = Session(state=state, context=context, output=output)
    with session.client() as client:
        view = client.status()
        nodes = () if session.is_json else client.nodes()
        workloads = () if session.is_json else client.workloads()
    session.answer(view, lambda: overview(view, nodes, workloads))


def version(*, output: OutputOption = Output.TABLE) -> None:
    """Versions of hanse and of what it runs on."""
    import platform
    from importlib.metadata import version as version_of

    from hanse.app.render.style import pairs

    said = {"hanse": version_of("hanse"), "python": platform.python_version(), "system": platform.platform()}
    Session(output=output).answer(said, lambda: pairs(*said.items()))
