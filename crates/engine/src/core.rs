//! What the parts of a running engine share, and whether it goes on.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::access::Gates;
use crate::config::EngineConfig;
use crate::error::EngineError;
use crate::front_tls::FrontIdentity;
use crate::identity::Identity;
use crate::jwt::Auth;
use crate::lane::LongLane;
use crate::peer::Peers;
use crate::router::Table;
use crate::service::Services;
use crate::sight::{Exporter, Sight};
use crate::stats::{EngineStats, Registry};
use crate::worker::Tenants;
use crate::workload::Workloads;

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
    pub(crate) sight: Sight,
    /// Client connections that may still be opened.
    pub(crate) places: Arc<Semaphore>,
    /// Those of them that run in processes of their own.
    pub(crate) tenants: Tenants,
    pub(crate) peers: Peers,
    pub(crate) identity: watch::Sender<Option<Arc<Identity>>>,
    pub(crate) front_identity: watch::Sender<Option<Arc<FrontIdentity>>>,
    pub(crate) stopping: watch::Sender<Stopping>,
    pub(crate) long_lane: LongLane,
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
    /// # Errors
    /// `engine.config_invalid`, `access_log.io` or `engine.setup`.
    pub(crate) fn new(config: EngineConfig) -> Result<(Self, Option<Exporter>), EngineError> {
        let node = HeaderValue::from_str(&config.node).map_err(|_| {
            EngineError::new(
                "engine.config_invalid",
                format!("{:?} cannot be the id of a node", config.node),
                "use lower-case letters, digits and hyphens",
            )
        })?;
        let (sight, exporter) = Sight::new(&config)?;
        let core = Self {
            node,
            sight,
            workloads: Workloads::new(),
            services: Services::default(),
            routes: ArcSwap::default(),
            stats: Registry::default(),
            auth: Auth::default(),
            gates: Gates::default(),
            places: Arc::new(Semaphore::new(config.max_connections)),
            tenants: Tenants::default(),
            peers: Peers::default(),
            long_lane: LongLane::default(),
            identity: watch::Sender::new(None),
            front_identity: watch::Sender::new(None),
            stopping: watch::Sender::new(Stopping::No),
            config,
        };
        Ok((core, exporter))
    }

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
        let mut stats = self.stats.read(self.peers.stats(Instant::now()), self.sight.stats());
        stats.workers = self.tenants.stats();
        stats
    }
}
