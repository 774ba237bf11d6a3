//! The listening sockets: bound here, or taken up from the process that had them before.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, RawFd};

use crate::config::EngineConfig;
use crate::error::EngineError;

/// Where a started engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// `ip:port` of the public HTTP listener.
    pub front: String,
    /// `ip:port` of the listener for other nodes.
    pub mesh: String,
}

/// The listening sockets, kept so that they can be handed on.
pub(crate) struct Sockets {
    pub(crate) front: TcpListener,
    pub(crate) mesh: TcpListener,
}

impl Sockets {
    /// Bind both, or take up those that were inherited.
    ///
    /// # Errors
    /// `engine.address_in_use`, `engine.address_invalid` or `engine.socket_invalid`.
    pub(crate) fn of(config: &EngineConfig) -> Result<Self, EngineError> {
        Ok(match config.inherited {
            Some((front, mesh)) => Self {
                front: adopt(front)?,
                mesh: adopt(mesh)?,
            },
            None => Self {
                front: bind(&config.front_bind)?,
                mesh: bind(&config.mesh_bind)?,
            },
        })
    }

    pub(crate) fn addresses(&self) -> Result<Addresses, EngineError> {
        let address = |socket: &TcpListener| socket.local_addr().map_err(EngineError::setup);
        Ok(Addresses {
            front: address(&self.front)?.to_string(),
            mesh: address(&self.mesh)?.to_string(),
        })
    }
}

fn bind(address: &str) -> Result<TcpListener, EngineError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::AddrInUse => EngineError::new(
            "engine.address_in_use",
            format!("another process listens on {address}"),
            "choose another port, or 0 for a free one",
        ),
        _ => EngineError::new(
            "engine.address_invalid",
            format!("cannot listen on {address}: {cause}"),
            "write it as ip:port of this machine",
        ),
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Take a listening socket that another process has bound.
fn adopt(descriptor: RawFd) -> Result<TcpListener, EngineError> {
    let failed = |cause: &dyn std::fmt::Display| {
        EngineError::new(
            "engine.socket_invalid",
            format!("descriptor {descriptor} is no listening socket: {cause}"),
            "pass on the sockets of a running engine",
        )
    };
    if descriptor < 0 {
        return Err(failed(&"it is negative"));
    }
    #[expect(
        unsafe_code,
        reason = "a descriptor that another process sent has no owner in this one yet"
    )]
    // SAFETY: the caller gives the descriptor away (`EngineConfig::inherited`), so nobody else closes it. Whether it is open and a
    // socket is asked of the kernel right below.
    let listener = unsafe { TcpListener::from_raw_fd(descriptor) };
    listener.set_nonblocking(true).map_err(|cause| failed(&cause))?;
    listener.local_addr().map_err(|cause| failed(&cause))?;
    Ok(listener)
}
