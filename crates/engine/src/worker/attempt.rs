//! Ways out that a guest in control of its worker would try: each must be refused before this node promises isolation.
//!
//! A promise about a kernel is checked on that kernel: a worker of its own shuts itself in as every worker does, makes one of
//! these calls and tells how it went, or is killed for it. What is tried stands here as plainly as an attacker would write it.

use std::ffi::c_long;

use libc::{c_int, c_void};

/// How one way out ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried.
    pub name: String,
    /// Whether the kernel refused it.
    pub is_refused: bool,
    /// The kernel's error, or that the worker was killed.
    pub how: String,
}

type Try = fn() -> c_long;

/// Every attempt by its name.
const ATTEMPTS: &[(&str, Try)] = &[
    ("bpf", || call(libc::SYS_bpf, [0, 0, 0, 0])),
    ("clone-process", || {
        call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0])
    }),
    ("connect", connect),
    ("create-file", || {
        open(c"/tmp/hanse-escaped", libc::O_CREAT | libc::O_WRONLY)
    }),
    ("exec", || call(libc::SYS_execve, [path(c"/bin/true"), 0, 0, 0])),
    ("exec-memory", exec_memory),
    ("io-uring", || call(libc::SYS_io_uring_setup, [8, 0, 0, 0])),
    ("keyring", || call(libc::SYS_keyctl, [0, 0, 0, 0])),
    ("list-root", || open(c"/", libc::O_RDONLY | libc::O_DIRECTORY)),
    ("mount", || {
        call(libc::SYS_mount, [0, path(c"/nowhere"), path(c"tmpfs"), 0])
    }),
    ("namespace", || {
        call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0])
    }),
    ("open-file", || open(c"/etc/passwd", libc::O_RDONLY)),
    ("open-node-memory", open_node_memory),
    ("perf", || {
        call(libc::SYS_perf_event_open, [0, 0, usize::MAX, usize::MAX])
    }),
    ("prlimit-node", || {
        call(libc::SYS_prlimit64, [parent(), libc::RLIMIT_NOFILE as usize, 0, 0])
    }),
    ("ptrace-node", || {
        call(libc::SYS_ptrace, [libc::PTRACE_ATTACH as usize, parent(), 0, 0])
    }),
    ("read-node-memory", || {
        call(libc::SYS_process_vm_readv, [parent(), 0, 0, 0])
    }),
    ("signal-node", || call(libc::SYS_kill, [parent(), 0, 0, 0])),
    ("socket", || {
        call(
            libc::SYS_socket,
            [libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0, 0],
        )
    }),
    ("socket-unix", || {
        call(
            libc::SYS_socket,
            [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, 0],
        )
    }),
    ("userfaultfd", || call(libc::SYS_userfaultfd, [0, 0, 0, 0])),
];

/// Those that a file system or a network is asked for, which Landlock refuses without any help.
pub(crate) const LANDLOCK_ALONE: [&str; 4] = ["connect", "create-file", "list-root", "open-file"];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ATTEMPTS.iter().map(|(name, _)| *name)
}

/// Try one in this process: the error number, 0 for success; `None` when there is no such attempt.
pub(crate) fn run(name: &str) -> Option<i32> {
    let (_, attempt) = ATTEMPTS.iter().find(|(known, _)| *known == name)?;
    if attempt() >= 0 {
        return Some(0);
    }
    std::io::Error::last_os_error().raw_os_error()
}

#[expect(unsafe_code, reason = "an attacker does not use safe wrappers")]
fn call(number: c_long, arguments: [usize; 4]) -> c_long {
    let [a, b, c, d] = arguments;
    // The fifth is read by `execveat` alone.
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: made in a process that exists for this one call and ends right after it; every pointer among the arguments is to
    // a constant or null, and a descriptor or process that comes of it dies with the process.
    unsafe { libc::syscall(number, a, b, c, d, flags, 0) }
}

fn path(text: &'static std::ffi::CStr) -> usize {
    text.as_ptr().addr()
}

fn open(text: &'static std::ffi::CStr, flags: c_int) -> c_long {
    let here = libc::AT_FDCWD as usize;
    call(libc::SYS_openat, [here, path(text), flags as usize, 0o600])
}

fn parent() -> usize {
    std::os::unix::process::parent_id() as usize
}

fn open_node_memory() -> c_long {
    let Ok(text) = std::ffi::CString::new(format!("/proc/{}/mem", parent())) else {
        return 0;
    };
    let here = libc::AT_FDCWD as usize;
    call(
        libc::SYS_openat,
        [here, text.as_ptr().addr(), libc::O_RDONLY as usize, 0],
    )
}

/// To the loopback, where a node's own ports are.
fn connect() -> c_long {
    let socket = call(
        libc::SYS_socket,
        [libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0, 0],
    );
    let Ok(descriptor) = usize::try_from(socket) else {
        return socket;
    };
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 4222_u16.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    };
    let at = (&raw const address).cast::<c_void>().addr();
    let connected = call(libc::SYS_connect, [descriptor, at, size_of_val(&address), 0]);
    let refused = std::io::Error::last_os_error().raw_os_error() == Some(libc::ECONNREFUSED);
    // Refused by the other side means that this one let it pass.
    if refused { 0 } else { connected }
}

/// A program of the attacker's own making, that never was a file.
fn exec_memory() -> c_long {
    let file = call(libc::SYS_memfd_create, [path(c"x"), 0, 0, 0]);
    let Ok(descriptor) = usize::try_from(file) else {
        return file;
    };
    call(libc::SYS_execveat, [descriptor, path(c""), 0, 0])
}
