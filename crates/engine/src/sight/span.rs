//! Traces and their spans: made on the request path, finished when dropped, handed to the exporter's queue.
//!
//! A request that is not sampled has a trace as well, so that everybody after us decides alike, but no span: what it costs is
//! one header.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};
use tokio::sync::mpsc;

use super::context::{Context, TRACEPARENT, TRACESTATE};
use super::export::Job;
use super::forget;
use crate::stream::Stream;

/// What a span is to the ones around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    Truth(bool),
}

/// A finished span.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finished {
    pub(crate) context: Context,
    /// 0: the root of its trace.
    pub(crate) parent: u64,
    pub(crate) state: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) began_ns: u64,
    pub(crate) ended_ns: u64,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) has_failed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) exported: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// Decides which requests are recorded, and numbers spans.
pub(crate) struct Tracer {
    /// Of 2^63: below it a trace that begins here is recorded.
    bound: u64,
    trace_ids: Stream,
    span_ids: Stream,
    pub(super) queue: mpsc::Sender<Job>,
    pub(crate) counts: Arc<Counts>,
}

impl Tracer {
    /// `ratio_ppm`: of a million traces that begin here, so many are recorded.
    pub(super) fn new(ratio_ppm: u32, seeds: [u64; 2], queue: mpsc::Sender<Job>, counts: Arc<Counts>) -> Self {
        let [trace, span] = seeds;
        Self {
            bound: ((u128::from(ratio_ppm.min(1_000_000)) << 63) / 1_000_000) as u64,
            trace_ids: Stream::new(trace, "trace"),
            span_ids: Stream::new(span, "span"),
            queue,
            counts,
        }
    }

    /// The trace of a request that came in, and the span of our part in it.
    ///
    /// Who asked has decided already whether it is recorded; where nobody did, the ratio does, by the trace's id as other
    /// implementations of OpenTelemetry do it.
    pub(crate) fn enter(
        self: &Arc<Self>,
        headers: &mut HeaderMap,
        name: impl FnOnce() -> String,
    ) -> (Trace, Option<Span>) {
        let (context, parent) = match Context::of(headers) {
            Some(parent) => (
                Context {
                    span_id: self.span_id(),
                    ..parent
                },
                parent.span_id,
            ),
            None => {
                forget(headers);
                (self.root(), 0)
            }
        };
        let trace = Trace {
            tracer: self.clone(),
            context,
            state: state(headers),
        };
        let span = context.is_sampled.then(|| trace.span(parent, name(), Kind::Server));
        (trace, span)
    }

    fn root(&self) -> Context {
        let (high, low) = (self.trace_ids.next(), self.trace_ids.next().max(1));
        Context {
            trace_id: (u128::from(high) << 64) | u128::from(low),
            span_id: self.span_id(),
            is_sampled: (low >> 1) < self.bound,
        }
    }

    fn span_id(&self) -> u64 {
        self.span_ids.next().max(1)
    }
}

fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(TRACESTATE).iter();
    let first = all.next()?;
    let rest: Vec<_> = all.collect();
    if rest.is_empty() {
        return Some(first.clone());
    }
    let mut joined = first.as_bytes().to_vec();
    for one in rest {
        joined.push(b',');
        joined.extend_from_slice(one.as_bytes());
    }
    HeaderValue::from_bytes(&joined).ok()
}

/// Where a request stands in its trace; carried in its extensions.
#[derive(Clone)]
pub(crate) struct Trace {
    tracer: Arc<Tracer>,
    context: Context,
    state: Option<HeaderValue>,
}

impl Trace {
    /// The id of the whole trace, as it is written.
    pub(crate) fn id(&self) -> String {
        format!("{:032x}", self.context.trace_id)
    }

    /// The next step of the request, with its span where the trace is recorded.
    pub(crate) fn child(&self, name: impl FnOnce() -> String, kind: Kind) -> (Self, Option<Span>) {
        if !self.context.is_sampled {
            return (self.clone(), None);
        }
        let mut next = self.clone();
        next.context.span_id = self.tracer.span_id();
        let span = next.span(self.context.span_id, name(), kind);
        (next, Some(span))
    }

    /// A request that a guest sends: the guest's own step in this trace, if it tells one, is the parent. What it says of
    /// another trace is its own affair.
    pub(crate) fn outgoing(&self, headers: &mut HeaderMap, name: &str) -> Option<Span> {
        let mut parent = self.clone();
        if headers.contains_key(TRACEPARENT) {
            let said = Context::of(headers).filter(|said| said.trace_id == self.context.trace_id)?;
            parent.context.span_id = said.span_id;
        } else {
            headers.remove(TRACESTATE);
            if let Some(state) = &self.state {
                headers.insert(TRACESTATE, state.clone());
            }
        }
        let (trace, span) = parent.child(|| name.to_owned(), Kind::Client);
        trace.inject(headers);
        span
    }

    /// Tell whoever gets these headers where he stands.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        if let Some(value) = self.context.header() {
            headers.insert(TRACEPARENT, value);
        }
    }

    fn span(&self, parent: u64, name: String, kind: Kind) -> Span {
        let state = self.state.as_ref().and_then(|state| state.to_str().ok());
        Span {
            tracer: self.tracer.clone(),
            began: Instant::now(),
            of: Some(Box::new(Finished {
                context: self.context,
                parent,
                state: state.unwrap_or_default().to_owned(),
                name,
                kind,
                began_ns: now_ns(),
                ended_ns: 0,
                attributes: Vec::with_capacity(8),
                has_failed: false,
            })),
        }
    }
}

/// One step while it goes on; it ends when it is dropped.
pub(crate) struct Span {
    tracer: Arc<Tracer>,
    began: Instant,
    of: Option<Box<Finished>>,
}

impl Span {
    pub(crate) fn text(&mut self, key: &'static str, value: &str) {
        self.set(key, Value::Text(value.to_owned()));
    }

    pub(crate) fn number(&mut self, key: &'static str, value: u64) {
        self.set(key, Value::Number(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    pub(crate) fn truth(&mut self, key: &'static str, value: bool) {
        self.set(key, Value::Truth(value));
    }

    /// What was answered; a step has failed when it could not answer, not when it said no.
    pub(crate) fn status(&mut self, status: u16, error: Option<&str>) {
        self.number("http.response.status_code", u64::from(status));
        match error {
            Some(code) => self.text("error.type", code),
            None if status >= 500 => self.text("error.type", &status.to_string()),
            None => {}
        }
        if let Some(of) = &mut self.of {
            of.has_failed = status >= 500;
        }
    }

    pub(crate) fn fail(&mut self, code: &str) {
        self.text("error.type", code);
        if let Some(of) = &mut self.of {
            of.has_failed = true;
        }
    }

    /// Number of this step, as it is written.
    pub(crate) fn id(&self) -> String {
        self.of
            .as_ref()
            .map_or_else(String::new, |of| format!("{:016x}", of.context.span_id))
    }

    fn set(&mut self, key: &'static str, value: Value) {
        if let Some(of) = &mut self.of {
            of.attributes.push((key, value));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(mut of) = self.of.take() else { return };
        let took = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        of.ended_ns = of.began_ns.saturating_add(took);
        if self.tracer.queue.try_send(Job::Span(of)).is_err() {
            self.tracer.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(ratio_ppm: u32) -> (Arc<Tracer>, mpsc::Receiver<Job>) {
        let (queue, jobs) = mpsc::channel(4);
        (Arc::new(Tracer::new(ratio_ppm, [1, 2], queue, Arc::default())), jobs)
    }

    #[test]
    fn the_ratio_holds_for_traces_that_begin_here() {
        for (ratio_ppm, expected) in [(0, 0..=0), (250_000, 2_300..=2_700), (1_000_000, 10_000..=10_000)] {
            let (tracer, _jobs) = tracer(ratio_ppm);
            let sampled = (0..10_000).filter(|_| tracer.root().is_sampled).count();
            assert!(expected.contains(&sampled), "{ratio_ppm}: {sampled}");
        }
    }

    #[test]
    fn who_asked_has_decided_already() {
        for (ratio_ppm, flag, is_recorded) in [(0, "01", true), (1_000_000, "00", false)] {
            let (tracer, _jobs) = tracer(ratio_ppm);
            let mut headers = HeaderMap::new();
            let said = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flag}");
            headers.insert(TRACEPARENT, HeaderValue::try_from(said).unwrap());
            let (trace, span) = tracer.enter(&mut headers, String::new);
            assert_eq!(span.is_some(), is_recorded);
            assert_eq!(trace.id(), "0af7651916cd43dd8448eb211c80319c");
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (tracer, _jobs) = tracer(1_000_000);
        for _ in 0..6 {
            drop(tracer.enter(&mut HeaderMap::new(), String::new));
        }
        assert_eq!(tracer.counts.dropped.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_guest_that_speaks_of_another_trace_is_left_alone() {
        let (tracer, _jobs) = tracer(1_000_000);
        let (trace, _span) = tracer.enter(&mut HeaderMap::new(), String::new);
        let other = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let mut headers = HeaderMap::from_iter([(TRACEPARENT, other.clone())]);
        assert!(trace.outgoing(&mut headers, "GET").is_none());
        assert_eq!(headers.get(TRACEPARENT), Some(&other));
    }
}
