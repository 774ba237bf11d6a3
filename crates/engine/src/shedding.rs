//! How many requests of one route a front holds at once: more are refused at once, while those that are in still make it.
//!
//! The limit follows the measured latency, as in Netflix' gradient limiter and Envoy's adaptive concurrency: windows of
//! samples are compared with a baseline; as long as requests wait no longer than twice the baseline and a second, the
//! limit grows by its square root, beyond that it shrinks in proportion. At the floor the baseline is learned anew, because what
//! takes long with so few requests is slow by itself and not by our queue. `latency, in flight -> admit or refuse`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_millis(100);
const WINDOW_SAMPLES: u32 = 10;
/// So many are always let in: their number alone does not make a node slow.
const FLOOR: u32 = 64;
const START: u32 = 256;
/// Waiting that is no reason to refuse anybody: a tenth of the time a request has by default.
const PATIENCE_US: f64 = 1_000_000.0;
const TOLERANCE: f64 = 2.0;
/// When somebody further on refused for lack of room.
const AFTER_REFUSAL: f64 = 0.8;
const LEARNING: f64 = 0.1;

/// The limit of one route at one front.
#[derive(Debug)]
pub(crate) struct Shedding {
    most: u32,
    limit: AtomicU32,
    in_flight: AtomicU32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    samples: u32,
    sum_us: u64,
    peak_in_flight: u32,
    was_refused: bool,
    baseline_us: Option<f64>,
}

/// A request that was let in.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Shedding>);

impl Shedding {
    /// At most `most` at once, whatever the latency; with fewer than the floor the limit is fixed.
    pub(crate) fn new(most: u32, now: Instant) -> Self {
        let most = most.max(1);
        Self {
            most,
            limit: AtomicU32::new(START.min(most)),
            in_flight: AtomicU32::new(0),
            window: Mutex::new(Window {
                began: now,
                samples: 0,
                sum_us: 0,
                peak_in_flight: 0,
                was_refused: false,
                baseline_us: None,
            }),
        }
    }

    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Let a request in; `None` when it must be refused.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Turn> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let turn = Turn(self.clone());
        (before < self.limit()).then_some(turn)
    }

    fn sample(&self, took: Duration, was_refused: bool, now: Instant) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.peak_in_flight = window.peak_in_flight.max(self.in_flight.load(Ordering::Relaxed));
        if was_refused {
            // A refusal is fast: counted as an answer it would look like a good sign.
            window.was_refused = true;
        } else {
            window.samples += 1;
            window.sum_us += u64::try_from(took.as_micros()).unwrap_or(u64::MAX >> 20);
        }
        let is_over = now.saturating_duration_since(window.began) >= WINDOW;
        if is_over && (window.samples >= WINDOW_SAMPLES || window.was_refused) {
            let next = window.close(self.limit(), FLOOR.min(self.most), self.most);
            self.limit.store(next, Ordering::Relaxed);
            window.began = now;
        }
    }
}

impl Window {
    /// Return the limit that follows from this window, and begin the next one.
    fn close(&mut self, limit: u32, floor: u32, most: u32) -> u32 {
        let mean_us = self.sum_us as f64 / f64::from(self.samples.max(1));
        let is_saturated = self.peak_in_flight.saturating_mul(2) >= limit;
        let may_learn = self.samples > 0 && (!is_saturated || limit <= floor);
        // Until it was seen without a queue of ours, nothing but patience is known.
        let baseline_us = match self.baseline_us {
            None if may_learn => mean_us,
            None => 0.0,
            Some(baseline) if self.samples > 0 && mean_us < baseline => mean_us,
            Some(baseline) if may_learn => baseline + (mean_us - baseline) * LEARNING,
            Some(baseline) => baseline,
        };
        let is_measured = self.samples > 0;
        let target_us = TOLERANCE * baseline_us + PATIENCE_US;
        let gradient = if is_measured {
            (target_us / mean_us.max(1.0)).clamp(0.5, 1.0)
        } else {
            1.0
        };
        let gradient = if self.was_refused {
            gradient.min(AFTER_REFUSAL)
        } else {
            gradient
        };
        if may_learn || self.baseline_us.is_some() {
            self.baseline_us = Some(baseline_us);
        }
        (self.samples, self.sum_us, self.peak_in_flight, self.was_refused) = (0, 0, 0, false);
        if gradient >= 1.0 && !is_saturated {
            return limit;
        }
        let limit = f64::from(limit);
        let growth = if gradient >= 1.0 { limit.sqrt() } else { 0.0 };
        ((limit * gradient + growth) as u32).clamp(floor, most)
    }
}

impl Turn {
    /// It was answered after `took`; `was_refused` when whoever should have answered had no room.
    pub(crate) fn end(self, took: Duration, was_refused: bool, now: Instant) {
        self.0.sample(took, was_refused, now);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of `per_second` requests with an endless queue, and `clients` that ask again at once. Returns the latency that
    /// requests had in the end, in milliseconds, and the limit.
    fn settle(shedding: &Arc<Shedding>, per_second: u32, clients: u32) -> (u64, u32) {
        let mut now = Instant::now();
        let mut took = Duration::ZERO;
        for _ in 0..200 {
            let turns: Vec<_> = (0..clients).filter_map(|_| shedding.admit()).collect();
            took = Duration::from_secs(1) * turns.len() as u32 / per_second;
            now += WINDOW.max(took);
            for turn in turns {
                turn.end(took, false, now);
            }
        }
        (took.as_millis() as u64, shedding.limit())
    }

    #[test]
    fn an_overloaded_route_keeps_its_latency_bounded() {
        let shedding = Arc::new(Shedding::new(4096, Instant::now()));
        // 4,000 clients at 200 requests/s would wait 20 s without a limit.
        let (latency_ms, limit) = settle(&shedding, 200, 4_000);
        assert!(latency_ms < 2_600, "{latency_ms} ms at {limit}");
        assert!(limit >= FLOOR);
    }

    #[test]
    fn a_fast_route_is_never_limited_by_latency() {
        let shedding = Arc::new(Shedding::new(4096, Instant::now()));
        let (latency_ms, limit) = settle(&shedding, 40_000, 2_000);
        assert!(limit >= 2_000, "{limit}");
        assert!(latency_ms <= 50);
    }

    #[test]
    fn a_slow_guest_alone_is_no_overload() {
        let shedding = Arc::new(Shedding::new(4096, Instant::now()));
        let mut now = Instant::now();
        for _ in 0..1_000 {
            let turn = shedding.admit().unwrap();
            now += Duration::from_secs(5);
            turn.end(Duration::from_secs(5), false, now);
        }
        assert_eq!(shedding.limit(), START);
    }

    #[test]
    fn refusals_further_on_shrink_the_limit_to_the_floor_and_no_further() {
        let shedding = Arc::new(Shedding::new(4096, Instant::now()));
        let mut now = Instant::now();
        for _ in 0..100 {
            now += WINDOW;
            shedding.admit().unwrap().end(Duration::from_millis(1), true, now);
        }
        assert_eq!(shedding.limit(), FLOOR);
    }

    #[test]
    fn never_more_than_the_most_and_a_place_comes_back() {
        let shedding = Arc::new(Shedding::new(2, Instant::now()));
        let (first, second) = (shedding.admit(), shedding.admit());
        assert!(first.is_some() && second.is_some() && shedding.admit().is_none());
        drop(first);
        assert!(shedding.admit().is_some());
    }
}
