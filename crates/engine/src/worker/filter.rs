//! Which system calls a worker may make: `layers -> programs for the kernel`.
//!
//! Three filters are laid on top of each other, and the strictest answer holds. The first allows what an engine without
//! files and sockets needs and refuses everything else with EPERM, so that a library that tries something optional goes on.
//! The second ends the process for what only an attacker tries: new programs, new processes, sockets, other processes'
//! memory, the kernel's own extension points. The third answers `clone3` as an old kernel would, since its flags lie in memory
//! where no filter can read them; the C library then uses `clone`, whose flags are read here.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

const EPERM: u32 = libc::EPERM as u32;
const ENOSYS: u32 = libc::ENOSYS as u32;
/// `_IOWR('f', 16, struct pm_scan_arg)`: which pages of an instance were written; absent from `libc`.
const PAGEMAP_SCAN: u64 = 0xc060_6610;
/// `PR_SET_VMA`: names for mappings.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// Calls on what the process has already: memory, its own threads, time, and open descriptors.
const ALLOWED: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Older forms that exist on one architecture alone.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// Calls that no code of ours makes: whoever makes one has broken out of a guest.
const FATAL: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_add_key,
    libc::SYS_bind,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_connect,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_kill,
    libc::SYS_listen,
    libc::SYS_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_socket,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

#[cfg(target_arch = "x86_64")]
const FATAL_HERE: &[c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FATAL_HERE: &[c_long] = &[];

/// The three programs, in the order in which they are installed.
///
/// # Errors
/// The reason, on an architecture that `seccompiler` does not know.
pub(crate) fn programs() -> Result<[BpfProgram; 3], String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|cause| cause.to_string())?;
    let program = |rules, otherwise, on_match| -> Result<BpfProgram, String> {
        let filter = SeccompFilter::new(rules, otherwise, on_match, arch).map_err(|cause| cause.to_string())?;
        BpfProgram::try_from(filter).map_err(|cause| cause.to_string())
    };
    let fatal = FATAL.iter().chain(FATAL_HERE).map(|call| (*call, Vec::new())).collect();
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok([
        program(fatal, SeccompAction::Allow, SeccompAction::KillProcess)?,
        program(clone3, SeccompAction::Allow, SeccompAction::Errno(ENOSYS))?,
        program(
            allowed().map_err(|cause| cause.to_string())?,
            SeccompAction::Errno(EPERM),
            SeccompAction::Allow,
        )?,
    ])
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn allowed() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = ALLOWED
        .iter()
        .chain(ALLOWED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    let own = u64::from(std::process::id());
    let thread = libc::CLONE_THREAD as u64;
    let only: [(c_long, Vec<SeccompRule>); 9] = [
        // A thread of this process, never a process.
        (
            libc::SYS_clone,
            vec![rule(
                0,
                SeccompCmpOp::MaskedEq(thread),
                thread,
                SeccompCmpArgLen::Qword,
            )?],
        ),
        // Refused by the third filter with an error of its own; allowed here, since the strictest answer holds.
        (libc::SYS_clone3, Vec::new()),
        // A thread of ours that aborts.
        (libc::SYS_tgkill, vec![equals(0, own)?]),
        (
            libc::SYS_prctl,
            vec![equals(0, libc::PR_SET_NAME as u64)?, equals(0, PR_SET_VMA)?],
        ),
        // Two ends that are connected to each other and to nothing else; the async runtime wakes itself through such a pair.
        (libc::SYS_socketpair, vec![equals(0, libc::AF_UNIX as u64)?]),
        // This thread alone.
        (libc::SYS_setpriority, vec![equals(1, 0)?]),
        (libc::SYS_getpriority, vec![equals(1, 0)?]),
        (
            libc::SYS_ioctl,
            vec![equals(1, PAGEMAP_SCAN)?, equals(1, libc::FIONBIO)?],
        ),
        (
            libc::SYS_fcntl,
            [
                libc::F_GETFL,
                libc::F_SETFL,
                libc::F_GETFD,
                libc::F_SETFD,
                libc::F_DUPFD_CLOEXEC,
                libc::F_ADD_SEALS,
            ]
            .into_iter()
            .map(|command: c_int| equals(1, command as u64))
            .collect::<Result<_, _>>()?,
        ),
    ];
    rules.extend(only);
    Ok(rules)
}

fn equals(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    rule(argument, SeccompCmpOp::Eq, value, SeccompCmpArgLen::Dword)
}

fn rule(
    argument: u8,
    how: SeccompCmpOp,
    value: u64,
    len: SeccompCmpArgLen,
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, len, how, value)?])
}
