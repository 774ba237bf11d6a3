//! The workloads loaded on this node: swapped whole while requests run, and taken off with grace.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use wasmtime_wasi_http::handler::ProxyPre;

use crate::answer::Fault;
use crate::aside::Habit;
use crate::config::Limits;
use crate::destination::Policy;
use crate::egress::WayOut;
use crate::host::GuestState;
use crate::lane::LongLane;
use crate::logs::LogRing;
use crate::runtime::Runtime;
use crate::shared::Shared;
use crate::stats::Counters;
use crate::warm::Warm;
use crate::worker::Assignment;

/// How often who waits for an instance to end says so.
const CALL_AGAIN: Duration = Duration::from_millis(20);

/// One version of one workload, ready to run.
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) pre: Arc<ProxyPre<GuestState>>,
    /// The wasmtime engine of its trust class.
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) long_lane: LongLane,
    pub(crate) habit: Habit,
    pub(crate) warm: Warm,
    pub(crate) shared: Shared,
    pub(crate) limits: Limits,
    pub(crate) egress: Arc<Policy>,
    pub(crate) way_out: WayOut,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) logs: Arc<LogRing>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) admission: Admission,
    /// Where its guests run, if not here.
    pub(crate) worker: Option<Assignment>,
}

impl Workload {
    /// Whether an instance that is there already may take one more request.
    pub(crate) fn has_room(&self) -> bool {
        let reuse = &self.limits.reuse;
        reuse.count > 1 && (self.warm.has_room() || self.shared.has_room(reuse))
    }

    /// Wait for a turn, and for something to take it with; see [`Admission::admit`].
    pub(crate) async fn admit(&self, deadline: Instant) -> Result<Permit, Fault> {
        self.admission.admit(deadline, || self.has_room()).await
    }

    /// Wait for a place for an instance, or until one that is there may take one more; see [`Admission::seat_or_room`].
    pub(crate) async fn seat_or_room(&self) -> Result<Option<OwnedSemaphorePermit>, Fault> {
        self.admission.seat_or_room(|| self.has_room()).await
    }

    /// Whether one instance serves several requests at once.
    pub(crate) fn is_shared(&self) -> bool {
        let reuse = &self.limits.reuse;
        reuse.count > 1 && reuse.concurrency > 1 && matches!(*self.pre, ProxyPre::P3(_))
    }

    /// Count a fault and tell the owner.
    pub(crate) fn report(&self, fault: &Fault) {
        self.counters.error(fault.code);
        let text = format!("{}: {}", fault.code, fault.message);
        self.logs.push("fault", text.as_bytes());
    }
}

/// Who may run: so many at once, so many in line, and nobody after the workload is closed.
pub(crate) struct Admission {
    running: Arc<Semaphore>,
    instances: Arc<Instances>,
    concurrency: u32,
    queue: u32,
    waiting: AtomicU32,
    is_closed: AtomicBool,
    killed: watch::Sender<bool>,
    /// An instance that is there may take one more.
    room: Notify,
}

/// The places for instances of the whole engine.
#[derive(Debug)]
pub(crate) struct Instances {
    seats: Arc<Semaphore>,
    /// Somebody waits for a seat: who holds one idly gives it up.
    wanted: Notify,
}

impl Instances {
    pub(crate) fn new(most: u32) -> Self {
        Self {
            seats: Arc::new(Semaphore::new(most as usize)),
            wanted: Notify::new(),
        }
    }
}

/// The right to answer one request, and the place for an instance to do so.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(crate) running: OwnedSemaphorePermit,
    /// `None` when an instance that is there already has room.
    pub(crate) seat: Option<OwnedSemaphorePermit>,
}

impl Admission {
    pub(crate) fn new(limits: &Limits, instances: Arc<Instances>) -> Self {
        let concurrency = limits.concurrency.max(1);
        Self {
            running: Arc::new(Semaphore::new(concurrency as usize)),
            instances,
            concurrency,
            queue: limits.queue,
            waiting: AtomicU32::new(0),
            is_closed: AtomicBool::new(false),
            killed: watch::Sender::new(false),
            room: Notify::new(),
        }
    }

    /// Wait for a turn, until `deadline`; and for a place for an instance unless one that is there `has_room`.
    ///
    /// # Errors
    /// `engine.overloaded` when the line is full, `guest.deadline` when the turn did not come in time, `guest.unloaded`
    /// when this version is on its way out.
    async fn admit(&self, deadline: Instant, has_room: impl Fn() -> bool) -> Result<Permit, Fault> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Fault::unloaded());
        }
        if let Ok(running) = self.running.clone().try_acquire_owned() {
            if has_room() {
                return Ok(Permit { running, seat: None });
            }
            if let Ok(seat) = self.instances.seats.clone().try_acquire_owned() {
                return Ok(Permit {
                    running,
                    seat: Some(seat),
                });
            }
        }
        let _place = Place::take(&self.waiting, self.queue)?;
        let turn = async {
            let running = self
                .running
                .clone()
                .acquire_owned()
                .await
                .map_err(|_| Fault::unloaded())?;
            let seat = self.seat_or_room(has_room).await?;
            Ok(Permit { running, seat })
        };
        timeout_at(deadline, turn)
            .await
            .unwrap_or_else(|_| Err(Fault::deadline()))
    }

    /// Wait for a place for an instance, or (`None`) until one that is there `has_room`, whichever comes first; idle ones are
    /// asked to go. Both must be waited for: the instance that has every place may be one that waits for this very request.
    async fn seat_or_room(&self, has_room: impl Fn() -> bool) -> Result<Option<OwnedSemaphorePermit>, Fault> {
        let mut seat = pin!(self.instances.seats.clone().acquire_owned());
        loop {
            // Before the look, so that room made right after it is heard of.
            let room = self.room.notified();
            if has_room() {
                return Ok(None);
            }
            tokio::select! {
                biased;
                seat = &mut seat => return seat.map(Some).map_err(|_| Fault::unloaded()),
                () = room => {}
                // Again and again: one that is just becoming idle does not hear the first call.
                () = self.call_for_room() => {}
            }
        }
    }

    /// Ask instances that are idle to go, and give them a moment.
    async fn call_for_room(&self) {
        self.instances.wanted.notify_waiters();
        sleep(CALL_AGAIN).await;
    }

    /// One more request may go to an instance that is there: one who waits for that is told.
    pub(crate) fn has_room_for_one(&self) {
        self.room.notify_one();
    }

    /// As [`Admission::has_room_for_one`], for several.
    pub(crate) fn has_room_for_some(&self) {
        self.room.notify_waiters();
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Resolves when somebody waits for an instance to end.
    pub(crate) async fn crowded(&self) {
        self.instances.wanted.notified().await;
    }

    pub(crate) fn is_killed(&self) -> bool {
        *self.killed.borrow()
    }

    /// Resolves when the workload's remaining requests must end.
    pub(crate) async fn killed(&self) {
        let mut killed = self.killed.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = killed.wait_for(|killed| *killed).await;
    }

    /// Admit no more, let those running and in line end within `grace`, then end them.
    pub(crate) async fn drain(&self, grace: Duration) {
        self.is_closed.store(true, Ordering::Release);
        let all = self.running.clone().acquire_many_owned(self.concurrency);
        let _ = timeout(grace, all).await;
        self.killed.send_replace(true);
        self.running.close();
    }
}

/// A place in line.
struct Place<'a>(&'a AtomicU32);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicU32, places: u32) -> Result<Self, Fault> {
        if waiting.fetch_add(1, Ordering::Relaxed) >= places {
            waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Fault::overloaded("the workload on this node"));
        }
        Ok(Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The workloads of one engine by name.
pub(crate) struct Workloads {
    current: ArcSwap<HashMap<String, Loaded>>,
    writer: Mutex<()>,
}

/// A workload and what it was made from.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) workload: Arc<Workload>,
    pub(crate) digest: String,
}

impl Workloads {
    pub(crate) fn new() -> Self {
        Self {
            current: ArcSwap::default(),
            writer: Mutex::new(()),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Workload>> {
        self.current.load().get(name).map(|loaded| loaded.workload.clone())
    }

    /// Wait for a turn on the workload called `name`, at most its own time and `allowed` after `began`; `None` when it does
    /// not run here. A version that is replaced meanwhile is left for the new one.
    pub(crate) async fn admit(
        &self,
        name: &str,
        began: Instant,
        allowed: Duration,
    ) -> Option<(Arc<Workload>, Instant, Result<Permit, Fault>)> {
        let mut workload = self.get(name)?;
        loop {
            let deadline = began + workload.limits.timeout().min(allowed);
            let admitted = workload.admit(deadline).await;
            if admitted.is_err() && workload.admission.is_closed() {
                let newer = self.get(name)?;
                if !Arc::ptr_eq(&newer, &workload) {
                    workload = newer;
                    continue;
                }
            }
            return Some((workload, deadline, admitted));
        }
    }

    pub(crate) fn loaded(&self, name: &str) -> Option<Loaded> {
        self.current.load().get(name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.current.load().keys().cloned().collect();
        names.sort();
        names
    }

    pub(crate) fn len(&self) -> usize {
        self.current.load().len()
    }

    /// Put `loaded` in place and return what it replaced.
    pub(crate) fn insert(&self, loaded: Loaded) -> Option<Arc<Workload>> {
        self.change(|workloads| workloads.insert(loaded.workload.name.clone(), loaded))
            .map(|old| old.workload)
    }

    pub(crate) fn remove(&self, name: &str) -> Option<Arc<Workload>> {
        self.change(|workloads| workloads.remove(name)).map(|old| old.workload)
    }

    fn change<T>(&self, change: impl FnOnce(&mut HashMap<String, Loaded>) -> T) -> T {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::clone(&self.current.load());
        let result = change(&mut next);
        self.current.store(Arc::new(next));
        result
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn admission() -> Admission {
        Admission::new(&Limits::default(), Arc::new(Instances::new(1)))
    }

    #[tokio::test]
    async fn who_waits_for_a_place_takes_room_that_is_made_meanwhile() {
        let (admission, is_there) = (admission(), AtomicBool::new(false));
        let deadline = Instant::now() + Duration::from_secs(3600);
        let has_room = || is_there.load(Ordering::Relaxed);
        let first = admission.admit(deadline, has_room).await.unwrap();
        assert!(first.seat.is_some());

        // Two in one instance: the second is in line before the first has made it, and the only place is taken.
        let mut second = pin!(admission.admit(deadline, has_room));
        assert!(second.as_mut().now_or_never().is_none());
        is_there.store(true, Ordering::Relaxed);
        admission.has_room_for_some();
        assert!(second.await.unwrap().seat.is_none());
    }

    #[tokio::test]
    async fn who_waits_for_a_place_keeps_his_turn_while_he_asks_for_room_again() {
        let admission = admission();
        let first = admission.seat_or_room(|| false).await.unwrap();
        let mut second = pin!(admission.seat_or_room(|| false));
        assert!(second.as_mut().now_or_never().is_none());
        let mut third = pin!(admission.seat_or_room(|| false));
        assert!(third.as_mut().now_or_never().is_none());
        admission.has_room_for_one();
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        assert!(second.await.unwrap().is_some());
    }
}
