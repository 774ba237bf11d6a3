//! Worker processes: a tenant's guests in a process of their own, that can do nothing but compute and ask its node.
//!
//! ```text
//! node:    front -> admission -> tenant ---- requests (HTTP/2 over a socket pair) ---> worker: instance
//!          egress hook <--- the guests' own requests, counts, log lines --------------
//!          compiled code, limits, environment (descriptors over a control socket) --->
//! ```
//!
//! Everything that decides stays in the node: routes, tokens, rules, turns, the way out. A worker holds one tenant's guests (those
//! that [`crate::Limits::class`] puts together), has no file, no network and no other process, and may make the system calls in
//! `filter` alone. When it dies (killed, out of memory, or stopped by the kernel for a forbidden call) its own requests end with
//! `worker.lost`, it is started anew, and no other tenant notices.

pub(crate) mod ask;
mod attempt;
mod channel;
pub(crate) mod code;
mod confine;
mod filter;
mod launch;
mod ledger;
mod orders;
pub(crate) mod outlet;
mod serve;
mod tell;
mod tenant;
mod tenants;
mod tending;
mod words;

pub use attempt::Attempt;
pub(crate) use channel::in_memory;
pub(crate) use ledger::Load;
pub use serve::work;
pub(crate) use tenant::Assignment;
pub(crate) use tenants::Tenants;

use crate::config::EngineConfig;
use crate::error::EngineError;
use confine::Layers;

/// Unread bytes of one body on its way between node and worker.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// The same of all bodies together: as much as 256 of them, so that one that is not read stops no other.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
const MAX_STREAMS: u32 = 4096;
const MAX_HEADER_BYTES: u32 = 256 << 10;

/// Have workers try every known way out, each in a process of its own, behind the walls that `isolation: process` puts up.
///
/// With `landlock_alone` only Landlock is put up, and only what it is asked about is tried: one wall at a time shows that neither
/// hides a gap of the other.
///
/// # Errors
/// `isolation.unavailable`, `worker.start_failed`.
pub fn try_to_escape(config: &EngineConfig, landlock_alone: bool) -> Result<Vec<Attempt>, EngineError> {
    let layers = Layers {
        landlock: true,
        seccomp: !landlock_alone,
    };
    attempt::names()
        .filter(|name| !landlock_alone || attempt::LANDLOCK_ALONE.contains(name))
        .map(|name| launch::attempt(config, name, layers))
        .collect()
}
