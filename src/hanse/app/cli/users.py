"""Commands about who one is: sign in and out, what one may do, named tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanse.app.cli.session import Session, TimeoutOption, fabric_command

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from hanse.app.auth_views import SignIn
    from hanse.app.credentials import Credentials

auth = typer.Typer(help="What one may do: roles, questions.", no_args_is_help=True)
token = typer.Typer(help="Named tokens for scripts: roles, an end, revocable.", no_args_is_help=True)

ProviderCaOption = Annotated[
    Path | None,
    typer.Option("--provider-ca", help="Authorities of the provider's server (PEM).", exists=True, dir_okay=False),
]


@fabric_command
def login(
    *,
    issuer: Annotated[str | None, typer.Option(help="Which provider, where the domain trusts several.")] = None,
    device: Annotated[bool, typer.Option("--device", help="No browser here: enter a code on another device.")] = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it, or only show the address.")] = True,
    provider_ca: ProviderCaOption = None,
    timeout: TimeoutOption = 300.0,
    session: Session,
) -> None:
    """Sign in at the domain's OpenID provider; what it gives is kept in a file that only you can read."""
    import asyncio
    import webbrowser

    from hanse.app.credentials import credentials_path, write_credentials

    with session.client(is_anonymous=True) as client:
        method = _choose(client.sign_in_methods(), issuer)

    def show(url: str) -> None:
        if not (browser and webbrowser.open(url)):
            session.note(f"open this address in a browser of this machine:\n{url}")

    def tell(url: str, code: str) -> None:
        session.note(f"open {url} on any device and enter the code {code}")

    made = asyncio.run(_sign_in(method, provider_ca, device=device, show=show, tell=tell, wait_s=timeout))
    path = credentials_path(session.context_path)
    write_credentials(path, made)
    with session.client() as client:
        who = client.whoami()
    said = {"id": who.id, "roles": who.roles, "expires_us": made.expires_us, "file": str(path)}
    session.answer(said, lambda: f"signed in as {who.subject} of {who.issuer}\n{_roles(who.roles)}")


@fabric_command
def logout(*, session: Session) -> None:
    """Forget who signed in here, and have the provider withdraw what it gave."""
    import asyncio

    from hanse.app.credentials import credentials_path, read_credentials

    path = credentials_path(session.context_path)
    found = read_credentials(path)
    path.unlink(missing_ok=True)
    withdrawn = found is not None and asyncio.run(_sign_out(found))
    said = "nobody was signed in" if found is None else f"signed out of {found.issuer}"
    session.answer({"signed_out": found is not None, "withdrawn": withdrawn}, lambda: said)


@fabric_command
def whoami(*, session: Session) -> None:
    """Who the fabric says you are, and which roles you hold where."""
    with session.client() as client:
        who = client.whoami()
    session.answer(who, lambda: f"{who.id}\n{_roles(who.roles)}")


@auth.command()
@fabric_command
def can(
    *,
    action: Annotated[str, typer.Argument(help="read, deploy, delete, set-policy, operate, audit, trust, administer.")],
    resource: Annotated[str, typer.Argument(help="For example workload/clinic.triage, node/fra-1, ledger.")],
    session: Session,
) -> None:
    """May I do this? Names the rules that say so. Exits 4 if not."""
    from hanse.app.cli.exits import Exit
    from hanse.app.cli.names import part_name

    kind, namespace, name = part_name(resource)
    with session.client() as client:
        said = client.may(action, kind, namespace, name)
    word = "yes" if said.is_allowed else "no"
    session.answer(said, lambda: f"{word}: {', '.join(said.rules)}")
    raise typer.Exit(Exit.OK if said.is_allowed else Exit.REFUSED)


@token.command()
@fabric_command
def create(
    *,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, dashes.")],
    role: Annotated[
        list[str], typer.Option(help="ROLE, ROLE@NAMESPACE or `ROLE@*`: viewer, developer, operator, auditor, admin.")
    ],
    expires: Annotated[str, typer.Option(help="How long it holds: 12h, 30d; a year at most.")] = "30d",
    session: Session,
) -> None:
    """Make a named token; its text is shown this once, only its hash is kept."""
    from hanse.core.time import WallTime, rfc3339

    roles: dict[str, list[str]] = {}
    for one in role:
        held, _, place = one.partition("@")
        roles.setdefault(held, []).append(place or "*")
    with session.client() as client:
        made = client.create_token(name, roles, lifetime_us=_lifetime(expires))
    session.answer(made, lambda: made.text)
    session.note(f"valid until {rfc3339(WallTime(made.token.expires_us))}; use it with --token or HANSE_TOKEN")


@token.command("list")
@fabric_command
def list_tokens(*, session: Session) -> None:
    """List named tokens: roles, until when, revoked or not."""
    from hanse.app.render.style import table
    from hanse.core.time import WallTime, rfc3339

    with session.client() as client:
        views = client.tokens()
    made = table("NAME", "ROLES", "UNTIL", "STATE")
    for view in views:
        state = "revoked" if view.revoked_us is not None else "good" if view.is_good else "expired"
        made.add_row(view.name, _roles(view.roles).replace("\n", ", "), rfc3339(WallTime(view.expires_us)), state)
    session.answer(views, lambda: made)


@token.command()
@fabric_command
def revoke(*, name: Annotated[str, typer.Argument(help="Name of the token.")], session: Session) -> None:
    """Withdraw a token, at once and for good."""
    with session.client() as client:
        client.revoke_token(name)
    session.answer({"name": name, "status": "revoked"}, lambda: f"{name} opens nothing any more")


auth.command("whoami")(whoami)


def _choose(methods: tuple[SignIn, ...], issuer: str | None) -> SignIn:
    from hanse.app.credentials import LoginError

    fitting = [one for one in methods if issuer in (None, one.issuer)]
    if len(fitting) != 1:
        known = ", ".join(one.issuer for one in methods) or "none"
        why = "names no such provider" if not fitting else "trusts several providers"
        raise LoginError(f"the domain {why}", code="login.no_provider", hint=f"--issuer; it trusts: {known}")
    return fitting[0]


async def _sign_in(
    method: SignIn,
    ca: Path | None,
    *,
    device: bool,
    show: Callable[[str], None],
    tell: Callable[[str, str], None],
    wait_s: float,
) -> Credentials:
    from hanse.adapters.clock import SystemClock
    from hanse.adapters.oidc_keys import provider_client
    from hanse.app.login import begin

    async with provider_client(_tls(ca)) as http:
        flow = await begin(method, http, SystemClock(), ca_file=None if ca is None else str(ca.resolve()))
        if device:
            return await flow.by_device(tell, wait_s=wait_s)
        return await flow.by_browser(show, wait_s=wait_s)


async def _sign_out(found: Credentials) -> bool:
    from hanse.adapters.oidc_keys import provider_client
    from hanse.app.login import sign_out

    async with provider_client(_tls(None if found.ca_file is None else Path(found.ca_file))) as http:
        return await sign_out(found, http)


def _tls(ca: Path | None) -> ssl.SSLContext | None:
    import ssl

    return None if ca is None else ssl.create_default_context(cafile=str(ca))


def _roles(roles: Mapping[str, tuple[str, ...]]) -> str:
    return "\n".join(f"{role}@{place}" for role, places in roles.items() for place in places) or "no roles"


def _lifetime(text: str) -> int:
    from hanse.core.time import DAY_US, HOUR_US

    units = {"h": HOUR_US, "d": DAY_US}
    if not text[:-1].isdecimal() or text[-1:] not in units:
        raise typer.BadParameter(f"{text!r} is no lifetime; write 12h or 30d")
    return int(text[:-1]) * units[text[-1]]
