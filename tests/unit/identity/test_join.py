"""Joining: a token admits one machine, at the place it was made for, once."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from hanse.core.fabric import Grade, Node, Power, Price, Resources, Tier
from hanse.core.ids import NodeId, OperatorId, SiteId
from hanse.core.time import HOUR_US, WallTime
from hanse.identity import Admitted, JoinToken, Refused, check_join, key_from_secret, make_csr, mint_token
from hanse.identity.nats_jwt import nkey_from_secret
from hanse.wire.trust_messages import JoinRequest

NOW = WallTime(1_795_000_000_000_000)
BERLIN, OPERATOR = SiteId("berlin"), OperatorId("acme")
TEXT, TOKEN = mint_token(b"\x05" * 32, site=BERLIN, operator=OPERATOR, tier=Tier.EDGE, now=NOW)


def asking(**changes: object) -> JoinRequest:
    node = Node(
        id=NodeId("berlin-1"),
        site=BERLIN,
        operator=OPERATOR,
        tier=Tier.EDGE,
        capacity=Resources(cpu_milli=1_000, memory_bytes=2**30),
        price=Price(cpu_core_hour_microeur=1, memory_gib_hour_microeur=1),
        power=Power(idle_mw=1, per_core_mw=1),
    )
    request = JoinRequest(
        token=TEXT,
        node=node,
        csr_pem=make_csr(key_from_secret(b"\x02" * 48)),
        public_key=b"\x07" * 32,
        nats_public_key=nkey_from_secret("user", b"\x08" * 32).public,
    )
    return msgspec.structs.replace(request, **changes)


def moved(**changes: object) -> Node:
    return dataclasses.replace(asking().node, **changes)  # type: ignore[arg-type]


def test_an_honest_request_is_admitted_and_spends_the_token() -> None:
    answer = check_join(asking(), (TOKEN,), {}, NOW)
    assert isinstance(answer, Admitted)
    assert answer.token.used_by is not None
    assert answer.token.token_hash == TOKEN.token_hash


def test_what_is_kept_does_not_hold_the_token() -> None:
    assert TEXT not in repr(TOKEN)
    assert TEXT.startswith("hanse-join-")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (asking(token="hanse-join-guess"), "join.unknown_token"),
        (asking(token=""), "join.unknown_token"),
        (asking(node=moved(site=SiteId("paris"))), "join.wrong_place"),
        (asking(node=moved(operator=OperatorId("nimbus"))), "join.wrong_place"),
        (asking(node=moved(tier=Tier.CORE)), "join.wrong_place"),
        (asking(node=moved(grade=Grade.ATTESTED)), "join.wrong_grade"),
        (asking(node=moved(id=NodeId("*"))), "join.wrong_node"),
        (asking(node=moved(id=NodeId("a.b"))), "join.wrong_node"),
        (asking(csr_pem=b"none"), "join.bad_key"),
        (asking(public_key=b"short"), "join.bad_key"),
        (asking(nats_public_key="UABC"), "join.bad_key"),
        (asking(nats_public_key=nkey_from_secret("account", b"\x08" * 32).public), "join.bad_key"),
    ],
)
def test_every_other_request_is_refused(request_: JoinRequest, code: str) -> None:
    answer = check_join(request_, (TOKEN,), {}, NOW)
    assert isinstance(answer, Refused)
    assert answer.code == code


def test_a_token_ends() -> None:
    assert isinstance(check_join(asking(), (TOKEN,), {}, WallTime(NOW + HOUR_US - 1)), Admitted)
    late = check_join(asking(), (TOKEN,), {}, WallTime(NOW + HOUR_US))
    assert late == Refused(code="join.expired", reason="the token expired at 2026-11-18T12:06:40.000Z")


def _spent() -> JoinToken:
    answer = check_join(asking(), (TOKEN,), {}, NOW)
    assert isinstance(answer, Admitted)
    return answer.token


def test_the_same_machine_may_ask_again_with_a_fresh_request() -> None:
    again = asking(csr_pem=make_csr(key_from_secret(b"\x09" * 48)))
    assert check_join(again, (_spent(),), {NodeId("berlin-1"): b"\x07" * 32}, NOW) == Admitted(token=_spent())


@pytest.mark.parametrize(
    "request_",
    [
        asking(node=moved(id=NodeId("berlin-2"))),
        asking(public_key=b"\x0a" * 32),
        asking(nats_public_key=nkey_from_secret("user", b"\x0b" * 32).public),
    ],
)
def test_a_spent_token_admits_nobody_else(request_: JoinRequest) -> None:
    answer = check_join(request_, (_spent(),), {}, NOW)
    assert isinstance(answer, Refused)
    assert answer.code == "join.spent"


def test_nobody_takes_the_name_of_an_enrolled_node() -> None:
    answer = check_join(asking(), (TOKEN,), {NodeId("berlin-1"): b"\x0c" * 32}, NOW)
    assert answer == Refused(code="join.taken", reason="another machine is enrolled as berlin-1")


def test_a_refusal_can_be_read() -> None:
    answer = check_join(asking(node=moved(site=SiteId("paris"))), (TOKEN,), {}, NOW)
    assert isinstance(answer, Refused)
    assert answer.reason == (
        "the token is for site berlin, operator acme, tier edge, the node says site paris, operator acme, tier edge"
    )
