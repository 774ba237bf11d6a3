//! Pass a request on to another node: `request, replicas -> response, or a fault`.
//!
//! Which replica is asked is the choice of `choice`; second attempts are paid for from the budget of the route. What was surely not run (no connection, the peer does not have the workload or has no room) is
//! tried elsewhere whatever the method; what may have been run is repeated only if the method says that repeating is
//! harmless (RFC 9110 section 9.2.2) or the client gave an Idempotency-Key.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, request};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::answer::{DEADLINE_MS, ERROR, FORWARDED_BY, Fault, WORKLOAD};
use crate::body::{Body, Counted, empty, full, incoming, with_trailers};
use crate::choice;
use crate::core::Core;
use crate::front::{Here, here};
use crate::peer::Peer;
use crate::principal::{PRINCIPAL, Principal};
use crate::router::Entry;
use crate::scheme::{SCHEME, Scheme as ClientScheme};
use crate::sight::{Kind, Trace};
use crate::upgrade;

/// Attempts beyond the first.
const MAX_RETRIES: u32 = 2;
/// Bodies up to this size are kept for a second attempt.
const REPLAY_BYTES: u64 = 64 << 10;
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A request body, kept for another attempt where it is small.
pub(crate) enum Payload {
    Whole(Bytes, Option<HeaderMap>),
    Stream(Option<Body>),
}

impl Payload {
    pub(crate) async fn of(body: Body) -> Result<Self, Fault> {
        if body.is_end_stream() {
            return Ok(Self::Whole(Bytes::new(), None));
        }
        if body.size_hint().upper().is_none_or(|len| len > REPLAY_BYTES) {
            return Ok(Self::Stream(Some(body)));
        }
        let whole = body.collect().await.map_err(|cause| {
            Fault::new(
                "request.incomplete",
                StatusCode::BAD_REQUEST,
                format!("the request body broke off: {cause}"),
                "send the whole body",
            )
        })?;
        let trailers = whole.trailers().cloned();
        Ok(Self::Whole(whole.to_bytes(), trailers))
    }

    /// The body for the next attempt; `None` when it is spent.
    pub(crate) fn take(&mut self) -> Option<Body> {
        match self {
            Self::Whole(bytes, None) if bytes.is_empty() => Some(empty()),
            Self::Whole(bytes, trailers) => Some(with_trailers(full(bytes.clone()), trailers.clone())),
            Self::Stream(body) => body.take(),
        }
    }

    /// The whole body once more, if it is small enough to be kept.
    pub(crate) fn copy(&self) -> Option<Self> {
        match self {
            Self::Whole(bytes, trailers) => Some(Self::Whole(bytes.clone(), trailers.clone())),
            Self::Stream(_) => None,
        }
    }

    pub(crate) fn put_back(&mut self, body: Body) {
        if let Self::Stream(stream) = self {
            *stream = Some(body);
        }
    }

    pub(crate) fn is_there(&self) -> bool {
        !matches!(self, Self::Stream(None))
    }
}

enum Outcome {
    Answered(Response<Body>),
    /// The peer says it did not run the request.
    Declined(Response<Body>),
    /// Nothing reached the peer.
    Unsent(Broken),
    /// The connection died after the request may have arrived.
    Lost(Broken),
}

struct Broken {
    why: String,
    /// Only the connection ended (idle, or because a certificate was renewed): the node itself may be well.
    may_be_well: bool,
}

/// Have another node answer `request`; `key` names its replica on a hashed route.
///
/// # Errors
/// `route.no_replica`, `route.unreachable`, `route.lost` or `route.deadline`.
pub(crate) async fn forward(
    core: &Arc<Core>,
    entry: &Entry,
    request: Request<Body>,
    key: Option<u64>,
    deadline: Instant,
) -> Result<Response<Body>, Fault> {
    if entry.bands.is_empty() {
        return Err(no_replica(&entry.workload));
    }
    entry.traffic.retries.pay_in();
    let is_idempotent = is_idempotent(&request);
    let may_hedge = entry.hedge && may_run_twice_at_once(&request);
    let (parts, body) = request.into_parts();
    let attempts = async {
        let mut ask = Ask {
            core,
            entry,
            here: (entry.is_here && key.is_some()).then(|| parts.clone()),
            parts: outgoing(core, entry, parts),
            payload: Payload::of(body).await?,
            is_idempotent,
            may_hedge,
            key,
            deadline,
            tried: Vec::new(),
        };
        ask.try_each().await
    };
    timeout_at(deadline, attempts).await.unwrap_or_else(|_| {
        Err(Fault::new(
            "route.deadline",
            StatusCode::GATEWAY_TIMEOUT,
            "no replica answered in time",
            "the replicas may be overloaded or cut off; `hanse top` shows them",
        ))
    })
}

/// One request on its way to another node.
struct Ask<'a> {
    core: &'a Arc<Core>,
    entry: &'a Entry,
    /// The request as it came, on a hashed route that this node serves as well.
    here: Option<request::Parts>,
    parts: request::Parts,
    payload: Payload,
    is_idempotent: bool,
    may_hedge: bool,
    key: Option<u64>,
    deadline: Instant,
    tried: Vec<Arc<Peer>>,
}

impl Ask<'_> {
    async fn try_each(&mut self) -> Result<Response<Body>, Fault> {
        let began = Instant::now();
        let mut worth_another_try: Option<Arc<Peer>> = None;
        let mut last = Err(no_replica(&self.entry.workload));
        for attempt in 0..=MAX_RETRIES {
            let Some(peer) = self.next().or_else(|| worth_another_try.take()) else {
                break;
            };
            if attempt > 0 {
                if !self.may_spend() {
                    break;
                }
                self.entry.counters.retried.fetch_add(1, Ordering::Relaxed);
            }
            let (peer, outcome) = self.hedged(peer).await;
            match outcome {
                Outcome::Answered(response) => {
                    self.entry.traffic.recent.record(began.elapsed());
                    return Ok(self.passed_on(response));
                }
                Outcome::Declined(response) => last = Ok(response),
                Outcome::Lost(broken) if !self.is_idempotent => return Err(lost(&peer, &broken.why)),
                Outcome::Unsent(broken) => {
                    worth_another_try = broken.may_be_well.then(|| peer.clone());
                    last = Err(unreachable(&peer, &broken.why));
                }
                Outcome::Lost(broken) => {
                    worth_another_try = broken.may_be_well.then(|| peer.clone());
                    last = Err(lost(&peer, &broken.why));
                }
            }
            if !self.payload.is_there() {
                break;
            }
            self.tried.push(peer);
        }
        match self.run_here().await {
            Some(answered) => answered,
            None => last.map(|response| self.passed_on(response)),
        }
    }

    fn passed_on(&self, response: Response<Body>) -> Response<Body> {
        self.entry.counters.forwarded.fetch_add(1, Ordering::Relaxed);
        response.map(|body| Counted::wrap(body, self.entry.counters.clone()))
    }

    /// The key belongs to a node that cannot be reached, and this one can do it too.
    async fn run_here(&mut self) -> Option<Result<Response<Body>, Fault>> {
        let parts = self.here.take()?;
        let body = self.payload.take()?;
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now);
        let request = Request::from_parts(parts, body);
        match here(self.core, &self.entry.workload, request, now, left).await {
            Here::Elsewhere(_) => None,
            Here::NoRoom(_, fault) => Some(Err(fault)),
            Here::Answered(answered) => Some(answered),
        }
    }

    fn next(&self) -> Option<Arc<Peer>> {
        choice::next(self.entry, &self.tried, self.key, Instant::now())
    }

    /// Whether the budget pays for one more attempt.
    fn may_spend(&self) -> bool {
        let may = self.entry.traffic.retries.take(Instant::now());
        if !may {
            self.entry.counters.retries_denied.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// Ask `first`, and when it takes longer than nearly all others did, a second one as well; the first answer counts, and the
    /// other request is cancelled.
    async fn hedged(&mut self, first: Arc<Peer>) -> (Arc<Peer>, Outcome) {
        let patience = if self.may_hedge {
            self.entry.traffic.recent.p95()
        } else {
            None
        };
        let (Some(patience), Some(mut copy)) = (patience, self.payload.copy()) else {
            let outcome = self.ask(&first).await;
            return (first, outcome);
        };
        let tried = self.tried.clone();
        let (core, entry, key) = (self.core, self.entry, self.key);
        let (parts, deadline, is_idempotent) = (&self.parts, self.deadline, self.is_idempotent);
        let mut asking = Box::pin(ask(core, &first, parts, &mut self.payload, is_idempotent, deadline));
        if let Ok(outcome) = timeout(patience, asking.as_mut()).await {
            drop(asking);
            return (first, outcome);
        }
        let others: Vec<_> = tried.iter().chain([&first]).cloned().collect();
        let second = choice::next(entry, &others, key, Instant::now()).filter(|peer| !peer.is_ejected(Instant::now()));
        let second = second.filter(|_| {
            let may = entry.traffic.retries.take(Instant::now());
            if !may {
                entry.counters.retries_denied.fetch_add(1, Ordering::Relaxed);
            }
            may
        });
        let Some(second) = second else {
            let outcome = asking.as_mut().await;
            drop(asking);
            return (first, outcome);
        };
        entry.counters.hedged.fetch_add(1, Ordering::Relaxed);
        let mut hedge = Box::pin(ask(core, &second, parts, &mut copy, is_idempotent, deadline));
        tokio::select! {
            outcome = asking.as_mut() => match outcome {
                Outcome::Answered(_) => (first.clone(), outcome),
                // The second may still answer; if not, that is what the next attempt has to deal with.
                _ => (second.clone(), hedge.as_mut().await),
            },
            outcome = hedge.as_mut() => match outcome {
                Outcome::Answered(_) => {
                    entry.counters.hedges_won.fetch_add(1, Ordering::Relaxed);
                    (second.clone(), outcome)
                }
                _ => (first.clone(), asking.as_mut().await),
            },
        }
    }

    async fn ask(&mut self, peer: &Arc<Peer>) -> Outcome {
        ask(
            self.core,
            peer,
            &self.parts,
            &mut self.payload,
            self.is_idempotent,
            self.deadline,
        )
        .await
    }
}

async fn ask(
    core: &Core,
    peer: &Arc<Peer>,
    parts: &request::Parts,
    payload: &mut Payload,
    is_idempotent: bool,
    deadline: Instant,
) -> Outcome {
    let Some(identity) = core.identity() else {
        return unsent("this node has no identity yet".to_owned());
    };
    let began = Instant::now();
    let mut lease = match peer.connect(&identity, core.config.connect_timeout()).await {
        Ok(lease) => lease,
        Err(why) => {
            peer.failed(Instant::now());
            return unsent(why);
        }
    };
    let Some(body) = payload.take() else {
        return unsent("the request body is spent".to_owned());
    };
    if upgrade::is_asked(&parts.extensions) && !lease.is_reused {
        // An extended CONNECT may be sent once the peer's settings have arrived, as any answer shows (RFC 8441 section 3).
        let mut nothing = Request::new(empty());
        *nothing.uri_mut() = Uri::from_static("https://hanse.invalid/");
        let _ = lease.sender.send_request(nothing).await;
    }
    let mut parts = parts.clone();
    let left_ms = deadline.saturating_duration_since(began).as_millis();
    parts.headers.insert(
        DEADLINE_MS,
        HeaderValue::from(u64::try_from(left_ms).unwrap_or(u64::MAX)),
    );
    let trace = parts.extensions.get::<Trace>();
    let (trace, mut span) = trace
        .map(|trace| trace.child(|| parts.method.to_string(), Kind::Client))
        .unzip();
    let mut span = span.take().flatten();
    if let Some(trace) = trace {
        trace.inject(&mut parts.headers);
    }
    if let Some(span) = &mut span {
        span.text("http.request.method", parts.method.as_str());
        span.text("server.address", &peer.address);
        span.text("hanse.node", &peer.node);
    }
    let asked = peer.begin();
    match lease.sender.try_send_request(Request::from_parts(parts, body)).await {
        Ok(response) => {
            asked.answered();
            if let Some(span) = &mut span {
                let error = response.headers().get(ERROR).and_then(|code| code.to_str().ok());
                span.status(response.status().as_u16(), error);
            }
            outcome(response.map(incoming), is_idempotent)
        }
        Err(mut failed) => {
            peer.disconnect();
            let why = failed.error().to_string();
            if let Some(span) = &mut span {
                span.fail("route.lost");
            }
            match failed.take_message() {
                Some(request) => {
                    payload.put_back(request.into_body());
                    // It answered the handshake and then took nothing: it ended the connection, perhaps a new one at once.
                    Outcome::Unsent(Broken { why, may_be_well: true })
                }
                None => Outcome::Lost(Broken {
                    why,
                    may_be_well: lease.is_reused,
                }),
            }
        }
    }
}

fn unsent(why: String) -> Outcome {
    Outcome::Unsent(Broken {
        why,
        may_be_well: false,
    })
}

fn outcome(mut response: Response<Body>, is_idempotent: bool) -> Outcome {
    strip_hop_by_hop(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    let is_declined = match response.headers().get(ERROR).map(HeaderValue::as_bytes) {
        Some(b"route.not_here" | b"engine.overloaded" | b"worker.down") => true,
        // It may have run in part.
        Some(b"guest.unloaded") => is_idempotent,
        _ => false,
    };
    if is_declined {
        return Outcome::Declined(response);
    }
    Outcome::Answered(response)
}

/// The request as it goes over the mesh, but for the time left.
fn outgoing(core: &Core, entry: &Entry, mut parts: request::Parts) -> request::Parts {
    strip_hop_by_hop(&mut parts.headers);
    let host = parts.headers.remove(header::HOST);
    let authority = parts
        .uri
        .authority()
        .cloned()
        .or_else(|| Authority::from_maybe_shared(Bytes::copy_from_slice(host.as_ref()?.as_bytes())).ok())
        .unwrap_or_else(|| Authority::from_static("hanse.invalid"));
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTPS);
    uri.authority = Some(authority);
    uri.path_and_query = Some(path);
    // All three parts are present, which is the one thing that is checked.
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    parts.version = Version::HTTP_2;
    if upgrade::is_asked(&parts.extensions) {
        parts.method = Method::CONNECT;
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.extensions.insert(upgrade::protocol());
    }
    let scheme = parts.extensions.get::<ClientScheme>().copied().unwrap_or_default();
    parts.headers.insert(SCHEME, HeaderValue::from_static(scheme.as_str()));
    parts.headers.insert(FORWARDED_BY, core.node.clone());
    if let Ok(workload) = HeaderValue::from_str(&entry.workload) {
        parts.headers.insert(WORKLOAD, workload);
    }
    let principal = parts.extensions.get::<Arc<Principal>>();
    if let Some(principal) = principal.and_then(|principal| principal.to_header()) {
        parts.headers.insert(PRINCIPAL, principal);
    }
    parts
}

/// Remove what concerns one connection only (RFC 9110 section 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

pub(crate) fn is_idempotent(request: &Request<Body>) -> bool {
    matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS
    ) || request.headers().contains_key("idempotency-key")
        || upgrade::is_asked(request.extensions())
}

/// Repeating is harmless for all idempotent methods, running twice at once is not: a late PUT could undo a later one.
fn may_run_twice_at_once(request: &Request<Body>) -> bool {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && !upgrade::is_asked(request.extensions());
    is_safe || request.headers().contains_key("idempotency-key")
}

fn no_replica(workload: &str) -> Fault {
    Fault::new(
        "route.no_replica",
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{workload} has a route but runs nowhere that this node knows of"),
        "it may still be starting; `hanse describe` shows its replicas",
    )
    .retry_after(1)
}

fn unreachable(peer: &Peer, why: &str) -> Fault {
    Fault::new(
        "route.unreachable",
        StatusCode::SERVICE_UNAVAILABLE,
        format!("no replica can be reached; the last one tried, {}: {why}", peer.node),
        "a replacement is on its way if the node is down; try again",
    )
    .retry_after(1)
}

fn lost(peer: &Peer, why: &str) -> Fault {
    Fault::new(
        "route.lost",
        StatusCode::BAD_GATEWAY,
        format!("the connection to {} was lost before it answered: {why}", peer.node),
        "the request may have been carried out; send an Idempotency-Key to have such requests repeated",
    )
}
