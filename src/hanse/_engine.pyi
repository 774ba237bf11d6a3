"""The native engine of a node: a wasi:http host, an ingress, a router and mutual TLS, in Rust.

Methods release the interpreter while they wait or compute, and may be called from any thread.
"""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import final

__all__ = [
    "INVOKE_SCHEMA",
    "Access",
    "Addresses",
    "Analysis",
    "ComponentInfo",
    "DecisionCount",
    "EgressBytes",
    "EgressRule",
    "Engine",
    "EngineConfig",
    "EngineError",
    "EngineStats",
    "JwtRule",
    "Limits",
    "LogLine",
    "Replica",
    "ReplicaStats",
    "Route",
    "WorkerStats",
    "WorkloadStats",
    "analyse",
    "escape_attempts",
    "inspect",
    "precompile",
    "work",
]

INVOKE_SCHEMA: str
"""The Cedar schema of the request path: what policies about `invoke` may speak of."""

class EngineError(Exception):
    """An operation of the engine failed: code, message and hint say how, what and what to do."""

    code: str
    message: str
    hint: str

def inspect(component: bytes, *, max_bytes: int = 67108864) -> ComponentInfo:
    """Check that a component can be served, and describe it.

    Raises EngineError: component.too_large, component.not_a_component, component.truncated,
    component.invalid, component.not_wasi_http, component.unsupported_import.
    """

def precompile(component: bytes, cache_dir: str | PathLike[str], *, max_bytes: int = 67108864) -> None:
    """Compile a component into a cache directory, for an engine that loads it later.

    Compiling a component with an interpreter takes hundreds of MiB for some seconds; run in a process of
    its own, this keeps that away from the one that serves.

    Raises EngineError: the codes of inspect, component.compile_failed, engine.setup, cache.io.
    """

def work() -> None:
    """Be a worker process of an engine, which started this one; returns when that engine is done with it.

    To be called on the only thread of a fresh interpreter. Raises EngineError: worker.start_failed.
    """

def escape_attempts(config: EngineConfig, *, landlock_alone: bool = False) -> list[tuple[str, bool, str]]:
    """Have worker processes try every known way out: name, whether the kernel refused it, and how.

    With `landlock_alone` seccomp is left out, and only what Landlock is asked about is tried.
    Raises EngineError: isolation.unavailable, worker.start_failed.
    """

@final
class Analysis:
    """What came of a question to the solver."""

    @property
    def outcome(self) -> str:
        """`never`, `counterexample` or `undecided`."""
    @property
    def principal(self) -> str:
        """Id of the principal of the counterexample; empty without one."""
    @property
    def resource(self) -> str:
        """Id of the resource of the counterexample; empty without one."""
    @property
    def entities(self) -> str:
        """Every entity of the counterexample in Cedar's JSON form; empty without one."""

def analyse(
    question: str,
    schema: str,
    principal: str,
    action: str,
    resource: str,
    rules: str,
    other: str,
    solve: Callable[[str], str],
) -> Analysis:
    """Ask whether some request is allowed by `rules` and denied by `other` (`escapes`), or whether the one policy
    `rules` can err (`errs`), among all requests that the schema allows for the action between these types.

    `solve` answers one SMT-LIB script: `sat`, `unsat` or `unknown`, and the model after `sat` where it is asked for.

    Raises EngineError: prove.input, prove.unsupported, prove.solver; and what `solve` raises.
    """

@final
class ComponentInfo:
    """What a component needs and offers."""

    @property
    def world(self) -> str: ...
    @property
    def imports(self) -> tuple[str, ...]: ...
    @property
    def exports(self) -> tuple[str, ...]: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def digest(self) -> str:
        """`sha256:` and the digest in lower-case hexadecimal digits."""

@final
class Limits:
    """What one workload may use; sizes in bytes, times in milliseconds."""

    def __new__(
        cls,
        *,
        memory_bytes: int = 67108864,
        timeout_ms: int = 10000,
        request_body_bytes: int = 10485760,
        response_body_bytes: int = 67108864,
        concurrency: int = 64,
        queue: int = 1024,
        table_elements: int = 100000,
        tables: int = 100,
        core_instances: int = 200,
        hostcall_bytes: int = 16777216,
        resources: int = 10000,
        random_bytes: int = 1048576,
        header_bytes: int = 131072,
        egress_concurrency: int = 16,
        log_bytes: int = 65536,
        reuse_count: int = 1,
        reuse_concurrency: int = 1,
        reuse_idle_ms: int = 1000,
        trust_class: str = "",
        isolation: str = "shared",
    ) -> Limits: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def timeout_ms(self) -> int: ...
    @property
    def request_body_bytes(self) -> int: ...
    @property
    def response_body_bytes(self) -> int: ...
    @property
    def concurrency(self) -> int:
        """Requests that run at once."""
    @property
    def queue(self) -> int:
        """Requests that wait for their turn; beyond it 503."""
    @property
    def table_elements(self) -> int: ...
    @property
    def tables(self) -> int: ...
    @property
    def core_instances(self) -> int: ...
    @property
    def hostcall_bytes(self) -> int: ...
    @property
    def resources(self) -> int: ...
    @property
    def random_bytes(self) -> int: ...
    @property
    def header_bytes(self) -> int: ...
    @property
    def egress_concurrency(self) -> int: ...
    @property
    def log_bytes(self) -> int: ...
    @property
    def reuse_count(self) -> int:
        """Requests one instance serves at most; 1 makes a fresh one for each."""
    @property
    def reuse_concurrency(self) -> int:
        """Requests one instance serves at once; above 1 only components of WASI 0.3 do."""
    @property
    def reuse_idle_ms(self) -> int: ...
    @property
    def trust_class(self) -> str:
        """Workloads of one class share a wasmtime engine and its pool of memories, others never do."""
    @property
    def isolation(self) -> str:
        """`shared`, or the trust class has a worker process of its own: `process`, `process-seccomp`."""

@final
class EgressRule:
    """One destination a workload may call: `name` (default ports only) or `name:port`."""

    def __new__(cls, *, host: str, jurisdiction: str, allow_private: bool = False) -> EgressRule: ...
    @property
    def host(self) -> str: ...
    @property
    def jurisdiction(self) -> str: ...
    @property
    def allow_private(self) -> bool: ...
    def __hash__(self) -> int: ...

@final
class JwtRule:
    """Which tokens a workload accepts; an empty `jwks` means the keys that the node was given for the issuer."""

    def __new__(cls, *, issuer: str, audience: str, jwks: str = "", is_optional: bool = False) -> JwtRule: ...
    @property
    def issuer(self) -> str: ...
    @property
    def audience(self) -> str: ...
    @property
    def jwks(self) -> str: ...
    @property
    def is_optional(self) -> bool:
        """Whether a request without a token passes as anonymous."""
    def __hash__(self) -> int: ...

@final
class Access:
    """Who may invoke a workload: policies in the Cedar language, entities in Cedar's JSON form, itself among them."""

    def __new__(cls, *, policies: str, entities: str) -> Access: ...
    @property
    def policies(self) -> str: ...
    @property
    def entities(self) -> str: ...
    def __hash__(self) -> int: ...

@final
class Replica:
    """A node that runs a workload, its mesh address and the identity it must show."""

    def __new__(cls, *, node: str, address: str, spiffe_id: str, rtt_us: int) -> Replica: ...
    @property
    def node(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def spiffe_id(self) -> str: ...
    @property
    def rtt_us(self) -> int: ...
    def __hash__(self) -> int: ...

@final
class Route:
    """A path prefix (whole segments) of the front and the workload behind it."""

    def __new__(
        cls,
        *,
        workload: str,
        path_prefix: str,
        host: str | None = None,
        replicas: Sequence[Replica],
        hash_on: str | None = None,
        hedge: bool = True,
        max_in_flight: int = 4096,
        auth: JwtRule | None = None,
    ) -> Route: ...
    @property
    def workload(self) -> str: ...
    @property
    def path_prefix(self) -> str: ...
    @property
    def host(self) -> str | None: ...
    @property
    def replicas(self) -> tuple[Replica, ...]: ...
    @property
    def hash_on(self) -> str | None:
        """`path` or `header:<name>`: equal values go to the same replica."""
    @property
    def hedge(self) -> bool:
        """Whether a safe request that takes long elsewhere is asked of a second replica as well."""
    @property
    def max_in_flight(self) -> int:
        """Requests this front holds at once at most; the limit in force follows the latency."""
    @property
    def auth(self) -> JwtRule | None:
        """Tokens that requests must carry; refused at the front."""
    def __hash__(self) -> int: ...

@final
class EngineConfig:
    """How one engine is set up; read once."""

    def __new__(
        cls,
        *,
        node: str,
        trust_domain: str,
        front_bind: str,
        mesh_bind: str,
        cache_dir: str,
        max_instances: int = 256,
        worker_threads: int = 2,
        max_component_bytes: int = 67108864,
        max_connections: int = 4096,
        header_timeout_ms: int = 10000,
        write_timeout_ms: int = 30000,
        connect_timeout_ms: int = 1000,
        request_timeout_ms: int = 30000,
        log_lines: int = 1000,
        seed: int = 0,
        front_tls: bool = False,
        inherited: tuple[int, int] | None = None,
        worker_command: Sequence[str] = (),
        max_workers: int = 64,
        worker_memory_bytes: int = 8589934592,
        otlp_endpoint: str | None = None,
        trace_ratio_ppm: int = 0,
        trace_queue: int = 4096,
        access_log: str | None = None,
        access_log_ratio_ppm: int = 0,
        tell_paths: bool = False,
    ) -> EngineConfig: ...
    @property
    def node(self) -> str: ...
    @property
    def trust_domain(self) -> str: ...
    @property
    def front_bind(self) -> str: ...
    @property
    def mesh_bind(self) -> str: ...
    @property
    def cache_dir(self) -> str: ...
    @property
    def max_instances(self) -> int: ...
    @property
    def worker_threads(self) -> int: ...
    @property
    def max_component_bytes(self) -> int: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def header_timeout_ms(self) -> int: ...
    @property
    def write_timeout_ms(self) -> int: ...
    @property
    def connect_timeout_ms(self) -> int: ...
    @property
    def request_timeout_ms(self) -> int: ...
    @property
    def log_lines(self) -> int: ...
    @property
    def seed(self) -> int:
        """Where the random choices of the router begin."""
    @property
    def worker_command(self) -> list[str]:
        """Program and arguments that become a worker process by calling `work`; empty: no `isolation: process`."""
    @property
    def max_workers(self) -> int: ...
    @property
    def worker_memory_bytes(self) -> int:
        """Memory that one worker process may make writable."""
    @property
    def front_tls(self) -> bool:
        """Whether the front speaks TLS; clients are then refused until it has a certificate."""
    @property
    def inherited(self) -> tuple[int, int] | None:
        """Listening sockets of front and mesh that another process has bound; they become the engine's own."""
    @property
    def otlp_endpoint(self) -> str | None:
        """Base address of the collector of spans (OTLP over HTTP); None: requests are not traced."""
    @property
    def trace_ratio_ppm(self) -> int:
        """Of a million traces that begin here, so many are recorded."""
    @property
    def trace_queue(self) -> int:
        """Spans that wait for the collector at most."""
    @property
    def access_log(self) -> str | None:
        """File of lines about requests at the front; None: there is none."""
    @property
    def access_log_ratio_ppm(self) -> int:
        """Of a million requests without error, so many are written; those with an error always are."""
    @property
    def tell_paths(self) -> bool:
        """Whether spans and access log name paths, which may name people."""

@final
class Addresses:
    """Where a started engine listens, as `ip:port`."""

    @property
    def front(self) -> str: ...
    @property
    def mesh(self) -> str: ...
    def __hash__(self) -> int: ...

@final
class DecisionCount:
    """Decisions of one kind about one workload since the engine started."""

    @property
    def is_allowed(self) -> bool: ...
    @property
    def is_error(self) -> bool:
        """Whether a policy could not be evaluated, which denies."""
    @property
    def policies(self) -> tuple[str, ...]:
        """`@id`s of the policies that decided, sorted; none where nothing permitted it."""
    @property
    def principal(self) -> str:
        """Kind of principal: `anonymous`, `user`, `certificate`, `workload` or `node`."""
    @property
    def count(self) -> int: ...
    @property
    def first_us(self) -> int: ...
    @property
    def last_us(self) -> int: ...
    @property
    def sample_us(self) -> int:
        """When one of the last was decided."""
    @property
    def sample_trace(self) -> str:
        """Its trace; empty without tracing."""
    def __hash__(self) -> int: ...

@final
class EgressBytes:
    """Body bytes exchanged with destinations of one jurisdiction."""

    @property
    def sent(self) -> int: ...
    @property
    def received(self) -> int: ...
    def __hash__(self) -> int: ...

@final
class WorkloadStats:
    """Counts of one workload on this node since the engine started."""

    @property
    def workload(self) -> str: ...
    @property
    def requests(self) -> int:
        """Requests that reached this node, from clients and from other nodes."""
    @property
    def from_mesh(self) -> int:
        """Those of them that other nodes had passed on."""
    @property
    def in_flight(self) -> int: ...
    @property
    def forwarded(self) -> int:
        """Requests that another node answered."""
    @property
    def retried(self) -> int: ...
    @property
    def retries_denied(self) -> int:
        """Attempts that the retry budget did not allow."""
    @property
    def hedged(self) -> int:
        """Requests asked of a second replica because the first took long."""
    @property
    def hedges_won(self) -> int: ...
    @property
    def shed(self) -> int:
        """Requests refused because the route held as many as it may."""
    @property
    def in_flight_limit(self) -> int:
        """Requests the front may hold at once by the latency it measured; 0 before the first."""
    @property
    def instances(self) -> int:
        """Instances alive now."""
    @property
    def instances_started(self) -> int:
        """Instances made (cold starts)."""
    @property
    def warm_starts(self) -> int:
        """Requests given to an instance that had served others."""
    @property
    def interrupts(self) -> int:
        """Times a guest had computed for a whole interval and let others run."""
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def cpu_us(self) -> int: ...
    @property
    def peak_memory_bytes(self) -> int: ...
    @property
    def latency_us_p50(self) -> int: ...
    @property
    def latency_us_p99(self) -> int: ...
    @property
    def instantiate_us_p50(self) -> int: ...
    @property
    def instantiate_us_p99(self) -> int: ...
    @property
    def policy_us_p50(self) -> int: ...
    @property
    def policy_us_p99(self) -> int: ...
    @property
    def decisions(self) -> list[DecisionCount]:
        """What was decided about who may invoke it, by kind."""
    @property
    def errors(self) -> dict[str, int]:
        """Failed requests by error code."""
    @property
    def egress(self) -> dict[str, EgressBytes]:
        """Bytes by jurisdiction of the destination."""

@final
class ReplicaStats:
    """What this node knows about one replica on another node."""

    @property
    def node(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def rtt_us(self) -> int:
        """Expected time to response header: measured, the modelled one until then."""
    @property
    def in_flight(self) -> int: ...
    @property
    def ejected(self) -> bool: ...
    def __hash__(self) -> int: ...

@final
class WorkerStats:
    """One worker process: a tenant's guests, shut in."""

    @property
    def tenant(self) -> str: ...
    @property
    def pid(self) -> int:
        """Process id; 0 while it is being started anew."""
    @property
    def restarts(self) -> int: ...
    @property
    def last_end(self) -> str:
        """How it ended the last time; empty before the first."""
    @property
    def landlock(self) -> int:
        """Version of Landlock in force; 0 where seccomp stands alone."""
    @property
    def start_us(self) -> int: ...
    @property
    def rss_bytes(self) -> int: ...
    @property
    def cpu_us(self) -> int:
        """Processor time by the kernel's account."""
    @property
    def workloads(self) -> list[str]: ...
    def __hash__(self) -> int: ...

@final
class EngineStats:
    """Everything the engine counts."""

    @property
    def workloads(self) -> tuple[WorkloadStats, ...]: ...
    @property
    def replicas(self) -> tuple[ReplicaStats, ...]: ...
    @property
    def workers(self) -> tuple[WorkerStats, ...]:
        """Worker processes, in the order of their tenants."""
    @property
    def connections(self) -> int: ...
    @property
    def cache_hits(self) -> int: ...
    @property
    def cache_misses(self) -> int: ...
    @property
    def cache_hashed(self) -> int:
        """Compiled components that were read whole to compare their digest."""
    @property
    def cache_write_failures(self) -> int: ...
    @property
    def mesh_refused(self) -> int: ...
    @property
    def unrouted(self) -> int: ...
    @property
    def trust_classes(self) -> int:
        """Trust classes in use, each with a wasmtime engine of its own."""
    @property
    def spans_exported(self) -> int:
        """Spans that the collector took."""
    @property
    def spans_dropped(self) -> int:
        """Spans dropped for lack of room or of a collector."""
    @property
    def export_failures(self) -> int: ...
    @property
    def access_lines(self) -> int:
        """Lines written to the access log."""
    @property
    def access_lines_lost(self) -> int: ...
    @property
    def cut_off(self) -> dict[str, int]:
        """Connections of clients that were refused or cut off, by reason."""

@final
class LogLine:
    """One line of a workload's log; the stream is stdout, stderr or fault."""

    @property
    def seq(self) -> int: ...
    @property
    def time_us(self) -> int: ...
    @property
    def stream(self) -> str: ...
    @property
    def text(self) -> str: ...
    def __hash__(self) -> int: ...

@final
class Engine:
    """The data plane of one node."""

    def __new__(cls, config: EngineConfig) -> Engine:
        """Raises EngineError: engine.config_invalid, engine.setup, cache.io."""
    def bind(self) -> Addresses:
        """Bind both listeners, or take up those inherited, without accepting: clients wait in the kernel's queue.

        Raises EngineError: engine.address_in_use, engine.address_invalid, engine.socket_invalid, engine.setup,
        engine.stopped.
        """
    def start(self) -> Addresses:
        """Begin to serve, binding first if that has not been done; other nodes are refused until there is an identity.

        Raises EngineError: engine.address_in_use, engine.address_invalid, engine.setup, engine.stopped.
        """
    def sockets(self) -> tuple[int, int]:
        """Descriptors of the listening sockets of front and mesh, to be sent to another process; still the engine's.

        Raises EngineError: engine.stopped.
        """
    def hand_over(self, grace_ms: int = 10000) -> None:
        """Accept no more, because another process does, and end when every client has gone or the grace is over.

        HTTP/1 clients hear it with their next answer; a connection on which nobody asks is closed at three quarters of
        the grace.
        """
    def set_identity(
        self,
        certificate_chain_pem: bytes,
        private_key_pem: bytes,
        trust_bundle_pem: bytes,
        revoked: Sequence[str] = (),
    ) -> None:
        """Take a new certificate, key and trust bundle, and the SPIFFE IDs that are refused from now on.

        Raises EngineError: engine.identity_invalid.
        """
    def set_front_tls(
        self,
        certificates: Sequence[tuple[bytes, bytes]],
        *,
        client_auth: str = "none",
        client_bundle_pem: bytes = b"",
    ) -> None:
        """Take new certificates (chain and key, PEM) for the front; the first is for unknown server names.

        `client_auth` is ``none``, ``request`` or ``require``; the bundle holds the authorities of clients.
        Raises EngineError: engine.front_tls_invalid; the old ones stay.
        """
    def set_issuer_keys(self, issuer: str, jwks: str) -> None:
        """Take the public keys of a token issuer. Raises EngineError: engine.jwks_invalid; the old ones stay."""
    def set_auth(self, workload: str, rule: JwtRule | None) -> None:
        """Demand a token of everybody who asks `workload` on this node; to be called before it is loaded.

        Raises EngineError: engine.jwks_invalid.
        """
    def load(
        self,
        workload: str,
        component: bytes,
        limits: Limits,
        egress: Sequence[EgressRule],
        env: dict[str, str],
        *,
        digest: str | None = None,
        access: Access | None = None,
    ) -> None:
        """Make a workload ready to run here, or replace it without a failed request; no change, no work.

        With `digest`, the SHA-256 that the caller has compared the component with already, the bytes of a component
        that was compiled before are not looked at.

        `access` is in force before the component is; without it everybody may invoke the workload.

        Raises EngineError: policy.invalid, the component codes of inspect, component.digest_mismatch and
        component.compile_failed; with an isolation of its own also isolation.unavailable, worker.start_failed and
        worker.too_many.
        """
    def load_service(self, workload: str, upstream: str, limits: Limits, *, authorities: bytes | None = None) -> None:
        """Make a service at `upstream` answer for `workload`: ``ip:port`` beside this node, or ``https://host:port``.

        `authorities` (PEM) are believed there instead of the public ones. Raises EngineError: service.upstream_invalid.
        """
    def unload(self, workload: str, grace_ms: int = 10000) -> bool:
        """Take a workload off after its requests have ended, or after the grace; whether it was loaded."""
    def loaded(self) -> list[str]:
        """Return the names of the loaded workloads, sorted."""
    def set_routes(self, routes: Sequence[Route]) -> None:
        """Replace the whole route table at once. Raises EngineError: route.invalid, route.duplicate."""
    def stats(self) -> EngineStats:
        """Return a copy of every count."""
    def logs(self, workload: str, after: int = 0, limit: int = 1000) -> list[LogLine]:
        """Return lines of a workload's log with a number above `after`, oldest first."""
    def stop(self, grace_ms: int = 10000) -> None:
        """Stop listening, let requests end within the grace, then end everything; twice is once."""
