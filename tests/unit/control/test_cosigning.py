"""Two domains, one the witness of the other, over the real API: cosignatures, quorum, and a fork that is told."""

from __future__ import annotations

from typing import cast

import httpx
from domain_kit import Domain, domain
from ledger_kit import NOW, DictStore, run

from hanse.app.witnessing import ask_one
from hanse.ledger.quorum import Accepted, Refused, judge, load_policy

URL = "https://south.test/witness"


async def made_friends() -> tuple[Domain, Domain]:
    """North's log is cosigned by south."""
    north, south = domain(1, "north.test"), domain(2, "south.test")
    await north.writer.open()
    policy = (await north.api.get("/api/v1/ledger/policy")).text
    answer = await south.api.put("/api/v1/witness/logs", json={"policy": policy})
    assert answer.json() == {"origin": "north.test/ledger"}
    keys = (await south.api.get("/api/v1/witness/keys")).json()
    lines = [f"witness south-{number} {vkey} {URL}" for number, vkey in enumerate(keys)]
    text = "\n".join([*lines, "group south all south-0 south-1", "quorum south", ""])
    answer = await north.api.put("/api/v1/ledger/witnesses", json={"policy": text})
    assert answer.status_code == 202, answer.text
    return north, south


async def ask(asker: Domain, witness: Domain) -> None:
    """What the leader does after each checkpoint."""
    for target in await asker.controller.cosigning.cosigners.targets():
        await ask_one(asker.controller, witness.api, target)


def test_a_checkpoint_is_cosigned_and_the_domains_policy_demands_it() -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        await north.grow(0, 300)
        policy = load_policy((await north.api.get("/api/v1/ledger/policy")).content)
        bare = (await north.api.get("/api/v1/ledger/checkpoint")).content
        refused = judge(policy, bare, NOW)
        assert isinstance(refused, Refused)
        assert "lacks the signature of south-0" in " ".join(refused.reasons)
        await ask(north, south)
        cosigned = (await north.api.get("/api/v1/ledger/checkpoint")).content
        accepted = judge(policy, cosigned, NOW)
        assert isinstance(accepted, Accepted), accepted
        assert accepted.checkpoint.size == 300
        assert len(accepted.held) == 4
        await north.grow(300, 700)
        await ask(north, south)
        view = (await north.api.get("/api/v1/ledger/witnesses")).json()
        assert (view["size"], view["cosigned_size"], view["alarms"]) == (700, 700, [])
        assert view["cosigners"] == ["south.test/witness"]
        assert (await south.api.get("/api/v1/witness/logs")).json() == [
            {"origin": "north.test/ledger", "size": 700, "split_size": None}
        ]

    run(scenario())


def test_a_new_leader_learns_from_the_witness_how_far_it_is() -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        await north.grow(0, 5)
        await ask(north, south)
        north.controller.cosigning.cosigners.sizes.clear()
        north.controller.cosigning._granted.clear()
        await north.grow(5, 9)
        await ask(north, south)
        assert (await north.controller.cosigning.view()).cosigned_size == 9

    run(scenario())


def test_a_forked_log_raises_the_alarm_on_both_sides_and_is_never_cosigned() -> None:
    """The same keys sign a second history: shorter, equally long, and longer than what the witness saw."""

    async def scenario(size: int) -> None:
        north, south = await made_friends()
        await north.grow(0, 300)
        await ask(north, south)
        other = domain(1, "north.test", store=cast(DictStore, north.ports.store))
        await other.writer.open()
        await other.grow(0, size, word="rewritten")
        await ask(other, south)
        view = await other.controller.cosigning.view()
        assert [alarm.url for alarm in view.alarms] == [URL]
        assert "another history of this log" in view.alarms[0].reason
        assert view.cosigned_size is None
        (seen,) = (await south.api.get("/api/v1/witness/logs")).json()
        assert seen["size"] == 300
        # A shorter log alone proves nothing to the witness: it may be an old checkpoint. The log's own side knows.
        assert seen["split_size"] == (None if size < 300 else size)

    for size in (120, 300, 500):
        run(scenario(size))


def test_a_log_that_goes_backwards_in_front_of_its_own_leader_raises_the_alarm() -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        await north.grow(0, 300)
        await ask(north, south)
        other = domain(1, "north.test", store=cast(DictStore, north.ports.store))
        await other.writer.open()
        await other.grow(0, 10)
        cast(DictStore, north.ports.ledger).rows = cast(DictStore, other.ports.ledger).rows
        await ask(north, south)
        assert len((await north.controller.cosigning.view()).alarms) == 1

    run(scenario())


def test_strangers_and_nonsense_get_the_standards_answers() -> None:
    async def scenario() -> None:
        north, south = await made_friends()
        stranger = domain(3, "east.test")
        await stranger.writer.open()
        await stranger.grow(0, 3)
        head = await stranger.controller.journal.head()
        assert head is not None
        post = south.api.post
        assert (await post("/witness/add-checkpoint", content=b"old 0\n\n" + head.note)).status_code == 404
        assert (await post("/witness/add-checkpoint", content=b"nonsense")).status_code == 400
        await north.grow(0, 3)
        own = await north.controller.journal.head()
        assert own is not None
        conflict = await post("/witness/add-checkpoint", content=b"old 2\n\n" + own.note)
        assert (conflict.status_code, conflict.content) == (409, b"0\n")
        assert conflict.headers["content-type"].startswith("text/x.tlog.size")
        no_token = httpx.AsyncClient(transport=south.api._transport, base_url="https://south.test")
        assert (await no_token.put("/api/v1/witness/logs", json={"policy": ""})).status_code == 401
        assert (await no_token.get("/witness/" + "0" * 64 + "/checkpoint")).status_code == 404

    run(scenario())
