//! The listener for other nodes: mutual TLS, HTTP/2, and no second hop.
//!
//! Who may speak is decided in the handshake (`identity`). A connection lasts no longer than the peer's certificate, and ends
//! gracefully when this node's own identity or trust bundle is replaced.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::answer::{DEADLINE_MS, Fault, NODE, WORKLOAD};
use crate::body::{Body, incoming};
use crate::core::Core;
use crate::crew::Crew;
use crate::front::{Here, here, strip_ours};
use crate::identity::{Identity, svid};
use crate::principal::{PRINCIPAL, Principal};
use crate::scheme::{SCHEME, Scheme};
use crate::stats::InFlight;
use crate::upgrade;

const MAX_HEADER_BYTES: u32 = 128 << 10;
const MAX_STREAMS: u32 = 4096;
const PING_EVERY: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accept other nodes until the engine stops.
pub(crate) async fn listen(core: Arc<Core>, listener: TcpListener, crew: Crew) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = core.stopping() => return,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // It belongs to the thread that serves it.
        let Ok(stream) = stream.into_std() else {
            continue;
        };
        let (core, streams) = (core.clone(), crew.clone());
        crew.serve(async move {
            if connection(&core, stream, streams).await.is_none() {
                core.stats.mesh_refused.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// Serve one node; `None` when it was not let in.
async fn connection(core: &Arc<Core>, stream: std::net::TcpStream, streams: Crew) -> Option<()> {
    let identity = core.identity()?;
    let stream = TcpStream::from_std(stream).ok()?;
    stream.set_nodelay(true).ok()?;
    let handshake = TlsAcceptor::from(identity.server.clone()).accept(stream);
    let stream = timeout(core.config.header_timeout(), handshake).await.ok()?.ok()?;
    let believed_for = believed_for(core, &stream)?;
    serve(core, stream, identity, believed_for, streams).await;
    Some(())
}

/// How long the peer's certificate is still valid.
fn believed_for(core: &Core, stream: &TlsStream<TcpStream>) -> Option<Duration> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    let not_after_s = svid(leaf, &core.config.trust_domain).ok()?.not_after_s;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(not_after_s).saturating_sub(now))
}

async fn serve(
    core: &Arc<Core>,
    stream: TlsStream<TcpStream>,
    identity: Arc<Identity>,
    believed_for: Duration,
    streams: Crew,
) {
    let service = {
        let core = core.clone();
        service_fn(move |request| {
            let core = core.clone();
            async move { Ok::<_, Infallible>(answer(&core, request).await) }
        })
    };
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        // For WebSockets (RFC 8441).
        .enable_connect_protocol();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut over = pin!(async {
        tokio::select! {
            () = sleep(believed_for) => {}
            () = core.identity_replaced(&identity) => {}
            _ = core.stopping() => {}
        }
    });
    tokio::select! {
        // The other node notices a broken connection and tries elsewhere.
        _ = connection.as_mut() => return,
        () = over.as_mut() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(core: &Arc<Core>, request: Request<Incoming>) -> Response<Body> {
    let began = Instant::now();
    let mut response = handed_over(core, request, began)
        .await
        .unwrap_or_else(|fault| fault.response(&core.config.node));
    response.headers_mut().insert(NODE, core.node.clone());
    response
}

async fn handed_over(core: &Arc<Core>, request: Request<Incoming>, began: Instant) -> Result<Response<Body>, Fault> {
    let name = request.headers().get(WORKLOAD).and_then(|name| name.to_str().ok());
    let name = name.unwrap_or_default().to_owned();
    let time_left = time_left(request.headers());
    let scheme = Scheme::of_header(request.headers().get(SCHEME));
    let principal = request.headers().get(PRINCIPAL).and_then(Principal::from_header);
    let mut request = request.map(incoming);
    strip_ours(request.headers_mut());
    request.extensions_mut().insert(Arc::new(principal.unwrap_or_default()));
    request.extensions_mut().insert(scheme);
    if !core.runs(&name) {
        return Err(not_here(&name));
    }
    let visit = core.sight.enter(&mut request, None, scheme == Scheme::Https);
    let answered = admitted(core, &name, request, began, time_left).await;
    let answered = answered.unwrap_or_else(|fault| fault.response(&core.config.node));
    Ok(visit.leave(answered))
}

async fn admitted(
    core: &Arc<Core>,
    name: &str,
    mut request: Request<Body>,
    began: Instant,
    time_left: Duration,
) -> Result<Response<Body>, Fault> {
    let client = upgrade::asked(&mut request);
    let counters = core.stats.workload(name);
    let in_flight = InFlight::new(counters.clone());
    let answered = match here(core, name, request, began, time_left).await {
        Here::Elsewhere(_) => return Err(not_here(name)),
        Here::NoRoom(_, fault) => Err(fault),
        Here::Answered(answered) => answered,
    };
    counters.requests.fetch_add(1, Ordering::Relaxed);
    counters.from_mesh.fetch_add(1, Ordering::Relaxed);
    counters.latency.record(began.elapsed());
    drop(in_flight);
    let response = answered?;
    match client {
        Some(client) if upgrade::is_agreed(&response) => Ok(upgrade::join(core, client, response, true, counters)),
        // The node that asks would take any success for a tunnel (RFC 8441 section 4).
        Some(_) if response.status().is_success() => Err(upgrade::refused()),
        _ => Ok(response),
    }
}

fn time_left(headers: &HeaderMap) -> Duration {
    headers
        .get(DEADLINE_MS)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(Duration::MAX, Duration::from_millis)
}

fn not_here(workload: &str) -> Fault {
    Fault::new(
        "route.not_here",
        StatusCode::MISDIRECTED_REQUEST,
        format!("{workload} does not run on this node"),
        "the route table of the node that asked is out of date; it tries another replica",
    )
}
