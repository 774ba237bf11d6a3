//! The thread of one tenant: it starts the process, waits for its end, and starts the next one.
//!
//! A thread of its own, since the kernel ends a child whose parent asked for that when the *thread* that made it goes.

use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::EngineError;
use crate::worker::launch::{self, Launched, told};
use crate::worker::orders::{self, Trouble};
use crate::worker::tenant::{Link, Shared, unloadable};
use crate::worker::{CONNECTION_WINDOW_BYTES, MAX_HEADER_BYTES, MAX_STREAMS, STREAM_WINDOW_BYTES, outlet};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A worker that lived for so long died of something new.
const LIVED_WELL: Duration = Duration::from_secs(30);
/// A worker that was let go ends within, or is killed.
const LAST_MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// The life of the thread: processes, one after the other.
pub(super) fn tend(shared: &Arc<Shared>, first: &mpsc::SyncSender<Result<(), EngineError>>) {
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
        for version in shared.ledger.versions() {
            if let Err(cause) = orders::load(&control, &shared.ledger, version)
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

/// Tell the worker which versions it may forget.
fn release_all(shared: &Shared) {
    let mut control = shared.lock_control();
    for version in shared.ledger.leaving() {
        let Some(channel) = &*control else {
            return;
        };
        if let Err(Trouble::Silent(_)) = orders::unload(channel, version) {
            *control = None;
        }
    }
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
        release_all(shared);
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
