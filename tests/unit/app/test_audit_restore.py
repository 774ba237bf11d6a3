"""`hanse audit restore`: a damaged log is mended from a copy, whole or not at all, and never into another history."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ledger_kit import run

from hanse.adapters.clock import SystemClock
from hanse.adapters.disk_store import DiskStore
from hanse.adapters.domain_files import Domain, init_domain
from hanse.adapters.entropy import SystemEntropy
from hanse.app.cli import main
from hanse.app.layout import Layout
from hanse.control.journal import ORIGIN_SUFFIX
from hanse.control.ledger_writer import LedgerWriter
from hanse.ledger import path_of


async def grow(domain: Domain, root: Path, first: int, last: int, word: str = "entry") -> None:
    store = DiskStore(Layout(root).ledger, path_of=lambda _, key: path_of(key))
    writer = LedgerWriter(store, domain.ledger_signers, SystemClock(), domain.name + ORIGIN_SUFFIX)
    await writer.open()
    await writer.append([f"{word} {number}".encode() for number in range(first, last)])


@pytest.fixture
def domain(tmp_path: Path) -> Domain:
    """A stopped domain with 700 entries in its log, and a copy of the log as it was at 600."""
    made = init_domain(tmp_path / "state", "test.hanse", SystemClock().wall(), SystemEntropy())
    run(grow(made, tmp_path / "state", 0, 600))
    shutil.copytree(Layout(tmp_path / "state").ledger / "ledger", tmp_path / "copy")
    run(grow(made, tmp_path / "state", 600, 700))
    return made


def restore(tmp_path: Path, *more: str) -> int:
    return main(["audit", "restore", "--state", str(tmp_path / "state"), "--from", str(tmp_path / "copy"), *more])


def fsck(tmp_path: Path) -> int:
    return main(["audit", "fsck", "--state", str(tmp_path / "state")])


def ledger(tmp_path: Path) -> Path:
    return Layout(tmp_path / "state").ledger / "ledger"


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001"])
@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_a_damaged_file_comes_back_and_later_entries_stay(domain: Domain, tmp_path: Path, path: str, how: str) -> None:
    file = ledger(tmp_path) / path
    if how == "gone":
        file.unlink()
    else:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    assert fsck(tmp_path) == 1
    assert restore(tmp_path) == 0
    assert fsck(tmp_path) == 0
    # The log grows on from all it ever acknowledged.
    run(grow(domain, tmp_path / "state", 700, 710))
    assert (ledger(tmp_path) / "checkpoint").read_bytes().split(b"\n")[1] == b"710"


def test_a_whole_log_is_left_alone(domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(tmp_path, "--output", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"size": 700, "mended": [], "kept": None}


def test_what_no_copy_holds_is_not_made_up(domain: Domain, tmp_path: Path) -> None:
    """The right edge was written after the copy was taken."""
    (ledger(tmp_path) / "tile/entries/002.p/188").write_bytes(b"rot")
    before = sorted(path.name for path in ledger(tmp_path).rglob("*"))
    assert restore(tmp_path) == 1
    assert sorted(path.name for path in ledger(tmp_path).rglob("*")) == before


def test_going_back_to_the_copys_checkpoint_is_said_aloud(domain: Domain, tmp_path: Path) -> None:
    (ledger(tmp_path) / "checkpoint").unlink()
    assert restore(tmp_path) == 1
    assert not (ledger(tmp_path) / "checkpoint").exists()
    assert restore(tmp_path, "--forget-beyond") == 0
    assert fsck(tmp_path) == 0
    assert (ledger(tmp_path) / "checkpoint").read_bytes().split(b"\n")[1] == b"600"
    assert (ledger(tmp_path).parent / "ledger.damaged-1").is_dir()


def test_a_log_from_an_old_backup_catches_up_with_the_copy(domain: Domain, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "copy")
    shutil.copytree(ledger(tmp_path), tmp_path / "copy")
    shutil.rmtree(ledger(tmp_path))
    run(grow(domain, tmp_path / "state", 0, 300))
    assert restore(tmp_path) == 0
    assert (ledger(tmp_path) / "checkpoint").read_bytes().split(b"\n")[1] == b"700"
    assert fsck(tmp_path) == 0


def test_a_copy_of_another_history_is_not_mixed_in(domain: Domain, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run(grow(domain, other, 0, 900, word="rewritten"))
    shutil.rmtree(tmp_path / "copy")
    shutil.copytree(Layout(other).ledger / "ledger", tmp_path / "copy")
    (ledger(tmp_path) / "tile/entries/001").unlink()
    before = sorted(path.name for path in ledger(tmp_path).rglob("*"))
    assert restore(tmp_path) == 1
    assert sorted(path.name for path in ledger(tmp_path).rglob("*")) == before


def test_a_copy_that_another_domain_signed_is_refused(domain: Domain, tmp_path: Path) -> None:
    foreign = init_domain(tmp_path / "foreign", "test.hanse", SystemClock().wall(), SystemEntropy())
    run(grow(foreign, tmp_path / "foreign", 0, 900))
    shutil.rmtree(tmp_path / "copy")
    shutil.copytree(Layout(tmp_path / "foreign").ledger / "ledger", tmp_path / "copy")
    (ledger(tmp_path) / "tile/entries/001").unlink()
    assert restore(tmp_path) == 1
