//! One tenant's worker for as long as the tenant is here: what it is to run, and the connection to it.
//!
//! A thread of its own starts the process, and starts it anew when it dies (`tending`). What is loaded is kept on this side
//! (`ledger`), so a new process is told everything again.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::client::conn::http2::SendRequest;
use rustix::event::{EventfdFlags, eventfd};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::body::Body;
use crate::config::EngineConfig;
use crate::error::EngineError;
use crate::stats::WorkerStats;
use crate::worker::channel::Channel;
use crate::worker::launch;
use crate::worker::ledger::{Ledger, Load};
use crate::worker::orders::{self, Trouble};
use crate::worker::tending::tend;
use crate::workload::Workload;

/// A load waits so long for a worker that is being started anew.
const RESTART_PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a worker that lives, as far as is known.
pub(crate) struct Link {
    pub(crate) sender: SendRequest<Body>,
    pub(super) is_dead: AtomicBool,
}

impl Link {
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Acquire)
    }
}

/// What the thread and everybody else share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) config: EngineConfig,
    pub(super) handle: Handle,
    pub(super) ledger: Arc<Ledger>,
    pub(super) link: watch::Sender<Option<Arc<Link>>>,
    /// The control socket of the process that lives; held while it is asked something.
    control: Mutex<Option<Channel>>,
    told: Mutex<WorkerStats>,
    is_over: Mutex<bool>,
    over: Condvar,
    /// Calls the thread, which waits for the end of the process.
    pub(super) bell: OwnedFd,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// One tenant. When the last handle goes, so does the process.
pub(crate) struct Tenant(Arc<Shared>);

impl Drop for Tenant {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A version's place in its tenant's worker; taken back when it is dropped.
pub(crate) struct Assignment {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) version: u64,
}

impl Assignment {
    /// Tell who asks for something outside in the name of this version.
    pub(crate) fn introduce(&self, workload: &Arc<Workload>) {
        self.tenant.0.ledger.introduce(self.version, workload);
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        self.tenant.release(self.version);
    }
}

impl Tenant {
    /// Start the worker of the tenant called `name`, and wait for its first word.
    ///
    /// # Errors
    /// `isolation.unavailable`, `worker.start_failed`.
    pub(crate) fn start(name: &str, config: &EngineConfig, handle: Handle) -> Result<Arc<Self>, EngineError> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            config: config.clone(),
            handle,
            ledger: Arc::default(),
            link: watch::Sender::new(None),
            control: Mutex::default(),
            told: Mutex::new(WorkerStats {
                tenant: name.to_owned(),
                ..WorkerStats::default()
            }),
            is_over: Mutex::new(false),
            over: Condvar::new(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(EngineError::setup)?,
            thread: Mutex::default(),
        });
        let (first, started) = mpsc::sync_channel(1);
        let tended = shared.clone();
        let thread = std::thread::Builder::new()
            .name("hanse-tenant".to_owned())
            .spawn(move || tend(&tended, &first))
            .map_err(EngineError::setup)?;
        *shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        let tenant = Arc::new(Self(shared));
        started.recv().unwrap_or_else(|_| Err(EngineError::stopped()))?;
        Ok(tenant)
    }

    /// Have the worker load a version.
    ///
    /// # Errors
    /// `worker.start_failed` when it cannot, or does not answer.
    pub(crate) fn assign(self: &Arc<Self>, load: Load<'_>) -> Result<Assignment, EngineError> {
        let shared = &self.0;
        let mut control = shared.lock_control();
        let version = shared.ledger.enter(load).map_err(unloadable)?;
        // From here on, whatever goes wrong takes the seat back.
        let assignment = Assignment {
            tenant: self.clone(),
            version,
        };
        match &*control {
            Some(channel) => {
                let loaded = orders::load(channel, &shared.ledger, version);
                if let Err(Trouble::Silent(_)) = &loaded {
                    // Which ends the process; another one is started.
                    *control = None;
                }
                drop(control);
                loaded.map_err(unloadable)?;
            }
            None => {
                // Who starts it anew finds the seat.
                drop(control);
                if !shared.is_up_within(RESTART_PATIENCE) {
                    return Err(unloadable("the worker is down, and does not come back"));
                }
            }
        }
        Ok(assignment)
    }

    fn release(&self, version: u64) {
        if !self.0.ledger.leave(version) {
            return;
        }
        // Told by the tenant's own thread: this one may belong to somebody's request, and a worker may be slow to answer.
        self.0.ring();
    }

    /// The connection to the worker, `None` when it is not up by `deadline`.
    pub(crate) async fn link(&self, deadline: tokio::time::Instant) -> Option<Arc<Link>> {
        if let Some(link) = self.link_now() {
            return Some(link);
        }
        let mut changes = self.0.link.subscribe();
        let up = changes.wait_for(|link| link.as_ref().is_some_and(|link| !link.is_dead()));
        tokio::time::timeout_at(deadline, up).await.ok()?.ok()?.clone()
    }

    fn link_now(&self) -> Option<Arc<Link>> {
        self.0.link.borrow().clone().filter(|link| !link.is_dead())
    }

    /// How the worker ended the last time.
    pub(crate) fn last_end(&self) -> String {
        self.0.told().last_end.clone()
    }

    /// Version of Landlock in force; 0 without.
    pub(crate) fn landlock(&self) -> u32 {
        self.0.told().landlock
    }

    pub(crate) fn stats(&self) -> WorkerStats {
        let mut stats = self.0.told().clone();
        stats.workloads = self.0.ledger.names();
        if stats.pid != 0 {
            (stats.rss_bytes, stats.cpu_us) = launch::usage(stats.pid).unwrap_or_default();
        }
        stats
    }

    /// Let the worker go, for good.
    pub(crate) fn stop(&self) {
        let shared = &self.0;
        *shared.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        shared.over.notify_all();
        // Its end of the socket sees the end, and the process leaves by itself. Whoever holds the lock is done soon: the process
        // is killed when it is not.
        if let Ok(mut control) = shared.control.try_lock() {
            *control = None;
        }
        shared.ring();
    }

    /// As `stop`, and wait until the process has gone.
    pub(crate) fn stop_and_wait(&self) {
        self.stop();
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    pub(super) fn lock_control(&self) -> MutexGuard<'_, Option<Channel>> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn told(&self) -> MutexGuard<'_, WorkerStats> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_over(&self) -> bool {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait, unless the tenant leaves meanwhile; whether it has.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.over.wait_timeout_while(is_over, pause, |is_over| !*is_over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn is_up_within(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if self.link.borrow().is_some() {
                return true;
            }
            if self.pause(Duration::from_millis(5)) {
                return false;
            }
        }
        false
    }

    pub(super) fn ring(&self) {
        // Full only after 2^64 calls that nobody has heard.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

pub(super) fn unloadable(cause: impl std::fmt::Display) -> EngineError {
    EngineError::new(
        "worker.start_failed",
        format!("the worker process does not take the workload: {cause}"),
        "its log says how the worker ended; `isolation: shared` runs it in the node's own process",
    )
}
