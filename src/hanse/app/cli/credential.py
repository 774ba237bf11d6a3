"""Commands about certificates as verifiable credentials: verify, have the domain hold one, fetch certifiers' keys."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from hanse.app.cli.session import Session, fabric_command, plain_command

app = typer.Typer(help="Certificates as verifiable credentials: verify them, fetch certifiers' keys.")


@app.callback()
def _group() -> None:
    """Certificates as verifiable credentials (VC 2.0 as JWT, did:web and did:key)."""


@app.command()
@plain_command
def verify(
    *,
    file: Annotated[Path, typer.Argument(help="A credential: one JWT.", exists=True, dir_okay=False)],
    issuers: Annotated[
        Path, typer.Option(help="The domain's list of trusted issuers.", exists=True, dir_okay=False)
    ] = Path("issuers.yaml"),
    subject: Annotated[str, typer.Option(help="Whom it must be about: the DID or URI of the operator.")],
    session: Session,
) -> None:
    """Verify a credential and say what to write into the operator's manifest. Needs no fabric and no network."""
    from hanse.app.issuers import read_issuers
    from hanse.app.render.style import pairs
    from hanse.core.time import WallTime, to_datetime
    from hanse.identity.credential import TOKEN_MAX_CHARACTERS, verify_credential

    with file.open("rb") as opened:
        token = opened.read(TOKEN_MAX_CHARACTERS + 2).decode("latin-1").strip()
    now = WallTime(time.time_ns() // 1_000)
    found = verify_credential(token, read_issuers(issuers), subject, now)
    # The day it ends on counts as after its end: a date in a manifest means 00:00 UTC.
    fact = f"{found.name}@{to_datetime(found.until_us).date().isoformat()}"
    view = {
        "certificate": found.name, "subject": found.subject, "issuer": found.issuer, "grade": 2,
        "since": to_datetime(found.since_us).isoformat(), "until": to_datetime(found.until_us).isoformat(),
        "digest": f"sha256:{found.digest}", "manifest": {"spec": {"verified": [fact]}},
    }  # fmt: skip
    rows = [(name, str(value)) for name, value in view.items() if name != "manifest"]
    session.answer(view, lambda: pairs(*rows, ("in the operator's spec", f"verified: [{fact}]")))


@app.command()
@fabric_command
def add(
    *,
    file: Annotated[Path, typer.Argument(help="A credential: one JWT.", exists=True, dir_okay=False)],
    operator: Annotated[str, typer.Option(help="The operator it is held against.")],
    subject: Annotated[str, typer.Option(help="Whom it must be about: the DID or URI of the operator.")],
    issuers: Annotated[
        Path, typer.Option(help="The domain's list of trusted issuers.", exists=True, dir_okay=False)
    ] = Path("issuers.yaml"),
    session: Session,
) -> None:
    """Have the controller verify a credential and hold it: a fact of grade 2 about the operator, while it lasts."""
    from hanse.app.issuers import read_issuers
    from hanse.app.render.certifying import credentials
    from hanse.identity.credential import TOKEN_MAX_CHARACTERS

    with file.open("rb") as opened:
        token = opened.read(TOKEN_MAX_CHARACTERS + 2).decode("latin-1").strip()
    with session.client() as client:
        view = client.add_credential(operator, token, subject, read_issuers(issuers))
    session.answer(view, lambda: credentials([view]))


@app.command("list")
@fabric_command
def list_held(
    *,
    operator: Annotated[str | None, typer.Option(help="Of this operator only.")] = None,
    session: Session,
) -> None:
    """Show the credentials that the domain holds, with issuer and end."""
    from hanse.app.render.certifying import credentials

    with session.client() as client:
        views = [view for view in client.credentials() if operator in (None, view.operator)]
    session.answer(views, lambda: credentials(views))


@app.command()
@fabric_command
def remove(
    *,
    operator: Annotated[str, typer.Argument(help="The operator it is held against.")],
    credential: Annotated[str, typer.Argument(help="Its id, as `hanse credential list` shows it.")],
    session: Session,
) -> None:
    """Hold a credential no longer, whatever its end: what rests on it is screened again at once."""
    with session.client() as client:
        client.remove_credential(operator, credential)
    session.answer({"operator": operator, "id": credential, "status": "removed"}, lambda: f"{credential} is removed")


@app.command()
@plain_command
def fetch(
    *,
    did: Annotated[str, typer.Argument(help="For example did:web:audit.example.")],
    out: Annotated[Path, typer.Option(help="Where to put the document.", dir_okay=False)],
    session: Session,
) -> None:
    """Fetch the document of a did:web over HTTPS, for somebody to look at. Nothing is trusted by it."""
    import httpx

    from hanse.app.issuers import fetch_document
    from hanse.app.render.style import pairs
    from hanse.identity.did import document_url, keys_of

    with httpx.Client() as client:
        document, digest = fetch_document(did, client)
    out.write_bytes(document)
    view = {
        "did": did, "url": document_url(did), "keys": list(keys_of(did, document)), "document": out.name,
        "sha256": digest,
    }  # fmt: skip
    session.answer(view, lambda: pairs(*((name, str(value)) for name, value in view.items())))
    session.note("look at the document, then name it with its digest in the list of issuers")
