//! Start one worker and hear that it is shut in: `setup -> process, sockets`, or why not.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::config::EngineConfig;
use crate::error::EngineError;
use crate::worker::attempt::Attempt;
use crate::worker::channel::Channel;
use crate::worker::confine::Layers;

/// From the start of the program to its first word; a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a worker answers to a load or an unload within.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Variables that the loader of a program needs; a worker gets no other.
const KEPT_VARIABLES: [&str; 1] = ["LD_LIBRARY_PATH"];

/// A worker that has said it is ready.
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) control: Channel,
    /// For requests, from the node.
    pub(crate) requests: UnixStream,
    /// For what guests ask of the world, and for counts and logs, from the worker.
    pub(crate) outside: UnixStream,
    /// Version of Landlock in force; 0 without.
    pub(crate) landlock: u32,
    pub(crate) took: Duration,
}

/// Start a worker for guests.
///
/// # Errors
/// `isolation.unavailable` when this node can't start workers; `worker.start_failed`.
pub(crate) fn serve(config: &EngineConfig) -> Result<Launched, EngineError> {
    let began = Instant::now();
    let (requests, theirs_a) = UnixStream::pair().map_err(failed)?;
    let (outside, theirs_b) = UnixStream::pair().map_err(failed)?;
    let setup = json!({
        "do": "serve",
        "instances": config.max_instances,
        "threads": config.worker_threads,
        "log_lines": config.log_lines,
        "memory_bytes": config.worker_memory_bytes,
    });
    let (mut child, control) = start(config)?;
    let (theirs_a, theirs_b) = (OwnedFd::from(theirs_a), OwnedFd::from(theirs_b));
    let hello = control
        .send(&setup, &[theirs_a.as_fd(), theirs_b.as_fd()])
        .and_then(|()| hear(&control));
    let landlock = hello.and_then(|hello| match hello.get("landlock").and_then(Value::as_u64) {
        Some(version) => Ok(u32::try_from(version).unwrap_or(u32::MAX)),
        None => Err(io::Error::other(format!("it says {}", complaint(&hello)))),
    });
    drop((theirs_a, theirs_b));
    match landlock {
        Ok(landlock) => {
            control.be_patient(ANSWER_PATIENCE).map_err(failed)?;
            Ok(Launched {
                child,
                control,
                requests,
                outside,
                landlock,
                took: began.elapsed(),
            })
        }
        Err(cause) => {
            let status = put_down(&mut child);
            Err(failed(format!("{cause}; it {}", told(status))))
        }
    }
}

/// What a worker says went wrong.
fn complaint(said: &Value) -> &Value {
    said.get("error").unwrap_or(&Value::Null)
}

/// Start a worker that shuts itself in, tries one way out, and tells how it went.
///
/// # Errors
/// As [`serve`].
pub(crate) fn attempt(config: &EngineConfig, name: &str, layers: Layers) -> Result<Attempt, EngineError> {
    let (mut child, control) = start(config)?;
    let setup = json!({
        "do": "attempt",
        "name": name,
        "landlock": layers.landlock,
        "seccomp": layers.seccomp,
        "memory_bytes": config.worker_memory_bytes,
    });
    let said = control.send(&setup, &[]).and_then(|()| hear(&control));
    let (is_refused, how) = match said {
        Ok(said) if said.get("error").is_some() => {
            let status = put_down(&mut child);
            return Err(failed(format!("{}; it {}", complaint(&said), told(status))));
        }
        Ok(said) => {
            // It has said what there is to say; how it ends is of no interest.
            let _ = put_down(&mut child);
            let number = said
                .get("errno")
                .and_then(Value::as_i64)
                .and_then(|number| i32::try_from(number).ok());
            match number {
                Some(0) => (false, "it succeeded".to_owned()),
                // Any other error comes from a kernel that was willing and did not like the arguments.
                Some(number) => (
                    matches!(number, libc::EPERM | libc::EACCES),
                    io::Error::from_raw_os_error(number).to_string(),
                ),
                None => (false, "it gave no answer".to_owned()),
            }
        }
        Err(_) => {
            // Dead before it could say anything: killed by the kernel, as it should, or for another reason.
            let status = put_down(&mut child);
            let is_killed = status
                .as_ref()
                .is_ok_and(|status| status.signal() == Some(libc::SIGSYS));
            (is_killed, told(status))
        }
    };
    Ok(Attempt {
        name: name.to_owned(),
        is_refused,
        how,
    })
}

fn start(config: &EngineConfig) -> Result<(Child, Channel), EngineError> {
    let Some((program, arguments)) = config.worker_command.split_first() else {
        return Err(EngineError::new(
            "isolation.unavailable",
            "this node was started without a command for worker processes",
            "name one in the engine's configuration, or place the workload elsewhere",
        ));
    };
    let (control, theirs) = Channel::pair().map_err(failed)?;
    control.be_patient(PATIENCE).map_err(failed)?;
    let kept = KEPT_VARIABLES
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(kept)
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C is for the node, which ends its workers when it has ended its own work.
        .process_group(0)
        .spawn()
        .map_err(|cause| failed(format!("{program} cannot be started: {cause}")))?;
    Ok((child, control))
}

fn hear(control: &Channel) -> io::Result<Value> {
    match control.receive()? {
        Some((message, _)) => Ok(message),
        None => Err(io::Error::other("it ended without a word")),
    }
}

fn put_down(child: &mut Child) -> io::Result<ExitStatus> {
    if let Some(status) = settled(child)? {
        return Ok(status);
    }
    child.kill()?;
    child.wait()
}

/// The status of one that is ending by itself.
fn settled(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + Duration::from_millis(500);
    loop {
        match child.try_wait()? {
            None if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
            status => return Ok(status),
        }
    }
}

/// How a process ended, in words.
pub(crate) fn told(status: io::Result<ExitStatus>) -> String {
    let status = match status {
        Ok(status) => status,
        Err(cause) => return format!("ended in a way that the system does not tell: {cause}"),
    };
    match status.signal() {
        Some(libc::SIGSYS) => "was killed by the kernel for a system call that no guest makes (SIGSYS)".to_owned(),
        Some(libc::SIGKILL) => "was killed (SIGKILL): by the system when memory ran out, or by an operator".to_owned(),
        Some(signal) => format!("was ended by signal {signal}"),
        None => format!("ended with status {}", status.code().unwrap_or_default()),
    }
}

fn failed(cause: impl std::fmt::Display) -> EngineError {
    EngineError::new(
        "worker.start_failed",
        format!("no worker process can be started: {cause}"),
        "the number of processes or of open files may be limited (ulimit -u, ulimit -n)",
    )
}

/// Resident memory in bytes and processor time in microseconds, as the kernel counts them.
pub(super) fn usage(pid: u32) -> Option<(u64, u64)> {
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
