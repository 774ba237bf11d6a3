//! What Python tells the engine: configuration, limits, rules and routes, frozen once made.

use hanse_engine::Isolation;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Make a frozen class whose constructor takes its fields as keywords, and looks at what it made: each field is written once.
/// A default is one token tree, so a call stands in braces.
macro_rules! keywords {
    ($(#[$about:meta])* $name:ident, $check:expr => { $($field:ident: $type:ty $(= $default:tt)?,)* }) => {
        $(#[$about])*
        #[pyclass(frozen, get_all, eq, module = "hanse._engine")]
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name {
            $($field: $type,)*
        }

        #[pymethods]
        impl $name {
            #[new]
            #[pyo3(signature = (*, $($field $(= $default)?),*))]
            #[allow(clippy::too_many_arguments, reason = "keywords in Python")]
            fn new($($field: $type),*) -> PyResult<Self> {
                let check: fn(&Self) -> PyResult<()> = $check;
                let made = Self { $($field),* };
                check(&made).map(|()| made)
            }

            fn __repr__(&self) -> String {
                format!("{self:?}")
            }
        }
    };
}

keywords! {
    /// How one engine is set up.
    EngineConfig, |_| Ok(()) => {
        node: String,
        trust_domain: String,
        front_bind: String,
        front_tls: bool = false,
        mesh_bind: String,
        inherited: Option<(i32, i32)> = None,
        cache_dir: String,
        max_instances: u32 = 256,
        worker_threads: usize = 2,
        max_component_bytes: usize = 67_108_864,
        max_connections: usize = 4096,
        header_timeout_ms: u64 = 10_000,
        write_timeout_ms: u64 = 30_000,
        connect_timeout_ms: u64 = 1_000,
        request_timeout_ms: u64 = 30_000,
        log_lines: usize = 1_000,
        seed: u64 = 0,
        worker_command: Vec<String> = { Vec::new() },
        max_workers: usize = 64,
        worker_memory_bytes: u64 = 8_589_934_592,
        otlp_endpoint: Option<String> = None,
        trace_ratio_ppm: u32 = 0,
        trace_queue: usize = 4_096,
        access_log: Option<String> = None,
        access_log_ratio_ppm: u32 = 0,
        tell_paths: bool = false,
    }
}

impl From<&EngineConfig> for hanse_engine::EngineConfig {
    fn from(config: &EngineConfig) -> Self {
        Self {
            node: config.node.clone(),
            trust_domain: config.trust_domain.clone(),
            front_bind: config.front_bind.clone(),
            front_tls: config.front_tls,
            mesh_bind: config.mesh_bind.clone(),
            inherited: config.inherited,
            cache_dir: config.cache_dir.clone().into(),
            max_instances: config.max_instances,
            worker_threads: config.worker_threads,
            max_component_bytes: config.max_component_bytes,
            max_connections: config.max_connections,
            header_timeout_ms: config.header_timeout_ms,
            write_timeout_ms: config.write_timeout_ms,
            connect_timeout_ms: config.connect_timeout_ms,
            request_timeout_ms: config.request_timeout_ms,
            log_lines: config.log_lines,
            worker_command: config.worker_command.clone(),
            max_workers: config.max_workers,
            worker_memory_bytes: config.worker_memory_bytes,
            seed: config.seed,
            traces: config.otlp_endpoint.clone().map(|endpoint| hanse_engine::Traces {
                endpoint,
                ratio_ppm: config.trace_ratio_ppm,
                queue: config.trace_queue,
            }),
            access_log: config.access_log.clone().map(|path| hanse_engine::AccessLog {
                path: path.into(),
                ratio_ppm: config.access_log_ratio_ppm,
            }),
            tell_paths: config.tell_paths,
        }
    }
}

keywords! {
    /// What one workload may use.
    Limits, |limits| isolation_of(&limits.isolation).map(drop) => {
        memory_bytes: usize = 67_108_864,
        timeout_ms: u64 = 10_000,
        request_body_bytes: u64 = 10_485_760,
        response_body_bytes: u64 = 67_108_864,
        concurrency: u32 = 64,
        queue: u32 = 1024,
        table_elements: usize = 100_000,
        tables: usize = 100,
        core_instances: usize = 200,
        hostcall_bytes: usize = 16_777_216,
        resources: usize = 10_000,
        random_bytes: u64 = 1_048_576,
        header_bytes: usize = 131_072,
        egress_concurrency: u32 = 16,
        log_bytes: usize = 65_536,
        reuse_count: u32 = 1,
        reuse_concurrency: u32 = 1,
        reuse_idle_ms: u64 = 1_000,
        trust_class: String = { String::new() },
        isolation: String = { String::from("shared") },
    }
}

impl From<&Limits> for hanse_engine::Limits {
    fn from(limits: &Limits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            timeout_ms: limits.timeout_ms,
            request_body_bytes: limits.request_body_bytes,
            response_body_bytes: limits.response_body_bytes,
            concurrency: limits.concurrency,
            queue: limits.queue,
            table_elements: limits.table_elements,
            tables: limits.tables,
            core_instances: limits.core_instances,
            hostcall_bytes: limits.hostcall_bytes,
            resources: limits.resources,
            random_bytes: limits.random_bytes,
            header_bytes: limits.header_bytes,
            egress_concurrency: limits.egress_concurrency,
            log_bytes: limits.log_bytes,
            reuse: hanse_engine::Reuse {
                count: limits.reuse_count,
                concurrency: limits.reuse_concurrency,
                idle_ms: limits.reuse_idle_ms,
            },
            class: limits.trust_class.clone(),
            // Checked when it was made.
            isolation: isolation_of(&limits.isolation).unwrap_or(Isolation::Process),
        }
    }
}

fn isolation_of(name: &str) -> PyResult<Isolation> {
    match name {
        "shared" => Ok(Isolation::Shared),
        "process" => Ok(Isolation::Process),
        "process-seccomp" => Ok(Isolation::ProcessSeccomp),
        other => {
            let message = format!("isolation is shared, process or process-seccomp, not {other}");
            Err(PyValueError::new_err(message))
        }
    }
}

/// The rules about who may invoke one workload.
#[pyclass(frozen, get_all, eq, hash, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Access {
    policies: String,
    entities: String,
}

#[pymethods]
impl Access {
    #[new]
    #[pyo3(signature = (*, policies, entities))]
    fn new(policies: String, entities: String) -> Self {
        Self { policies, entities }
    }

    fn __repr__(&self) -> String {
        format!("{self:?}")
    }
}

impl From<&Access> for hanse_engine::Access {
    fn from(access: &Access) -> Self {
        Self {
            policies: access.policies.clone(),
            entities: access.entities.clone(),
        }
    }
}

/// One destination a workload may call.
#[pyclass(frozen, get_all, eq, hash, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EgressRule {
    host: String,
    jurisdiction: String,
    allow_private: bool,
}

#[pymethods]
impl EgressRule {
    #[new]
    #[pyo3(signature = (*, host, jurisdiction, allow_private=false))]
    fn new(host: String, jurisdiction: String, allow_private: bool) -> Self {
        Self {
            host,
            jurisdiction,
            allow_private,
        }
    }

    fn __repr__(&self) -> String {
        format!("{self:?}")
    }
}

impl From<&EgressRule> for hanse_engine::EgressRule {
    fn from(rule: &EgressRule) -> Self {
        Self {
            host: rule.host.clone(),
            jurisdiction: rule.jurisdiction.clone(),
            allow_private: rule.allow_private,
        }
    }
}

/// A node that runs a workload.
#[pyclass(frozen, get_all, eq, hash, from_py_object, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Replica {
    node: String,
    address: String,
    spiffe_id: String,
    rtt_us: u64,
}

#[pymethods]
impl Replica {
    #[new]
    #[pyo3(signature = (*, node, address, spiffe_id, rtt_us))]
    fn new(node: String, address: String, spiffe_id: String, rtt_us: u64) -> Self {
        Self {
            node,
            address,
            spiffe_id,
            rtt_us,
        }
    }

    fn __repr__(&self) -> String {
        format!("{self:?}")
    }
}

/// Which tokens a workload accepts.
#[pyclass(frozen, get_all, eq, hash, from_py_object, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct JwtRule {
    issuer: String,
    audience: String,
    jwks: String,
    is_optional: bool,
}

#[pymethods]
impl JwtRule {
    #[new]
    #[pyo3(signature = (*, issuer, audience, jwks=String::new(), is_optional=false))]
    fn new(issuer: String, audience: String, jwks: String, is_optional: bool) -> Self {
        Self {
            issuer,
            audience,
            jwks,
            is_optional,
        }
    }

    fn __repr__(&self) -> String {
        format!("{self:?}")
    }
}

impl From<&JwtRule> for hanse_engine::JwtRule {
    fn from(rule: &JwtRule) -> Self {
        Self {
            issuer: rule.issuer.clone(),
            audience: rule.audience.clone(),
            jwks: rule.jwks.clone(),
            is_optional: rule.is_optional,
        }
    }
}

/// A path of the front and the workload behind it.
#[pyclass(frozen, eq, hash, module = "hanse._engine")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    #[pyo3(get)]
    workload: String,
    #[pyo3(get)]
    path_prefix: String,
    #[pyo3(get)]
    host: Option<String>,
    replicas: Vec<Replica>,
    #[pyo3(get)]
    hash_on: Option<String>,
    #[pyo3(get)]
    hedge: bool,
    #[pyo3(get)]
    max_in_flight: u32,
    #[pyo3(get)]
    auth: Option<JwtRule>,
}

#[pymethods]
impl Route {
    #[new]
    #[pyo3(signature = (*, workload, path_prefix, host=None, replicas, hash_on=None, hedge=true, max_in_flight=4096, auth=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn new(
        workload: String,
        path_prefix: String,
        host: Option<String>,
        replicas: Vec<Replica>,
        hash_on: Option<String>,
        hedge: bool,
        max_in_flight: u32,
        auth: Option<JwtRule>,
    ) -> Self {
        Self {
            workload,
            path_prefix,
            host,
            replicas,
            hash_on,
            hedge,
            max_in_flight,
            auth,
        }
    }

    #[getter]
    fn replicas<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.replicas.clone())
    }

    fn __repr__(&self) -> String {
        format!("{self:?}")
    }
}

impl From<&Route> for hanse_engine::Route {
    fn from(route: &Route) -> Self {
        let replica = |replica: &Replica| hanse_engine::Replica {
            node: replica.node.clone(),
            address: replica.address.clone(),
            spiffe_id: replica.spiffe_id.clone(),
            rtt_us: replica.rtt_us,
        };
        Self {
            workload: route.workload.clone(),
            path_prefix: route.path_prefix.clone(),
            host: route.host.clone(),
            replicas: route.replicas.iter().map(replica).collect(),
            hash_on: route.hash_on.clone(),
            hedge: route.hedge,
            max_in_flight: route.max_in_flight,
            auth: route.auth.as_ref().map(hanse_engine::JwtRule::from),
        }
    }
}
