//! The threads of the lowest priority: `work that is in the way of other work -> what the others leave over`.
//!
//! They run only while nobody else wants a processor (`SCHED_IDLE`), and nobody else means every program of the same control
//! group, not this one alone. Where other programs take all there is, the lane would come to a standstill, so it is watched:
//! it closes then, what is in it goes back to where it came from, and opens when its threads are run again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::error::EngineError;

/// The lane is looked at so often while something is in it.
const BEAT: Duration = Duration::from_millis(100);
/// Threads that were not run for so long are starved, unless the process itself has used the processors.
const PATIENCE: Duration = Duration::from_millis(250);
/// So many looks in a row must find it in order before it opens again.
const CALM: u32 = 10;

/// The lane as those see it who have work for it.
#[derive(Default)]
pub(crate) struct Lane {
    /// Set when its threads have started.
    handle: OnceLock<Handle>,
    is_open: AtomicBool,
    inside: AtomicUsize,
}

/// Shared by all who may have work for it.
pub(crate) type LongLane = Arc<Lane>;

impl Lane {
    /// Whether there is a lane, and its threads get something.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Run `work` in the lane; where none was started, where the caller is.
    pub(crate) fn spawn<F>(self: &Arc<Self>, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let inside = Inside::enter(self.clone());
        let counted = async move {
            let _inside = inside;
            work.await
        };
        match self.handle.get() {
            Some(handle) => handle.spawn(counted),
            None => tokio::spawn(counted),
        }
    }

    /// Start `threads` of them. `ordinary` is where the lane is watched from.
    ///
    /// # Errors
    /// `engine.setup` when a thread cannot be started.
    pub(crate) fn start(self: &Arc<Self>, threads: usize, ordinary: &Handle) -> Result<Runtime, EngineError> {
        let threads = threads.max(1);
        let runtime = self.begin(threads)?;
        let processors = available_parallelism().map_or(threads, |processors| processors.get().min(threads));
        ordinary.spawn(watch(self.clone(), processors));
        Ok(runtime)
    }

    /// The same, unwatched.
    pub(crate) fn begin(&self, threads: usize) -> Result<Runtime, EngineError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("hanse-long")
            .on_thread_start(lower_priority)
            .enable_io()
            .enable_time()
            .build()
            .map_err(EngineError::setup)?;
        // Nobody else sets it: an engine starts once.
        let _ = self.handle.set(runtime.handle().clone());
        self.is_open.store(true, Ordering::Relaxed);
        Ok(runtime)
    }
}

/// Counts what is in the lane.
struct Inside(Arc<Lane>);

impl Inside {
    fn enter(lane: Arc<Lane>) -> Self {
        lane.inside.fetch_add(1, Ordering::Relaxed);
        Self(lane)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Close the lane while its threads are starved, as long as the runtime lives.
async fn watch(lane: Arc<Lane>, processors: usize) {
    let mut calm = CALM;
    loop {
        sleep(BEAT).await;
        if lane.is_open() && lane.inside.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let Some(handle) = lane.handle.get() else { return };
        let mut beat = handle.spawn(async {});
        let late = loop {
            let (began, used) = (Instant::now(), process_time());
            match timeout(PATIENCE, &mut beat).await {
                Ok(Ok(())) => break false,
                // The lane is gone with the engine.
                Ok(Err(_)) => return,
                Err(_) if is_starved(began.elapsed(), process_time().saturating_sub(used), processors) => {
                    calm = 0;
                    lane.is_open.store(false, Ordering::Relaxed);
                }
                // It is full of its own work, or has to wait for ours.
                Err(_) => break true,
            }
        };
        calm = if late { calm } else { (calm + 1).min(CALM) };
        if calm == CALM {
            lane.is_open.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether others keep the lane's `processors` from it: nothing was seen of it for so long, and the process has `used` less than
/// half of what they give.
fn is_starved(waited: Duration, used: Duration, processors: usize) -> bool {
    used < waited * u32::try_from(processors).unwrap_or(u32::MAX) / 2
}

/// Processor time of this thread.
pub(crate) fn thread_time() -> Duration {
    processor_time(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn process_time() -> Duration {
    processor_time(libc::CLOCK_PROCESS_CPUTIME_ID)
}

#[allow(unsafe_code)]
fn processor_time(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both clocks exist on every Linux, and the structure is ours and of the type asked for.
    let _ = unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
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

#[cfg(test)]
impl Lane {
    pub(crate) fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_starved_by_others_and_not_by_its_own_process() {
        let second = Duration::from_secs(1);
        assert!(is_starved(second, Duration::ZERO, 2));
        assert!(is_starved(second, second * 99 / 100, 2));
        assert!(!is_starved(second, second, 2), "its own work keeps it waiting");
        assert!(!is_starved(second, second * 2, 2));
        assert!(!is_starved(second, second * 99 / 100, 1));
    }

    #[test]
    fn what_is_in_the_lane_is_counted_and_forgotten() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let lane = LongLane::default();
        assert!(!lane.is_open());
        let _threads = lane.begin(1).unwrap();
        assert!(lane.is_open());
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let work = lane.spawn(wait);
        assert_eq!(lane.inside.load(Ordering::Relaxed), 1);
        go.send(()).unwrap();
        runtime.block_on(work).unwrap().unwrap();
        assert_eq!(lane.inside.load(Ordering::Relaxed), 0);
    }
}
