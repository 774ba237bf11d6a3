//! Instances kept for further requests, where the workload asks for that: `instance that ended well -> the next request`.
//!
//! Off unless [`Reuse::count`] says otherwise: what one request leaves behind in memory, the next one on that instance can
//! see. An instance that trapped, ran out of time or was given up half-way never comes back here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use wasmtime::Store;
use wasmtime_wasi_http::handler::Proxy;

use crate::config::Reuse;
use crate::host::GuestState;
use crate::stats::Alive;
use crate::workload::Workload;

/// Memory from which the end of an instance is work of its own.
const LARGE_BYTES: usize = 4 << 20;

/// One instance with everything that belongs to it.
pub(crate) struct Instance {
    pub(crate) store: Store<GuestState>,
    pub(crate) proxy: Proxy,
    /// Requests it has been given so far.
    pub(crate) served: u32,
    pub(crate) _alive: Alive,
    /// Its place among the instances of the engine.
    pub(crate) _seat: OwnedSemaphorePermit,
}

/// The idle instances of one workload; the one used last is taken first, so that the others grow old.
#[derive(Default)]
pub(crate) struct Warm(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    kept: Vec<(Instant, Instance)>,
    is_swept: bool,
}

impl Warm {
    /// Take an instance that may serve one more request.
    pub(crate) fn take(&self, reuse: &Reuse) -> Option<Instance> {
        if reuse.count <= 1 {
            return None;
        }
        let (since, instance) = self.lock().kept.pop()?;
        // The sweeper comes when it is scheduled; what is too old by then is not used.
        (since.elapsed() < reuse.idle()).then_some(instance)
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.lock().kept.is_empty()
    }

    /// Keep an instance that has just ended a request well, if it may serve another.
    pub(crate) fn put(workload: &Arc<Workload>, instance: Instance) {
        let reuse = &workload.limits.reuse;
        if instance.served >= reuse.count || workload.admission.is_killed() {
            end(instance);
            return;
        }
        let mut idle = workload.warm.lock();
        idle.kept.push((Instant::now(), instance));
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(workload.clone()));
        }
        drop(idle);
        workload.admission.has_room_for_one();
    }

    /// Drop what has been idle since `before` or longer; when the next is due, `None` without any.
    fn drop_older(&self, before: Option<Instant>, reuse: &Reuse) -> Option<Instant> {
        let mut idle = self.lock();
        let end = idle
            .kept
            .partition_point(|(since, _)| before.is_none_or(|before| *since <= before));
        let old: Vec<_> = idle.kept.drain(..end).collect();
        let next = idle.kept.first().map(|(since, _)| *since + reuse.idle());
        idle.is_swept = next.is_some();
        drop(idle);
        // Ending an instance takes a while (its memory is given back), so not under the lock.
        drop(old);
        next
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Giving megabytes back to the system takes a millisecond, for which the answer need not wait: it is sent first.
fn end(instance: Instance) {
    if instance.store.data().memory_bytes() > LARGE_BYTES {
        tokio::spawn(async move { drop(instance) });
    }
}

/// End instances that are idle for too long, all of them when the workload goes or another one needs the room.
async fn sweep(workload: Arc<Workload>) {
    let reuse = &workload.limits.reuse;
    let mut next = Some(Instant::now() + reuse.idle());
    while let Some(due) = next {
        let before = tokio::select! {
            () = sleep_until(due) => Instant::now().checked_sub(reuse.idle()),
            () = workload.admission.crowded() => None,
            () = workload.admission.killed() => None,
        };
        next = workload.warm.drop_older(before, reuse);
    }
}
