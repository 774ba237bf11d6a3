//! Every number that bounds the engine or a guest, with its unit, and why the default is what it is.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

/// How one engine is set up. Read once, by [`crate::Engine::new`].
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Id of this node: the last segment of its SPIFFE ID.
    pub node: String,
    /// Trust domain of the fabric, lower case, such as `hanse.example`.
    pub trust_domain: String,
    /// `ip:port` of the public HTTP listener; port 0 takes a free one.
    pub front_bind: String,
    /// Whether the front speaks TLS; clients are then refused until [`crate::Engine::set_front_tls`] gave it a certificate.
    pub front_tls: bool,
    /// `ip:port` of the listener for other nodes; port 0 takes a free one.
    pub mesh_bind: String,
    /// Listening sockets of front and mesh that another process has bound, as file descriptors that become this engine's own;
    /// the two addresses above are then not used.
    pub inherited: Option<(RawFd, RawFd)>,
    /// Directory of compiled components; only this engine's user may write to it.
    pub cache_dir: PathBuf,
    /// Guest instances alive at once over all workloads. Each reserves (does not use) 4 GiB of address space.
    pub max_instances: u32,
    /// Threads that run guests and connections.
    pub worker_threads: usize,
    /// Largest component accepted, in bytes; a component with an interpreter inside has some 20 to 40 MiB.
    pub max_component_bytes: usize,
    /// Connections open at once on the front; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Time for a client to send a whole request header, and for a new connection to send its first.
    pub header_timeout_ms: u64,
    /// Time for a client to take some of what is written to it; one that takes nothing for so long is let go.
    pub write_timeout_ms: u64,
    /// Time for a connection to another node, TLS handshake included. A dead node must not eat the deadline.
    pub connect_timeout_ms: u64,
    /// Deadline of a request that is forwarded; the workload's own limit holds where it runs.
    pub request_timeout_ms: u64,
    /// Lines kept per workload for its owner.
    pub log_lines: usize,
    /// Program and arguments that become a worker process by calling [`crate::work`]; empty where tenants cannot have processes of
    /// their own.
    pub worker_command: Vec<String>,
    /// Worker processes alive at once, one per tenant that asks for its own.
    pub max_workers: usize,
    /// Memory that one worker may make writable, in bytes. Each instance counts with what it grew to, and the process itself with
    /// some tens of MiB; the limits of the workloads lie below.
    pub worker_memory_bytes: u64,
    /// Where spans go; `None`: requests are not traced, and what clients say about traces is passed on untouched.
    pub traces: Option<Traces>,
    /// Where lines about requests at the front go; `None`: there are none.
    pub access_log: Option<AccessLog>,
    /// Whether spans and access log name the path of a request, which may name a person; never its query.
    pub tell_paths: bool,
    /// Where the random choices of the router begin; mixed with the node's id, so that nodes differ under one seed.
    pub seed: u64,
}

impl EngineConfig {
    /// A configuration with the defaults for everything but identity, addresses and cache.
    pub fn new(
        node: impl Into<String>,
        trust_domain: impl Into<String>,
        front_bind: impl Into<String>,
        mesh_bind: impl Into<String>,
        cache_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            node: node.into(),
            trust_domain: trust_domain.into(),
            front_bind: front_bind.into(),
            front_tls: false,
            mesh_bind: mesh_bind.into(),
            inherited: None,
            cache_dir: cache_dir.into(),
            max_instances: 256,
            worker_threads: 2,
            max_component_bytes: 64 << 20,
            max_connections: 4096,
            header_timeout_ms: 10_000,
            write_timeout_ms: 30_000,
            connect_timeout_ms: 1_000,
            request_timeout_ms: 30_000,
            log_lines: 1_000,
            worker_command: Vec::new(),
            max_workers: 64,
            worker_memory_bytes: 8 << 30,
            traces: None,
            access_log: None,
            tell_paths: false,
            seed: 0,
        }
    }

    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    pub(crate) fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

/// Tracing of requests, told to a collector by OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// Base address of the collector, `http://host:port` or `https://host`; `/v1/traces` is added.
    pub endpoint: String,
    /// Of a million traces that begin at this node, so many are recorded; for others whoever began them decides.
    pub ratio_ppm: u32,
    /// Spans that wait for the collector at most; beyond it they are dropped and counted. A span takes about 1 KiB.
    pub queue: usize,
}

impl Traces {
    /// Room for some seconds without a collector.
    pub const QUEUE: usize = 4_096;
}

/// The log of requests at the front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// The file, appended to, one JSON object a line; made anew when it was moved away.
    pub path: PathBuf,
    /// Of a million requests without error, so many are written; those with an error always are.
    pub ratio_ppm: u32,
}

/// What one workload may use. wasmtime leaves each of these open; none is optional here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes.
    pub memory_bytes: usize,
    /// Time from arrival to the end of the answer, in milliseconds; queueing counts.
    pub timeout_ms: u64,
    /// Request body, in bytes; beyond it 413.
    pub request_body_bytes: u64,
    /// Response body, in bytes; beyond it the answer is cut off.
    pub response_body_bytes: u64,
    /// Requests that run at once.
    pub concurrency: u32,
    /// Requests that wait for their turn; beyond it 503.
    pub queue: u32,
    /// Elements of one table.
    pub table_elements: usize,
    /// Tables of one instance; a component made of many modules has one or two for each.
    pub tables: usize,
    /// Core instances of one component instance; a component with a Python interpreter has some thirty.
    pub core_instances: usize,
    /// Bytes that one host call may copy out of the guest.
    pub hostcall_bytes: usize,
    /// Host resources (streams, bodies, headers) alive at once in one instance.
    pub resources: usize,
    /// Bytes per call for random data.
    pub random_bytes: u64,
    /// Size of one set of header fields, in bytes of memory.
    pub header_bytes: usize,
    /// Outgoing requests of one instance that are open at once.
    pub egress_concurrency: u32,
    /// Bytes one request may write to stdout and stderr; the rest is dropped.
    pub log_bytes: usize,
    /// Whether instances serve more than one request.
    pub reuse: Reuse,
    /// Trust class: workloads of one class share a wasmtime engine and its pool of memories, others never do.
    pub class: String,
    /// Whether the class has a process of its own as well.
    pub isolation: Isolation,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            timeout_ms: 10_000,
            request_body_bytes: 10 << 20,
            response_body_bytes: 64 << 20,
            concurrency: 64,
            queue: 1024,
            table_elements: 100_000,
            tables: 100,
            core_instances: 200,
            hostcall_bytes: 16 << 20,
            resources: 10_000,
            random_bytes: 1 << 20,
            header_bytes: 128 << 10,
            egress_concurrency: 16,
            log_bytes: 64 << 10,
            reuse: Reuse::default(),
            class: String::new(),
            isolation: Isolation::Shared,
        }
    }
}

impl Limits {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// What stands between a workload and those of other tenants, beside the walls of WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Nothing: guests of all tenants run in the node's process, each in its own instance.
    #[default]
    Shared,
    /// A process for its trust class alone, behind Landlock and seccomp; refused where the kernel lacks either.
    Process,
    /// The same, but on a kernel without Landlock seccomp alone will do.
    ProcessSeccomp,
}

/// How long an instance lives beyond its first request. Its memory is seen by every request it serves: whoever switches
/// this on says that the requests of one workload may know about each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reuse {
    /// Requests one instance serves at most; 1 makes a fresh one for each.
    pub count: u32,
    /// Requests one instance serves at once; above 1 only components of WASI 0.3 do, others one after the other.
    pub concurrency: u32,
    /// Time an instance waits for another request, in milliseconds.
    pub idle_ms: u64,
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            count: 1,
            concurrency: 1,
            idle_ms: 1_000,
        }
    }
}

impl Reuse {
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }
}

/// One destination a workload may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressRule {
    /// `name` (its default ports only) or `name:port`; an address literal works alike.
    pub host: String,
    /// Label under which the bytes are counted, such as `DE`.
    pub jurisdiction: String,
    /// Whether the name may resolve to a loopback, private or link-local address.
    pub allow_private: bool,
}
