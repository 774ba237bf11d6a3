//! The retry budget of a route: second attempts (retries and hedges) are at most a fifth of its requests.
//!
//! Without it a fabric in trouble answers every failure with more load. A token bucket as in Finagle and Linkerd: every
//! request pays in a fifth of a token, an attempt beyond the first takes a whole one, and a trickle that does not
//! depend on traffic lets a quiet route retry as well.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Thousandths of a token, so that shares stay integers.
const TOKEN: u64 = 1000;
const PER_REQUEST: u64 = TOKEN / 5;
const FLOOR_PER_SECOND: u64 = 10 * TOKEN;
/// What good times may save up for a bad moment: the requests a busy route has in flight when a node dies.
const MOST: u64 = 2_000 * TOKEN;

#[derive(Debug)]
pub(crate) struct RetryBudget(Mutex<Purse>);

#[derive(Debug)]
struct Purse {
    saved: u64,
    at: Instant,
}

impl RetryBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Purse {
            saved: FLOOR_PER_SECOND,
            at: now,
        }))
    }

    /// A request came: pay in its share.
    pub(crate) fn pay_in(&self) {
        let mut purse = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        purse.saved = (purse.saved + PER_REQUEST).min(MOST);
    }

    /// Take the price of one more attempt, if it is there.
    pub(crate) fn take(&self, now: Instant) -> bool {
        let mut purse = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(purse.at).min(Duration::from_secs(60));
        let trickled = u64::try_from(passed.as_micros()).unwrap_or(0) * FLOOR_PER_SECOND / 1_000_000;
        if trickled > 0 {
            purse.at = now;
            // The trickle is a floor for quiet routes, never savings on top of what requests paid in.
            if purse.saved < FLOOR_PER_SECOND {
                purse.saved = (purse.saved + trickled).min(FLOOR_PER_SECOND);
            }
        }
        match purse.saved.checked_sub(TOKEN) {
            Some(left) => {
                purse.saved = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_attempts_never_exceed_a_fifth_of_the_requests_and_the_floor() {
        let now = Instant::now();
        let budget = RetryBudget::new(now);
        let mut taken = 0;
        for request in 0..10_000_u64 {
            budget.pay_in();
            // Ten seconds in all, and every request would like three more attempts.
            let at = now + Duration::from_millis(request);
            taken += (0..3).filter(|_| budget.take(at)).count();
        }
        assert!((2_000..=2_000 + 10 * 10 + 10 + 1).contains(&taken), "{taken}");
    }

    #[test]
    fn a_quiet_route_may_still_retry_but_not_without_end() {
        let now = Instant::now();
        let budget = RetryBudget::new(now);
        assert_eq!((0..100).filter(|_| budget.take(now)).count(), 10);
        assert!(!budget.take(now + Duration::from_millis(90)));
        assert!(budget.take(now + Duration::from_millis(200)));
        let later = now + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| budget.take(later)).count(), 10);
    }
}
