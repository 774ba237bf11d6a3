"""The disk store keeps what it acknowledged, through crashes at any point, damage, and a full disk."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from aio import run, soon, take, until
from hanse.adapters import disk_store
from hanse.adapters.disk_store import DiskStore, default_path
from hanse.core.errors import ConflictError, InvariantBroken, StoreError


class Crashed(BaseException):
    """The process ends here."""


def test_a_new_process_finds_values_and_revisions(tmp_path):
    async def first():
        store = DiskStore(tmp_path)
        for number in range(5):
            await store.put("state", f"k.{number}", b"%d" % number)
        await store.delete("state", "k.4")
        return await store.put("state", "k.0", b"new")

    async def second(last: int):
        store = DiskStore(tmp_path)
        found = {entry.key: (entry.value, entry.revision) for entry in await store.entries("state", "k")}
        assert found["k.0"] == (b"new", last)
        assert sorted(found) == ["k.0", "k.1", "k.2", "k.3"]
        assert await store.put("state", "k.4", b"again", 0) > last, "revisions never fall, not even of deleted keys"

    run(second(run(first())))


def test_files_hold_the_value_and_nothing_else(tmp_path):
    async def scenario():
        store = DiskStore(tmp_path)
        await store.put("state", "a.b", b"value")
        await store.put("state", "a", b"parent")
        assert (tmp_path / "state" / "a" / "b.v").read_bytes() == b"value"
        assert (tmp_path / "state" / "a.v").read_bytes() == b"parent"

    run(scenario())


def test_a_tree_can_be_laid_out_as_its_readers_expect(tmp_path):
    def tiles(_bucket: str, key: str) -> str:
        return key.replace(".p.", ".p/").replace("tile.", "tile/").replace(".x", "/x")

    async def scenario():
        store = DiskStore(tmp_path, path_of=tiles)
        await store.put("log", "checkpoint", b"note")
        await store.put("log", "tile.0.x001", b"hashes")
        assert (tmp_path / "log" / "checkpoint").read_bytes() == b"note"
        assert (tmp_path / "log" / "tile" / "0" / "x001").read_bytes() == b"hashes"

    run(scenario())


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", ".index", "a/.lock", ""])
def test_no_layout_reaches_outside_the_bucket(tmp_path, path):
    async def scenario():
        with pytest.raises(InvariantBroken):
            await DiskStore(tmp_path, path_of=lambda _bucket, _key: path).put("state", "k", b"x")

    run(scenario())


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: b"", lambda data: bytes([data[0] ^ 1]) + data[1:]]
)
def test_a_bad_file_is_set_aside_and_named_and_the_rest_loads(tmp_path, spoil):
    async def scenario():
        store = DiskStore(tmp_path)
        for key in ("a", "bad", "c"):
            await store.put("state", key, b"value of " + key.encode())
        file = tmp_path / "state" / "bad.v"
        file.write_bytes(spoil(file.read_bytes()))
        said: list[tuple[Path, str]] = []
        again = DiskStore(tmp_path, damaged=lambda path, why: said.append((path, why)))
        assert [entry.key for entry in await again.entries("state")] == ["a", "c"]
        assert said == [(tmp_path / "state" / "bad.v.damaged-1", "state/bad does not match its digest")]
        assert said[0][0].exists(), "kept for whoever wants to look"
        assert await again.get("state", "bad") is None
        await again.put("state", "bad", b"healed", 0)
        file.write_bytes(b"spoiled again")
        assert await again.get("state", "bad") is None
        assert said[1][0].name == "bad.v.damaged-2"

    run(scenario())


def test_a_file_that_vanished_is_named(tmp_path):
    async def scenario():
        said: list[str] = []
        store = DiskStore(tmp_path, damaged=lambda _path, why: said.append(why))
        await store.put("state", "k", b"x")
        (tmp_path / "state" / "k.v").unlink()
        assert await store.get("state", "k") is None
        assert said == ["state/k is missing"]

    run(scenario())


def test_a_torn_last_line_of_the_index_is_cut_off(tmp_path):
    async def scenario():
        store = DiskStore(tmp_path)
        await store.put("state", "a", b"1")
        revision = await store.put("state", "b", b"2")
        with (tmp_path / "state" / ".index").open("ab") as index:
            index.write(b'deadbeef [3,"a"')
        again = DiskStore(tmp_path)
        assert [entry.value for entry in await again.entries("state")] == [b"1", b"2"]
        assert await again.put("state", "a", b"3") > revision
        assert (await DiskStore(tmp_path).get("state", "a")).value == b"3"

    run(scenario())


def test_a_bad_line_within_the_index_costs_its_key_and_no_other(tmp_path):
    async def scenario():
        store = DiskStore(tmp_path)
        for key in ("a", "b", "c"):
            await store.put("state", key, key.encode())
        index = tmp_path / "state" / ".index"
        lines = index.read_bytes().splitlines(keepends=True)
        lines[1] = lines[1].replace(b'"b"', b'"x"')
        index.write_bytes(b"".join(lines))
        said: list[str] = []
        again = DiskStore(tmp_path, damaged=lambda _path, why: said.append(why))
        assert [entry.key for entry in await again.entries("state")] == ["a", "c"]
        assert len(said) == 1
        assert "line 2" in said[0]

    run(scenario())


STEPS = ("write_aside", "append", "move_into_place", "after")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_crash_at_any_step_leaves_the_old_value_or_the_new_never_neither(tmp_path, monkeypatch, step, old):
    """The process ends right after `step`; nothing it would have done next happens."""

    async def scenario():
        store = DiskStore(tmp_path)
        await store.put("state", "other", b"untouched")
        before = 0 if old is None else await store.put("state", "k", old)
        _crash_after(monkeypatch, step)
        with pytest.raises(Crashed):
            await store.put("state", "k", b"new")
        monkeypatch.undo()
        said: list[str] = []
        again = DiskStore(tmp_path, damaged=lambda _path, why: said.append(why))
        entry = await again.get("state", "k")
        if step in ("move_into_place", "after"):
            assert entry.value == b"new"
        elif old is None:
            assert entry is None
        else:
            assert (entry.value, entry.revision) == (old, before)
        assert said == [], "a crash is not damage"
        assert (await again.get("state", "other")).value == b"untouched"
        await again.put("state", "k", b"next", entry.revision if entry else 0)
        await again.put("state", "third", b"3")
        final = DiskStore(tmp_path, damaged=lambda _path, why: said.append(why))
        assert {e.key: e.value for e in await final.entries("state")} == {
            "k": b"next",
            "other": b"untouched",
            "third": b"3",
        }
        assert said == []
        assert list((tmp_path / "state" / ".tmp").iterdir()) == [], "nothing unfinished is left lying about"

    run(scenario())


def _crash_after(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """End the process after a step: later cleanup must not run, so it is switched off too."""
    index = disk_store.Index
    monkeypatch.setattr(Path, "unlink", lambda *_args, **_options: None)
    monkeypatch.setattr(index, "take_back", lambda *_args: None)
    owner, name = (index, "append") if step == "append" else (disk_store, step)
    if step == "after":
        owner, name = index, "compact"
    real = getattr(owner, name)

    def and_crash(*args, **options):
        real(*args, **options)
        raise Crashed

    monkeypatch.setattr(owner, name, and_crash)


def test_a_crash_between_record_and_removal_finishes_the_deletion(tmp_path, monkeypatch):
    async def scenario():
        store = DiskStore(tmp_path)
        await store.put("state", "k", b"x")

        def crash(_path: Path) -> None:
            raise Crashed

        monkeypatch.setattr(disk_store, "_remove", crash)
        monkeypatch.setattr(disk_store.Index, "take_back", lambda *_args: None)
        with pytest.raises(Crashed):
            await store.delete("state", "k")
        monkeypatch.undo()
        again = DiskStore(tmp_path)
        assert await again.get("state", "k") is None
        assert not (tmp_path / "state" / "k.v").exists()

    run(scenario())


def test_a_failed_rename_takes_the_record_back(tmp_path, monkeypatch):
    async def scenario():
        store = DiskStore(tmp_path)
        revision = await store.put("state", "k", b"old")

        def fail(*_args: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(disk_store, "move_into_place", fail)
        with pytest.raises(StoreError):
            await store.put("state", "k", b"new")
        monkeypatch.undo()
        for one in (store, DiskStore(tmp_path)):
            entry = await one.get("state", "k")
            assert (entry.value, entry.revision) == (b"old", revision)

    run(scenario())


def test_a_full_disk_is_named_and_the_old_value_stays(tmp_path):
    """A real limit of the kernel: files of this process may not grow beyond 64 KiB (RLIMIT_FSIZE gives EFBIG)."""
    script = textwrap.dedent(
        """
        import asyncio, resource, signal, sys
        from pathlib import Path
        from hanse.adapters.disk_store import DiskStore
        from hanse.adapters.disk_blobs import DiskBlobs
        from hanse.core.errors import HanseError

        async def main(root):
            store, blobs = DiskStore(root), DiskBlobs(root / "blobs")
            revision = await store.put("state", "k", b"old")
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
            for attempt in (store.put("state", "k", bytes(100_000)), blobs.put(bytes(100_000))):
                try:
                    await attempt
                except HanseError as error:
                    print(error.code, error.retry, bool(error.hint))
            entry = await store.get("state", "k")
            assert (entry.value, entry.revision) == (b"old", revision)
            await store.put("state", "k", b"small values still fit")
            # Fill the index until it may not grow: compaction and failed appends must lose nothing either.
            written = {}
            for number in range(3_000):
                key = f"key-{number:05}-" + "x" * 100
                try:
                    await store.put("state", key, b"v")
                except HanseError as error:
                    assert error.code == "store.full", error
                    break
                written[key] = b"v"
            else:
                raise AssertionError("the limit was never met")
            again = {entry.key: entry.value for entry in await DiskStore(root).entries("state")}
            assert again == {"k": b"small values still fit", **written}
            print("intact", len(written) > 100)

        asyncio.run(main(Path(sys.argv[1])))
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["store.full True True", "blob.full True True", "intact True"]


def test_processes_that_share_a_root_lose_no_increment(tmp_path):
    script = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from hanse.adapters.disk_store import DiskStore
        from hanse.core.errors import ConflictError

        async def main(root):
            store, done = DiskStore(root), 0
            while done < 25:
                entry = await store.get("state", "counter")
                found, revision = (int(entry.value), entry.revision) if entry else (0, 0)
                try:
                    await store.put("state", "counter", b"%d" % (found + 1), revision)
                except ConflictError:
                    continue
                done += 1

        asyncio.run(main(Path(sys.argv[1])))
        """
    )
    workers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [worker.wait(timeout=600) for worker in workers] == [0, 0, 0]
    assert run(DiskStore(tmp_path).get("state", "counter")).value == b"75"


def test_the_index_stays_small_and_revisions_survive_its_compaction(tmp_path):
    async def scenario():
        store = DiskStore(tmp_path)
        for number in range(600):
            revision = await store.put("state", f"k{number % 3}", b"%d" % number)
        for key in ("k0", "k1", "k2"):
            await store.delete("state", key)
        lines = (tmp_path / "state" / ".index").read_bytes().count(b"\n")
        assert lines < 300
        assert await DiskStore(tmp_path).put("state", "new", b"") > revision + 3

    run(scenario())


def test_a_cancelled_write_still_tells_watchers_what_it_did(tmp_path):
    entered, may_go_on = threading.Event(), threading.Event()

    def path_of(bucket, key):
        entered.set()
        assert may_go_on.wait(60)
        return default_path(bucket, key)

    async def scenario():
        store = DiskStore(tmp_path, path_of=path_of)
        watch = store.watch("state")
        assert await take(watch, 1) == [None]
        writing = asyncio.create_task(store.put("state", "k", b"x"))
        await until(entered.is_set)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        may_go_on.set()
        assert (await soon(anext(watch))).value == b"x"
        await watch.aclose()

    run(scenario())


def test_a_conflict_names_what_was_found(tmp_path):
    async def scenario():
        store = DiskStore(tmp_path)
        revision = await store.put("state", "k", b"x")
        with pytest.raises(ConflictError) as conflict:
            await store.put("state", "k", b"y", revision + 4)
        assert conflict.value.message == f"state/k is at revision {revision}, not {revision + 4}"

    run(scenario())


def test_files_are_for_this_user_only(tmp_path):
    async def scenario():
        await DiskStore(tmp_path).put("state", "k", b"secret")
        assert (tmp_path / "state" / "k.v").stat().st_mode & 0o077 == 0

    run(scenario())
