//! What one tenant's worker is to have loaded, and in whose name it counts and logs: `version -> code, limits, account`.
//!
//! It lies in the node, so a worker that is started anew is told everything again, and the word of a worker about itself is
//! taken for the versions that are here, and no others.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::config::Limits;
use crate::logs::LogRing;
use crate::stats::Counters;
use crate::worker::words;
use crate::workload::Workload;

/// Accounts of versions that are gone, kept for reports that are still under way.
const RETIRED: usize = 64;

/// What a version consists of.
pub(crate) struct Load<'a> {
    pub(crate) workload: &'a str,
    pub(crate) code: File,
    pub(crate) limits: &'a Limits,
    pub(crate) env: &'a [(String, String)],
    pub(crate) logs: Arc<LogRing>,
    pub(crate) counters: Arc<Counters>,
}

/// What a tenant's worker is to have loaded, and whose counts and logs it may touch.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    last: u64,
    seats: HashMap<u64, Seat>,
    retired: VecDeque<(u64, Account)>,
    /// Versions the worker has yet to be told to forget.
    leaving: Vec<u64>,
}

type Account = (Arc<LogRing>, Arc<Counters>);

/// One version of one workload.
struct Seat {
    name: String,
    spec: Value,
    code: File,
    code_bytes: u64,
    account: Account,
    /// Outgoing requests of all its instances together.
    gate: Arc<Semaphore>,
    /// Set when its [`Workload`] has been made.
    workload: Weak<Workload>,
}

impl Seat {
    /// # Errors
    /// What the code's file says of itself cannot be read.
    fn of(load: Load<'_>) -> std::io::Result<Self> {
        let limits = load.limits;
        let most_out = (limits.concurrency as usize).saturating_mul(limits.egress_concurrency as usize);
        Ok(Self {
            name: load.workload.to_owned(),
            spec: words::spec(load.workload, limits, load.env),
            code_bytes: load.code.metadata()?.len(),
            code: load.code,
            account: (load.logs, load.counters),
            gate: Arc::new(Semaphore::new(most_out.min(Semaphore::MAX_PERMITS))),
            workload: Weak::new(),
        })
    }
}

impl Ledger {
    /// Take a version in; its number.
    ///
    /// # Errors
    /// What the code's file says of itself cannot be read.
    pub(super) fn enter(&self, load: Load<'_>) -> std::io::Result<u64> {
        let seat = Seat::of(load)?;
        let mut entries = self.lock();
        entries.last += 1;
        let version = entries.last;
        entries.seats.insert(version, seat);
        Ok(version)
    }

    /// Name the workload that a version was made for.
    pub(super) fn introduce(&self, version: u64, workload: &Arc<Workload>) {
        if let Some(seat) = self.lock().seats.get_mut(&version) {
            seat.workload = Arc::downgrade(workload);
        }
    }

    /// Take a version out; its account is kept for a while. Whether it was there.
    pub(super) fn leave(&self, version: u64) -> bool {
        let mut entries = self.lock();
        let Some(seat) = entries.seats.remove(&version) else {
            return false;
        };
        entries.retired.push_back((version, seat.account));
        if entries.retired.len() > RETIRED {
            entries.retired.pop_front();
        }
        entries.leaving.push(version);
        true
    }

    /// Limits and environment of a version as the worker reads them, its compiled code and how long that is; `None` when the
    /// version is gone.
    pub(super) fn contents(&self, version: u64) -> Option<std::io::Result<(String, File, u64)>> {
        let entries = self.lock();
        let seat = entries.seats.get(&version)?;
        let code = seat.code.try_clone();
        Some(code.map(|code| (seat.spec.to_string(), code, seat.code_bytes)))
    }

    /// The versions that the worker has yet to be told to forget, each told of once.
    pub(super) fn leaving(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().leaving)
    }

    /// All versions, the oldest first.
    pub(super) fn versions(&self) -> Vec<u64> {
        let mut versions: Vec<u64> = self.lock().seats.keys().copied().collect();
        versions.sort_unstable();
        versions
    }

    /// Who asks for something outside, and the gate he has to pass.
    pub(crate) fn find(&self, version: u64) -> Option<(Arc<Workload>, Arc<Semaphore>)> {
        let entries = self.lock();
        let seat = entries.seats.get(&version)?;
        Some((seat.workload.upgrade()?, seat.gate.clone()))
    }

    /// Logs and counters of a version, also of one that has just gone.
    pub(crate) fn account(&self, version: u64) -> Option<Account> {
        let entries = self.lock();
        let retired = || entries.retired.iter().find(|(number, _)| *number == version);
        let seat = entries.seats.get(&version).map(|seat| &seat.account);
        seat.or_else(|| retired().map(|(_, account)| account)).cloned()
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.lock().seats.values().map(|seat| seat.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Tell every owner.
    pub(super) fn note(&self, text: &str) {
        for seat in self.lock().seats.values() {
            seat.account.0.push("fault", text.as_bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
