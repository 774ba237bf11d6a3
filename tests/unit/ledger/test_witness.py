"""Witnessing: every answer of tlog-witness, and never two histories from one witness."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_kit import LOG_KEYS, LOG_SIGNERS, NOW, ORIGIN, STRANGER

from hanse.ledger import LedgerFormatError, tree
from hanse.ledger.checkpoint import Checkpoint
from hanse.ledger.cosignature import sign_checkpoint
from hanse.ledger.witness import Asked, Declined, Granted, judge_request, parse_request


def leaves(count: int, *, fork_at: int | None = None) -> list[bytes]:
    return [
        tree.hash_leaf(b"%d%s" % (number, b"x" if fork_at is not None and number >= fork_at else b""))
        for number in range(count)
    ]


def checkpoint(hashes: list[bytes]) -> Checkpoint:
    return Checkpoint(origin=ORIGIN, size=len(hashes), root=tree.root_of(hashes))


def consistency(hashes: list[bytes], old: int) -> tuple[bytes, ...]:
    def read(level: int, index: int) -> bytes:
        return tree.root_of(hashes[index << level : (index + 1) << level])

    return tuple(tree.range_hash(read, span) for span in tree.consistency_ranges(old, len(hashes)))


def asked(hashes: list[bytes], old: int, *, proof: tuple[bytes, ...] | None = None) -> Asked:
    note = sign_checkpoint(checkpoint(hashes), LOG_SIGNERS, NOW)
    if proof is None:
        proof = consistency(hashes, old) if 0 < old < len(hashes) else ()
    return Asked(old=old, proof=proof, note=note)


def declined(request: Asked, held: Checkpoint | None) -> tuple[int, int | None, bool]:
    verdict = judge_request(request, LOG_KEYS, held)
    assert isinstance(verdict, Declined)
    return verdict.status, verdict.size, verdict.is_split


def test_a_request_is_read_back() -> None:
    request = asked(leaves(300), 100)
    assert parse_request(request.encode()) == request
    assert request.encode().startswith(b"old 100\n")


@pytest.mark.parametrize(
    "body",
    [b"", b"old 1\n", b"old 01\n\nx", b"old -1\n\nx", b"new 1\n\nx", b"old 1\nAAAA\n\nx", b"old 1\n\xff\n\nx",
     b"old 1\n" + b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" * 64 + b"\nx"],
)  # fmt: skip
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(LedgerFormatError):
        parse_request(body)


def test_growth_is_granted_from_nothing_and_from_what_was_held() -> None:
    assert judge_request(asked(leaves(3), 0), LOG_KEYS, None) == Granted(checkpoint=checkpoint(leaves(3)))
    assert judge_request(asked(leaves(9), 3), LOG_KEYS, checkpoint(leaves(3))) == Granted(
        checkpoint=checkpoint(leaves(9))
    )
    assert isinstance(judge_request(asked(leaves(9), 9), LOG_KEYS, checkpoint(leaves(9))), Granted)
    empty = checkpoint([])
    assert isinstance(judge_request(asked(leaves(9), 0), LOG_KEYS, empty), Granted)


def test_every_no_of_the_standard() -> None:
    held = checkpoint(leaves(5))
    assert declined(asked(leaves(9), 3), held) == (409, 5, False)
    assert declined(asked(leaves(9), 10), held) == (400, None, False)
    assert declined(asked(leaves(9), 5, proof=()), held) == (422, None, True)
    assert declined(asked(leaves(3), 0, proof=(bytes(32),)), None) == (422, None, False)
    stranger = Asked(old=5, proof=(), note=sign_checkpoint(checkpoint(leaves(9)), (STRANGER,), NOW))
    assert declined(stranger, held)[0] == 403
    only_one = Asked(old=5, proof=(), note=sign_checkpoint(checkpoint(leaves(9)), LOG_SIGNERS[:1], NOW))
    assert declined(only_one, held)[0] == 403
    assert declined(Asked(old=5, proof=(), note=b"nonsense"), held)[0] == 400


def test_a_fork_is_told_from_growth_at_equal_size_and_beyond() -> None:
    held = checkpoint(leaves(5))
    assert declined(asked(leaves(5, fork_at=2), 5), held) == (422, None, True)
    assert declined(asked(leaves(9, fork_at=2), 5), held) == (422, None, True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40) | st.none(), st.integers(0, 40)), max_size=8))
def test_a_witness_never_cosigns_two_histories(steps: list[tuple[int, int | None, int]]) -> None:
    """Whatever is shown to it in whatever order, what it granted is one growing log."""
    held: Checkpoint | None = None
    history: list[bytes] = []
    for size, fork_at, old in steps:
        shown = leaves(size, fork_at=fork_at)
        verdict = judge_request(asked(shown, min(old, size)), LOG_KEYS, held)
        if isinstance(verdict, Granted):
            assert shown[: len(history)] == history
            held, history = verdict.checkpoint, shown
