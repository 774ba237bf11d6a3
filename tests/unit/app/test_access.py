"""Who may use the API: no route without a guard, no act without a role or a record, no denial without its rule."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import httpx
import pytest
from domain_kit import Domain, domain
from fastapi import FastAPI
from ledger_kit import run
from oidc_kit import ISSUER, URL, claims, key_set, rsa_key, signed
from room_kit import HandClock

from hanse.app import authentication
from hanse.app.access_file import NO_FILE, Access, Binding, Limits, TrustedProvider
from hanse.app.api import part_to_delete
from hanse.app.authentication import guards_of, refuse_unguarded
from hanse.core.errors import InvariantBroken
from hanse.core.rate import Rate
from hanse.core.time import DAY_US, WallTime
from hanse.identity import ApiToken
from hanse.identity.oidc import parse_keys
from hanse.manifest import Manifests
from hanse.wire import envelope
from hanse.wire.messages import ActionRecord, ActorRecord
from hanse.wire.subjects import ACTIONS, ACTORS, API_TOKENS

NOW = WallTime(1_795_219_200_000_000)
OPEN = {
    "GET /api/v1/health", "GET /api/v1/auth/methods", "POST /api/v1/join", "POST /api/v1/join/challenge",
    "POST /witness/add-checkpoint", "GET /witness/{origin_hash}/checkpoint", "POST /mirror/add-checkpoint",
    "POST /mirror/add-entries", "GET /spiffe/bundle", "GET /mirror/{origin_hash}/{path:path}",
}  # fmt: skip
"""Nobody needs a token for these; each is listed in docs/security.md with what admits it."""
EACH = {
    "POST /api/v1/submissions",
    "DELETE /api/v1/{kind}/{identity}",
    "GET /api/v1/auth/whoami",
    "POST /api/v1/auth/can",
}
"""These ask for every part that they name, or tell the caller about the caller."""


class Clock(HandClock):
    def __init__(self) -> None:
        super().__init__()
        self.wall_us = NOW


class FixedKeys:
    """The provider's keys, without the way to them; that way has its own tests."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.keys = parse_keys(key_set(rsa_key()))

    async def ring(self, _: str | None) -> Any:
        return self.keys


def app_of(of: Domain) -> FastAPI:
    return of.api._transport.app  # type: ignore[attr-defined,no-any-return]


async def ask(of: Domain, token: str | None, method: str, path: str, **more: Any) -> httpx.Response:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app_of(of)), base_url="https://south.test") as http:
        return await http.request(method, f"/api/v1/{path}", headers=headers, **more)


async def token_of(of: Domain, name: str, roles: dict[str, list[str]], **more: Any) -> str:
    answer = await ask(of, "secret", "POST", "auth/tokens", json={"name": name, "roles": roles, **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


def error_of(answer: httpx.Response) -> Any:
    return answer.json()["error"]


def actions_of(of: Domain) -> list[tuple[str, str]]:
    rows = of.ports.store.rows.items()  # type: ignore[attr-defined]
    found = [envelope.peek(value, ActionRecord) for (bucket, _), (value, _) in rows if bucket == ACTIONS]
    return [(one.action, one.target) for one in found]


# --- no route without a guard ---


def test_every_route_names_its_guard_and_the_open_ones_are_those_that_are_listed() -> None:
    routes = {f"{method} {path}": found for method, path, found in guards_of(app_of(domain(1, "south.test")))}
    documentation = {"GET /api/v1/openapi.json", "HEAD /api/v1/openapi.json", "GET /api/v1/docs", "HEAD /api/v1/docs"}
    assert {name for name, found in routes.items() if found is None} == documentation
    assert {name for name, found in routes.items() if found == "open"} == OPEN
    assert {name for name, found in routes.items() if found == "each"} == EACH
    assert len(routes) > 50


def test_an_application_with_a_bare_route_is_not_built() -> None:
    app = app_of(domain(1, "south.test"))

    @app.get("/api/v1/forgotten")
    async def forgotten() -> str:
        return "everything"

    with pytest.raises(InvariantBroken, match="GET /api/v1/forgotten"):
        refuse_unguarded(app, frozenset({"/api/v1/openapi.json", "/api/v1/docs"}))


def test_never_does_any_guarded_route_answer_without_a_token_or_without_a_role() -> None:
    of = limited(failures=Rate(per_minute=60, burst=1_000))
    fill = {
        "namespace": "a",
        "name": "b",
        "node": "n",
        "instance": "a.b.0.1",
        "kind": "functions",
        "identity": "a.b",
        "secret": "a.b",
        "version": "1",
        "domain": "north.test",
        "operator": "north",
        "credential": "0" * 64,
    }

    async def scenario() -> None:
        nobody = await token_of(of, "nobody", {"reader-of-poems": ["*"]})
        for method, path, found in guards_of(app_of(of)):
            if found in (None, "open") or "/auth/whoami" in path or "/auth/can" in path:
                continue
            there = path.removeprefix("/api/v1/").format(**fill)
            assert (await ask(of, None, method, there)).status_code == 401, path
            assert (await ask(of, "wrong", method, there)).status_code == 401, path
            if found != "each":
                answer = await ask(of, nobody, method, there, json={})
                assert answer.status_code in (403, 422), (path, answer.text)
                if answer.status_code == 403:
                    assert error_of(answer)["context"]["rules"] == "default-deny"

    run(scenario())


# --- roles ---


MANIFEST = """
apiVersion: hanse.dev/v1
kind: Operator
metadata: {name: hansa}
spec: {name: Hansa eG, seat: DE}
---
apiVersion: hanse.dev/v1
kind: Policy
metadata: {name: house, namespace: clinic}
spec: {about: What the clinic keeps to., packs: [gdpr]}
"""


def test_a_role_opens_what_it_says_in_its_namespaces_and_a_denial_names_the_rule() -> None:
    of = domain(1, "south.test", clock=Clock())

    async def scenario() -> None:
        viewer = await token_of(of, "eye", {"viewer": ["clinic"]})
        operator = await token_of(of, "hand", {"operator": ["*"]})
        assert (await ask(of, viewer, "GET", "nodes")).status_code == 200
        assert (await ask(of, viewer, "GET", "workloads/clinic/triage")).status_code == 404
        denied = await ask(of, viewer, "GET", "workloads/bank/ledger")
        assert denied.status_code == 403
        assert error_of(denied) == {
            "code": "access.denied", "message": "you may not read workload/bank.ledger: denied by default-deny",
            "hint": "`hanse auth whoami` shows your roles; `hanse auth can read workload/bank.ledger` asks again",
            "retry": False, "details": None,
            "context": {"action": "read", "part": "workload/bank.ledger", "rules": "default-deny"},
        }  # fmt: skip
        body = {"files": [{"name": "f", "text": MANIFEST}]}
        assert error_of(await ask(of, viewer, "POST", "submissions", json=body))["context"]["part"] == "operator/hansa"
        refused = error_of(await ask(of, operator, "POST", "submissions", json=body))
        assert (refused["code"], refused["context"]["part"]) == ("access.denied", "policy/clinic.house")
        assert (await ask(of, operator, "DELETE", "functions/clinic.triage")).status_code == 403
        assert (await ask(of, operator, "POST", "nodes/fra-1/drain")).status_code == 404
        assert (
            await ask(of, viewer, "POST", "auth/tokens", json={"name": "x", "roles": {"admin": ["*"]}})
        ).status_code == 403

    run(scenario())
    assert part_to_delete("policy", "clinic.house")[0] == "set-policy"
    assert part_to_delete("thing", "x")[0] == "administer"


def test_every_kind_of_document_in_a_submission_is_asked_about() -> None:
    asked = {
        "functions",
        "operators",
        "sites",
        "nodes",
        "policies",
        "secrets",
        "datasets",
        "namespaces",
        "jurisdictions",
    }
    assert {one.name for one in fields(Manifests)} - {"wheres"} == asked, "a new kind needs its line in `parts_of`"


def test_a_rule_of_the_domain_forbids_and_the_denial_names_it() -> None:
    rule = """@id("house.friday") @cite("house rules") @message("nobody deletes in prod")
forbid (principal, action == Action::"delete", resource) when { resource.namespace == "prod" };"""
    of = domain(1, "south.test", clock=Clock(), access=replace(NO_FILE, rules={"house.cedar": rule}))

    async def scenario() -> None:
        answer = await ask(of, "secret", "DELETE", "functions/prod.shop")
        assert (answer.status_code, error_of(answer)["context"]["rules"]) == (403, "house.friday")
        assert (await ask(of, "secret", "DELETE", "functions/test.shop")).status_code == 404

    run(scenario())


def test_whoever_asks_is_told_what_they_may() -> None:
    of = domain(1, "south.test", clock=Clock())

    async def scenario() -> None:
        developer = await token_of(of, "dev", {"developer": ["clinic"]})
        mine = {"action": "deploy", "kind": "workload", "namespace": "clinic", "name": "triage"}
        said = (await ask(of, developer, "POST", "auth/can", json=mine)).json()
        assert said == {
            "action": "deploy",
            "part": "workload/clinic.triage",
            "is_allowed": True,
            "rules": ["roles.developer"],
        }
        other = (await ask(of, developer, "POST", "auth/can", json=mine | {"namespace": "bank"})).json()
        assert (other["is_allowed"], other["rules"]) == (False, ["default-deny"])
        unknown = (await ask(of, "secret", "POST", "auth/can", json=mine | {"action": "sing"})).json()
        assert unknown["is_allowed"] is False
        who = (await ask(of, developer, "GET", "auth/whoami")).json()
        assert (who["id"], who["roles"]) == ("token:dev", {"developer": ["clinic"]})

    run(scenario())


# --- named tokens ---


def test_a_token_is_kept_as_a_hash_expires_and_is_withdrawn_at_once() -> None:
    clock = Clock()
    of = domain(1, "south.test", clock=clock)

    async def scenario() -> None:
        text = await token_of(of, "ci", {"viewer": ["*"]}, lifetime_us=DAY_US)
        kept = of.ports.store.rows[API_TOKENS, "ci"][0]  # type: ignore[attr-defined]
        assert text.encode() not in kept
        assert text.rpartition(".")[2] not in envelope.peek(kept, ApiToken).token_hash
        assert (await ask(of, text, "GET", "nodes")).status_code == 200
        assert (await ask(of, text[:-1] + ("A" if text[-1] != "A" else "B"), "GET", "nodes")).status_code == 401
        taken = await ask(of, "secret", "POST", "auth/tokens", json={"name": "ci", "roles": {"admin": ["*"]}})
        assert (taken.status_code, error_of(taken)["code"]) == (409, "token.name_taken")
        assert (await ask(of, "secret", "DELETE", "auth/tokens/ci")).status_code == 202
        gone = await ask(of, text, "GET", "nodes")
        assert (gone.status_code, error_of(gone)["context"]) == (401, {"why": "token.revoked"})
        text = await token_of(of, "ci", {"viewer": ["*"]}, lifetime_us=DAY_US)
        clock.wall_us = WallTime(NOW + DAY_US)
        assert error_of(await ask(of, text, "GET", "nodes"))["context"] == {"why": "token.expired"}
        (row,) = (await ask(of, "secret", "GET", "auth/tokens")).json()
        assert (row["name"], row["is_good"], "token_hash" in row) == ("ci", False, False)
        assert (await ask(of, "secret", "DELETE", "auth/tokens/nobody")).status_code == 404

    run(scenario())


def test_a_record_that_the_controller_did_not_seal_lets_nobody_in() -> None:
    of, other = domain(1, "south.test", clock=Clock()), domain(2, "north.test", clock=Clock())

    async def scenario() -> None:
        text = await token_of(other, "ci", {"admin": ["*"]})
        of.ports.store.rows[API_TOKENS, "ci"] = other.ports.store.rows[API_TOKENS, "ci"]  # type: ignore[attr-defined]
        answer = await ask(of, text, "GET", "nodes")
        assert answer.status_code in (401, 422, 503)
        assert "nodes" not in answer.text or answer.is_error

    run(scenario())


@pytest.mark.parametrize("body", [
    {"name": "Not A Name", "roles": {"viewer": ["*"]}},
    {"name": "x", "roles": {}}, {"name": "x", "roles": {"viewer": []}},
    {"name": "x", "roles": {"viewer": ["a b"]}}, {"name": "x", "roles": {"viewer": ["*"]}, "lifetime_us": 400 * DAY_US},
])  # fmt: skip
def test_a_token_that_says_nothing_or_too_much_is_not_made(body: dict[str, Any]) -> None:
    of = domain(1, "south.test", clock=Clock())
    assert run(ask(of, "secret", "POST", "auth/tokens", json=body)).status_code == 422


# --- users of a provider ---


PROVIDER = TrustedProvider(issuer=ISSUER)
ACCESS = Access(
    providers={URL: PROVIDER},
    bindings=(
        Binding(role="developer", namespaces=("clinic",), groups=("clinic-devs",)),
        Binding(role="auditor", namespaces=("*",), users=(f"{URL}#grace",)),
    ),
)


def test_a_user_holds_the_roles_of_their_groups_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "IssuerKeys", FixedKeys)
    of = domain(1, "south.test", clock=Clock(), access=ACCESS)

    async def scenario() -> None:
        ada = (await ask(of, signed(claims()), "GET", "auth/whoami")).json()
        assert (ada["id"], ada["roles"]) == (f"{URL}#ada", {"developer": ["clinic"]})
        grace = (await ask(of, signed(claims(sub="grace", groups=[])), "GET", "auth/whoami")).json()
        assert grace["roles"] == {"auditor": ["*"]}
        nobody = await ask(of, signed(claims(sub="mallory", groups=["admins"])), "GET", "nodes")
        assert (nobody.status_code, error_of(nobody)["code"]) == (403, "access.denied")
        forged = await ask(of, signed(claims(), rsa_key("r9"), kid="r1"), "GET", "auth/whoami")
        assert (forged.status_code, error_of(forged)["context"]) == (401, {"why": "token.signature"})
        stranger = await ask(of, signed(claims(iss="https://evil.example")), "GET", "auth/whoami")
        assert error_of(stranger)["context"] == {"why": "token.issuer"}
        assert stranger.headers["www-authenticate"] == "Bearer"
        (method,) = (await ask(of, None, "GET", "auth/methods")).json()
        assert (method["issuer"], method["client_id"]) == (URL, "hanse-cli")

    run(scenario())


# --- what is recorded ---


def test_every_act_is_recorded_before_it_is_done_and_no_entry_names_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "IssuerKeys", FixedKeys)
    admins = Access(
        providers={URL: PROVIDER}, bindings=(Binding(role="admin", namespaces=("*",), users=(f"{URL}#ada",)),)
    )
    of = domain(1, "south.test", clock=Clock(), access=admins)

    async def scenario() -> None:
        ada = signed(claims())
        await ask(of, ada, "POST", "auth/tokens", json={"name": "ci", "roles": {"viewer": ["*"]}})
        await ask(of, ada, "DELETE", "auth/tokens/ci")
        await ask(of, ada, "PUT", "witness/logs", json={"policy": "none"})
        await ask(of, ada, "DELETE", "ledger/alarms?url=https://x")
        series = {"start_us": 0, "step_us": 1, "values": [1]}
        feed = {"source": "s", "error_permille": 1, "zones": {"DE": series}}
        await ask(of, ada, "PUT", "feeds/carbon", json=feed)

    run(scenario())
    assert sorted(actions_of(of)) == [
        ("create", "token/ci"), ("refresh", "feed/carbon"), ("revoke", "token/ci"), ("settle", "ledger/alarm"),
        ("witness", "ledger/log"),
    ]  # fmt: skip
    rows = of.ports.store.rows.items()  # type: ignore[attr-defined]
    entries = b"".join(value for (bucket, _), (value, _) in rows if bucket == ACTIONS)
    assert b"ada" not in entries
    assert b"example.org" not in b"".join(
        envelope.peek(value, ActionRecord).actor.encode() for (b, _), (value, _) in rows if b == ACTIONS
    )
    actors = {envelope.peek(value, ActorRecord).user for (b, _), (value, _) in rows if b == ACTORS}
    assert actors == {f"{URL}#ada"}, "who it was stands outside of the ledger, where it can be erased"


# --- limits ---


def limited(**rates: Rate) -> Domain:
    return domain(1, "south.test", clock=Clock(), access=replace(NO_FILE, limits=replace(Limits(), **rates)))


def test_bad_tokens_are_counted_and_then_nothing_from_there_is_looked_at() -> None:
    of = limited(failures=Rate(per_minute=6, burst=3))

    async def scenario() -> None:
        statuses = [(await ask(of, f"guess-{n}", "GET", "nodes")).status_code for n in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        good = await ask(of, "secret", "GET", "nodes")
        assert (good.status_code, good.headers["retry-after"]) == (429, "10")
        assert error_of(good)["retry"] is True
        of.ports.clock.mono_us = 10_000_000  # type: ignore[attr-defined]
        assert (await ask(of, "secret", "GET", "nodes")).status_code == 200

    run(scenario())


def test_an_address_and_a_principal_have_their_limits_and_both_are_counted() -> None:
    of = limited(principal=Rate(per_minute=60, burst=2), address=Rate(per_minute=60, burst=6))

    async def scenario() -> None:
        other = await token_of(of, "other", {"viewer": ["*"]})
        statuses = [(await ask(of, "secret", "GET", "nodes")).status_code for _ in range(2)]
        assert statuses == [200, 429]
        assert (await ask(of, other, "GET", "nodes")).status_code == 200, "each has a bucket of its own"
        text = (await ask(of, other, "GET", "metrics")).text
        assert 'hanse_api_limited_total{limit="principal"} 1' in text
        assert [(await ask(of, None, "GET", "health")).status_code for _ in range(2)] == [200, 429]

    run(scenario())
