"""Commands about secrets. A value is sealed here, before it is sent; no command shows one."""

from __future__ import annotations

import base64
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from hanse.app.cli.session import Session, fabric_command

app = typer.Typer(help="Secrets: set, rotate, see who was told them.", no_args_is_help=True)

RANDOM_BYTES = 32
SecretArgument = Annotated[str, typer.Argument(help="Name as `namespace.name`.")]
FileOption = Annotated[
    Path | None, typer.Option("--from-file", help="Take the value from this file; `-` is standard input.")
]


@app.command("list")
@fabric_command
def list_secrets(*, session: Session) -> None:
    """List the secrets: version, readers, who was told them, what ought to be done."""
    from hanse.app.render.secrets import listed

    with session.client() as client:
        views = client.secrets()
    session.answer(views, lambda: listed(views))


@app.command()
@fabric_command
def show(
    *,
    secret: SecretArgument,
    session: Session,
) -> None:
    """Show one secret: everything but its value."""
    from hanse.app.render.secrets import detail

    with session.client() as client:
        view = client.secret(secret)
    session.answer(view, lambda: detail(view))


@app.command("set")
@fabric_command
def set_value(
    *,
    secret: SecretArgument,
    from_file: FileOption = None,
    session: Session,
) -> None:
    """Set the value: from a file, from standard input, or asked for without echo. It is sealed here."""
    _put(session, secret, _given(secret, from_file))


@app.command()
@fabric_command
def rotate(
    *,
    secret: SecretArgument,
    from_file: FileOption = None,
    session: Session,
) -> None:
    """Replace the value with a random one (32 bytes, base64url), or with one from a file."""
    value = (
        base64.urlsafe_b64encode(secrets.token_bytes(RANDOM_BYTES)).rstrip(b"=")
        if from_file is None
        else _given(secret, from_file)
    )
    _put(session, secret, value)


@app.command()
@fabric_command
def delete(
    *,
    secret: SecretArgument,
    session: Session,
) -> None:
    """Withdraw a secret and erase its value. Refused while work names it."""
    with session.client() as client:
        client.delete_secret(secret)
    session.answer({"id": secret, "status": "deleted"}, lambda: f"{secret} is gone, and so is its value")


def _put(session: Session, secret: str, value: bytes) -> None:
    with session.client() as client:
        view = client.set_secret(secret, _text(value))
    told = sum(1 for holder in view.holders if not holder.is_revoked)
    session.answer(view, lambda: f"{view.id} is at version {view.version}; {told} nodes that were told it ask again")


def _given(secret: str, from_file: Path | None) -> bytes:
    """The value as given: one line end at its end is the editor's, not the value's."""
    if from_file is not None and str(from_file) != "-":
        value = from_file.read_bytes()
    elif from_file is not None or not sys.stdin.isatty():
        value = sys.stdin.buffer.read()
    else:
        value = str(typer.prompt(f"Value of {secret}", hide_input=True, confirmation_prompt=True)).encode()
    return value.removesuffix(b"\n").removesuffix(b"\r")


def _text(value: bytes) -> bytes:
    """Refuse what an environment variable cannot carry."""
    try:
        is_text = bool(value) and "\0" not in value.decode()
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise typer.BadParameter("a value is text without NUL, and not empty: encode it, for example as base64")
    return value
