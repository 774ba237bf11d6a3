//! The engine as its owner sees it: start, tell it what to run and for whom, read what happened, stop.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use wasmtime::component::Component;

use crate::access::{Access, Gate, Gates};
use crate::cache::Cache;
use crate::component::{digest_hex, inspect};
use crate::config::{EgressRule, EngineConfig, Limits};
use crate::destination::Policy;
use crate::error::EngineError;
use crate::identity::{Identity, web_client};
use crate::logs::{LogLine, LogRing};
use crate::peer::Peers;
use crate::router::{Route, Table};
use crate::runtime::Runtime;
use crate::stats::{EngineStats, Registry};
use crate::workload::{Admission, Loaded, Workload, Workloads};
use crate::{front, mesh, stream};

/// After the grace is over, tasks get this long to notice.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// Where a started engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// `ip:port` of the public HTTP listener.
    pub front: String,
    /// `ip:port` of the listener for other nodes.
    pub mesh: String,
}

/// What the parts of a running engine share.
pub(crate) struct Core {
    pub(crate) config: EngineConfig,
    /// Id of this node, as a header value.
    pub(crate) node: HeaderValue,
    pub(crate) workloads: Workloads,
    pub(crate) routes: ArcSwap<Table>,
    pub(crate) stats: Registry,
    pub(crate) gates: Gates,
    /// Client connections that may still be opened.
    pub(crate) places: Arc<Semaphore>,
    peers: Peers,
    identity: watch::Sender<Option<Arc<Identity>>>,
    stopping: watch::Sender<bool>,
}

impl Core {
    pub(crate) fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.borrow().clone()
    }

    /// Resolves when `identity` is no longer the current one.
    pub(crate) async fn identity_replaced(&self, identity: &Arc<Identity>) {
        let is_other =
            |current: &Option<Arc<Identity>>| !current.as_ref().is_some_and(|now| Arc::ptr_eq(now, identity));
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.identity.subscribe().wait_for(is_other).await;
    }

    /// Resolves when the engine stops.
    pub(crate) async fn stopping(&self) {
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    pub(crate) fn read_stats(&self) -> EngineStats {
        self.stats.read(self.peers.stats(Instant::now()))
    }
}

/// The data plane of one node. All methods may be called from any thread.
pub struct Engine {
    core: Arc<Core>,
    wasm: Runtime,
    cache: Cache,
    instances: Arc<Semaphore>,
    egress_tls: Arc<rustls::ClientConfig>,
    logs: Mutex<HashMap<String, Arc<LogRing>>>,
    /// Held while a table is made from the one before it.
    routing: Mutex<()>,
    state: Mutex<State>,
}

enum State {
    New,
    Running(Arc<tokio::runtime::Runtime>),
    Stopped,
}

impl Engine {
    /// Make an engine that does not listen yet; workloads may be loaded already.
    ///
    /// # Errors
    /// `engine.config_invalid`, `engine.setup` or `cache.io`.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let node = HeaderValue::from_str(&config.node).map_err(|_| {
            EngineError::new(
                "engine.config_invalid",
                format!("{:?} cannot be the id of a node", config.node),
                "use lower-case letters, digits and hyphens",
            )
        })?;
        let wasm = Runtime::new(config.max_instances)?;
        let cache = Cache::open(&config.cache_dir, wasm.fingerprint())?;
        Ok(Self {
            wasm,
            cache,
            instances: Arc::new(Semaphore::new(config.max_instances as usize)),
            egress_tls: web_client()?,
            logs: Mutex::default(),
            routing: Mutex::new(()),
            state: Mutex::new(State::New),
            core: Arc::new(Core {
                node,
                workloads: Workloads::new(),
                routes: ArcSwap::default(),
                stats: Registry::default(),
                gates: Gates::default(),
                places: Arc::new(Semaphore::new(config.max_connections)),
                peers: Peers::default(),
                identity: watch::Sender::new(None),
                stopping: watch::Sender::new(false),
                config,
            }),
        })
    }

    /// Bind both listeners and begin to serve. Other nodes are refused until there is an identity.
    ///
    /// # Errors
    /// `engine.address_in_use`, `engine.address_invalid`, `engine.setup`, or `engine.stopped` when it ran before.
    pub fn start(&self) -> Result<Addresses, EngineError> {
        let mut state = self.state();
        if !matches!(*state, State::New) {
            return Err(EngineError::stopped());
        }
        let (front, front_address) = bind(&self.core.config.front_bind)?;
        let (mesh, mesh_address) = bind(&self.core.config.mesh_bind)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.core.config.worker_threads.max(1))
            .thread_name("hanse-engine")
            .enable_io()
            .enable_time()
            .build()
            .map_err(EngineError::setup)?;
        let (front, mesh) = {
            let _inside = runtime.enter();
            let front = tokio::net::TcpListener::from_std(front).map_err(EngineError::setup)?;
            let mesh = tokio::net::TcpListener::from_std(mesh).map_err(EngineError::setup)?;
            (front, mesh)
        };
        runtime.spawn(front::listen(self.core.clone(), front));
        runtime.spawn(mesh::listen(self.core.clone(), mesh));
        *state = State::Running(Arc::new(runtime));
        Ok(Addresses {
            front: front_address.to_string(),
            mesh: mesh_address.to_string(),
        })
    }

    /// Take a new certificate, key and trust bundle, all PEM, and the SPIFFE IDs that are refused from now on.
    ///
    /// Connections under the old ones take no further request; what is in flight on them ends in its own time.
    ///
    /// # Errors
    /// `engine.identity_invalid`; the old identity stays.
    pub fn set_identity(
        &self,
        chain_pem: &[u8],
        key_pem: &[u8],
        bundle_pem: &[u8],
        revoked: &[String],
    ) -> Result<(), EngineError> {
        let config = &self.core.config;
        let identity = Identity::new(
            chain_pem,
            key_pem,
            bundle_pem,
            revoked,
            &config.trust_domain,
            &config.node,
        )?;
        self.core.identity.send_replace(Some(Arc::new(identity)));
        Ok(())
    }

    /// Put the rules about who may invoke `workload` in force, here and at once, or take them away (`None`: everybody may).
    ///
    /// They are asked where the workload runs. Set them before the first `load`; they go with `unload`.
    ///
    /// # Errors
    /// `policy.invalid`; the rules before stay.
    pub fn set_access(&self, workload: &str, access: Option<&Access>) -> Result<(), EngineError> {
        let core = &self.core;
        if access.is_some_and(|access| core.gates.stands(workload, access)) {
            return Ok(());
        }
        let gate = access
            .map(|access| Gate::new(workload, &core.config.node, access))
            .transpose()?;
        core.gates.set(workload, gate);
        Ok(())
    }

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
        let pre = match &running {
            Some(running) if running.digest == digest => {
                let now = &running.workload;
                if now.limits == limits && *now.egress == policy && now.env == env {
                    return Ok(());
                }
                now.pre.clone()
            }
            _ => self.wasm.link(&self.compiled(component, digest)?)?,
        };
        let replaced = self.core.workloads.insert(Loaded {
            digest: digest.to_owned(),
            workload: Arc::new(Workload {
                name: workload.to_owned(),
                pre,
                admission: Admission::new(&limits, self.instances.clone()),
                limits,
                egress: Arc::new(policy),
                egress_tls: self.egress_tls.clone(),
                env,
                logs: self.log_ring(workload),
                counters: self.core.stats.workload(workload),
            }),
        });
        if let (Some(old), Ok(runtime)) = (replaced, self.runtime()) {
            runtime.spawn(async move { old.admission.drain(old.limits.timeout()).await });
        }
        Ok(())
    }

    /// The compiled form; only of a component that was not compiled before are the bytes read.
    fn compiled(&self, component: &[u8], digest: &str) -> Result<Component, EngineError> {
        let (wasm, stats) = (self.wasm.engine(), &self.core.stats);
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

    /// Take `workload` off; requests in flight have `grace` to end. Returns whether it was loaded.
    pub fn unload(&self, workload: &str, grace: Duration) -> bool {
        let Some(old) = self.core.workloads.remove(workload) else {
            return false;
        };
        if let Ok(runtime) = self.runtime() {
            runtime.block_on(old.admission.drain(grace));
        }
        self.core.gates.set(workload, None);
        true
    }

    /// Return the names of the loaded workloads, sorted.
    pub fn loaded(&self) -> Vec<String> {
        self.core.workloads.names()
    }

    /// Replace the whole route table at once.
    ///
    /// # Errors
    /// `route.invalid` or `route.duplicate`; the old table stays.
    pub fn set_routes(&self, routes: &[Route]) -> Result<(), EngineError> {
        let core = &self.core;
        let node = &core.config.node;
        let seed = stream::hash(core.config.seed, node.as_bytes());
        let _writer = self.routing.lock().unwrap_or_else(PoisonError::into_inner);
        let table = Table::new(routes, node, seed, &core.peers, &core.stats, &core.routes.load())?;
        core.routes.store(Arc::new(table));
        core.peers.forget_unused();
        Ok(())
    }

    /// Return a copy of every count.
    pub fn stats(&self) -> EngineStats {
        self.core.read_stats()
    }

    /// Return at most `limit` lines of the workload's log with a number above `after`, oldest first.
    pub fn logs(&self, workload: &str, after: u64, limit: usize) -> Vec<LogLine> {
        let ring = self.rings().get(workload).cloned();
        ring.map(|ring| ring.read(after, limit)).unwrap_or_default()
    }

    /// Stop listening, give requests in flight `grace`, then end everything. Stopping twice does nothing.
    pub fn stop(&self, grace: Duration) {
        let State::Running(runtime) = std::mem::replace(&mut *self.state(), State::Stopped) else {
            return;
        };
        self.core.stopping.send_replace(true);
        let all = u32::try_from(self.core.config.max_connections).unwrap_or(u32::MAX);
        runtime.block_on(async {
            // Connections that are still open after the grace are cut when the runtime goes.
            let _ = timeout(grace, self.core.places.acquire_many(all)).await;
        });
        // Nobody else holds the runtime but calls that are about to end; dropped there it would block an async thread.
        if let Ok(runtime) = Arc::try_unwrap(runtime) {
            runtime.shutdown_timeout(LAST_MOMENT);
        }
    }

    fn runtime(&self) -> Result<Arc<tokio::runtime::Runtime>, EngineError> {
        match &*self.state() {
            State::Running(runtime) => Ok(runtime.clone()),
            State::New | State::Stopped => Err(EngineError::stopped()),
        }
    }

    fn log_ring(&self, workload: &str) -> Arc<LogRing> {
        let lines = self.core.config.log_lines;
        self.rings()
            .entry(workload.to_owned())
            .or_insert_with(|| Arc::new(LogRing::new(lines)))
            .clone()
    }

    fn rings(&self) -> MutexGuard<'_, HashMap<String, Arc<LogRing>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
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

fn bind(address: &str) -> Result<(TcpListener, SocketAddr), EngineError> {
    let failed = |cause: std::io::Error| match cause.kind() {
        std::io::ErrorKind::AddrInUse => EngineError::new(
            "engine.address_in_use",
            format!("another process listens on {address}"),
            "choose another port, or 0 for a free one",
        ),
        _ => EngineError::new(
            "engine.address_invalid",
            format!("cannot listen on {address}: {cause}"),
            "write it as ip:port of this machine",
        ),
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
