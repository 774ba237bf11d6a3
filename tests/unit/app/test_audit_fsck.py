"""`hanse audit fsck`: a log on disk is checked with no fabric, damage is named, and nothing is touched."""

from __future__ import annotations

import hashlib
import json
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
from hanse.ledger import log_key, path_of, policy_text

ENTRIES = 700


@pytest.fixture
def domain(tmp_path: Path) -> Domain:
    """A stopped domain whose ledger holds `ENTRIES` entries: two full tiles and a partial one."""
    made = init_domain(tmp_path, "test.hanse", SystemClock().wall(), SystemEntropy())
    store = DiskStore(Layout(tmp_path).ledger, path_of=lambda _, key: path_of(key))

    async def fill() -> None:
        writer = LedgerWriter(store, made.ledger_signers, SystemClock(), made.name + ORIGIN_SUFFIX)
        await writer.open()
        await writer.append([b"entry %d" % number for number in range(ENTRIES)])

    run(fill())
    return made


def _files(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_a_whole_log_holds_and_is_left_as_it_was(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _files(Layout(tmp_path).ledger)
    assert main(["audit", "fsck", "--state", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == f"{ENTRIES} entries: all files hold"
    assert _files(Layout(tmp_path).ledger) == before


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/001", "tile/entries/001", "tile/entries/002.p/188"])
def test_one_flipped_byte_is_found_and_its_file_named(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    file = Layout(tmp_path).ledger / "ledger" / path
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert main(["audit", "fsck", "--state", str(tmp_path), "-o", "json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [finding["path"] for finding in findings] == [path], findings


def test_a_missing_file_is_named(domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (Layout(tmp_path).ledger / "ledger" / "tile/entries/000").unlink()
    assert main(["audit", "fsck", "--state", str(tmp_path)]) == 1
    assert "tile/entries/000: the file is missing" in capsys.readouterr().out


def test_a_copy_is_checked_by_a_policy_alone(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origin = domain.name + ORIGIN_SUFFIX
    keys = [log_key(origin, signer.algorithm, signer.public_key) for signer in domain.ledger_signers]
    policy = tmp_path / "ledger.policy"
    policy.write_bytes(policy_text(keys[0], keys[1:], []))
    copy = Layout(tmp_path).ledger / "ledger"
    assert main(["audit", "fsck", "--ledger", str(copy), "--policy", str(policy)]) == 0
    stranger = log_key(origin, "ed25519", domain.controller_signer.public_key)
    policy.write_bytes(policy_text(stranger, [], []))
    capsys.readouterr()
    assert main(["audit", "fsck", "--ledger", str(copy), "--policy", str(policy)]) == 1
    assert "lacks the signature" in capsys.readouterr().out
    assert main(["audit", "fsck", "--ledger", str(copy)]) == 2
