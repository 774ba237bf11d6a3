"""A node witnesses its domain's log: it cosigns what extends, remembers across a crash, and a fork raises the alarm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import httpx
import pytest

from hanse.app.witnessing import ask_one
from hanse.control.controller import Controller
from hanse.core.errors import HanseError
from hanse.core.ids import NodeId
from hanse.core.time import US_PER_S
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import sign_checkpoint, verify_lines
from hanse.ledger.note import parse
from hanse.ledger.quorum import Accepted, Refused, judge, load_policy
from hanse.ledger.witness import Asked
from hanse.twin.domain import make_domain
from hanse.twin.faults import Crash, Partition, Restart
from hanse.twin.package import shipped_settings
from hanse.twin.run import play
from hanse.twin.scenarios import Scenario
from hanse.twin.stage import CART, Stage

SETTINGS = shipped_settings()
NO_HTTP = cast(httpx.AsyncClient, cast(Any, None))
"""Nodes are asked over the bus; a client that is touched fails the test."""
NODE = NodeId("n-0001")


def _play(plot: Callable[[Stage], Awaitable[None]]) -> None:
    play(Scenario(name="node-witness", about="", plot=plot), seed=1, settings=SETTINGS, nodes=4)


def _leader(stage: Stage) -> Controller:
    name = stage.fabric.leader()
    assert name is not None
    return stage.fabric.controllers[name]


async def _ask(stage: Stage) -> None:
    """What the leader's loop does each second."""
    controller = _leader(stage)
    for target in await controller.cosigning.cosigners.targets():
        await ask_one(controller, NO_HTTP, target)


async def _forged(stage: Stage, *, size: int, old: int) -> Asked:
    """A checkpoint under the log's own keys, of a history that never was."""
    keys = stage.fabric.domain
    checkpoint = Checkpoint(origin=keys.origin, size=size, root=b"\7" * 32)
    note = sign_checkpoint(checkpoint, keys.ledger, stage.fabric.world.wall(NODE))
    return Asked(old=old, proof=(), note=note)


def test_it_cosigns_and_the_domains_policy_demands_it_across_crashes_of_both() -> None:
    async def plot(stage: Stage) -> None:
        await stage.open()
        vkey = await _leader(stage).node_witnesses.add(NODE)
        policy = load_policy(await _leader(stage).cosigning.policy_text())
        bare = await _leader(stage).journal.checkpoint()
        assert isinstance(judge(policy, bare, stage.fabric.world.wall(NODE)), Refused)
        await _ask(stage)
        cosigned = await _leader(stage).journal.cosigned()
        assert cosigned is not None
        assert isinstance(judge(policy, cosigned.note, stage.fabric.world.wall(NODE)), Accepted)
        for machine in (NODE, str(stage.fabric.leader())):
            stage.inject(Crash(at_us=stage.now_us, machine=machine))
            stage.inject(Restart(at_us=stage.now_us + US_PER_S, machine=machine))
        await stage.until("the leader is back", lambda: stage.fabric.leader() is not None, within_s=30)
        await stage.converge(within_s=60)
        await stage.deploy(CART, version=2)
        await stage.converge(within_s=30)
        await _ask(stage)
        later = await _leader(stage).journal.cosigned()
        assert later is not None
        assert later.checkpoint.size > cosigned.checkpoint.size
        assert isinstance(judge(policy, later.note, stage.fabric.world.wall(NODE)), Accepted)
        assert vkey in (await _leader(stage).cosigning.policy_text()).decode(), "the key is the one that was pinned"

    _play(plot)


def test_never_does_it_cosign_a_fork_and_the_alarm_stands() -> None:
    async def plot(stage: Stage) -> None:
        await stage.open()
        await _leader(stage).node_witnesses.add(NODE)
        await _ask(stage)
        cosigned = await _leader(stage).journal.cosigned()
        assert cosigned is not None
        size = cosigned.checkpoint.size
        (target,) = await _leader(stage).cosigning.cosigners.targets()
        for forged in (
            await _forged(stage, size=size, old=size),
            await _forged(stage, size=size + 5, old=size),
        ):
            status, body = await _leader(stage).node_witnesses.ask(NODE, forged)
            assert status == 422
            assert not await _leader(stage).cosigning.take(target, forged, status, body)
        alarms = (await _leader(stage).cosigning.view()).alarms
        assert [alarm.url for alarm in alarms] == [f"node://{NODE}"]
        assert "another history of this log" in alarms[0].reason
        kept = b"".join(entry.value or b"" for entry in stage.fabric.world.disk(NODE).entries("witness", ""))
        assert b'"split":"' in kept
        assert parse(cosigned.note).text.splitlines()[1].encode() in kept
        # Another size than it knows: told as the standard tells it, and no alarm.
        told = await _leader(stage).node_witnesses.ask(NODE, await _forged(stage, size=size + 9, old=3))
        assert told == (409, f"{size}\n".encode())

    _play(plot)


def test_other_keys_for_the_same_log_are_refused() -> None:
    """Whoever got hold of the controller's key, but not of the ledger's, cannot begin a log of the same name."""

    async def plot(stage: Stage) -> None:
        await stage.open()
        controller = _leader(stage)
        await controller.node_witnesses.add(NODE)
        await _ask(stage)
        strange = make_domain(99, stage.fabric.domain.name, stage.fabric.settings.start)
        checkpoint = Checkpoint(origin=strange.origin, size=900, root=b"\1" * 32)
        note = sign_checkpoint(checkpoint, strange.ledger, stage.fabric.world.wall(NODE))
        status, _ = await controller.node_witnesses.ask(NODE, Asked(old=0, proof=(), note=note))
        assert status == 403, "with the right policy, but not under its keys"
        text = (await controller.cosigning.policy_text()).decode()
        for mine, theirs in zip(stage.fabric.domain.ledger_keys, strange.ledger_keys, strict=True):
            text = text.replace(mine.vkey, theirs.vkey)
        witness = stage.fabric.agents[NODE]._witness
        from hanse.wire.messages import WitnessRequest

        body = Asked(old=0, proof=(), note=note).encode()
        status, said = await witness.answer(WitnessRequest(log=text, body=body))
        assert status == 403
        assert b"not those that this node saw first" in said
        status, _ = await witness.answer(WitnessRequest(log=text, body=b"nonsense"))
        assert status == 400

    _play(plot)


def test_a_node_that_is_cut_off_holds_nothing_up_and_is_not_added_twice() -> None:
    async def plot(stage: Stage) -> None:
        await stage.open()
        controller = _leader(stage)
        await controller.node_witnesses.add(NODE)
        with pytest.raises(HanseError) as twice:
            await controller.node_witnesses.add(NODE)
        assert twice.value.code == "witness.bad_policy"
        with pytest.raises(HanseError) as unknown:
            await controller.node_witnesses.add(NodeId("n-9999"))
        assert unknown.value.code == "witness.bad_policy"
        stage.inject(Partition(at_us=stage.now_us, until_us=stage.now_us + 20 * US_PER_S, machine=NODE))
        with pytest.raises(HanseError):
            await _ask(stage)
        assert await controller.journal.cosigned() is None
        await stage.until("the link is back", lambda: stage.fabric.world.is_wired(NODE), within_s=30)
        await stage.converge(within_s=30)
        await _ask(stage)
        cosigned = await controller.journal.cosigned()
        assert cosigned is not None
        keys = [key for target in await controller.cosigning.cosigners.targets() for key in target.keys]
        assert verify_lines(parse(cosigned.note), keys)
        assert parse_checkpoint(parse(cosigned.note).text).size == cosigned.checkpoint.size

    _play(plot)
