"""Commands about the domain's certificate authorities. They work on the domain's folder; no fabric need run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanse.app.cli.session import Session, local_command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hanse.adapters.domain_ca import CaView
    from hanse.adapters.domain_files import RootKept

app = typer.Typer(help="The domain's root and issuing authority: look, rotate, take the root key offline.")
PASSPHRASE, PIN = "HANSE_ROOT_PASSPHRASE", "HANSE_PKCS11_PIN"
RootOption = Annotated[
    str | None,
    typer.Option(
        "--root",
        help="Where the root key is kept: a file (PKCS#12 under a passphrase) or a PKCS#11 URI (RFC 7512). "
        f"Passphrase or PIN: {PASSPHRASE}, {PIN}, pin-source of the URI, or asked for.",
    ),
]
DaysOption = Annotated[int, typer.Option("--days", min=1, max=1_825, help="Life of the issuing authority.")]


@app.callback()
def _group() -> None:
    """The domain's certificate authorities: a root that may lie elsewhere, and an issuing one below it."""


@app.command()
@local_command
def show(*, session: Session) -> None:
    """Show root and issuing authority, how long they hold, and where the root key is."""
    from hanse.adapters.clock import SystemClock
    from hanse.adapters.domain_ca import view_ca
    from hanse.adapters.domain_files import load_domain

    _answer(session, view_ca(load_domain(session.state), SystemClock().wall()))


@app.command()
@local_command
def rotate(*, root: RootOption = None, days: DaysOption = 90, session: Session) -> None:
    """Make a new issuing authority. Controllers take it up within seconds, nodes with their next SVID."""
    from hanse.adapters.clock import SystemClock
    from hanse.adapters.domain_ca import rotate_issuing, view_ca
    from hanse.adapters.entropy import SystemEntropy
    from hanse.core.time import DAY_US

    now = SystemClock().wall()
    with root_kept(root, may_make=False) as kept:
        domain = rotate_issuing(session.state, now, SystemEntropy(), kept=kept, lifetime_us=days * DAY_US)
    view = view_ca(domain, now)
    _answer(session, view)
    if not view.issuing_serial:
        session.note("the root certificate was made anew; in an hour every node has it: run this again then")


@app.command("export-root")
@local_command
def export(
    *,
    file: Annotated[Path, typer.Argument(help="A new file, on a medium that you take away.", dir_okay=False)],
    session: Session,
) -> None:
    """Move the root key from the domain's folder into a file under a passphrase."""
    from hanse.adapters.clock import SystemClock
    from hanse.adapters.domain_ca import export_root, view_ca

    domain = export_root(session.state, file, _secret(PASSPHRASE, "Passphrase of the root key", is_new=True))
    _answer(session, view_ca(domain, SystemClock().wall()))
    session.note(f"{file} and its passphrase are the domain's root now; nothing here can make an issuing authority")


@contextmanager
def root_kept(place: str | None, *, may_make: bool) -> Iterator[RootKept | None]:
    """Open the root key that `--root` names; None where it is in the domain's folder. Raises IdentityError."""
    from hanse.adapters.domain_ca import TOKEN, root_kept_at
    from hanse.adapters.entropy import SystemEntropy
    from hanse.identity.pkcs11_uri import parse_pkcs11_uri

    if place is None:
        yield None
        return
    if place.startswith(TOKEN):
        source = parse_pkcs11_uri(place).pin_source
        secret = Path(source).read_text(encoding="utf-8").strip() if source else _secret(PIN, "PIN of the token")
    else:
        secret = _secret(PASSPHRASE, "Passphrase of the root key", is_new=may_make and not Path(place).exists())
    with root_kept_at(place, secret, SystemEntropy(), may_make=may_make) as kept:
        yield kept


def _secret(variable: str, prompt: str, *, is_new: bool = False) -> str:
    return os.environ.get(variable) or str(typer.prompt(prompt, hide_input=True, confirmation_prompt=is_new, err=True))


def _answer(session: Session, view: CaView) -> None:
    session.answer(view, lambda: _pairs(view))


def _pairs(view: CaView) -> RenderableType:
    from hanse.app.render.style import pairs
    from hanse.core.time import rfc3339

    until = rfc3339(view.issuing_until_us) + (" (rotation is due)" if view.is_rotation_due else "")
    rows = [
        ("domain", view.domain),
        ("root", f"{view.root_serial}, until {rfc3339(view.root_until_us)}"),
        ("root key", view.root_key),
        ("issuing", f"{view.issuing_serial or 'the root itself'}, until {until}"),
    ]
    return pairs(*rows, *([("advice", view.advice)] if view.advice else []))
