//! Shut this process in for good: `layers wanted -> what the kernel gave, or why not`.
//!
//! Called once, on the only thread, before the process has seen a byte of any guest. What is given up here cannot be had
//! back: threads that are started later inherit it, and there is no call that undoes it.

use std::fs::OpenOptions;
use std::io::Write;

use landlock::{ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

use crate::worker::filter;

/// Descriptors a worker may hold: three sockets, its timers, and one for the memory image of each module it runs.
const OPEN_FILES: u64 = 4096;
/// Largest file it may make; it has no file system, but images of memories are files too.
const FILE_BYTES: u64 = 1 << 30;
/// When the system runs out of memory a worker goes before the node that can start it anew.
const OOM_SCORE: &[u8] = b"500";

/// Which walls are put up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) landlock: bool,
    pub(crate) seccomp: bool,
}

/// End with the process that started this one, and hold nothing that it left open.
pub(crate) fn detach() -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // A node that is killed before that line has closed the control socket, which ends this process too.
    close_from(3)
}

#[expect(unsafe_code, reason = "closes by number, without owners")]
fn close_from(first: libc::c_uint) -> std::io::Result<()> {
    // SAFETY: called before this program has opened anything, and the standard streams lie below: nothing that is closed here
    // has an owner.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Bound what the kernel gives to this process: `memory_bytes` writable, no core files, few descriptors.
pub(crate) fn limit(memory_bytes: u64) -> std::io::Result<()> {
    let bounds = [
        (Resource::Core, 0),
        (Resource::Data, memory_bytes),
        (Resource::Fsize, FILE_BYTES),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ];
    for (resource, most) in bounds {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(resource, limit)?;
    }
    // Where /proc is missing the system chooses by size alone.
    if let Ok(mut score) = OpenOptions::new().write(true).open("/proc/self/oom_score_adj") {
        score.write_all(OOM_SCORE)?;
    }
    // No debugger of the same user, and no /proc/<pid>/mem.
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Put up the walls; returns the version of Landlock in force, 0 without.
///
/// # Errors
/// Why the kernel refused. A kernel without Landlock is no error here: whoever asked decides about 0.
pub(crate) fn confine(layers: Layers) -> Result<u32, String> {
    let landlock = match layers.landlock {
        true => landlock()?,
        false => 0,
    };
    if layers.seccomp {
        for program in filter::programs()? {
            seccompiler::apply_filter_all_threads(&program).map_err(|cause| cause.to_string())?;
        }
    }
    Ok(landlock)
}

/// No file, no TCP port, and no signal or socket out of this domain: every right that Landlock knows, and no rule that grants one.
fn landlock() -> Result<u32, String> {
    let newest = ABI::V7;
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(newest))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(newest)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(newest)))
        .and_then(|ruleset| ruleset.create())
        .map_err(|cause| cause.to_string())?;
    let status = ruleset.restrict_self().map_err(|cause| cause.to_string())?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Ok(0),
        (_, LandlockStatus::Available { effective_abi, .. }) => Ok(effective_abi as u32),
        _ => Ok(0),
    }
}
