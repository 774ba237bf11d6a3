//! What runs on the node: functions and services put in place, swapped and taken off.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Component;

use crate::aside::Habit;
use crate::cache::Cache;
use crate::component::{digest_hex, inspect};
use crate::config::{EgressRule, Isolation, Limits};
use crate::destination::Policy;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::runtime::{Runtime, component_of};
use crate::service::Service;
use crate::shared::Shared;
use crate::stats::Registry;
use crate::upstream::Upstream;
use crate::warm::Warm;
use crate::worker::{Assignment, Load};
use crate::workload::{Admission, Loaded, Workload};

impl Engine {
    /// Make `workload` ready to run here; a version that runs already is replaced without a failed request.
    ///
    /// Nothing happens when component, limits, egress and environment are what runs already.
    ///
    /// # Errors
    /// The `component.*` errors of [`inspect`], and `component.compile_failed`; what ran before goes on.
    pub fn load(
        &self,
        workload: &str,
        component: &[u8],
        limits: Limits,
        egress: &[EgressRule],
        env: Vec<(String, String)>,
    ) -> Result<(), EngineError> {
        self.load_known(workload, component, &digest_hex(component), limits, egress, env)
    }

    /// As [`Engine::load`], for a caller that has compared `component` with its SHA-256, `digest` (hexadecimal), already: of a
    /// component that was compiled before the bytes are not looked at.
    ///
    /// # Errors
    /// As `load`, and `component.digest_mismatch` when the bytes are looked at and differ.
    pub fn load_known(
        &self,
        workload: &str,
        component: &[u8],
        digest: &str,
        limits: Limits,
        egress: &[EgressRule],
        env: Vec<(String, String)>,
    ) -> Result<(), EngineError> {
        let running = self.core.workloads.loaded(workload);
        let policy = Policy::new(egress);
        let (runtime, pre) = match &running {
            Some(running)
                if running.digest == digest
                    && running.workload.limits.class == limits.class
                    && running.workload.limits.isolation == limits.isolation =>
            {
                let now = &running.workload;
                if now.limits == limits && *now.egress == policy && now.env == env {
                    return Ok(());
                }
                (now.runtime.clone(), now.pre.clone())
            }
            _ => {
                let runtime = match limits.isolation {
                    Isolation::Shared => self.classes.runtime(&limits.class)?,
                    // Nothing is run on it here: it links, and finds what is wrong with an import.
                    Isolation::Process | Isolation::ProcessSeccomp => self.unclassed.clone(),
                };
                let compiled = self.compiled(&runtime, component, digest)?;
                let pre = Arc::new(runtime.link(&compiled)?);
                (runtime, pre)
            }
        };
        let worker = match limits.isolation {
            Isolation::Shared => None,
            Isolation::Process | Isolation::ProcessSeccomp => {
                Some(self.assign(workload, digest, component_of(&pre), &limits, &env)?)
            }
        };
        let loaded = Arc::new(Workload {
            name: workload.to_owned(),
            pre,
            runtime,
            long_lane: self.core.long_lane.clone(),
            habit: Habit::default(),
            warm: Warm::default(),
            shared: Shared::default(),
            admission: Admission::new(&limits, self.instances.clone()),
            limits,
            egress: Arc::new(policy),
            way_out: self.way_out.clone(),
            env,
            logs: self.log_ring(workload),
            counters: self.core.stats.workload(workload),
            worker,
        });
        if let Some(assignment) = &loaded.worker {
            assignment.introduce(&loaded);
        }
        let replaced = self.core.workloads.insert(Loaded {
            digest: digest.to_owned(),
            workload: loaded,
        });
        self.core.services.set(workload, None);
        if let (Some(old), Ok(workers)) = (replaced, self.workers()) {
            workers
                .first()
                .spawn(async move { old.admission.drain(old.limits.timeout()).await });
        }
        Ok(())
    }

    /// Have the worker of the workload's tenant load it.
    fn assign(
        &self,
        workload: &str,
        digest: &str,
        component: &Component,
        limits: &Limits,
        env: &[(String, String)],
    ) -> Result<Assignment, EngineError> {
        let core = &self.core;
        let handle = self.workers()?.first().handle().clone();
        let tenant = core
            .tenants
            .find(&limits.class, limits.isolation, &core.config, &handle)?;
        tenant.assign(Load {
            workload,
            code: self.cache.open_code(digest, component).map_err(EngineError::setup)?,
            limits,
            env,
            logs: self.log_ring(workload),
            counters: core.stats.workload(workload),
        })
    }

    /// The compiled form; only of a component that was not compiled before are the bytes read.
    fn compiled(&self, runtime: &Runtime, component: &[u8], digest: &str) -> Result<Component, EngineError> {
        let (wasm, stats) = (runtime.engine(), &self.core.stats);
        let most = self.core.config.max_component_bytes;
        let is_name = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_name
            && component.len() <= most
            && let Some(compiled) = self.cache.get(wasm, digest, stats)
        {
            return Ok(compiled);
        }
        let info = inspect(component, most)?;
        if info.digest.strip_prefix("sha256:") != Some(digest) {
            return Err(EngineError::new(
                "component.digest_mismatch",
                format!("the component is {}, not sha256:{digest}", info.digest),
                "fetch the component again; what was given is not what was asked for",
            ));
        }
        self.cache.compile(wasm, digest, component, stats)
    }

    /// Make a service that listens at `upstream` answer for `workload`: `ip:port` beside this node, or `https://host:port`
    /// with a certificate of `authorities` (PEM), the public ones without.
    ///
    /// # Errors
    /// `service.upstream_invalid`; what was there before stays.
    pub fn load_service(
        &self,
        workload: &str,
        upstream: &str,
        authorities: Option<&[u8]>,
        limits: Limits,
    ) -> Result<(), EngineError> {
        let upstream = Upstream::new(upstream, authorities)?;
        let counters = self.core.stats.workload(workload);
        let service = Service::new(upstream, limits, counters, self.log_ring(workload));
        self.core.services.set(workload, Some(service));
        if let (Some(old), Ok(workers)) = (self.core.workloads.remove(workload), self.workers()) {
            workers
                .first()
                .spawn(async move { old.admission.drain(old.limits.timeout()).await });
        }
        Ok(())
    }

    /// Take `workload` off; requests in flight have `grace` to end. Returns whether it was loaded.
    pub fn unload(&self, workload: &str, grace: Duration) -> bool {
        if self.core.services.set(workload, None) {
            return true;
        }
        let Some(old) = self.core.workloads.remove(workload) else {
            return false;
        };
        if let Ok(workers) = self.workers() {
            workers.first().block_on(old.admission.drain(grace));
        }
        self.core.gates.set(workload, None);
        true
    }

    /// Return the names of the loaded workloads, sorted.
    pub fn loaded(&self) -> Vec<String> {
        let mut names = self.core.workloads.names();
        names.extend(self.core.services.names());
        names.sort();
        names
    }
}

/// Compile `component` into the cache at `cache_dir`, for an engine that loads it later.
///
/// Compiling a large component takes hundreds of MiB for some seconds, and the component may be hostile: a process of its own
/// that calls this keeps both away from the one that serves.
///
/// # Errors
/// The errors of [`inspect`], `component.compile_failed`, `engine.setup` and `cache.io`.
pub fn precompile(component: &[u8], cache_dir: &Path, max_bytes: usize) -> Result<(), EngineError> {
    let info = inspect(component, max_bytes)?;
    let wasm = Runtime::new(1)?;
    let cache = Cache::open(cache_dir, wasm.fingerprint())?;
    let digest = info.digest.trim_start_matches("sha256:");
    let compiled = cache.compile(wasm.engine(), digest, component, &Registry::default())?;
    wasm.link(&compiled).map(drop)
}
