//! What this process takes of its machine: `/proc/self, getrusage -> resident memory, processor time`.

use std::time::Duration;

/// One reading.
pub(crate) struct Used {
    pub(crate) resident_bytes: u64,
    /// User and system.
    pub(crate) cpu: Duration,
}

/// Read now; `None` where the kernel does not tell.
pub(crate) fn read() -> Option<Used> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(Used {
        resident_bytes: pages * page_bytes()?,
        cpu: cpu(),
    })
}

#[allow(unsafe_code)]
fn page_bytes() -> Option<u64> {
    // SAFETY: takes and returns integers.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()
}

#[allow(unsafe_code)]
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and the structure is ours and of the type asked for.
    let _ = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
