"""Supervised children: real processes, synchronised by the lines and files they write."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hanse.adapters.processes import Child, ChildEvent, ChildSpec, ProcessError, RestartPolicy
from hanse.adapters.supervisor import Supervisor, load_run
from hanse.core.time import US_PER_MS, US_PER_S

WAIT_S = 120
"""For a hang alone: every child is an interpreter to start."""
ENV = {**os.environ, "PYTHONUNBUFFERED": "1"}
FOREVER = "import signal; print('ready', flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER[15:]}"
QUICK = RestartPolicy(backoff_min_us=1_000, backoff_max_us=2_000, healthy_us=60 * US_PER_S, max_failures=3)


def spec(tmp_path: Path, code: str, **changes: object) -> ChildSpec:
    arguments: dict[str, object] = {
        "name": "child",
        "argv": (sys.executable, "-c", code),
        "env": ENV,
        "log_path": tmp_path / "child.log",
        "ready_line": "ready",
        "restart": QUICK,
    }
    return ChildSpec(**{**arguments, **changes})  # type: ignore[arg-type]


class Events:
    """What was told, and a way to wait for the next of a kind."""

    def __init__(self) -> None:
        self.all: list[ChildEvent] = []
        self._news: asyncio.Queue[ChildEvent] = asyncio.Queue()

    def __call__(self, event: ChildEvent) -> None:
        self.all.append(event)
        self._news.put_nowait(event)

    async def next(self, kind: str) -> ChildEvent:
        while (event := await self._news.get()).kind != kind:
            pass
        return event


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WAIT_S):
            await scenario()

    asyncio.run(bounded())


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def test_a_child_is_ready_when_it_says_so_and_ends_when_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        events = Events()
        child = Child(spec(tmp_path, FOREVER, pid_path=tmp_path / "child.pid"), events)
        await child.start()
        pid = child.pid
        assert pid is not None
        assert is_alive(pid)
        assert (tmp_path / "child.pid").read_text() == f"{pid}\n"
        await child.stop()
        assert child.pid is None
        assert not is_alive(pid)
        assert not (tmp_path / "child.pid").exists()
        assert [event.kind for event in events.all] == ["started", "ready", "ended"]
        assert events.all[-1].detail == "killed by SIGTERM"
        assert (tmp_path / "child.log").read_text() == "ready\n"

    run(scenario)


def test_a_child_is_ready_when_its_file_is_there_and_not_because_of_an_old_one(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.write_text("old")

    async def scenario() -> None:
        code = f"import pathlib, signal; pathlib.Path({str(ready)!r}).write_text('new'); signal.pause()"
        child = Child(spec(tmp_path, code, ready_line=None, ready_file=ready), Events())
        await child.start()
        assert ready.exists()
        await child.stop()

    run(scenario)


def test_a_child_that_ends_while_starting_is_told_with_its_last_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        child = Child(spec(tmp_path, "import sys; print('port 80: denied'); sys.exit(7)"), Events())
        with pytest.raises(ProcessError) as failed:
            await child.start()
        assert failed.value.code == "process.ended"
        assert str(failed.value) == "child ended while starting (exit code 7)\nport 80: denied"

    run(scenario)


def test_a_child_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        events = Events()
        child = Child(spec(tmp_path, FOREVER, ready_line="never said", start_timeout_us=200 * US_PER_MS), events)
        with pytest.raises(ProcessError, match="not ready in 200 ms") as failed:
            await child.start()
        assert failed.value.code == "process.not_ready"
        assert child.pid is None
        assert events.all[-1].detail == "killed by SIGKILL"

    run(scenario)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        child = Child(spec(tmp_path, "", argv=("/nowhere/hanse-node",)), Events())
        with pytest.raises(ProcessError) as failed:
            await child.start()
        assert (failed.value.code, str(failed.value)) == (
            "process.no_program",
            "cannot start child: /nowhere/hanse-node: no such file or directory",
        )

    run(scenario)


def test_a_killed_child_comes_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        events = Events()
        child = Child(spec(tmp_path, FOREVER), events)
        await child.start()
        await events.next("ready")
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert (await events.next("ended")).detail == "killed by SIGKILL"
        await events.next("ready")
        assert child.pid not in {None, first}
        assert child.restarts == 1
        await child.stop()

    run(scenario)


def test_a_child_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        events = Events()
        child = Child(spec(tmp_path, "print('ready')"), events)
        await child.start()
        assert (await events.next("gave_up")).detail.startswith("exit code 0, 3 in a row")
        assert child.has_given_up
        assert child.restarts == 2
        await child.stop()

    run(scenario)


def test_backoff_doubles_and_is_bounded() -> None:
    policy = RestartPolicy(backoff_min_us=100, backoff_max_us=1_000)
    assert [policy.backoff_us(failures) for failures in (1, 2, 3, 4, 5, 1_000)] == [100, 200, 400, 800, 1_000, 1_000]


def test_a_stubborn_child_is_killed(tmp_path: Path) -> None:
    async def scenario() -> None:
        events = Events()
        child = Child(spec(tmp_path, STUBBORN, stop_timeout_us=100 * US_PER_MS), events)
        await child.start()
        await child.stop()
        assert events.all[-1].detail == "killed by SIGKILL"
        assert child.restarts == 0

    run(scenario)


def test_stopping_while_it_waits_to_restart_leaves_it_down(tmp_path: Path) -> None:
    slow = RestartPolicy(backoff_min_us=3_600 * US_PER_S, backoff_max_us=3_600 * US_PER_S)

    async def scenario() -> None:
        events = Events()
        child = Child(spec(tmp_path, FOREVER, restart=slow), events)
        await child.start()
        child.kill()
        await events.next("ended")
        await child.stop()
        assert child.pid is None
        assert child.restarts == 0

    run(scenario)


def test_the_log_is_bounded_and_what_was_said_last_is_there(tmp_path: Path) -> None:
    code = "print('x' * 100_000); print('ready'); import signal; signal.pause()"

    async def scenario() -> None:
        child = Child(spec(tmp_path, code, log_max_bytes=50_000), Events())
        await child.start()
        await child.stop()

    run(scenario)
    assert "ready" in (tmp_path / "child.log").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["child.log", "child.log.1"]
    assert all(path.stat().st_size <= 65_536 for path in tmp_path.iterdir())


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = (
        "import asyncio, pathlib, sys, os\n"
        "from hanse.adapters.processes import Child, ChildSpec\n"
        "async def main():\n"
        f"    child = Child(ChildSpec(name='c', argv=(sys.executable, '-c', {STUBBORN!r}), env=dict(os.environ),\n"
        "        log_path=pathlib.Path(sys.argv[1]), ready_line='ready'), lambda event: None)\n"
        "    await child.start()\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent, tmp_path / "c.log"], stdout=subprocess.PIPE, text=True, env=ENV
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        watched = os.pidfd_open(pid)
        try:
            assert is_alive(pid)
            process.kill()
            assert asyncio.run(_ends(watched))
        finally:
            os.close(watched)


async def _ends(watched: int) -> bool:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(watched, ended.set)
    async with asyncio.timeout(WAIT_S):
        await ended.wait()
    asyncio.get_running_loop().remove_reader(watched)
    return ended.is_set()


def test_the_supervisor_says_what_runs_and_stops_it_in_reverse(tmp_path: Path) -> None:
    async def scenario() -> None:
        events = Events()
        async with Supervisor(tmp_path, events) as supervisor:
            first = await supervisor.start(spec(tmp_path, FOREVER, name="first"), {"nats": 4222})
            second = await supervisor.start(spec(tmp_path, FOREVER, name="second"))
            supervisor.note_ports({"api": 7000})
            told = load_run(tmp_path)
            assert told is not None
            assert told.supervisor == os.getpid()
            assert {name: child.pid for name, child in told.children.items()} == {
                "first": first.pid,
                "second": second.pid,
            }
            assert told.ports == {"nats": 4222, "api": 7000}
        assert [event.name for event in events.all if event.kind == "ended"] == ["second", "first"]
        assert load_run(tmp_path) is None
        assert not (tmp_path / "run.json").exists()

    run(scenario)


def test_two_supervisors_never_share_a_folder(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Supervisor(tmp_path):
            with pytest.raises(ProcessError) as refused:
                async with Supervisor(tmp_path):
                    pass
            assert refused.value.code == "process.already_running"
        async with Supervisor(tmp_path):
            pass

    run(scenario)


def test_a_record_left_by_a_killed_supervisor_counts_for_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Supervisor(tmp_path):
            left = (tmp_path / "run.json").read_bytes()
        (tmp_path / "run.json").write_bytes(left)
        assert load_run(tmp_path) is None
        assert load_run(tmp_path / "elsewhere") is None

    run(scenario)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait(tmp_path: Path, number: signal.Signals) -> None:
    async def scenario() -> None:
        async with Supervisor(tmp_path) as supervisor:
            child = await supervisor.start(spec(tmp_path, FOREVER))
            pid = child.pid
            os.kill(os.getpid(), number)
            assert await supervisor.wait() == f"stopped by {number.name}"
        assert pid is not None
        assert not is_alive(pid)

    run(scenario)


def test_a_second_signal_hurries(tmp_path: Path) -> None:
    async def scenario() -> None:
        events = Events()
        async with Supervisor(tmp_path, events) as supervisor:
            await supervisor.start(spec(tmp_path, STUBBORN, stop_timeout_us=3_600 * US_PER_S))
            os.kill(os.getpid(), signal.SIGINT)
            await supervisor.wait()
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        assert events.all[-1].detail == "killed by SIGKILL"

    run(scenario)


def test_a_signal_while_a_child_starts_leaves_nothing_running(tmp_path: Path) -> None:
    async def scenario() -> None:
        events = Events()
        async with Supervisor(tmp_path, events) as supervisor:
            starting = asyncio.create_task(supervisor.start(spec(tmp_path, FOREVER, ready_line="never said")))
            await events.next("started")
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(ProcessError) as refused:
                await starting
            assert refused.value.code == "process.interrupted"
            with pytest.raises(ProcessError):
                await supervisor.start(spec(tmp_path, FOREVER, name="late"))
        assert [event.kind for event in events.all] == ["started", "ended"]

    run(scenario)


def test_a_child_given_up_ends_the_fabric(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Supervisor(tmp_path) as supervisor:
            await supervisor.start(spec(tmp_path, "print('ready')", restart=RestartPolicy(max_failures=1)))
            assert await supervisor.wait() == "child was given up: exit code 0, 1 in a row\nready"

    run(scenario)


def test_a_child_whose_end_is_final_leaves_the_fabric_up_and_can_be_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        events = Events()
        async with Supervisor(tmp_path, events) as supervisor:
            child = await supervisor.start(spec(tmp_path, FOREVER, restart=None))
            first = child.pid
            child.kill()
            await child.wait_down()
            assert (await events.next("gave_up")).detail.startswith("killed by SIGKILL")
            told = load_run(tmp_path)
            assert told is not None
            assert told.children["child"].pid is None
            again = await supervisor.replace("child")
            assert again.pid not in {None, first}

    run(scenario)


def test_a_failed_start_is_raised_and_the_rest_still_stops(tmp_path: Path) -> None:
    async def scenario() -> None:
        events = Events()
        with pytest.raises(ProcessError):
            async with Supervisor(tmp_path, events) as supervisor:
                await supervisor.start(spec(tmp_path, FOREVER, name="first"))
                await supervisor.start(spec(tmp_path, "raise SystemExit(1)", name="second"))
        assert [event.name for event in events.all if event.kind == "ended"] == ["second", "first"]

    run(scenario)
