"""Who may invoke a workload: what is open, what its owner restricts, and what packs forbid whatever the owner says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from room_kit import START, workload

from hanse.adapters.package_data import read_packs
from hanse.core.work import Access, Caller, Data
from hanse.policy import PolicyError, invoke_policy_of, parse_packs
from hanse.policy.invoke import ask
from hanse.policy.schema import INVOKE_SCHEMA_TEXT

PACKS = parse_packs(read_packs())
CONTEXT = {"method": "GET", "host": "x", "path": "/triage", "node": "fra-1"}
ISSUER = "https://id.clinic.example"
ANONYMOUS = {"uid": {"type": "Anonymous", "id": "anonymous"}, "attrs": {}, "parents": []}
NURSES = Access(callers=(Caller(issuer=ISSUER, claims={"role": ("nurse", "head-nurse")}),))


def user(issuer: str = ISSUER, **claims: str) -> dict[str, Any]:
    return {
        "uid": {"type": "User", "id": f"{issuer}#u1"},
        "attrs": {"issuer": issuer, "subject": "u1"},
        "tags": {name: [value] for name, value in claims.items()},
        "parents": [{"type": "Issuer", "id": issuer}],
    }


def is_let_in(access: Access, principal: dict[str, Any], *, classes: tuple[str, ...] = (), extra: str = "") -> bool:
    work = replace(workload(), access=access, data=Data(classes=classes))
    files = dict(read_packs())
    if extra:
        files["base/invoke.cedar"] += extra
    packs = parse_packs(files) if extra else PACKS
    return ask(invoke_policy_of(work, packs, (), START), principal, work, CONTEXT)


def test_what_its_owner_leaves_open_is_open_to_everybody_but_nodes():
    assert is_let_in(Access(), ANONYMOUS)
    assert is_let_in(Access(), user())
    node = {"uid": {"type": "Node", "id": "spiffe://d/node/a"}, "attrs": {}, "parents": []}
    assert not is_let_in(Access(), node)


def test_only_users_of_this_issuer_with_this_claim():
    assert is_let_in(NURSES, user(role="nurse"))
    assert is_let_in(NURSES, user(role="head-nurse"))
    for other in (ANONYMOUS, user(), user(role="porter"), user("https://elsewhere.example", role="nurse")):
        assert not is_let_in(NURSES, other)


def test_a_workload_and_a_certificate_may_be_named():
    portal = {
        "uid": {"type": "Workload", "id": "clinic.portal"},
        "attrs": {"namespace": "clinic", "name": "portal", "access": ""},
        "parents": [],
    }
    scanner = {
        "uid": {"type": "Certificate", "id": "ff"},
        "attrs": {"subject": "CN=s", "issuer": "CN=ca", "names": ["dns:scanner.clinic"]},
        "parents": [],
    }
    assert is_let_in(Access(callers=(Caller(workload="clinic.portal"),)), portal)
    assert not is_let_in(Access(callers=(Caller(workload="clinic.other"),)), portal)
    assert is_let_in(Access(callers=(Caller(certificate_name="dns:scanner.clinic"),)), scanner)
    assert not is_let_in(Access(callers=(Caller(certificate_name="dns:other"),)), scanner)


def test_an_owners_own_rules_read_the_request():
    rules = 'permit (principal, action == Action::"invoke", resource) when { context.method == "GET" };'
    assert is_let_in(Access(rules=rules), ANONYMOUS)
    assert not is_let_in(Access(rules=rules.replace("GET", "POST")), ANONYMOUS)


def test_a_pack_forbids_whatever_the_owner_permits():
    forbid = """
@id("base.invoke-known") @cite("house rule") @message("health data is for those who say who they are")
forbid (principal is Anonymous, action == Action::"invoke", resource in DataClass::"health");
"""
    assert not is_let_in(Access(), ANONYMOUS, classes=("health",), extra=forbid)
    assert is_let_in(Access(), ANONYMOUS, classes=("public",), extra=forbid)
    assert is_let_in(Access(), user(), classes=("health",), extra=forbid)


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ("permit (principal, action", "not Cedar"),
        ("permit (principal is Nurse, action, resource);", "breaks the schema"),
        ("permit (principal == ?principal, action, resource);", "not one plain policy"),
        ('@message("{node}") permit (principal, action, resource);', "placeholder"),
    ],
)
def test_rules_that_are_none_are_refused_with_their_line(rules: str, why: str):
    with pytest.raises(PolicyError, match=why):
        is_let_in(Access(rules=f"// a comment\n{rules}"), ANONYMOUS)


def test_a_pack_nobody_ships_lets_it_run_nowhere():
    work = workload()
    work = replace(work, sovereignty=replace(work.sovereignty, packs=("nobody-ships-this",)))
    with pytest.raises(PolicyError, match="nobody-ships-this"):
        invoke_policy_of(work, PACKS, (), START)


@settings(deadline=None, max_examples=50)
@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_never_does_text_in_a_manifest_become_policy(issuer: str, claim: str, value: str):
    """Whatever quotes, escapes and newlines are written into a caller: nobody else gets in, and the holder does."""
    access = Access(callers=(Caller(issuer=issuer, claims={claim: (value,)}),))
    assert not is_let_in(access, ANONYMOUS)
    assert not is_let_in(access, user(issuer))
    assert is_let_in(access, user(issuer, **{claim: value}))


def test_the_engine_and_the_packs_speak_of_the_same_types():
    text = Path(__file__).parents[3] / "crates" / "engine" / "src" / "invoke.cedarschema"
    assert text.read_text() == INVOKE_SCHEMA_TEXT
