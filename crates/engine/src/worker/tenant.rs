//! One tenant's worker for as long as the tenant is here: started, given its workloads, started anew when it dies.
//!
//! A thread of its own starts the process and waits for its end, since the kernel ends a child whose parent asked for that when
//! the *thread* that made it goes. What is loaded is kept on this side, so a new process is told everything again.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::body::Body;
use crate::config::{EngineConfig, Limits};
use crate::error::EngineError;
use crate::logs::LogRing;
use crate::stats::{Counters, WorkerStats};
use crate::worker::channel::{Channel, in_memory};
use crate::worker::launch::{self, Launched, told};
use crate::worker::{CONNECTION_WINDOW_BYTES, MAX_HEADER_BYTES, MAX_STREAMS, STREAM_WINDOW_BYTES, outlet, words};
use crate::workload::Workload;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A worker that lived for so long died of something new.
const LIVED_WELL: Duration = Duration::from_secs(30);
/// A worker that was let go ends within, or is killed.
const LAST_MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};
/// A load waits so long for a worker that is being started anew.
const RESTART_PATIENCE: Duration = Duration::from_secs(20);
/// Accounts of versions that are gone, kept for reports that are still under way.
const RETIRED: usize = 64;

/// A connection to a worker that lives, as far as is known.
pub(crate) struct Link {
    pub(crate) sender: SendRequest<Body>,
    is_dead: AtomicBool,
}

impl Link {
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Acquire)
    }
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

impl Ledger {
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

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.lock().seats.values().map(|seat| seat.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Tell every owner.
    fn note(&self, text: &str) {
        for seat in self.lock().seats.values() {
            seat.account.0.push("fault", text.as_bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread and everybody else share.
struct Shared {
    name: String,
    config: EngineConfig,
    handle: Handle,
    ledger: Arc<Ledger>,
    link: watch::Sender<Option<Arc<Link>>>,
    /// The control socket of the process that lives; held while it is asked something.
    control: Mutex<Option<Channel>>,
    told: Mutex<WorkerStats>,
    is_over: Mutex<bool>,
    over: Condvar,
    /// Calls the thread, which waits for the end of the process.
    bell: OwnedFd,
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
        if let Some(seat) = self.tenant.0.ledger.lock().seats.get_mut(&self.version) {
            seat.workload = Arc::downgrade(workload);
        }
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        self.tenant.release(self.version);
    }
}

/// What a version consists of.
pub(crate) struct Load<'a> {
    pub(crate) workload: &'a str,
    pub(crate) code: File,
    pub(crate) limits: &'a Limits,
    pub(crate) env: &'a [(String, String)],
    pub(crate) logs: Arc<LogRing>,
    pub(crate) counters: Arc<Counters>,
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

    /// Have the worker load a version; `made` makes its workload of the assignment.
    ///
    /// # Errors
    /// `worker.start_failed` when it cannot, or does not answer.
    pub(crate) fn assign(self: &Arc<Self>, load: Load<'_>) -> Result<Assignment, EngineError> {
        let code_bytes = load.code.metadata().map_err(unloadable)?.len();
        let limits = load.limits;
        let most_out = (limits.concurrency as usize).saturating_mul(limits.egress_concurrency as usize);
        let seat = Seat {
            name: load.workload.to_owned(),
            spec: words::spec(load.workload, limits, load.env),
            code: load.code,
            code_bytes,
            account: (load.logs, load.counters),
            gate: Arc::new(Semaphore::new(most_out.min(Semaphore::MAX_PERMITS))),
            workload: Weak::new(),
        };
        let shared = &self.0;
        let mut control = shared.lock_control();
        let version = {
            let mut entries = shared.ledger.lock();
            entries.last += 1;
            let version = entries.last;
            entries.seats.insert(version, seat);
            version
        };
        // From here on, whatever goes wrong takes the seat back.
        let assignment = Assignment {
            tenant: self.clone(),
            version,
        };
        match &*control {
            Some(channel) => {
                let loaded = shared.load(channel, version);
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
        let mut entries = self.0.ledger.lock();
        let Some(seat) = entries.seats.remove(&version) else {
            return;
        };
        entries.retired.push_back((version, seat.account));
        if entries.retired.len() > RETIRED {
            entries.retired.pop_front();
        }
        entries.leaving.push(version);
        drop(entries);
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
            (stats.rss_bytes, stats.cpu_us) = usage(stats.pid).unwrap_or_default();
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
    fn lock_control(&self) -> MutexGuard<'_, Option<Channel>> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, WorkerStats> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait, unless the tenant leaves meanwhile; whether it has.
    fn pause(&self, pause: Duration) -> bool {
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

    fn ring(&self) {
        // Full only after 2^64 calls that nobody has heard.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// Tell the worker which versions it may forget.
    fn release_all(&self) {
        let mut control = self.lock_control();
        let leaving = std::mem::take(&mut self.ledger.lock().leaving);
        for version in leaving {
            let Some(channel) = &*control else {
                return;
            };
            if let Err(Trouble::Silent(_)) = ask(channel, &json!({"do": "unload", "version": version}), &[]) {
                *control = None;
            }
        }
    }

    fn load(&self, channel: &Channel, version: u64) -> Result<(), Trouble> {
        let (spec, code, order) = {
            let entries = self.ledger.lock();
            let seat = entries.seats.get(&version);
            let seat = seat.ok_or_else(|| Trouble::Told("the version is gone".to_owned()))?;
            let order = json!({"do": "load", "version": version, "code_bytes": seat.code_bytes});
            let spec = in_memory(seat.spec.to_string().as_bytes()).map_err(Trouble::here)?;
            let code = seat.code.try_clone().map_err(Trouble::here)?;
            (spec, code, order)
        };
        ask(channel, &order, &[code.as_fd(), spec.as_fd()])
    }
}

/// Why a worker did not do what it was told.
enum Trouble {
    /// It says why.
    Told(String),
    /// It did not answer: nothing that it says later can be told apart from other answers.
    Silent(String),
}

impl Trouble {
    fn here(cause: impl std::fmt::Display) -> Self {
        Self::Told(cause.to_string())
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Told(why) => f.write_str(why),
            Self::Silent(why) => write!(f, "it does not answer: {why}"),
        }
    }
}

fn ask(channel: &Channel, order: &Value, files: &[BorrowedFd<'_>]) -> Result<(), Trouble> {
    let answer = channel.send(order, files).and_then(|()| channel.receive());
    match answer {
        Ok(Some((answer, _))) => match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(Trouble::Told(error.to_owned())),
            None => Ok(()),
        },
        Ok(None) => Err(Trouble::Silent("its process has ended".to_owned())),
        Err(cause) => Err(Trouble::Silent(cause.to_string())),
    }
}

/// The life of the thread: processes, one after the other.
fn tend(shared: &Arc<Shared>, first: &mpsc::SyncSender<Result<(), EngineError>>) {
    let mut pause = FIRST_PAUSE;
    for number in 0_u64.. {
        let born = Instant::now();
        match launch::serve(&shared.config) {
            Ok(launched) => {
                let ended = live(shared, launched, number, first);
                if shared.is_over() {
                    return;
                }
                let text = format!(
                    "worker.lost: the worker process of {} {ended}; it is started anew",
                    shared.name
                );
                shared.ledger.note(&text);
                let mut told = shared.told();
                told.last_end = ended;
                told.restarts += 1;
            }
            Err(error) => {
                // Nobody waits for any but the first.
                if number == 0 {
                    let _ = first.send(Err(error));
                    return;
                }
                shared.ledger.note(&format!("{}: {}", error.code, error.message));
            }
        }
        if born.elapsed() > LIVED_WELL {
            pause = FIRST_PAUSE;
        }
        if shared.pause(pause) {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One process from its first word to its end; how it ended.
fn live(
    shared: &Arc<Shared>,
    launched: Launched,
    number: u64,
    first: &mpsc::SyncSender<Result<(), EngineError>>,
) -> String {
    let Launched {
        mut child,
        control,
        requests,
        outside,
        landlock,
        took,
    } = launched;
    let linked = outlet::attend(&shared.handle, outside, Arc::downgrade(&shared.ledger))
        .map_err(|cause| cause.to_string())
        .and_then(|()| link(shared, requests));
    let link = match linked {
        Ok(link) => link,
        Err(cause) => {
            if number == 0 {
                let _ = first.send(Err(unloadable(&cause)));
            }
            let _ = child.kill();
            let _ = child.wait();
            return format!("could not be reached: {cause}");
        }
    };
    {
        let mut told = shared.told();
        told.pid = child.id();
        told.landlock = landlock;
        told.start_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    }
    {
        // Held until everything is loaded, so that no load overtakes.
        let mut slot = shared.lock_control();
        let mut versions: Vec<u64> = shared.ledger.lock().seats.keys().copied().collect();
        versions.sort_unstable();
        for version in versions {
            if let Err(cause) = shared.load(&control, version)
                && let Some((logs, _)) = shared.ledger.account(version)
            {
                logs.push("fault", format!("worker.start_failed: {cause}").as_bytes());
            }
        }
        if !shared.is_over() {
            *slot = Some(control);
            shared.link.send_replace(Some(link.clone()));
        }
    }
    if number == 0 {
        let _ = first.send(Ok(()));
    }
    let ended = wait(shared, &mut child);
    link.is_dead.store(true, Ordering::Release);
    shared.link.send_replace(None);
    *shared.lock_control() = None;
    shared.told().pid = 0;
    ended
}

fn link(shared: &Arc<Shared>, requests: UnixStream) -> Result<Arc<Link>, String> {
    requests.set_nonblocking(true).map_err(|cause| cause.to_string())?;
    let inside = shared.handle.enter();
    let stream = tokio::net::UnixStream::from_std(requests).map_err(|cause| cause.to_string())?;
    drop(inside);
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_max_send_streams(MAX_STREAMS as usize)
        .max_header_list_size(MAX_HEADER_BYTES)
        .handshake(TokioIo::new(stream));
    let (sender, connection) = shared.handle.block_on(handshake).map_err(|cause| cause.to_string())?;
    let link = Arc::new(Link {
        sender,
        is_dead: AtomicBool::new(false),
    });
    let told = Arc::downgrade(&link);
    shared.handle.spawn(async move {
        let _ = connection.await;
        // Before the process is known to be gone: who asks now would lose his request.
        if let Some(link) = told.upgrade() {
            link.is_dead.store(true, Ordering::Release);
        }
    });
    Ok(link)
}

/// Wait for the end of the process, and do meanwhile what this thread is called for.
fn wait(shared: &Shared, child: &mut Child) -> String {
    if let Err(cause) = attend(shared, child.id()) {
        shared
            .ledger
            .note(&format!("worker.lost: its process cannot be watched: {cause}"));
    }
    // Nothing where it has ended; otherwise it had its time.
    let _ = child.kill();
    told(child.wait())
}

/// Returns when the process has ended, or was let go and does not.
fn attend(shared: &Shared, pid: u32) -> std::io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = pidfd_open(pid.ok_or(std::io::ErrorKind::NotFound)?, PidfdFlags::empty())?;
    loop {
        let mut both = [
            PollFd::new(&process, PollFlags::IN),
            PollFd::new(&shared.bell, PollFlags::IN),
        ];
        ignoring_signals(|| poll(&mut both, None))?;
        let [process_now, _] = both;
        if !process_now.revents().is_empty() {
            return Ok(());
        }
        let mut rung = [0; 8];
        let _ = rustix::io::read(&shared.bell, &mut rung);
        if shared.is_over() {
            let mut last = [PollFd::new(&process, PollFlags::IN)];
            ignoring_signals(|| poll(&mut last, Some(&LAST_MOMENT)))?;
            return Ok(());
        }
        shared.release_all();
    }
}

fn ignoring_signals(mut poll: impl FnMut() -> rustix::io::Result<usize>) -> rustix::io::Result<usize> {
    loop {
        match poll() {
            Err(rustix::io::Errno::INTR) => {}
            polled => return polled,
        }
    }
}

/// Resident memory in bytes and processor time in microseconds, as the kernel counts them.
fn usage(pid: u32) -> Option<(u64, u64)> {
    let pages: u64 = std::fs::read_to_string(format!("/proc/{pid}/statm"))
        .ok()?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: user time is the 12th field, system time the 13th (proc(5)).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let page = rustix::param::page_size() as u64;
    Some((
        pages * page,
        ticks * 1_000_000 / rustix::param::clock_ticks_per_second(),
    ))
}

fn unloadable(cause: impl std::fmt::Display) -> EngineError {
    EngineError::new(
        "worker.start_failed",
        format!("the worker process does not take the workload: {cause}"),
        "its log says how the worker ended; `isolation: shared` runs it in the node's own process",
    )
}
