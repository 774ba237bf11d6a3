//! Answers of many bytes step aside, with the connection that carries them: `connection -> here or on a thread of low priority`.
//!
//! To copy an answer without end into a socket takes more of the processor than to answer many short requests, and neither
//! must wait for it. HTTP/1.1 carries one answer at a time, so a connection goes where long guests go (`lane`) as soon as its
//! answer is a large one, and comes back when that has ended. HTTP/2 connections stay: other requests share them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::body::{Body, BoxError};
use crate::lane::LongLane;

/// An answer is a large one from so many bytes on, and as many for each second that it takes: what is sent slowly, for
/// hours, is in nobody's way.
const LARGE_BYTES: u64 = 1 << 20;

/// Whether a connection has a large answer to carry.
#[derive(Clone, Default)]
pub(crate) struct Burden(Arc<Load>);

#[derive(Default)]
struct Load {
    is_heavy: AtomicBool,
    /// The request that is answered had no body.
    was_asked_only: AtomicBool,
}

impl Burden {
    fn is_heavy(&self) -> bool {
        self.0.is_heavy.load(Ordering::Relaxed)
    }

    /// Whether a large answer is all that the connection has to do: its client has nothing left to send.
    pub(crate) fn is_all(&self) -> bool {
        self.is_heavy() && self.0.was_asked_only.load(Ordering::Relaxed)
    }

    fn set(&self, is_heavy: bool) {
        self.0.is_heavy.store(is_heavy, Ordering::Relaxed);
    }

    /// `body`, watched if it may become a large one. It answers a request without a body if `was_asked_only`.
    pub(crate) fn weigh(&self, body: Body, was_asked_only: bool) -> Body {
        if body.size_hint().upper().is_some_and(|most| most <= LARGE_BYTES) {
            return body;
        }
        self.0.was_asked_only.store(was_asked_only, Ordering::Relaxed);
        let began = Instant::now();
        Weighed {
            inner: body,
            sent: 0,
            began,
            held: None,
            burden: self.clone(),
        }
        .boxed_unsync()
    }
}

/// Run `connection` to its end: on this thread, and in `lane` while it has a large answer to carry. `None` when the lane, and
/// the engine with it, went before.
pub(crate) async fn carry<F>(connection: F, burden: Burden, lane: LongLane) -> Option<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut connection = Box::pin(connection);
    loop {
        let must_go = || burden.is_heavy() && lane.is_open();
        if let Some(ended) = run_until(&mut connection, must_go).await {
            return Some(ended);
        }
        let (carried, open) = (burden.clone(), lane.clone());
        let there = lane.spawn(async move {
            let may_come = || !(carried.is_heavy() && open.is_open());
            let ended = run_until(&mut connection, may_come).await;
            (connection, ended)
        });
        let (back, ended) = there.await.ok()?;
        if ended.is_some() {
            return ended;
        }
        connection = back;
    }
}

/// Run until the end, or until it is time to change sides.
async fn run_until<F: Future>(connection: &mut Pin<Box<F>>, must_change: impl Fn() -> bool) -> Option<F::Output> {
    std::future::poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if must_change() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// A body that tells when it has become a large one.
struct Weighed {
    inner: Body,
    sent: u64,
    began: Instant,
    /// What made it a large one; sent on the other side.
    held: Option<Frame<Bytes>>,
    burden: Burden,
}

/// Whether an answer of which so much was `sent` in so long is a large one.
fn is_large(sent: u64, took: Duration) -> bool {
    sent > LARGE_BYTES.saturating_mul(1 + took.as_secs())
}

impl HttpBody for Weighed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frame) = self.held.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)?) else {
            return Poll::Ready(None);
        };
        if !self.burden.is_heavy() {
            self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
            if is_large(self.sent, self.began.elapsed()) {
                self.burden.set(true);
                self.held = Some(frame);
                // Now the connection has the chance to go.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        if let Some(data) = self.held.as_ref().and_then(Frame::data_ref) {
            let len = data.len() as u64;
            let (lower, upper) = (hint.lower() + len, hint.upper().map(|most| most + len));
            hint.set_lower(lower);
            if let Some(upper) = upper {
                hint.set_upper(upper);
            }
        }
        hint
    }
}

impl Drop for Weighed {
    fn drop(&mut self) {
        self.burden.set(false);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::body::full;

    const PIECE: usize = 256 << 10;

    /// A body of so many pieces whose length nobody knows before.
    struct Pieces(VecDeque<Bytes>);

    impl Pieces {
        fn of(count: usize) -> Body {
            let piece = |n: usize| Bytes::from(vec![n as u8; PIECE]);
            Self((0..count).map(piece).collect()).boxed_unsync()
        }
    }

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn home() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("home")
            .enable_time()
            .build()
            .unwrap()
    }

    fn here() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    /// Send answers of so many pieces one after the other, and tell on which thread each piece was, and that nothing is missing.
    async fn send(answers: Vec<usize>, burden: Burden) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        for count in answers {
            let mut body = burden.weigh(Pieces::of(count), true);
            let (mut threads, mut number) = (Vec::new(), 0);
            while let Some(Ok(frame)) = body.frame().await {
                let data = frame.into_data().unwrap();
                assert_eq!((data.len(), data[0]), (PIECE, number));
                number += 1;
                threads.push(here());
            }
            assert_eq!(usize::from(number), count);
            all.push(threads);
            drop(body);
            // As a connection that waits for the next request.
            tokio::task::yield_now().await;
        }
        all
    }

    #[test]
    fn a_connection_goes_aside_with_a_large_answer_and_comes_back_for_the_next() {
        let home = home();
        let there = LongLane::default();
        let _lane = there.begin(1).unwrap();
        let burden = Burden::default();
        let carried = carry(send(vec![2, 7, 3], burden.clone()), burden, there);
        let threads = home.block_on(home.spawn(carried)).unwrap().unwrap();
        assert_eq!(threads[0], ["home"; 2]);
        // A mebibyte is four of them; the fifth makes it large.
        assert_eq!(threads[1][..4], ["home"; 4]);
        assert_eq!(threads[1][4..], ["hanse-long"; 3]);
        assert_eq!(threads[2], ["home"; 3]);
    }

    #[test]
    fn when_the_lane_closes_the_rest_is_sent_from_home() {
        let home = home();
        let there = LongLane::default();
        let _lane = there.begin(1).unwrap();
        let (burden, closing) = (Burden::default(), there.clone());
        let sending = burden.clone();
        let connection = async move {
            let mut body = sending.weigh(Pieces::of(9), true);
            let mut threads = Vec::new();
            while body.frame().await.is_some() {
                threads.push(here());
                if threads.len() == 6 {
                    closing.close();
                }
                // As a socket that has to be waited for.
                tokio::task::yield_now().await;
            }
            threads
        };
        let threads = home
            .block_on(home.spawn(carry(connection, burden, there)))
            .unwrap()
            .unwrap();
        assert_eq!(threads[..4], ["home"; 4]);
        assert_eq!(threads[4..6], ["hanse-long"; 2]);
        assert_eq!(threads[6..], ["home"; 3]);
    }

    #[tokio::test]
    async fn without_a_lane_a_large_answer_is_sent_where_it_is() {
        let burden = Burden::default();
        let threads = carry(send(vec![9], burden.clone()), burden, LongLane::default()).await;
        assert_eq!(threads.unwrap()[0].len(), 9);
    }

    #[test]
    fn what_is_sent_slowly_never_becomes_large() {
        assert!(!is_large(LARGE_BYTES, Duration::ZERO));
        assert!(is_large(LARGE_BYTES + 1, Duration::ZERO));
        assert!((0..10_000).all(|second| !is_large(LARGE_BYTES * second, Duration::from_secs(second))));
        assert!(is_large(LARGE_BYTES * 101, Duration::from_millis(99_999)));
    }

    #[test]
    fn a_body_that_cannot_become_large_is_not_watched() {
        let burden = Burden::default();
        let body = burden.weigh(full(Bytes::from_static(b"hello")), true);
        assert_eq!(body.size_hint().exact(), Some(5));
        burden.set(true);
        drop(body);
        assert!(burden.is_heavy(), "it has no part in the count");
    }
}
