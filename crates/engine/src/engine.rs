//! The engine as its owner sees it: start, tell it what to run and for whom, read what happened, stop.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use wasmtime::component::Component;

use crate::access::{Access, Gate, Gates};
use crate::aside::{LongLane, long_lane};
use crate::cache::Cache;
use crate::component::{digest_hex, inspect};
use crate::config::{EgressRule, EngineConfig, Isolation, Limits};
use crate::destination::Policy;
use crate::egress::WayOut;
use crate::error::EngineError;
use crate::front_tls::{FrontIdentity, FrontTls};
use crate::identity::{Identity, web_client};
use crate::jwt::{Auth, JwtRule};
use crate::logs::{LogLine, LogRing};
use crate::peer::Peers;
use crate::router::{Route, Table};
use crate::runtime::{Classes, Runtime, component_of};
use crate::service::{Service, Services};
use crate::shared::Shared;
use crate::stats::{EngineStats, Registry};
use crate::warm::Warm;
use crate::worker::{Assignment, Load, Tenants};
use crate::workload::{Admission, Instances, Loaded, Workload, Workloads};
use crate::{listener, mesh, stream};

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
    pub(crate) services: Services,
    pub(crate) routes: ArcSwap<Table>,
    pub(crate) stats: Registry,
    pub(crate) auth: Auth,
    pub(crate) gates: Gates,
    /// Client connections that may still be opened.
    pub(crate) places: Arc<Semaphore>,
    /// Those of them that run in processes of their own.
    tenants: Tenants,
    peers: Peers,
    identity: watch::Sender<Option<Arc<Identity>>>,
    front_identity: watch::Sender<Option<Arc<FrontIdentity>>>,
    stopping: watch::Sender<Stopping>,
}

/// Whether an engine goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopping {
    No,
    /// Another process has taken over the sockets; clients are told with each answer to connect anew, and those that do not
    /// ask are let go at this instant.
    HandedOver(Instant),
    Now,
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

    pub(crate) fn front_identity(&self) -> Option<Arc<FrontIdentity>> {
        self.front_identity.borrow().clone()
    }

    /// Resolves when clients have to prove something else than they had under `identity`.
    pub(crate) async fn front_asks_otherwise(&self, identity: &FrontIdentity) {
        let asks_otherwise =
            |current: &Option<Arc<FrontIdentity>>| current.as_ref().is_some_and(|now| !now.asks_the_same(identity));
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.front_identity.subscribe().wait_for(asks_otherwise).await;
    }

    /// Resolves when the engine accepts no more.
    pub(crate) async fn stopping(&self) -> Stopping {
        let mut stopping = self.stopping.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        stopping
            .wait_for(|stopping| *stopping != Stopping::No)
            .await
            .map_or(Stopping::Now, |stopping| *stopping)
    }

    /// Whether clients are to connect anew for their next request.
    pub(crate) fn is_handed_over(&self) -> bool {
        matches!(*self.stopping.borrow(), Stopping::HandedOver(_))
    }

    /// Whether a function or service called `name` is on this node.
    pub(crate) fn runs(&self, name: &str) -> bool {
        self.services.get(name).is_some() || self.workloads.get(name).is_some()
    }

    pub(crate) fn read_stats(&self) -> EngineStats {
        let mut stats = self.stats.read(self.peers.stats(Instant::now()));
        stats.workers = self.tenants.stats();
        stats
    }
}

/// The data plane of one node. All methods may be called from any thread.
pub struct Engine {
    core: Arc<Core>,
    classes: Classes,
    /// The runtime of workloads that name no class; kept, so that the first of them loads as fast as the next.
    unclassed: Arc<Runtime>,
    long_lane: LongLane,
    cache: Cache,
    instances: Arc<Instances>,
    way_out: WayOut,
    logs: Mutex<HashMap<String, Arc<LogRing>>>,
    /// Held while a table is made from the one before it.
    routing: Mutex<()>,
    state: Mutex<State>,
}

enum State {
    New,
    Bound(Arc<tokio::runtime::Runtime>, Sockets),
    /// The last one is for guests that compute for long.
    Running(Arc<tokio::runtime::Runtime>, Sockets, tokio::runtime::Runtime),
    Stopped,
}

/// The listening sockets, kept so that they can be handed on.
struct Sockets {
    front: TcpListener,
    mesh: TcpListener,
}

impl Sockets {
    fn addresses(&self) -> Result<Addresses, EngineError> {
        let address = |socket: &TcpListener| socket.local_addr().map_err(EngineError::setup);
        Ok(Addresses {
            front: address(&self.front)?.to_string(),
            mesh: address(&self.mesh)?.to_string(),
        })
    }
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
        let classes = Classes::new(config.max_instances)?;
        let unclassed = classes.runtime("")?;
        let cache = Cache::open(&config.cache_dir, unclassed.fingerprint())?;
        Ok(Self {
            classes,
            unclassed,
            long_lane: LongLane::default(),
            cache,
            instances: Arc::new(Instances::new(config.max_instances)),
            way_out: WayOut::Net(web_client()?),
            logs: Mutex::default(),
            routing: Mutex::new(()),
            state: Mutex::new(State::New),
            core: Arc::new(Core {
                node,
                workloads: Workloads::new(),
                services: Services::default(),
                routes: ArcSwap::default(),
                stats: Registry::default(),
                auth: Auth::default(),
                gates: Gates::default(),
                places: Arc::new(Semaphore::new(config.max_connections)),
                tenants: Tenants::default(),
                peers: Peers::default(),
                identity: watch::Sender::new(None),
                front_identity: watch::Sender::new(None),
                stopping: watch::Sender::new(Stopping::No),
                config,
            }),
        })
    }

    /// Bind both listeners, or take up those that were inherited, without accepting yet: clients wait in the kernel's queue.
    ///
    /// # Errors
    /// `engine.address_in_use`, `engine.address_invalid`, `engine.setup`, or `engine.stopped` when it ran before.
    pub fn bind(&self) -> Result<Addresses, EngineError> {
        let mut state = self.state();
        if !matches!(*state, State::New) {
            return Err(EngineError::stopped());
        }
        let config = &self.core.config;
        let sockets = match config.inherited {
            Some((front, mesh)) => Sockets {
                front: adopt(front)?,
                mesh: adopt(mesh)?,
            },
            None => Sockets {
                front: bind(&config.front_bind)?,
                mesh: bind(&config.mesh_bind)?,
            },
        };
        let addresses = sockets.addresses()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.worker_threads.max(1))
            .thread_name("hanse-engine")
            .enable_io()
            .enable_time()
            .build()
            .map_err(EngineError::setup)?;
        *state = State::Bound(Arc::new(runtime), sockets);
        Ok(addresses)
    }

    /// Begin to serve, binding first if that has not been done. Other nodes are refused until there is an identity.
    ///
    /// # Errors
    /// As [`Engine::bind`].
    pub fn start(&self) -> Result<Addresses, EngineError> {
        if matches!(*self.state(), State::New) {
            self.bind()?;
        }
        let mut state = self.state();
        let State::Bound(runtime, sockets) = std::mem::replace(&mut *state, State::Stopped) else {
            return Err(EngineError::stopped());
        };
        let addresses = sockets.addresses()?;
        let listener = |socket: &TcpListener| {
            let _inside = runtime.enter();
            let own = socket.try_clone().map_err(EngineError::setup)?;
            tokio::net::TcpListener::from_std(own).map_err(EngineError::setup)
        };
        let lane = long_lane(self.core.config.worker_threads.max(1))?;
        // Nobody else sets it: an engine starts once.
        let _ = self.long_lane.set(lane.handle().clone());
        let (front, mesh) = (listener(&sockets.front)?, listener(&sockets.mesh)?);
        runtime.spawn(listener::listen(self.core.clone(), front));
        runtime.spawn(mesh::listen(self.core.clone(), mesh));
        *state = State::Running(runtime, sockets, lane);
        Ok(addresses)
    }

    /// Return the descriptors of the listening sockets of front and mesh, to be sent to a process that takes over. They stay
    /// this engine's own.
    ///
    /// # Errors
    /// `engine.stopped` when it does not listen.
    pub fn sockets(&self) -> Result<(RawFd, RawFd), EngineError> {
        match &*self.state() {
            State::Bound(_, sockets) | State::Running(_, sockets, _) => {
                Ok((sockets.front.as_raw_fd(), sockets.mesh.as_raw_fd()))
            }
            State::New | State::Stopped => Err(EngineError::stopped()),
        }
    }

    /// Accept no more, because another process does, and end when every client has gone or `grace` is over.
    ///
    /// Each answer tells its HTTP/1 client to connect anew, HTTP/2 clients are told at once; a connection on which nobody asks
    /// is closed at three quarters of the grace, so that no request meets a closing one.
    pub fn hand_over(&self, grace: Duration) {
        let idle_until = Instant::now() + grace * 3 / 4;
        self.end(Stopping::HandedOver(idle_until), grace);
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

    /// Take new certificates for the front, and what clients have to show. Needs [`EngineConfig::front_tls`].
    ///
    /// New connections see them at once. Open ones go on, unless what clients have to show differs: those take no further
    /// request.
    ///
    /// # Errors
    /// `engine.front_tls_invalid`; the old ones stay.
    pub fn set_front_tls(&self, tls: &FrontTls) -> Result<(), EngineError> {
        let identity = FrontIdentity::new(tls)?;
        self.core.front_identity.send_replace(Some(Arc::new(identity)));
        Ok(())
    }

    /// Take the public keys (JWKS) of a token issuer, for the rules that bring none of their own.
    ///
    /// # Errors
    /// `engine.jwks_invalid`; the old ones stay.
    pub fn set_issuer_keys(&self, issuer: &str, jwks: &str) -> Result<(), EngineError> {
        self.core.auth.set_issuer_keys(issuer, jwks)
    }

    /// Demand a token of everybody who asks `workload` on this node, whichever front he came by; `None`: no longer.
    ///
    /// To be called before the workload is loaded.
    ///
    /// # Errors
    /// `engine.jwks_invalid`; the old rule stays.
    pub fn set_auth(&self, workload: &str, rule: Option<&JwtRule>) -> Result<(), EngineError> {
        self.core.auth.demand(workload, rule)
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
            long_lane: self.long_lane.clone(),
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
        if let (Some(old), Ok(runtime)) = (replaced, self.runtime()) {
            runtime.spawn(async move { old.admission.drain(old.limits.timeout()).await });
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
        let handle = self.runtime()?.handle().clone();
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

    /// Make a service that listens at `upstream` (`ip:port`) beside this node answer for `workload`.
    ///
    /// # Errors
    /// `service.upstream_invalid`; what was there before stays.
    pub fn load_service(&self, workload: &str, upstream: &str, limits: Limits) -> Result<(), EngineError> {
        let service = Service::new(upstream, limits, self.core.stats.workload(workload))?;
        self.core.services.set(workload, Some(service));
        if let (Some(old), Ok(runtime)) = (self.core.workloads.remove(workload), self.runtime()) {
            runtime.spawn(async move { old.admission.drain(old.limits.timeout()).await });
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
        if let Ok(runtime) = self.runtime() {
            runtime.block_on(old.admission.drain(grace));
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

    /// Replace the whole route table at once.
    ///
    /// # Errors
    /// `route.invalid`, `route.duplicate` or `engine.jwks_invalid`; the old table stays.
    pub fn set_routes(&self, routes: &[Route]) -> Result<(), EngineError> {
        let core = &self.core;
        let node = &core.config.node;
        let seed = stream::hash(core.config.seed, node.as_bytes());
        let _writer = self.routing.lock().unwrap_or_else(PoisonError::into_inner);
        let table = Table::new(
            routes,
            node,
            seed,
            &core.peers,
            &core.stats,
            &core.auth,
            &core.routes.load(),
        )?;
        core.routes.store(Arc::new(table));
        core.peers.forget_unused();
        Ok(())
    }

    /// Return a copy of every count.
    pub fn stats(&self) -> EngineStats {
        let mut stats = self.core.read_stats();
        stats.trust_classes = self.classes.len() as u64;
        stats
    }

    /// Return at most `limit` lines of the workload's log with a number above `after`, oldest first.
    pub fn logs(&self, workload: &str, after: u64, limit: usize) -> Vec<LogLine> {
        let ring = self.rings().get(workload).cloned();
        ring.map(|ring| ring.read(after, limit)).unwrap_or_default()
    }

    /// Stop listening, give requests in flight `grace`, then end everything. Stopping twice does nothing.
    pub fn stop(&self, grace: Duration) {
        self.end(Stopping::Now, grace);
    }

    fn end(&self, how: Stopping, grace: Duration) {
        let (runtime, lane) = match std::mem::replace(&mut *self.state(), State::Stopped) {
            State::Running(runtime, _, lane) => (runtime, Some(lane)),
            State::Bound(runtime, _) => (runtime, None),
            State::New | State::Stopped => return,
        };
        self.core.stopping.send_replace(how);
        let all = u32::try_from(self.core.config.max_connections).unwrap_or(u32::MAX);
        runtime.block_on(async {
            // Connections that are still open after the grace are cut when the runtime goes.
            let _ = timeout(grace, self.core.places.acquire_many(all)).await;
        });
        self.core.tenants.stop();
        // Nobody else holds the runtime but calls that are about to end; dropped there it would block an async thread.
        if let Ok(runtime) = Arc::try_unwrap(runtime) {
            runtime.shutdown_timeout(LAST_MOMENT);
        }
        if let Some(lane) = lane {
            lane.shutdown_timeout(LAST_MOMENT);
        }
    }

    fn runtime(&self) -> Result<Arc<tokio::runtime::Runtime>, EngineError> {
        match &*self.state() {
            State::Running(runtime, _, _) | State::Bound(runtime, _) => Ok(runtime.clone()),
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

fn bind(address: &str) -> Result<TcpListener, EngineError> {
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
    Ok(listener)
}

/// Take a listening socket that another process has bound.
fn adopt(descriptor: RawFd) -> Result<TcpListener, EngineError> {
    let failed = |cause: &dyn std::fmt::Display| {
        EngineError::new(
            "engine.socket_invalid",
            format!("descriptor {descriptor} is no listening socket: {cause}"),
            "pass on the sockets of a running engine",
        )
    };
    if descriptor < 0 {
        return Err(failed(&"it is negative"));
    }
    #[expect(
        unsafe_code,
        reason = "a descriptor that another process sent has no owner in this one yet"
    )]
    // SAFETY: the caller gives the descriptor away (`EngineConfig::inherited`), so nobody else closes it. Whether it is open and a
    // socket is asked of the kernel right below.
    let listener = unsafe { TcpListener::from_raw_fd(descriptor) };
    listener.set_nonblocking(true).map_err(|cause| failed(&cause))?;
    listener.local_addr().map_err(|cause| failed(&cause))?;
    Ok(listener)
}
