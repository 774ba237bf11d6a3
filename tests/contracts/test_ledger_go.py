"""Our log read by others' code: Go's `sumdb/note` and `sumdb/tlog` accept checkpoint, tiles, entries and proofs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ledger_kit import LOG_SIGNERS, ORIGIN, DictStore, FixedClock, run, story

from hanse.control.ledger_writer import LedgerWriter
from hanse.ledger import path_of

SOURCE = Path(__file__).parent / "go" / "tlogcheck"
BUILD_TIMEOUT_S = 300


def run_go(go: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [go, *arguments], cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    fetched = run_go(go, "mod", "download", "golang.org/x/mod")
    if fetched.returncode != 0:
        pytest.skip(f"the module golang.org/x/mod cannot be had here: {fetched.stderr.strip()[-200:]}")
    target = tmp_path_factory.mktemp("go") / "tlogcheck"
    built = run_go(go, "build", "-o", str(target), ".")
    assert built.returncode == 0, built.stderr
    return target


async def publish(directory: Path, size: int) -> tuple[str, bytes, bytes]:
    """Write a log's files as a disk store lays them out; return the Ed25519 vkey, one proof and its entry."""
    store = DictStore()
    writer = LedgerWriter(store, LOG_SIGNERS, FixedClock(), ORIGIN)
    await writer.open()
    await writer.append(story())
    for first in range(3, size, 97):
        await writer.append([b"entry %d" % at for at in range(first, min(first + 97, size))])
    for (_, key), (value, _) in store.rows.items():
        path = directory / path_of(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)
    return writer.keys[0].vkey, await writer.proof(1), await writer.entry(1)


@pytest.mark.parametrize("size", [3, 256, 257, 700])
def test_go_reads_our_log(checker: Path, tmp_path: Path, size: int) -> None:
    vkey, proof, entry = run(publish(tmp_path / "log", size))
    (tmp_path / "1.tlog-proof").write_bytes(proof)
    (tmp_path / "1.entry").write_bytes(entry)
    arguments = [str(tmp_path / "log"), vkey, str(tmp_path / "1.tlog-proof"), str(tmp_path / "1.entry")]
    read = subprocess.run([str(checker), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert read.returncode == 0, read.stderr
    assert read.stdout == f"{size} entries, 1 unknown signatures, proof of 1 holds\n"


def test_go_refuses_our_log_once_a_tile_was_changed(checker: Path, tmp_path: Path) -> None:
    vkey, proof, entry = run(publish(tmp_path / "log", 700))
    (tmp_path / "1.tlog-proof").write_bytes(proof)
    (tmp_path / "1.entry").write_bytes(entry)
    tile = tmp_path / "log" / "tile" / "0" / "001"
    data = bytearray(tile.read_bytes())
    data[100] ^= 1
    tile.write_bytes(bytes(data))
    arguments = [str(tmp_path / "log"), vkey, str(tmp_path / "1.tlog-proof"), str(tmp_path / "1.entry")]
    read = subprocess.run([str(checker), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert read.returncode == 1
    assert "tlogcheck:" in read.stderr
