//! Bodies that know their limits: counted, cut off where a limit says so, and never ended as if whole when they are not.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

use crate::stats::Counters;

/// Why a body broke off.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Any body on its way through the engine.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// `body`, and then these trailers.
pub(crate) fn with_trailers(body: Body, trailers: Option<HeaderMap>) -> Body {
    match trailers {
        None => body,
        Some(trailers) => body.with_trailers(async { Some(Ok(trailers)) }).boxed_unsync(),
    }
}

/// `body` without its length told: HTTP/1.1 has room for trailers only behind a body in chunks (RFC 9112 section 7.1.2).
pub(crate) fn in_chunks(body: Body) -> Body {
    InChunks(body).boxed_unsync()
}

/// Box the body of a connection.
pub(crate) fn incoming(body: hyper::body::Incoming) -> Body {
    body.map_err(BoxError::from).boxed_unsync()
}

/// A request body on its way into a guest.
pub(crate) struct RequestBody {
    inner: Body,
    left: u64,
    too_large: Arc<AtomicBool>,
    counters: Arc<Counters>,
}

impl RequestBody {
    /// At most `limit` bytes; `too_large` tells whoever answers that there were more.
    pub(crate) fn new(inner: Body, limit: u64, too_large: Arc<AtomicBool>, counters: Arc<Counters>) -> Self {
        Self {
            inner,
            left: limit,
            too_large,
            counters,
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(cause)) => {
                // Chunks that are none, a client that left, a stream that was reset.
                self.counters.error("request.incomplete");
                let error = wasmtime_wasi_http::Error::InternalError(Some(cause.to_string()));
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(left) = self.left.checked_sub(len) else {
            self.too_large.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(wasmtime_wasi_http::Error::HttpRequestBodySize(None))));
        };
        self.left = left;
        self.counters.bytes_in.fetch_add(len, Ordering::Relaxed);
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that tells no length.
struct InChunks(Body);

impl HttpBody for InChunks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }
}

/// A body whose bytes are counted as sent for a workload.
pub(crate) struct Counted {
    inner: Body,
    counters: Arc<Counters>,
}

impl Counted {
    pub(crate) fn wrap(inner: Body, counters: Arc<Counters>) -> Body {
        Self { inner, counters }.boxed_unsync()
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            let len = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.counters.bytes_out.fetch_add(len, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
