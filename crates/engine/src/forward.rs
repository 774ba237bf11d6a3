//! Pass a request on to another node: `request, replicas -> response, or a fault`.
//!
//! The nearest replica first. What was surely not run (no connection, the peer does not have the workload or has no room) is
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
use tokio::time::{Instant, timeout_at};

use crate::answer::{DEADLINE_MS, ERROR, FORWARDED_BY, Fault, WORKLOAD};
use crate::body::{Body, Counted, empty, full, incoming};
use crate::engine::Core;
use crate::peer::Peer;
use crate::router::Entry;

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

enum Payload {
    Whole(Bytes),
    Stream(Option<Body>),
}

impl Payload {
    async fn of(body: Body) -> Result<Self, Fault> {
        if body.is_end_stream() {
            return Ok(Self::Whole(Bytes::new()));
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
        Ok(Self::Whole(whole.to_bytes()))
    }

    /// The body for the next attempt; `None` when it is spent.
    fn take(&mut self) -> Option<Body> {
        match self {
            Self::Whole(bytes) if bytes.is_empty() => Some(empty()),
            Self::Whole(bytes) => Some(full(bytes.clone())),
            Self::Stream(body) => body.take(),
        }
    }

    fn put_back(&mut self, body: Body) {
        if let Self::Stream(stream) = self {
            *stream = Some(body);
        }
    }

    fn is_there(&self) -> bool {
        !matches!(self, Self::Stream(None))
    }
}

enum Outcome {
    Answered(Response<Body>),
    /// The peer says it did not run the request.
    Declined(Response<Body>),
    /// Nothing reached the peer.
    Unsent(String),
    /// The connection died after the request may have arrived.
    Lost {
        why: String,
        is_reused: bool,
    },
}

/// Have another node answer `request`.
///
/// # Errors
/// `route.no_replica`, `route.unreachable`, `route.lost` or `route.deadline`.
pub(crate) async fn forward(
    core: &Core,
    entry: &Entry,
    request: Request<Body>,
    deadline: Instant,
) -> Result<Response<Body>, Fault> {
    if entry.peers.is_empty() {
        return Err(no_replica(&entry.workload));
    }
    let attempts = try_each(core, entry, request, deadline);
    let response = timeout_at(deadline, attempts).await.unwrap_or_else(|_| {
        Err(Fault::new(
            "route.deadline",
            StatusCode::GATEWAY_TIMEOUT,
            "no replica answered in time",
            "the replicas may be overloaded or cut off; `hanse top` shows them",
        ))
    })?;
    entry.counters.forwarded.fetch_add(1, Ordering::Relaxed);
    Ok(response.map(|body| Counted::wrap(body, entry.counters.clone())))
}

async fn try_each(
    core: &Core,
    entry: &Entry,
    request: Request<Body>,
    deadline: Instant,
) -> Result<Response<Body>, Fault> {
    let is_idempotent = is_idempotent(&request);
    let (parts, body) = request.into_parts();
    let parts = outgoing(core, entry, parts);
    let mut payload = Payload::of(body).await?;
    let mut tried: Vec<Arc<Peer>> = Vec::new();
    let mut worth_another_try: Option<Arc<Peer>> = None;
    let mut last = Err(no_replica(&entry.workload));
    for attempt in 0..=MAX_RETRIES {
        let Some(peer) = nearest(entry, &tried).or_else(|| worth_another_try.take()) else {
            break;
        };
        if attempt > 0 {
            entry.counters.retried.fetch_add(1, Ordering::Relaxed);
        }
        match ask(core, &peer, &parts, &mut payload, is_idempotent, deadline).await {
            Outcome::Answered(response) => return Ok(response),
            Outcome::Declined(response) => last = Ok(response),
            Outcome::Unsent(why) => last = Err(unreachable(&peer, &why)),
            Outcome::Lost { why, .. } if !is_idempotent => return Err(lost(&peer, &why)),
            Outcome::Lost { why, is_reused } => {
                // A connection from before may have died while it was idle: the node itself may be well.
                worth_another_try = is_reused.then(|| peer.clone());
                last = Err(lost(&peer, &why));
            }
        }
        if !payload.is_there() {
            break;
        }
        tried.push(peer);
    }
    last
}

fn nearest(entry: &Entry, tried: &[Arc<Peer>]) -> Option<Arc<Peer>> {
    let now = Instant::now();
    entry
        .peers
        .iter()
        .filter(|peer| !tried.iter().any(|other| Arc::ptr_eq(peer, other)))
        .min_by_key(|peer| (peer.rank(now), &peer.node))
        .cloned()
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
        return Outcome::Unsent("this node has no identity yet".to_owned());
    };
    let began = Instant::now();
    let mut lease = match peer.connect(&identity, core.config.connect_timeout()).await {
        Ok(lease) => lease,
        Err(why) => {
            peer.failed(Instant::now());
            return Outcome::Unsent(why);
        }
    };
    let Some(body) = payload.take() else {
        return Outcome::Unsent("the request body is spent".to_owned());
    };
    let mut parts = parts.clone();
    let left_ms = deadline.saturating_duration_since(began).as_millis();
    parts.headers.insert(
        DEADLINE_MS,
        HeaderValue::from(u64::try_from(left_ms).unwrap_or(u64::MAX)),
    );
    let asked = peer.begin();
    let sent_at = Instant::now();
    let sent = lease.sender.try_send_request(Request::from_parts(parts, body)).await;
    drop(asked);
    match sent {
        Ok(response) => {
            peer.answered(sent_at.elapsed(), Instant::now());
            outcome(response.map(incoming), is_idempotent)
        }
        Err(mut failed) => {
            peer.disconnect();
            let why = failed.error().to_string();
            match failed.take_message() {
                Some(request) => {
                    payload.put_back(request.into_body());
                    Outcome::Unsent(why)
                }
                None => Outcome::Lost {
                    why,
                    is_reused: lease.is_reused,
                },
            }
        }
    }
}

fn outcome(mut response: Response<Body>, is_idempotent: bool) -> Outcome {
    strip_hop_by_hop(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    let is_declined = match response.headers().get(ERROR).map(HeaderValue::as_bytes) {
        Some(b"route.not_here" | b"engine.overloaded") => true,
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
    parts.headers.insert(FORWARDED_BY, core.node.clone());
    if let Ok(workload) = HeaderValue::from_str(&entry.workload) {
        parts.headers.insert(WORKLOAD, workload);
    }
    parts
}

/// Remove what concerns one connection only (RFC 9110 section 7.6.1).
fn strip_hop_by_hop(headers: &mut HeaderMap) {
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

fn is_idempotent(request: &Request<Body>) -> bool {
    matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS
    ) || request.headers().contains_key("idempotency-key")
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
