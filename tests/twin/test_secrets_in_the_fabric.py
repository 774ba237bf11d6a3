"""Secrets in a whole fabric: released by policy, held in memory for a lease, rotated, taken back, never seen elsewhere.

The plots stand here and not among the scenarios of the twin: HPKE draws its own randomness, so their traces differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog

from hanse.control.controller import Controller
from hanse.control.secrets import SecretVerbs, SecretView
from hanse.core.errors import HanseError
from hanse.core.ids import NodeId, SecretId, WorkloadId
from hanse.core.time import US_PER_S
from hanse.identity import seal_to
from hanse.identity.sealing import info_for_domain
from hanse.ledger import peek_statement
from hanse.ledger.predicates import SecretRead
from hanse.twin.faults import Crash, Partition, Restart
from hanse.twin.generate import component_of
from hanse.twin.package import shipped_settings
from hanse.twin.run import play
from hanse.twin.scenarios import Scenario
from hanse.twin.stage import Stage

SETTINGS = shipped_settings()
SECRET, WORK = SecretId("twin.ledger-db"), WorkloadId("twin.books")
PLAINTEXT = "correct-horse-battery-staple"
ROTATED = "another-plaintext-that-must-not-show"
MANIFESTS = """\
apiVersion: hanse.dev/v1
kind: Secret
metadata: {name: ledger-db, namespace: twin}
spec:
  about: Opens the books.
  lease: %(lease)s
%(more)s
---
apiVersion: hanse.dev/v1
kind: Function
metadata: {name: books, namespace: twin}
spec:
  source: ./books.py
  route: {path: /books}
  resources: {memory: 64Mi, cpu: 50m}
  replicas: %(replicas)s
  secrets: {DB_PASSWORD: ledger-db}
%(work)s
"""

Plot = Callable[[Stage], Awaitable[None]]


def _play(plot: Plot, *, seed: int = 1, nodes: int = 5) -> None:
    play(Scenario(name="secrets", about="", plot=plot), seed=seed, settings=SETTINGS, nodes=nodes)


def _leader(stage: Stage) -> Controller:
    name = stage.fabric.leader()
    assert name is not None
    return stage.fabric.controllers[name]


def _verbs(stage: Stage) -> SecretVerbs:
    name = stage.fabric.leader()
    assert name is not None
    fabric = stage.fabric
    return SecretVerbs(fabric.controllers[name], fabric._services[name], fabric._control_ports[name])


async def _open(stage: Stage, *, lease: str = "1h", more: str = "", work: str = "", replicas: int = 1) -> None:
    await stage.open(())
    text = MANIFESTS % {"lease": lease, "more": more, "work": work, "replicas": replicas}
    await stage.fabric.deploy(text, {WORK: component_of("books")})


async def _set(stage: Stage, value: str) -> SecretView:
    """As `hanse secret set` does it: sealed by the client."""
    verbs = _verbs(stage)
    at = verbs.sealing(SECRET)
    public = _leader(stage).authority.sealing.public
    sealed = seal_to(public, value.encode(), info_for_domain(at.domain, SECRET, at.next_version))
    return await verbs.put(SECRET, at.next_version, sealed, user="ada")


def _told(stage: Stage) -> dict[NodeId, str]:
    """What the running work sees, by node."""
    return {
        node: runtime.told[WORK]["DB_PASSWORD"]
        for node, runtime in sorted(stage.fabric.runtimes.items())
        if WORK in runtime.told
    }


def _entries(stage: Stage) -> list[bytes]:
    return stage.ledger._entries(0, stage.ledger.size, stage.fabric.world)


def _reads(stage: Stage) -> list[SecretRead]:
    predicates = [peek_statement(entry).predicate for entry in _entries(stage)]
    return [one for one in predicates if isinstance(one, SecretRead)]


async def _serves(stage: Stage, value: str, within_s: float = 30) -> None:
    await stage.until(f"the work is told {value[:7]}", lambda: value in _told(stage).values(), within_s=within_s)


def _everything_written(stage: Stage) -> bytes:
    """Every byte of the substrate, of the ledger and of every node's disk."""
    world = stage.fabric.world
    stores = [world.kv, world.ledger, *(world.disk(node) for node in stage.fabric.node_ids)]
    return b"".join(
        entry.value or b""
        for store in stores
        for bucket in sorted(store._buckets)
        for entry in store.entries(bucket, "")
    )


def test_work_gets_its_secret_and_nobody_else_sees_it(capsys: pytest.CaptureFixture[str]) -> None:
    async def plot(stage: Stage) -> None:
        await _open(stage)
        await asyncio.sleep(10)
        assert not _told(stage), "without a value it does not run"
        with structlog.testing.capture_logs() as lines:
            view = await _set(stage, PLAINTEXT)
            await _serves(stage, PLAINTEXT)
            await _set(stage, ROTATED)
            await _serves(stage, ROTATED, within_s=10)
        assert view.version == 1
        (node,) = _told(stage)
        shown = _verbs(stage).view(SECRET)
        assert [(holder.node, holder.versions) for holder in shown.holders] == [(node, (1, 2))]
        await stage.until("both releases are in the ledger", lambda: len(_reads(stage)) >= 2, within_s=10)
        read = _reads(stage)[0]
        assert (read.node, read.version, read.is_released, read.rules) == (node, 1, True, ("base.read-own",))
        written = _everything_written(stage) + repr((lines, shown)).encode()
        assert b"ledger-db" in written, "the search looks at the right bytes"
        for value in (PLAINTEXT, ROTATED):
            for form in (value.encode(), value.encode().hex().encode(), _base64(value)):
                assert form not in written

    _play(plot)
    assert PLAINTEXT not in capsys.readouterr().out


def _base64(value: str) -> bytes:
    import base64

    return base64.b64encode(value.encode())[:24]


def test_a_node_that_is_cut_off_keeps_it_until_the_lease_ends_then_stops() -> None:
    async def plot(stage: Stage) -> None:
        await _open(stage, lease="2m")
        await _set(stage, PLAINTEXT)
        await _serves(stage, PLAINTEXT)
        (node,) = _told(stage)
        began = stage.now_us
        stage.inject(Partition(at_us=began, until_us=began + 400 * US_PER_S, machine=node))
        await asyncio.sleep(50)
        assert node in _told(stage), "within the lease it serves in the dark"
        await stage.until("the lease has ended and the work with it", lambda: node not in _told(stage), within_s=130)
        await stage.until("the link is back", lambda: stage.fabric.world.is_wired(node), within_s=400)
        await stage.converge(within_s=30)
        assert set(_told(stage).values()) == {PLAINTEXT}

    _play(plot)


def test_a_node_and_a_controller_that_start_again_ask_and_answer_again() -> None:
    async def plot(stage: Stage) -> None:
        await _open(stage)
        await _set(stage, PLAINTEXT)
        await _serves(stage, PLAINTEXT)
        (node,) = _told(stage)
        leader = stage.fabric.leader()
        assert leader is not None
        for machine in (leader, node):
            stage.inject(Crash(at_us=stage.now_us, machine=machine))
            stage.inject(Restart(at_us=stage.now_us + US_PER_S, machine=machine))
        await asyncio.sleep(2)
        await _serves(stage, PLAINTEXT)
        await stage.converge(within_s=60)
        assert set(_told(stage).values()) == {PLAINTEXT}

    _play(plot)


def test_a_revoked_node_gets_nothing_more_and_what_it_was_told_is_exposed() -> None:
    async def plot(stage: Stage) -> None:
        await _open(stage)
        await _set(stage, PLAINTEXT)
        await _serves(stage, PLAINTEXT)
        (node,) = _told(stage)
        name = stage.fabric.leader()
        assert name is not None
        await stage.fabric._services[name].revoke(node, user="ada")
        await stage.until("the work has moved", lambda: set(_told(stage)) - {node} != set(), within_s=30)
        await stage.until("the node let go of it", lambda: node not in _told(stage), within_s=10)
        view = _verbs(stage).view(SECRET)
        assert [holder.node for holder in view.holders if holder.is_exposed] == [node]
        assert f"{node} was told it and is revoked" in view.advice
        assert f"hanse secret rotate {SECRET}" in view.advice
        await _set(stage, ROTATED)
        await _serves(stage, ROTATED)
        assert not any(holder.is_exposed for holder in _verbs(stage).view(SECRET).holders)
        assert not any(read.node == node and read.version == 2 for read in _reads(stage))

    _play(plot)


def test_where_the_secret_may_not_be_sent_the_work_does_not_stay() -> None:
    """The work itself may run anywhere; its secret says Germany only. The planner learns it from the refusals."""

    async def plot(stage: Stage) -> None:
        await _open(stage, more="  sovereignty: {location: {only: [DE]}}")
        await _set(stage, PLAINTEXT)
        await _serves(stage, PLAINTEXT, within_s=120)
        fabric = _leader(stage).state.fabric()
        assert {fabric.sites[fabric.nodes[node].site].country for node in _told(stage)} == {"DE"}
        for read in _reads(stage):
            country = fabric.sites[fabric.nodes[read.node].site].country
            assert read.is_released == (country == "DE")
            assert read.is_released or "location" in read.reason

    _play(plot)


def test_a_reader_that_is_not_named_is_refused_with_the_remedy_and_it_is_said_once() -> None:
    async def plot(stage: Stage) -> None:
        await _open(stage, more="  readers: [twin.other]")
        await _set(stage, PLAINTEXT)
        await asyncio.sleep(60)
        assert not _told(stage)
        reads = _reads(stage)
        assert reads
        assert not any(read.is_released for read in reads)
        assert all("name the workload in `readers`" in read.reason for read in reads)
        assert len(reads) == len({read.node for read in reads}), "asking again is no news"

    _play(plot)


def test_a_secret_in_use_cannot_be_deleted_and_an_undeclared_one_cannot_be_used() -> None:
    async def plot(stage: Stage) -> None:
        await _open(stage)
        await _set(stage, PLAINTEXT)
        await _serves(stage, PLAINTEXT)
        verbs = _verbs(stage)
        with pytest.raises(HanseError) as refused:
            await verbs.delete(SECRET, user="ada")
        assert refused.value.code == "spec.in_use"
        with pytest.raises(HanseError) as stale:
            await verbs.put(SECRET, 1, b"", user="ada")
        assert stale.value.code == "store.conflict"
        with pytest.raises(HanseError) as damaged:
            await verbs.put(SECRET, 2, b"\0" * 2_000, user="ada")
        assert damaged.value.code == "secret.unreadable"
        await stage.fabric.delete(WORK)
        await stage.until("the work is gone", lambda: not _told(stage), within_s=30)
        await verbs.delete(SECRET, user="ada")
        assert stage.fabric.world.kv.get("secrets", SECRET) is None or not _alive(stage)
        work = MANIFESTS.partition("---\n")[2] % {"replicas": 1, "work": ""}
        with pytest.raises(HanseError) as unknown:
            await stage.fabric.deploy(work, {WORK: component_of("books")})
        assert unknown.value.code == "secret.undeclared"

    _play(plot)


def _alive(stage: Stage) -> bool:
    entry: Any = stage.fabric.world.kv.get("secrets", SECRET)
    return entry is not None and entry.value is not None


def test_never_does_another_node_open_what_was_released_to_one() -> None:
    """The answer on the bus, kept by whoever listens: only the key in the node's memory opens it."""
    from hanse.identity import SealingError, sealing_key
    from hanse.identity.sealing import info_for_node

    async def plot(stage: Stage) -> None:
        await _open(stage)
        await _set(stage, PLAINTEXT)
        await _serves(stage, PLAINTEXT)
        (node,) = _told(stage)
        keeper = stage.fabric.agents[node]._secrets
        assert keeper._key is not None
        authority = _leader(stage).authority
        info = info_for_node(authority.domain, node, SECRET, 1, keeper._held[WORK, SECRET].until_us)
        sealed = seal_to(keeper._key[1].public, b"v", info)
        assert keeper._key[1].open(sealed, info) == b"v"
        with pytest.raises(SealingError):
            sealing_key(bytes(96)).open(sealed, info)
        with pytest.raises(SealingError):
            authority.sealing.open(sealed, info)

    _play(plot)
