//! The tenants of this node that have a process of their own, by name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;

use crate::config::{EngineConfig, Isolation};
use crate::error::EngineError;
use crate::stats::WorkerStats;
use crate::worker::tenant::Tenant;

/// All of them; a tenant is here as long as one of its workloads is.
#[derive(Default)]
pub(crate) struct Tenants(Mutex<HashMap<String, Weak<Tenant>>>);

impl Tenants {
    /// The tenant called `name`, whose worker is started when it has none.
    ///
    /// # Errors
    /// `isolation.unavailable` when the kernel, or this node, cannot give what `isolation` asks for; `worker.start_failed`,
    /// `worker.too_many`.
    pub(crate) fn find(
        &self,
        name: &str,
        isolation: Isolation,
        config: &EngineConfig,
        handle: &Handle,
    ) -> Result<Arc<Tenant>, EngineError> {
        // Held while a process starts: two loads of one tenant make one process.
        let mut known = self.lock();
        if let Some(tenant) = known.get(name).and_then(Weak::upgrade) {
            return enough(&tenant, isolation).map(|()| tenant);
        }
        known.retain(|_, tenant| tenant.strong_count() > 0);
        if known.len() >= config.max_workers {
            return Err(EngineError::new(
                "worker.too_many",
                format!("this node has {} worker processes, as many as it may", known.len()),
                "place the workload elsewhere, or allow the node more",
            ));
        }
        let tenant = Tenant::start(name, config, handle.clone())?;
        enough(&tenant, isolation)?;
        known.insert(name.to_owned(), Arc::downgrade(&tenant));
        Ok(tenant)
    }

    pub(crate) fn stats(&self) -> Vec<WorkerStats> {
        let mut stats: Vec<_> = self.living().iter().map(|tenant| tenant.stats()).collect();
        stats.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        stats
    }

    /// End every process, and wait until they have gone.
    pub(crate) fn stop(&self) {
        let living = self.living();
        for tenant in &living {
            tenant.stop();
        }
        for tenant in &living {
            tenant.stop_and_wait();
        }
    }

    fn living(&self) -> Vec<Arc<Tenant>> {
        self.lock().values().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<Tenant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the walls around this tenant's worker are those that were asked for.
fn enough(tenant: &Tenant, isolation: Isolation) -> Result<(), EngineError> {
    if tenant.landlock() > 0 || isolation == Isolation::ProcessSeccomp {
        return Ok(());
    }
    Err(EngineError::new(
        "isolation.unavailable",
        "the kernel of this node has no Landlock, so a worker process would stand behind seccomp alone",
        "place the workload on a newer kernel (5.13 or later, with landlock among its security modules), or accept the weaker \
         form with `isolation: process-seccomp`",
    ))
}
