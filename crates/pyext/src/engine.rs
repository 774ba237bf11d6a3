//! The engine itself; the interpreter is let go around everything that waits or computes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hanse_engine::{ClientAuth, FrontCertificate, FrontTls};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::to_python;
use crate::records::{Access, EgressRule, EngineConfig, JwtRule, Limits, Route};
use crate::reports::{Addresses, ComponentInfo, EngineStats, LogLine};

/// Check that a component can be served, and describe it.
#[pyfunction]
#[pyo3(signature = (component, *, max_bytes=67_108_864))]
pub(crate) fn inspect(py: Python<'_>, component: &[u8], max_bytes: usize) -> PyResult<ComponentInfo> {
    py.detach(|| hanse_engine::inspect(component, max_bytes))
        .map(ComponentInfo::from)
        .map_err(|error| to_python(py, &error))
}

/// Compile a component into a cache directory, for an engine that loads it later.
#[pyfunction]
#[pyo3(signature = (component, cache_dir, *, max_bytes=67_108_864))]
pub(crate) fn precompile(py: Python<'_>, component: &[u8], cache_dir: PathBuf, max_bytes: usize) -> PyResult<()> {
    py.detach(|| hanse_engine::precompile(component, &cache_dir, max_bytes))
        .map_err(|error| to_python(py, &error))
}

/// Be a worker process of an engine: returns when its node is done with it.
#[pyfunction]
pub(crate) fn work(py: Python<'_>) -> PyResult<()> {
    py.detach(hanse_engine::work).map_err(|error| to_python(py, &error))
}

/// Have workers try every known way out, and tell which ones the kernel refused: `(name, is_refused, how)`.
#[pyfunction]
#[pyo3(signature = (config, *, landlock_alone=false))]
pub(crate) fn escape_attempts(
    py: Python<'_>,
    config: &EngineConfig,
    landlock_alone: bool,
) -> PyResult<Vec<(String, bool, String)>> {
    let config = hanse_engine::EngineConfig::from(config);
    let attempts = py.detach(|| hanse_engine::try_to_escape(&config, landlock_alone));
    let attempts = attempts.map_err(|error| to_python(py, &error))?;
    Ok(attempts
        .into_iter()
        .map(|attempt| (attempt.name, attempt.is_refused, attempt.how))
        .collect())
}

/// The data plane of one node.
#[pyclass(frozen, module = "hanse._engine")]
pub(crate) struct Engine(hanse_engine::Engine);

#[pymethods]
impl Engine {
    #[new]
    fn new(py: Python<'_>, config: &EngineConfig) -> PyResult<Self> {
        let config = hanse_engine::EngineConfig::from(config);
        py.detach(|| hanse_engine::Engine::new(config))
            .map(Self)
            .map_err(|error| to_python(py, &error))
    }

    /// Bind both listeners, or take up those that were inherited, without accepting yet.
    fn bind(&self, py: Python<'_>) -> PyResult<Addresses> {
        py.detach(|| self.0.bind())
            .map(Addresses::from)
            .map_err(|error| to_python(py, &error))
    }

    /// Return the descriptors of the listening sockets of front and mesh.
    fn sockets(&self, py: Python<'_>) -> PyResult<(i32, i32)> {
        self.0.sockets().map_err(|error| to_python(py, &error))
    }

    /// Accept no more, because another process does, and end when every client has gone or the grace is over.
    #[pyo3(signature = (grace_ms=10_000))]
    fn hand_over(&self, py: Python<'_>, grace_ms: u64) {
        py.detach(|| self.0.hand_over(Duration::from_millis(grace_ms)));
    }

    /// Begin to serve, binding first if that has not been done.
    fn start(&self, py: Python<'_>) -> PyResult<Addresses> {
        py.detach(|| self.0.start())
            .map(Addresses::from)
            .map_err(|error| to_python(py, &error))
    }

    /// Take a new certificate, key and trust bundle, and the identities that are refused from now on.
    #[pyo3(signature = (certificate_chain_pem, private_key_pem, trust_bundle_pem, revoked=Vec::new()))]
    fn set_identity(
        &self,
        py: Python<'_>,
        certificate_chain_pem: &[u8],
        private_key_pem: &[u8],
        trust_bundle_pem: &[u8],
        revoked: Vec<String>,
    ) -> PyResult<()> {
        py.detach(|| {
            self.0
                .set_identity(certificate_chain_pem, private_key_pem, trust_bundle_pem, &revoked)
        })
        .map_err(|error| to_python(py, &error))
    }

    /// Take new certificates for the front, and what clients have to show.
    #[pyo3(signature = (certificates, *, client_auth="none", client_bundle_pem=Vec::new()))]
    fn set_front_tls(
        &self,
        py: Python<'_>,
        certificates: Vec<(Vec<u8>, Vec<u8>)>,
        client_auth: &str,
        client_bundle_pem: Vec<u8>,
    ) -> PyResult<()> {
        let bundle_pem = client_bundle_pem;
        let client_auth = match client_auth {
            "none" => ClientAuth::None,
            "request" => ClientAuth::Request { bundle_pem },
            "require" => ClientAuth::Require { bundle_pem },
            other => {
                let message = format!("client_auth is none, request or require, not {other}");
                return Err(PyValueError::new_err(message));
            }
        };
        let certificates = certificates
            .into_iter()
            .map(|(chain_pem, key_pem)| FrontCertificate { chain_pem, key_pem })
            .collect();
        let tls = FrontTls {
            certificates,
            client_auth,
        };
        py.detach(|| self.0.set_front_tls(&tls))
            .map_err(|error| to_python(py, &error))
    }

    /// Take the public keys of a token issuer.
    fn set_issuer_keys(&self, py: Python<'_>, issuer: &str, jwks: &str) -> PyResult<()> {
        py.detach(|| self.0.set_issuer_keys(issuer, jwks))
            .map_err(|error| to_python(py, &error))
    }

    /// Demand a token of everybody who asks a workload on this node, or no longer.
    fn set_auth(&self, py: Python<'_>, workload: &str, rule: Option<&JwtRule>) -> PyResult<()> {
        let rule = rule.map(hanse_engine::JwtRule::from);
        py.detach(|| self.0.set_auth(workload, rule.as_ref()))
            .map_err(|error| to_python(py, &error))
    }

    /// Make a workload ready to run here, or replace it.
    #[pyo3(signature = (workload, component, limits, egress, env, *, digest=None, access=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn load(
        &self,
        py: Python<'_>,
        workload: &str,
        component: &[u8],
        limits: &Limits,
        egress: Vec<PyRef<'_, EgressRule>>,
        env: BTreeMap<String, String>,
        digest: Option<&str>,
        access: Option<PyRef<'_, Access>>,
    ) -> PyResult<()> {
        let access = access.map(|access| hanse_engine::Access::from(&*access));
        let limits = hanse_engine::Limits::from(limits);
        let egress: Vec<_> = egress
            .iter()
            .map(|rule| hanse_engine::EgressRule::from(&**rule))
            .collect();
        let env = env.into_iter().collect();
        py.detach(|| {
            // First: from its first moment on, a workload has its rules.
            self.0.set_access(workload, access.as_ref())?;
            match digest {
                None => self.0.load(workload, component, limits, &egress, env),
                Some(digest) => {
                    let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
                    self.0.load_known(workload, component, digest, limits, &egress, env)
                }
            }
        })
        .map_err(|error| to_python(py, &error))
    }

    /// Make a service answer for a workload.
    #[pyo3(signature = (workload, upstream, limits, *, authorities=None))]
    fn load_service(
        &self,
        py: Python<'_>,
        workload: &str,
        upstream: &str,
        limits: &Limits,
        authorities: Option<&[u8]>,
    ) -> PyResult<()> {
        let limits = hanse_engine::Limits::from(limits);
        py.detach(|| self.0.load_service(workload, upstream, authorities, limits))
            .map_err(|error| to_python(py, &error))
    }

    /// Take a workload off after its requests have ended, or after the grace.
    #[pyo3(signature = (workload, grace_ms=10_000))]
    fn unload(&self, py: Python<'_>, workload: &str, grace_ms: u64) -> bool {
        py.detach(|| self.0.unload(workload, Duration::from_millis(grace_ms)))
    }

    /// Return the names of the loaded workloads, sorted.
    fn loaded(&self) -> Vec<String> {
        self.0.loaded()
    }

    /// Replace the whole route table at once.
    fn set_routes(&self, py: Python<'_>, routes: Vec<PyRef<'_, Route>>) -> PyResult<()> {
        let routes: Vec<_> = routes.iter().map(|route| hanse_engine::Route::from(&**route)).collect();
        py.detach(|| self.0.set_routes(&routes))
            .map_err(|error| to_python(py, &error))
    }

    /// Return a copy of every count.
    fn stats(&self, py: Python<'_>) -> PyResult<EngineStats> {
        let stats = py.detach(|| self.0.stats());
        EngineStats::new(py, stats)
    }

    /// Return lines of a workload's log with a number above `after`, oldest first.
    #[pyo3(signature = (workload, after=0, limit=1000))]
    fn logs(&self, py: Python<'_>, workload: &str, after: u64, limit: usize) -> Vec<LogLine> {
        let lines = py.detach(|| self.0.logs(workload, after, limit));
        lines.into_iter().map(LogLine::from).collect()
    }

    /// Stop listening, let requests end within the grace, then end everything.
    #[pyo3(signature = (grace_ms=10_000))]
    fn stop(&self, py: Python<'_>, grace_ms: u64) {
        py.detach(|| self.0.stop(Duration::from_millis(grace_ms)));
    }
}
