//! A connection that gives up on a peer that does not read.
//!
//! A guest's own deadline bounds the making of an answer; this bounds its delivery. Without it a client that asks and never
//! reads would hold a connection, and what is buffered for it, for ever. While the connection has a large answer to carry and
//! nothing else to do, little of it is left to the kernel at a time.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::bulk::Burden;

/// Bytes of a large answer that the kernel keeps beyond those on their way (`TCP_NOTSENT_LOWAT`; tcp(7)). Enough to go on
/// with until the connection's thread comes back to it. With megabytes it sends so many in one go, whoever waits.
const UNSENT_BYTES: u32 = 128 << 10;
/// As many as the system would.
const ANY: u32 = u32::MAX;

/// A stream whose writes fail when none of them gets on for `limit`.
pub(crate) struct Impatient<S> {
    stream: S,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    burden: Burden,
    keeps_little: bool,
}

impl<S: AsFd> Impatient<S> {
    pub(crate) fn new(stream: S, limit: Duration, burden: Burden) -> Self {
        Self {
            stream,
            limit,
            stalled: None,
            burden,
            keeps_little: false,
        }
    }

    /// A client that still sends may not read before it is done: what it is sent meanwhile must find room.
    fn choose_room(&mut self) {
        let keeps_little = self.burden.is_all();
        if keeps_little != self.keeps_little {
            self.keeps_little = keeps_little;
            let unsent = if keeps_little { UNSENT_BYTES } else { ANY };
            // Where it is refused the answer goes out all the same.
            let _ = SockRef::from(&self.stream).set_tcp_notsent_lowat(unsent);
        }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.choose_room();
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.choose_room();
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
