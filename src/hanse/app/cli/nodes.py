"""Commands about nodes: empty them, let them join, pull their cable, withdraw their standing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanse.app.cli.fronts import opens_own_front
from hanse.app.cli.session import Session, TimeoutOption, fabric_command, local_command, plain_command
from hanse.app.options import FrontOptions

if TYPE_CHECKING:
    from hanse.app.cli.processes import TpmArguments

app = typer.Typer(help="Nodes: join, run, cut off, withdraw.", no_args_is_help=True)

NodeArgument = Annotated[str, typer.Argument(help="Id of the node, for example fra-1.")]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]


@fabric_command
def drain(
    *,
    node: NodeArgument,
    wait: WaitOption = True,
    timeout: TimeoutOption = 120.0,
    session: Session,
) -> None:
    """Empty a node on purpose: its work moves within the disruption budget, and nothing new comes."""
    from hanse.app.cli.waiting import until

    with session.client() as client:
        client.drain(node)
        left: list[str] = []

        def ask() -> bool | None:
            left[:] = [one.id for one in client.instances() if one.node == node and one.phase in ("running", "loading")]
            return None if left else True

        if wait:
            with session.step(f"draining {node}"):
                until(
                    ask,
                    timeout_s=timeout,
                    late=lambda: f"{', '.join(left)} still on {node}",
                    hint="`hanse explain` tells what keeps them from moving; `hanse undrain` takes it back",
                )
    said = f"{node} is empty" if wait else f"{node} is being emptied"
    session.answer({"node": node, "status": "drained" if wait else "draining"}, lambda: said)


@fabric_command
def undrain(
    *,
    node: NodeArgument,
    session: Session,
) -> None:
    """Let a drained node take work again."""
    with session.client() as client:
        client.drain(node, undo=True)
    session.answer({"node": node, "status": "ready"}, lambda: f"{node} takes work again")


@app.command("list")
@fabric_command
def list_nodes(*, session: Session) -> None:
    """List the nodes, as `hanse get nodes`."""
    from hanse.app.render import tables

    with session.client() as client:
        views = client.nodes()
    session.answer(views, lambda: tables.nodes(views))


@app.command()
@fabric_command
def token(
    *,
    site: Annotated[str, typer.Option(help="Site where the node will stand.")],
    operator: Annotated[str, typer.Option(help="Operator that will run it.")],
    tier: Annotated[str, typer.Option(help="core, regional, edge or device.")] = "edge",
    grade: Annotated[
        int, typer.Option(min=0, max=4, help="Up to which grade the domain vouches for the node's facts.")
    ] = 1,
    node: Annotated[str | None, typer.Option(help="The only node id that the token admits.")] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(help="Evidence that the node must bring: tpm, tdx, sgx or snp; one of those given."),
    ] = None,
    service: Annotated[str, typer.Option(help="Which of the operator's services it belongs to.")] = "",
    session: Session,
) -> None:
    """Make a one-time join token: it admits one node, at this site, for this operator, within the hour."""
    from hanse.core.time import WallTime, rfc3339

    with session.client() as client:
        made = client.token_for(
            site=site, operator=operator, tier=tier, grade=grade, node=node, require=require or (), service=service
        )
    session.answer(made, lambda: made.token)
    session.note(f"valid until {rfc3339(WallTime(made.expires_us))}; shown this once, only its hash is kept")


@app.command()
@plain_command
def sandbox(*, session: Session) -> None:
    """Try every known way out of a worker process on this machine: what `isolation: process` is worth here."""
    from hanse.adapters.sandbox import escape_attempts
    from hanse.app.render import tables
    from hanse.core.errors import RuntimeFailure

    attempts = escape_attempts()
    session.answer(attempts, lambda: tables.escape_attempts(attempts))
    if open_ways := [f"{one.attempt} ({one.wall})" for one in attempts if not one.is_refused]:
        raise RuntimeFailure(
            f"a worker process of this machine gets out: {', '.join(open_ways)}",
            code="isolation.broken",
            hint="Landlock needs Linux 5.13 (connections: 6.7) and `landlock` in /sys/kernel/security/lsm",
        )


@app.command()
@fabric_command
def revoke(
    *,
    node: NodeArgument,
    session: Session,
) -> None:
    """Withdraw a node's standing: its work moves, its signatures no longer count."""
    with session.client() as client:
        client.revoke(node)
    session.answer({"node": node, "status": "revoked"}, lambda: f"{node} is revoked")


@app.command()
@local_command
def cut(*, node: NodeArgument, session: Session) -> None:
    """Cut a node of this machine's `hanse up` off from controller and substrate, to see what happens."""
    from hanse.app.up import set_cable

    set_cable(session.state, node, is_linked=False)
    session.answer({"node": node, "uplink": "cut"}, lambda: f"the uplink of {node} is cut")


@app.command()
@local_command
def link(*, node: NodeArgument, session: Session) -> None:
    """Restore the uplink of a node that was cut off."""
    from hanse.app.up import set_cable

    set_cable(session.state, node, is_linked=True)
    session.answer({"node": node, "uplink": "linked"}, lambda: f"the uplink of {node} is back")


@app.command()
@local_command
def restart(
    *,
    node: NodeArgument,
    hot: Annotated[
        bool, typer.Option("--hot", help="Without a failed request: the next process takes over the sockets.")
    ] = False,
    session: Session,
) -> None:
    """Restart a node of the fabric that `hanse up` runs here; for one of its own see `hanse node run --take-over`."""
    import asyncio

    from hanse.app.steering import Order, steer

    said = asyncio.run(steer(session.state, Order(restart=node, is_hot=hot)))
    answer = {"node": node, "hot": hot, "pid": said.pid}
    session.answer(answer, lambda: f"{node} runs as process {said.pid}")


ManifestOption = Annotated[
    Path, typer.Option("--manifest", "-f", help="File with the Node document.", exists=True, dir_okay=False)
]
DirOption = Annotated[Path, typer.Option("--dir", help="The node's own directory: identity, orders, artifacts.")]
FrontOption = Annotated[str, typer.Option(help="Address that serves requests.")]
MeshOption = Annotated[str, typer.Option(help="Address for other nodes (mutual TLS).")]
SubstrateOption = Annotated[str | None, typer.Option(help="Substrate address, where not the one the domain gives.")]
PolicyOption = Annotated[
    Path | None, typer.Option("--owner-policy", help="Cedar policy of the node's owner.", exists=True, dir_okay=False)
]
ResourceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--resource",
        help="What the node offers, over what its document says: disk=200Gi, bandwidth=1Gbit/s, gpu=L4:2, licence=4. "
        "May be given again; 0 withdraws.",
    ),
]

TpmOption = Annotated[
    str | None, typer.Option("--tpm", help="The node's TPM as tpm2-tools name it, for example device:/dev/tpmrm0.")
]
IssuersOption = Annotated[
    Path | None,
    typer.Option(
        "--tpm-issuers", help="PEM of who endorses the TPM, up to its maker's root.", exists=True, dir_okay=False
    ),
]

TeeOption = Annotated[
    bool, typer.Option("--tee", help="Attest with the TDX or SEV-SNP guest that this runs in (configfs-tsm).")
]
EndorsementsOption = Annotated[
    Path | None,
    typer.Option(
        "--tee-endorsements",
        help="TDX collateral (JSON), or VCEK, ASK, ARK (PEM) where the host gives none; read at each attestation.",
        exists=True,
        dir_okay=False,
    ),
]
WorkloadApiOption = Annotated[
    Path | None,
    typer.Option(
        "--workload-api",
        help="Socket on which programs of --allow-upstream fetch their SVIDs (SPIFFE Workload API); default: "
        "workload.sock in the node's directory.",
        dir_okay=False,
    ),
]


@app.command()
@opens_own_front
def join(
    *,
    name: NodeArgument,
    manifest: ManifestOption,
    api: Annotated[list[str], typer.Option(help="HTTPS address of a controller; give it once per controller.")],
    ca: Annotated[Path, typer.Option(help="The domain's trust bundle (root.pem).", exists=True, dir_okay=False)],
    token: Annotated[str, typer.Option(envvar="HANSE_JOIN_TOKEN", help="One-time token of `hanse node token`.")],
    directory: DirOption = Path("hanse-node"),
    front: FrontOption = "0.0.0.0:8080",
    mesh: MeshOption,
    substrate: SubstrateOption = None,
    owner_policy: PolicyOption = None,
    fronts: FrontOptions,
    resource: ResourceOption = None,
    tpm: TpmOption = None,
    tpm_issuers: IssuersOption = None,
    workload_api: WorkloadApiOption = None,
    tee: TeeOption = False,
    tee_endorsements: EndorsementsOption = None,
) -> None:
    """Join a domain with this machine and serve until Ctrl-C. Later starts need `hanse node run` and no token."""
    from hanse.app.cli.processes import JoinArguments, run_node_process

    joining = JoinArguments(api_urls=tuple(api), ca=ca, token=token)
    run_node_process(
        name=name,
        manifest=manifest,
        directory=directory,
        front=front,
        mesh=mesh,
        compiled=None,
        substrate=substrate,
        owner_policy=owner_policy,
        fronts=fronts,
        joining=joining,
        resources=tuple(resource or ()),
        tpm=_tpm(tpm, tpm_issuers),
        workload_api=workload_api,
        is_tee=tee,
        tee_endorsements=tee_endorsements,
    )


@app.command()
@opens_own_front
def run(
    *,
    name: NodeArgument,
    manifest: ManifestOption,
    directory: DirOption = Path("hanse-node"),
    front: FrontOption = "0.0.0.0:8080",
    mesh: MeshOption,
    compiled: Annotated[Path | None, typer.Option(help="Cache of compiled components.", hidden=True)] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take the sockets of the process that runs this node now; it then ends.")
    ] = False,
    substrate: SubstrateOption = None,
    owner_policy: PolicyOption = None,
    fronts: FrontOptions,
    resource: ResourceOption = None,
    tpm: TpmOption = None,
    tpm_issuers: IssuersOption = None,
    workload_api: WorkloadApiOption = None,
    tee: TeeOption = False,
    tee_endorsements: EndorsementsOption = None,
) -> None:
    """Start a node that has joined before; it needs nobody to serve its own work."""
    from hanse.app.cli.processes import run_node_process

    run_node_process(
        name=name,
        manifest=manifest,
        directory=directory,
        front=front,
        mesh=mesh,
        compiled=compiled,
        substrate=substrate,
        owner_policy=owner_policy,
        fronts=fronts,
        joining=None,
        takes_over=take_over,
        resources=tuple(resource or ()),
        tpm=_tpm(tpm, tpm_issuers),
        workload_api=workload_api,
        is_tee=tee,
        tee_endorsements=tee_endorsements,
    )


def _tpm(tcti: str | None, issuers: Path | None) -> TpmArguments | None:
    from hanse.app.cli.processes import TpmArguments

    if (tcti is None) != (issuers is None):
        raise typer.BadParameter("--tpm and --tpm-issuers go together")
    return None if tcti is None or issuers is None else TpmArguments(tcti=tcti, issuers=issuers)
