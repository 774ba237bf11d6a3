"""Child processes: start, wait until ready, restart with backoff, log with a bound, stop, and never outlive the parent.

`ChildSpec -> Child -> ChildEvent`. Children run in sessions of their own, so that a Ctrl-C in the terminal reaches the
supervisor alone, which then stops them in order (`hanse.adapters.supervisor`). If the parent dies, however it dies,
the kernel kills them (prctl(2), PR_SET_PDEATHSIG): everything here survives a ``kill -9`` by design.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hanse.core.errors import HanseError, invariant, present
from hanse.core.time import US_PER_MS, US_PER_S

_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.01
_CHUNK_BYTES: Final = 65_536
_TAIL_BYTES: Final = 2_048
_DRAIN_S: Final = 1.0
"""How long the output of a dead child may still trickle in from what it left behind."""


class ProcessError(HanseError):
    """Raised when a child cannot be started or does not become ready."""

    code = "process.failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How a child that died is started again. Durations in microseconds."""

    backoff_min_us: int = 200 * US_PER_MS
    """Wait before the first restart: long enough not to spin, short beside the 3 s in which work moves."""
    backoff_max_us: int = 10 * US_PER_S
    healthy_us: int = 30 * US_PER_S
    """A child that lived this long has recovered: its next death counts as the first."""
    max_failures: int = 10
    """Deaths in a row after which it is given up."""

    def backoff_us(self, failures: int) -> int:
        """Wait before restarting after `failures` (at least 1) deaths in a row: doubled each time, bounded."""
        return min(self.backoff_max_us, self.backoff_min_us << min(failures - 1, 30))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """What to run. It is ready once it prints a line that holds `ready_line`, or once `ready_file` appears.

    With neither it is ready when it runs. `env` is the whole environment.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log_path: Path
    pid_path: Path | None = None
    ready_line: str | None = None
    ready_file: Path | None = None
    """Removed before each start."""
    restart: RestartPolicy | None = field(default_factory=RestartPolicy)
    """None: its end is final."""
    start_timeout_us: int = 30 * US_PER_S
    stop_timeout_us: int = 10 * US_PER_S
    """From SIGTERM to SIGKILL."""
    log_max_bytes: int = 8 * 2**20
    """At this size the log becomes ``<name>.1``, replacing the one before: two files at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEvent:
    """Something happened to a child: ``started``, ``ready``, ``ended``, ``gave_up``, and a sentence about it."""

    name: str
    kind: str
    detail: str


class Child:
    """One supervised process. `start` once, `stop` once; between them it is kept alive by its policy."""

    def __init__(self, spec: ChildSpec, on_event: Callable[[ChildEvent], None]) -> None:
        invariant(bool(spec.argv), "a child needs a program")
        self.spec = spec
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._pump: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._saw_ready_line = asyncio.Event()
        self._stopping = asyncio.Event()
        self.restarts = 0
        self.has_given_up = False

    @property
    def pid(self) -> int | None:
        """Process id, None while it is not running."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def start(self) -> None:
        """Start, wait until ready, and keep it alive from then on.

        Raises ProcessError ``process.no_program``, ``process.ended`` (with the end of its log) or
        ``process.not_ready``; then nothing is left running.
        """
        invariant(self._process is None, "a child starts once")
        await self._start_once()
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.spec.name}")

    async def stop(self) -> None:
        """Ask it to end (SIGTERM), kill it after `stop_timeout_us`; a child that is down stays down."""
        self._stopping.set()
        process = self._process
        if process is not None and process.returncode is None:
            _signal(process, signal.SIGTERM)
            try:
                async with asyncio.timeout(self.spec.stop_timeout_us / US_PER_S):
                    await process.wait()
            except TimeoutError:
                _signal(process, signal.SIGKILL)
        if self._keeper is not None:
            await self._keeper

    def expect_end(self) -> None:
        """Let it end by itself: it is not started again then."""
        self._stopping.set()

    async def wait_down(self) -> None:
        """Wait until the process that runs now has ended."""
        if self._process is not None:
            await self._process.wait()

    def kill(self) -> None:
        """End it at once (SIGKILL). Its policy decides what follows; nothing, if it is being stopped."""
        if self._process is not None and self._process.returncode is None:
            _signal(self._process, signal.SIGKILL)

    async def _start_once(self) -> None:
        await self._spawn()
        try:
            await self._until_ready()
        except BaseException:
            self.kill()
            await self._ended()
            raise
        self._tell("ready", f"pid {self.pid}")

    async def _spawn(self) -> None:
        spec = self.spec
        if spec.ready_file is not None:
            spec.ready_file.unlink(missing_ok=True)
        self._saw_ready_line.clear()
        log = _Log(spec.log_path, spec.log_max_bytes)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(spec.env),
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        except OSError as error:
            log.close()
            raise ProcessError(
                f"cannot start {spec.name}: {spec.argv[0]}: {os.strerror(error.errno or 0).lower()}",
                code="process.no_program",
            ) from error
        self._pump = asyncio.create_task(self._copy_output(self._process, log), name=f"log {spec.name}")
        if spec.pid_path is not None:
            spec.pid_path.write_text(f"{self._process.pid}\n")
        self._tell("started", f"pid {self._process.pid}")
        if self._stopping.is_set():
            self.kill()  # `stop` came while it was being born, and saw only its predecessor

    async def _until_ready(self) -> None:
        process, spec = self._running(), self.spec
        try:
            async with asyncio.timeout(spec.start_timeout_us / US_PER_S):
                await _first(self._ready(), process.wait())
        except TimeoutError:
            raise ProcessError(
                f"{spec.name} was not ready in {spec.start_timeout_us // US_PER_MS} ms{self._last_words()}",
                code="process.not_ready",
            ) from None
        if process.returncode is not None:
            await self._drain()
            if spec.ready_line is not None and self._saw_ready_line.is_set():
                return  # it was ready once; that it died since is for the keeper to see
            raise ProcessError(
                f"{spec.name} ended while starting ({_how(process.returncode)}){self._last_words()}",
                code="process.ended",
                context={"returncode": process.returncode},
            )

    async def _ready(self) -> None:
        if self.spec.ready_line is not None:
            await self._saw_ready_line.wait()
        if self.spec.ready_file is not None:
            while not self.spec.ready_file.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(_POLL_S)

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop()
        failures, since = 0, clock.time()
        while True:
            code = await self._ended()
            if self._stopping.is_set():
                return
            failures = 1 if (clock.time() - since) * US_PER_S >= self._healthy_us() else failures + 1
            policy = self.spec.restart
            if policy is None or failures >= policy.max_failures:
                self.has_given_up = True
                self._tell("gave_up", f"{_how(code)}, {failures} in a row{self._last_words()}")
                return
            await self._pause(policy.backoff_us(failures))
            if self._stopping.is_set():
                return
            self.restarts += 1
            since = clock.time()
            # A failed start is one more death; the loop counts it.
            with contextlib.suppress(ProcessError):
                await self._start_once()

    async def _ended(self) -> int:
        """Wait until the process has ended and its output is written; returns its code."""
        code = await self._running().wait()
        if self._pump is not None:
            await self._drain()
            self._pump = None
            if self.spec.pid_path is not None:
                self.spec.pid_path.unlink(missing_ok=True)
            self._tell("ended", _how(code))
        return code

    async def _drain(self) -> None:
        if self._pump is not None:
            await asyncio.wait([self._pump], timeout=_DRAIN_S)
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    async def _pause(self, duration_us: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(duration_us / US_PER_S):
                await self._stopping.wait()

    async def _copy_output(self, process: asyncio.subprocess.Process, log: _Log) -> None:
        output, marker, line = process.stdout, (self.spec.ready_line or "").encode(), b""
        invariant(output is not None, "output is piped")
        try:
            while output is not None and (data := await output.read(_CHUNK_BYTES)):
                log.write(data)
                if marker and not self._saw_ready_line.is_set():
                    line = (line + data)[-_CHUNK_BYTES:]
                    if any(marker in whole for whole in line.split(b"\n")[:-1]):
                        self._saw_ready_line.set()
        finally:
            log.close()

    def _running(self) -> asyncio.subprocess.Process:
        return present(self._process, "the child was not started")

    def _healthy_us(self) -> int:
        return self.spec.restart.healthy_us if self.spec.restart is not None else 0

    def _last_words(self) -> str:
        try:
            with self.spec.log_path.open("rb") as file:
                file.seek(max(0, self.spec.log_path.stat().st_size - _TAIL_BYTES))
                said = file.read().decode(errors="replace").strip()
        except OSError:
            return ""
        return f"\n{said}" if said else ""

    def _tell(self, kind: str, detail: str) -> None:
        self._on_event(ChildEvent(name=self.spec.name, kind=kind, detail=detail))


class _Log:
    """A log file with a bound: at `max_bytes` it becomes ``<path>.1``."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._max_bytes = path, max_bytes
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        # A full disk must not stop the child: what cannot be logged is lost.
        with contextlib.suppress(OSError):
            if self._file.tell() + len(data) > self._max_bytes:
                self._file.close()
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self._file = self._path.open("ab", buffering=0)
            self._file.write(data)

    def close(self) -> None:
        self._file.close()


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of `waits` is done, and end the others."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _die_with(parent: int) -> Callable[[], None] | None:
    """Ask the kernel to kill the child when its parent ends; other systems than Linux cannot."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the request was made
            os._exit(1)

    return before_exec


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
