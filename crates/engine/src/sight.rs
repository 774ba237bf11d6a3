//! What can be seen of requests from outside: spans of OpenTelemetry, and lines of an access log.
//!
//! `request -> visit -> response; and, when its body ends, a span to the collector and a line to the file`. Both are off unless
//! the node's owner names a collector or a file. Neither ever waits: what does not fit into its bounded queue is dropped
//! and counted. By default nothing is told that may name a person: no path, no query, no body, no address, no identity.

mod context;
mod export;
mod lines;
mod otlp;
mod span;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as Waker, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::answer::{ERROR, Fault, NODE};
use crate::body::{Body, BoxError};
use crate::config::EngineConfig;
use crate::error::EngineError;
use crate::principal::Principal;
use crate::router::Entry;

pub(crate) use export::Exporter;
use lines::{AccessLines, Line};
pub(crate) use span::{Kind, Span, Trace, Tracer};

/// How one engine is watched.
#[derive(Default)]
pub(crate) struct Sight {
    pub(crate) tracer: Option<Arc<Tracer>>,
    lines: Option<AccessLines>,
    tells_paths: bool,
}

/// What was told so far, and what was not for lack of room or of a collector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SightStats {
    /// Spans that the collector took.
    pub spans_exported: u64,
    /// Spans dropped: the queue was full, or the collector away for too long.
    pub spans_dropped: u64,
    /// Attempts to reach the collector that failed.
    pub export_failures: u64,
    /// Lines written to the access log.
    pub access_lines: u64,
    /// Lines lost: the queue was full, or the file could not be written.
    pub access_lines_lost: u64,
}

impl Sight {
    /// Set up what `config` asks for; the second runs until the engine ends.
    ///
    /// # Errors
    /// `engine.config_invalid` for a collector that is no address, `access_log.io` for a file that cannot be opened.
    pub(crate) fn new(config: &EngineConfig) -> Result<(Self, Option<Exporter>), EngineError> {
        let (tracer, exporter) = match &config.traces {
            None => (None, None),
            Some(traces) => {
                let (tracer, exporter) = export::connect(traces, &config.node, &config.trust_domain)?;
                (Some(Arc::new(tracer)), Some(exporter))
            }
        };
        let lines = config.access_log.as_ref().map(AccessLines::open).transpose()?;
        let sight = Self {
            tracer,
            lines,
            tells_paths: config.tell_paths,
        };
        Ok((sight, exporter))
    }

    /// Begin to watch a request that came in, at the front (with its route) or from another node (without).
    pub(crate) fn enter<B>(&self, request: &mut Request<B>, entry: Option<&Entry>, is_tls: bool) -> Visit {
        let mut visit = Visit {
            began: Instant::now(),
            span: None,
            line: None,
        };
        if let Some(tracer) = &self.tracer {
            let method = request.method().clone();
            let (trace, span) = tracer.enter(request.headers_mut(), || match entry {
                Some(entry) => format!("{method} {}", entry.prefix),
                None => method.to_string(),
            });
            trace.inject(request.headers_mut());
            request.extensions_mut().insert(trace);
            visit.span = span.map(|mut span| {
                span.text("http.request.method", method.as_str());
                span.text("url.scheme", if is_tls { "https" } else { "http" });
                span.text("network.protocol.version", version(request.version()));
                if let Some(entry) = entry {
                    span.text("http.route", &entry.prefix);
                    span.text("hanse.workload", &entry.workload);
                }
                if self.tells_paths {
                    span.text("url.path", request.uri().path());
                }
                span
            });
        }
        visit
    }

    /// Begin a line about a request at the front.
    pub(crate) fn note<B>(&self, visit: &mut Visit, request: &Request<B>, entry: Option<&Entry>) {
        let Some(lines) = &self.lines else { return };
        let principal = request.extensions().get::<Arc<Principal>>();
        visit.line = Some(Line {
            lines: lines.clone(),
            is_drawn: lines.draw(),
            method: request.method().clone(),
            protocol: version(request.version()),
            route: entry.map(|entry| entry.prefix.clone()),
            workload: entry.map(|entry| entry.workload.clone()),
            path: self.tells_paths.then(|| request.uri().path().to_owned()),
            principal: principal.map_or("anonymous", |principal| principal.kind()),
            trace: request.extensions().get::<Trace>().map(Trace::id),
            status: 0,
            error: None,
            node: None,
            is_broken: false,
            took_us: 0,
            bytes: 0,
        });
    }

    pub(crate) fn stats(&self) -> SightStats {
        let mut stats = SightStats::default();
        if let Some(tracer) = &self.tracer {
            let get = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
            stats.spans_exported = get(&tracer.counts.exported);
            stats.spans_dropped = get(&tracer.counts.dropped);
            stats.export_failures = get(&tracer.counts.failures);
        }
        if let Some(lines) = &self.lines {
            (stats.access_lines, stats.access_lines_lost) = lines.counts();
        }
        stats
    }
}

/// One request while it is watched.
pub(crate) struct Visit {
    began: Instant,
    span: Option<Span>,
    line: Option<Line>,
}

impl Visit {
    /// The response, watched to the end of its body.
    pub(crate) fn leave(self, response: Response<Body>) -> Response<Body> {
        let Self {
            began,
            mut span,
            mut line,
        } = self;
        if span.is_none() && line.is_none() {
            return response;
        }
        let text = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let (status, error) = (response.status().as_u16(), text(ERROR));
        if let Some(span) = &mut span {
            span.status(status, error);
        }
        if let Some(line) = &mut line {
            line.status = status;
            line.error = error.map(str::to_owned);
            line.node = text(NODE).map(str::to_owned);
        }
        response.map(|inner| {
            Watched {
                inner,
                began,
                is_over: false,
                span,
                line,
            }
            .boxed_unsync()
        })
    }
}

/// Have `span` end with the body of what was answered.
pub(crate) fn until_end(span: Option<Span>, answered: Result<Response<Body>, Fault>) -> Result<Response<Body>, Fault> {
    let Some(mut span) = span else { return answered };
    match answered {
        Ok(response) => {
            let error = response.headers().get(ERROR).and_then(|code| code.to_str().ok());
            span.status(response.status().as_u16(), error);
            let began = Instant::now();
            Ok(response.map(|inner| {
                Watched {
                    inner,
                    began,
                    is_over: false,
                    span: Some(span),
                    line: None,
                }
                .boxed_unsync()
            }))
        }
        Err(fault) => {
            span.status(fault.status.as_u16(), Some(fault.code));
            Err(fault)
        }
    }
}

/// A body whose end is the end of what is told.
struct Watched {
    inner: Body,
    began: Instant,
    is_over: bool,
    span: Option<Span>,
    line: Option<Line>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, waker: &mut Waker<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(waker));
        match &frame {
            None => self.is_over = true,
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(line) = &mut self.line {
                    line.bytes += len;
                }
                self.is_over = self.inner.is_end_stream();
            }
            Some(Err(_)) => {}
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

impl Drop for Watched {
    fn drop(&mut self) {
        // Dropped before its end: it broke off, or the client went away.
        let is_broken = !self.is_over && !self.inner.is_end_stream();
        if let Some(span) = &mut self.span
            && is_broken
        {
            span.fail("broken_off");
        }
        if let Some(mut line) = self.line.take() {
            line.is_broken = is_broken;
            line.took_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
            line.tell();
        }
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        _ => "2",
    }
}

/// Take away what a client says about a trace that is none.
fn forget(headers: &mut HeaderMap) {
    headers.remove(context::TRACEPARENT);
    headers.remove(context::TRACESTATE);
}
