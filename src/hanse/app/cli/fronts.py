"""The options of a front, shared by the commands that start one: `options -> FrontOptions`.

Such a command takes the ready `FrontOptions` as ``fronts`` under `@opens_fronts` or `@opens_own_front`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from hanse.app.cli.session import in_place_of
from hanse.app.cli.sight import sees_requests
from hanse.app.options import FrontOptions, SightOptions
from hanse.core.errors import HanseError

CertOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--front-cert",
        help="Certificate chain of the front (PEM), one for each name; followed when it changes. Implies TLS.",
        exists=True,
        dir_okay=False,
    ),
]
KeyOption = Annotated[
    list[Path] | None,
    typer.Option("--front-key", help="Private key of each --front-cert (PEM).", exists=True, dir_okay=False),
]
ClientAuthOption = Annotated[
    str, typer.Option("--client-auth", help="Certificates of clients: `none`, `request` or `require`.")
]
ClientCaOption = Annotated[
    Path | None,
    typer.Option("--client-ca", help="Authorities that clients' certificates chain to (PEM).", dir_okay=False),
]
IssuerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--issuer", help="Issuer of users' tokens and its public keys: `ISSUER=FILE` or `ISSUER=https://...` (JWKS)."
    ),
]
UpstreamOption = Annotated[
    list[str] | None,
    typer.Option("--allow-upstream", help="Address (`ip:port`) of a program beside a node that a Service may name."),
]
FrontTlsOption = Annotated[
    bool,
    typer.Option(
        "--front-tls", help="Fronts speak TLS, with certificates of the domain's own authority if none is given."
    ),
]
AccessOption = Annotated[
    Path | None,
    typer.Option("--access", help="Providers, roles, rules and limits of users (YAML).", exists=True, dir_okay=False),
]


class BadFrontOption(HanseError):
    """Raised when options of the front contradict each other."""

    code = "front.options_invalid"


def front_options(
    *,
    front_tls: FrontTlsOption = False,
    front_cert: CertOption = None,
    front_key: KeyOption = None,
    client_auth: ClientAuthOption = "none",
    client_ca: ClientCaOption = None,
    issuer: IssuerOption = None,
    allow_upstream: UpstreamOption = None,
    sight: SightOptions,
) -> FrontOptions:
    """Check the options against each other. Raises BadFrontOption."""
    certs, keys = front_cert or [], front_key or []
    if len(certs) != len(keys):
        raise BadFrontOption(
            f"{len(certs)} --front-cert and {len(keys)} --front-key", hint="give each certificate its key, in order"
        )
    if client_auth not in ("none", "request", "require"):
        raise BadFrontOption(f"--client-auth {client_auth}", hint="it is none, request or require")
    if (client_auth == "none") != (client_ca is None):
        raise BadFrontOption("--client-auth and --client-ca go together", hint="give both or neither")
    is_tls = front_tls or bool(certs)
    if client_auth != "none" and not is_tls:
        raise BadFrontOption("clients show certificates under TLS only", hint="add --front-cert or --front-tls")
    return FrontOptions(
        is_tls=is_tls,
        certificates=tuple((str(cert), str(key)) for cert, key in zip(certs, keys, strict=True)),
        client_auth=client_auth,
        client_ca=None if client_ca is None else str(client_ca),
        issuers=dict(_issuer(text) for text in issuer or []),
        upstreams=tuple(allow_upstream or ()),
        sight=sight,
    )


def opens_fronts(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that starts nodes their ``front``: the options of `front_options` and of sight, in its place."""
    return _opening(command, *_OPTIONS)


def opens_own_front(command: Callable[..., None]) -> Callable[..., None]:
    """As `opens_fronts`, for a node of its own: no authority is at hand there to make it a certificate."""
    return _opening(command, *(one for one in _OPTIONS if one.name != "front_tls"))


_OPTIONS = tuple(inspect.signature(front_options, eval_str=True).parameters.values())


def _opening(command: Callable[..., None], *options: inspect.Parameter) -> Callable[..., None]:
    return sees_requests(in_place_of("fronts", command, front_options, *options))


def _issuer(text: str) -> tuple[str, str]:
    # An issuer is an address itself and may hold an equals sign; a file or address of keys rarely does.
    issuer, _, place = text.rpartition("=")
    if not issuer or not place:
        raise BadFrontOption(f"--issuer {text}", hint="write --issuer https://id.example.org=keys.json")
    return issuer, place
