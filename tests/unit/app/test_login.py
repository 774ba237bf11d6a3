"""Signing in at a real provider, both ways, without a browser; and what is kept of it."""

from __future__ import annotations

import asyncio
import stat
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from domain_kit import domain
from oidc_server import Person, running_provider

from hanse.adapters.clock import SystemClock
from hanse.adapters.oidc_keys import IssuerKeys, check_url, provider_client
from hanse.app.access_file import Access, read_access
from hanse.app.auth_views import SignIn
from hanse.app.credentials import (
    Credentials,
    LoginError,
    current_bearer,
    read_credentials,
    write_credentials,
)
from hanse.app.login import Flow, begin, sign_out
from hanse.identity import TokenRefused

T = TypeVar("T")
FILE = """
oidc:
  - issuer: {issuer}
    client_id: hanse-cli
    algorithms: [ES256]
    scopes: [openid, offline_access]
    {more}
roles:
  - {{role: developer, namespaces: [clinic], groups: [clinic-devs]}}
  - {{role: auditor, namespaces: ["*"], groups: [auditors]}}
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with running_provider() as found:
        yield found


def access_of(tmp_path: Path, issuer: str, more: str = "") -> Access:
    file = tmp_path / "access.yaml"
    file.write_text(FILE.format(issuer=issuer, more=more))
    return read_access(file)


def method_of(access: Access) -> SignIn:
    (one,) = access.providers.values()
    return SignIn(
        issuer=one.issuer.issuer, client_id=one.issuer.client_id, scopes=one.issuer.scopes,
        algorithms=one.issuer.algorithms, audience=one.issuer.audience, is_access_token=one.issuer.is_access_token,
        resource=one.resource,
    )  # fmt: skip


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ended(*threads: threading.Thread) -> None:
    """Wait until what ran in the background is done."""
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()


def with_flow(access: Access, use: Callable[[Flow], Coroutine[Any, Any, T]]) -> T:
    async def scenario() -> T:
        async with provider_client(None) as http, asyncio.timeout(240):
            return await use(await begin(method_of(access), http, SystemClock()))

    return asyncio.run(scenario())


def by_browser(access: Access, name: str) -> Credentials:
    person, threads = Person(name), list[threading.Thread]()

    async def use(flow: Flow) -> Credentials:
        return await flow.by_browser(lambda url: threads.append(in_background(lambda: person.sign_in(url))), wait_s=120)

    try:
        return with_flow(access, use)
    finally:
        ended(*threads)  # the person still reads the last page when the code is back
        person.close()


def whoami(access: Access, bearer: str) -> Any:
    async def scenario() -> Any:
        api = domain(1, "south.test", clock=SystemClock(), access=access).api
        answer = await api.get("/api/v1/auth/whoami", headers={"authorization": f"Bearer {bearer}"})
        return answer.json()

    return asyncio.run(scenario())


def test_with_a_browser_the_code_comes_back_and_the_api_knows_who_it_is(issuer: str, tmp_path: Path) -> None:
    access = access_of(tmp_path, issuer)
    made = by_browser(access, "ada")
    assert whoami(access, made.bearer) == {
        "kind": "User", "id": f"{issuer}#ada", "issuer": issuer, "subject": "ada", "roles": {"developer": ["clinic"]},
    }  # fmt: skip
    assert made.refresh_token


def test_with_a_device_code_somebody_signs_in_elsewhere(issuer: str, tmp_path: Path) -> None:
    access, person = access_of(tmp_path, issuer), Person("grace")
    shown: list[str] = []
    threads: list[threading.Thread] = []

    def show(url: str, code: str) -> None:
        shown.append(code)
        threads.append(in_background(lambda: person.sign_in(url)))

    made = with_flow(access, lambda flow: flow.by_device(show, wait_s=120))
    ended(*threads)
    person.close()
    assert whoami(access, made.bearer)["roles"] == {"auditor": ["*"], "developer": ["clinic"]}
    assert len(shown) == 1


def test_access_tokens_for_the_api_are_taken_where_the_domain_says_so(issuer: str, tmp_path: Path) -> None:
    access = access_of(tmp_path, issuer, "shows: access\n    resource: https://api.test.hanse")
    made = by_browser(access, "ada")
    assert made.is_access_token
    assert whoami(access, made.bearer)["roles"] == {"developer": ["clinic"]}
    as_id = access_of(tmp_path, issuer)
    assert whoami(as_id, made.bearer)["error"]["context"]["why"] == "token.audience"


def test_a_token_is_exchanged_before_it_ends_and_the_provider_takes_an_old_one_no_more(
    issuer: str, tmp_path: Path
) -> None:
    access = access_of(tmp_path, issuer)
    made, file = by_browser(access, "ada"), tmp_path / "credentials.json"
    write_credentials(file, made)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    now = time.time_ns() // 1_000
    assert current_bearer(file, now) == made.bearer
    later = current_bearer(file, made.expires_us - 1_000_000)
    kept = read_credentials(file)
    assert kept is not None
    assert kept.refresh_token != made.refresh_token
    assert later == kept.bearer != made.bearer
    assert whoami(access, kept.bearer)["subject"] == "ada"
    write_credentials(file, msgspec.structs.replace(made, expires_us=0))
    with pytest.raises(LoginError) as caught:
        current_bearer(file, now)
    assert caught.value.code == "login.expired"


def test_after_signing_out_nothing_is_exchanged_any_more(issuer: str, tmp_path: Path) -> None:
    made, file = by_browser(access_of(tmp_path, issuer), "ada"), tmp_path / "credentials.json"

    async def leave() -> bool:
        async with provider_client(None) as http:
            return await sign_out(made, http)

    assert asyncio.run(leave())
    write_credentials(file, msgspec.structs.replace(made, expires_us=0))
    with pytest.raises(LoginError):
        current_bearer(file, time.time_ns() // 1_000)


def test_an_answer_to_another_sign_in_is_not_taken(issuer: str, tmp_path: Path) -> None:
    said: list[int] = []
    threads: list[threading.Thread] = []

    def intrude(url: str) -> None:
        asked = parse_qs(urlsplit(url).query)
        back = asked["redirect_uri"][0]
        with httpx.Client(trust_env=False, timeout=60.0) as http:
            said.append(http.get(f"{back}?code=stolen&state=guessed").status_code)
            said.append(http.get(f"{back}?code=stolen").status_code)
            said.append(http.get(back.replace("/callback", "/other")).status_code)
            said.append(http.get(f"{back}?code=bad&state={asked['state'][0]}&iss=https://evil").status_code)

    with pytest.raises(LoginError) as caught:
        with_flow(
            access_of(tmp_path, issuer),
            lambda flow: flow.by_browser(lambda url: threads.append(in_background(lambda: intrude(url))), wait_s=120),
        )
    assert caught.value.code == "login.refused"
    ended(*threads)
    assert said == [400, 400, 404, 200]


def test_the_provider_refuses_another_verifier(issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PKCE: the code alone is worth nothing to whoever did not begin."""
    monkeypatch.setattr("hanse.app.login.pkce_challenge", lambda _: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
    with pytest.raises(LoginError) as caught:
        by_browser(access_of(tmp_path, issuer), "ada")
    assert caught.value.code == "login.refused"


def test_a_person_who_does_not_come_back_is_not_waited_for(issuer: str, tmp_path: Path) -> None:
    access = access_of(tmp_path, issuer)
    with pytest.raises(LoginError) as caught:
        with_flow(access, lambda flow: flow.by_browser(lambda _: None, wait_s=0.05))
    assert caught.value.code == "login.timeout"
    with pytest.raises(LoginError) as caught:
        with_flow(access, lambda flow: flow.by_device(lambda *_: None, wait_s=0.05))
    assert caught.value.code == "login.timeout"


def test_keys_are_fetched_once_again_for_a_new_key_and_kept_while_the_provider_is_away(issuer: str) -> None:
    class Hand(SystemClock):
        at = 0

        def monotonic(self) -> Any:
            return self.at

    async def scenario() -> None:
        clock = Hand()
        keys = IssuerKeys(issuer, clock)
        assert {one.kid for one in (await keys.ring("rsa-1")).keys} == {"rsa-1", "ec-1"}
        fetched = keys._tried_us
        clock.at = 5_000_000
        await keys.ring("invented")
        assert keys._tried_us == fetched, "invented key ids make nobody ask"
        clock.at = 20_000_000
        await keys.ring("invented")
        assert keys._tried_us == 20_000_000
        keys._issuer = "http://127.0.0.1:1"
        clock.at += 2 * 3_600 * 1_000_000
        assert (await keys.ring("rsa-1")).named("rsa-1"), "kept while the provider is away"
        clock.at += 25 * 3_600 * 1_000_000
        with pytest.raises(TokenRefused):
            await keys.ring("rsa-1")

    asyncio.run(scenario())


def test_credentials_that_others_can_read_are_not_used(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    blank = Credentials(
        issuer="https://x", client_id="c", token_endpoint="https://x/t", revocation_endpoint="", is_access_token=False,
        resource=None, bearer="b", expires_us=0,
    )  # fmt: skip
    write_credentials(file, blank)
    file.chmod(0o644)
    with pytest.raises(LoginError) as caught:
        read_credentials(file)
    assert caught.value.code == "login.open_file"
    file.chmod(0o600)
    file.write_bytes(b"\xff")
    with pytest.raises(LoginError) as caught:
        read_credentials(file)
    assert caught.value.code == "login.damaged"
    assert read_credentials(tmp_path / "nothing.json") is None


@pytest.mark.parametrize("url", ["http://id.example.org", "file:///etc/passwd", "https://", "ftp://127.0.0.1"])
def test_no_address_but_https_or_this_machine_is_asked(url: str) -> None:
    with pytest.raises(TokenRefused):
        check_url(url)
