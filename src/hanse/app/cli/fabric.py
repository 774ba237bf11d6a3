"""Commands about a whole fabric: make it, start it, show it, look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hanse.app.cli.ca import DaysOption, RootOption, root_kept
from hanse.app.cli.fronts import AccessOption, opens_fronts
from hanse.app.cli.session import DEFAULT_STATE, Session, StateOption, fabric_command, local_command, plain_command
from hanse.app.options import FrontOptions

FabricOption = Annotated[
    Path | None,
    typer.Option(
        "--fabric", "-f", help="Manifest of the sites, operators and nodes to start.", exists=True, dir_okay=False
    ),
]
LatencyOption = Annotated[
    Path | None,
    typer.Option(help="Measured round trips between sites; missing pairs are modelled.", exists=True, dir_okay=False),
]


OptimiseOption = Annotated[
    float, typer.Option(min=0, max=86_400, help="Seconds between two runs of the global solver; 0: never.")
]


@local_command
def init(
    *,
    domain: Annotated[
        str, typer.Option(help="Name of the domain: it becomes the SPIFFE trust domain.")
    ] = "hanse.local",
    root: RootOption = None,
    days: DaysOption = 90,
    session: Session,
) -> None:
    """Make a domain: root, issuing authority, keys of substrate and ledger. Harmless where it exists already.

    With --root the root key is made in a file under a passphrase, or in a PKCS#11 token, and is never on this disk in
    clear; without, it lies in the state directory until `hanse ca export-root`.
    """
    from hanse.adapters.clock import SystemClock
    from hanse.adapters.domain_files import init_domain
    from hanse.adapters.entropy import SystemEntropy
    from hanse.app.render.style import pairs
    from hanse.core.time import DAY_US

    now = SystemClock().wall()
    with root_kept(root, may_make=True) as kept:
        made = init_domain(session.state, domain, now, SystemEntropy(), kept=kept, issuing_us=days * DAY_US)
    said = {"domain": made.name, "state": str(session.state), "folder": str(made.folder), "root_key": made.root_at}
    session.answer(said, lambda: pairs(*said.items()))
    session.note("keep a copy of that folder: it is the domain; start it with `hanse up`")


@opens_fronts
def up(
    *,
    fabric: FabricOption = None,
    controllers: Annotated[int, typer.Option(min=1, max=3, help="Controllers to start; the others stand by.")] = 1,
    latency: LatencyOption = None,
    access: AccessOption = None,
    fronts: FrontOptions,
    tpm: Annotated[
        bool, typer.Option("--tpm", help="Give every node a software TPM (swtpm); all it attests is marked simulated.")
    ] = False,
    attest_every: Annotated[float, typer.Option(min=2.0, help="Seconds between attestations of a node.")] = 600.0,
    optimise_every: OptimiseOption = 600.0,
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Start a fabric in the foreground and keep it running; Ctrl-C stops all of it.

    What ran before runs again: all state lives in the state directory.
    """
    from hanse.app.examples import fabric_file
    from hanse.app.up import up as run_fabric

    raise typer.Exit(
        run_fabric(
            state,
            fabric or fabric_file(),
            controllers,
            latency,
            access=access,
            front=fronts,
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


@fabric_command
def status(*, session: Session) -> None:
    """The fabric at a glance: who leads, what is heard of, what runs, and a map."""
    from hanse.app.render.overview import overview

    with session.client() as client:
        view = client.status()
        nodes = () if session.is_json else client.nodes()
        workloads = () if session.is_json else client.workloads()
    session.answer(view, lambda: overview(view, nodes, workloads))


@plain_command
def version(*, session: Session) -> None:
    """Versions of hanse and of what it runs on."""
    import platform
    from importlib.metadata import version as version_of

    from hanse.app.render.style import pairs

    said = {"hanse": version_of("hanse"), "python": platform.python_version(), "system": platform.platform()}
    session.answer(said, lambda: pairs(*said.items()))
