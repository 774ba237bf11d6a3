"""Commands about cosigners: who witnesses and mirrors this domain's ledger, and whose ledgers it does that for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hanse.app.cli.session import Session, fabric_command


@fabric_command
def witnesses(
    *,
    use: Annotated[
        Path | None,
        typer.Option(
            "--use", help="Ask these from now on: a tlog-policy with their addresses.", exists=True, dir_okay=False
        ),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="Authorities of the witnesses' servers.", exists=True, dir_okay=False)
    ] = None,
    add: Annotated[
        str | None,
        typer.Option("--add", metavar="node://ID", help="Have a node cosign, too: its key is asked for and pinned."),
    ] = None,
    settle: Annotated[
        str | None, typer.Option("--settle", metavar="URL", help="Drop the alarm of this address: you looked into it.")
    ] = None,
    session: Session,
) -> None:
    """Show who cosigns this domain's ledger. Exits 1 if one of them saw another history of it."""
    from hanse.app.cli.exits import Exit
    from hanse.app.render.ledger import cosigning as render

    with session.client() as client:
        if use is not None:
            client.use_witnesses(use.read_text(), "" if ca is None else ca.read_text())
        if add is not None:
            if not add.startswith("node://"):
                raise typer.BadParameter("a node is node://ID; other domains are named in a policy file (--use)")
            client.add_node_witness(add.removeprefix("node://"))
        if settle is not None and not client.settle_alarm(settle):
            raise typer.BadParameter(f"no alarm of {settle} stands")
        view = client.witnesses()
    session.answer(view, lambda: render(view))
    raise typer.Exit(Exit.FAILED if view.alarms else Exit.OK)


@fabric_command
def witness(
    *,
    log_policy: Annotated[
        Path | None,
        typer.Option(
            "--log", help="Cosign this log from now on: the other domain's policy.", exists=True, dir_okay=False
        ),
    ] = None,
    forgive: Annotated[
        str | None,
        typer.Option("--forgive", metavar="ORIGIN", help="Drop the evidence of a split view: you looked into it."),
    ] = None,
    session: Session,
) -> None:
    """Show the logs of other domains that this domain cosigns, and its keys as a witness. Exits 1 on a split view."""
    from hanse.app.cli.exits import Exit
    from hanse.app.render.ledger import witnessed as render

    with session.client() as client:
        if log_policy is not None:
            client.witness_log(log_policy.read_text())
        if forgive is not None and not client.forgive_split(forgive):
            raise typer.BadParameter(f"no split view of {forgive} is known")
        logs, keys = client.witnessed_logs(), client.witness_keys()
    session.answer({"logs": logs, "keys": keys}, lambda: render(logs, keys))
    raise typer.Exit(Exit.FAILED if any(one.split_size is not None for one in logs) else Exit.OK)


@fabric_command
def mirrors(
    *,
    use: Annotated[
        Path | None,
        typer.Option(
            "--use", help="Keep copies there from now on: a tlog-policy with addresses.", exists=True, dir_okay=False
        ),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="Authorities of the mirrors' servers.", exists=True, dir_okay=False)
    ] = None,
    session: Session,
) -> None:
    """Show where copies of this domain's ledger are kept, and how far each is."""
    from hanse.app.render.ledger import mirroring as render

    with session.client() as client:
        if use is not None:
            client.use_mirrors(use.read_text(), "" if ca is None else ca.read_text())
        view = client.mirrors()
    session.answer(view, lambda: render(view))


@fabric_command
def mirror(
    *,
    log_policy: Annotated[
        Path | None,
        typer.Option(
            "--log", help="Mirror this log from now on: the other domain's policy.", exists=True, dir_okay=False
        ),
    ] = None,
    session: Session,
) -> None:
    """Show the logs of other domains that are kept here, and this domain's keys for it. Exits 1 on a split view."""
    from hanse.app.cli.exits import Exit
    from hanse.app.render.ledger import mirrored as render

    with session.client() as client:
        if log_policy is not None:
            client.mirror_log(log_policy.read_text())
        logs, keys = client.mirrored_logs(), client.mirror_keys()
    session.answer({"logs": logs, "keys": keys}, lambda: render(logs, keys))
    raise typer.Exit(Exit.FAILED if any(one.log.split_size is not None for one in logs) else Exit.OK)
