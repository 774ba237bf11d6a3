"""Credentials that the domain holds: verified by the controller, facts of grade 2 while they last, in the ledger."""

from __future__ import annotations

import datetime
from dataclasses import replace

import msgspec
import pytest
from credential_kit import SUBJECT, credential, did_key
from room_kit import OPERATOR, PACKS, START, Room, entries, run, state_of

from hanse.control.certifying import Certifying
from hanse.control.config import ControlConfig
from hanse.control.controller import Controller, build_control
from hanse.control.journal import Journal
from hanse.control.service import FabricService, NotFound
from hanse.core.ids import ControllerId, OperatorId
from hanse.core.time import DAY_US, WallTime, to_datetime
from hanse.identity.credential import TrustedIssuer
from hanse.identity.errors import IdentityError
from hanse.policy import parse_packs, screen
from hanse.policy.facts import at_midnight
from hanse.twin.domain import make_domain


def jwt(*, days: int = 30, certification: str = "bsi-c5") -> str:
    ends = to_datetime(WallTime(START + days * DAY_US)) + datetime.timedelta(hours=3)
    return credential(ends, certification=certification)


TRUSTED = (TrustedIssuer(did=did_key(), certifies=("bsi-c5",)),)


def office(room: Room) -> tuple[Certifying, Controller]:
    ports = room.control_ports()
    config = ControlConfig(id=ControllerId("c"), domain="test.hanse", api_url="", nats_urls=(), packs=PACKS)
    controller = build_control(ports, config, make_domain(3, "test.hanse", ports.clock.wall()).authority)
    for one in entries():
        if one.bucket in {"specs", "nodes"}:
            controller.state.apply(one)
    return Certifying(controller, FabricService(controller, ports), ports), controller


def test_a_credential_makes_a_fact_of_grade_2_until_its_day_and_is_withdrawn_at_once():
    async def scenario(room: Room) -> None:
        certifying, controller = office(room)
        made = await certifying.add(OPERATOR.id, jwt(), TRUSTED, SUBJECT, user="t")
        assert made.certificate == "bsi-c5"
        assert controller.state.operators()[OPERATOR.id].verified == (made.fact,)
        assert controller.state.stated_operators()[OPERATOR.id].verified == (), "the manifest is what it was"
        packs = parse_packs(PACKS)
        work = next(iter(controller.state.workloads().values()))
        bound = replace(work, sovereignty=replace(work.sovereignty, packs=(*work.sovereignty.packs, "c5")))
        at = room.clock.wall()
        ends = at_midnight(to_datetime(WallTime(START + 30 * DAY_US)).date())
        for moment, count in ((at, 1), (WallTime(ends - 1), 1), (ends, 0)):
            screening = screen({bound.id: bound}, controller.state.fabric(), packs, moment)
            assert len(screening.allowed(bound.id)) == count, to_datetime(moment)
            assert screening.next_change_us is None or moment < screening.next_change_us
        last = screen({bound.id: bound}, controller.state.fabric(), packs, WallTime(ends - 1))
        assert last.next_change_us == ends, "it is screened again when the credential ends"
        await certifying.remove(OPERATOR.id, made.id, user="t")
        assert certifying.held() == ()
        assert not screen({bound.id: bound}, controller.state.fabric(), packs, at).allowed(bound.id)

    run(scenario)


@pytest.mark.parametrize(
    ("token", "issuers", "code"),
    [
        (jwt(days=-1), TRUSTED, "credential."),
        (jwt(certification="secnumcloud"), TRUSTED, "credential."),
        (jwt(), (), "credential."),
        (jwt()[:-4] + "AAAA", TRUSTED, "credential."),
    ],
)
def test_what_does_not_hold_is_refused_and_leaves_no_trace(token: str, issuers: tuple[TrustedIssuer, ...], code: str):
    async def scenario(room: Room) -> None:
        certifying, _ = office(room)
        with pytest.raises(IdentityError) as refused:
            await certifying.add(OPERATOR.id, token, issuers, SUBJECT, user="t")
        assert refused.value.code.startswith(code)
        assert certifying.held() == ()

    run(scenario)


def test_unknown_operators_and_credentials_are_named():
    async def scenario(room: Room) -> None:
        certifying, _ = office(room)
        with pytest.raises(NotFound, match="no operator nobody"):
            await certifying.add(OperatorId("nobody"), jwt(), TRUSTED, SUBJECT, user="t")
        with pytest.raises(NotFound, match="no credential abc"):
            await certifying.remove(OPERATOR.id, "abc", user="t")

    run(scenario)


def test_the_ledger_says_what_came_and_what_went():
    async def scenario(room: Room) -> None:
        certifying, controller = office(room)
        journal = Journal(room.control_ports(), controller.config)
        await journal.open()
        made = await certifying.add(OPERATOR.id, jwt(), TRUSTED, SUBJECT, user="t")
        await journal.record(controller.state)
        await certifying.remove(OPERATOR.id, made.id, user="t")
        await journal.record(controller.state)
        rows = [row for row in await journal.entries(0, 100) if row["subject"] == "credential/hansa.bsi-c5"]
        assert [(row["predicate"]["grade"], row["predicate"]["after"] is None) for row in rows] == [
            (2, False), (2, True),
        ]  # fmt: skip
        assert rows[0]["predicate"]["says"] == f"{made.fact} by {did_key()}"

    run(scenario)


def test_a_record_is_kept_for_whoever_leads_next():
    async def scenario(room: Room) -> None:
        certifying, _ = office(room)
        await certifying.add(OPERATOR.id, jwt(), TRUSTED, SUBJECT, user="t")
        stored = room.kv.entries("credentials", "")
        assert [one.key.partition(".")[0] for one in stored] == ["hansa"]
        again = state_of([*entries(), *stored])
        (record,) = again.credentials().values()
        assert msgspec.structs.asdict(record)["issuer"] == did_key()

    run(scenario)
