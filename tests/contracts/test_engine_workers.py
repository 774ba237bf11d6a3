"""Proves: a tenant's worker process starts from this interpreter, is shut in, dies alone, and is told of honestly.

A kernel without Landlock is had by a worker whose first act is to have `landlock_create_ruleset` answered with ENOSYS,
which is what such a kernel says.
"""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from aio import run
from hanse import _engine
from hanse.adapters.engine_runtime import WORKER_PROGRAM, EngineRuntime, worker_command
from hanse.adapters.sandbox import escape_attempts
from hanse.core.errors import RuntimeFailure
from hanse.core.ids import WorkloadId
from hanse.core.ports import InvokePolicy
from hanse.core.work import Workload
from hanse.manifest import load
from hanse.wire.canonical import digest_bytes

DEADLINE_S = 120.0
"""For a hang alone."""

NO_LANDLOCK = """\
import ctypes, struct
def op(code, yes, no, value): return struct.pack("HBBI", code, yes, no, value)
# The call's number; 444 is landlock_create_ruleset on every machine: ENOSYS; anything else passes.
rules = op(0x20, 0, 0, 0) + op(0x15, 0, 1, 444) + op(0x06, 0, 0, 0x50026) + op(0x06, 0, 0, 0x7FFF0000)
held = ctypes.create_string_buffer(rules, len(rules))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules) // 8, ctypes.addressof(held)), 16)
libc = ctypes.CDLL(None)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0): raise SystemExit("no filter")
"""
"""Put before a worker's program (prctl: PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP with SECCOMP_MODE_FILTER)."""


def config(cache: Path, command: Sequence[str]) -> _engine.EngineConfig:
    return _engine.EngineConfig(
        node="a",
        trust_domain="hanse.test",
        front_bind="127.0.0.1:0",
        mesh_bind="127.0.0.1:0",
        cache_dir=str(cache),
        max_instances=16,
        worker_command=command,
    )


class Node:
    """An engine that can start workers."""

    def __init__(self, cache: Path, command: Sequence[str]) -> None:
        self.engine = _engine.Engine(config(cache, command))
        self.front = self.engine.start().front

    def load(self, guests: Mapping[str, Path], *names: str, tenant: str, isolation: str = "process") -> None:
        limits = _engine.Limits(trust_class=tenant, isolation=isolation, timeout_ms=20_000)
        for name in names:
            self.engine.load(name, guests[name].read_bytes(), limits, [], {})

    def route(self, *names: str) -> None:
        self.engine.set_routes([_engine.Route(workload=n, path_prefix=f"/{n}", replicas=()) for n in names])

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.front, timeout=DEADLINE_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def worker(self, tenant: str) -> _engine.WorkerStats:
        return next(worker for worker in self.engine.stats().workers if worker.tenant == tenant)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "compiled", worker_command())
    yield node
    node.engine.stop(0)


def eventually(what: str, is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.005)


def test_every_known_way_out_of_a_worker_is_refused() -> None:
    attempts = escape_attempts()
    assert {one.wall for one in attempts} == {"both", "landlock"}
    assert {"connect", "exec", "open-file", "ptrace-node"} <= {one.attempt for one in attempts}
    assert [one for one in attempts if not one.is_refused] == []


def test_two_tenants_are_two_processes_and_one_that_is_killed_comes_back_alone(
    node: Node, guests: Mapping[str, Path]
) -> None:
    node.load(guests, "hello", tenant="shop/public")
    node.load(guests, "mirror", tenant="bank/health")
    node.route("hello", "mirror")
    assert node.get("/hello") == (200, b"hello\n")
    assert node.get("/mirror")[0] == 200
    shop, bank = node.worker("shop/public"), node.worker("bank/health")
    assert len({shop.pid, bank.pid, os.getpid()}) == 3
    assert shop.landlock > 0
    os.kill(shop.pid, signal.SIGKILL)
    answer = node.get("/hello")
    while answer[0] == 503 and b'"worker.down"' in answer[1]:  # on a busy machine it is not there again within 2 s
        answer = node.get("/hello")
    assert answer == (200, b"hello\n"), "asked once more of the next process"
    eventually("it is back and counted", lambda: _is_next(node.worker("shop/public"), shop.pid))
    again = node.worker("shop/public")
    assert "SIGKILL" in again.last_end
    assert node.worker("bank/health").pid == bank.pid
    told = [line.text for line in node.engine.logs("hello") if line.stream == "fault"]
    assert any(text.startswith("worker.lost") and "SIGKILL" in text for text in told)


def _is_next(worker: _engine.WorkerStats, before: int) -> bool:
    return worker.restarts == 1 and worker.pid not in (0, before)


def test_no_worker_outlives_its_engine(node: Node, guests: Mapping[str, Path]) -> None:
    node.load(guests, "hello", tenant="t")
    pid = node.worker("t").pid
    node.engine.stop(0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_inherits_neither_environment_nor_descriptors(node: Node, guests: Mapping[str, Path]) -> None:
    node.load(guests, "hello", tenant="t")
    pid = node.worker("t").pid
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (fields["Seccomp"].strip(), fields["NoNewPrivs"].strip()) == ("2", "1")
    if os.geteuid() == 0:
        # Its /proc entries belong to root, since it cannot be dumped.
        assert Path(f"/proc/{pid}/environ").read_bytes().replace(b"\0", b"") == b""
        held = {str(entry.readlink()).split(":", 1)[0] for entry in Path(f"/proc/{pid}/fd").iterdir()}
        assert held <= {"socket", "anon_inode", "/dev/null", f"/proc/{pid}/pagemap", "/memfd"}, held


def test_isolation_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="isolation is shared, process or process-seccomp"):
        _engine.Limits(isolation="jail")


def command_without_landlock() -> list[str]:
    return [NO_LANDLOCK + part if part == WORKER_PROGRAM else part for part in worker_command()]


@pytest.fixture
def old_kernel(tmp_path: Path) -> Iterator[Node]:
    """A node whose workers find no Landlock."""
    node = Node(tmp_path / "compiled", command_without_landlock())
    yield node
    node.engine.stop(0)


def test_a_kernel_without_landlock_runs_nobody_who_asked_for_it(old_kernel: Node, guests: Mapping[str, Path]) -> None:
    with pytest.raises(_engine.EngineError, match="no Landlock") as refused:
        old_kernel.load(guests, "hello", tenant="t")
    assert refused.value.code == "isolation.unavailable"
    assert "isolation: process-seccomp" in refused.value.hint
    assert not old_kernel.engine.stats().workers
    old_kernel.route("hello")
    assert old_kernel.get("/hello")[0] == 503, "nobody serves it in the node's own process instead"


def test_who_accepts_seccomp_alone_is_served_there_and_it_is_told(old_kernel: Node, guests: Mapping[str, Path]) -> None:
    old_kernel.load(guests, "hello", tenant="t", isolation="process-seccomp")
    old_kernel.route("hello")
    assert old_kernel.get("/hello") == (200, b"hello\n")
    worker = old_kernel.worker("t")
    assert worker.landlock == 0
    assert "Seccomp:\t2" in Path(f"/proc/{worker.pid}/status").read_text()


def test_where_there_is_landlock_the_weaker_form_has_it_too(node: Node, guests: Mapping[str, Path]) -> None:
    node.load(guests, "hello", tenant="t", isolation="process-seccomp")
    assert node.worker("t").landlock > 0


def test_what_served_before_goes_on_when_its_next_version_asks_for_more_than_there_is(
    old_kernel: Node, guests: Mapping[str, Path]
) -> None:
    old_kernel.load(guests, "hello", tenant="t", isolation="shared")
    old_kernel.route("hello")
    with pytest.raises(_engine.EngineError, match="no Landlock"):
        old_kernel.load(guests, "hello", tenant="t")
    assert old_kernel.get("/hello") == (200, b"hello\n")


MANIFEST = """\
apiVersion: hanse.dev/v1
kind: Function
metadata: {name: ward, namespace: clinic}
spec:
  source: ./guest.wasm
  route: {path: /ward}
  isolation: %s
"""
ANYBODY = InvokePolicy(policies='@id("anybody") permit (principal, action, resource);', entities="[]")


def test_a_manifest_is_refused_by_the_nodes_runtime_with_the_code_that_its_report_carries(
    tmp_path: Path, guests: Mapping[str, Path]
) -> None:
    component = guests["hello"].read_bytes()

    def workload(isolation: str) -> Workload:
        (document,) = load([("function.yaml", MANIFEST % isolation)]).functions
        return document.to_workload(digest_bytes(component), len(component), 1)

    runtime = EngineRuntime(config(tmp_path / "compiled", command_without_landlock()))

    async def scenario() -> None:
        with pytest.raises(RuntimeFailure, match="no Landlock") as refused:
            await runtime.load(workload("process"), component, ANYBODY)
        assert refused.value.code == "isolation.unavailable"
        assert "process-seccomp" in refused.value.hint
        await runtime.load(workload("process-seccomp"), component, ANYBODY)
        worker = (await runtime.stats())[WorkloadId("clinic.ward")].worker
        assert worker is not None
        assert (worker.pid > 0, worker.landlock) == (True, 0)

    runtime.start()
    try:
        run(scenario())
    finally:
        runtime.stop(0)
