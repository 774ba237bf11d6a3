//! The engine as its owner sees it: told what is believed and routed, asked what happened.
//!
//! How it starts and stops is in `life`, what runs on it in `loading`.

mod life;
mod loading;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::access::{Access, Gate};
use crate::cache::Cache;
use crate::config::EngineConfig;
use crate::core::Core;
use crate::egress::WayOut;
use crate::error::EngineError;
use crate::front_tls::{FrontIdentity, FrontTls};
use crate::identity::{Identity, public_roots, web_client};
use crate::jwt::JwtRule;
use crate::logs::{LogLine, LogRing};
use crate::router::{Route, Table};
use crate::runtime::{Classes, Runtime};
use crate::sight::Exporter;
use crate::stats::EngineStats;
use crate::stream;
use crate::workload::Instances;

use life::State;
pub use loading::precompile;

/// The data plane of one node. All methods may be called from any thread.
pub struct Engine {
    core: Arc<Core>,
    classes: Classes,
    /// The runtime of workloads that name no class; kept, so that the first of them loads as fast as the next.
    unclassed: Arc<Runtime>,
    cache: Cache,
    instances: Arc<Instances>,
    way_out: WayOut,
    logs: Mutex<HashMap<String, Arc<LogRing>>>,
    /// Held while a table is made from the one before it.
    routing: Mutex<()>,
    /// Until the engine starts.
    exporter: Mutex<Option<Exporter>>,
    state: Mutex<State>,
}

impl Engine {
    /// Make an engine that does not listen yet; workloads may be loaded already.
    ///
    /// # Errors
    /// `engine.config_invalid`, `engine.setup` or `cache.io`.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let (core, exporter) = Core::new(config)?;
        let config = &core.config;
        let classes = Classes::new(config.max_instances)?;
        let unclassed = classes.runtime("")?;
        let cache = Cache::open(&config.cache_dir, unclassed.fingerprint())?;
        Ok(Self {
            classes,
            unclassed,
            cache,
            instances: Arc::new(Instances::new(config.max_instances)),
            way_out: WayOut::Net(Arc::new(web_client(public_roots())?)),
            logs: Mutex::default(),
            routing: Mutex::new(()),
            exporter: Mutex::new(exporter),
            state: Mutex::new(State::New),
            core: Arc::new(core),
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
