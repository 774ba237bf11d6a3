//! The public HTTP listener: every node is an ingress for every workload of the fabric.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge on one port. What a client may hold is bounded: connections, header size and time,
//! streams per connection; bodies and time of a request by the limits of its workload.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::answer::{ERROR, Fault, INGRESS, NODE};
use crate::body::{Body, full, incoming};
use crate::engine::Core;
use crate::forward::forward;
use crate::metrics;
use crate::principal::Principal;
use crate::router::Entry;
use crate::stall::Impatient;
use crate::stats::InFlight;
use crate::{access, choice, instance, workload::Workload};

const RESERVED: &str = "/.hanse/";
const MAX_HEADER_BYTES: usize = 64 << 10;
const MAX_STREAMS: u32 = 256;
const PING_EVERY: Duration = Duration::from_secs(20);
/// Out of file descriptors or memory: wait for some to come back rather than spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accept clients until the engine stops.
pub(crate) async fn listen(core: Arc<Core>, listener: TcpListener) {
    loop {
        let Ok(place) = core.places.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = core.stopping() => return,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let core = core.clone();
        tokio::spawn(async move {
            core.stats.connections.fetch_add(1, Ordering::Relaxed);
            connection(&core, stream).await;
            core.stats.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
}

async fn connection(core: &Arc<Core>, stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let limit = core.config.header_timeout();
    let stream = Impatient::new(stream, core.config.write_timeout());
    let has_begun = Arc::new(AtomicBool::new(false));
    let service = {
        let (core, has_begun) = (core.clone(), has_begun.clone());
        service_fn(move |request| {
            has_begun.store(true, Ordering::Relaxed);
            let core = core.clone();
            async move { Ok::<_, Infallible>(answer(&core, request).await) }
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limit)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(limit)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut first_request = pin!(sleep(limit));
    let mut may_wait = true;
    let mut may_go_on = true;
    loop {
        tokio::select! {
            // A connection that broke off is nobody's error here; the client knows.
            _ = connection.as_mut() => return,
            // hyper times the header; whether HTTP/1 or 2 is spoken is decided before that clock starts.
            () = first_request.as_mut(), if may_wait => {
                if !has_begun.load(Ordering::Relaxed) {
                    return;
                }
                may_wait = false;
            }
            () = core.stopping(), if may_go_on => {
                connection.as_mut().graceful_shutdown();
                may_go_on = false;
            }
        }
    }
}

async fn answer(core: &Arc<Core>, request: Request<Incoming>) -> Response<Body> {
    let began = Instant::now();
    if let Some(path) = request.uri().path().strip_prefix(RESERVED) {
        return reserved(core, path);
    }
    let mut request = request.map(incoming);
    strip_ours(request.headers_mut());
    request.extensions_mut().insert(Arc::new(Principal::Anonymous));
    let mut response = routed(core, request, began)
        .await
        .unwrap_or_else(|fault| fault.response(&core.config.node));
    let took = began.elapsed();
    let headers = response.headers_mut();
    headers.entry(NODE).or_insert_with(|| core.node.clone());
    headers.insert(INGRESS, core.node.clone());
    let timing = format!("hanse;dur={}.{:03}", took.as_millis(), took.as_micros() % 1000);
    if let Ok(timing) = HeaderValue::from_maybe_shared(Bytes::from(timing)) {
        headers.append(HeaderName::from_static("server-timing"), timing);
    }
    response
}

async fn routed(core: &Arc<Core>, request: Request<Body>, began: Instant) -> Result<Response<Body>, Fault> {
    let host = host(&request).ok_or_else(no_host)?;
    let Some(entry) = core.routes.load().find(host, request.uri().path()).cloned() else {
        core.stats.unrouted.fetch_add(1, Ordering::Relaxed);
        return Err(unknown_route(request.uri().path()));
    };
    let counters = &entry.counters;
    counters.requests.fetch_add(1, Ordering::Relaxed);
    let shedding = &entry.traffic.shedding;
    let Some(turn) = shedding.admit() else {
        counters.shed.fetch_add(1, Ordering::Relaxed);
        counters.error("route.overloaded");
        return Err(Fault::shed(shedding.limit()));
    };
    let in_flight = InFlight::new(counters.clone());
    let answered = served(core, &entry, request, began).await;
    let took = began.elapsed();
    counters.latency.record(took);
    drop(in_flight);
    turn.end(took, had_no_room(&answered), began + took);
    counters
        .in_flight_limit
        .store(u64::from(shedding.limit()), Ordering::Relaxed);
    answered
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
    if !is_elsewhere && core.workloads.get(&entry.workload).is_some() {
        access::enter(core, &entry.workload, &request)?;
    }
    if !is_elsewhere
        && let Some((workload, deadline, admitted)) = core.workloads.admit(&entry.workload, began, Duration::MAX).await
    {
        match admitted {
            Ok(permit) => return run(workload, request, deadline, permit).await,
            Err(fault) if fault.status == StatusCode::SERVICE_UNAVAILABLE && !entry.bands.is_empty() => {
                entry.counters.retried.fetch_add(1, Ordering::Relaxed);
            }
            Err(fault) => {
                workload.report(&fault);
                return Err(fault);
            }
        }
    }
    let answered = forward(core, entry, request, key, began + core.config.request_timeout()).await;
    if let Err(fault) = &answered {
        entry.counters.error(fault.code);
    }
    answered
}

/// Run a request on this node; what a guest says in our name is dropped.
pub(crate) async fn run(
    workload: Arc<Workload>,
    request: Request<Body>,
    deadline: Instant,
    permit: crate::workload::Permit,
) -> Result<Response<Body>, Fault> {
    let mut response = instance::run(workload, request, deadline, permit).await?;
    strip_ours(response.headers_mut());
    Ok(response)
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
        "metrics" => text(metrics::render(&core.read_stats()), "text/plain; version=0.0.4"),
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
