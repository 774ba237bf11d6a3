"""The domain's verifier: who may join with what evidence, and what becomes of a node that drifts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from evidence_kit import tpm
from room_kit import CONTROLLER, ME, OPERATOR, OTHER, SITE, Room, entries, node, run, sealed
from tpm_kit import SimulatedTpm, TpmMaker

from hanse.attest import Anchor, AppraisalRecord, Reference, reference_from
from hanse.control.attesting import CHALLENGE_LIFE_US, Attesting
from hanse.control.config import ControlConfig
from hanse.control.enrolment import Enrolment, JoinRefused
from hanse.control.journal import Journal
from hanse.control.state import FabricState
from hanse.core.fabric import Attested, Grade, Origin, Tier, Trust
from hanse.core.ids import ControllerId
from hanse.core.ports import BusMessage
from hanse.identity import key_from_secret, make_csr
from hanse.identity.authority import SECRET_BYTES
from hanse.node.attesting import give_evidence
from hanse.twin.domain import make_domain, make_node_keys
from hanse.wire import envelope
from hanse.wire.messages import Attestation, AttestRequest, Challenge, ChallengeRequest, GivenEvidence, JoinRequest
from hanse.wire.subjects import ask

PLACES = [one for one in entries() if one.key in ("site.frankfurt", "operator.hansa")]
KEYS = make_node_keys(1, ME)
SVID_KEY = key_from_secret(b"\1" * SECRET_BYTES)
SVID_DER = b"svid"


class Office:
    """One controller's enrolment and verifier, which believes one maker of simulated TPMs."""

    def __init__(self, room: Room, maker: TpmMaker) -> None:
        self.ports = room.control_ports()
        self.state = FabricState(trusted={CONTROLLER.key_id: CONTROLLER.public_key})
        for one in PLACES:
            self.state.apply(one)
        domain = make_domain(3, "test.hanse", self.ports.clock.wall())
        self.config = ControlConfig(id=ControllerId("c"), domain="test.hanse", api_url="", nats_urls=(), packs={})
        self.attesting = Attesting(self.ports, self.config, self.state)
        self.enrolment = Enrolment(self.ports, self.config, self.state, domain.authority, self.attesting)
        self.maker = maker

    async def believe(self, *bodies: Anchor | Reference) -> None:
        for body in bodies:
            key = f"{'anchor' if isinstance(body, Anchor) else 'reference'}.{body.name}"
            given = {"anchor": body} if isinstance(body, Anchor) else {"reference": body}
            await self.attesting.put(key, AppraisalRecord(**given, changed_us=self.ports.clock.wall()))

    async def token(self, *require: str) -> str:
        minted = await self.enrolment.mint(site=SITE.id, operator=OPERATOR.id, tier=Tier.CORE, require=require)
        return minted[0]

    async def join(self, token: str, chip: SimulatedTpm | None, **changed: Any) -> None:
        given = None
        if chip is not None:
            asked = ChallengeRequest(
                node=ME, public_key=KEYS.signer.public_key, token=token, identity=await chip.identity()
            )
            challenge = await self.enrolment.challenge(asked)
            given = await give_evidence(chip, challenge, ME, KEYS.signer.public_key, svid_der())
        request = JoinRequest(
            token=token, node=node(), csr_pem=make_csr(SVID_KEY), public_key=KEYS.signer.public_key,
            nats_public_key=KEYS.user.public, evidence=given,
        )  # fmt: skip
        await self.enrolment.join(msgspec.structs.replace(request, **changed))

    async def attest(self, chip: SimulatedTpm, *, svid_key: bytes = SVID_DER) -> Attested | None:
        """One round of re-attestation over the bus's messages; None where it is not answered."""
        asked = ChallengeRequest(node=ME, public_key=KEYS.signer.public_key, identity=await chip.identity())
        answer = await self._say("challenge", asked)
        if answer is None:
            return None
        challenge = envelope.open_sealed(answer, Challenge, self.state.trusted).message
        given = await give_evidence(chip, challenge, ME, KEYS.signer.public_key, SVID_DER)
        request = AttestRequest(node=ME, svid_key=svid_key, evidence=given, at_us=self.ports.clock.wall())
        answer = await self._say("attest", request)
        return (
            None if answer is None else envelope.open_sealed(answer, Attestation, self.state.trusted).message.attested
        )

    async def _say(self, what: str, message: msgspec.Struct) -> bytes | None:
        said = BusMessage(subject=ask(ME, what), data=envelope.seal(message, KEYS.signer), reply="inbox")
        return await self.attesting.answer(said)


def svid_der() -> bytes:
    return SVID_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def refusal(joining: Any) -> str:
    with pytest.raises(JoinRefused) as refused:
        await joining
    return refused.value.code


def test_a_node_joins_with_a_tpm_and_everything_says_that_it_is_simulated():
    async def scenario(room: Room) -> None:
        maker, chip = tpm()
        office = Office(room, maker)
        await office.believe(maker.anchor)
        await office.join(await office.token("tpm"), chip)
        found = office.state.attested()[ME]
        assert (found.kind, found.origin, found.status) == ("tpm", Origin.SOFTWARE, Trust.AFFIRMING)
        assert office.state.nodes()[ME].evidence == "tpm affirming (simulated)"
        fact = office.state.fabric().nodes[ME]
        assert fact.attested == found
        assert fact.grade is Grade.SIGNED, "evidence about the platform does not vouch for the place"
        journal = Journal(office.ports, office.config)
        await journal.open()
        await journal.record(office.state)
        said = {row["subject"]: row["predicate"] for row in await journal.entries(0, 100)}
        assert said[f"attested/{ME}"]["says"] == "tpm affirming (simulated)"
        assert said[f"attested/{ME}"]["grade"] == 4
        assert said[f"node/{ME}/joined"]["evidence"] == "tpm affirming (simulated)"
        assert f"anchor/{maker.anchor.name}" in said

    run(scenario)


def test_a_token_that_asks_for_evidence_admits_no_node_without_it():
    async def scenario(room: Room) -> None:
        maker, chip = tpm()
        office = Office(room, maker)
        token = await office.token("tpm", "tdx")
        assert await refusal(office.join(token, None)) == "join.evidence_needed"
        assert await refusal(office.join(token, chip)) == "attest.unknown_anchor"
        await office.believe(maker.anchor)
        said = replace(node(), attested=_claimed())
        assert await refusal(office.join(token, chip, node=said)) == "join.self_attested"
        other = GivenEvidence(challenge="none", kind="tpm", body=b"{}")
        assert await refusal(office.join(token, chip, evidence=other)) == "attest.unknown_challenge"
        await office.join(token, chip)

    run(scenario)


def _claimed() -> Attested:
    return Attested(
        kind="tpm", origin=Origin.HARDWARE, status=Trust.AFFIRMING, vector={}, claims={}, since_us=0, until_us=2**60
    )


def test_evidence_is_bound_to_the_key_that_the_certificate_is_asked_for():
    async def scenario(room: Room) -> None:
        maker, chip = tpm()
        office = Office(room, maker)
        await office.believe(maker.anchor)
        stolen = make_csr(key_from_secret(b"\2" * SECRET_BYTES))
        assert await refusal(office.join(await office.token("tpm"), chip, csr_pem=stolen)) == "attest.wrong_nonce"

    run(scenario)


def test_a_node_that_runs_something_else_than_the_references_does_not_join():
    async def scenario(room: Room) -> None:
        maker, chip = tpm()
        office = Office(room, maker)
        await office.believe(maker.anchor, Reference(name="golden", kind="tpm", claims={"event.agent": "00" * 32}))
        assert await refusal(office.join(await office.token("tpm"), chip)) == "join.contraindicated"
        assert not office.state.nodes()

    run(scenario)


def test_a_challenge_is_good_once_for_one_node_and_for_five_minutes():
    async def scenario(room: Room) -> None:
        maker, chip = tpm()
        office = Office(room, maker)
        await office.believe(maker.anchor)
        public = KEYS.signer.public_key

        async def given() -> GivenEvidence:
            asked = ChallengeRequest(node=ME, public_key=public, identity=await chip.identity())
            return await give_evidence(chip, office.attesting.challenge(asked), ME, public, SVID_DER)

        evidence = await given()
        office.attesting.appraise(ME, public, SVID_DER, evidence)
        for who, what in ((ME, evidence), (OTHER, await given())):
            with pytest.raises(Exception, match="no such challenge"):
                office.attesting.appraise(who, public, SVID_DER, what)
        late = await given()
        await asyncio.sleep(CHALLENGE_LIFE_US / 1e6)  # virtual time
        with pytest.raises(Exception, match="no such challenge"):
            office.attesting.appraise(ME, public, SVID_DER, late)

    run(scenario)


def test_drift_is_a_fact_and_mending_it_is_one_too():
    async def scenario(room: Room) -> None:
        maker, chip = tpm()
        office = Office(room, maker)
        await office.believe(maker.anchor)
        await office.join(await office.token("tpm"), chip)
        first = await office.attest(chip)
        assert first is not None
        await office.believe(reference_from("golden", "tpm", first.claims))
        assert office.state.attested()[ME].references == ("golden",), "judged at once, without new evidence"
        chip.extend(b"\7" * 32)
        drifted = await office.attest(chip)
        assert drifted is not None
        assert (drifted.status, drifted.code) == (Trust.CONTRAINDICATED, "attest.log_mismatch")
        assert drifted.claims == {"ek": first.claims["ek"]}
        chip.reboot()
        mended = await office.attest(chip)
        assert mended is not None
        assert (mended.status, mended.references) == (Trust.AFFIRMING, ("golden",))

    run(scenario)


def test_other_hardware_under_a_known_name_is_refused_and_shows():
    async def scenario(room: Room) -> None:
        maker, chip = tpm()
        office = Office(room, maker)
        await office.believe(maker.anchor)
        await office.join(await office.token("tpm"), chip)
        changed = SimulatedTpm(maker, lambda count: b"\x33" * count, chip.boot)
        found = await office.attest(changed)
        assert found is not None
        assert (found.status, found.code) == (Trust.CONTRAINDICATED, "attest.other_platform")
        wrong_key = await office.attest(chip, svid_key=b"another")
        assert wrong_key is not None
        assert wrong_key.code == "attest.wrong_nonce"

    run(scenario)


def test_never_does_a_stranger_or_a_revoked_node_get_an_answer():
    async def scenario(room: Room) -> None:
        maker, chip = tpm()
        office = Office(room, maker)
        await office.believe(maker.anchor)
        assert await office.attest(chip) is None, "not enrolled"
        await office.join(await office.token("tpm"), chip)
        record = office.state.nodes()[ME]
        room.kv.put("nodes", ME, sealed(msgspec.structs.replace(record, is_revoked=True)), None)
        stored = room.kv.get("nodes", ME)
        assert stored is not None
        office.state.apply(stored)
        assert await office.attest(chip) is None

    run(scenario)
