//! Services: programs that listen on an address of their own (`upstream`). `request -> upstream -> response`.
//!
//! The engine neither starts nor confines them; it is their ingress, with the same routes, tokens, counts and shedding as for
//! functions, and passes WebSockets through. Which addresses may be named is for the node's owner to say, not for the engine.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::answer::Fault;
use crate::body::{Body, BoxError, Counted, empty, incoming};
use crate::config::Limits;
use crate::forward::{Payload, is_idempotent, strip_hop_by_hop};
use crate::kept::{Connection, Kept};
use crate::logs::LogRing;
use crate::scheme::Scheme;
use crate::sight::{Kind, Span, Trace};
use crate::stats::Counters;
use crate::upgrade;
use crate::upstream::Upstream;

/// What the client spoke, for a service that makes addresses of itself; the name that proxies agree on.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// One service of this node.
pub(crate) struct Service {
    upstream: Upstream,
    kept: Arc<Kept>,
    limits: Limits,
    turns: Arc<Semaphore>,
    pub(crate) counters: Arc<Counters>,
    logs: Arc<LogRing>,
}

impl Service {
    pub(crate) fn new(upstream: Upstream, limits: Limits, counters: Arc<Counters>, logs: Arc<LogRing>) -> Self {
        let concurrency = limits.concurrency.max(1) as usize;
        Self {
            upstream,
            kept: Arc::new(Kept::new(concurrency)),
            turns: Arc::new(Semaphore::new(concurrency)),
            limits,
            counters,
            logs,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.limits.timeout()
    }

    /// The right to ask once; `None` when as many ask as may.
    pub(crate) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        self.turns.clone().try_acquire_owned().ok()
    }

    /// The service's own step in the trace of a request.
    pub(crate) fn span(&self, request: &mut Request<Body>) -> Option<Span> {
        let method = request.method().clone();
        let trace = request.extensions().get::<Trace>()?;
        let (trace, span) = trace.child(|| method.to_string(), Kind::Client);
        trace.inject(request.headers_mut());
        let mut span = span?;
        span.text("http.request.method", method.as_str());
        span.text("server.address", self.upstream.host());
        span.number("server.port", u64::from(self.upstream.port()));
        Some(span)
    }

    /// Have the upstream answer. Its header must come by `deadline`; how long it streams then is its own affair. What went
    /// wrong the owner reads in the log.
    ///
    /// # Errors
    /// `request.too_large`, `request.incomplete`, `service.unreachable`, `service.untrusted`, `service.deadline` or `service.broken`.
    pub(crate) async fn answer(
        &self,
        request: Request<Body>,
        deadline: Instant,
        turn: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Fault> {
        let limit = self.limits.request_body_bytes;
        if request.body().size_hint().lower() > limit {
            return Err(Fault::request_too_large(limit));
        }
        let answered = timeout_at(deadline, self.ask(request)).await;
        let (response, connection) = answered.unwrap_or_else(|_| Err(too_slow())).inspect_err(|fault| {
            let text = format!("{}: {}", fault.code, fault.message);
            self.logs.push("fault", text.as_bytes());
        })?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // An open WebSocket holds no turn: it is bounded as a connection of its client is.
            return Ok(response.map(|_| empty()));
        }
        Ok(response.map(|inner| {
            let answer = Answer {
                inner: Counted::wrap(incoming(inner), self.counters.clone()),
                connection,
                kept: self.kept.clone(),
                is_over: false,
                _turn: turn,
            };
            answer.boxed_unsync()
        }))
    }

    /// The answer, and the connection where it may be kept after that.
    async fn ask(&self, request: Request<Body>) -> Result<(Response<Incoming>, Option<Connection>), Fault> {
        let is_upgrade = upgrade::is_asked(request.extensions());
        let (mut response, connection) = self.send(request, is_upgrade).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            if !is_upgrade {
                return Err(broken(
                    "the service changed to a protocol that nobody asked for".to_owned(),
                ));
            }
            return Ok((response, None));
        }
        // Of two lengths the chunks count, and the other goes no further (RFC 9112 section 6.3); who tells both may have been led to.
        let headers = response.headers_mut();
        let is_clear = !headers.contains_key(TRANSFER_ENCODING) || headers.remove(CONTENT_LENGTH).is_none();
        strip_hop_by_hop(headers);
        Ok((response, is_clear.then_some(connection)))
    }

    /// On a connection that was kept, if there is one. What ends it before an answer mostly ended it before the request: that is
    /// sent once more if it was not sent at all, or may be repeated, and is small enough.
    async fn send(&self, request: Request<Body>, is_upgrade: bool) -> Result<(Response<Incoming>, Connection), Fault> {
        let may_repeat = is_idempotent(&request) && !is_upgrade;
        let limit = usize::try_from(self.limits.request_body_bytes).unwrap_or(usize::MAX);
        let request = local(request)?;
        let (request, copy) = if may_repeat {
            with_copy(request).await?
        } else {
            (request, None)
        };
        let mut request = request.map(|body| Limited::new(body, limit));
        // A WebSocket would not give it back.
        let kept = if is_upgrade {
            None
        } else {
            self.kept.take(Instant::now())
        };
        if let Some(mut connection) = kept {
            request = match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut failed) => match (failed.take_message(), copy) {
                    (Some(unsent), _) => unsent,
                    (None, Some(copy)) if has_ended(failed.error()) => copy.map(|body| Limited::new(body, limit)),
                    _ => return Err(self.failed(failed.error())),
                },
            };
        }
        let mut connection = self.upstream.connect().await?;
        let response = connection.sender.send_request(request).await;
        Ok((response.map_err(|cause| self.failed(&cause))?, connection))
    }

    fn failed(&self, cause: &hyper::Error) -> Fault {
        if source_of::<LengthLimitError>(cause).is_some() {
            return Fault::request_too_large(self.limits.request_body_bytes);
        }
        if has_ended(cause) {
            return broken(format!(
                "the service ended the connection before it answered, and may have done what was asked: {cause}"
            ));
        }
        broken(format!("the service gave no answer that is HTTP: {cause}"))
    }

    /// Take no more connections back: the service is no longer this one.
    fn retire(&self) {
        self.kept.close();
    }
}

fn broken(message: String) -> Fault {
    Fault::new(
        "service.broken",
        StatusCode::BAD_GATEWAY,
        message,
        "its own log may say why",
    )
}

/// Whether that was the end of a connection, and no answer of any kind.
fn has_ended(cause: &hyper::Error) -> bool {
    let is_end = |error: &io::Error| {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
        matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
        )
    };
    cause.is_incomplete_message() || (!cause.is_user() && source_of::<io::Error>(cause).is_some_and(is_end))
}

fn source_of<E: Error + 'static>(cause: &hyper::Error) -> Option<&E> {
    let mut source = cause.source();
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        source = error.source();
    }
    None
}

/// The request, and a copy of it where its body is small enough.
async fn with_copy(request: Request<Body>) -> Result<(Request<Body>, Option<Request<Body>>), Fault> {
    let (parts, body) = request.into_parts();
    let mut payload = Payload::of(body).await?;
    let copy = payload.copy().and_then(|mut copy| copy.take());
    let copy = copy.map(|body| Request::from_parts(parts.clone(), body));
    let body = payload.take().unwrap_or_else(empty);
    Ok((Request::from_parts(parts, body), copy))
}

/// The request as an HTTP/1.1 server wants it.
fn local(request: Request<Body>) -> Result<Request<Body>, Fault> {
    let (mut parts, body) = request.into_parts();
    let wants_upgrade = upgrade::is_asked(&parts.extensions);
    let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    strip_hop_by_hop(&mut parts.headers);
    let scheme = parts.extensions.get::<Scheme>().copied().unwrap_or_default();
    parts
        .headers
        .insert(FORWARDED_PROTO, HeaderValue::from_static(scheme.as_str()));
    if let Some(Ok(host)) = authority.map(HeaderValue::try_from) {
        parts.headers.entry(HOST).or_insert(host);
    }
    let path = parts.uri.path_and_query().cloned();
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    parts.version = Version::HTTP_11;
    parts.extensions = Extensions::new();
    if wants_upgrade {
        parts.method = Method::GET;
        upgrade::announce(&mut parts.headers);
        return Ok(Request::from_parts(parts, empty()));
    }
    if parts.method == Method::CONNECT {
        return Err(Fault::connect());
    }
    Ok(Request::from_parts(parts, body))
}

fn too_slow() -> Fault {
    Fault::new(
        "service.deadline",
        StatusCode::GATEWAY_TIMEOUT,
        "the service did not begin to answer within the time allowed",
        "raise the service's timeout, or answer sooner",
    )
}

/// A body that holds its service's turn, and its connection, which is kept if the body is read to its end.
struct Answer {
    inner: Body,
    connection: Option<Connection>,
    kept: Arc<Kept>,
    is_over: bool,
    _turn: OwnedSemaphorePermit,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        // Nothing follows trailers, and nobody need ask.
        self.is_over = match &frame {
            None => true,
            Some(frame) => frame.as_ref().is_ok_and(Frame::is_trailers),
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let is_over = self.is_over || self.inner.is_end_stream();
        if let Some(connection) = self.connection.take().filter(|_| is_over) {
            self.kept.keep(connection);
        }
    }
}

/// The services of one engine by name.
#[derive(Default)]
pub(crate) struct Services {
    current: ArcSwap<HashMap<String, Arc<Service>>>,
    writer: Mutex<()>,
}

impl Services {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Service>> {
        self.current.load().get(name).cloned()
    }

    /// Put a service in place, or take it away; requests in flight end in their own time. Returns whether one was there.
    pub(crate) fn set(&self, name: &str, service: Option<Service>) -> bool {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::clone(&self.current.load());
        let before = match service {
            Some(service) => next.insert(name.to_owned(), Arc::new(service)),
            None => next.remove(name),
        };
        self.current.store(Arc::new(next));
        if let Some(before) = &before {
            before.retire();
        }
        before.is_some()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.current.load().keys().cloned().collect()
    }
}
