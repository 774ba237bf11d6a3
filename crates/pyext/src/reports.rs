//! What the engine tells Python: addresses, components, statistics and log lines.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

macro_rules! repr {
    ($($class:ident),+) => {
        $(#[pymethods]
        impl $class {
            fn __repr__(&self) -> String {
                format!("{self:?}")
            }
        })+
    };
}

/// Where a started engine listens.
#[pyclass(frozen, get_all, eq, hash, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Addresses {
    front: String,
    mesh: String,
}

impl From<hanse_engine::Addresses> for Addresses {
    fn from(addresses: hanse_engine::Addresses) -> Self {
        Self {
            front: addresses.front,
            mesh: addresses.mesh,
        }
    }
}

/// What a component needs and offers.
#[pyclass(frozen, eq, hash, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ComponentInfo {
    #[pyo3(get)]
    world: String,
    imports: Vec<String>,
    exports: Vec<String>,
    #[pyo3(get)]
    size_bytes: usize,
    #[pyo3(get)]
    digest: String,
}

#[pymethods]
impl ComponentInfo {
    #[getter]
    fn imports<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.imports)
    }

    #[getter]
    fn exports<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.exports)
    }

    fn __repr__(&self) -> String {
        format!("{self:?}")
    }
}

impl From<hanse_engine::ComponentInfo> for ComponentInfo {
    fn from(info: hanse_engine::ComponentInfo) -> Self {
        Self {
            world: info.world,
            imports: info.imports,
            exports: info.exports,
            size_bytes: info.size_bytes,
            digest: info.digest,
        }
    }
}

/// One line of a workload's log.
#[pyclass(frozen, get_all, eq, hash, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LogLine {
    seq: u64,
    time_us: u64,
    stream: String,
    text: String,
}

impl From<hanse_engine::LogLine> for LogLine {
    fn from(line: hanse_engine::LogLine) -> Self {
        Self {
            seq: line.seq,
            time_us: line.time_us,
            stream: line.stream.to_owned(),
            text: line.text,
        }
    }
}

/// Decisions of one kind about one workload since the engine started.
#[pyclass(frozen, eq, hash, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DecisionCount {
    #[pyo3(get)]
    is_allowed: bool,
    #[pyo3(get)]
    is_error: bool,
    policies: Vec<String>,
    #[pyo3(get)]
    principal: &'static str,
    #[pyo3(get)]
    count: u64,
    #[pyo3(get)]
    first_us: u64,
    #[pyo3(get)]
    last_us: u64,
    #[pyo3(get)]
    sample_us: u64,
    #[pyo3(get)]
    sample_trace: String,
}

#[pymethods]
impl DecisionCount {
    #[getter]
    fn policies<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.policies)
    }

    fn __repr__(&self) -> String {
        format!("{self:?}")
    }
}

impl From<hanse_engine::DecisionCount> for DecisionCount {
    fn from(row: hanse_engine::DecisionCount) -> Self {
        Self {
            is_allowed: row.is_allowed,
            is_error: row.is_error,
            policies: row.policies,
            principal: row.principal,
            count: row.count,
            first_us: row.first_us,
            last_us: row.last_us,
            sample_us: row.sample_us,
            sample_trace: row.sample_trace,
        }
    }
}

/// Bytes exchanged with destinations of one jurisdiction.
#[pyclass(frozen, get_all, eq, hash, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EgressBytes {
    sent: u64,
    received: u64,
}

impl From<hanse_engine::EgressBytes> for EgressBytes {
    fn from(bytes: hanse_engine::EgressBytes) -> Self {
        Self {
            sent: bytes.sent,
            received: bytes.received,
        }
    }
}

/// Counts of one workload on this node since the engine started.
#[pyclass(frozen, get_all, eq, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkloadStats {
    workload: String,
    requests: u64,
    from_mesh: u64,
    in_flight: u64,
    forwarded: u64,
    retried: u64,
    retries_denied: u64,
    hedged: u64,
    hedges_won: u64,
    shed: u64,
    in_flight_limit: u64,
    instances: u64,
    instances_started: u64,
    warm_starts: u64,
    interrupts: u64,
    bytes_in: u64,
    bytes_out: u64,
    cpu_us: u64,
    peak_memory_bytes: u64,
    latency_us_p50: u64,
    latency_us_p99: u64,
    instantiate_us_p50: u64,
    instantiate_us_p99: u64,
    policy_us_p50: u64,
    policy_us_p99: u64,
    decisions: Vec<DecisionCount>,
    errors: BTreeMap<String, u64>,
    egress: BTreeMap<String, EgressBytes>,
}

impl From<hanse_engine::WorkloadStats> for WorkloadStats {
    fn from(stats: hanse_engine::WorkloadStats) -> Self {
        Self {
            workload: stats.workload,
            requests: stats.requests,
            from_mesh: stats.from_mesh,
            in_flight: stats.in_flight,
            forwarded: stats.forwarded,
            retried: stats.retried,
            retries_denied: stats.retries_denied,
            hedged: stats.hedged,
            hedges_won: stats.hedges_won,
            shed: stats.shed,
            in_flight_limit: stats.in_flight_limit,
            instances: stats.instances,
            instances_started: stats.instances_started,
            warm_starts: stats.warm_starts,
            interrupts: stats.interrupts,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            cpu_us: stats.cpu_us,
            peak_memory_bytes: stats.peak_memory_bytes,
            latency_us_p50: stats.latency_us_p50,
            latency_us_p99: stats.latency_us_p99,
            instantiate_us_p50: stats.instantiate_us_p50,
            instantiate_us_p99: stats.instantiate_us_p99,
            policy_us_p50: stats.policy_us_p50,
            policy_us_p99: stats.policy_us_p99,
            decisions: stats.decisions.into_iter().map(DecisionCount::from).collect(),
            errors: stats
                .errors
                .into_iter()
                .map(|(code, count)| (code.to_owned(), count))
                .collect(),
            egress: stats
                .egress
                .into_iter()
                .map(|(jurisdiction, bytes)| (jurisdiction, EgressBytes::from(bytes)))
                .collect(),
        }
    }
}

/// What a node knows about one replica on another node.
#[pyclass(frozen, get_all, eq, hash, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ReplicaStats {
    node: String,
    address: String,
    rtt_us: u64,
    in_flight: u64,
    ejected: bool,
}

impl From<hanse_engine::ReplicaStats> for ReplicaStats {
    fn from(stats: hanse_engine::ReplicaStats) -> Self {
        Self {
            node: stats.node,
            address: stats.address,
            rtt_us: stats.rtt_us,
            in_flight: stats.in_flight,
            ejected: stats.ejected,
        }
    }
}

/// One worker process of a node.
#[pyclass(frozen, get_all, eq, hash, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WorkerStats {
    tenant: String,
    pid: u32,
    restarts: u64,
    last_end: String,
    landlock: u32,
    start_us: u64,
    rss_bytes: u64,
    cpu_us: u64,
    workloads: Vec<String>,
}

impl From<hanse_engine::WorkerStats> for WorkerStats {
    fn from(stats: hanse_engine::WorkerStats) -> Self {
        Self {
            tenant: stats.tenant,
            pid: stats.pid,
            restarts: stats.restarts,
            last_end: stats.last_end,
            landlock: stats.landlock,
            start_us: stats.start_us,
            rss_bytes: stats.rss_bytes,
            cpu_us: stats.cpu_us,
            workloads: stats.workloads,
        }
    }
}

/// Everything the engine counts.
#[pyclass(frozen, module = "hanse._engine")]
#[derive(Debug)]
pub(crate) struct EngineStats {
    workloads: Vec<Py<WorkloadStats>>,
    replicas: Vec<Py<ReplicaStats>>,
    workers: Vec<Py<WorkerStats>>,
    #[pyo3(get)]
    connections: u64,
    #[pyo3(get)]
    cache_hits: u64,
    #[pyo3(get)]
    cache_misses: u64,
    #[pyo3(get)]
    cache_hashed: u64,
    #[pyo3(get)]
    cache_write_failures: u64,
    #[pyo3(get)]
    mesh_refused: u64,
    #[pyo3(get)]
    unrouted: u64,
    #[pyo3(get)]
    trust_classes: u64,
    #[pyo3(get)]
    spans_exported: u64,
    #[pyo3(get)]
    spans_dropped: u64,
    #[pyo3(get)]
    export_failures: u64,
    #[pyo3(get)]
    access_lines: u64,
    #[pyo3(get)]
    access_lines_lost: u64,
    #[pyo3(get)]
    cut_off: BTreeMap<String, u64>,
}

#[pymethods]
impl EngineStats {
    #[getter]
    fn workloads<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.workloads)
    }

    #[getter]
    fn replicas<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.replicas)
    }

    #[getter]
    fn workers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.workers)
    }
}

impl EngineStats {
    pub(crate) fn new(py: Python<'_>, stats: hanse_engine::EngineStats) -> PyResult<Self> {
        Ok(Self {
            workloads: stats
                .workloads
                .into_iter()
                .map(|workload| Py::new(py, WorkloadStats::from(workload)))
                .collect::<PyResult<_>>()?,
            replicas: stats
                .replicas
                .into_iter()
                .map(|replica| Py::new(py, ReplicaStats::from(replica)))
                .collect::<PyResult<_>>()?,
            workers: stats
                .workers
                .into_iter()
                .map(|worker| Py::new(py, WorkerStats::from(worker)))
                .collect::<PyResult<_>>()?,
            connections: stats.connections,
            cache_hits: stats.cache_hits,
            cache_misses: stats.cache_misses,
            cache_hashed: stats.cache_hashed,
            cache_write_failures: stats.cache_write_failures,
            mesh_refused: stats.mesh_refused,
            unrouted: stats.unrouted,
            trust_classes: stats.trust_classes,
            spans_exported: stats.sight.spans_exported,
            spans_dropped: stats.sight.spans_dropped,
            export_failures: stats.sight.export_failures,
            access_lines: stats.sight.access_lines,
            access_lines_lost: stats.sight.access_lines_lost,
            cut_off: stats
                .cut_off
                .into_iter()
                .map(|(reason, count)| (reason.to_owned(), count))
                .collect(),
        })
    }
}

repr!(
    Addresses,
    LogLine,
    EgressBytes,
    WorkloadStats,
    ReplicaStats,
    WorkerStats
);
