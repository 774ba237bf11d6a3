"""Files in memory: private, the same after a restart, never on a disk, swept when nobody uses them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aio import run
from hanse.adapters.memory_files import FORGOTTEN_S, PLACES, memory_store


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "shm"
    made.mkdir()
    return made


def _mounts(tmp_path: Path, place: Path, kind: str = "tmpfs") -> Path:
    file = tmp_path / "mounts"
    file.write_text(f"/dev/root / ext4 rw 0 0\n{kind} {place} {kind} rw 0 0\n")
    return file


def test_a_restarted_process_finds_what_the_one_before_kept_and_another_node_does_not(tmp_path, place):
    def store(state: str):
        made = memory_store(tmp_path / state, places=[str(place)], mounts=_mounts(tmp_path, place))
        assert made is not None
        return made

    run(store("a").put("identity", "svid", b"key"))
    entry = run(store("a").get("identity", "svid"))
    assert entry is not None
    assert entry.value == b"key"
    assert run(store("b").get("identity", "svid")) is None


def test_everything_is_for_this_user_alone(tmp_path, place):
    store = memory_store(tmp_path / "a", places=[str(place)], mounts=_mounts(tmp_path, place))
    assert store is not None
    run(store.put("identity", "svid", b"key"))
    folders = [path for path in place.rglob("*") if path.is_dir()]
    assert len(folders) >= 2
    assert {path.stat().st_mode & 0o077 for path in folders[:2]} == {0}


@pytest.mark.parametrize("kind", ["ext4", "overlay"])
def test_a_disk_is_no_memory_whatever_its_name(tmp_path, place, kind):
    assert memory_store(tmp_path / "a", places=[str(place)], mounts=_mounts(tmp_path, place, kind)) is None
    assert list(place.iterdir()) == []


def test_a_folder_that_others_may_enter_or_that_is_a_link_is_not_used(tmp_path, place):
    mounts = _mounts(tmp_path, place)
    own = place / f"hanse-{os.geteuid()}"
    own.mkdir()
    own.chmod(0o755)
    assert memory_store(tmp_path / "a", places=[str(place)], mounts=mounts) is None
    own.rmdir()
    own.symlink_to(tmp_path)
    assert memory_store(tmp_path / "a", places=[str(place)], mounts=mounts) is None


def test_what_no_node_has_used_for_a_day_goes_and_the_rest_stays(tmp_path, place):
    def open_store():
        return memory_store(tmp_path / "a", places=[str(place)], mounts=_mounts(tmp_path, place))

    store = open_store()
    assert store is not None
    run(store.put("identity", "svid", b"key"))
    own = place / f"hanse-{os.geteuid()}"
    left, kept = own / "left", own / "kept"
    for folder in (left, kept):
        folder.mkdir(mode=0o700)
    old = left.stat().st_mtime - FORGOTTEN_S - 60
    os.utime(left, (old, old))
    assert open_store() is not None
    assert not left.exists()
    assert kept.exists()


def test_this_machine_has_such_a_place(tmp_path):
    if not any(Path(place).is_dir() for place in PLACES):
        pytest.skip("no directory in memory here")
    assert memory_store(tmp_path / "state") is not None
