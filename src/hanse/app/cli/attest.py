"""Commands about attestation: what nodes have shown, and what it is held against."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hanse.app.cli.session import Session, fabric_command, plain_command

app = typer.Typer(help="Evidence of nodes' hardware, and what it is held against.", no_args_is_help=True)
reference = typer.Typer(help="Reference values: what should be measured.", no_args_is_help=True)
anchor = typer.Typer(help="Roots of makers whose endorsements are believed.", no_args_is_help=True)
app.add_typer(reference, name="reference")
app.add_typer(anchor, name="anchor")

NameArgument = Annotated[str, typer.Argument(help="Name: lower-case letters, digits, dashes.")]


@app.command()
@fabric_command
def show(
    *,
    node: Annotated[str | None, typer.Argument(help="Only this node.")] = None,
    session: Session,
) -> None:
    """Show what is attested of each node: kind, worth, matched references, until when."""
    from hanse.app.render.attesting import attested

    with session.client() as client:
        views = [one for one in client.attested() if node in (None, one.node)]
    session.answer(views, lambda: attested(views, with_claims=node is not None))


@app.command()
@plain_command
def verify(
    *,
    evidence: Annotated[Path, typer.Argument(help="TDX or SGX quote, or SEV-SNP report (binary).", exists=True)],
    collateral: Annotated[Path | None, typer.Option(help="DCAP collateral of a quote (JSON).", exists=True)] = None,
    certificate: Annotated[Path | None, typer.Option(help="VCEK or VLEK of a report (DER).", exists=True)] = None,
    chain: Annotated[Path | None, typer.Option(help="ASK (or ASVK) and ARK of a report (PEM).", exists=True)] = None,
    crl: Annotated[list[Path] | None, typer.Option(help="Revocation list of AMD (DER).", exists=True)] = None,
    report_data: Annotated[str | None, typer.Option(help="What it must carry (hex); without it, it is shown.")] = None,
    at: Annotated[str | None, typer.Option(help="Moment to verify at (RFC 3339); default: now.")] = None,
    session: Session,
) -> None:
    """Verify evidence from files, with no fabric and no network. Exits 1 if it is refused."""
    from hanse.app.attest_files import verify_files
    from hanse.app.render.attesting import verified

    found = verify_files(
        evidence, collateral=collateral, certificate=certificate, chain=chain, crls=crl or (), asked=report_data, at=at
    )
    session.answer(found, lambda: verified(found))


@reference.command("list")
@fabric_command
def list_references(*, session: Session) -> None:
    """List the reference values."""
    from hanse.app.render.attesting import references

    with session.client() as client:
        views = client.references()
    session.answer(views, lambda: references(views))


@reference.command("add")
@fabric_command
def add_reference(
    *,
    name: NameArgument,
    kind: Annotated[str, typer.Option(help="tpm, tdx, sgx or snp.")] = "tpm",
    claim: Annotated[list[str] | None, typer.Option(help="name=value; give it once per claim.")] = None,
    floor: Annotated[list[str] | None, typer.Option(help="level=least, for example snp=8; once per level.")] = None,
    from_node: Annotated[str | None, typer.Option(help="Take what this node shows now instead.")] = None,
    session: Session,
) -> None:
    """Add a reference value, or replace the one of that name; every node is judged by it at once."""
    claims = dict(_pair(one) for one in claim or ())
    try:
        floors = {key: int(value) for key, value in (_pair(one) for one in floor or ())}
    except ValueError:
        raise typer.BadParameter("a floor is level=number") from None
    with session.client() as client:
        made = client.add_reference(name, kind=kind, claims=claims, floors=floors, from_node=from_node)
    session.answer(made, lambda: f"{made.name}: {len(made.claims)} claims and {len(made.floors)} floors of {made.kind}")


@reference.command("remove")
@fabric_command
def remove_reference(
    *,
    name: NameArgument,
    session: Session,
) -> None:
    """Withdraw a reference value."""
    with session.client() as client:
        client.remove_reference(name)
    session.answer({"name": name, "status": "removed"}, lambda: f"{name} is no reference any more")


@anchor.command("list")
@fabric_command
def list_anchors(*, session: Session) -> None:
    """List the anchors, those built in included."""
    from hanse.app.render.attesting import anchors

    with session.client() as client:
        views = client.anchors()
    session.answer(views, lambda: anchors(views))


@anchor.command("add")
@fabric_command
def add_anchor(
    *,
    name: NameArgument,
    certificate: Annotated[Path, typer.Argument(help="The root as PEM.", exists=True, dir_okay=False)],
    kind: Annotated[str, typer.Option(help="tpm or snp: what it endorses.")] = "tpm",
    simulated: Annotated[bool, typer.Option("--simulated", help="What it endorses is software.")] = False,
    session: Session,
) -> None:
    """Believe a maker's root from now on."""
    origin = "simulated" if simulated else "hardware"
    with session.client() as client:
        made = client.add_anchor(name, kind=kind, certificate_pem=certificate.read_text(), origin=origin)
    session.answer(made, lambda: f"{made.name} ({made.origin.value}) endorses {made.kind} evidence")


@anchor.command("remove")
@fabric_command
def remove_anchor(
    *,
    name: NameArgument,
    session: Session,
) -> None:
    """Believe a maker's root no longer: evidence under it is refused from the next time on."""
    with session.client() as client:
        client.remove_anchor(name)
    session.answer({"name": name, "status": "removed"}, lambda: f"{name} is no anchor any more")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise typer.BadParameter(f"{text!r} is not name=value")
    return name, value
