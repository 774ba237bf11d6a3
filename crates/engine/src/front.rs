//! One request at the front: `request, principal -> route -> answer from here or from another node`.
//!
//! Every node is an ingress for every workload of the fabric. Connections and their bounds are in `listener`; bodies and time of
//! a request are bounded by the limits of its workload.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TE, TRAILER};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::answer::{ERROR, Fault, INGRESS, NODE};
use crate::body::{Body, full, in_chunks, incoming};
use crate::core::Core;
use crate::forward::forward;
use crate::jwt::Verifier;
use crate::metrics;
use crate::principal::Principal;
use crate::router::Entry;
use crate::scheme::Scheme;
use crate::sight::Visit;
use crate::stats::InFlight;
use crate::{access, choice, instance, sight, upgrade};

const RESERVED: &str = "/.hanse/";

/// Answer one request of a client, who is `principal` as far as the connection shows.
pub(crate) async fn answer(core: &Arc<Core>, request: Request<Incoming>, principal: Arc<Principal>) -> Response<Body> {
    let began = Instant::now();
    if let Some(path) = request.uri().path().strip_prefix(RESERVED) {
        return reserved(core, path);
    }
    let mut request = request.map(incoming);
    strip_ours(request.headers_mut());
    request.extensions_mut().insert(principal);
    let is_http1 = request.version() < Version::HTTP_2;
    let takes_trailers = is_http1
        && request
            .headers()
            .get(TE)
            .is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let is_http2 = request.version() == Version::HTTP_2;
    let found = find(core, &request);
    let entry = found.as_deref().ok();
    let mut visit = core.sight.enter(&mut request, entry, core.config.front_tls);
    request.extensions_mut().insert(Scheme::of_front(&core.config));
    let answered = match &found {
        Ok(entry) => routed(core, entry, request, &mut visit, began, is_http2).await,
        Err(fault) => {
            core.sight.note(&mut visit, &request, None);
            Err(fault.clone())
        }
    };
    let mut response = answered.unwrap_or_else(|fault| fault.response(&core.config.node));
    if takes_trailers && response.headers().contains_key(TRAILER) {
        response.headers_mut().remove(CONTENT_LENGTH);
        response = response.map(in_chunks);
    }
    let took = began.elapsed();
    let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    if is_http1 && !is_upgrade && core.is_handed_over() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.entry(NODE).or_insert_with(|| core.node.clone());
    headers.insert(INGRESS, core.node.clone());
    let timing = format!("hanse;dur={}.{:03}", took.as_millis(), took.as_micros() % 1000);
    if let Ok(timing) = HeaderValue::from_maybe_shared(Bytes::from(timing)) {
        headers.append(HeaderName::from_static("server-timing"), timing);
    }
    visit.leave(response)
}

/// Where a request goes.
fn find(core: &Core, request: &Request<Body>) -> Result<Arc<Entry>, Fault> {
    let host = host(request).ok_or_else(no_host)?;
    let Some(entry) = core.routes.load().find(host, request.uri().path()).cloned() else {
        core.stats.unrouted.fetch_add(1, Ordering::Relaxed);
        return Err(unknown_route(request.uri().path()));
    };
    Ok(entry)
}

async fn routed(
    core: &Arc<Core>,
    entry: &Arc<Entry>,
    mut request: Request<Body>,
    visit: &mut Visit,
    began: Instant,
    is_http2: bool,
) -> Result<Response<Body>, Fault> {
    let counters = &entry.counters;
    counters.requests.fetch_add(1, Ordering::Relaxed);
    let identified = match &entry.auth {
        Some(verifier) => identify(verifier, &mut request),
        None => Ok(()),
    };
    core.sight.note(visit, &request, Some(entry));
    identified.inspect_err(|fault| counters.error(fault.code))?;
    let shedding = &entry.traffic.shedding;
    let Some(turn) = shedding.admit() else {
        counters.shed.fetch_add(1, Ordering::Relaxed);
        counters.error("route.overloaded");
        return Err(Fault::shed(shedding.limit()));
    };
    let in_flight = InFlight::new(counters.clone());
    let client = upgrade::asked(&mut request);
    if client.is_none() && request.method() == Method::CONNECT {
        counters.error("request.connect");
        return Err(Fault::connect());
    }
    let answered = served(core, entry, request, began).await;
    let took = began.elapsed();
    counters.latency.record(took);
    drop(in_flight);
    turn.end(took, had_no_room(&answered), began + took);
    counters
        .in_flight_limit
        .store(u64::from(shedding.limit()), Ordering::Relaxed);
    let response = answered?;
    match client {
        Some(client) if upgrade::is_agreed(&response) => {
            Ok(upgrade::join(core, client, response, is_http2, counters.clone()))
        }
        // On HTTP/2 any success would say that there is a tunnel now (RFC 8441 section 4).
        Some(_) if is_http2 && response.status().is_success() => Err(upgrade::refused()),
        _ => Ok(response),
    }
}

/// Whether whoever should have answered had too many requests already.
fn had_no_room(answered: &Result<Response<Body>, Fault>) -> bool {
    match answered {
        Ok(response) => response
            .headers()
            .get(ERROR)
            .is_some_and(|code| code == "engine.overloaded"),
        Err(fault) => fault.code == "engine.overloaded",
    }
}

/// Here if the workload runs here and has room, elsewhere otherwise.
async fn served(
    core: &Arc<Core>,
    entry: &Entry,
    request: Request<Body>,
    began: Instant,
) -> Result<Response<Body>, Fault> {
    let key = entry
        .hash_on
        .as_ref()
        .and_then(|on| on.key(request.uri(), request.headers()));
    let is_elsewhere =
        key.is_some_and(|key| !entry.is_here || !choice::is_ours(entry, &core.config.node, key, Instant::now()));
    let request = if is_elsewhere {
        request
    } else {
        match here(core, &entry.workload, request, began, Duration::MAX).await {
            Here::Answered(answered) => return answered,
            Here::NoRoom(request, fault) => {
                if fault.status != StatusCode::SERVICE_UNAVAILABLE || entry.bands.is_empty() {
                    return Err(fault);
                }
                entry.counters.retried.fetch_add(1, Ordering::Relaxed);
                request
            }
            Here::Elsewhere(request) => request,
        }
    };
    let answered = forward(core, entry, request, key, began + core.config.request_timeout()).await;
    if let Err(fault) = &answered {
        entry.counters.error(fault.code);
    }
    answered
}

/// What became of a request on this node.
pub(crate) enum Here {
    Answered(Result<Response<Body>, Fault>),
    /// It was not begun; another node may have room.
    NoRoom(Request<Body>, Fault),
    /// The workload does not run on this node.
    Elsewhere(Request<Body>),
}

/// Answer a request on this node if `workload` runs here, be it a function or a service, within its own time and `allowed`.
pub(crate) async fn here(
    core: &Arc<Core>,
    workload: &str,
    request: Request<Body>,
    began: Instant,
    allowed: Duration,
) -> Here {
    if let Some(service) = core.services.get(workload) {
        let Some(turn) = service.admit() else {
            let fault = Fault::overloaded("the service on this node");
            service.counters.error(fault.code);
            return Here::NoRoom(request, fault);
        };
        let deadline = began + service.timeout().min(allowed);
        let answered = match introduced(core, workload, request) {
            Ok(mut request) => {
                let span = service.span(&mut request);
                sight::until_end(span, service.answer(request, deadline, turn).await)
            }
            Err(fault) => Err(fault),
        };
        if let Err(fault) = &answered {
            service.counters.error(fault.code);
        }
        return Here::Answered(answered.map(without_ours));
    }
    let Some((workload, deadline, admitted)) = core.workloads.admit(workload, began, allowed).await else {
        return Here::Elsewhere(request);
    };
    let permit = match admitted {
        Ok(permit) => permit,
        Err(fault) => {
            workload.report(&fault);
            return Here::NoRoom(request, fault);
        }
    };
    let request = match introduced(core, &workload.name, request) {
        Ok(request) => request,
        Err(fault) => {
            workload.report(&fault);
            return Here::Answered(Err(fault));
        }
    };
    Here::Answered(
        instance::run(workload, request, deadline, permit)
            .await
            .map(without_ours),
    )
}

/// The request, if its token is what the workload demands and its rules let him in, with a word on who asks.
fn introduced(core: &Core, workload: &str, mut request: Request<Body>) -> Result<Request<Body>, Fault> {
    if let Some(verifier) = core.auth.demanded(workload) {
        identify(&verifier, &mut request)?;
    }
    access::enter(core, workload, &request)?;
    if let Some(principal) = request.extensions().get::<Arc<Principal>>().cloned() {
        principal.introduce(request.headers_mut());
    }
    Ok(request)
}

/// What a workload says in our name is dropped.
fn without_ours(mut response: Response<Body>) -> Response<Body> {
    strip_ours(response.headers_mut());
    response
}

/// Have the request's principal be who its token proves; where none is needed and none is there, it stays who it was.
fn identify(verifier: &Verifier, request: &mut Request<Body>) -> Result<(), Fault> {
    let principal = verifier.verify(request.headers())?;
    if *principal != Principal::Anonymous {
        request.extensions_mut().insert(principal);
    }
    Ok(())
}

/// Remove the headers that only nodes may set.
pub(crate) fn strip_ours(headers: &mut HeaderMap) {
    let ours = |name: &&HeaderName| name.as_str().starts_with("hanse-");
    if headers.keys().any(|name| ours(&name)) {
        let named: Vec<HeaderName> = headers.keys().filter(ours).cloned().collect();
        for name in named {
            headers.remove(name);
        }
    }
}

/// The host a request is for, without its port.
fn host(request: &Request<Body>) -> Option<&str> {
    let authority = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(http::header::HOST)?.to_str().ok()?,
    };
    let end = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => colon,
        _ => authority.len(),
    };
    authority.get(..end)
}

fn no_host() -> Fault {
    Fault::new(
        "request.no_host",
        StatusCode::BAD_REQUEST,
        "the request names no host",
        "send a Host header",
    )
}

fn unknown_route(path: &str) -> Fault {
    Fault::new(
        "route.unknown",
        StatusCode::NOT_FOUND,
        format!("no workload has a route for {path}"),
        "`hanse get functions` lists the routes",
    )
}

fn reserved(core: &Core, path: &str) -> Response<Body> {
    match path {
        "healthz" => {
            let body = serde_json::json!({"node": core.config.node, "workloads": core.workloads.len()});
            text(format!("{body}\n"), "application/json")
        }
        "metrics" => text(
            metrics::render(&core.read_stats(), &core.config.node),
            "text/plain; version=0.0.4",
        ),
        _ => unknown_route(&format!("{RESERVED}{path}")).response(&core.config.node),
    }
}

fn text(body: String, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(full(Bytes::from(body)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
