"""Commands about other domains: whom this domain believes, by which bundle, until when."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanse.app.cli.session import DEFAULT_STATE, ContextOption, Output, OutputOption, Session, StateOption
from hanse.core.errors import HanseError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hanse.control.federation import TrustView

app = typer.Typer(help="Other domains: believe their members, by their trust bundles (SPIFFE Federation).")
DomainArgument = Annotated[str, typer.Argument(help="Trust domain, for example south.example.")]


class NoSuchTrust(HanseError):
    """Raised when a domain is not believed."""

    code = "not_found"


@app.callback()
def _group() -> None:
    """Other domains that this one believes."""


@app.command()
def add(
    *,
    domain: DomainArgument,
    bundle: Annotated[
        Path, typer.Option(help="Its bundle (JWKS), from somebody of that domain.", exists=True, dir_okay=False)
    ],
    url: Annotated[str, typer.Option(help="Its bundle endpoint; without one the bundle stands for 30 days.")] = "",
    profile: Annotated[
        str, typer.Option(help="https_spiffe or https_web: how the endpoint shows who it is.")
    ] = "https_spiffe",
    endpoint_id: Annotated[
        str, typer.Option("--endpoint-id", help="SPIFFE ID of the endpoint, for https_spiffe.")
    ] = "",
    state: StateOption = DEFAULT_STATE,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Believe another domain from now on. Its bundle is fetched anew at its own pace, and ends if it cannot be."""
    session = Session(state=state, context=context, output=output)
    with session.client() as client:
        made = client.trust(
            domain, bundle=bundle.read_text(encoding="utf-8"), url=url, profile=profile, endpoint_id=endpoint_id
        )
    session.answer(made, lambda: _table((made,)))


@app.command("list")
def list_trusts(
    *, state: StateOption = DEFAULT_STATE, context: ContextOption = None, output: OutputOption = Output.TABLE
) -> None:
    """List the domains that are believed beside this one."""
    session = Session(state=state, context=context, output=output)
    with session.client() as client:
        views = client.trusts()
    session.answer(views, lambda: _table(views))


@app.command()
def show(
    *,
    domain: Annotated[str, typer.Argument(help="Trust domain; without one this domain's own bundle.")] = "",
    state: StateOption = DEFAULT_STATE,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show one domain that is believed, or the bundle of this one as others take it (JWKS)."""
    session = Session(state=state, context=context, output=output)
    with session.client() as client:
        if not domain:
            typer.echo(client.own_bundle().decode())
            return
        found = next((one for one in client.trusts() if one.domain == domain), None)
    if found is None:
        raise NoSuchTrust(f"{domain} is not believed", hint="see `hanse trust list`")
    session.answer(found, lambda: _table((found,)))


@app.command()
def remove(
    *,
    domain: DomainArgument,
    state: StateOption = DEFAULT_STATE,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Believe another domain no longer."""
    session = Session(state=state, context=context, output=output)
    with session.client() as client:
        client.distrust(domain)
    session.answer({"domain": domain, "status": "removed"}, lambda: f"{domain} is not believed any more")


def _table(views: tuple[TrustView, ...]) -> RenderableType:
    from hanse.app.render.style import table
    from hanse.core.time import rfc3339

    shown = table("DOMAIN", "AUTHORITIES", "SEQUENCE", "FETCHED", "UNTIL", "ENDPOINT", "PROBLEM")
    for one in views:
        until = rfc3339(one.until_us) + (" (ended)" if one.has_ended else "")
        shown.add_row(
            one.domain, str(one.authorities), str(one.sequence), rfc3339(one.fetched_us), until, one.url or "-",
            one.problem or "-",
        )  # fmt: skip
    return shown
