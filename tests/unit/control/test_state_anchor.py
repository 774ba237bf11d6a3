"""The store's state anchored in the ledger: loss, rollback and rot are named, deliberate change is none of them."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from ledger_kit import CONTROLLER, LOG_SIGNERS, DictStore, FixedClock, run

from hanse.adapters.package_data import read_packs
from hanse.control import ControlConfig
from hanse.control.journal import Journal
from hanse.control.state_anchor import KEPT_FOR_EVER, StateAnchor, StateFinding, compare
from hanse.core.errors import BlobError
from hanse.core.ids import ControllerId, Digest
from hanse.core.ports import ControlPorts
from hanse.ledger import peek_statement
from hanse.ledger.predicates import StateDigest
from hanse.ledger.statement import state_root
from hanse.wire import canonical
from hanse.wire.messages import StateBody, StateRow
from hanse.wire.subjects import NODES, ORDERS, SPECS


class DictBlobs:
    """Blobs by digest."""

    def __init__(self) -> None:
        self.held: dict[Digest, bytes] = {}

    async def put(self, data: bytes) -> Digest:
        digest = canonical.digest_bytes(data)
        self.held[digest] = data
        return digest

    async def get(self, digest: Digest) -> bytes:
        if digest not in self.held:
            raise BlobError(f"no {digest}")
        return self.held[digest]


def made() -> tuple[ControlPorts, Journal, StateAnchor]:
    ports = ControlPorts(
        clock=FixedClock(),
        entropy=cast(Any, None),
        bus=cast(Any, None),
        store=DictStore(),
        blobs=cast(Any, DictBlobs()),
        ledger=DictStore(),
        signer=CONTROLLER,
        ledger_signers=LOG_SIGNERS,
        witness_signers=(),
        mirror_signers=(),
    )
    config = ControlConfig(id=ControllerId("c1"), domain="hanse.example", api_url="", nats_urls=(), packs=read_packs())
    journal = Journal(ports, config)
    return ports, journal, StateAnchor(ports, journal)


def test_loss_rollback_and_rot_are_found_and_named() -> None:
    async def scenario() -> None:
        ports, journal, anchor = made()
        await journal.open()
        store = cast(DictStore, ports.store)
        for bucket, key in ((NODES, "a"), (NODES, "b"), (NODES, "c"), (ORDERS, "a.1"), (SPECS, "function.x")):
            await store.put(bucket, key, key.encode())
        assert (await anchor.anchor()).anchored_us is None
        whole = await anchor.check()
        assert (whole.keys, whole.findings) == (5, ())
        # On purpose: an order goes, a spec changes, a node comes.
        await store.delete(ORDERS, "a.1")
        await store.put(SPECS, "function.x", b"new")
        await store.put(NODES, "d", b"d")
        assert (await anchor.check()).findings == ()
        assert (await anchor.anchor()).findings == ()
        # By itself:
        kept = dict(store.rows)
        store.rows[NODES, "a"] = (b"A", store.rows[NODES, "a"][1])
        store.rows[SPECS, "function.x"] = (b"function.x", 5)
        del store.rows[NODES, "b"]
        found = (await anchor.anchor()).findings
        assert found == (
            StateFinding(bucket=NODES, key="a", message="holds other bytes under the same revision 1"),
            StateFinding(bucket=NODES, key="b", message="is lost: nothing ever deletes it"),
            StateFinding(bucket=SPECS, key="function.x", message="went back from revision 6 to 5"),
        )
        # The last good anchor stays the measure, also for the next leader.
        again = Journal(
            ports, ControlConfig(id=ControllerId("c2"), domain="hanse.example", api_url="", nats_urls=(), packs={})
        )
        assert (await StateAnchor(ports, again).check()).findings == found
        store.rows = kept
        assert (await StateAnchor(ports, again).check()).findings == ()

    run(scenario())


def test_the_ledger_holds_roots_and_the_digest_of_the_body() -> None:
    async def scenario() -> None:
        ports, journal, anchor = made()
        await journal.open()
        await ports.store.put(NODES, "a", b"value")
        await anchor.anchor()
        last = await journal.last_state()
        assert last is not None
        body = canonical.decode(await ports.blobs.get(last.body), StateBody)
        assert last.buckets == {bucket: state_root(rows) for bucket, rows in body.buckets.items()}
        assert last.entries[NODES] == 1
        size = journal.size
        await anchor.anchor()
        assert journal.size == size, "a state that did not change is not anchored again"
        head = await journal.head()
        assert head is not None
        assert isinstance(peek_statement(await journal._reader.entry(0, 1)).predicate, StateDigest)

    run(scenario())


ROWS = st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(1, 3), st.sampled_from("xy")), max_size=4)


def body(rows: dict[str, tuple[int, str]], bucket: str) -> StateBody:
    found = [StateRow(k, revision, canonical.digest_bytes(v.encode())) for k, (revision, v) in sorted(rows.items())]
    return StateBody(buckets={bucket: tuple(found)})


@given(ROWS, ROWS, st.sampled_from([NODES, ORDERS]))
def test_never_a_finding_where_revisions_only_grew_and_never_none_where_they_did_not(
    before: dict[str, tuple[int, str]], after: dict[str, tuple[int, str]], bucket: str
) -> None:
    found = {one.key for one in compare(body(before, bucket), body(after, bucket))}
    for key, (revision, value) in before.items():
        if key not in after:
            assert (key in found) == (bucket in KEPT_FOR_EVER)
        else:
            is_sound = after[key][0] > revision or after[key] == (revision, value)
            assert (key in found) != is_sound
