//! Guests that compute for long step aside: `work -> here, until it is interrupted; then on a thread of low priority`.
//!
//! A short request must not wait behind a long one. Yielding alone would make it wait for as many intervals as there are
//! long ones, so a guest that was interrupted once goes on in the `lane`, whose threads the kernel preempts for every other
//! one of the process. It gets all that the others leave over. So does a guest that computes little at a
//! time and never stops, such as one that writes an answer without end.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use crate::host::Signs;
use crate::lane::thread_time;
use crate::workload::Workload;

/// Processor time after which a guest has computed for long.
pub(crate) const LONG: Duration = Duration::from_millis(2);
/// Part of the time by the clock that a guest which waits in between may compute beyond that: what streams a little now and
/// then, for hours, is none of the long ones.
const SHARE: u32 = 20;

thread_local! {
    /// Processor time of this thread when it took up the guest that it runs.
    static BEGAN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Whether the guest that this thread runs has computed for `long` since it last let others run.
pub(crate) fn has_computed_for(long: Duration) -> bool {
    thread_time().saturating_sub(BEGAN.get()) >= long
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

    /// One more is over, by itself or because it was cut off. Cut off before it was long, it shows nothing: behind guests that
    /// use up their time others run out of theirs in line, and would pass for short ones.
    fn note(&self, was_long: bool, was_cut_off: bool) {
        if was_cut_off && !was_long {
            return;
        }
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

/// Work of one instance, whose time is added to the workload's account.
pub(crate) struct Aside {
    place: Place,
    /// It goes to the lane before its first step.
    begins_there: bool,
    has_ended: bool,
    workload: Arc<Workload>,
    signs: Arc<Signs>,
    ran: Option<Ran>,
    /// Given back when whoever waits for the work has seen its end: a version that is replaced is not over before.
    _turn: Option<OwnedSemaphorePermit>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Place {
    Here(Option<Work>),
    /// Comes back when the lane has closed.
    There(JoinHandle<Option<Work>>),
}

impl Aside {
    /// Work for one request, in its `turn`.
    pub(crate) fn of_one(work: Work, workload: Arc<Workload>, signs: Arc<Signs>, turn: OwnedSemaphorePermit) -> Self {
        let mut aside = Self::of_many(work, workload, signs);
        aside.ran = Some(Ran::default());
        aside._turn = Some(turn);
        aside
    }

    /// Work for many requests: that all of them together take much says nothing about any.
    pub(crate) fn of_many(work: Work, workload: Arc<Workload>, signs: Arc<Signs>) -> Self {
        Self {
            place: Place::Here(Some(work)),
            begins_there: workload.habit.is_long(),
            has_ended: false,
            workload,
            signs,
            ran: None,
            _turn: None,
        }
    }

    /// The first stretch, or the next one, in the thread that asks.
    fn step(&mut self, running: &mut Work, context: &mut Context<'_>) -> Poll<()> {
        let (polled, ran) = timed(&self.workload, running, context);
        if polled.is_pending()
            && let Some(so_far) = &mut self.ran
            && so_far.is_long(ran, Instant::now)
        {
            self.signs.is_long.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl Future for Aside {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.place {
                Place::Here(work) => {
                    let Some(mut running) = work.take() else {
                        return Poll::Ready(());
                    };
                    let is_open = self.workload.long_lane.is_open();
                    if !(self.begins_there && is_open) && self.step(&mut running, context).is_ready() {
                        self.has_ended = true;
                        return Poll::Ready(());
                    }
                    let is_long = self.begins_there || self.signs.is_long.load(Ordering::Relaxed);
                    if !(is_open && is_long) {
                        self.place = Place::Here(Some(running));
                        return Poll::Pending;
                    }
                    let there = There {
                        work: Some(running),
                        workload: self.workload.clone(),
                    };
                    self.place = Place::There(self.workload.long_lane.spawn(there));
                }
                Place::There(work) => match ready!(Pin::new(work).poll(context)) {
                    Ok(Some(back)) => self.place = Place::Here(Some(back)),
                    // An error means that the lane is gone with the engine, and the work with it.
                    Ok(None) | Err(_) => {
                        self.has_ended = true;
                        return Poll::Ready(());
                    }
                },
            }
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let was_long = self.signs.is_long.load(Ordering::Relaxed);
        self.workload.habit.note(was_long, !self.has_ended);
        if let Place::There(work) = &self.place {
            work.abort();
        }
    }
}

/// Work that has stepped aside.
struct There {
    work: Option<Work>,
    workload: Arc<Workload>,
}

impl Future for There {
    type Output = Option<Work>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Work>> {
        let this = &mut *self;
        if !this.workload.long_lane.is_open() {
            return Poll::Ready(this.work.take());
        }
        let Some(work) = &mut this.work else {
            return Poll::Ready(None);
        };
        timed(&this.workload, work, context).0.map(|()| None)
    }
}

/// What a guest has taken of the processor, in stretches between which it waited.
#[derive(Default)]
struct Ran {
    in_all: Duration,
    /// Known from when it has taken much.
    since: Option<Instant>,
}

impl Ran {
    /// Whether it is a long one after one more stretch, which most are too short for to ask what time it is `now`.
    fn is_long(&mut self, stretch: Duration, now: impl FnOnce() -> Instant) -> bool {
        self.in_all += stretch;
        if self.in_all < LONG {
            return false;
        }
        let now = now();
        let since = *self.since.get_or_insert(now);
        self.in_all >= LONG * 2 + now.saturating_duration_since(since) / SHARE
    }
}

/// Poll, and how much processor time that took.
fn timed(workload: &Workload, work: &mut Work, context: &mut Context<'_>) -> (Poll<()>, Duration) {
    // Processor time and not time by the clock: on a busy machine a guest is charged for what it ran.
    let began = thread_time();
    BEGAN.set(began);
    let polled = work.as_mut().poll(context);
    let ran = thread_time().saturating_sub(began);
    let ran_ns = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
    workload.counters.cpu_ns.fetch_add(ran_ns, Ordering::Relaxed);
    (polled, ran)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_habit_is_not_lost_to_requests_that_were_cut_off_in_line() {
        let habit = Habit::default();
        for _ in 0..4 {
            assert!(!habit.is_long());
            habit.note(true, true);
        }
        // Two use up their time, six behind them begin when theirs is over.
        for _ in 0..100 {
            (0..2).for_each(|_| habit.note(true, true));
            (0..6).for_each(|_| habit.note(false, true));
            assert!(habit.is_long());
        }
        (0..5).for_each(|_| habit.note(false, false));
        assert!(!habit.is_long(), "short ones that came to their end do count");
    }

    #[test]
    fn much_in_little_time_is_long_and_little_now_and_then_is_not() {
        let (start, stretch) = (Instant::now(), Duration::from_micros(100));
        let after = |count: u32, pause: Duration| {
            let mut ran = Ran::default();
            (1..=count).find(|&n| ran.is_long(stretch, || start + pause * n))
        };
        // 4 ms, and a twentieth of the time since the first 2.
        assert_eq!(after(1_000, stretch), Some(42));
        assert_eq!(after(100_000, stretch * SHARE), None);
    }

    #[test]
    fn computing_counts_from_when_the_guest_was_taken_up() {
        BEGAN.set(thread_time());
        assert!(!has_computed_for(Duration::from_secs(1)));
        BEGAN.set(Duration::ZERO);
        assert!(has_computed_for(thread_time()));
    }
}
