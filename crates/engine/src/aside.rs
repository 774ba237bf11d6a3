//! Guests that compute for long step aside: `work -> here, until it is interrupted; then on a thread of low priority`.
//!
//! A short request must not wait behind a long one. Yielding alone would make it wait for as many intervals as there are
//! long ones, so a guest that was interrupted once goes on in a runtime of its own, whose threads the kernel preempts
//! for every other one of the process. It gets all that the others leave over.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
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

/// Whether a workload's guests tend to compute for long: those begin aside, so that not even their first stretch is in
/// the way of others.
#[derive(Default)]
pub(crate) struct Habit(AtomicU8);

impl Habit {
    /// So many more long ones than short ones of late make a habit.
    const FIRM: u8 = 4;
    /// More are not counted, so that a changed workload is believed soon.
    const MOST: u8 = 8;

    fn is_long(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::FIRM
    }

    fn note(&self, was_long: bool) {
        let count = self.0.load(Ordering::Relaxed);
        // Two at once may count as one; it is a tendency.
        let next = if was_long {
            (count + 1).min(Self::MOST)
        } else {
            count.saturating_sub(1)
        };
        if next != count {
            self.0.store(next, Ordering::Relaxed);
        }
    }
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

/// Run only while no other thread wants the processor, and be preempted by one at once (sched(7), `SCHED_IDLE`).
#[allow(unsafe_code)]
fn lower_priority() {
    // SAFETY: all zero is a valid value of this structure of integers.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: reads the structure, which is ours; 0 is the calling thread. Everybody may lower his own priority; where it
    // is refused all the same the thread runs as the others do, which is no worse than before.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
}

/// Work of one instance, whose time is added to the workload's account.
pub(crate) struct Aside {
    place: Place,
    /// It goes to the lane before its first step.
    begins_there: bool,
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
            begins_there: workload.habit.is_long() && workload.long_lane.get().is_some(),
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
            if !self.begins_there && timed(&self.workload, &mut running, context).is_ready() {
                return Poll::Ready(());
            }
            let is_long = self.begins_there || self.signs.is_long.load(Ordering::Relaxed);
            let Some(lane) = self.workload.long_lane.get().filter(|_| is_long) else {
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
        self.workload.habit.note(self.signs.is_long.load(Ordering::Relaxed));
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
