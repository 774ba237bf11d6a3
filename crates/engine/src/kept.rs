//! Connections to one upstream between two requests: `one whose answer is over -> one for the next request`.
//!
//! One waits here only when nothing is under way on it any more; hyper, which reads and writes it, says when. Who says a word
//! while it waits, be it a second answer or the end, is not asked again. A service shares its connections with no other, and
//! what waits holds no turn.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::Limited;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::{Handle, Id};
use tokio::time::{Instant, sleep_until, timeout};

use crate::body::Body;
use crate::upstream::Duplex;

/// How long one waits for another request. Many servers end idle connections after 5 s (Node.js, uvicorn, Apache httpd), and a
/// request that meets the end on its way may be lost: we go first.
const WAIT: Duration = Duration::from_secs(4);
/// How old one may be to be kept again: a name that leads elsewhere by now, and a certificate that has expired, count for new
/// connections.
const AGE: Duration = Duration::from_secs(60);
/// How long the rest of a request may take that was answered before it was whole.
const REST: Duration = Duration::from_secs(1);
/// As many as wait at most, of one service.
const MOST: usize = 32;

/// The connections of one service that wait.
pub(crate) struct Kept {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// In the order in which they came.
    connections: VecDeque<(Instant, Connection)>,
    /// The service is gone.
    is_closed: bool,
    /// Somebody ends those that have waited too long.
    is_watched: bool,
}

impl Kept {
    /// Room for as many as `concurrency` requests can use, within a bound.
    pub(crate) fn new(concurrency: usize) -> Self {
        Self {
            most: concurrency.clamp(1, MOST),
            waiting: Mutex::default(),
        }
    }

    /// One that is fit for a request. The last that came is the likeliest to be; one of this thread needs no other woken.
    pub(crate) fn take(&self, now: Instant) -> Option<Connection> {
        loop {
            let (since, connection) = self.pop()?;
            if now < since + WAIT && connection.is_fit() {
                return Some(connection);
            }
        }
    }

    fn pop(&self) -> Option<(Instant, Connection)> {
        let here = Handle::current().id();
        let mut waiting = self.waiting();
        let ours = waiting.connections.iter().rposition(|(_, one)| one.runtime == here);
        let last = waiting.connections.len().checked_sub(1)?;
        waiting.connections.remove(ours.unwrap_or(last))
    }

    /// Have `connection` wait, when the end of its last request is written.
    pub(crate) fn keep(self: &Arc<Self>, mut connection: Connection) {
        // Without a runtime the engine is ending, and its connections with it.
        let Ok(runtime) = Handle::try_current() else { return };
        if connection.sender.is_ready() {
            return self.put(connection, Instant::now(), &runtime);
        }
        let kept = Arc::downgrade(self);
        runtime.spawn(async move {
            let ended = timeout(REST, connection.sender.ready()).await;
            if let (Ok(Ok(())), Some(kept)) = (ended, kept.upgrade()) {
                kept.put(connection, Instant::now(), &Handle::current());
            }
        });
    }

    fn put(self: &Arc<Self>, connection: Connection, now: Instant, runtime: &Handle) {
        if now >= connection.since + AGE {
            return;
        }
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return;
        }
        if waiting.connections.len() == self.most {
            waiting.connections.pop_front();
        }
        waiting.connections.push_back((now, connection));
        if !waiting.is_watched {
            waiting.is_watched = true;
            runtime.spawn(watch(Arc::downgrade(self)));
        }
    }

    /// End those that have waited too long; when the next one will have, `None` when there is none.
    fn end_late(&self, now: Instant) -> Option<Instant> {
        let mut waiting = self.waiting();
        while let Some((since, _)) = waiting.connections.front() {
            let until = *since + WAIT;
            if now < until {
                return Some(until);
            }
            waiting.connections.pop_front();
        }
        waiting.is_watched = false;
        None
    }

    /// End them all, and keep no more.
    pub(crate) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        waiting.connections.clear();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(kept: Weak<Kept>) {
    while let Some(next) = kept.upgrade().and_then(|kept| kept.end_late(Instant::now())) {
        sleep_until(next).await;
    }
}

/// A connection to an upstream, which ends when this is dropped.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Limited<Body>>,
    socket: Ear,
    since: Instant,
    /// The thread that reads and writes it.
    runtime: Id,
}

impl Connection {
    /// Speak HTTP/1.1 over `stream`, at whose bottom is the socket of `ear`.
    ///
    /// # Errors
    /// What hyper says.
    pub(crate) async fn open(stream: impl Duplex + 'static, ear: Ear) -> hyper::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer where it cannot be kept, or when nobody wants it any more.
        tokio::spawn(connection.with_upgrades());
        Ok(Self {
            sender,
            socket: ear,
            since: Instant::now(),
            runtime: Handle::current().id(),
        })
    }

    fn is_fit(&self) -> bool {
        self.sender.is_ready() && self.socket.is_silent()
    }
}

/// The socket of a connection, which others may listen to.
pub(crate) struct Socket {
    reading: OwnedReadHalf,
    writing: Arc<OwnedWriteHalf>,
}

/// Listens to a socket as long as it is open, and does not keep it open.
pub(crate) struct Ear(Weak<OwnedWriteHalf>);

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> (Self, Ear) {
        let (reading, writing) = stream.into_split();
        let writing = Arc::new(writing);
        let ear = Ear(Arc::downgrade(&writing));
        (Self { reading, writing }, ear)
    }
}

impl Ear {
    /// Whether nothing came that has not been read, not even the end. hyper looks when the runtime tells it to; what came in the
    /// moments before would pass for the answer to the next request.
    fn is_silent(&self) -> bool {
        let mut byte = [0_u8; 1];
        self.0.upgrade().is_some_and(|socket| {
            let stream: &TcpStream = (*socket).as_ref();
            let heard = recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
            heard.is_err_and(|error| error == Errno::AGAIN)
        })
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.reading).poll_read(context, buffer)
    }
}

impl Socket {
    fn poll_with(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> std::io::Result<usize>,
    ) -> Poll<std::io::Result<usize>> {
        let stream: &TcpStream = (*self.writing).as_ref();
        loop {
            ready!(stream.poll_write_ready(context))?;
            match write(stream) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.poll_with(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.poll_with(context, |stream| stream.try_write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let stream: &TcpStream = (*self.writing).as_ref();
        Poll::Ready(shutdown(stream, Shutdown::Write).map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (ours.unwrap(), theirs.unwrap().0)
    }

    /// An open connection that has served nothing yet, and the other end.
    async fn connection() -> (Connection, TcpStream) {
        let (ours, theirs) = pair().await;
        let (socket, ear) = Socket::new(ours);
        let mut connection = Connection::open(socket, ear).await.unwrap();
        connection.sender.ready().await.unwrap();
        (connection, theirs)
    }

    #[tokio::test]
    async fn an_ear_hears_what_nobody_has_read_and_the_end() {
        let (ours, mut theirs) = pair().await;
        let (mut socket, ear) = Socket::new(ours);
        assert!(ear.is_silent());
        theirs.write_all(b"x").await.unwrap();
        assert!(!ear.is_silent());
        assert_eq!(socket.read_u8().await.unwrap(), b'x');
        assert!(ear.is_silent());
        socket.write_all(b"y").await.unwrap();
        assert_eq!(theirs.read_u8().await.unwrap(), b'y');
        drop(theirs);
        assert!(!ear.is_silent());
        drop(socket);
        assert!(!ear.is_silent(), "nor is there anything to ask");
    }

    #[tokio::test]
    async fn who_said_something_or_waited_too_long_is_not_taken() {
        let (kept, now, runtime) = (Arc::new(Kept::new(4)), Instant::now(), Handle::current());
        let (quiet, _silent) = connection().await;
        let (loud, mut theirs) = connection().await;
        kept.put(quiet, now, &runtime);
        kept.put(loud, now, &runtime);
        // Not once has hyper had an opportunity to read it.
        theirs.try_write(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let taken = kept.take(now).unwrap();
        kept.put(taken, now, &runtime);
        assert!(kept.take(now + WAIT).is_none());
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "it was ended");
    }

    #[tokio::test]
    async fn who_is_too_old_or_one_too_many_is_not_kept() {
        let (kept, runtime) = (Arc::new(Kept::new(1)), Handle::current());
        let (old, _their_old) = connection().await;
        let too_late = old.since + AGE;
        kept.put(old, too_late, &runtime);
        assert!(kept.take(too_late).is_none());
        let (first, mut their_first) = connection().await;
        let (second, _their_second) = connection().await;
        let now = second.since;
        kept.put(first, now, &runtime);
        kept.put(second, now, &runtime);
        assert_eq!(
            their_first.read(&mut [0]).await.unwrap(),
            0,
            "the one that waited longer made room"
        );
        assert_eq!(kept.end_late(now), Some(now + WAIT));
        assert_eq!(kept.end_late(now + WAIT), None);
        let (third, mut their_third) = connection().await;
        kept.close();
        kept.put(third, now, &runtime);
        assert_eq!(their_third.read(&mut [0]).await.unwrap(), 0, "the service is gone");
    }
}
