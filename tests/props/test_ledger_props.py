"""Properties of the ledger: only true proofs hold, no foreign bytes crash a parser, no byte of a receipt is idle."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ledger_kit import NOW, policy, policy_bytes, sample, story

from hanse.core.errors import HanseError
from hanse.ledger import Verified, describe_receipt, verify_receipt
from hanse.ledger.checkpoint import parse_checkpoint
from hanse.ledger.edge import Edge, grow, leaf_of
from hanse.ledger.errors import ProofError
from hanse.ledger.note import parse, parse_vkey
from hanse.ledger.proof import parse_proof
from hanse.ledger.quorum import load_policy
from hanse.ledger.statement import peek_statement
from hanse.ledger.tiles import (
    TileName,
    decode_bundle,
    encode_bundle,
    key_of,
    node_in,
    parse_path,
    path_of,
    tile_of_node,
)
from hanse.ledger.tree import (
    consistency_proof,
    hash_leaf,
    inclusion_proof,
    reader_of,
    root,
    root_of,
    verify_consistency,
    verify_inclusion,
)

SAMPLE = sample()
POLICY = policy()
SLICES = 16


@pytest.mark.parametrize("part", range(SLICES))
def test_every_flipped_byte_of_a_receipt_is_caught_and_named(part: int) -> None:
    """For each byte the lowest bit (keeps text text) and the case bit (keeps JSON and base64 well formed)."""
    for at in range(part, len(SAMPLE), SLICES):
        for bit in (0x01, 0x20):
            flipped = bytearray(SAMPLE)
            flipped[at] ^= bit
            verdict = verify_receipt(bytes(flipped), POLICY, NOW)
            assert not isinstance(verdict, Verified), (at, bit, SAMPLE[max(at - 20, 0) : at + 20])
            assert verdict
            assert all(problem.message for problem in verdict)


@pytest.mark.parametrize("part", range(4))
def test_every_flipped_byte_of_the_checkpoint_is_caught_in_all_copies_at_once(part: int) -> None:
    """The comparison of the copies is not what protects the checkpoint: its signatures are."""
    record = json.loads(SAMPLE)
    note = parse_proof(record["order"]["proof"].encode()).checkpoint
    for at in range(part, len(note), 4):
        changed = bytearray(note)
        changed[at] ^= 0x01
        copy = json.loads(SAMPLE)
        try:
            for name in ("decision", "order", "report"):
                copy[name]["proof"] = copy[name]["proof"].replace(note.decode(), changed.decode())
        except UnicodeDecodeError:
            continue
        data = (json.dumps(copy, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
        verdict = verify_receipt(data, POLICY, NOW)
        assert not isinstance(verdict, Verified), note[max(at - 20, 0) : at + 20]
        assert {problem.part for problem in verdict} == {"checkpoint"}


@settings(deadline=None)
@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255))
def test_no_single_byte_may_become_any_other(at: int, byte: int) -> None:
    changed = bytearray(SAMPLE)
    changed[at] = byte
    verdict = verify_receipt(bytes(changed), POLICY, NOW)
    assert isinstance(verdict, Verified) is (bytes(changed) == SAMPLE)


@settings(deadline=None)
@given(st.integers(0, len(SAMPLE)), st.integers(0, 40), st.binary(max_size=40))
def test_no_cut_and_no_splice_passes(at: int, removed: int, inserted: bytes) -> None:
    changed = SAMPLE[:at] + inserted + SAMPLE[at + removed :]
    assert isinstance(verify_receipt(changed, POLICY, NOW), Verified) is (changed == SAMPLE)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 600), st.data())
def test_every_entry_is_proved_and_nothing_else_is(size: int, data: st.DataObject) -> None:
    leaves = [hash_leaf(b"%d" % at) for at in range(size)]
    read, top = reader_of(leaves), root_of(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(read, index, size)
    verify_inclusion(index, size, leaves[index], proof, top)
    other = data.draw(st.integers(0, size).filter(lambda at: at != index))
    with pytest.raises(ProofError):
        verify_inclusion(other, size, leaves[index], proof, top)
    with pytest.raises(ProofError):
        verify_inclusion(index, size, hash_leaf(b"not logged"), proof, top)
    with pytest.raises(ProofError):
        verify_inclusion(index, size, leaves[index], (*proof, leaves[0]), top)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 600), st.data())
def test_every_prefix_is_consistent_and_a_rewritten_one_never_is(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    leaves = [hash_leaf(b"%d" % at) for at in range(size)]
    read = reader_of(leaves)
    proof = consistency_proof(read, old, size)
    verify_consistency(old, size, proof, root(read, old), root(read, size))
    rewritten = list(leaves)
    rewritten[data.draw(st.integers(0, old - 1))] = hash_leaf(b"rewritten")
    with pytest.raises(ProofError):
        verify_consistency(
            old, size, consistency_proof(reader_of(rewritten), old, size), root(read, old), root_of(rewritten)
        )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=6))
def test_growing_in_any_batches_gives_the_same_tree(batches: list[int]) -> None:
    entries = [b"%d" % at for at in range(sum(batches))]
    edge, files, at = Edge(), {}, 0
    for batch in batches:
        growth = grow(edge, [leaf_of(entry) for entry in entries[at : at + batch]])
        edge, at = growth.edge, at + batch
        files.update(growth.files)
    hashes = [hash_leaf(entry) for entry in entries]
    assert edge.root == root_of(hashes)
    assert edge == grow(Edge(), [leaf_of(entry) for entry in entries]).edge

    def read(level: int, index: int) -> bytes:
        return node_in(files[tile_of_node((level, index), edge.size)], (level, index))

    index = len(entries) // 2
    verify_inclusion(index, edge.size, hashes[index], inclusion_proof(read, index, edge.size), edge.root)


tile_names = st.builds(
    TileName,
    level=st.one_of(st.none(), st.integers(0, 63)),
    index=st.integers(0, 10**12),
    width=st.integers(1, 256),
)


@given(tile_names)
def test_tile_names_paths_and_keys_are_one_to_one(name: TileName) -> None:
    assert parse_path(name.path) == name
    assert path_of(name.key) == name.path
    assert key_of(path_of(name.key)) == name.key
    assert len(name.key) <= 255


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_bundles_survive_the_round_trip(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries), len(entries)) == tuple(entries)


def _text(parser: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parser(data.decode(errors="replace"))


PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "note": (parse, parse_proof(json.loads(SAMPLE)["order"]["proof"].encode()).checkpoint),
    "proof": (parse_proof, json.loads(SAMPLE)["order"]["proof"].encode()),
    "policy": (load_policy, policy_bytes()),
    "entry": (peek_statement, story()[2]),
    "receipt": (describe_receipt, SAMPLE),
    "bundle": (lambda data: decode_bundle(data, 3), encode_bundle(story())),
    "checkpoint": (_text(parse_checkpoint), b"example.com/log\n5\n" + b"A" * 43 + b"=\n"),
    "vkey": (_text(parse_vkey), b"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"),
    "path": (_text(parse_path), b"tile/0/x001/067.p/112"),
}


@pytest.mark.parametrize("kind", sorted(PARSERS))
@settings(deadline=None)
@given(noise=st.binary(max_size=300), at=st.integers(0, 20_000), removed=st.integers(0, 200))
@example(noise=b"\\ud800", at=40, removed=0)
@example(noise=b"[" * 200, at=0, removed=0)
def test_foreign_bytes_are_refused_in_words_never_by_a_crash(kind: str, noise: bytes, at: int, removed: int) -> None:
    parser, good = PARSERS[kind]
    parser(good)
    at %= len(good) + 1
    for data in (noise, good[:at] + noise + good[at + removed :]):
        try:
            parser(data)
        except HanseError as error:
            assert error.message


@settings(deadline=None)
@given(st.binary(max_size=400))
@example(b'{"type":"placement-receipt.v1"}')
def test_the_verifier_answers_for_any_bytes(data: bytes) -> None:
    assert not isinstance(verify_receipt(data, POLICY, NOW), Verified)
