"""`hanse login`, `whoami`, `auth can`, `token`: the command line against a real API and a real provider."""

from __future__ import annotations

import asyncio
import stat
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from api_double import write_context
from domain_kit import Domain, domain
from oidc_server import Person, running_provider

from hanse.adapters.clock import SystemClock
from hanse.adapters.package_data import read_packs
from hanse.app import client as client_module
from hanse.app.access_file import read_access
from hanse.app.cli import main
from hanse.app.cli.names import part_name
from hanse.core.errors import HanseError
from hanse.policy import Asker, Part, access_rules, parse_packs

EXAMPLE = Path(__file__).parents[3] / "examples" / "access" / "access.yaml"
Run = Callable[..., int]
ACCESS = """
oidc: [{{issuer: "{issuer}", client_id: hanse-cli, algorithms: [ES256], scopes: [openid, offline_access]}}]
roles: [{{role: developer, namespaces: [clinic], groups: [clinic-devs]}}]
"""


def run_against(of: Domain, state: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run commands against the API of a domain. Its context holds the administrators' token."""
    context = write_context(state, "https://south.test")
    (context.parent / "api.token").write_text("secret")
    app, made = of.api._transport.app, client_module.Client  # type: ignore[attr-defined]

    def handle(request: httpx.Request) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="https://south.test") as http:
                return await http.request(
                    request.method, str(request.url), content=request.content, headers=dict(request.headers)
                )

        answer = asyncio.run(ask())
        return httpx.Response(answer.status_code, content=answer.content)

    monkeypatch.setattr(client_module, "Client", lambda c: made(c, transport=httpx.MockTransport(handle)))
    monkeypatch.setenv("HANSE_STATE", str(state))
    return lambda *args: main(args)


def answer_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return msgspec.json.decode(capsys.readouterr().out)


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with running_provider() as found:
        yield found


def test_sign_in_ask_and_sign_out(
    issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "access.yaml").write_text(ACCESS.format(issuer=issuer))
    of = domain(1, "south.test", clock=SystemClock(), access=read_access(tmp_path / "access.yaml"))
    run, person = run_against(of, tmp_path, monkeypatch), Person("ada")
    threads: list[threading.Thread] = []

    def browse(url: str) -> bool:
        threads.append(threading.Thread(target=person.sign_in, args=(url,), daemon=True))
        threads[0].start()
        return True

    monkeypatch.setattr(webbrowser, "open", browse)
    assert run("login", "--timeout", "120", "-o", "json") == 0
    assert answer_of(capsys)["roles"] == {"developer": ["clinic"]}
    threads[0].join(timeout=120)
    assert not threads[0].is_alive()
    person.close()
    kept = tmp_path / "domain" / "credentials.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert run("whoami", "-o", "json") == 0
    assert answer_of(capsys)["id"] == f"{issuer}#ada"
    assert run("auth", "can", "deploy", "workload/clinic.triage") == 0
    assert capsys.readouterr().out == "yes: roles.developer\n"
    assert run("auth", "can", "operate", "node/fra-1") == 4
    assert capsys.readouterr().out == "no: default-deny\n"
    assert run("token", "list") == 4
    assert "denied by default-deny" in capsys.readouterr().err
    assert run("logout", "-o", "json") == 0
    assert answer_of(capsys) == {"signed_out": True, "withdrawn": True}
    assert not kept.exists()
    assert run("whoami", "-o", "json") == 0
    assert answer_of(capsys)["id"] == "admin", "the folder's own token again"


def test_tokens_are_made_used_and_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_against(domain(1, "south.test", clock=SystemClock()), tmp_path, monkeypatch)
    roles = ("--role", "developer@clinic", "--role", "viewer")
    assert run("token", "create", "ci", *roles, "--expires", "12h", "-o", "json") == 0
    made = answer_of(capsys)
    assert made["token"]["roles"] == {"developer": ["clinic"], "viewer": ["*"]}
    monkeypatch.setenv("HANSE_TOKEN", made["text"])
    assert run("whoami") == 0
    assert capsys.readouterr().out == "token:ci\ndeveloper@clinic\nviewer@*\n"
    assert run("drain", "fra-1", "--no-wait") == 4
    monkeypatch.delenv("HANSE_TOKEN")
    capsys.readouterr()
    assert run("token", "list") == 0
    assert "ci" in capsys.readouterr().out
    assert run("token", "revoke", "ci") == 0
    assert run("whoami", "--token", made["text"]) == 1
    assert "revoked at" in capsys.readouterr().err
    assert run("token", "create", "x", "--role", "viewer", "--expires", "forever") == 2


def test_where_no_provider_is_trusted_nobody_signs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_against(domain(1, "south.test", clock=SystemClock()), tmp_path, monkeypatch)
    assert run("login", "-o", "json") == 1
    assert "login.no_provider" in capsys.readouterr().err


def test_the_example_of_an_access_file_is_read_and_its_rule_decides() -> None:
    access = read_access(EXAMPLE)
    assert list(access.providers) == ["https://id.example.org"]
    rules = access_rules(parse_packs(read_packs()), access.rules)
    prod = Part(kind="workload", namespace="prod", name="shop")
    developer = Asker(kind="Token", id="t", roles={"developer": ("prod",)})
    assert rules.ask(developer, "delete", prod).rules == ("house.prod-by-admins",)
    assert rules.ask(Asker(kind="Token", id="t", roles={"admin": ("prod",)}), "delete", prod).is_allowed


@pytest.mark.parametrize(("text", "why"), [
    ("oidc: [{issuer: http://id.example.org, client_id: x}]", "no https address"),
    ("oidc: [{issuer: https://x, client_id: x, algorithms: [HS256]}]", "algorithms ['HS256']"),
    ("oidc: [{issuer: https://x, client_id: x, shows: access}]", "go together"),
    ("oidc: [{issuer: https://x, client_id: x}, {issuer: https://x, client_id: y}]", "twice"),
    ("roles: [{role: admin, namespaces: ['*']}]", "given to nobody"),
    ("roles: [{role: admin, namespaces: ['*'], groups: [a], issuer: https://y}]", "no issuer https://y"),
    ("limits: {address: {per_minute: 0, burst: 1}}", "limits.address.per_minute"),
    ("rules: [missing.cedar]", "missing.cedar"),
    ("sudo: yes", "sudo"),
    ("{", "access.yaml"),
])  # fmt: skip
def test_a_wrong_access_file_is_refused_with_its_field(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(text)
    with pytest.raises(HanseError) as caught:
        read_access(file)
    assert why in str(caught.value)
    assert caught.value.code in ("access.file_invalid", "token.provider")  # type: ignore[attr-defined]


def test_what_a_question_is_about_is_read_as_people_type_it() -> None:
    assert part_name("workload/clinic.triage") == ("workload", "clinic", "triage")
    assert part_name("policy/house") == ("policy", "", "house")
    assert part_name("receipt/clinic.triage.0.1") == ("receipt", "clinic", "triage.0.1")
    assert part_name("node/fra-1") == ("node", "", "fra-1")
    assert part_name("namespace/clinic") == ("namespace", "clinic", "")
    assert part_name("ledger") == ("ledger", "", "")
