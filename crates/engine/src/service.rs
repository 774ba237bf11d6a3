//! Services: programs that listen on an address of their own (`upstream`). `request -> upstream -> response`.
//!
//! The engine neither starts nor confines them; it is their ingress, with the same routes, tokens, counts and shedding as for
//! functions, and passes WebSockets through. Which addresses may be named is for the node's owner to say, not for the engine.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{HOST, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::answer::Fault;
use crate::body::{Body, BoxError, Counted, empty, incoming};
use crate::config::Limits;
use crate::forward::strip_hop_by_hop;
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
    limits: Limits,
    turns: Arc<Semaphore>,
    pub(crate) counters: Arc<Counters>,
    logs: Arc<LogRing>,
}

impl Service {
    pub(crate) fn new(upstream: Upstream, limits: Limits, counters: Arc<Counters>, logs: Arc<LogRing>) -> Self {
        Self {
            upstream,
            turns: Arc::new(Semaphore::new(limits.concurrency.max(1) as usize)),
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
    /// `request.too_large`, `service.unreachable`, `service.untrusted`, `service.deadline` or `service.broken`.
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
        let response = answered.unwrap_or_else(|_| Err(too_slow())).inspect_err(|fault| {
            let text = format!("{}: {}", fault.code, fault.message);
            self.logs.push("fault", text.as_bytes());
        })?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // An open WebSocket holds no turn: it is bounded as a connection of its client is.
            return Ok(response.map(|_| empty()));
        }
        Ok(response.map(|inner| {
            let inner = Counted::wrap(inner, self.counters.clone());
            Turn { inner, _turn: turn }.boxed_unsync()
        }))
    }

    async fn ask(&self, request: Request<Body>) -> Result<Response<Body>, Fault> {
        let stream = self.upstream.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| self.upstream.unreachable(&cause))?;
        // Ends with the response, or when it is dropped because the client went away.
        tokio::spawn(connection.with_upgrades());
        let limit = usize::try_from(self.limits.request_body_bytes).unwrap_or(usize::MAX);
        let request = local(request)?.map(|body| Limited::new(body, limit));
        let mut response = sender
            .send_request(request)
            .await
            .map_err(|cause| self.broken(&cause))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            strip_hop_by_hop(response.headers_mut());
        }
        Ok(response.map(incoming))
    }

    fn broken(&self, cause: &hyper::Error) -> Fault {
        let mut source = std::error::Error::source(cause);
        while let Some(deeper) = source {
            if deeper.is::<LengthLimitError>() {
                return Fault::request_too_large(self.limits.request_body_bytes);
            }
            source = deeper.source();
        }
        Fault::new(
            "service.broken",
            StatusCode::BAD_GATEWAY,
            format!("the service gave no answer that is HTTP: {cause}"),
            "its own log may say why",
        )
    }
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

/// A body that holds its service's turn until it ends.
struct Turn {
    inner: Body,
    _turn: OwnedSemaphorePermit,
}

impl HttpBody for Turn {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(ready!(Pin::new(&mut self.inner).poll_frame(context)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
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
        before.is_some()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.current.load().keys().cloned().collect()
    }
}
