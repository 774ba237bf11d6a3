"""The engine as Python sees it: types, errors and attributes.

What it does on the wire is proven by its own Rust tests.
"""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from certificate_kit import Authority

from hanse import _engine

pytestmark = pytest.mark.engine

TRUST_DOMAIN = "test.example"
WHOLE_MIB = 1 << 20


class Node:
    """A running engine."""

    def __init__(self, name: str, cache: Path) -> None:
        self.name = name
        self.engine = _engine.Engine(
            _engine.EngineConfig(
                node=name,
                trust_domain=TRUST_DOMAIN,
                front_bind="127.0.0.1:0",
                mesh_bind="127.0.0.1:0",
                cache_dir=str(cache),
                max_instances=16,
            )
        )
        self.addresses = self.engine.start()

    @property
    def spiffe_id(self) -> str:
        return f"spiffe://{TRUST_DOMAIN}/node/{self.name}"

    def get(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection(self.addresses.front, timeout=60)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def load(self, component: Path, **limits: int) -> None:
        self.engine.load(component.stem, component.read_bytes(), _engine.Limits(**limits), [], {})

    def stats(self, workload: str) -> _engine.WorkloadStats:
        return next(stats for stats in self.engine.stats().workloads if stats.workload == workload)


def route(workload: str, *replicas: _engine.Replica) -> _engine.Route:
    return _engine.Route(workload=workload, path_prefix=f"/{workload}", replicas=replicas)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def node(cache: Path) -> Iterator[Node]:
    node = Node("a", cache)
    yield node
    node.engine.stop(0)


def test_a_component_is_described_without_running_it(guests: Mapping[str, Path]) -> None:
    component = guests["egress"].read_bytes()
    info = _engine.inspect(component)
    assert info.world == "wasi:http/proxy@0.2.0"
    assert isinstance(info.imports, tuple)
    assert "wasi:http/outgoing-handler@0.2.0" in info.imports
    assert info.exports == ("wasi:http/incoming-handler@0.2.0",)
    assert info.size_bytes == len(component)
    assert info.digest.startswith("sha256:")
    assert info == _engine.inspect(component)


@pytest.mark.parametrize(
    ("guest", "keep", "code"),
    [
        ("hello", 2000, "component.truncated"),
        ("hello", 0, "component.truncated"),
        ("core", None, "component.not_a_component"),
        ("command", None, "component.not_wasi_http"),
        ("exotic", None, "component.unsupported_import"),
    ],
)
def test_what_cannot_serve_is_refused_by_code(
    guests: Mapping[str, Path], node: Node, guest: str, keep: int | None, code: str
) -> None:
    component = guests[guest].read_bytes()[:keep]
    with pytest.raises(_engine.EngineError) as inspected:
        _engine.inspect(component)
    with pytest.raises(_engine.EngineError) as loaded:
        node.engine.load("w", component, _engine.Limits(), [], {})
    for error in (inspected.value, loaded.value):
        assert error.code == code
        assert error.message and error.hint
        assert code in str(error)


def test_text_and_size_are_refused_too(guests: Mapping[str, Path]) -> None:
    with pytest.raises(_engine.EngineError) as text:
        _engine.inspect(b"apiVersion: hanse.dev/v1")
    assert text.value.code == "component.not_a_component"
    with pytest.raises(_engine.EngineError) as large:
        _engine.inspect(guests["hello"].read_bytes(), max_bytes=100)
    assert large.value.code == "component.too_large"


def test_records_are_frozen_compared_by_value_and_made_by_keyword() -> None:
    limits = _engine.Limits(memory_bytes=WHOLE_MIB)
    assert (limits.memory_bytes, limits.timeout_ms) == (WHOLE_MIB, 10_000)
    assert limits == _engine.Limits(memory_bytes=WHOLE_MIB)
    assert limits != _engine.Limits()
    with pytest.raises(AttributeError):
        limits.memory_bytes = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        _engine.EgressRule("example.org", "DE")  # type: ignore[call-arg]
    replica = _engine.Replica(node="a", address="127.0.0.1:1", spiffe_id="spiffe://t/node/a", rtt_us=5)
    assert route("w", replica).replicas == (replica,)
    assert len({route("w", replica), route("w", replica)}) == 1


def test_a_loaded_workload_serves_and_is_counted(guests: Mapping[str, Path], node: Node) -> None:
    node.load(guests["hello"])
    node.engine.set_routes([route("hello")])
    status, headers, body = node.get("/hello")
    assert (status, body, headers["hanse-node"], headers["hanse-ingress"]) == (200, b"hello\n", "a", "a")
    assert node.engine.loaded() == ["hello"]
    stats = node.stats("hello")
    assert (stats.requests, stats.instances_started, stats.errors, stats.egress) == (1, 1, {}, {})
    assert stats.latency_us_p99 >= stats.latency_us_p50 > 0
    assert node.engine.unload("hello", grace_ms=0)
    assert not node.engine.unload("hello")
    assert node.get("/hello")[0] == 503


def test_a_fault_has_a_body_a_count_and_a_log_line(guests: Mapping[str, Path], node: Node) -> None:
    node.load(guests["trap"])
    node.engine.set_routes([route("trap")])
    status, headers, body = node.get("/trap")
    assert (status, headers["hanse-error"]) == (500, "guest.trap")
    answer = json.loads(body)
    assert answer.keys() == {"error", "message", "hint", "node"}
    assert (answer["error"], answer["node"]) == ("guest.trap", "a")
    assert node.stats("trap").errors == {"guest.trap": 1}
    (line,) = node.engine.logs("trap")
    assert (line.seq, line.stream) == (1, "fault")
    assert line.text.startswith("guest.trap: ")
    assert node.engine.logs("trap", after=1) == []
    assert node.engine.logs("unknown") == []


def test_limits_reach_the_guest(guests: Mapping[str, Path], node: Node) -> None:
    node.load(guests["hog"], memory_bytes=4 * WHOLE_MIB)
    node.load(guests["loop"], timeout_ms=100)
    node.engine.set_routes([route("hog"), route("loop")])
    assert node.get("/hog")[1]["hanse-error"] == "guest.memory"
    assert node.get("/loop")[1]["hanse-error"] == "guest.deadline"
    assert node.stats("hog").peak_memory_bytes <= 4 * WHOLE_MIB


def test_a_request_is_forwarded_over_mutual_tls(guests: Mapping[str, Path], node: Node, cache: Path) -> None:
    other = Node("b", cache)
    try:
        authority = Authority()
        for member in (node, other):
            member.engine.set_identity(*authority.issue_svid(member.spiffe_id), authority.bundle)
        other.load(guests["hello"])
        replica = _engine.Replica(node="b", address=other.addresses.mesh, spiffe_id=other.spiffe_id, rtt_us=10)
        node.engine.set_routes([route("hello", replica)])
        status, headers, _ = node.get("/hello")
        assert (status, headers["hanse-node"], headers["hanse-ingress"]) == (200, "b", "a")
        assert (node.stats("hello").forwarded, other.stats("hello").from_mesh) == (1, 1)
        (known,) = node.engine.stats().replicas
        assert (known.node, known.address, known.ejected) == ("b", other.addresses.mesh, False)
        assert known.rtt_us > 0
    finally:
        other.engine.stop(0)


@pytest.mark.parametrize(
    "uris",
    [
        ("spiffe://other.example/node/a",),
        (f"spiffe://{TRUST_DOMAIN}/node/b",),
        (f"spiffe://{TRUST_DOMAIN}/node/a", f"spiffe://{TRUST_DOMAIN}/node/b"),
        ("https://test.example/node/a",),
    ],
)
def test_an_identity_that_is_not_this_nodes_is_refused(node: Node, uris: tuple[str, ...]) -> None:
    authority = Authority()
    with pytest.raises(_engine.EngineError) as refused:
        node.engine.set_identity(*authority.issue_svid(*uris), authority.bundle)
    assert refused.value.code == "engine.identity_invalid"


def test_a_route_has_defaults_and_an_unknown_hash_key_is_refused(node: Node) -> None:
    plain = _engine.Route(workload="w", path_prefix="/w", replicas=[])
    assert (plain.hash_on, plain.hedge, plain.max_in_flight) == (None, True, 4096)
    node.engine.set_routes([_engine.Route(workload="w", path_prefix="/w", replicas=[], hash_on="header:x-user")])
    with pytest.raises(_engine.EngineError) as refused:
        node.engine.set_routes([_engine.Route(workload="w", path_prefix="/w", replicas=[], hash_on="cookie")])
    assert refused.value.code == "route.invalid"


def test_what_the_router_did_is_counted(guests: Mapping[str, Path], node: Node) -> None:
    node.load(guests["hello"])
    node.engine.set_routes([_engine.Route(workload="hello", path_prefix="/hello", replicas=[], max_in_flight=1)])
    assert node.get("/hello")[0] == 200
    stats = node.stats("hello")
    assert (stats.shed, stats.hedged, stats.hedges_won, stats.retries_denied, stats.in_flight_limit) == (0, 0, 0, 0, 1)


def test_a_component_is_believed_by_its_digest_only_when_it_was_compiled(
    guests: Mapping[str, Path], node: Node, tmp_path: Path
) -> None:
    component = guests["hello"].read_bytes()
    digest = _engine.inspect(component).digest
    node.engine.load("w", component, _engine.Limits(), [], {}, digest=digest)
    assert node.engine.loaded() == ["w"]
    fresh = Node("fresh", tmp_path)
    try:
        with pytest.raises(_engine.EngineError) as refused:
            fresh.engine.load("w", component, _engine.Limits(), [], {}, digest="sha256:" + "0" * 64)
        assert refused.value.code == "component.digest_mismatch"
    finally:
        fresh.engine.stop(0)


def test_routes_that_collide_are_refused_and_the_old_ones_stay(guests: Mapping[str, Path], node: Node) -> None:
    node.load(guests["hello"])
    node.engine.set_routes([route("hello")])
    with pytest.raises(_engine.EngineError) as refused:
        node.engine.set_routes([route("hello"), route("hello")])
    assert refused.value.code == "route.duplicate"
    assert node.get("/hello")[0] == 200


def test_a_component_compiled_by_another_process_is_not_compiled_again(
    guests: Mapping[str, Path], tmp_path: Path
) -> None:
    script = "import sys; from hanse import _engine; _engine.precompile(open(sys.argv[1], 'rb').read(), sys.argv[2])"
    command = [sys.executable, "-c", script, str(guests["hello"]), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(_engine.__file__).parent.parent)}
    subprocess.run(command, env=environment, check=True, timeout=600)
    node = Node("c", tmp_path)
    try:
        node.load(guests["hello"])
        stats = node.engine.stats()
        assert (stats.cache_hits, stats.cache_misses) == (1, 0)
    finally:
        node.engine.stop(0)


def test_setup_errors_have_codes(node: Node, tmp_path: Path) -> None:
    def config(front: str, cache: Path) -> _engine.EngineConfig:
        return _engine.EngineConfig(
            node="b",
            trust_domain=TRUST_DOMAIN,
            front_bind=front,
            mesh_bind="127.0.0.1:0",
            cache_dir=str(cache),
            max_instances=1,
        )

    with pytest.raises(_engine.EngineError) as in_use:
        _engine.Engine(config(node.addresses.front, tmp_path)).start()
    assert in_use.value.code == "engine.address_in_use"
    with pytest.raises(_engine.EngineError) as no_address:
        _engine.Engine(config("nowhere", tmp_path)).start()
    assert no_address.value.code == "engine.address_invalid"
    (tmp_path / "file").write_text("")
    with pytest.raises(_engine.EngineError) as no_cache:
        _engine.Engine(config("127.0.0.1:0", tmp_path / "file" / "cache"))
    assert no_cache.value.code == "cache.io"


def test_the_interpreter_runs_while_the_engine_waits(guests: Mapping[str, Path], node: Node) -> None:
    """A request that ends when this thread says so is waited for by another one, which holds no lock meanwhile."""
    node.load(guests["echo"], timeout_ms=120_000)
    node.engine.set_routes([route("echo")])
    with contextlib.closing(http.client.HTTPConnection(node.addresses.front, timeout=60)) as client:
        client.putrequest("POST", "/echo")
        client.putheader("content-length", "2")
        client.endheaders(b"a")
        _until(lambda: node.stats("echo").instances_started > 0)
        with ThreadPoolExecutor() as threads:
            is_asked = threading.Event()

            def unload() -> bool:
                is_asked.set()
                return node.engine.unload("echo", 60_000)

            unloading = threads.submit(unload)
            is_asked.wait()
            for _ in range(10_000):
                assert not unloading.done()
            client.send(b"b")
            assert client.getresponse().read() == b"ab"
            assert unloading.result()


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_stopped_engine_says_so(cache: Path) -> None:
    node = Node("c", cache)
    node.engine.stop(0)
    node.engine.stop()
    with pytest.raises(_engine.EngineError) as stopped:
        node.engine.start()
    assert stopped.value.code == "engine.stopped"
