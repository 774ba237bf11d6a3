//! Guests that compute for long step aside: `work -> here, until it is interrupted; then on a thread of low priority`.
//!
//! A short request must not wait behind a long one. Yielding alone would make it wait for as many intervals as there are
//! long ones, so a guest that was interrupted once goes on in a runtime of its own, whose threads the kernel preempts
//! for every other one of the process. It gets all that the others leave over.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::thread::ThreadId;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use crate::error::EngineError;
use crate::host::Signs;
use crate::workload::Workload;

/// Lowest priority the kernel knows for ordinary threads.
const NICE: i32 = 19;

/// Processor time after which a guest has computed for long.
pub(crate) const LONG: Duration = Duration::from_millis(2);

/// How long a guest has been computing, on the thread where it was first seen to.
#[derive(Default)]
pub(crate) struct Stretch(Option<(ThreadId, Duration)>);

impl Stretch {
    /// Whether the thread has worked for `long` since the last stretch that was as long.
    pub(crate) fn is_for(&mut self, long: Duration) -> bool {
        let (here, now) = (std::thread::current().id(), thread_time());
        match self.0 {
            Some((thread, since)) if thread == here => {
                let is_long = now.saturating_sub(since) >= long;
                if is_long {
                    self.0 = Some((here, now));
                }
                is_long
            }
            _ => {
                self.0 = Some((here, now));
                false
            }
        }
    }
}

/// Processor time of this thread.
#[allow(unsafe_code)]
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and the structure is ours and of the type asked for.
    let _ = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Where long work goes; set when the engine starts.
pub(crate) type LongLane = Arc<OnceLock<Handle>>;

/// Start the runtime for guests that compute for long.
///
/// # Errors
/// `engine.setup` when its threads cannot be started.
pub(crate) fn long_lane(threads: usize) -> Result<Runtime, EngineError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("hanse-long")
        .on_thread_start(lower_priority)
        .enable_io()
        .enable_time()
        .build()
        .map_err(EngineError::setup)
}

#[allow(unsafe_code)]
fn lower_priority() {
    // SAFETY: takes and returns integers; on Linux it is about the calling thread. Where it is refused the thread runs
    // as the others do, which is no worse than before.
    let _ = unsafe { libc::nice(NICE) };
}

/// Work of one instance, whose time is added to the workload's account.
pub(crate) struct Aside {
    place: Place,
    workload: Arc<Workload>,
    signs: Arc<Signs>,
    /// Given back when whoever waits for the work has seen its end: a version that is replaced is not over before.
    _turn: Option<OwnedSemaphorePermit>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Place {
    Here(Option<Work>),
    There(JoinHandle<()>),
}

impl Aside {
    pub(crate) fn new(
        work: Work,
        workload: Arc<Workload>,
        signs: Arc<Signs>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            place: Place::Here(Some(work)),
            workload,
            signs,
            _turn: turn,
        }
    }
}

impl Future for Aside {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Place::Here(work) = &mut self.place {
            let Some(mut running) = work.take() else {
                return Poll::Ready(());
            };
            if timed(&self.workload, &mut running, context).is_ready() {
                return Poll::Ready(());
            }
            let lane = self.workload.long_lane.get();
            let Some(lane) = lane.filter(|_| self.signs.is_long.load(Ordering::Relaxed)) else {
                self.place = Place::Here(Some(running));
                return Poll::Pending;
            };
            let there = There {
                work: running,
                workload: self.workload.clone(),
            };
            self.place = Place::There(lane.spawn(there));
        }
        let Place::There(work) = &mut self.place else {
            return Poll::Pending;
        };
        // An error means that the lane is gone with the engine, and the work with it.
        let _ = ready!(Pin::new(work).poll(context));
        Poll::Ready(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Place::There(work) = &self.place {
            work.abort();
        }
    }
}

/// Work that has stepped aside.
struct There {
    work: Work,
    workload: Arc<Workload>,
}

impl Future for There {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        timed(&this.workload, &mut this.work, context)
    }
}

fn timed(workload: &Workload, work: &mut Work, context: &mut Context<'_>) -> Poll<()> {
    // Processor time and not time by the clock: on a busy machine a guest is charged for what it ran.
    let began = thread_time();
    let polled = work.as_mut().poll(context);
    let ran = thread_time().saturating_sub(began);
    let ran_ns = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
    workload.counters.cpu_ns.fetch_add(ran_ns, Ordering::Relaxed);
    polled
}
