//! The wire between a node and its worker's control thread: one packet per message, JSON, with open files beside it.
//!
//! Whole packets (SOCK_SEQPACKET), so nothing is ever half read. What may be large (the environment of a workload) goes into a
//! sealed-off file in memory whose descriptor is sent.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::sockopt::Timeout::Recv;
use rustix::net::sockopt::set_socket_timeout;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde_json::Value;

const MAX_PACKET_BYTES: usize = 64 << 10;
const MAX_FILES: usize = 2;

/// One end.
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Two ends; the second is for the worker.
    pub(crate) fn pair() -> std::io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    /// Take up an end that was inherited.
    pub(crate) fn of(end: OwnedFd) -> Self {
        Self(end)
    }

    /// Wait at most so long for an answer; an error after it.
    pub(crate) fn be_patient(&self, patience: Duration) -> std::io::Result<()> {
        Ok(set_socket_timeout(&self.0, Recv, Some(patience))?)
    }

    pub(crate) fn send(&self, message: &Value, files: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        let text = message.to_string();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(std::io::Error::other("too many files for one message"));
        }
        sendmsg(
            &self.0,
            &[IoSlice::new(text.as_bytes())],
            &mut beside,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// The next message, `None` at the end of the other side. Files are taken only by a side that asks for them.
    pub(crate) fn receive(&self) -> std::io::Result<Option<(Value, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; MAX_PACKET_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(std::io::Error::other("a message is larger than a packet may be"));
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        let mut files = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(given) = message {
                files.extend(given);
            }
        }
        let text = bytes.get(..received.bytes).unwrap_or_default();
        let message = serde_json::from_slice(text).map_err(std::io::Error::other)?;
        Ok(Some((message, files)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `bytes` as an open file that has no name.
pub(crate) fn in_memory(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("hanse", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}
