"""All child processes of one fabric: started in order, stopped in reverse, known to other processes by ``run.json``.

`ChildSpecs + ports -> running fabric -> ended on SIGINT, SIGTERM or when a child is given up`. One supervisor per state
directory: it holds a lock on ``run.lock``, which the kernel releases however it ends, so a stale file is never mistaken
for a running fabric.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from hanse.adapters.keys import write_private
from hanse.adapters.processes import Child, ChildEvent, ChildSpec, ProcessError
from hanse.core.errors import HanseError, invariant
from hanse.wire import canonical

RUN: Final = "run.json"
LOCK: Final = "run.lock"
_ATTEMPTS: Final = 5
_ATTEMPT_S: Final = 0.02
"""Someone who only looks (`load_run`) holds the lock for an instant, too."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class ChildState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One child in ``run.json``; `pid` is None while it is down."""

    pid: int | None
    restarts: int
    log: str


class RunRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="run.v1", kw_only=True):
    """``run.json``: what runs now and where it listens."""

    supervisor: int
    children: dict[str, ChildState]
    ports: dict[str, int]


class Supervisor:
    """Owns the children. Use as ``async with``: leaving it stops every child, the last started first."""

    def __init__(self, folder: Path, on_event: Callable[[ChildEvent], None] | None = None) -> None:
        self._folder = folder
        self._told = on_event
        self._children: dict[str, Child] = {}
        self._ports: dict[str, int] = {}
        self._lock = -1
        self._over = asyncio.Event()
        self._reason = ""

    async def __aenter__(self) -> Self:
        self._lock = await _acquire(self._folder)
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt, number)
        self._write()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        try:
            for child in reversed(self._children.values()):
                await child.stop()
        finally:
            for number in _SIGNALS:
                asyncio.get_running_loop().remove_signal_handler(number)
            (self._folder / RUN).unlink(missing_ok=True)
            os.close(self._lock)

    async def start(self, spec: ChildSpec, ports: Mapping[str, int] | None = None) -> Child:
        """Start a child and wait until it is ready; `ports` are noted in ``run.json``.

        Raises ProcessError; ``process.interrupted`` if the fabric is being stopped meanwhile.
        """
        invariant(spec.name not in self._children, f"two children named {spec.name}")
        self._refuse_if_over(spec.name)
        child = Child(spec, self._happened)
        self._children[spec.name] = child
        self._ports.update(ports or {})
        starting = asyncio.create_task(child.start())
        ending = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait([starting, ending], return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                self._refuse_if_over(spec.name)
            starting.result()
        finally:
            ending.cancel()
            if not starting.done():
                starting.cancel()
            await asyncio.gather(starting, ending, return_exceptions=True)
        return child

    async def replace(self, name: str) -> Child:
        """End a child if it still runs, and start it afresh from its spec. Raises ProcessError."""
        old = self._children.pop(name)
        await old.stop()
        return await self.start(old.spec)

    async def succeed(self, name: str, flag: str) -> Child:
        """Start a child's successor beside it, which takes its place; the one before ends by itself.

        `flag` is added to the successor's command line. Raises ProcessError; then the one before goes on.
        """
        old = self._children[name]
        argv = (*(part for part in old.spec.argv if part != flag), flag)
        child = Child(replace(old.spec, argv=argv), self._happened)
        await child.start()
        # What runs under the name is the successor from here on: the end of the one before is no death.
        self._children[name] = child
        old.expect_end()
        self._write()
        return child

    def note_ports(self, ports: Mapping[str, int]) -> None:
        """Write ports that became known later into ``run.json``."""
        self._ports.update(ports)
        self._write()

    async def wait(self) -> str:
        """Wait for the end: a signal, or a child that was given up. Returns the reason as a sentence."""
        await self._over.wait()
        return self._reason

    def _refuse_if_over(self, name: str) -> None:
        if self._over.is_set():
            raise ProcessError(f"{name} was not started: {self._reason}", code="process.interrupted")

    def _interrupt(self, number: signal.Signals) -> None:
        if self._over.is_set():
            # Asked twice: whoever asks is in a hurry, and the children survive being killed.
            for child in self._children.values():
                child.kill()
        self._end(f"stopped by {number.name}")

    def _happened(self, event: ChildEvent) -> None:
        if self._told is not None:
            self._told(event)
        self._write()
        child = self._children.get(event.name)
        if event.kind == "gave_up" and child is not None and child.spec.restart is not None:
            self._end(f"{event.name} was given up: {event.detail}")

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._over.set()

    def _write(self) -> None:
        children = {
            name: ChildState(pid=child.pid, restarts=child.restarts, log=str(child.spec.log_path))
            for name, child in self._children.items()
        }
        record = RunRecord(supervisor=os.getpid(), children=children, ports=dict(self._ports))
        # A full disk must not end the fabric: other processes then see the state before.
        with suppress(OSError):
            write_private(self._folder / RUN, canonical.encode(record))


def load_run(folder: Path) -> RunRecord | None:
    """What runs in a state directory now; None if no supervisor does."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(FileNotFoundError, HanseError):
            return canonical.decode((folder / RUN).read_bytes(), RunRecord)
    finally:
        os.close(lock)
    return None


async def _acquire(folder: Path) -> int:
    lock = _open_lock(folder)
    for _ in range(_ATTEMPTS):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        await asyncio.sleep(_ATTEMPT_S)
    os.close(lock)
    raise ProcessError(
        f"a fabric already runs in {folder}",
        code="process.already_running",
        hint="stop it with Ctrl-C where it runs, or use another state directory",
    )


def _open_lock(folder: Path) -> int:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
