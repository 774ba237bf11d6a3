//! What was decided on the request path, counted for the audit: `decision -> count by policies and kind of principal`.
//!
//! No personal data: neither who asked nor for what, only what kind of principal, by which policies, how often, and of one
//! request now and then its moment and trace. The agent reads the counts and brings what is new to the domain's ledger.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hanse_policy::Decision;

/// Rows of one workload; what comes beyond is counted in rows that name no policy.
const MAX_ROWS: usize = 64;
const OTHERS: &str = "(others)";
/// How old the sample of a row may get.
const SAMPLE_US: u64 = 60_000_000;

/// Decisions of one kind about one workload since the engine started.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DecisionCount {
    /// Whether requests passed.
    pub is_allowed: bool,
    /// Whether a policy could not be evaluated, which denies.
    pub is_error: bool,
    /// `@id`s of the policies that decided, sorted; none where nothing permitted it.
    pub policies: Vec<String>,
    /// Kind of principal: `anonymous`, `user`, `certificate`, `workload` or `node`.
    pub principal: &'static str,
    /// How many.
    pub count: u64,
    /// When the first of them was decided, in microseconds since 1970.
    pub first_us: u64,
    /// When the last of them was.
    pub last_us: u64,
    /// When the sample was decided.
    pub sample_us: u64,
    /// Trace of the sample; empty without tracing.
    pub sample_trace: String,
}

impl DecisionCount {
    fn is_like(&self, other: &Self) -> bool {
        (self.is_allowed, self.is_error, self.principal) == (other.is_allowed, other.is_error, other.principal)
    }

    fn add(&mut self, now: u64, trace: impl FnOnce() -> Option<String>) {
        self.count += 1;
        self.last_us = self.last_us.max(now);
        if now.saturating_sub(self.sample_us) >= SAMPLE_US {
            self.sample_us = now;
            self.sample_trace = trace().unwrap_or_default();
        }
    }
}

/// The rows of one workload.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Vec<Row>>);

#[derive(Debug)]
struct Row {
    /// Number of the gate that decided last, and its own numbers of the policies: compared without being named.
    decided: (u64, Vec<String>),
    told: DecisionCount,
}

impl Tally {
    /// Count one decision of a gate; `names` and `trace` are asked when it is the first of its kind for a while.
    pub(crate) fn note(
        &self,
        gate: u64,
        decision: &Decision,
        principal: &'static str,
        trace: impl FnOnce() -> Option<String>,
        names: impl FnOnce() -> Vec<String>,
    ) {
        let is_error = !decision.errors.is_empty();
        let decided = if is_error { &decision.errors } else { &decision.policies };
        let now = now_us();
        let mut fresh = DecisionCount {
            is_allowed: decision.is_closed_allow(),
            is_error,
            policies: Vec::new(),
            principal,
            count: 0,
            first_us: now,
            last_us: now,
            sample_us: 0,
            sample_trace: String::new(),
        };
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut alike = rows.iter_mut().filter(|row| row.told.is_like(&fresh));
        if let Some(row) = alike.find(|row| row.decided.0 == gate && row.decided.1 == *decided) {
            return row.told.add(now, trace);
        }
        fresh.policies = names();
        fresh.policies.sort();
        if rows.len() >= MAX_ROWS {
            fresh.policies = vec![OTHERS.to_owned()];
        }
        let decided = (gate, decided.clone());
        let mut alike = rows.iter_mut().filter(|row| row.told.is_like(&fresh));
        if let Some(row) = alike.find(|row| row.told.policies == fresh.policies) {
            row.decided = decided;
            return row.told.add(now, trace);
        }
        fresh.add(now, trace);
        rows.push(Row { decided, told: fresh });
    }

    /// What was counted, in the order in which it was first.
    pub(crate) fn read(&self) -> Vec<DecisionCount> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().map(|row| row.told.clone()).collect()
    }
}

fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(policies: &[&str]) -> Decision {
        Decision {
            policies: policies.iter().map(|&name| name.to_owned()).collect(),
            ..Decision::default()
        }
    }

    fn note(tally: &Tally, gate: u64, decision: &Decision, principal: &'static str, name: &str) {
        tally.note(gate, decision, principal, || None, || vec![name.to_owned()]);
    }

    #[test]
    fn equal_decisions_share_a_row() {
        let tally = Tally::default();
        for _ in 0..3 {
            note(&tally, 1, &denied(&["policy0"]), "user", "nurses-only");
        }
        note(&tally, 1, &denied(&["policy0"]), "anonymous", "nurses-only");
        let rows: Vec<_> = tally.read().iter().map(|row| (row.principal, row.count)).collect();
        assert_eq!(rows, [("user", 3), ("anonymous", 1)]);
    }

    #[test]
    fn a_new_gate_numbers_its_policies_anew() {
        let tally = Tally::default();
        note(&tally, 1, &denied(&["policy0"]), "user", "old");
        note(&tally, 2, &denied(&["policy0"]), "user", "new");
        note(&tally, 2, &denied(&["policy1"]), "user", "old");
        let rows: Vec<_> = tally.read().into_iter().map(|row| (row.policies, row.count)).collect();
        assert_eq!(rows, [(vec!["old".to_owned()], 2), (vec!["new".to_owned()], 1)]);
    }

    #[test]
    fn rows_never_exceed_their_bound_and_nothing_is_uncounted() {
        let tally = Tally::default();
        for number in 0..500 {
            let name = format!("policy{number}");
            note(&tally, 1, &denied(&[&name]), "user", &name);
        }
        let told = tally.read();
        assert_eq!(told.len(), MAX_ROWS + 1);
        assert_eq!(told.iter().map(|row| row.count).sum::<u64>(), 500);
    }
}
