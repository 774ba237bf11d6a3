//! How long forwarded requests of one route took lately: the 95th percentile, after which a second attempt is worth its price.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::stats::Histogram;

/// Records between two looks at the distribution, and the fewest from which a percentile means something.
const LOOK_EVERY: u64 = 128;
/// After so many records old ones count half.
const FADE_EVERY: u64 = 2048;
/// Below this the timer is coarser than the wait.
const SHORTEST: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(crate) struct Recent {
    histogram: Histogram,
    records: AtomicU64,
    /// 0 until it is known.
    p95_us: AtomicU64,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self {
            histogram: Histogram::new(),
            records: AtomicU64::new(0),
            p95_us: AtomicU64::new(0),
        }
    }

    pub(crate) fn record(&self, took: Duration) {
        self.histogram.record(took);
        let records = self.records.fetch_add(1, Ordering::Relaxed) + 1;
        if records.is_multiple_of(LOOK_EVERY) {
            self.p95_us.store(self.histogram.quantile_us(0.95), Ordering::Relaxed);
        }
        if records.is_multiple_of(FADE_EVERY) {
            self.histogram.fade();
        }
    }

    /// The 95th percentile; `None` until there are records enough.
    pub(crate) fn p95(&self) -> Option<Duration> {
        match self.p95_us.load(Ordering::Relaxed) {
            0 => None,
            us => Some(Duration::from_micros(us).max(SHORTEST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_appears_with_records_and_follows_them() {
        let recent = Recent::new();
        for _ in 0..127 {
            recent.record(Duration::from_millis(10));
        }
        assert_eq!(recent.p95(), None);
        recent.record(Duration::from_millis(10));
        assert_eq!(recent.p95().unwrap().as_millis(), 10);
        for _ in 0..20_000 {
            recent.record(Duration::from_millis(40));
        }
        assert!((40..=42).contains(&recent.p95().unwrap().as_millis()));
    }
}
